"""The commands that look at a warehouse: what they show, what they refuse, and that all of them explain themselves."""

import csv
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

Cli = Callable[..., Any]
HEAVY = "torch transformers streamlit datasets duckdb deltalake pyarrow polars aiohttp matplotlib reasoning_gym"


@pytest.fixture
def filled(cli: Cli, recipe: Any, scripted: Any) -> None:
    """A warehouse with twelve prompts, one of which failed."""
    scripted.fault = lambda body, before: "400" if "What is 2 + 3?" in str(body) else None
    assert cli("run", recipe(scripted, prompts=12), "--warehouse", "warehouse-data").code == 1


def ids(cli: Cli, sql: str) -> list[str]:
    out = cli("sql", sql, "--format", "csv").out
    return [row[0] for row in csv.reader(io.StringIO(out))][1:]


def test_explain_tells_the_life_of_each_kind(cli: Cli, refused: Any, filled: None) -> None:
    (kept,) = ids(cli, "SELECT trajectory_id FROM trajectory_facts WHERE kept ORDER BY 1 LIMIT 1")
    told = cli("explain", kept).out
    for part in (f"trajectory {kept}", "    user: What is ", "verdicts:", "kept: the verifier passed"):
        assert part in told
    assert re.search(r"^sums-kept@1 +train +1 +1  train-00000-of-00001.parquet row \d+ ", told, re.MULTILINE)

    (wrong,) = ids(cli, "SELECT trajectory_id FROM trajectory_facts WHERE correct = false ORDER BY 1 LIMIT 1")
    told = cli("explain", wrong[:16]).out
    assert "not kept: exact" in told
    assert told.endswith("in snapshots: none\n")

    (failed,) = ids(cli, "SELECT trajectory_id FROM trajectories WHERE error <> '' ORDER BY 1 LIMIT 1")
    told = cli("explain", failed).out
    assert "HTTP 400: the prompt is too long" in told
    assert "it has no reply: the request failed, and is asked again by the next run of its recipe" in told

    (prompt,) = ids(cli, "SELECT prompt_id FROM prompts ORDER BY 1 LIMIT 1")
    told = cli("explain", prompt.upper()).out
    assert told.startswith(f"prompt {prompt}\n")
    assert "2 trajectories:" in told


def test_explain_refuses_what_names_nothing_or_several(cli: Cli, refused: Any, filled: None) -> None:
    assert refused("explain", "abc").startswith("InputError: 'abc' is no id: give at least 4 characters")
    assert "is no id" in refused("explain", "zzzz' OR 1=1")
    assert (
        refused("explain", "0" * 64)
        == f"InputError: no prompt, trajectory or pair has an id that starts with {'0' * 64}"
    )


def test_an_id_that_starts_several_lists_them(
    cli: Cli, refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"prompt": f"What is {i}?"}) + "\n" for i in range(3)))
    # Two ids with the same start would take tens of thousands of prompts: give all of them one.
    real = hashlib.sha256
    monkeypatch.setattr("schemas.records.key", lambda *parts: "abcd" + real(str(parts).encode()).hexdigest()[4:])
    assert cli("import", "a.jsonl", "--as", "prompts").code == 0
    line = refused("explain", "abcd")
    assert line.startswith("InputError: abcd is the start of several ids: prompt abcd")
    assert line.endswith("; give more characters")


def test_status_is_readable_and_its_json_is_json(cli: Cli, filled: None) -> None:
    told = cli("status")
    assert told.code == 0
    assert "applicable = pass + fail + undecided + error + pending, per stage and check:" in told.out
    value = json.loads(cli("status", "--json").out)
    assert value["balanced"] is True
    assert value["stages"][0]["trajectories"] == 24
    assert value["stages"][0]["failed"] == 2
    for line in value["conservation"]:
        assert line["applicable"] == sum(line["counts"].values())
    assert value["snapshots"][0]["snapshot"] == "sums-kept@1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["SELECT nosuch FROM prompts"], "QueryError: "),
        (["SELEC 1"], "QueryError: "),
        (["SELECT 1; SELECT 2"], "QueryError: give one statement, not 2"),
        (["DELETE FROM prompts"], "QueryError: DELETE refused: only SELECT and EXPLAIN"),
        (["SELECT * FROM read_text('/etc/passwd')"], "QueryError: "),
        (["SELECT count(*) FROM verdicts WHERE check = 'math'"], 'write "check" in double quotes'),
        (["--name", "nosuch"], "there is no query 'nosuch'"),
        ([], "give a statement or --name"),
        (["SELECT 1", "--name", "funnel"], "give a statement or --name"),
        (["SELECT 1", "--format", "xml"], "--format xml: there are table, csv, json, parquet"),
        (["SELECT 1", "--at", "nosuch@1"], "there is no snapshot nosuch@1 (known: sums-kept@1)"),
        (["SELECT 1", "--at", "yesterday"], "--at yesterday: neither a snapshot (name@version) nor a time"),
    ],
)
def test_sql_refuses_in_one_line(refused: Any, shared: Path, arguments: list[str], told: str) -> None:
    assert told in refused("sql", *arguments, "--warehouse", shared)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with three imported prompts and one snapshot, for tests that only read."""
    folder = tmp_path_factory.mktemp("shared")
    rows = [{"prompt": f"What is {i} + 1?", "reference": str(i + 1), "response": f"<answer>{i + 1}</answer>"}
            for i in range(3)]  # fmt: skip
    (folder / "sums.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    from dataengine.checking import load_checks, run_checks
    from dataengine.importing import import_file
    from schemas.mix import Mix, MixSource
    from schemas.recipe import CheckSpec, FileSource
    from warehouse.connect import connect
    from warehouse.snapshot import create_snapshot
    from warehouse.store import Warehouse

    data = folder / "data"
    source = FileSource(source="file", path=str(folder / "sums.jsonl"))
    assert import_file(data, source, "trajectories", stage="reasoning", policy="hand@1").added == 3
    with connect(data) as connection:
        found = [r[0] for r in connection.execute("SELECT trajectory_id FROM trajectories").fetchall()]
    assert run_checks(Warehouse.open(data), "r", load_checks([CheckSpec(check="exact")]), found, "check").total == 3
    mix = Mix(mix="sums-kept", sources=[MixSource(stage="reasoning", require=["exact"])])
    assert create_snapshot(data, mix, {"plain": None})[0].manifest.rows == 3
    return data


def test_sql_writes_every_format(cli: Cli, shared: Path, tmp_path: Path) -> None:
    ask = (
        "sql",
        "SELECT source_ref, reference, NULL AS nothing FROM prompts ORDER BY reference",
        "--warehouse",
        shared,
    )
    assert cli(*ask).out.splitlines()[0].split() == ["source_ref", "reference", "nothing"]
    assert list(csv.reader(io.StringIO(cli(*ask, "--format", "csv").out)))[1] == ["sums.jsonl:1", "1", ""]
    first = json.loads(cli(*ask, "--format", "json").out.splitlines()[0])
    assert first == {"source_ref": "sums.jsonl:1", "reference": "1", "nothing": None}
    assert cli("sql", "SELECT 1 WHERE false", "--warehouse", shared).out == "1\n(no rows)\n"
    assert cli("sql", "SELECT count(*) AS n FROM prompts", "--at", "sums-kept@1", "--format", "json",
               "--warehouse", shared).out == '{"n": 3}\n'  # fmt: skip


@pytest.mark.slow
def test_sql_lists_what_can_be_asked_and_answers_every_shipped_question(cli: Cli, shared: Path) -> None:
    from warehouse.sql import named_queries

    listed = cli("sql", "--list").out
    for name in named_queries():
        assert f"\n  {name} " in listed
        assert cli("sql", "--name", name, "--warehouse", shared).code == 0


def test_two_snapshots_are_compared(cli: Cli, refused: Any, shared: Path) -> None:
    there = ("--warehouse", shared)
    told = cli("snapshot", "diff", "sums-kept@1", "sums-kept", *there)
    assert told.code == 0
    assert "no difference: both hold the same" in told.out
    found = json.loads(cli("snapshot", "diff", "sums-kept@1", "sums-kept@1", "--json", *there).out)
    assert (found["equal"], found["rows"]["added"], found["mix"]) == (True, 0, [])
    assert "there is no snapshot sums-kept@9" in refused("snapshot", "diff", "sums-kept@1", "sums-kept@9", *there)
    assert "is to end in" in refused("snapshot", "diff", "sums-kept", "sums-kept", "--rows", "ids.txt", *there)


def test_parquet_goes_to_a_pipe(shared: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    command = [sys.executable, "-m", "dataengine.cli", "sql", "SELECT * FROM prompts", "--format", "parquet"]
    with (tmp_path / "out.parquet").open("wb") as out:
        subprocess.run([*command, "--warehouse", str(shared)], stdout=out, check=True)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 3


def test_snapshots_are_listed_shown_and_exported(cli: Cli, refused: Any, shared: Path, tmp_path: Path) -> None:
    there = ("--warehouse", shared)
    assert "sums-kept@1" in cli("snapshot", "list", *there).out
    shown = cli("snapshot", "show", "sums-kept@1", *there).out
    assert "rows          3 of 3 prompts" in shown
    assert "checks        exact 2" in shown
    out = tmp_path / "out"
    assert cli("snapshot", "export", "sums-kept@1", "--format", "openai", "--out", out, *there).code == 0
    exported = [json.loads(line) for line in (out / "train-00000-of-00001.jsonl").read_text().splitlines()]
    assert sorted(row["messages"][1]["content"] for row in exported) == [f"<answer>{i}</answer>" for i in (1, 2, 3)]
    assert "exists already" in refused("snapshot", "export", "sums-kept@1", "--out", out, *there)
    assert "there is no format" in refused("snapshot", "export", "sums-kept", "--out", "new", "--format", "xml", *there)
    assert "there is no snapshot" in refused("snapshot", "show", "sums-kept@9", *there)
    assert "is called name@version" in refused("snapshot", "show", "../../etc@1", *there)
    assert not (tmp_path / "new").exists()


def test_a_mix_that_cannot_be_made_is_refused(refused: Any, shared: Path) -> None:
    line = refused("snapshot", "create", "nosuchmix", "--warehouse", shared)
    assert line.startswith("ConfigError: nosuchmix: no file, and no shipped name; shipped mixes: ")
    line = refused("snapshot", "create", "laptop-sft", "--warehouse", shared)
    assert line.startswith("SnapshotError: mix laptop-sft: requires the check 'reasoning_gym'")


def test_doctor_looks_at_an_empty_place_an_empty_and_a_filled_warehouse(cli: Cli, shared: Path, tmp_path: Path) -> None:
    from warehouse.store import Warehouse

    assert "ok       no warehouse at warehouse-data yet" in cli("doctor").out
    assert not (tmp_path / "warehouse-data").exists()
    Warehouse.open(tmp_path / "empty", create=True)
    told = cli("doctor", "--warehouse", "empty").out
    assert "ok       0 conservation lines add up" in told
    assert "wrong" not in told
    told = cli("doctor", "--warehouse", shared).out
    assert "ok       0 trajectory attempts stored twice" in told
    assert "ok       snapshot sums-kept@1" in told
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    done = cli("doctor", "--warehouse", "other")
    assert done.code == 1
    assert "wrong    WarehouseError: " in done.out


def test_doctor_names_a_damaged_snapshot(cli: Cli, filled: None, tmp_path: Path) -> None:
    (file,) = (tmp_path / "warehouse-data" / "snapshots" / "sums-kept" / "v1").glob("train-*.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    done = cli("doctor")
    assert done.code == 1
    assert f"wrong    sums-kept@1: {file} is damaged" in done.out


def test_every_command_explains_itself(cli: Cli) -> None:
    from typer.main import get_command

    from dataengine.cli import app

    root: Any = get_command(app)
    names = [[n] for n in root.commands] + [["snapshot", n] for n in root.commands["snapshot"].commands]
    assert len(names) >= 14
    for words in [[], *names]:
        told = cli(*words, "--help")
        assert (told.code, told.err) == (0, ""), words
        assert told.out.strip().startswith("Usage: dataengine")
        assert len(told.out.splitlines()) > 3


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['dataengine', '--help']\nfrom dataengine.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print([m for m in {HEAVY.split()!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "Usage: " in done.stdout


def test_a_query_is_stopped_by_one_line(process: Any, filled: None) -> None:
    # DuckDB may look for signals at a pipeline's end only, so it has to have one.
    child = process("sql", "SELECT count(*) FROM range(1_000_000_000) t(a) WHERE hash(a) % 7 = 1")
    while sum(psutil.Process(child.pid).cpu_times()[:2]) < 2.0:  # it has started and is in the midst of the query
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "Traceback" not in err
