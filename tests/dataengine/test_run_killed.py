"""`kill -9` anywhere, then the same command again: the same rows as a run that nobody disturbed."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dataengine.conftest import scripted_policy_and_judge

KILLS = 20

ROWS = (
    "SELECT trajectory_id, attempt, prompt_id, stage, policy, sample_index, text, reasoning, answer, finish_reason, "
    "prompt_tokens, completion_tokens, max_tokens, error FROM trajectories ORDER BY ALL"
)
VERDICTS = (
    'SELECT trajectory_id, attempt, "check", version, against, outcome, score, reason, '
    """regexp_replace(details, '"seconds":[0-9.e-]+', '') FROM verdicts ORDER BY ALL"""
)
PROMPTS = "SELECT prompt_id, source, revision, reference, verifier, against FROM prompts ORDER BY ALL"
TWICE = (
    "SELECT (SELECT count(*) - count(DISTINCT (trajectory_id, attempt)) FROM trajectories), "
    '(SELECT count(*) - count(DISTINCT (trajectory_id, attempt, "check", version, against)) FROM verdicts), '
    "(SELECT count(*) - count(DISTINCT (prompt_id, source, revision)) FROM prompts)"
)


@pytest.mark.slow
def test_killed_runs_end_in_the_same_rows_and_the_same_snapshot(
    process: Callable[..., Any], recipe: Any, scripted: Any, rows: Any, tmp_path: Path, cli: Any
) -> None:
    scripted.seconds = 0.01
    scripted.reply = scripted_policy_and_judge
    path = recipe(scripted, prompts=60, samples=4, engine={"max_in_flight": 6}, judge={}, judged={"scope": "all"})

    def content(warehouse: Path) -> list[Any]:
        manifest = cli("snapshot", "show", "sums-kept", "--warehouse", warehouse)
        hashed = [line for line in manifest.out.splitlines() if line.startswith("logical hash")]
        return [rows(sql, warehouse) for sql in (PROMPTS, ROWS, VERDICTS)] + [hashed]

    started = time.monotonic()
    assert process("run", path, "--warehouse", "undisturbed").wait() == 0
    whole = time.monotonic() - started
    expected = content(tmp_path / "undisturbed")
    assert [len(part) for part in expected] == [60, 240, 960, 1]

    chance = random.Random(20)
    killed = finished = 0
    while killed < KILLS:
        warehouse = tmp_path / f"killed-{finished}"
        child = process("run", path, "--warehouse", warehouse)
        try:
            # Anywhere between the last import and the end of a run that has everything to do.
            child.wait(whole * chance.uniform(0.2, 0.9))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            killed += 1
        else:
            assert child.returncode == 0, child.communicate()
            finished += 1  # so little was left to do: the next one starts from nothing
        assert finished < KILLS
    warehouse = tmp_path / f"killed-{finished}"
    last = process("run", path, "--warehouse", warehouse)
    assert last.wait() == 0, last.communicate()
    for number in range(finished + 1):
        assert content(tmp_path / f"killed-{number}") == expected
        assert rows(TWICE, tmp_path / f"killed-{number}") == [(0, 0, 0)]
