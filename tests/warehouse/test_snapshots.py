"""A snapshot is the same wherever it is made, never changes, and says what was left out."""

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from dataengine.prompting import take_apart
from schemas.errors import SnapshotError
from schemas.mix import Mix
from schemas.records import Trajectory
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict
from warehouse.snapshot import Snapshot, create_snapshot, list_snapshots, open_snapshot, verify_files
from warehouse.store import Warehouse

SYSTEMS = {"plain": None, "think": "Think first."}
Fill = Callable[..., list[Trajectory]]


def create(folder: Path, mix: Mix) -> tuple[Snapshot, bool]:
    return create_snapshot(folder, mix, SYSTEMS)


def selected(snapshot: Snapshot, split: str | None = None) -> list[dict[str, Any]]:
    return [row for file in snapshot.data_files(split) for row in pq.read_table(file).to_pylist()]


def refusal(folder: Path, mix: Mix) -> str:
    with pytest.raises(SnapshotError) as error:
        create(folder, mix)
    message = str(error.value)
    assert "\n" not in message
    making = folder / "snapshots" / mix.mix
    assert not making.exists() or not list(making.iterdir()), "nothing half-made is left"
    return message


@pytest.fixture
def fill(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> Fill:
    """Adds prompts with `samples` replies each, all of which pass `format`; returns the trajectories."""

    def add(*questions: str, samples: int = 1, **columns: Any) -> list[Trajectory]:
        prompts = [make_prompt(q) for q in questions]
        made = [make_trajectory(p, i, **columns) for p in prompts for i in range(samples)]
        warehouse.append("prompts", prompts)
        warehouse.append("trajectories", made)
        warehouse.append("verdicts", [make_verdict(t) for t in made])
        return made

    return add


def test_a_snapshot_is_made_once_and_anew_when_rows_are_added(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("1?", "2?")
    first, new = create(folder, make_mix())
    assert (first.manifest.id, new, first.manifest.rows, first.manifest.prompts) == ("demo@1", True, 2, 2)
    again, new = create(folder, make_mix())
    assert (again, new) == (first, False)
    fill("3?")
    second, new = create(folder, make_mix())
    assert (second.manifest.id, new, second.manifest.rows) == ("demo@2", True, 3)
    assert second.manifest.logical_hash != first.manifest.logical_hash
    verify_files(first)
    assert [s.manifest.id for s in list_snapshots(folder)] == ["demo@1", "demo@2"]
    assert open_snapshot(folder, "demo") == second
    assert open_snapshot(folder, "demo@1") == first
    assert sorted(p.name for p in first.path.iterdir()) == [
        "README.md", "manifest.json", "train-00000-of-00001.parquet"
    ]  # fmt: skip


def test_only_what_passed_is_in_it_as_a_conversation(
    folder: Path,
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> None:
    prompt = make_prompt("1 + 1?", license="MIT")
    right, bare = make_trajectory(prompt, 0), make_trajectory(prompt, 1, reasoning=None)
    wrong, unknown = make_trajectory(prompt, 2), make_trajectory(prompt, 3)
    other_stage = make_trajectory(prompt, 4, stage="eval")
    lost = make_trajectory(prompt, 5, error="lost", finish_reason=None)
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [right, bare, wrong, unknown, other_stage, lost])
    outcomes = [(right, "pass"), (bare, "pass"), (wrong, "fail"), (unknown, "undecided"), (other_stage, "pass")]
    warehouse.append("verdicts", [make_verdict(t, o) for t, o in outcomes])
    snapshot, _ = create(folder, make_mix(template="think"))
    found = {row["trajectory_id"]: row for row in selected(snapshot)}
    assert set(found) == {right.trajectory_id, bare.trajectory_id}
    start = [{"role": "system", "content": "Think first."}, {"role": "user", "content": "1 + 1?"}]
    reply = {"role": "assistant", "content": "<think>\nthought 0\n</think>\nanswer 0"}
    assert found[right.trajectory_id]["messages"] == [*start, reply]
    assert found[bare.trajectory_id]["messages"] == [*start, {"role": "assistant", "content": "answer 1"}]
    assert found[right.trajectory_id]["verdicts"] == [{"check": "format", "version": "1", "outcome": "pass"}]
    assert found[right.trajectory_id]["license"] == "MIT"
    assert snapshot.manifest.checks == {"format": ["1"]}
    assert snapshot.manifest.counts["split"] == {"train": 2}


def test_reasoning_stands_in_think_tags_or_between_special_tokens(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    (first,), (second,) = (fill(q, reasoning="\n3 - 2 \n", answer=" It is 1.\n") for q in ("1?", "2?"))
    (bare,) = fill("3?", reasoning=None)
    source = {"stage": "reasoning", "require": ["format"], "max_rows": 1}
    named = [f"trajectory_id = '{t.trajectory_id}'" for t in (first, second, bare)]
    sources = [
        {**source, "where": named[0]},
        {**source, "where": named[1], "pattern": "special_token"},
        {**source, "where": named[2], "pattern": "special_token"},
    ]
    snapshot, _ = create(folder, make_mix(sources=sources))
    said = {row["trajectory_id"]: row["messages"][-1]["content"] for row in selected(snapshot)}
    assert said == {
        first.trajectory_id: "<think>\n3 - 2\n</think>\nIt is 1.",
        second.trajectory_id: "|special_token|3 - 2|special_token|It is 1.",
        bare.trajectory_id: "answer 0",
    }
    assert take_apart(said[second.trajectory_id]) == take_apart(said[first.trajectory_id])


@pytest.mark.parametrize("part", ["reasoning", "answer"])
def test_a_reply_that_holds_the_special_token_is_refused_where_it_would_be_a_mark(
    folder: Path, fill: Fill, make_mix: MakeMix, part: str
) -> None:
    (held,) = fill("1?", **{part: "so |special_token| it is"})
    fill("2?")
    message = refusal(folder, make_mix(pattern="special_token"))
    assert message.startswith(f"mix demo: 1 replies hold the text |special_token|, such as {held.trajectory_id[:12]};")
    condition = re.search('where: "(.*)"$', message)
    assert condition
    assert create(folder, make_mix(pattern="special_token", where=condition[1]))[0].manifest.rows == 1
    assert create(folder, make_mix())[0].manifest.rows == 2, "in think tags it is text like any other"


def test_a_snapshot_of_several_files_holds_the_same_rows_in_the_same_order(
    folder: Path, fill: Fill, make_mix: MakeMix, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(*(f"{i} + {i}?" for i in range(40)), samples=2)
    whole, _ = create(folder, make_mix("whole", validation=0.2))
    monkeypatch.setattr("warehouse.filing.ROWS_OF_A_FILE", 15)
    cut, _ = create(folder, make_mix("cut", validation=0.2))
    sizes = [file.rows for file in cut.manifest.files if file.path.startswith("train")]
    assert len(sizes) > 3
    assert set(sizes[:-1]) == {15}
    assert [file.path for file in cut.manifest.files][:2] == [
        f"train-0000{i}-of-0000{len(sizes)}.parquet" for i in (0, 1)
    ]
    assert selected(cut) == selected(whole)
    assert cut.manifest.logical_hash == whole.manifest.logical_hash
    assert {p.name for p in cut.path.iterdir()} == {"README.md", "manifest.json", *(f.path for f in cut.manifest.files)}
    verify_files(cut)
    ids = [row["trajectory_id"] for row in selected(cut, "train")]
    assert ids == sorted(ids)


def test_the_same_rows_in_any_order_and_batches_have_the_same_hash(
    tmp_path: Path,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> None:
    prompts = [make_prompt(f"{i} + {i}? 😀") for i in range(30)]
    replies = [make_trajectory(p, i) for p in prompts for i in range(3)]
    verdicts = [v for t in replies for v in (make_verdict(t), make_verdict(t, "fail", check="length"))]
    mix = make_mix(max_per_prompt=2, max_rows=50, validation=0.2, salt="s")
    made = []
    for name, size in (("one", 1000), ("two", 37)):
        warehouse = Warehouse.open(tmp_path / name, create=True)
        shuffle = random.Random(size)
        tables: tuple[tuple[str, list[Any]], ...] = (
            ("prompts", prompts),
            ("trajectories", replies),
            ("verdicts", verdicts),
        )
        for table, rows in tables:
            mixed = shuffle.sample(rows, len(rows))
            for start in range(0, len(mixed), size):
                warehouse.append(table, mixed[start : start + size])
        made.append(create(tmp_path / name, mix)[0])
    one, two = (s.manifest for s in made)
    assert one.rows == 50
    assert one.logical_hash == two.logical_hash
    assert [(f.path, f.sha256) for f in one.files] == [(f.path, f.sha256) for f in two.files]
    assert one.counts == two.counts


def test_the_hash_tells_other_texts_verdicts_and_splits_apart(
    folder: Path, warehouse: Warehouse, fill: Fill, make_verdict: MakeVerdict, make_mix: MakeMix
) -> None:
    (row,) = fill("1?")
    hashes = [create(folder, make_mix())[0].manifest.logical_hash]
    hashes.append(create(folder, make_mix(template="think"))[0].manifest.logical_hash)
    hashes.append(create(folder, make_mix(validation=0.999999))[0].manifest.logical_hash)
    warehouse.append("verdicts", [make_verdict(row, "fail", check="length")])
    hashes.append(create(folder, make_mix())[0].manifest.logical_hash)
    assert len(set(hashes)) == 4


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_no_prompt_stands_in_two_splits_and_the_share_is_kept(
    folder: Path, fill: Fill, make_mix: MakeMix, share: float
) -> None:
    fill(*[f"{i}?" for i in range(400)], samples=2)
    snapshot, _ = create(folder, make_mix(validation=share, salt="a"))
    train = {r["prompt_id"] for r in selected(snapshot, "train")}
    held_out = {r["prompt_id"] for r in selected(snapshot, "validation")}
    assert not train & held_out
    assert len(train | held_out) == 400
    assert abs(len(held_out) / 400 - share) < 0.08
    assert snapshot.manifest.counts["split"] == {"train": 2 * len(train), "validation": 2 * len(held_out)}
    other, _ = create(folder, make_mix(validation=share, salt="b"))
    assert {r["prompt_id"] for r in selected(other, "validation")} != held_out


def test_what_is_left_out_is_counted(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("a?", "b?", "c?", samples=4)
    fill("d?", samples=3, reasoning=None, answer="same", text="same")
    snapshot, _ = create(folder, make_mix(max_per_prompt=3, max_rows=8))
    assert snapshot.manifest.rows == 8
    assert snapshot.manifest.counts["dropped"] == {
        "duplicate_reply": 2,
        "over_max_per_prompt": 3,
        "over_max_rows": 2,
        "in_another_source": 0,
        "prompt_in_another_source": 0,
        "license": 0,
        "contaminated": 0,
        "overlong": 0,
        "over_target": 0,
    }
    per_prompt: dict[str, int] = {}
    for row in selected(snapshot):
        per_prompt[row["prompt_id"]] = per_prompt.get(row["prompt_id"], 0) + 1
    assert max(per_prompt.values()) <= 3


def test_the_shortest_replies_or_a_lottery_of_the_seed_are_chosen(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("a?", "b?", samples=8)
    shortest, _ = create(folder, make_mix(max_per_prompt=2, choose="shortest"))
    assert sorted(r["completion_tokens"] for r in selected(shortest)) == [20, 20, 21, 21]
    mixes = [make_mix(f"m{i}", max_per_prompt=2, seed=seed) for i, seed in enumerate((1, 1, 2, 3))]
    draws = [frozenset(r["trajectory_id"] for r in selected(create(folder, mix)[0])) for mix in mixes]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1


def test_other_prompts_are_those_of_which_no_earlier_source_takes_a_row(
    folder: Path, fill: Fill, make_mix: MakeMix
) -> None:
    made = fill("a?", "b?", "c?", samples=3)
    first = {"stage": "reasoning", "require": ["format"], "where": "messages[1].content <> 'c?'", "max_per_prompt": 1}
    rest = {"stage": "reasoning", "require": ["format"]}
    snapshot, _ = create(folder, make_mix(sources=[first, {**rest, "other_prompts": True}]))
    found = selected(snapshot)
    assert len(found) == 5
    assert sum(r["prompt_id"] == made[-1].prompt_id for r in found) == 3
    dropped = snapshot.manifest.counts["dropped"]
    assert (dropped["in_another_source"], dropped["prompt_in_another_source"]) == (2, 4)
    capped = {**first, "max_rows": 1}
    again, _ = create(folder, make_mix("capped", sources=[capped, {**rest, "other_prompts": True}]))
    assert again.manifest.rows == 7, "a prompt whose row a cap leaves out is taken by the next source"
    with pytest.raises(ValidationError, match="other_prompts is for a source that has another before it"):
        make_mix(sources=[{**rest, "other_prompts": True}])


def test_a_trajectory_that_two_sources_choose_is_taken_once(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("a?", "b?", samples=2)
    source = {"stage": "reasoning", "require": ["format"]}
    sources = [{**source, "where": "sample_index = 0", "template": "think"}, source]
    snapshot, _ = create(folder, make_mix(sources=sources))
    found = selected(snapshot)
    assert len(found) == len({r["trajectory_id"] for r in found}) == 4
    assert sum(r["messages"][0]["role"] == "system" for r in found) == 2
    assert snapshot.manifest.counts["dropped"]["in_another_source"] == 2


@pytest.fixture
def scored(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> dict[str, str]:
    """Replies that `format` passed, with every verdict of a check that passes from 0.95 on; id -> what it said."""
    prompt = make_prompt()
    said: list[tuple[str, str | None, float | None]] = [
        ("pass 1.0", "pass", 1.0), ("pass 0.95", "pass", 0.95), ("fail 0.92", "fail", 0.92), ("fail 0.4", "fail", 0.4),
        ("fail without a score", "fail", None), ("undecided", "undecided", None),
        ("undecided 0.99", "undecided", 0.99), ("error", "error", None), ("none", None, None),
    ]  # fmt: skip
    rows = [make_trajectory(prompt, i) for i in range(len(said))]
    verdicts = [make_verdict(t) for t in rows]
    for row, (_, outcome, score) in zip(rows, said, strict=True):
        if outcome:
            verdicts.append(make_verdict(row, outcome, check="language_mix", score=score))
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", rows)
    warehouse.append("verdicts", verdicts)
    return {row.trajectory_id: name for row, (name, _, _) in zip(rows, said, strict=True)}


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"require": ["format", "language_mix"]}, {"pass 1.0", "pass 0.95"}),
        ({"require": ["format", "language_mix"], "thresholds": {"language_mix": {"at_least": 0.92}}},
         {"pass 1.0", "pass 0.95", "fail 0.92"}),
        ({"require": ["format", "language_mix"], "thresholds": {"language_mix": {"at_least": 0.96}}}, {"pass 1.0"}),
        ({"require": ["format", "language_mix"], "thresholds": {"language_mix": {"at_most": 0.5}}}, {"fail 0.4"}),
        ({"require": ["format", "language_mix"], "thresholds": {"language_mix": {"at_least": 0.9, "at_most": 0.95}}},
         {"pass 0.95", "fail 0.92"}),
        ({"not_failed": ["language_mix"], "thresholds": {"language_mix": {"at_least": 0.96}}},
         {"pass 1.0", "undecided", "undecided 0.99"}),
        ({"not_failed": ["language_mix"]}, {"pass 1.0", "pass 0.95", "undecided", "undecided 0.99"}),
        # A condition looks at the score alone, whatever the outcome.
        ({"where": "language_mix_score >= 0.9"}, {"pass 1.0", "pass 0.95", "fail 0.92", "undecided 0.99"}),
    ],
)  # fmt: skip
def test_a_mix_may_set_its_own_threshold_on_a_stored_score(
    folder: Path, scored: dict[str, str], make_mix: MakeMix, settings: dict[str, Any], taken: set[str]
) -> None:
    snapshot, _ = create(folder, make_mix(**settings))
    assert {scored[r["trajectory_id"]] for r in selected(snapshot)} == taken


def test_a_threshold_stands_in_the_manifest_and_the_verdict_as_it_was_given(
    folder: Path, scored: dict[str, str], make_mix: MakeMix
) -> None:
    settings = {"require": ["format", "language_mix"], "thresholds": {"language_mix": {"at_least": 0.9}}}
    snapshot, _ = create(folder, make_mix(**settings))
    (source,) = snapshot.manifest.mix["sources"]
    assert source["thresholds"] == {"language_mix": {"at_least": 0.9, "at_most": None}}
    assert Mix.model_validate(snapshot.manifest.mix) == make_mix(**settings)
    outcomes = {scored[r["trajectory_id"]]: r["verdicts"][1]["outcome"] for r in selected(snapshot)}
    assert outcomes == {"pass 1.0": "pass", "pass 0.95": "pass", "fail 0.92": "fail"}
    stricter, new = create(folder, make_mix(**settings | {"thresholds": {"language_mix": {"at_least": 0.96}}}))
    assert new
    assert stricter.manifest.logical_hash != snapshot.manifest.logical_hash


def test_a_required_check_that_nobody_ran_is_named(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("a?")
    assert refusal(folder, make_mix(require=["format", "judge"])) == (
        "mix demo: requires the check 'judge', which has no verdict here; add it to the `checks` of the reasoning step"
        ", and `dataengine run RECIPE` gives the verdicts that are missing"
    )


def test_a_mix_that_nothing_passes_makes_no_snapshot(
    folder: Path, warehouse: Warehouse, fill: Fill, make_verdict: MakeVerdict, make_mix: MakeMix
) -> None:
    (row,) = fill("a?")
    warehouse.append("verdicts", [make_verdict(row, "undecided", check="exact")])
    assert refusal(folder, make_mix(require=["exact"])).startswith("mix demo: no trajectory of reasoning passes")
    assert refusal(folder, make_mix(where="completion_tokens > 10000")).startswith("mix demo: no trajectory of")


@pytest.mark.parametrize(
    "where",
    [
        "nothing = 1",
        "SELECT",
        "completion_tokens >",
        "true) OR (true",
        "true); CREATE TABLE t AS SELECT 1; --",
        "true; SELECT 1",
    ],
)
def test_a_condition_that_is_none_is_refused_in_one_line(
    folder: Path, fill: Fill, make_mix: MakeMix, where: str
) -> None:
    fill("a?")
    assert refusal(folder, make_mix(where=where)).startswith(f"mix demo: where: {where}: ")


def test_a_condition_chooses_and_its_comments_hide_nothing(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("a?", samples=5)
    snapshot, _ = create(folder, make_mix(where="sample_index < 2 OR sample_index = 4 -- the best", require=["format"]))
    assert snapshot.manifest.rows == 3


@pytest.mark.parametrize("ref", ["", "@1", "demo@", "demo@²", "demo@v1", "demo@-1", "../demo@1", "a/b@1", "demo@1@1"])
def test_names_that_are_none_are_refused(folder: Path, fill: Fill, make_mix: MakeMix, ref: str) -> None:
    fill("a?")
    create(folder, make_mix())
    if ref == "demo@":
        assert open_snapshot(folder, ref).manifest.id == "demo@1"
        return
    with pytest.raises(SnapshotError, match="a snapshot is called name@version"):
        open_snapshot(folder, ref)


def test_a_snapshot_that_is_not_there_lists_those_that_are(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    with pytest.raises(SnapshotError, match=r"there is no snapshot demo@1 \(known: none yet\)"):
        open_snapshot(folder, "demo@1")
    assert list_snapshots(folder) == []
    fill("a?")
    create(folder, make_mix())
    for ref in ("demo@2", "other"):
        with pytest.raises(SnapshotError, match=rf"there is no snapshot {ref} \(known: demo@1\)"):
            open_snapshot(folder, ref)


def test_a_flipped_byte_and_a_missing_file_are_found(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("a?")
    snapshot, _ = create(folder, make_mix())
    verify_files(snapshot)
    (file,) = snapshot.data_files()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(SnapshotError, match=r"demo@1: .*train-00000-of-00001.parquet is damaged"):
        verify_files(snapshot)
    file.unlink()
    with pytest.raises(SnapshotError, match=r"demo@1: .*train-00000-of-00001.parquet is gone"):
        verify_files(snapshot)


def test_a_snapshot_that_was_not_finished_is_none(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("a?")
    (folder / "snapshots" / "demo" / ".making-dead").mkdir(parents=True)
    (folder / "snapshots" / "demo" / "v1").mkdir()
    assert list_snapshots(folder) == []
    snapshot, new = create(folder, make_mix())
    assert new
    verify_files(open_snapshot(folder, snapshot.manifest.id))


MAKER = """
import sys, json
from pathlib import Path
from schemas.mix import Mix
from warehouse.snapshot import create_snapshot
sys.stdin.readline()
print(create_snapshot(Path(sys.argv[1]), Mix.model_validate_json(sys.argv[2]), {"plain": None})[0].manifest.id)
"""


def test_two_processes_at_once_leave_whole_snapshots(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill(*[f"{i}?" for i in range(50)])
    mixes = [make_mix(salt="a", validation=0.5), make_mix(salt="b", validation=0.5), make_mix(salt="a", validation=0.5)]
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, str(folder), mix.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mix in mixes
    ]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    made = [maker.communicate()[0].strip() for maker in makers]
    assert [m.returncode for m in makers] == [0, 0, 0]
    found = list_snapshots(folder)
    assert {s.manifest.id for s in found} == set(made)
    assert [s.manifest.version for s in found] == list(range(1, len(found) + 1))
    for snapshot in found:
        verify_files(snapshot)
        assert snapshot.manifest.version == int(snapshot.path.name[1:])
    assert not [p for p in (folder / "snapshots" / "demo").iterdir() if p.name.startswith(".")]
