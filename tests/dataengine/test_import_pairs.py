"""`import --as pairs`: preferences that somebody has become two trajectories, a pair, and what the file says of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def imported(cli: Cli, tmp_path: Path) -> Callable[..., Any]:
    """Imports rows as pairs into `data`."""

    def run(rows: list[Any], *more: object) -> Any:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "pairs.jsonl").write_text("".join(line + "\n" for line in lines))
        return cli("import", "pairs.jsonl", "--as", "pairs", "--with", "length", *more, "--warehouse", "data")

    return run


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


# What the file says, by the view that mixes go by.
HELD = """
SELECT c.messages, c.text, r.text, p.kept
FROM preferences p
JOIN trajectory_facts c ON c.trajectory_id = p.chosen_id
JOIN trajectory_facts r ON r.trajectory_id = p.rejected_id
WHERE p."check" = 'imported'
ORDER BY c.text
"""
ASKED = [turn("user", "Hi")]


@pytest.mark.slow
def test_replies_are_text_a_turn_or_a_conversation(imported: Any, rows: Any) -> None:
    talk = [turn("system", "Be kind."), turn("user", "Hi"), turn("assistant", "Ho"), turn("user", "And now?")]
    file = [
        {"prompt": "Hi", "chosen": "a: text", "rejected": "worse"},
        {"prompt": ASKED, "chosen": [turn("assistant", "b: TRL")], "rejected": [turn("assistant", "worse")]},
        {
            "prompt": "And now?",
            "chosen": [*talk, turn("assistant", "c: whole")],
            "rejected": [*talk, turn("assistant", "worse")],
        },
        {"messages": talk, "chosen": turn("assistant", "d: turn"), "rejected": turn("assistant", "worse")},
    ]
    done = imported(file, "--policy", "them@1")
    assert (done.code, done.err.count("left out")) == (0, 0)
    assert done.out.splitlines()[0] == "pairs: 4 rows = 4 added + 0 there before + 0 left out"
    assert rows(HELD) == [
        (ASKED, "a: text", "worse", True),
        (ASKED, "b: TRL", "worse", True),
        (talk, "c: whole", "worse", True),
        (talk, "d: turn", "worse", True),
    ]
    assert rows("SELECT DISTINCT engine, policy FROM trajectories") == [("import", "them@1")]
    # Which of the two is called a does not tell which was chosen.
    assert rows("SELECT count(*) FROM pairs WHERE a_id < b_id") == [(4,)]
    told = rows("SELECT stage, \"check\", applicable, pending FROM funnel WHERE \"check\" IN ('imported', 'length')")
    assert sorted(told) == [("(pairs)", "imported", 4, 0), ("reasoning", "length", 6, 0)]
    again = imported(file, "--policy", "them@1")
    assert again.out == "pairs: 4 rows = 0 added + 4 there before + 0 left out\n"
    assert rows("SELECT count(*) FROM runs WHERE event = 'started'") == [(1,)]


@pytest.mark.parametrize(
    ("layout", "asked"),
    [
        ("sharegpt", {"conversations": [{"from": "human", "value": "Hi"}]}),
        ("alpaca", {"instruction": "Hi", "input": ""}),
        ("messages", {"messages": ASKED}),
    ],
)
def test_the_layouts_of_chats_have_their_pairs(imported: Any, rows: Any, layout: str, asked: dict[str, Any]) -> None:
    file = [asked | {"chosen": {"from": "gpt", "value": "Ho"}, "rejected": {"from": "gpt", "value": "No"}}]
    assert imported(file, "--layout", layout).code == 0
    assert rows(HELD) == [(ASKED, "Ho", "No", True)]


def test_pairs_that_cannot_be_taken_are_named(imported: Any) -> None:
    good = {"prompt": "Hi", "chosen": "Ho", "rejected": "No"}
    bad = [
        ("{torn", "no JSON: Expecting property name enclosed in double quotes at column 2"),
        ({"prompt": "Hi", "chosen": "Ho"}, "there is no column 'rejected'; the row has: prompt, chosen"),
        ({"chosen": "Ho", "rejected": "No"}, "there is no column 'prompt'; the row has: chosen, rejected"),
        (good | {"rejected": "Ho"}, "`chosen` and `rejected` say the same"),
        (good | {"rejected": " "}, "`chosen` or `rejected` is empty"),
        (good | {"rejected": None}, "the conversation is no list of turns"),
        (good | {"rejected": [turn("user", "No")]}, "`chosen` or `rejected` is no turn of an assistant"),
        (
            good | {"rejected": [turn("user", "Hey"), turn("assistant", "No")]},
            "`chosen` and `rejected` answer different conversations",
        ),
        (
            good | {"prompt": [*ASKED, turn("assistant", "x")]},
            "the answer follows a turn of 'assistant', not one of a user",
        ),
        (good | {"chosen": "No", "rejected": "Ho"}, "the pair of pairs.jsonl:1 the other way round"),
    ]  # fmt: skip
    done = imported([good, *(row for row, _ in bad), good])
    assert done.code == 1
    assert done.out.splitlines()[0] == "pairs: 12 rows = 1 added + 1 there before + 10 left out"
    said = [line for line in done.err.splitlines() if "left out" in line]
    assert said == [f"pairs.jsonl:{n}: left out: {reason}" for n, (_, reason) in enumerate(bad, start=2)]


@pytest.mark.slow
def test_a_file_without_pairs_and_a_killed_import(
    imported: Any, rows: Any, refused: Any, monkeypatch: pytest.MonkeyPatch, killed_at: Any
) -> None:
    import dataengine.pair_import

    file = [{"prompt": f"What is {i}?", "chosen": f"{i}", "rejected": f"{i + 1}"} for i in range(6)]
    monkeypatch.setattr(dataengine.pair_import, "_BATCH", 4)
    for table, after in (("pairs", 0), ("pair_verdicts", 1)):
        with killed_at(table, after):
            imported(file)
    assert imported(file).out.splitlines()[0] == "pairs: 6 rows = 2 added + 4 there before + 0 left out"
    for table, count in (("trajectories", 12), ("pairs", 6), ("pair_verdicts", 6), ("prompts", 6)):
        assert rows(f"SELECT count(*) FROM {table}") == [(count,)]
    told = refused("import", "pairs.jsonl", "--as", "pairs", "--layout", "sharegpt", "--warehouse", "data")
    assert "no pair in it; first problem: pairs.jsonl:1: left out: there is no column 'conversations'" in told
