"""Several processes on one warehouse, and what Ctrl-C leaves."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.records import Message, Prompt
from warehouse.store import Warehouse

TWICE = (
    "SELECT (SELECT count(*) - count(DISTINCT (trajectory_id, attempt)) FROM trajectories), "
    '(SELECT count(*) - count(DISTINCT (trajectory_id, attempt, "check", version, against)) FROM verdicts), '
    "(SELECT count(*) - count(DISTINCT (prompt_id, source, revision)) FROM prompts)"
)


@pytest.mark.slow
def test_the_same_recipe_twice_at_once_leaves_each_key_once(
    process: Callable[..., Any], recipe: Any, scripted: Any, rows: Any, cli: Any
) -> None:
    scripted.seconds = 0.005
    path = recipe(scripted, prompts=60)
    both = [process("run", path, "--warehouse", "data") for _ in range(2)]
    told = [child.communicate() for child in both]
    assert [child.returncode for child in both] == [0, 0], told
    assert rows(TWICE) == [(0, 0, 0)]
    assert rows("SELECT count(*), max(attempt) FROM trajectories") == [(120, 1)]
    assert rows("SELECT count(*) FROM verdicts") == [(360,)]
    assert cli("run", path, "--warehouse", "data").out.endswith(f"nothing to do: {path} is complete in data\n")


@pytest.mark.slow
def test_other_recipes_and_readers_at_once_meet_no_error(
    process: Callable[..., Any], recipe: Any, scripted: Any, rows: Any, cli: Any
) -> None:
    scripted.seconds = 0.005
    cli("run", recipe(scripted, prompts=1), "--warehouse", "data")
    runs = [
        process("run", recipe(scripted, prompts=40, name="one", stage="cold_start"), "--warehouse", "data"),
        process("run", recipe(scripted, prompts=40, name="two", stage="r1_zero"), "--warehouse", "data"),
    ]
    seen = []
    while any(child.poll() is None for child in runs):
        asked = cli("sql", "SELECT count(*) FROM verdicts v JOIN trajectories t USING (trajectory_id, attempt)",
                    "--format", "csv", "--warehouse", "data")  # fmt: skip
        assert asked.code == 0, asked
        orphans = cli("sql", "SELECT count(*) FROM trajectories ANTI JOIN prompts USING (prompt_id)",
                      "--format", "csv", "--warehouse", "data")  # fmt: skip
        assert orphans.out.split() == ["count_star()", "0"]
        seen.append(int(asked.out.split()[1]))
    told = [child.communicate() for child in runs]
    assert [child.returncode for child in runs] == [0, 0], told
    assert seen == sorted(seen)
    assert rows(TWICE) == [(0, 0, 0)]
    assert rows("SELECT stage, count(*) FROM trajectories GROUP BY 1 ORDER BY 1") == [
        ("cold_start", 80),
        ("r1_zero", 80),
        ("reasoning", 2),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_what_was_answered_and_says_how_to_go_on(
    process: Callable[..., Any], recipe: Any, scripted: Any, rows: Any, cli: Any, number: signal.Signals
) -> None:
    scripted.seconds = 0.05
    path = recipe(scripted, prompts=60, engine={"max_in_flight": 4})
    child = process("run", path, "--warehouse", "data")
    while len(scripted.asked) < 20:
        assert child.poll() is None, child.communicate()
        time.sleep(0.01)
    child.send_signal(number)
    _, err = child.communicate()
    assert child.returncode == 130
    assert err.splitlines()[-1] == "interrupted: what was finished is kept; the same command goes on from there"
    assert "Traceback" not in err
    assert "Error" not in err
    kept = rows("SELECT count(*) FROM trajectories WHERE error IS NULL")[0][0]
    assert kept >= 12
    assert rows("SELECT count(*) FROM trajectories WHERE error IS NOT NULL") == [(0,)]
    assert rows("SELECT event FROM runs ORDER BY created_at") == [("started",), ("interrupted",)]
    scripted.asked.clear()
    scripted.seconds = 0
    assert cli("run", path, "--warehouse", "data").code == 0
    assert len(scripted.asked) == 120 - kept


def test_compacting_from_several_processes_at_once_keeps_each_row_once(
    process: Callable[..., Any], rows: Any, tmp_path: Path
) -> None:
    warehouse = Warehouse.open(tmp_path / "data", create=True)
    for number in range(8):
        message = Message(role="user", content=f"What is {number} + 1?")
        warehouse.append("prompts", [Prompt.make([message], domain="math", source="sums")])
    together = [process("compact", "--warehouse", "data") for _ in range(4)]
    told = [child.communicate() for child in together]
    assert [child.returncode for child in together] == [0] * 4, told
    assert rows("SELECT count(*), count(DISTINCT prompt_id) FROM prompts") == [(8, 8)]
