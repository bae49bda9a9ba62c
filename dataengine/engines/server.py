"""The embedded engine's server: chat completions on localhost, answered by one Decoder in a thread.

Started by `embedded.py`; it ends when its standard input closes, so it never outlives the run that started it.
"""

import argparse
import asyncio
import json
import math
import queue
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from aiohttp import web
from jinja2 import TemplateError
from transformers import AutoTokenizer, GenerationConfig

from dataengine.engines.decoder import Decoder, Reply, Request, load_for_decoding
from dataengine.engines.guided import Grammars, Matcher


class BadRequest(Exception):
    """A request that this server cannot answer; the message is for the client."""


class Worker(threading.Thread):
    """The thread that owns the decoder."""

    def __init__(self, decoder: Decoder, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True, name="decoder")
        self.decoder = decoder
        self._loop = loop
        self._inbox: queue.SimpleQueue[tuple[Request, asyncio.Future[Reply]]] = queue.SimpleQueue()
        self.failure: BaseException | None = None

    def ask(self, request: Request) -> "asyncio.Future[Reply]":
        """Queues a request; the future is resolved in the event loop."""
        future: asyncio.Future[Reply] = self._loop.create_future()

        def resolve(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply)

        request.done = lambda reply: self._tell(resolve, reply)
        self._inbox.put((request, future))
        return future

    def _tell(self, function: Any, *args: Any) -> None:
        self._loop.call_soon_threadsafe(function, *args)

    def run(self) -> None:
        """Takes in requests and steps until the process ends."""
        try:
            while True:
                while not self._inbox.empty() or not self.decoder.busy:
                    request, future = self._inbox.get()
                    try:
                        self.decoder.submit(request)
                    except ValueError as e:
                        self._tell(future.set_exception, BadRequest(str(e)))
                self.decoder.step()
        except BaseException as e:
            # Nothing can be answered any more: say so in the log and end, the client sees the connection close.
            self.failure = e
            self._tell(self._loop.stop)
            raise


class Server:
    """The HTTP face of the worker."""

    def __init__(self, worker: Worker, tokenizer: Any, grammars: Grammars, name: str) -> None:
        self._worker = worker
        self._tokenizer = tokenizer
        self._grammars = grammars
        self._name = name

    def routes(self) -> list[web.RouteDef]:
        """What the server answers."""
        return [
            web.post("/v1/chat/completions", self.complete),
            web.get("/v1/models", self.models),
            web.get("/stats", self.stats),
        ]

    async def models(self, request: web.Request) -> web.Response:
        """The one model that is served."""
        return web.json_response({"object": "list", "data": [{"id": self._name, "object": "model"}]})

    async def stats(self, request: web.Request) -> web.Response:
        """Tokens run, copied from a shared prefix, and generated since the start."""
        d = self._worker.decoder
        return web.json_response(
            {"prefilled": d.prefilled_tokens, "shared": d.shared_tokens, "generated": d.generated_tokens}
        )

    async def complete(self, request: web.Request) -> web.Response:
        """One chat completion; `continue_final_message` goes on with a started reply, as vLLM does."""
        try:
            body = await request.json()
            asked = self._parse(body)
            reply = await self._worker.ask(asked)
        except (BadRequest, ValueError, KeyError, TypeError, OverflowError, TemplateError) as e:
            return web.json_response({"error": {"message": f"{e}", "type": "invalid_request_error"}}, status=400)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": self._tokenizer.decode(reply.tokens, skip_special_tokens=True),
            },
            "finish_reason": reply.finish_reason,
        }
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"logprob": x} for x in reply.logprobs]}
        usage = {"prompt_tokens": len(asked.prompt), "completion_tokens": len(reply.logprobs)}
        return web.json_response(
            {"object": "chat.completion", "model": self._name, "choices": [choice], "usage": usage}
        )

    def _parse(self, body: Any) -> Request:
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            raise BadRequest("messages must be a list of {role, content}, both text, of one at least")
        if body.get("n", 1) != 1:
            raise BadRequest("n must be 1: samples of a prompt are requests of their own here, and share its prefix")
        going_on = bool(body.get("continue_final_message"))
        prompt = self._tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=not going_on,
            continue_final_message=going_on,
            return_dict=False,
        )
        asked = Request(
            prompt=list(prompt),
            max_tokens=int(body.get("max_tokens") or 1024),
            temperature=float(body.get("temperature", 1.0)),
            top_p=float(body.get("top_p", 1.0)),
            seed=int(body.get("seed") or 0),
            grammar=self._grammar(body),
        )
        if asked.max_tokens < 1 or not 0 <= asked.temperature < math.inf or not 0 < asked.top_p <= 1:
            raise BadRequest("max_tokens must be at least 1, temperature at least 0, and top_p above 0 and at most 1")
        return asked

    def _grammar(self, body: dict[str, Any]) -> Matcher | None:
        """What the reply must keep to: `structured_outputs` as vLLM has it, or OpenAI's `response_format`."""
        asked = body.get("structured_outputs")
        if asked is None and isinstance(wanted := body.get("response_format"), dict):
            if wanted.get("type") == "json_schema":
                asked = {"json": wanted["json_schema"]["schema"]}
            elif wanted.get("type") == "json_object":
                asked = {"json": {"type": "object"}}
        if asked is None:
            return None
        if not isinstance(asked, dict):
            raise BadRequest("structured_outputs must be an object")
        return self._grammars.matcher(asked)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(k), str) for k in ("role", "content"))


def stop_tokens(folder: Path, tokenizer: Any) -> set[int]:
    """The ids that end a reply: the tokenizer's end token and those of the generation config."""
    ids = {tokenizer.eos_token_id}
    if (folder / "generation_config.json").is_file():
        eos = GenerationConfig.from_pretrained(folder).eos_token_id
        ids |= set(eos) if isinstance(eos, list) else {eos}
    return {i for i in ids if i is not None}


async def serve(folder: Path, name: str, slots: int, threads: int | None) -> None:
    """Serves until standard input closes."""
    loop = asyncio.get_running_loop()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = stop_tokens(folder, tokenizer)
    if threads:
        torch.set_num_threads(threads)
    decoder = Decoder(load_for_decoding(folder), slots=slots, stop=ends)
    grammars = Grammars(tokenizer, decoder.model.config.vocab_size, ends)
    worker = Worker(decoder, loop)
    worker.start()
    app = web.Application(client_max_size=64 << 20)
    app.add_routes(Server(worker, tokenizer, grammars, name).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}/v1", "model": name}), flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--slots", type=int, default=96)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    from transformers.utils import logging

    logging.disable_progress_bar()
    asyncio.run(serve(args.model, args.name, args.slots, args.threads))


if __name__ == "__main__":
    main()
