"""Balance and diversity, over a small warehouse whose numbers were worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from schemas.keys import canonical_json
from schemas.records import Cluster, Trajectory
from tests.warehouse.conftest import START, MakePrompt, MakeTrajectory, MakeVerdict, Rows
from warehouse.sql import named_query, query
from warehouse.store import Warehouse

# (question, source, domain, language, verifier, replies, right ones)
PROMPTS: list[tuple[str, str, str, str, str | None, int, int]] = [
    ("a?", "sums", "math", "en", "exact", 4, 0),
    ("b?", "sums", "math", "en", "exact", 4, 1),
    ("c?", "sums", "math", "de", "exact", 4, 3),
    ("d?", "proofs", "math", "en", "exact", 2, 2),
    ("e?", "chat", "general", "en", None, 2, 0),
]


@pytest.fixture
def filled(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> list[Trajectory]:
    """Replies of 20 tokens; every reply passes `format`, so that what is right, or has no verifier, is kept."""
    prompts, made, lost, verdicts = [], [], [], []
    for question, source, domain, language, verifier, replies, right in PROMPTS:
        prompt = make_prompt(question, source=source, domain=domain, language=language, verifier=verifier,
                             reference="2" if verifier else None)  # fmt: skip
        prompts.append(prompt)
        rows = [make_trajectory(prompt, i, completion_tokens=20) for i in range(replies)]
        lost.append(make_trajectory(prompt, 99, error="lost", finish_reason=None, text="", reasoning=None, answer=None))
        verdicts += [make_verdict(t) for t in rows]
        if verifier:
            said = ["pass" if i < right else "fail" for i in range(replies)]
            against = {"check": "exact", "against": prompt.against}
            verdicts += [make_verdict(t, o, **against) for t, o in zip(rows, said, strict=True)]
        made += rows
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", made + lost)
    warehouse.append("verdicts", verdicts)
    return made


def balance(rows: Rows) -> dict[str, dict[str, tuple[Any, ...]]]:
    """dimension -> value -> the numbers of the stage `reasoning`."""
    sql = (
        "SELECT dimension, value, prompts, replies, share, kept, kept_share, kept_tokens, duplicates, solve_rate "
        "FROM balance WHERE stage = 'reasoning'"
    )
    found: dict[str, dict[str, tuple[Any, ...]]] = {}
    for row in rows(sql):
        dimension, value, *numbers = row.values()
        found.setdefault(dimension, {})[value] = tuple(numbers)
    return found


def test_balance_by_source_domain_language_and_difficulty(filled: list[Trajectory], rows: Rows) -> None:
    found = balance(rows)
    assert found["source"] == {
        "sums": (3, 12, 0.75, 4, 0.5, 80, 0, round((0 + 1 / 4 + 3 / 4) / 3, 3)),
        "chat": (1, 2, 0.125, 2, 0.25, 40, 0, None),
        "proofs": (1, 2, 0.125, 2, 0.25, 40, 0, 1.0),
    }
    assert found["domain"]["general"] == (1, 2, 0.125, 2, 0.25, 40, 0, None)
    assert found["language"]["de"] == (1, 4, 0.25, 3, 0.375, 60, 0, 0.75)
    difficulty = found["difficulty"]
    assert list(difficulty) == ["0", "to 0.25", "to 0.75", "1", "not verified"], "the hardest first"
    assert difficulty["0"] == (1, 4, 0.25, 0, 0.0, 0, 0, 0.0)
    assert difficulty["to 0.75"] == (1, 4, 0.25, 3, 0.375, 60, 0, 0.75)


def test_every_reply_stands_once_in_each_dimension(filled: list[Trajectory], rows: Rows) -> None:
    sql = (
        "SELECT dimension, sum(replies) AS n, sum(kept) AS kept, sum(share) AS whole FROM balance GROUP BY 1 ORDER BY 1"
    )
    found = [tuple(r.values()) for r in rows(sql)]
    assert found == [(d, 16, 8, pytest.approx(1.0)) for d in ("difficulty", "domain", "language", "source")]


def test_a_prompts_difficulty_is_taken_over_the_policies_of_its_stage(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    prompt = make_prompt()
    warehouse.append("prompts", [prompt])
    for policy, stage, outcome in (
        ("a@1", "reasoning", "pass"),
        ("b@1", "reasoning", "fail"),
        ("b@1", "eval", "fail"),
    ):
        row = make_trajectory(prompt, policy=policy, stage=stage)
        warehouse.append("trajectories", [row])
        warehouse.append("verdicts", [make_verdict(row, outcome, check="exact", against=prompt.against)])
    sql = "SELECT stage, value, solve_rate FROM balance WHERE dimension = 'difficulty'"
    assert [tuple(r.values()) for r in rows(sql)] == [("eval", "0", 0.0), ("reasoning", "to 0.5", 0.5)]


def test_diversity_before_and_after_the_checks(
    warehouse: Warehouse, filled: list[Trajectory], make_verdict: MakeVerdict, rows: Rows
) -> None:
    (replied,) = rows("SELECT * FROM diversity WHERE part = 'replied'")
    assert (replied["replies"], replied["prompts"]) == (16, 5)
    assert replied["prompt_clusters"] is replied["reply_clusters"] is replied["near_duplicates"] is None
    # 12, 2 and 2 of 16: entropy 0.75 log2(4/3) + 2 * 0.125 * 3 bits
    assert replied["effective_sources"] == 2.09
    assert replied["effective_openings"] == 3.9, "four of them, 5, 5, 3 and 3 times"

    of_sums = filled[:12]
    original = of_sums[0].trajectory_id
    said = [("pass", "", "{}")] * 10 + [("fail", "exact", ""), ("fail", "near", "")]
    warehouse.append(
        "verdicts",
        [
            make_verdict(t, outcome, check="duplicate", score=0.9, reason=reason,
                         details=details or canonical_json({"representative": original}))
            for t, (outcome, reason, details) in zip(of_sums, said, strict=True)
        ],
    )  # fmt: skip
    shared = {"kind": "prompt", "version": "1", "created_at": START}
    prompts = list(dict.fromkeys(t.prompt_id for t in filled))
    warehouse.append(
        "clusters",
        [Cluster(id=p, cluster_id=min(prompts[:2]) if i < 2 else p, **shared) for i, p in enumerate(prompts)],
    )
    found = {r["part"]: r for r in rows("SELECT * FROM diversity")}
    assert list(found) == ["replied", "kept"]
    replied, kept = found["replied"], found["kept"]
    assert (replied["prompts"], replied["prompt_clusters"], replied["reply_clusters"]) == (5, 4, 10)
    assert replied["exact_duplicates"] == replied["near_duplicates"] == round(1 / 12, 4), "of those compared"
    assert (kept["replies"], kept["exact_duplicates"]) == (7, 0.0)
    assert balance(rows)["source"]["sums"][6] == 2


def test_the_shipped_questions_show_the_views(folder: Path, filled: list[Trajectory]) -> None:
    assert {r[1] for r in query(folder, named_query("balance")).fetchall()} == {
        "source", "domain", "language", "difficulty"
    }  # fmt: skip
    assert [r[1] for r in query(folder, named_query("diversity")).fetchall()] == ["replied", "kept"]
