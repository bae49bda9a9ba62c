"""Whatever a server does, the client gives a reply: what was said, or one line on why there is nothing."""

import asyncio
import socket
from typing import Any

import pytest

from dataengine.engines.client import ChatClient, ChatReply, ChatRequest
from dataengine.engines.fleet import Fleet
from schemas.errors import EngineError

REQUEST = ChatRequest([{"role": "user", "content": "What is 2 + 3?"}], 300, 1.0, 1.0, seed=5)


def ask(url: str, request: ChatRequest = REQUEST, **settings: Any) -> ChatReply:
    of_client = {"timeout": 10, **{k: settings.pop(k) for k in ("timeout", "logprobs") if k in settings}}

    async def once() -> ChatReply:
        async with ChatClient(url, "scripted", **of_client) as client:
            fleet = Fleet([client], 8, 8, **{"retries": 1, "backoff": 0.01, "patience": 0.3, **settings})
            try:
                return await fleet.complete(request)
            finally:
                await fleet.close()

    return asyncio.run(once())


def test_a_plain_reply_comes_back_whole(scripted: Any) -> None:
    reply = ask(scripted.url)
    assert reply.error is None
    assert "</think>" in reply.text
    assert (reply.finish_reason, reply.prompt_tokens, reply.reasoning) == ("stop", 10, None)
    assert scripted.asked == [
        {"model": "scripted", "messages": REQUEST.messages, "max_tokens": 300, "temperature": 1.0, "top_p": 1.0,
         "seed": 5}
    ]  # fmt: skip


def test_the_same_messages_and_seed_give_the_same_reply(scripted: Any) -> None:
    assert ask(scripted.url).text == ask(scripted.url).text


@pytest.mark.parametrize(
    ("fault", "error", "tries"),
    [
        ("500", "HTTP 500: out of memory", 2),
        ("429", "HTTP 429: slow down", 2),
        ("400", "HTTP 400: the prompt is too long", 1),
        ("odd error", "HTTP 400: bad � sign", 1),
        ("reset", "connection lost: ", 2),
        ("cut", "connection lost: ", 2),
        ("garbage", "not a chat completion (JSONDecodeError): {\"choices\"", 2),
        ("html", "not a chat completion (JSONDecodeError): <html>", 2),
        ("empty", "not a chat completion (JSONDecodeError): an empty reply", 2),
        ("nested", "not a chat completion (RecursionError): [[[[", 2),
        ("no choices", "not a chat completion (IndexError): {\"choices\"", 2),
        ("a list", "not a chat completion (TypeError): [1, 2]", 2),
        ("content is a number", "content is no text: ", 1),
        ("content is a list", "content is no text: ", 1),
        ("reasoning is a number", "content is no text: ", 1),
    ],
)  # fmt: skip
def test_a_lasting_fault_becomes_one_line(scripted: Any, fault: str, error: str, tries: int) -> None:
    scripted.fault = lambda body, before: fault
    reply = ask(scripted.url)
    assert reply.error is not None
    assert reply.error.startswith(error)
    assert reply.error.isprintable()
    assert len(reply.error) < 300
    assert reply.text == ""
    assert len(scripted.asked) == tries


@pytest.mark.parametrize("fault", ["500", "429", "reset", "cut", "garbage", "html", "empty", "no choices"])
def test_a_passing_fault_is_asked_again_and_leaves_no_trace(scripted: Any, fault: str) -> None:
    plain = ask(scripted.url)
    scripted.asked.clear()
    scripted.fault = lambda body, before: fault if before < 3 else None
    assert ask(scripted.url, retries=3).text == plain.text
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("fault", ["slow", "trickle"])
def test_a_reply_that_takes_too_long_is_given_up(scripted: Any, fault: str) -> None:
    scripted.fault = lambda body, before: fault
    reply = ask(scripted.url, timeout=0.2, retries=1)
    assert reply.error == "no reply within 0.2 s"
    assert len(scripted.asked) == 2


def test_a_reply_of_two_megabytes_comes_back_whole(scripted: Any) -> None:
    scripted.fault = lambda body, before: "2 MB"
    reply = ask(scripted.url)
    assert (reply.error, len(reply.text)) == (None, 2 << 20)


def test_lone_surrogates_and_nul_survive_as_text_that_can_be_stored(scripted: Any) -> None:
    scripted.fault = lambda body, before: "surrogate"
    reply = ask(scripted.url)
    assert reply.error is None
    assert reply.text == "lone \ufffd and NUL \x00 here"


def test_no_content_is_an_empty_reply(scripted: Any) -> None:
    scripted.fault = lambda body, before: "null content"
    reply = ask(scripted.url)
    assert (reply.error, reply.text) == (None, "")


def test_figures_that_make_no_sense_are_left_out(scripted: Any) -> None:
    scripted.fault = lambda body, before: "odd reason"
    reply = ask(scripted.url)
    assert (reply.error, reply.text, reply.finish_reason) == (None, "x", "unknown")
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


def test_reasoning_that_the_server_split_off_is_kept(scripted: Any) -> None:
    scripted.fault = lambda body, before: "split"
    reply = ask(scripted.url)
    assert reply.reasoning is not None
    assert reply.reasoning.strip().startswith("I add them up")
    assert reply.text.strip().endswith("</answer>")


def test_a_server_that_is_not_there_is_said_to_be_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        reply = ask(url)
        assert (reply.error or "").startswith("cannot connect: ")
        assert (reply.error or "").endswith("(for 0.3 s)")

        async def check() -> None:
            async with ChatClient(url, "scripted") as client:
                await client.check_reachable()

        with pytest.raises(EngineError, match=r"is the server running there\?$") as e:
            asyncio.run(check())
        assert url in str(e.value)
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("url", ["http://", "http:///v1", "http://no such host/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    async def check() -> None:
        async with ChatClient(url, "scripted") as client:
            await client.check_reachable()

    with pytest.raises(EngineError):
        asyncio.run(check())


def test_a_server_without_a_list_of_models_is_still_reachable(scripted: Any) -> None:
    async def check() -> None:
        async with ChatClient(scripted.url + "/elsewhere", "scripted") as client:
            await client.check_reachable()

    asyncio.run(check())


def test_seed_prefill_and_logprobs_are_sent_only_when_wanted(scripted: Any) -> None:
    ask(scripted.url, ChatRequest(REQUEST.messages, 5, 1.0, 1.0, seed=None, prefilled=True), logprobs=True)
    assert "seed" not in scripted.asked[0]
    assert scripted.asked[0]["continue_final_message"] is True
    assert scripted.asked[0]["logprobs"] is True
