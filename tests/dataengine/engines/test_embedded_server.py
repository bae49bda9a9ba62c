"""The embedded engine from end to end: a process of its own, with a model small enough for a test."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dataengine.engines.client import ChatClient, ChatRequest, Failure
from dataengine.engines.embedded import embedded_server
from dataengine.engines.weights import Model, find_model
from schemas.errors import EngineError
from schemas.recipe import Guided

HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.mark.slow
def test_the_server_answers_refuses_and_ends_with_its_parent(random_llama: Path, tmp_path: Path) -> None:
    model = find_model(str(random_llama))
    assert model.policy.startswith(f"{random_llama.name}@")

    async def converse() -> None:
        async with embedded_server(model, slots=4, log=tmp_path / "logs" / "server.log") as url:
            async with ChatClient(url, model.policy, logprobs=True) as client:
                await client.check_reachable()
                await plain(client)
                await going_on(client)
                await too_long(client)
                await guided(client)
            async with ChatClient(url, model.policy, guiding="response_format") as client:
                await guided(client)
            async with aiohttp.ClientSession() as session:
                for body in BAD:
                    async with session.post(f"{url}/chat/completions", data=body) as reply:
                        assert reply.status == 400, (body, await reply.text())
                        assert (await reply.json())["error"]["message"]
                async with session.get(f"{url}/models") as reply:
                    assert (await reply.json())["data"][0]["id"] == model.policy
                async with session.get(f"{url.removesuffix('/v1')}/stats") as reply:
                    stats = await reply.json()
                    assert stats["generated"] >= 3 * 8
                    assert stats["shared"] > 0
        # Its standard input was closed: nobody listens any more.
        async with ChatClient(url, model.policy) as client:
            with pytest.raises(EngineError):
                await client.check_reachable()

    asyncio.run(converse())


async def plain(client: ChatClient) -> None:
    request = ChatRequest(HELLO, 8, 1.0, 1.0, seed=3)
    first, again = await asyncio.gather(client.ask(request), client.ask(request))
    other = await client.ask(ChatRequest(HELLO, 8, 1.0, 1.0, seed=4))
    assert first.error is None
    assert first.text == again.text != other.text
    assert first.prompt_tokens and first.completion_tokens and first.completion_tokens <= 8
    assert first.logprob_sum is not None and first.logprob_sum < 0


async def going_on(client: ChatClient) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "<think>"}]
    reply = await client.ask(ChatRequest(begun, 4, 0.0, 1.0, seed=0, prefilled=True))
    fresh = await client.ask(ChatRequest(HELLO, 4, 0.0, 1.0, seed=0))
    assert reply.error is None
    # The turn is left open: its start is in the prompt, and no end mark or new turn follows it.
    assert (fresh.prompt_tokens or 0) < (reply.prompt_tokens or 0) <= (fresh.prompt_tokens or 0) + len("<think>")


async def too_long(client: ChatClient) -> None:
    with pytest.raises(Failure) as refused:
        await client.ask(ChatRequest(HELLO, 5000, 1.0, 1.0, seed=0))
    assert str(refused.value).startswith("HTTP 400: ")
    assert str(refused.value).endswith("exceed the model's 512")
    assert not refused.value.again


SCHEMA = {
    "type": "object",
    "properties": {"analysis": {"type": "string", "maxLength": 12}, "verdict": {"enum": ["correct", "incorrect"]}},
    "required": ["analysis", "verdict"],
    "additionalProperties": False,
}


async def guided(client: ChatClient) -> None:
    """A model of random weights says nothing by itself: what it keeps to is the constraint's doing."""
    choices = Guided(choice=["yes", "no", 'nö, "not"'])
    schema = Guided(json_schema=SCHEMA)
    asked = [ChatRequest(HELLO, 300, 1.0, 1.0, seed=s, guided=g) for s in range(6) for g in (choices, schema)]
    replies = await asyncio.gather(*(client.ask(r) for r in [*asked, ChatRequest(HELLO, 8, 1.0, 1.0, seed=3)]))
    said = {choices.value(r.text) for r in replies[0:-1:2]}
    assert said <= {"yes", "no", 'nö, "not"'}
    assert len(said) > 1
    for reply in replies[1:-1:2]:
        value = json.loads(reply.text)
        assert set(value) == {"analysis", "verdict"}
        assert value["verdict"] in ("correct", "incorrect")
        assert reply.finish_reason == "stop"
    # One without a constraint, run beside them, is as it is alone.
    assert replies[-1].text == (await client.ask(ChatRequest(HELLO, 8, 1.0, 1.0, seed=3))).text


BAD: list[Any] = [
    "no json",
    "[1]",
    "{}",
    json.dumps({"messages": "hello"}),
    json.dumps({"messages": []}),
    json.dumps({"messages": [{"role": "user"}]}),
    json.dumps({"messages": [5]}),
    json.dumps({"messages": HELLO, "n": 2}),
    json.dumps({"messages": HELLO, "max_tokens": -1}),
    json.dumps({"messages": HELLO, "max_tokens": "many"}),
    json.dumps({"messages": HELLO, "temperature": -1}),
    '{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    json.dumps({"messages": HELLO, "top_p": 0}),
    json.dumps({"messages": HELLO, "seed": "x"}),
    json.dumps({"messages": HELLO, "structured_outputs": "yes"}),
    json.dumps({"messages": HELLO, "structured_outputs": {"choice": []}}),
    json.dumps({"messages": HELLO, "structured_outputs": {"choice": [1]}}),
    json.dumps({"messages": HELLO, "structured_outputs": {"json": {"type": "sandwich"}}}),
    json.dumps({"messages": HELLO, "structured_outputs": {"json": "{"}}),
    json.dumps({"messages": HELLO, "structured_outputs": {"regex": "a*"}}),
    json.dumps({"messages": HELLO, "response_format": {"type": "json_schema"}}),
]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    async def start() -> None:
        async with embedded_server(Model(tmp_path, "none@0"), slots=1, log=tmp_path / "log"):
            raise AssertionError("it came up")

    with pytest.raises(EngineError, match="the embedded engine did not start: ") as e:
        asyncio.run(start())
    assert "\n" not in str(e.value)
    assert str(tmp_path / "log") in str(e.value)


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="neither a shipped model"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineError, match=r"no \*\.safetensors file"):
        find_model(str(tmp_path))
