"""The layouts that chats for fine-tuning come in: Alpaca, ShareGPT, and messages as the OpenAI API has them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataengine.prompting import assemble

Turn = dict[str, str]
Fields = dict[str, Any]

# Columns beside the chat that are called what our fields are.
OWN = ("id", "domain", "language", "reference")
_ROLES = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}


def alpaca(row: Mapping[str, Any]) -> Fields:
    """Alpaca: `instruction`, with `input` below it, and `output`; `system` and `history` as LLaMA-Factory has them."""
    turns = _system(row)
    for asked, answered in row.get("history") or []:
        turns += [_turn("user", asked), _turn("assistant", answered)]
    parts = [row["instruction"], row.get("input")]
    turns.append(_turn("user", "\n".join(_text(p) for p in parts if p)))
    if row.get("output") is not None:
        turns.append(_turn("assistant", row["output"]))
    return _fields(row, turns)


def sharegpt(row: Mapping[str, Any]) -> Fields:
    """ShareGPT: `conversations`, turns with `from` and `value`; a column `system` goes first."""
    return _chat(row, row["conversations"])


def messages(row: Mapping[str, Any]) -> Fields:
    """Messages of the OpenAI API and of Hugging Face: `messages`, turns with `role` and `content`."""
    return _chat(row, row["messages"])


CHATS: dict[str, Callable[[dict[str, Any]], Fields]] = {"alpaca": alpaca, "sharegpt": sharegpt, "messages": messages}
COLUMNS = {"alpaca": "instruction", "sharegpt": "conversations", "messages": "messages"}
"""The column by which each layout is told."""


def _chat(row: Mapping[str, Any], given: Any) -> Fields:
    turns = turns_of(given)
    return _fields(row, turns if turns and turns[0]["role"] == "system" else _system(row) + turns)


def _system(row: Mapping[str, Any]) -> list[Turn]:
    return [_turn("system", row["system"])] if row.get("system") else []


def _fields(row: Mapping[str, Any], turns: list[Turn]) -> Fields:
    if row.get("tools") and row["tools"] != "[]":
        raise ValueError("it has tools, which are not taken")
    fields: Fields = {f: row[f] for f in OWN if row.get(f) is not None}
    if turns and turns[-1]["role"] == "assistant":
        asked, response = answered(turns)
        return fields | {"messages": asked, "response": response}
    return fields | {"messages": turns}


def answered(turns: Sequence[Turn]) -> tuple[list[Turn], str]:
    """A conversation as what was asked and the last answer to it; what comes after that is left out.

    Raises ValueError where there is no answer, an empty one, or one that answers nobody.
    """
    places = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    if not places:
        raise ValueError("there is no turn of an assistant")
    asked, response = list(turns[: places[-1]]), turns[places[-1]]["content"]
    if not response.strip():
        raise ValueError("the last turn of the assistant is empty")
    refuse_no_question(asked)
    return asked, response


def refuse_no_question(turns: Sequence[Turn]) -> None:
    """Raises ValueError for turns that no answer can follow, or that start with one."""
    spoken = [turn for turn in turns if turn["role"] != "system"]
    if not spoken or spoken[0]["role"] != "user":
        raise ValueError("the conversation does not start with a user")
    if turns[-1]["role"] != "user":
        raise ValueError(f"the answer follows a turn of {turns[-1]['role']!r}, not one of a user")
    if not turns[-1]["content"].strip():
        raise ValueError("the last question is empty")


def turns_of(given: Any) -> list[Turn]:
    """Turns in either form, with our names for roles. Raises ValueError for what is none, or no text."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError("the conversation is no list of turns")
    return [turn_of(turn) for turn in given]


def turn_of(given: Any) -> Turn:
    """One turn in either form. Raises ValueError as `turns_of`."""
    if not isinstance(given, Mapping):
        raise ValueError("a turn is no object")
    role = given.get("role", given.get("from"))
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(f"a turn of {role!r}; taken are system, user (human) and assistant (gpt)")
    if given.get("tool_calls"):
        raise ValueError("a turn calls tools, which are not taken")
    said = _turn(_ROLES[role], given["content"] if "content" in given else given.get("value"))
    # Servers of reasoning models split it off.
    thought = given.get("reasoning_content")
    if thought and said["role"] == "assistant":
        said["content"] = assemble(_text(thought), said["content"])
    return said


def _turn(role: str, content: Any) -> Turn:
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(_part(part) for part in content)
    return {"role": role, "content": _text(content)}


def _part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if kind != "text":
        raise ValueError(f"a turn holds a part of type {kind!r}; only text is taken")
    return _text(part.get("text", part.get("value")))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a turn holds {type(value).__name__} where text belongs")
    return value


def filler(texts: Mapping[str, str]) -> Callable[[Any], Any]:
    """A function that puts `texts` where their placeholders stand, in every string of a value.

    It raises ValueError for a value that is nested too deeply.

    >>> filler({"name": "Ada"})({"output": ["I am {{name}}, {{ name }}, {{author}}."]})
    {'output': ['I am Ada, Ada, {{author}}.']}
    """
    names = "|".join(map(re.escape, texts))
    placeholder = re.compile(rf"\{{\{{ ?({names}) ?\}}\}}")

    def within(value: Any) -> Any:
        if isinstance(value, str):
            return placeholder.sub(lambda found: texts[found[1]], value) if "{{" in value else value
        if isinstance(value, list):
            return [within(item) for item in value]
        return {k: within(v) for k, v in value.items()} if isinstance(value, dict) else value

    def fill(value: Any) -> Any:
        try:
            return within(value)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    return fill
