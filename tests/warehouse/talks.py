"""Conversations that are awkward to export, and snapshots of every kind of rows made of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from dataengine.prompting import take_apart
from schemas.mix import MixFile
from schemas.records import Message, Prompt
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse

if TYPE_CHECKING:
    from tests.warehouse.conftest import MakePair, MakeTrajectory, MakeVerdict

Turn = tuple[str, str]
Talk = list[Turn]

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
TALKS: list[Talk] = [
    [(USER, "What is 1 + 1? 😀")],
    [(SYSTEM, 'Be "brief".\nAlways.'), (USER, "What is 2 + 2?")],
    [(SYSTEM, "Be kind."), (USER, "Hello"), (ASSISTANT, "Hello. What may I do?"), (USER, "What is 3 + 3?")],
    [(USER, "One"), (ASSISTANT, "<think>\nCount.\n</think>\nTwo"), (USER, "Three"), (ASSISTANT, "Four"), (USER, "?")],
    [(USER, "What is 5 + 5?")],
    [(USER, "How does one end a thought?")],
    [(USER, "What is 7 + 7?")],
    [(USER, "What is 8 + 8?")],
]
# Reasoning and answer of the reply to each.
REPLIES: list[tuple[str | None, str | None]] = [
    ("One and one.\n\nTwo 😀.", "2"),
    ("Two and two.", "4\n\nIndeed."),
    ("Three and three.", "6"),
    ("Five follows.", "Five"),
    (None, "10"),
    ("By a tag.", "With </think>, once."),
    ("", "14"),
    ("Never closed", None),
]
ENDLESS: Talk = [(USER, "One"), (USER, "Two")]
# With a system message that says nothing, and characters that a reader of lines or of tokens may trip over.
ALL_TALKS: list[Talk] = [
    *TALKS,
    [(SYSTEM, ""), (USER, "Was ist 9 + 9?\u2028\x0b\x85 Größe: ½ ☃")],
    [(USER, '  space around, a tab\t, \\n and "quotes"  \r\n')],
]


def kept(snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split, in the order of the snapshot's files."""
    return {
        split: [row for file in files for row in pq.read_table(file).to_pylist()]
        for split in ("train", "validation")
        if (files := snapshot.data_files(split))
    }


def talk_of(row: dict[str, Any]) -> Talk:
    return [(m["role"], m["content"]) for m in row["messages"]]


def said(turns: list[dict[str, Any]], role: str = "role", content: str = "content") -> Talk:
    """Messages of an export as turns, thoughts that stand apart back in their tags."""
    names = {"human": USER, "gpt": ASSISTANT}
    talk = []
    for turn in turns:
        thought = turn.get("reasoning_content")
        whole = f"<think>\n{thought}\n</think>\n{turn[content]}" if thought else turn[content]
        talk.append((names.get(turn[role], turn[role]), whole))
    return talk


def apart(talk: Talk) -> Talk:
    """Turns whose reasoning was taken apart and put together again: without the tags of an empty thought."""
    parts = [(role, content, take_apart(content) if role == ASSISTANT else None) for role, content in talk]
    return [
        (role, content if part is None else f"<think>\n{part.reasoning}\n</think>\n{part.answer or ''}")
        if part is not None and part.reasoning
        else (role, content if part is None else part.answer or "")
        for role, content, part in parts
    ]


SOURCES: dict[str, dict[str, Any]] = {
    "samples": {"stage": "reasoning", "require": ["exact"], "target": {"rows": 18}, "max_epochs": 3},
    "pairs": {"policy": "rule", "show": "whole", "balanced": False},
    "labels": {"stage": "reasoning", "check": "exact"},
    "prompts": {"domain": "math", "verifiers": ["exact"], "stage": "reasoning"},
}


def snapshots_of_every_kind(
    folder: Path, make_trajectory: "MakeTrajectory", make_verdict: "MakeVerdict", make_pair: "MakePair"
) -> dict[str, Snapshot]:
    """A snapshot of each kind of rows, by kind; every conversation has a right and a wrong reply."""
    warehouse = Warehouse.open(folder, create=True)
    for i, talk in enumerate(ALL_TALKS):
        asked = [Message.model_validate({"role": role, "content": content}) for role, content in talk]
        prompt = Prompt.make(
            asked, domain="math", source="talks", reference=f"{i}", verifier="exact", metadata={"level": i}
        )
        thought, answer = REPLIES[i % len(REPLIES)]
        right = make_trajectory(prompt, 0, reasoning=thought, answer=answer)
        wrong = make_trajectory(prompt, 1, reasoning="Guessed.", answer="I do not know: ≈ 0")
        warehouse.append("prompts", [prompt])
        warehouse.append("trajectories", [right, wrong])
        warehouse.append("pairs", [make_pair(right, wrong)[0]])
        warehouse.append(
            "verdicts",
            [
                make_verdict(reply, outcome, check="exact", against=prompt.against)
                for reply, outcome in ((right, "pass"), (wrong, "fail"))
            ],
        )
    made = {}
    for kind, source in SOURCES.items():
        mix = MixFile.model_validate({"mix": kind, "rows": kind, "sources": [source], "validation": 0.3}).root
        made[kind], _ = create_snapshot(folder, mix, {"plain": None})
    return made
