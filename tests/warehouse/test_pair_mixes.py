"""Mixes of pairs: a better and a worse reply, by a proven judge, by the rule or by a file, and comparable in length."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import JudgeNotCalibrated, SnapshotError
from schemas.records import RECORDS, Trajectory
from tests.warehouse.conftest import Compare, MakePair, MakePrompt, MakeTrajectory, MakeVerdict, Prove, Take, mix_of
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

JUDGED = {"judge": "likes"}
Two = Callable[..., tuple[Trajectory, Trajectory]]


@pytest.fixture
def two(warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory) -> Two:
    """Two replies to a prompt of that question, with answers of these texts."""

    def add(question: str, a: str = "a good one", b: str = "a bad one!", **columns: Any) -> tuple[Any, Any]:
        prompt = make_prompt(question)
        made = [make_trajectory(prompt, i, answer=text, **columns) for i, text in ((len(a), a), (1000 + len(b), b))]
        warehouse.append("prompts", [prompt])
        warehouse.append("trajectories", made)
        return made[0], made[1]

    return add


def refusal(folder: Path, *sources: dict[str, Any]) -> str:
    with pytest.raises(SnapshotError) as error:
        create_snapshot(folder, mix_of("pairs", *sources), {"plain": None})
    assert "\n" not in str(error.value)
    return str(error.value)


def dropped(folder: Path, *sources: dict[str, Any], **columns: Any) -> dict[str, int]:
    """The rules that left something out, with how much, and `rows`."""
    manifest = create_snapshot(folder, mix_of("pairs", *sources, **columns), {"plain": None})[0].manifest
    return {rule: n for rule, n in manifest.counts["dropped"].items() if n} | {"rows": manifest.rows}


def test_what_a_proven_judge_kept_is_in_it_with_the_better_one_as_chosen(
    folder: Path, two: Two, compare: Compare, prove: Prove, take: Take
) -> None:
    a, b = two("1?")
    pair = compare(b, a, -2, -1, -2, -1)
    for i, scores in enumerate([(1, 1, 1, 1), (0, 0, 0, 0), (2, None, None, None)]):
        compare(*two(f"close {i}?"), *scores)
    compare(*two("not all drawn?"), 2, 2, draws=4)
    prove()
    (row,) = take("pairs", {**JUDGED, "balanced": False, "template": "think"}, validation=0.999999)
    assert row["prompt"] == [{"role": "system", "content": "Think."}, {"role": "user", "content": "1?"}]
    assert row["chosen"] == [{"role": "assistant", "content": "a good one"}]
    assert row["rejected"] == [{"role": "assistant", "content": "a bad one!"}]
    found = {k: row[k] for k in ("pair_id", "chosen_id", "rejected_id", "prompt_id", "score", "split", "weight")}
    assert found == {"pair_id": pair, "chosen_id": a.trajectory_id, "rejected_id": b.trajectory_id,
                     "prompt_id": a.prompt_id, "score": 1.5, "split": "validation", "weight": 1.0}  # fmt: skip
    assert (row["chosen_policy"], row["domain"], row["language"]) == ("model@1", "math", "en")
    manifest = create_snapshot(folder, mix_of("pairs", {**JUDGED, "balanced": False}), {"plain": None})[0].manifest
    assert manifest.counts["dropped"]["not_kept"] == 4
    assert manifest.checks == {"likes": ["abc"]}
    assert manifest.counts["chosen_policy"] == {"model@1": 1}


def test_the_whole_reply_is_shown_where_that_is_asked_for(two: Two, compare: Compare, prove: Prove, take: Take) -> None:
    compare(*two("1?", reasoning=" \nso it is\n"), 2, 2)
    prove()
    (row,) = take("pairs", {**JUDGED, "balanced": False, "show": "whole"})
    assert row["chosen"][0]["content"] == "<think>\nso it is\n</think>\na good one"


def test_a_judge_of_pairs_has_to_be_proven(folder: Path, two: Two, compare: Compare, prove: Prove) -> None:
    source = {**JUDGED, "balanced": False}
    assert refusal(folder, source) == (
        "mix demo: asks the judge 'likes', which has compared no pairs here; add the steps {kind: pairs, of: STEP} "
        "and {kind: judge, judge: likes, of: PAIRS} to a recipe, and `dataengine run RECIPE` asks it"
    )
    compare(*two("1?"), 2, 2)
    with pytest.raises(JudgeNotCalibrated, match=r"mix demo: the judge 'likes' \(version abc\) is not calibrated"):
        create_snapshot(folder, mix_of("pairs", source), {"plain": None})
    prove(version="other")
    assert "is not calibrated" in refusal(folder, source)
    prove(low=0.4)
    assert "is too weak: kappa 0.50 (0.40 to 0.60) on 90 cases of gold@1" in refusal(folder, source)
    assert dropped(folder, {**source, "min_kappa": 0.35}) == {"rows": 1}


def test_only_the_stage_that_is_asked_for_has_to_be_of_a_proven_version(
    folder: Path, two: Two, compare: Compare
) -> None:
    compare(*two("1?"), 2, 2)
    source = {**JUDGED, "balanced": False}
    assert refusal(folder, {**source, "stage": "eval"}).endswith(
        "takes no pairs: nothing here meets what its sources ask"
    )
    assert "is not calibrated" in refusal(folder, {**source, "stage": "reasoning"})


def test_a_judge_that_is_required_of_both_replies_has_to_be_proven_too(
    folder: Path, warehouse: Warehouse, two: Two, compare: Compare, prove: Prove, make_verdict: MakeVerdict
) -> None:
    replies = two("1?")
    compare(*replies, 2, 2)
    prove()
    warehouse.append("verdicts", [make_verdict(t, check="safety", kind="judge", version="s1") for t in replies])
    source = {**JUDGED, "balanced": False, "require": ["safety"]}
    assert "the judge 'safety' (version s1) is not calibrated" in refusal(folder, source)
    prove("safety", version="s1")
    assert dropped(folder, source) == {"rows": 1}


@pytest.mark.slow
def test_both_replies_have_to_meet_the_conditions(
    folder: Path, warehouse: Warehouse, two: Two, compare: Compare, prove: Prove, make_verdict: MakeVerdict
) -> None:
    prove()
    for i, outcomes in enumerate([("pass", "pass"), ("pass", "fail"), ("fail", "pass"), ("pass", "undecided")]):
        replies = two(f"{i}?")
        compare(*replies, 2, 2)
        said = zip(replies, outcomes, strict=True)
        warehouse.append("verdicts", [make_verdict(t, o, score=0.5) for t, o in said])
    source = {**JUDGED, "balanced": False}
    assert dropped(folder, {**source, "require": ["format"]}) == {"rows": 1}
    assert dropped(folder, {**source, "not_failed": ["format"]}) == {"rows": 2}
    strict = {"not_failed": ["format"], "thresholds": {"format": {"at_least": 0.4}}}
    assert dropped(folder, {**source, **strict}) == {"rows": 4}
    assert dropped(folder, {**source, "where": "messages[1].content = '3?' -- that one"}) == {"rows": 1}
    assert refusal(folder, {**source, "where": "nothing > 1"}).startswith("mix demo: where: nothing > 1: Binder Error")
    assert refusal(folder, {**source, "require": ["nosuch"]}) == (
        "mix demo: requires the check 'nosuch', which has no verdict here; add it to the `checks` of the steps that "
        "made the replies, and `dataengine run RECIPE` gives the verdicts that are missing"
    )


def test_by_the_rule_the_one_that_passed_is_chosen_and_no_judge_is_asked(
    folder: Path, warehouse: Warehouse, two: Two, compare: Compare, take: Take, make_verdict: MakeVerdict
) -> None:
    said = [("pass", "fail"), ("fail", "pass"), ("pass", "pass"), ("fail", "undecided"), ("fail", "fail")]
    pairs = [two(f"{i}?") for i in range(len(said))]
    for (a, b), outcomes in zip(pairs, said, strict=True):
        compare(a, b)
        given = zip((a, b), outcomes, strict=True)
        warehouse.append("verdicts", [make_verdict(t, o, check="exact") for t, o in given])
    compare(*two("never verified?"))
    found = {(r["chosen_id"], r["rejected_id"]) for r in take("pairs", {"policy": "rule", "balanced": False})}
    (a, b), (c, d) = pairs[:2]
    assert found == {(a.trajectory_id, b.trajectory_id), (d.trajectory_id, c.trajectory_id)}
    assert dropped(folder, {"policy": "rule", "balanced": False}) == {"no_contrast": 4, "rows": 2}
    row = take("pairs", {"policy": "rule", "balanced": False})[0]
    assert (row["score"], row["verdicts"]) == (None, [])
    assert row["chosen_verdicts"] == [{"check": "exact", "version": "1", "outcome": "pass"}]
    manifest = create_snapshot(folder, mix_of("pairs", {"policy": "rule", "balanced": False}), {"plain": None})[
        0
    ].manifest
    assert manifest.checks == {"exact": ["1"]}


def test_what_a_file_said_needs_no_proof(folder: Path, two: Two, compare: Compare, take: Take) -> None:
    source = {"check": "imported", "balanced": False}
    assert refusal(folder, source).endswith(
        "takes imported pairs, and there are none here: `dataengine import FILE --as pairs`"
    )
    a, b = two("1?")
    compare(a, b, 2, check="imported")
    (row,) = take("pairs", source)
    assert (row["chosen_id"], row["score"]) == (a.trajectory_id, 2.0)


def test_replies_that_say_nothing_or_the_same_make_no_pair(
    folder: Path, two: Two, compare: Compare, prove: Prove
) -> None:
    prove()
    compare(*two("1?"), 2, 2)
    compare(*two("2?", "here", " \n"), 2, 2)
    compare(*two("3?", "same", "same\n"), 2, 2)
    first, second = two("4?"), two("4?", "a good one", "a bad one! ", policy="other@1")
    compare(*first, 2, 2)
    compare(*second, 2, 2)
    assert dropped(folder, {**JUDGED, "balanced": False}) == {
        "no_answer": 1, "same_answer": 1, "duplicate_pair": 1, "rows": 2,
    }  # fmt: skip


LONG, SHORT = "word " * 20, "word " * 10


@pytest.fixture
def uneven(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_pair: MakePair,
    make_verdict: MakeVerdict, prove: Prove,
) -> None:  # fmt: skip
    """Of 20 pairs the longer reply is chosen in 15, by judge and rule alike; in 3 further ones both are as long."""
    prove()
    rows: dict[str, list[Any]] = {t: [] for t in ("prompts", "trajectories", "verdicts", "pairs", "pair_verdicts")}
    for i in range(23):
        texts = ("left one", "this one") if i >= 20 else (LONG, SHORT) if i % 4 else (SHORT, LONG)
        prompt = make_prompt(f"{i}?")
        replies = [make_trajectory(prompt, n, answer=f"{text}{i:02}") for n, text in enumerate(texts)]
        pair, said = make_pair(*replies, 2, 2)
        rows["prompts"].append(prompt)
        rows["trajectories"] += replies
        rows["verdicts"] += [make_verdict(t, o, check="exact") for t, o in zip(replies, ("pass", "fail"), strict=True)]
        rows["pairs"].append(pair)
        rows["pair_verdicts"] += said
    for table, made in rows.items():
        warehouse.append(table, made)


@pytest.mark.parametrize("source", [JUDGED, {"policy": "rule"}])
@pytest.mark.slow
def test_length_tells_nothing_about_what_is_chosen(
    folder: Path, uneven: None, take: Take, source: dict[str, Any]
) -> None:
    def sides(rows: list[dict[str, Any]]) -> tuple[int, int]:
        lengths = [(len(r["chosen"][0]["content"]), len(r["rejected"][0]["content"])) for r in rows]
        return sum(c > r for c, r in lengths), sum(c < r for c, r in lengths)

    assert sides(take("pairs", {**source, "balanced": False})) == (15, 5)
    rows = take("pairs", source)
    assert (sides(rows), len(rows)) == ((5, 5), 13)
    assert dropped(folder, source) == {"length_balance": 10, "rows": 13}
    for most in (1, 7):
        longer, shorter = sides(take("pairs", {**source, "max_rows": most}, seed=most))
        assert abs(longer - shorter) <= 1, "a cap leaves the balance as it is"
    assert dropped(folder, {**source, "max_rows": 7}) == {"length_balance": 10, "over_max_rows": 6, "rows": 7}


def test_the_balance_is_over_what_the_conditions_leave(folder: Path, uneven: None, take: Take) -> None:
    # Of those that are left as many are longer as shorter, so nothing is to be evened out.
    longer = "messages[1].content IN ('1?', '2?', '3?', '5?')"
    shorter = "messages[1].content IN ('0?', '4?', '8?', '12?')"
    assert len(take("pairs", {**JUDGED, "where": f"{longer} OR {shorter}"})) == 8


def test_caps_by_prompt_and_a_pair_that_two_sources_choose(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, compare: Compare,
    prove: Prove,
) -> None:  # fmt: skip
    prove()
    prompts = [make_prompt(f"{i}?") for i in range(3)]
    replies = {p.prompt_id: [make_trajectory(p, i, answer=f"{p.prompt_id} {i}") for i in range(4)] for p in prompts}
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", [t for made in replies.values() for t in made])
    for a, b, c, d in replies.values():
        compare(a, b, 2, 2)
        compare(a, c, 2, 2)
        compare(b, d, 2, 2)
    one = {**JUDGED, "balanced": False, "max_per_prompt": 2}
    assert dropped(folder, one) == {"over_max_per_prompt": 3, "rows": 6}
    first = {**JUDGED, "balanced": False, "where": "messages[1].content = '0?'"}
    assert dropped(folder, first, one) == {"in_another_source": 3, "over_max_per_prompt": 2, "rows": 7}


def test_the_same_pairs_in_any_order_have_the_same_hash_and_other_scores_another(
    tmp_path: Path, warehouse: Warehouse, folder: Path, uneven: None
) -> None:
    mix = mix_of("pairs", {**JUDGED, "max_rows": 9}, validation=0.3)
    first, new = create_snapshot(folder, mix, {"plain": None})
    assert new
    assert not create_snapshot(folder, mix, {"plain": None})[1], "made again it is the same"
    held = {
        table: [
            RECORDS[table].model_validate(r) for f in warehouse.files(table)[1] for r in pq.read_table(f).to_pylist()
        ]
        for table in ("prompts", "trajectories", "verdicts", "pairs", "pair_verdicts", "calibrations")
    }
    made = []
    for name, factor in (("same", 1), ("changed", 0.75)):
        other = Warehouse.open(tmp_path / name, create=True)
        for table, rows in held.items():
            given: list[Any] = random.Random(name).sample(rows, len(rows))
            if table == "pair_verdicts":
                given = [r.model_copy(update={"score": r.score * factor}) for r in given]
            for start in range(0, len(given), 20):
                other.append(table, given[start : start + 20])
        made.append(create_snapshot(tmp_path / name, mix, {"plain": None})[0].manifest)
    same, changed = made
    assert same.logical_hash == first.manifest.logical_hash
    assert same.files == first.manifest.files
    assert changed.rows == same.rows
    assert changed.logical_hash != same.logical_hash


def test_types_are_those_that_preference_trainers_read(folder: Path, uneven: None) -> None:
    snapshot, _ = create_snapshot(folder, mix_of("pairs", JUDGED), {"plain": None})
    schema = pq.read_schema(snapshot.data_files()[0])
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    for column in ("prompt", "chosen", "rejected"):
        assert pa.types.is_list(schema.field(column).type)
        assert schema.field(column).type.value_type == turn
