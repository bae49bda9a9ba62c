"""`import` and `check` over anybody's files: every row is accounted for, and what cannot be read is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Cli = Callable[..., Any]
THOUGHT = "<think>\nI add one and one and get two.\n</think>\nIt is 2.\n<answer>2</answer>"


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Any, name: str = "some.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
        return path

    return write


def test_importing_prompts_twice_changes_nothing_the_second_time(cli: Cli, lines: Any, rows: Any) -> None:
    path = lines(*({"id": i, "prompt": f"What is {i} + 1?", "reference": str(i + 1)} for i in range(1, 6)))
    done = cli("import", path, "--as", "prompts", "--domain", "math", "--warehouse", "data")
    assert (done.code, done.err) == (0, "")
    assert done.out == "prompts: 5 rows = 5 added + 0 there before + 0 left out\n"
    again = cli("import", path, "--as", "prompts", "--domain", "math", "--warehouse", "data")
    assert again.out == "prompts: 5 rows = 0 added + 5 there before + 0 left out\n"
    assert rows("SELECT source, source_ref, reference, verifier, domain FROM prompts ORDER BY 2 LIMIT 1") == [
        ("some", "1", "2", "math", "math")
    ]


def test_every_row_that_is_left_out_is_named_with_its_line_and_reason(cli: Cli, lines: Any, rows: Any) -> None:
    path = lines(
        {"id": "a", "prompt": "What is 1 + 1?", "reference": "2"},
        b"\xff\xfe not text\n",
        b"[1, 2]\n",
        b'{"prompt": "unfinished\n',
        {"id": "a", "prompt": "What is 2 + 2?", "reference": "4"},
        {"prompt": "What is 1 + 1?", "reference": "3"},
        {"question": "What is 3 + 3?"},
        {"prompt": "   "},
        {"prompt": 5},
        {"prompt": "x" * 10_000_000},
        {"messages": [{"role": "tool", "content": "x"}]},
        b"\n",
        b'{"prompt": "What is 5 + 5?", "reference": "1',
    )
    done = cli("import", path, "--as", "prompts", "--warehouse", "data")
    assert done.code == 1
    assert done.out == "prompts: 12 rows = 1 added + 0 there before + 11 left out\n"
    said = [line.removeprefix("some.jsonl:").replace(": left out: ", " ", 1) for line in done.err.splitlines()]
    assert said == [
        "2 not UTF-8 at byte 0 of the line",
        "3 a JSON list, not an object",
        "4 no JSON: Invalid control character at at column 23",
        "5 id 'a' stands already at some.jsonl:1",
        "6 the prompt of some.jsonl:1 again with another reference ('2' there)",
        "7 there is no column 'prompt'; the row has: question",
        "8 the prompt is empty",
        "9 the prompt is empty",
        "10 the prompt is longer than 1,000,000 characters",
        "11 role: Input should be 'system', 'user' or 'assistant'",
        "13 no JSON: Unterminated string starting at at column 43 (the last line; was the file cut off?)",
    ]
    assert rows("SELECT count(*) FROM prompts") == [(1,)]


def test_a_long_line_that_fits_is_taken(cli: Cli, lines: Any, rows: Any) -> None:
    path = lines({"prompt": "x" * 900_000, "notes": "y" * 10_000_000})
    assert cli("import", path, "--as", "prompts", "--warehouse", "data").code == 0
    assert rows("SELECT length(messages[1].content) FROM prompts") == [(900_000,)]


def test_more_than_twenty_notes_are_counted(cli: Cli, lines: Any) -> None:
    path = lines({"prompt": "one that is right"}, *({} for _ in range(25)))
    done = cli("import", path, "--as", "prompts", "--warehouse", "data")
    assert done.err.splitlines()[20:] == ["... and 5 more"]
    assert done.out == "prompts: 26 rows = 1 added + 0 there before + 25 left out\n"


def test_a_column_of_another_name_is_mapped_and_a_wrong_one_is_named(cli: Cli, refused: Any, lines: Any) -> None:
    path = lines({"q": "What is 1 + 1?", "a": "2"})
    line = refused("import", path, "--as", "prompts", "--map", "prompt=question")
    assert "there is no column 'prompt'; the row has: q, a" in line
    assert cli("import", path, "--as", "prompts", "--map", "prompt=q", "--map", "reference=a").code == 0


@pytest.mark.slow
def test_another_reference_from_another_source_is_a_conflict(cli: Cli, lines: Any, rows: Any) -> None:
    cli("import", lines({"prompt": "What is 1 + 1?", "reference": "2"}), "--as", "prompts", "--warehouse", "data")
    other = lines({"prompt": "What is 1 + 1?", "reference": "3"}, name="other.jsonl")
    done = cli("import", other, "--as", "prompts", "--warehouse", "data")
    assert (
        done.out
        == "prompts: 1 rows = 1 added + 0 there before + 0 left out; 1 prompts now have conflicting references\n"
    )
    assert rows("SELECT reference, conflict FROM prompts_current") == [(None, True)]
    assert "1 prompts have conflicting references" in cli("status", "--warehouse", "data").out
    ident = rows("SELECT prompt_id FROM prompts")[0][0]
    assert "CONFLICT: " in cli("explain", ident, "--warehouse", "data").out
    done = cli("import", other, "--as", "prompts", "--source", "resolution", "--warehouse", "data")
    assert rows("SELECT reference, conflict FROM prompts_current") == [("3", False)]


@pytest.mark.slow
def test_trajectories_are_imported_once_with_their_prompts(cli: Cli, lines: Any, rows: Any) -> None:
    path = lines(
        {"prompt": "What is 1 + 1?", "reference": "2", "response": THOUGHT},
        {"prompt": "What is 1 + 1?", "reference": "2", "response": "3"},
        {"prompt": "What is 1 + 1?", "response": None},
        {"response": "no prompt"},
        {"prompt": "What is 1 + 1?", "reference": "2", "response": THOUGHT},
    )
    args = ("import", path, "--as", "trajectories", "--policy", "them@2", "--warehouse", "data")
    done = cli(*args)
    assert done.code == 1
    told = "trajectories: 5 rows = 2 added + 1 there before + 2 left out\n"
    assert done.out == told + "features: 2 verdicts (2 pass)\n"
    assert done.err.splitlines()[-2:] == [
        "some.jsonl:3: left out: there is no text in the field `response`; name its column with --map response=COLUMN",
        "some.jsonl:4: left out: there is no column 'prompt'; the row has: response",
    ]
    assert cli(*args).out == "trajectories: 5 rows = 0 added + 3 there before + 2 left out\n"
    assert rows("SELECT reasoning IS NOT NULL, policy, stage, engine, attempt FROM trajectories ORDER BY 1") == [
        (False, "them@2", "reasoning", "import", 1),
        (True, "them@2", "reasoning", "import", 1),
    ]
    assert rows("SELECT count(*) FROM prompts") == [(1,)]
    assert rows("SELECT count(*) FROM features") == [(2,)]


@pytest.mark.slow
def test_imported_trajectories_are_given_the_checks_that_are_named_once(cli: Cli, lines: Any, rows: Any) -> None:
    path = lines(
        {"prompt": "What is 1 + 1?", "reference": "2", "response": THOUGHT}, {"prompt": "Why?", "response": "So."}
    )
    args = ("import", path, "--as", "trajectories", "--warehouse", "data", "--with")
    assert cli(*args, "exact,format").out.splitlines()[1:] == [
        "exact: 1 verdicts (1 pass)",
        "format: 2 verdicts (1 fail, 1 pass)",
    ]
    assert cli(*args, "format,length").out.splitlines()[1:] == ["length: 2 verdicts (2 pass)"]
    assert cli(*args, "").out == "trajectories: 2 rows = 0 added + 2 there before + 0 left out\n"
    counts = rows('SELECT "check", count(*) FROM verdicts GROUP BY 1 ORDER BY 1')
    assert counts == [("exact", 1), ("format", 2), ("length", 2)]


def test_prompts_have_nothing_to_check_and_a_check_has_to_be_there(cli: Cli, lines: Any) -> None:
    path = lines({"prompt": "Why?", "response": "So."})
    done = cli("import", path, "--as", "prompts", "--with", "format", "--warehouse", "data")
    assert (done.code, done.err) == (2, "ConfigError: --with: prompts have nothing to check; leave it out\n")
    done = cli("import", path, "--as", "trajectories", "--with", "nothing", "--warehouse", "data")
    assert done.err.startswith("ConfigError: there is no check 'nothing'; there are: ")


# -- check


def verdicts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_check_keeps_every_line_in_order_and_counts_them(cli: Cli, lines: Any, tmp_path: Path) -> None:
    path = lines(
        {"n": 0, "prompt": "What is 1 + 1?", "reference": "2", "response": THOUGHT},
        b"broken\n",
        {"n": 2, "reference": "3", "response": THOUGHT, "extra": {"kept": [1, None]}},
        {"n": 3, "reference": "", "response": THOUGHT},
        {"n": 4, "reference": "2"},
        {"n": 5, "reference": "2", "response": "\ud800 <think> never closed"},
    )
    done = cli("check", path, "--with", "exact,format,exact", "--out", "out/checked.jsonl")
    assert done.code == 1
    assert done.out.splitlines() == [
        "exact                 6 rows = 1 pass + 2 fail + 1 undecided + 0 error + 2 unreadable",
        "format                6 rows = 3 pass + 1 fail + 0 undecided + 0 error + 2 unreadable",
    ]
    found = verdicts(tmp_path / "out" / "checked.jsonl")
    assert [row.get("n") for row in found] == [0, None, 2, 3, 4, 5]
    assert found[0]["verdicts"]["exact"]["outcome"] == "pass"
    assert list(found[0]) == ["n", "prompt", "reference", "response", "verdicts"]
    assert found[1]["verdicts"] == {}
    assert found[1]["problem"] == "no JSON: Expecting value at column 1"
    assert found[2]["extra"] == {"kept": [1, None]}
    assert found[3]["verdicts"]["exact"] == {
        "outcome": "undecided", "score": None, "reason": "no_reference", "details": {}
    }  # fmt: skip
    assert "there is no text in the field `response`" in found[4]["problem"]
    assert found[5]["response"] == "\ud800 <think> never closed"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["checked.jsonl"]


def test_each_unreadable_row_tells_its_own_problem(cli: Cli, lines: Any, tmp_path: Path) -> None:
    path = lines({"response": 7}, {"response": "2", "prompt": " "}, {"response": "2", "messages": [7]})
    assert cli("check", path, "--with", "format", "--out", "out.jsonl").code == 1
    assert [row["problem"] for row in verdicts(tmp_path / "out.jsonl")] == [
        "there is no text in the field `response`; name its column with --map response=COLUMN",
        "the prompt is empty",
        "'int' object is not iterable",
    ]


def test_check_reads_parquet_in_order(cli: Cli, tmp_path: Path) -> None:
    table = pa.table({"q": [f"What is {i}?" for i in range(700)], "text": [f"<answer>{i}</answer>" for i in range(700)],
                      "gold": [str(i - i % 2) for i in range(700)]})  # fmt: skip
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    mapped = ["--map", "response=text", "--map", "reference=gold", "--map", "prompt=q"]
    done = cli("check", "in.parquet", "--with", "exact", "--out", "out.jsonl", *mapped)
    assert done.code == 0
    assert done.out == "exact               700 rows = 350 pass + 350 fail + 0 undecided + 0 error + 0 unreadable\n"
    found = verdicts(tmp_path / "out.jsonl")
    assert [row["q"] for row in found] == table["q"].to_pylist()
    assert [row["verdicts"]["exact"]["outcome"] for row in found] == ["pass", "fail"] * 350


def test_a_reference_that_cannot_be_parsed_is_undecided_with_a_reason(cli: Cli, lines: Any, tmp_path: Path) -> None:
    path = lines(
        {"reference": "\\frac{1}{", "response": THOUGHT},
        {"reference": "2", "response": THOUGHT},
    )
    cli("check", path, "--with", "math", "--out", "out.jsonl")
    outcomes = [
        (v["outcome"], bool(v["reason"])) for v in (r["verdicts"]["math"] for r in verdicts(tmp_path / "out.jsonl"))
    ]
    assert outcomes == [("undecided", True), ("pass", False)]
