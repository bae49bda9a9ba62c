"""The `where` of a mix is decided by the warehouse's rows alone, so that it takes the same ones again."""

from pathlib import Path

import pytest

from schemas.errors import SnapshotError
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

AGAIN = "has another answer each time, and the same rows have to be taken again"
ALONE = "is refused: a condition reads the tables of the warehouse alone"


@pytest.fixture(autouse=True)
def _filled(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> None:
    prompt = make_prompt()
    replies = [make_trajectory(prompt, i) for i in range(3)]
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", replies)
    warehouse.append("verdicts", [make_verdict(t) for t in replies])


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("random() < 0.5", f"random {AGAIN}"),
        ("created_at > NOW() - INTERVAL 1 DAY", f"now {AGAIN}"),
        ("Current_Date > created_at", f"current_date {AGAIN}"),
        ("prompt_id IN (SELECT uuid()::VARCHAR FROM prompts)", f"uuid {AGAIN}"),
        ("getenv('HOME') = 'a'", f"getenv {AGAIN}"),
        ("prompt_id IN (SELECT prompt_id FROM prompts USING SAMPLE 1)", "a sample is another one each time, and the "
         "same rows have to be taken again"),
        ("text IN (SELECT content FROM read_text('secret.txt'))", f"read_text {ALONE}"),
        ("text IN (FROM 'rows.csv')", f"rows.csv {ALONE}"),
        ("domain = 'math'; DROP TABLE prompts", "one condition is expected, without a semicolon"),
        ("domain = 'math') OR (true", 'Parser Error: syntax error at or near ")"'),
        ("domian = 'math'", 'Binder Error: Referenced column "domian" not found in FROM clause!; Candidate bindings: '
         '"domain"'),
    ],
)  # fmt: skip
def test_a_condition_that_the_rows_do_not_decide_is_refused(
    folder: Path, make_mix: MakeMix, where: str, why: str
) -> None:
    with pytest.raises(SnapshotError) as error:
        create_snapshot(folder, make_mix(where=where), {"plain": None})
    assert str(error.value).startswith(f"mix demo: where: {where}: {why}")


@pytest.mark.parametrize(
    "where",
    [
        "created_at > TIMESTAMPTZ '2020-01-01' AND year(created_at) < 2100 -- in time",
        "completion_tokens IN (SELECT unnest([20, 21, 22]))",
        "prompt_id IN (WITH sums AS (FROM Prompts_Current WHERE source = 'sums') SELECT prompt_id FROM sums)",
        "text LIKE '%random()%' OR text NOT LIKE '%now()%'",
    ],
)
def test_any_other_condition_is_taken(folder: Path, make_mix: MakeMix, where: str) -> None:
    assert create_snapshot(folder, make_mix(where=where), {"plain": None})[0].manifest.rows == 3
