"""The formats that snapshots are exported in: which kinds of rows each holds, and its columns as SQL."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

REASONING = ("content", "split")

_ABOUT = "prompt_id, domain, source, language"
_IDS = f"trajectory_id, {_ABOUT}, policy, weight"

# The parts of a message `m`, as `dataengine.prompting.take_apart` tells them: all up to the first closing tag is the
# reasoning. Each is a string, empty where there is nothing; both are linear in the text.
_SPACE = "E' \\n'"
_TAGGED = "starts_with(m.content, '<think>') AND contains(m.content, '</think>')"
_THOUGHT = f"trim(substr(split_part(m.content, '</think>', 1), 8), {_SPACE})"
_REST = f"trim(array_to_string(string_split(m.content, '</think>')[2:], '</think>'), {_SPACE})"
_MARKS = "string_split(m.content, '|special_token|')"
_MARKED = f"starts_with(m.content, '|special_token|') AND len({_MARKS}) = 3"
_APART = {
    "content": f"""CASE WHEN m.role <> 'assistant' THEN m.content WHEN {_TAGGED} THEN {_REST}
        WHEN {_MARKED} THEN trim({_MARKS}[3], {_SPACE}) ELSE m.content END""",
    "reasoning": f"""CASE WHEN m.role <> 'assistant' THEN NULL WHEN {_TAGGED} THEN {_THOUGHT}
        WHEN {_MARKED} THEN trim({_MARKS}[2], {_SPACE}) ELSE '' END""",
}
_SPEAKER = "CASE m.role WHEN 'user' THEN 'human' WHEN 'assistant' THEN 'gpt' ELSE m.role END"


@dataclass(frozen=True)
class Format:
    """One format.

    `kinds` gives by kind of rows the SELECT list, reasoning inside the content or split; `splits` is whether it can be
    split at all. `turns` is the one column of messages that LLaMA-Factory and Axolotl are pointed to, with its keys for
    role and content and the names of user and assistant; None where they read no such column of it.
    """

    kinds: Mapping[str, Callable[[str], str]]
    ending: Literal["parquet", "jsonl"] = "parquet"
    splits: bool = False
    turns: "Turns | None" = None

    @property
    def options(self) -> str:
        """The options of DuckDB's COPY."""
        if self.ending == "jsonl":
            return "FORMAT json"
        # Row groups are small, so that a reader's first batch is there soon; the level is pyarrow's, which is faster.
        return "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 20480"


@dataclass(frozen=True)
class Turns:
    """A column of messages: its name, the keys within a message, and what user and assistant are called."""

    column: str
    role: str
    content: str
    user: str
    assistant: str


_OPENAI_TURNS = Turns("messages", "role", "content", "user", "assistant")
_SHAREGPT_TURNS = Turns("conversations", "from", "value", "human", "gpt")


def _messages(messages: str, reasoning: str) -> str:
    """A list of messages, in SQL; `split` gives each the key `reasoning_content`, NULL but for the assistant's."""
    if reasoning == "content":
        return messages
    parts = f"'content': {_APART['content']}, 'reasoning_content': {_APART['reasoning']}"
    return f"list_transform({messages}, lambda m: {{'role': m.role, {parts}}})"


def _conversations(reasoning: str) -> str:
    split = reasoning == "split"
    value = f"'value': {_APART['content'] if split else 'm.content'}"
    thought = f", 'reasoning_content': {_APART['reasoning']}" if split else ""
    return f"list_transform(messages, lambda m: {{'from': {_SPEAKER}, {value}{thought}}}) AS conversations, {_IDS}"


# The turns of a conversation without its system message.
_TURNS = "if(messages[1].role = 'system', messages[2:], messages)"
#: Whether the turns of a row's `messages` alternate between user and assistant, after at most one system message.
ALTERNATES = f"""(len({_TURNS}) % 2 = 0 AND len(list_filter({_TURNS},
    lambda m, i: m.role <> if(i % 2 = 1, 'user', 'assistant'))) = 0)"""
_ALPACA = f"""messages[-2].content AS instruction, '' AS input, messages[-1].content AS output,
    if(messages[1].role = 'system', messages[1].content, '') AS system,
    list_transform(range(1, len({_TURNS}) - 2, 2),
        lambda i: [({_TURNS})[i].content, ({_TURNS})[i + 1].content]) AS history, {_IDS}"""

FORMATS: dict[str, Format] = {
    "messages": Format(
        {"samples": lambda reasoning: f"{_messages('messages', reasoning)} AS messages, {_IDS}"},
        splits=True,
        turns=_OPENAI_TURNS,
    ),
    "prompt-completion": Format(
        {
            "samples": lambda reasoning: (
                f"{_messages('messages[:-2]', reasoning)} AS prompt, "
                f"{_messages('messages[-1:]', reasoning)} AS completion, {_IDS}"
            ),
            "labels": lambda reasoning: (
                f"{_messages('prompt', reasoning)} AS prompt, {_messages('completion', reasoning)} AS completion, "
                f"label, score, {_IDS}"
            ),
        },
        splits=True,
    ),
    "openai": Format(
        {"samples": lambda reasoning: f"{_messages('messages', reasoning)} AS messages"},
        ending="jsonl",
        splits=True,
        turns=_OPENAI_TURNS,
    ),
    "sharegpt": Format({"samples": _conversations}, splits=True, turns=_SHAREGPT_TURNS),
    "alpaca": Format({"samples": lambda _: _ALPACA}),
    "preference": Format(
        {
            "pairs": lambda _: (
                "prompt, chosen, rejected, score, pair_id, chosen_id, rejected_id, "
                f"{_ABOUT}, chosen_policy, rejected_policy, weight"
            )
        }
    ),
    "prompts": Format(
        {"prompts": lambda _: f"prompt, reference, verifier, metadata, answer_form, solve_rate, n, {_ABOUT}, weight"}
    ),
}

#: In lines of JSON the key `reasoning_content` stands with the assistant's messages alone.
LINES = """list_transform(messages, lambda m: CASE WHEN m.reasoning_content IS NULL
    THEN json_object('role', m.role, 'content', m.content)
    ELSE json_object('role', m.role, 'content', m.content, 'reasoning_content', m.reasoning_content) END) AS messages"""
