"""The views `evaluated`, `evaluation` and `pass_at_k` say what `dataengine.scores` says, on rows drawn at random."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataengine.scores import Attempt, read_attempts, score
from schemas.keys import canonical_json, key
from schemas.records import Message, Prompt, Trajectory, Verdict
from warehouse.connect import connect
from warehouse.fetching import as_dicts
from warehouse.store import Warehouse
from warehouse.views import names_in

THEN = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS: list[dict[str, Any]] = [
    {"shots": 0, "template": "think", "temperature": 0.6, "top_p": 0.95, "seed": 0},
    {"shots": 4, "examples": "3fa9c1d2", "template": "think", "temperature": 0.6, "top_p": 0.95, "seed": 0},
    {"shots": 0, "template": "plain", "temperature": 1.0, "top_p": 1.0, "seed": 0},
]


def verdict(row: Trajectory, check: str, outcome: str, kind: str = "filter", **more: Any) -> Verdict:
    given = {"trajectory_id": row.trajectory_id, "attempt": 1, "check": check, "version": "1", "kind": kind}
    return Verdict.model_validate({**given, "outcome": outcome, "run_id": "r", "created_at": THEN, **more})


def drawn(rng: random.Random, folder: Path) -> None:
    """Two policies and two sources in three settings, up to seven samples of a prompt, of one source without votes."""
    warehouse = Warehouse.open(folder, create=True)
    rows: list[Trajectory] = []
    verdicts: list[Verdict] = []
    prompts = [
        Prompt.make(
            [Message(role="user", content=f"{source} {i}?")], domain="math", source=source, reference="7", verifier="v"
        )
        for source in ("sums", "code")
        for i in range(12)
    ]
    for prompt in prompts:
        for policy in ("base@1", "tuned@1"):
            for setting in SETTINGS:
                for index in range(rng.randint(0, 7)):
                    row = Trajectory(
                        trajectory_id=key(prompt.prompt_id, policy, setting, index), prompt_id=prompt.prompt_id,
                        stage="eval", policy=policy, engine="endpoint", sampling=canonical_json(setting),
                        sample_index=index, rendered_key="k", text="x", max_tokens=99, run_id="r", created_at=THEN,
                        finish_reason=rng.choice(["stop", "length"]), completion_tokens=rng.randint(1, 60),
                        error="timeout" if rng.random() < 0.1 else None,
                    )  # fmt: skip
                    rows.append(row)
                    if row.error is None:
                        verdicts += said(rng, prompt, row)
    for table, written in (("prompts", prompts), ("trajectories", rows), ("verdicts", verdicts)):
        warehouse.append(table, written)


def said(rng: random.Random, prompt: Prompt, row: Trajectory) -> list[Verdict]:
    outcome = rng.choice(["pass", "fail", "fail", "undecided"])
    made = [
        verdict(row, "v", outcome, "verifier", against=prompt.against),
        verdict(row, "format", rng.choice(["pass", "pass", "fail"])),
    ]
    if prompt.source == "sums":
        answer = rng.choice(["1", "2", None])
        details = canonical_json({"answer": answer} if answer else {})
        made.append(verdict(row, "vote", "pass" if answer else "undecided", against=prompt.against, details=details))
        made.append(verdict(row, "features", "pass", details=canonical_json({"reflections": rng.randint(0, 3)})))
    if rng.random() < 0.5:
        made.append(verdict(row, "language_mix", "pass", score=rng.random()))
    return made


def asked(folder: Path, sql: str) -> list[dict[str, Any]]:
    with connect(folder, only=names_in(sql)) as connection:
        return as_dicts(connection.execute(sql))


def chosen(attempts: Sequence[Attempt], row: dict[str, Any]) -> list[Attempt]:
    return [a for a in attempts if (a.source, a.shots, a.setting) == (row["source"], row["shots"], row["setting"])]


@pytest.mark.parametrize("seed", range(3))
def test_the_table_of_sql_is_that_of_the_function(tmp_path: Path, seed: int) -> None:
    drawn(random.Random(seed), tmp_path / "data")
    attempts = {policy: read_attempts(tmp_path / "data", policy) for policy in ("base@1", "tuned@1")}
    table = asked(tmp_path / "data", "SELECT * FROM evaluation")
    assert len(table) == 2 * 2 * len(SETTINGS)
    near = {"abs": 6e-5}
    for row in table:
        scores = score(chosen(attempts[row["policy"]], row))
        assert (row["prompts"], row["samples"], row["k"]) == (scores.prompts, scores.samples, scores.k)
        for column, value in (
            ("strict", scores.strict.value),
            ("lenient", scores.lenient.value),
            ("format", scores.form.value),
            ("pass_at_k", scores.pass_at[scores.k].value),
            ("truncated", scores.truncated),
            ("consistency", scores.consistency),
        ):
            assert row[column] == pytest.approx(value, **near), column
        assert row["not_told"] == scores.not_told
        assert row["mean_tokens"] == pytest.approx(scores.mean_tokens, abs=0.06)
        assert (row["cons_at_k"] is None) == (scores.cons is None) == (row["source"] == "code")
        if scores.cons is not None and scores.reflections is not None:
            assert row["cons_at_k"] == pytest.approx(scores.cons.value, **near)
            assert row["reflections"] == pytest.approx(scores.reflections, abs=6e-3)
    for row in asked(tmp_path / "data", "SELECT * FROM pass_at_k"):
        scores = score(chosen(attempts[row["policy"]], row))
        assert row["pass_at_k"] == pytest.approx(scores.pass_at[row["k"]].value, **near)


def test_settings_and_shots_are_told_apart(tmp_path: Path) -> None:
    drawn(random.Random(0), tmp_path / "data")
    found = asked(tmp_path / "data", "SELECT DISTINCT shots, setting FROM evaluation ORDER BY shots, setting")
    assert [(r["shots"], r["setting"]) for r in found] == [
        (0, "plain T=1.0 top_p=1.0 max=99"),
        (0, "think T=0.6 top_p=0.95 max=99"),
        (4, "think T=0.6 top_p=0.95 max=99 examples=3fa9c1d2"),
    ]
