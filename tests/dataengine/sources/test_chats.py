"""Chats in the layouts that fine-tuning files have: what was asked, the last answer, and what cannot be taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataengine.reusing
from dataengine.reusing import find_replies
from dataengine.sources.chats import answered, turns_of
from dataengine.sources.files import prompts_of, reader_of
from schemas.errors import InputError
from schemas.recipe import FileSpec, ImportStep


def read(layout: str | None, row: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return reader_of(FileSpec(path="chats.jsonl", layout=layout, **settings))(row)


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in said]


def test_alpaca_joins_instruction_and_input() -> None:
    assert read("alpaca", {"instruction": "Translate into French.", "input": "Good day", "output": "Bonjour"}) == {
        "messages": turns(("user", "Translate into French.\nGood day")),
        "response": "Bonjour",
    }


def test_alpaca_has_system_and_history_and_fills_placeholders_once() -> None:
    row = {
        "instruction": "And you, {{name}}?",
        "input": None,
        "output": "{{ name }}, by {{author}}, {{other}}.",
        "system": "Be short.",
        "history": [["Weather?", "Sun."]],
    }
    assert read("alpaca", row, fill={"name": "Ada", "author": "{{name}}'s people"}) == {
        "messages": turns(
            ("system", "Be short."), ("user", "Weather?"), ("assistant", "Sun."), ("user", "And you, Ada?")
        ),
        "response": "Ada, by {{name}}'s people, {{other}}.",
    }


def test_sharegpt_keeps_every_turn_before_the_answer() -> None:
    said = [("human", "One?"), ("gpt", "Oder."), ("user", "Another?"), ("chatgpt", "Rhine.")]
    row = {"id": "b", "system": "Rivers.", "conversations": [{"from": r, "value": t} for r, t in said]}
    assert read("sharegpt", row, domain="geography") == {
        "id": "b",
        "domain": "geography",
        "messages": turns(("system", "Rivers."), ("user", "One?"), ("assistant", "Oder."), ("user", "Another?")),
        "response": "Rhine.",
    }


def test_messages_have_parts_reasoning_language_and_domain() -> None:
    row = {
        "messages": [
            {"role": "developer", "content": "In Italian."},
            {"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}]},
            {"role": "assistant", "content": "Ciao.", "reasoning_content": "Hello is ciao.", "tool_calls": None},
        ],
        "language": "it",
        "domain": "translation",
        "system": "the conversation has its own",
    }
    assert read("messages", row) == {
        "messages": turns(("system", "In Italian."), ("user", "Say hello.")),
        "response": "<think>\nHello is ciao.\n</think>\nCiao.",
        "language": "it",
        "domain": "translation",
    }


def test_a_chat_that_ends_with_a_question_has_an_answer_before_it_and_asks_all_of_it(tmp_path: Path) -> None:
    said = turns(("user", "One?"), ("assistant", "Oder."), ("user", "Another?"))
    path = tmp_path / "chats.json"
    path.write_text(json.dumps([{"messages": said}]))
    (prompt,) = find_replies(ImportStep(kind="import", path=str(path), layout="messages")).prompts.values()
    assert [m.content for m in prompt.messages] == ["One?"]
    (asked,) = prompts_of(FileSpec(path=str(path), layout="messages")).prompts
    assert [m.content for m in asked.messages] == ["One?", "Oder.", "Another?"]


def chat(*said: tuple[Any, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in said]}


ASKED = ("human", "Hi")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x"}, "there is no column 'conversations'; the row has: text"),
        ({"conversations": "hello"}, "the conversation is no list of turns"),
        ({"conversations": []}, "the conversation is no list of turns"),
        ({"conversations": [7]}, "a turn is no object"),
        (chat(ASKED), "there is no turn of an assistant"),
        (chat(("gpt", "Hi")), "the conversation does not start with a user"),
        (chat(("system", "Hi"), ("gpt", "Hi")), "the conversation does not start with a user"),
        (chat(("tool", "1")), "a turn of 'tool'; taken are system, user (human) and assistant (gpt)"),
        (chat((["human"], "1")), "a turn of ['human']; taken are system, user (human) and assistant (gpt)"),
        (chat(ASKED, ("gpt", None)), "a turn holds NoneType where text belongs"),
        (chat(ASKED, ("gpt", " ")), "the last turn of the assistant is empty"),
        (chat(("human", " "), ("gpt", "Hi")), "the last question is empty"),
        (chat(ASKED, ("gpt", "Hi"), ("gpt", "Ho")), "the answer follows a turn of 'assistant', not one of a user"),
        (chat(ASKED, ("gpt", "Hi")) | {"tools": "[{}]"}, "it has tools, which are not taken"),
        (
            {"conversations": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
            "a turn calls tools, which are not taken",
        ),
        (chat(("human", [{"type": "image_url"}])), "a turn holds a part of type 'image_url'; only text is taken"),
        (chat(("human", [7])), "a turn holds a part of type 'int'; only text is taken"),
        (chat(("human", "x" * 1_000_001), ("gpt", "Hi")), "the prompt is longer than 1,000,000 characters"),
    ],
)  # fmt: skip
def test_a_chat_that_cannot_be_taken_says_why(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="no trajectory in it") as told:
        find_replies(ImportStep(kind="import", path=str(path), layout="sharegpt"))
    assert str(told.value).endswith(f"chats.jsonl:1: left out: {reason}")


def test_odd_alpaca_rows_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Hi", "output": "Ho"},
        {"instruction": 7, "output": "Ho"},
        {"instruction": "", "output": "Ho"},
        {"instruction": "Hi", "history": [["alone"]], "output": "Ho"},
        {"instruction": "Hi", "history": 7, "output": "Ho"},
        {"instruction": "Hi", "output": ""},
        {"instruction": "Hi", "system": ["x"], "output": "Ho"},
        {"instruction": "lone \ud800 and NUL \x00", "output": "\ud800\x00"},
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = find_replies(ImportStep(kind="import", path=str(path), layout="alpaca"))
    assert len(found.prompts) == 2
    assert [note.split(":")[1] for note in found.notes] == list("234567")
    assert found.text == "8 rows = 2 wanted + 6 left out"


def test_placeholders_in_hostile_rows_cost_a_look(tmp_path: Path) -> None:
    rows = [json.dumps({"instruction": "{{ " * 300_000 + "{{name}}", "output": "{" * 1_000_000})]
    # About what JSON refuses by itself, which depends on how deep this is called.
    depth = 950
    rows.append('{"instruction": "Hi", "output": "Ho", "deep": ' + "[" * depth + "]" * depth + "}")
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(rows) + "\n")
    found = find_replies(ImportStep(kind="import", path=str(path), layout="alpaca", fill={"name": "Ada"}))
    assert [p.messages[0].content[-6:] for p in found.prompts.values()] == ["{{ Ada"]
    (note,) = found.notes
    assert note.startswith("chats.jsonl:2: left out: ") and note.endswith("nested too deeply")


def test_the_cap_takes_the_same_rows_in_any_order_and_a_limit_some_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataengine.reusing, "_BATCH", 20)
    rows = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(300)]

    def found(rows: list[dict[str, Any]], limit: int | None = None, **settings: Any) -> list[str]:
        path = tmp_path / "chats.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        held = find_replies(ImportStep(kind="import", path=str(path), **settings), limit)
        assert held.read == len(held.prompts) + held.repeated + held.over + len(held.notes) == len(rows)
        return sorted(held.ids)

    every = found(rows)
    assert len(every) == 300
    assert found(rows, max_rows=10) == found(rows[::-1] + rows, max_rows=10) == every[:10]
    assert found(rows, 4, max_rows=10) == found(rows, 4) == every[:4]
    assert found(rows, 20, max_rows=10) == every[:10]


said = st.lists(st.tuples(st.sampled_from(["system", "human", "gpt"]), st.text(max_size=5)), max_size=6)


@given(said)
def test_no_turn_before_the_answer_is_lost(said: list[tuple[str, str]]) -> None:
    given_turns = [{"from": role, "value": text} for role, text in said]
    try:
        turns = turns_of(given_turns)
        asked, response = answered(turns)
    except ValueError:
        return
    assert turns[: len(asked)] == asked
    assert turns[len(asked)] == {"role": "assistant", "content": response}
    assert all(turn["role"] != "assistant" for turn in turns[len(asked) + 1 :])
    assert asked[-1]["role"] == "user"
