"""The one client of all engines: one completion over HTTP, or one line that says why there is none."""

import json
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
from pydantic_core import from_json, to_json
from yarl import URL

from schemas.errors import EngineError
from schemas.recipe import Guided, Guiding

# Worth asking again: the server is busy, restarting, or was cut off. Anything else will not change by itself.
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_PRESSURE = {408, 429, 502, 503, 504, 529}
# Not about this request: the key, the model's name, the address.
_EVERYBODY = {401, 402, 403, 404, 405}
_FINISH = {"stop", "length", "content_filter", "tool_calls"}
_MOST_BYTES = 64 << 20
_MOST_WAIT = 60.0
_JSON = {"Content-Type": "application/json"}
_MOST_TOKENS = 1 << 40  # a count above is nonsense, and would not fit its column


@dataclass(frozen=True)
class ChatRequest:
    """A rendered conversation and how to sample its continuation."""

    messages: list[dict[str, str]]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    prefilled: bool = False
    guided: Guided | None = None
    group: str = ""
    """Requests of one group share their messages; not sent."""


@dataclass(frozen=True)
class TokensRequest:
    """Token ids and how to sample what follows them, by vLLM's API; the server's own defaults have no say.

    The reply has `token_ids` with the token of `stop` that ended it, and their `logprobs` before temperature. With
    `of_prompt` it has those of the prompt's tokens too, all but the first.
    """

    prompt: list[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: list[int]
    of_prompt: bool = False
    group: str = ""
    """As in ChatRequest."""

    def body(self, model: str) -> dict[str, Any]:
        """What is sent."""
        return {
            "model": model,
            "prompt": self.prompt,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop_token_ids": self.stop,
            "logprobs": 0,
            "return_token_ids": True,
            "skip_special_tokens": True,
            # What a model's generation_config.json asks for is vLLM's default.
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            **({} if self.seed is None else {"seed": self.seed}),
            **({"prompt_logprobs": 0} if self.of_prompt else {}),
        }


@dataclass(frozen=True)
class ChatReply:
    """What came back. Either `error` says why there is nothing, or the rest is filled as far as the server told.

    `token_ids`, `logprobs` and `prompt_logprobs` are asked for by a TokensRequest only.
    """

    text: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprob_sum: float | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    prompt_logprobs: list[float] | None = None
    seconds: float = 0.0
    error: str | None = None


class Failure(Exception):
    """Why one try of a request gave nothing, on one line, and what that says of the server.

    `again`: another try may succeed. `pressure`: the server has too much to do. `unreachable`: it never heard of it.
    `everybody`: every request will meet the same (a wrong key or model name). `after`: seconds that it asked to wait.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = False,
        pressure: bool = False,
        unreachable: bool = False,
        everybody: bool = False,
        after: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.again = again
        self.pressure = pressure
        self.unreachable = unreachable
        self.everybody = everybody
        self.after = after


class ChatClient:
    """Asks one server, once. Use as an asynchronous context manager; `ask` may be called from many tasks at once."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        logprobs: bool = False,
        guiding: Guiding = "structured_outputs",
    ) -> None:
        self.url = url.rstrip("/")
        self._addresses: dict[str, URL] = {}
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = timeout
        self._logprobs = logprobs
        self._guiding = guiding
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ChatClient":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            # A balancer's cookie would send all requests to the one server that answered the first.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout, connect=30),
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def check_reachable(self, timeout: float = 30) -> None:
        """Raises EngineError when nothing answers at the address at all."""
        assert self._session is not None
        try:
            async with self._session.get(f"{self.url}/models", timeout=aiohttp.ClientTimeout(total=timeout)):
                pass
        except aiohttp.InvalidURL as e:
            raise EngineError(f"{self.url}: no address; write it as http://HOST:PORT/v1") from e
        except aiohttp.ClientConnectorError as e:
            raise EngineError(f"{self.url}: {_short(e)}; is the server running there?") from e
        except (aiohttp.ClientError, TimeoutError):
            pass  # something is there; whether it answers chat completions is for the requests to find out

    async def is_up(self) -> bool:
        """Whether anything answers at the address; asked of a server that was gone."""
        try:
            await self.check_reachable(timeout=5)
        except EngineError:
            return False
        return True

    async def ask(self, request: ChatRequest | TokensRequest) -> ChatReply:
        """The reply to a request, tried once. Raises Failure."""
        started = time.monotonic()
        if isinstance(request, TokensRequest):
            content = await self._post("completions", to_json(request.body(self._model)))
            reply = _parse_tokens(content, request)
        else:
            reply = _parse(await self._post("chat/completions", self._body(request)))
        return ChatReply(**{**reply, "seconds": time.monotonic() - started})

    async def tell(self, path: str, body: dict[str, Any]) -> Any:
        """Posts to a path beside /v1, where a server takes orders; what it says, None for nothing. Raises Failure."""
        content = await self._post(f"../{path}", to_json(body))
        try:
            return _decoded(content) if content else None
        except ValueError as e:
            raise Failure(f"{path}: no JSON: {_message(content)}") from e

    def _body(self, request: ChatRequest) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": request.messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if self._logprobs:
            body["logprobs"] = True
        if request.seed is not None:
            body["seed"] = request.seed
        if request.prefilled:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if request.guided is not None:
            body |= _constraint(request.guided, self._guiding)
        try:
            return to_json(body)
        except ValueError:  # a lone surrogate, which JSON can escape and UTF-8 cannot hold
            return json.dumps(body).encode()

    async def _post(self, path: str, body: bytes) -> bytes:
        assert self._session is not None
        # Taken apart once; a wrong one is refused by `check_reachable`.
        address = self._addresses.get(path) or self._addresses.setdefault(path, URL(f"{self.url}/").join(URL(path)))
        try:
            async with self._session.post(address, data=body, headers=_JSON) as response:
                content = await response.content.read(_MOST_BYTES)
                while not response.content.at_eof() and len(content) < _MOST_BYTES:
                    content += await response.content.read(_MOST_BYTES)
                if response.status != 200:
                    raise Failure(
                        f"HTTP {response.status}: {_message(content)}",
                        again=response.status in _RETRIED,
                        pressure=response.status in _PRESSURE,
                        everybody=response.status in _EVERYBODY,
                        after=_retry_after(response.headers.get("Retry-After")),
                    )
                return content
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as e:
            raise Failure(f"cannot connect: {_short(e)}", unreachable=True) from e
        except TimeoutError as e:
            raise Failure(f"no reply within {self._timeout:g} s", again=True, pressure=True) from e
        except aiohttp.ClientError as e:
            raise Failure(f"connection lost: {_short(e)}", again=True, pressure=True) from e


def _constraint(guided: Guided, guiding: Guiding) -> dict[str, Any]:
    """How a server is told what its reply must keep to."""
    if guiding == "structured_outputs":  # vLLM, and our own
        asked = {"choice": guided.choice} if guided.choice else {"json": guided.json_schema}
        return {"structured_outputs": asked}
    # OpenAI knows no choices: an object with one field of those values, which `Guided.value` takes out again.
    form = {"name": "reply", "schema": guided.as_json_schema(), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def _parse(content: bytes) -> dict[str, Any]:
    """The parts of a chat completion, or a Failure that says what is wrong with it."""
    try:
        body = _decoded(content)
        choice = body["choices"][0]
        message = choice["message"]
        text = "" if message.get("content") is None else message["content"]
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        reason = choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as e:
        raise Failure(f"not a chat completion ({type(e).__name__}): {_message(content)}", again=True) from e
    if not isinstance(text, str) or not isinstance(reasoning, str | None):
        raise Failure(f"content is no text: {_message(content)}", again=False)
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    return {
        "text": _whole(text),
        "reasoning": None if reasoning is None else _whole(reasoning),
        "finish_reason": reason if isinstance(reason, str) and reason in _FINISH else "unknown",
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
        "logprob_sum": _logprob_sum(choice),
    }


def _parse_tokens(content: bytes, request: TokensRequest) -> dict[str, Any]:
    """The parts of a completion by vLLM's API, or a Failure that says what is wrong with it."""
    try:
        choice = _decoded(content)["choices"][0]
        text, reason = choice["text"], choice.get("finish_reason")
        ids, told = choice.get("token_ids"), choice.get("logprobs") or {}
        logprobs = told.get("token_logprobs")
        of_prompt = None
        if request.of_prompt and choice.get("prompt_logprobs") is not None:
            pairs = zip(choice["prompt_logprobs"], request.prompt, strict=True)
            of_prompt = [float(known[str(token)]["logprob"]) for known, token in pairs if known is not None]
        if not isinstance(text, str) or not (ids is None or all(isinstance(i, int) for i in ids)):
            raise TypeError
        logprobs = None if logprobs is None else [float(x) for x in logprobs]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as e:
        raise Failure(f"not a completion ({type(e).__name__}): {_message(content)}", again=True) from e
    return {
        "text": _whole(text),
        "finish_reason": reason if isinstance(reason, str) and reason in _FINISH else "unknown",
        "prompt_tokens": len(request.prompt),
        "completion_tokens": None if ids is None else len(ids),
        "logprob_sum": None if logprobs is None else sum(logprobs),
        "token_ids": ids,
        "logprobs": logprobs,
        "prompt_logprobs": of_prompt,
    }


def _decoded(content: bytes) -> Any:
    try:
        return from_json(content)  # four times as fast as json, which knows better what is wrong
    except ValueError:
        return json.loads(content)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= _MOST_TOKENS else None


def _logprob_sum(choice: dict[str, Any]) -> float | None:
    try:
        return float(sum(token["logprob"] for token in choice["logprobs"]["content"]))
    except (KeyError, TypeError, OverflowError):
        return None


def _retry_after(value: str | None) -> float:
    try:
        return min(max(float(value or 0), 0.0), _MOST_WAIT)
    except ValueError:
        return 0.0  # a date: rare, and our own backoff serves


def _message(content: bytes) -> str:
    """The server's own words, or the start of whatever it sent, on one line of at most 200 characters."""
    try:
        body = json.loads(content)
        error = body.get("error", body)
        text = error.get("message", content.decode()) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError, RecursionError):
        text = content[:1000].decode("utf-8", "replace")
    line = " ".join(_whole(str(text)).split())
    return line[:200] or "an empty reply"


def _whole(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate, which JSON can, becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
