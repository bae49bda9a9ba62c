"""The views, over small warehouses whose numbers were worked out by hand."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dataengine.checks import Sample, load_check
from schemas.keys import canonical_json
from schemas.records import Prompt, Review, Trajectory
from tests.warehouse.conftest import START, MakePrompt, MakeRun, MakeTrajectory, MakeVerdict, Rows
from warehouse.store import Warehouse

FAILED: dict[str, Any] = {"error": "timeout", "finish_reason": None, "text": "", "answer": None}
FUNNEL = 'SELECT "check", applicable, pass, fail, undecided, error, pending FROM funnel WHERE stage = ?'


def numbers(rows: Rows, stage: str = "reasoning") -> dict[str, tuple[int, ...]]:
    """The funnel of a stage: check -> applicable, pass, fail, undecided, error, pending."""
    found = {r.pop("check"): tuple(r.values()) for r in rows(FUNNEL, stage)}
    assert all(n[0] == sum(n[1:]) for n in found.values()), found
    return found


def test_the_funnel_of_a_small_run(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_run: MakeRun,
    rows: Rows,
) -> None:
    exact, free = make_prompt("1 + 1?"), make_prompt("Say hello.", reference=None, verifier=None)
    a, b, c, d = (make_trajectory(exact, i) for i in range(4))
    e = make_trajectory(free)
    lost = make_trajectory(exact, 9, **FAILED)
    checks = [("reasoning", "format", "1", False), ("reasoning", "exact", "1", True), ("eval", "length", "1", False)]
    warehouse.append("runs", [make_run(checks=checks)])
    warehouse.append("prompts", [exact, free])
    warehouse.append("trajectories", [a, b, c, d, e, lost])
    assert numbers(rows) == {
        "(replied)": (6, 5, 0, 0, 1, 0),
        "format": (5, 0, 0, 0, 0, 5),
        "exact": (4, 0, 0, 0, 0, 4),
        "(kept)": (5, 0, 5, 0, 0, 0),
    }
    against = {"check": "exact", "against": exact.against}
    warehouse.append(
        "verdicts",
        [
            make_verdict(a, "pass"),
            make_verdict(b, "pass"),
            make_verdict(c, "fail"),
            make_verdict(e, "pass"),
            make_verdict(a, "pass", **against),
            make_verdict(b, "undecided", **against),
            make_verdict(c, "error", **against),
            make_verdict(d, "fail", **against),
        ],
    )
    assert numbers(rows) == {
        "(replied)": (6, 5, 0, 0, 1, 0),
        "format": (5, 3, 1, 0, 0, 1),
        "exact": (4, 1, 1, 1, 1, 0),
        "(kept)": (5, 2, 3, 0, 0, 0),
    }
    assert numbers(rows, "eval") == {}


def test_a_check_of_no_run_counts_where_it_has_verdicts(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    prompt = make_prompt()
    a, b = make_trajectory(prompt, 0), make_trajectory(prompt, 1)
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [a, b])
    warehouse.append("verdicts", [make_verdict(a, "fail", check="person", kind="person")])
    assert numbers(rows)["person"] == (1, 0, 1, 0, 0, 0)


def test_a_new_version_or_reference_makes_verdicts_pending_again(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_run: MakeRun,
    rows: Rows,
) -> None:
    prompt = make_prompt(reference="2")
    row = make_trajectory(prompt)
    checks = [("reasoning", "format", "1", False), ("reasoning", "exact", "1", True)]
    warehouse.append("runs", [make_run(checks=checks)])
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [row])
    warehouse.append("verdicts", [make_verdict(row), make_verdict(row, check="exact", against=prompt.against)])
    assert numbers(rows)["exact"] == numbers(rows)["format"] == (1, 1, 0, 0, 0, 0)

    corrected = make_prompt(reference="3")
    warehouse.append("prompts", [corrected])
    assert numbers(rows)["exact"] == (1, 0, 0, 0, 0, 1)
    warehouse.append("verdicts", [make_verdict(row, "fail", check="exact", against=corrected.against)])
    assert numbers(rows)["exact"] == (1, 0, 1, 0, 0, 0)

    warehouse.append("runs", [make_run("run-2", checks=[("reasoning", "format", "2", False), checks[1]])])
    assert numbers(rows)["format"] == (1, 0, 0, 0, 0, 1)
    warehouse.append("verdicts", [make_verdict(row, "fail", version="2")])
    assert numbers(rows)["format"] == (1, 0, 1, 0, 0, 0)


def test_two_steps_of_a_stage_with_one_check_in_two_settings_add_up(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_run: MakeRun,
    rows: Rows,
) -> None:
    prompt = make_prompt()
    a, b, c = (make_trajectory(prompt, i) for i in range(3))
    checks = [("reasoning", "length", "1", False), ("reasoning", "length", "1+ab", False)]
    warehouse.append("runs", [make_run(checks=checks), make_run(checks=checks, event="finished")])
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [a, b, c])
    first = make_verdict(a, "pass", check="length")
    warehouse.append("verdicts", [first, make_verdict(b, "fail", check="length", version="1+ab")])
    assert numbers(rows)["length"] == (3, 1, 1, 0, 0, 1)


def test_a_prompts_latest_revision_counts(warehouse: Warehouse, make_prompt: MakePrompt, rows: Rows) -> None:
    warehouse.append("prompts", [make_prompt(reference="2"), make_prompt(reference="3")])
    sql = "SELECT reference, revision, conflict, against FROM prompts_current"
    assert rows(sql) == [
        {"reference": "3", "revision": 2, "conflict": False, "against": make_prompt(reference="3").against}
    ]


def test_two_sources_that_differ_are_a_conflict_until_it_is_resolved(
    warehouse: Warehouse, make_prompt: MakePrompt, rows: Rows
) -> None:
    sql = "SELECT reference, conflict, against FROM prompts_current"
    warehouse.append("prompts", [make_prompt(source="a", reference="2")])
    warehouse.append("prompts", [make_prompt(source="b", reference=None, verifier=None)])
    warehouse.append("prompts", [make_prompt(source="c", reference="2")])
    against = make_prompt(reference="2").against
    assert rows(sql) == [{"reference": "2", "conflict": False, "against": against}]
    warehouse.append("prompts", [make_prompt(source="d", reference="3")])
    assert rows(sql) == [{"reference": None, "conflict": True, "against": "conflict"}]
    warehouse.append("prompts", [make_prompt(source="resolution", reference="2")])
    assert rows(sql) == [{"reference": "2", "conflict": False, "against": against}]
    warehouse.append("prompts", [make_prompt(source="resolution", reference="3")])
    assert [r["reference"] for r in rows(sql)] == ["3"]


def test_a_source_that_takes_its_reference_back_ends_the_conflict(
    warehouse: Warehouse, make_prompt: MakePrompt, rows: Rows
) -> None:
    warehouse.append("prompts", [make_prompt(source="a", reference="2"), make_prompt(source="b", reference="3")])
    warehouse.append("prompts", [make_prompt(source="b", reference="2")])
    assert rows("SELECT reference, conflict FROM prompts_current") == [{"reference": "2", "conflict": False}]


def test_the_best_attempt_is_complete_before_truncated_before_failed(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, rows: Rows
) -> None:
    prompt = make_prompt()
    cut: dict[str, Any] = {"finish_reason": "length"}

    def current() -> int:
        (row,) = rows("SELECT attempt FROM trajectories_current")
        return int(row["attempt"])

    for columns, best in (
        (FAILED, 1),
        (FAILED, 2),
        ({**cut, "max_tokens": 10}, 3),
        ({**cut, "max_tokens": 20}, 4),
        ({**FAILED, "max_tokens": 40}, 4),
        ({"max_tokens": 50}, 6),
    ):
        warehouse.append("trajectories", [make_trajectory(prompt, **columns)])
        assert current() == best


def test_verdicts_of_an_older_attempt_do_not_count(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    prompt = make_prompt()
    cut = make_trajectory(prompt, finish_reason="length", max_tokens=10)
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [cut])
    warehouse.append("verdicts", [make_verdict(cut, "fail")])
    assert [r["outcome"] for r in rows("SELECT outcome FROM verdicts_current")] == ["fail"]
    warehouse.append("trajectories", [make_trajectory(prompt, max_tokens=99)])
    assert rows("SELECT outcome FROM verdicts_current") == []


def test_the_latest_version_of_a_check_and_the_current_reference_count(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    old, new = make_prompt(reference="2"), make_prompt(reference="3")
    row = make_trajectory(new)
    warehouse.append("prompts", [old, new])
    warehouse.append("trajectories", [row])
    warehouse.append(
        "verdicts",
        [
            make_verdict(row, "fail", version="1"),
            make_verdict(row, "pass", version="2"),
            make_verdict(row, "pass", check="exact", against=old.against),
        ],
    )
    sql = 'SELECT "check", version, outcome FROM verdicts_current'
    assert rows(sql) == [{"check": "format", "version": "2", "outcome": "pass"}]


def test_facts_hold_a_column_per_check(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    prompt = make_prompt()
    right, wrong, unknown, unchecked, lost = (
        make_trajectory(prompt, i, **(FAILED if i == 4 else {})) for i in range(5)
    )
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [right, wrong, unknown, unchecked, lost])
    against = {"check": "exact", "against": prompt.against}
    warehouse.append(
        "verdicts",
        [
            make_verdict(right, "pass"),
            make_verdict(right, "pass", **against),
            make_verdict(wrong, "pass"),
            make_verdict(wrong, "fail", **against),
            make_verdict(wrong, "fail", check='it\'s "odd"'),
            make_verdict(unknown, "fail", score=0.25),
            make_verdict(unknown, "undecided", **against),
        ],
    )
    columns = "sample_index, correct, kept, format, format_score, exact, verifier_outcome, not_passed"
    found = [tuple(r.values()) for r in rows(f"SELECT {columns} FROM trajectory_facts ORDER BY sample_index")]
    assert found == [
        (0, True, True, "pass", 1.0, "pass", "pass", []),
        (1, False, False, "pass", 1.0, "fail", "fail", ["exact", 'it\'s "odd"']),
        (2, None, False, "fail", 0.25, "undecided", "undecided", ["exact", "format"]),
        (3, None, False, None, None, None, None, None),
        (4, None, False, None, None, None, None, None),
    ]
    odd = 'SELECT count(*) AS n FROM trajectory_facts WHERE "it\'s ""odd""" = \'fail\''
    assert rows(odd) == [{"n": 1}]


@pytest.fixture
def sampled(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> dict[str, tuple[int, int]]:
    """Prompts with (replies, right ones), and a failed request of each: what pass@k is worked out from."""
    solved = {"a?": (9, 3), "b?": (8, 0), "c?": (4, 4), "d?": (3, 1), "e?": (1, 1)}
    for question, (replies, right) in solved.items():
        prompt = make_prompt(question)
        warehouse.append("prompts", [prompt])
        samples = [make_trajectory(prompt, i) for i in range(replies)]
        warehouse.append("trajectories", [*samples, make_trajectory(prompt, 99, **FAILED)])
        warehouse.append("verdicts", list(verified(make_verdict, prompt, samples, right)))
    return solved


def verified(make_verdict: MakeVerdict, prompt: Prompt, samples: list[Trajectory], right: int) -> Any:
    for i, sample in enumerate(samples):
        # Every second wrong one cannot be told; the first right one of each prompt has a wrong form.
        outcome = "pass" if i < right else ("undecided" if i % 2 else "fail")
        yield make_verdict(sample, outcome, check="exact", against=prompt.against)
        yield make_verdict(sample, "fail" if i == 0 else "pass")


def test_yield_by_prompt(sampled: dict[str, tuple[int, int]], rows: Rows) -> None:
    columns = "question, samples, replies, correct, kept, solve_rate"
    found = {r.pop("question"): tuple(r.values()) for r in rows(f"SELECT {columns} FROM yield_by_prompt")}
    assert found == {
        question: (replies + 1, replies, right, max(right - 1, 0), round(right / replies, 3))
        for question, (replies, right) in sampled.items()
    }


def test_pass_at_k_is_the_exact_combinatorial_value(sampled: dict[str, tuple[int, int]], rows: Rows) -> None:
    found = {r["k"]: (r["prompts"], r["pass_at_k"]) for r in rows("SELECT k, prompts, pass_at_k FROM pass_at_k")}
    expected = {}
    for k in (1, 2, 4, 8, 9):
        each = [1 - math.comb(n - c, k) / math.comb(n, k) for n, c in sampled.values() if n >= k]
        expected[k] = (len(each), pytest.approx(sum(each) / len(each), abs=6e-5))
    assert found == expected


def test_evaluation_is_strict_lenient_and_form(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    prompt, other = make_prompt("1?"), make_prompt("2?")
    warehouse.append("prompts", [prompt, other])
    # (right, in form): of the first prompt strict 1 of 4, right in any form 2, in form 2; the other cannot be told
    marks = [("pass", "pass"), ("pass", "fail"), ("fail", "pass"), ("fail", "fail"), ("undecided", "pass")]
    for i, (right, form) in enumerate(marks):
        of = other if i == 4 else prompt
        row = make_trajectory(of, i, stage="eval")
        vote = {"check": "vote", "against": of.against, "details": canonical_json({"answer": str(i // 3)})}
        warehouse.append("trajectories", [row])
        warehouse.append(
            "verdicts",
            [
                make_verdict(row, right, check="exact", against=of.against),
                make_verdict(row, form),
                make_verdict(row, **vote),
            ],
        )
    warehouse.append("trajectories", [make_trajectory(prompt, 7, stage="eval", **FAILED)])
    warehouse.append("trajectories", [make_trajectory(prompt, 8, stage="reasoning")])
    assert rows("SELECT * FROM evaluation") == [
        {
            "policy": "model@1",
            "source": "sums",
            "shots": 0,
            "setting": "max=100",
            "prompts": 2,
            "samples": 5,
            "k": 4,
            "strict": 0.125,
            "lenient": 0.25,
            "stderr": 0.25,
            "format": 0.75,
            "pass_at_k": 1.0,
            "cons_at_k": 0.5,
            "not_told": 1,
            "mean_tokens": 22.8,
            "truncated": 0.0,
            "reflections": None,
            "consistency": None,
        }
    ]
    # The right ones are one class, whatever `vote` says of them; the wrong ones said 0 and 1.
    votes = [r["vote"] for r in rows("SELECT vote FROM evaluated ORDER BY sample_index")]
    assert votes == ["", "", "0", "1", "1"]


def test_runs_current_says_how_a_run_ended(warehouse: Warehouse, make_run: MakeRun, rows: Rows) -> None:
    warehouse.append("runs", [make_run("one"), make_run("one", event="interrupted"), make_run("two")])
    sql = "SELECT run_id, state, ended_at IS NULL AS running FROM runs_current ORDER BY run_id"
    assert [tuple(r.values()) for r in rows(sql)] == [("one", "interrupted", False), ("two", "started", True)]


def test_a_clock_that_was_set_back_does_not_bring_back_old_verdicts(
    folder: Path,
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_run: MakeRun,
    rows: Rows,
) -> None:
    prompt = make_prompt()
    row = make_trajectory(prompt)
    warehouse.append("runs", [make_run(checks=[("reasoning", "format", "1", False)])])
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [row])
    warehouse.append("verdicts", [make_verdict(row, "pass", version="1")])
    yesterday = {"created_at": START - timedelta(days=1)}
    other = Warehouse.open(folder)  # which knows of the rows only from the files
    run = make_run("run-2", checks=[("reasoning", "format", "2", False)])
    other.append("runs", [run.model_copy(update=yesterday)])
    other.append("verdicts", [make_verdict(row, "fail", version="2", **yesterday)])
    assert rows('SELECT "check", version, outcome FROM verdicts_current') == [
        {"check": "format", "version": "2", "outcome": "fail"}
    ]
    assert numbers(rows)["format"] == (1, 0, 1, 0, 0, 0)
    warehouse.append("verdicts", [make_verdict(row, "pass", version="3", **yesterday)])
    assert rows("SELECT version FROM verdicts ORDER BY created_at") == [{"version": v} for v in "123"]


def test_reviewers_agree_as_far_as_kappa_says(warehouse: Warehouse, rows: Rows, clock: Callable[[], datetime]) -> None:
    said = {("approve", "approve"): 4, ("approve", "reject"): 2, ("reject", "approve"): 1, ("reject", "reject"): 3}
    pairs = [pair for pair, count in said.items() for _ in range(count)]

    def review(number: int, reviewer: str, verdict: Any, **columns: Any) -> Review:
        place = len(reviews)
        values = {"review_id": f"{place:032x}", "number": place, "trajectory_id": str(number), "attempt": 1}
        return Review(**{**values, "reviewer": reviewer, "verdict": verdict, "created_at": clock(), **columns})

    reviews: list[Review] = []
    for number, (a, b) in enumerate(pairs):
        reviews.append(review(number, "ann", "reject" if a == "approve" else "approve"))
        reviews.append(review(number, "bob", b))
        reviews.append(review(number, "ann", a))  # the latest word counts
    reviews.append(review(0, "cem", "approve"))
    reviews.append(review(90, "cem", "edit", text="better", child_id="child"))
    reviews.append(review(0, "bob", "approve", trajectory_id="child"))  # cem's word on it is no look of its own
    warehouse.append("reviews", reviews)
    assert rows("FROM review_agreement") == [
        {"reviewer_a": "ann", "reviewer_b": "bob", "n": 10, "agreement": 0.7, "kappa": 0.4},
        {"reviewer_a": "ann", "reviewer_b": "cem", "n": 1, "agreement": 1.0, "kappa": None},
        {"reviewer_a": "bob", "reviewer_b": "cem", "n": 1, "agreement": 1.0, "kappa": None},
    ]
    assert rows(
        "SELECT reviewer, verdict, by_editing FROM reviews_current WHERE trajectory_id = 'child' ORDER BY 1"
    ) == [
        {"reviewer": "bob", "verdict": "approve", "by_editing": False},
        {"reviewer": "cem", "verdict": "approve", "by_editing": True},
    ]


def test_features_are_columns_of_their_own(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    rows: Rows,
) -> None:
    prompt = make_prompt()
    read, empty, unread = (make_trajectory(prompt, i) for i in range(3))
    text = "<think>\nWait, 1 + 1 is 2.\n</think>\n\\boxed{2}"
    check = load_check("features")
    (opinion,) = check([Sample(text=text)])
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [read, empty, unread])
    given = {"check": "features", "version": check.version}
    told = make_verdict(read, score=opinion.score, details=canonical_json(dict(opinion.details)), **given)
    warehouse.append("verdicts", [told, make_verdict(empty, "undecided", **given), make_verdict(unread)])
    (row,) = rows("SELECT * FROM features")
    columns = (
        "trajectory_id",
        "attempt",
        "version",
        "prompt_id",
        "stage",
        "policy",
        "step",
        "completion_tokens",
        "score",
    )
    assert row == {c: getattr(told if c in ("version", "score") else read, c) for c in columns} | dict(opinion.details)
    assert (row["reflections"], row["boxed"], row["completion_tokens"]) == (1, 1, 20)
