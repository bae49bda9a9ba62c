"""`make-tests` over a file of problems, and what `check` and `import` make of the rows it writes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataengine.sources.files import prompts_of
from dataengine.verify import sandbox
from schemas.recipe import FileSource

Cli = Callable[..., Any]
why = sandbox.problem()
runs = pytest.mark.skipif(why is not None, reason=f"no program can be run here: {why}")

# -1 2, 0 1, 3 0, 8 -1, -10 -2, -6 -3
PAIR = "n = int(input())\nprint((n % 5 - 2) * n, 3 - n)"
ADD = "a, b = map(int, input().split())\nprint(a + b)"
SUM = "print(sum(map(int, input().split())))"
ONLY_POSITIVE = "a, b = map(int, input().split())\nprint(abs(a) + abs(b))"
NOT_NEGATIVE = "a, b = map(int, input().split())\nassert a + b >= 0\nprint(a + b)"
PROBLEM = {
    "id": "add",
    "prompt": "Print the sum of two numbers.",
    "generators": [PAIR],
    "correct": [ADD, {"language": "python", "program": SUM}],
    "incorrect": [ONLY_POSITIVE, NOT_NEGATIVE, SUM],
    "verify": {"time_limit": 4, "cases": [["1 1\n", "2\n"]]},
}


def written(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@runs
def test_every_problem_comes_back_in_order_and_is_accounted_for(cli: Cli, tmp_path: Path) -> None:
    written(
        tmp_path / "in.jsonl",
        PROBLEM,
        b"torn\n",
        {"id": "no program", "generators": [PAIR]},
        {"id": "disagree", "generators": [PAIR], "correct": ["print(1)", "print(2)"], "incorrect": ["x = ("] * 2},
        {"id": "language", "generators": [PAIR], "correct": [{"program": "x", "language": "cobol"}]},
    )
    done = cli("make-tests", "in.jsonl", "--out", "new/out.jsonl", "--seeds", 5, "--most", 3)
    assert done.code == 1
    found = read(tmp_path / "new" / "out.jsonl")
    assert [row.get("id") for row in found] == ["add", None, "no program", "disagree", "language"]
    add, torn, missing, disagree, language = found
    assert list(add) == [*PROBLEM, "made_tests"]
    assert (add["verify"]["language"], add["verify"]["time_limit"]) == ("python", 4)
    assert add["verify"]["cases"] == [["1 1\n", "2\n"], ["-10 -2\n", "-12\n"], ["-1 2\n", "1\n"], ["8 -1\n", "7\n"]]
    assert add["made_tests"]["exposed"] == {"incorrect[0]": "wrong_answer", "incorrect[1]": "runtime_error"}
    assert add["made_tests"]["survivors"] == ["incorrect[2]"]
    assert torn == {"problem": "no JSON: Expecting value at column 1"}
    assert missing["problem"] == "there is no column 'correct'; the row has: id, generators"
    assert disagree["made_tests"]["dropped"] == {"disagree": 5}
    assert "verify" not in disagree
    assert language["problem"].startswith("correct.0.language: Input should be 'python', 'cpp' or 'javascript'")
    assert done.out.splitlines() == [
        "incorrect             5 submissions = 2 exposed + 3 survivors + 0 beyond + 0 set aside",
        "inputs               10 generated = 3 kept + 5 disagree + 2 exposes_nothing",
        "problems              5 rows = 1 with tests + 1 without + 0 error + 3 unreadable",
    ]
    assert [line for line in done.err.splitlines() if line.startswith("in.jsonl:4")] == [
        "in.jsonl:4: no tests, 5 inputs = 5 disagree: the correct submissions print different answers"
    ]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out.jsonl"]


@runs
def test_what_it_writes_tells_right_programs_from_wrong_ones(cli: Cli, tmp_path: Path) -> None:
    written(tmp_path / "in.jsonl", PROBLEM)
    done = cli("make-tests", "in.jsonl", "--out", "made.jsonl", "--seeds", 6)
    assert done.code == 0
    (made,) = read(tmp_path / "made.jsonl")
    replies = [f"```python\n{program}\n```" for program in (ADD, SUM, ONLY_POSITIVE, NOT_NEGATIVE)]
    written(tmp_path / "replies.jsonl", *({**made, "response": reply} for reply in replies))
    assert cli("check", "replies.jsonl", "--with", "code", "--out", "checked.jsonl").code == 0
    outcomes = [row["verdicts"]["code"]["outcome"] for row in read(tmp_path / "checked.jsonl")]
    assert outcomes == ["pass", "pass", "fail", "fail"]
    (prompt,) = prompts_of(FileSource(source="file", path=str(tmp_path / "made.jsonl"))).prompts
    assert (prompt.domain, prompt.verifier) == ("code", "code")
    assert json.loads(prompt.metadata) == {"verify": made["verify"]}


@runs
def test_order_and_bytes_are_the_same_whatever_the_number_of_workers(cli: Cli, tmp_path: Path) -> None:
    slow = "import time, sys\ntime.sleep(0.1)\nprint(sys.argv[1])"
    same = [{"id": n, "generators": [slow if n == 0 else PAIR], "correct": ["print(input())"]} for n in range(3)]
    written(tmp_path / "in.jsonl", *same)
    for workers in (1, 4):
        assert cli("make-tests", "in.jsonl", "--out", f"{workers}.jsonl", "--seeds", 1, "--workers", workers).code == 0
    assert [row["id"] for row in read(tmp_path / "1.jsonl")] == list(range(3))
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "4.jsonl").read_bytes()


@runs
def test_columns_of_parquet_are_mapped(cli: Cli, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(
        [
            {"writers": [PAIR], "good": [{"program": ADD, "language": None}], "bad": [ONLY_POSITIVE], "verify": None},
            {"writers": [PAIR], "good": [{"program": SUM, "language": "python"}], "bad": None, "verify": {"tests": []}},
        ]
    )
    pq.write_table(table, tmp_path / "in.parquet")
    columns = ["--map", "generators=writers", "--map", "correct=good", "--map", "incorrect=bad"]
    done = cli("make-tests", "in.parquet", "--out", "out.jsonl", "--seeds", 4, *columns)
    assert (done.code, done.out.splitlines()[-1]) == (
        0,
        "problems              2 rows = 2 with tests + 0 without + 0 error + 0 unreadable",
    )
    first, second = read(tmp_path / "out.jsonl")
    assert first["made_tests"]["exposed"] == {"incorrect[0]": "wrong_answer"}
    assert second["verify"]["time_limit"] == 5.0


@runs
def test_a_language_that_is_missing_is_an_error_of_its_rows(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sandbox.COMPILERS, "cpp", "/nowhere/g++")
    other = {**PROBLEM, "correct": [{"language": "cpp", "program": "int main() {}"}]}
    written(tmp_path / "in.jsonl", other, {**PROBLEM, "incorrect": []})
    done = cli("make-tests", "in.jsonl", "--out", "out.jsonl", "--seeds", 2)
    assert done.code == 1
    assert done.out.splitlines()[-1] == (
        "problems              2 rows = 1 with tests + 0 without + 1 error + 0 unreadable"
    )
    assert read(tmp_path / "out.jsonl")[0] == {**other, "problem": "/nowhere/g++ is missing"}


def test_without_bubblewrap_it_is_refused_with_the_command_to_install_it(
    refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "in.jsonl", PROBLEM)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install bubblewrap" in refused("make-tests", "in.jsonl", "--out", "out.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


@runs
@pytest.mark.parametrize(
    ("file", "options", "told"),
    [
        ("gone.jsonl", ["--out", "out.jsonl"], "gone.jsonl: no such file"),
        ("in.jsonl", ["--out", "in.jsonl"], "--out in.jsonl: is the input file; name another"),
        ("in.jsonl", ["--out", "o", "--map", "good=correct"], "there is no field 'good'; there are: generators, "),
    ],
)
def test_a_wrong_use_is_named_and_writes_nothing(
    refused: Any, tmp_path: Path, file: str, options: list[str], told: str
) -> None:
    written(tmp_path / "in.jsonl", PROBLEM)
    assert told in refused("make-tests", file, *options)
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


@runs
@pytest.mark.slow
def test_interrupted_it_ends_at_once_and_leaves_the_old_output(process: Any, tmp_path: Path) -> None:
    written(tmp_path / "in.jsonl", *[{**PROBLEM, "generators": ["import time\ntime.sleep(1000)"]}] * 3)
    (tmp_path / "out.jsonl").write_text("old\n")
    child: subprocess.Popen[str] = process("make-tests", "in.jsonl", "--out", "out.jsonl")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        running = [p.name() for p in psutil.Process(child.pid).children()]
        if "bwrap" in running and list(tmp_path.glob(".out.jsonl.*")):
            break
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGINT)
    # Each generator would have taken 45 seconds.
    child.communicate(timeout=30)
    assert child.returncode == 130
    assert (tmp_path / "out.jsonl").read_text() == "old\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
