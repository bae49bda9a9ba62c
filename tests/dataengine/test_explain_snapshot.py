"""From a row of a snapshot, or of an export of it, back to all it rests on, as it was then; and what was said since."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dataengine.explain import explain, explained
from schemas.errors import InputError
from schemas.keys import canonical_json, key
from schemas.mix import MixFile
from schemas.records import (
    Calibration,
    Message,
    Pair,
    PairStep,
    PairVerdict,
    Prompt,
    Review,
    Run,
    Trajectory,
    Verdict,
    now,
)
from warehouse.export import export_snapshot
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

Cli = Callable[..., Any]
SYSTEMS = {"plain": None, "think": "Think first."}
SECRET = "kX9#vQ2!mPz7Lw"
VOTES = {"verdict": "correct", "votes": [{"policy": "judge@1", "verdict": "correct", "analysis": "It adds up."}]}


@dataclass(frozen=True)
class Place:
    """A warehouse, the ids of a `good` and a `bad` reply, their pair and their prompt, and its snapshots by kind."""

    path: Path
    good: str
    bad: str
    pair: str
    prompt: str
    snapshots: dict[str, Snapshot]

    def told(self, name: str, kind: str | None = None) -> str:
        return explain(self.path, getattr(self, name), snapshot=self.snapshots[kind].manifest.id if kind else None)

    def known(self, name: str, kind: str | None = None) -> dict[str, Any]:
        ref = self.snapshots[kind].manifest.id if kind else None
        record = explained(self.path, getattr(self, name), snapshot=ref)
        assert json.loads(json.dumps(record)) == record
        return record


def _reply(prompt: Prompt, name: str, sample: int, **columns: Any) -> Trajectory:
    values: dict[str, Any] = {
        "trajectory_id": key(name),
        "prompt_id": prompt.prompt_id,
        "stage": "reasoning",
        "policy": "model@1",
        "engine": "endpoint",
        "sampling": '{"temperature":0.7}',
        "sample_index": sample,
        "rendered_key": "r",
        "system_prompt": "Think\nwell.",
        "reasoning": f"thought of {name}",
        "answer": f"a {name} one",
        "text": f"<think>thought of {name}</think>a {name} one {SECRET}",
        "finish_reason": "stop",
        "completion_tokens": 9,
        "run_id": "run-1",
        "created_at": now(),
    }
    return Trajectory(**{**values, **columns})


def _verdict(row: Trajectory, check: str, outcome: str = "pass", **columns: Any) -> Verdict:
    values: dict[str, Any] = {"version": "1", "kind": "filter", "score": 1.0, "run_id": "run-1", "created_at": now()}
    of = {"trajectory_id": row.trajectory_id, "attempt": row.attempt}
    return Verdict(**{**of, "check": check, "outcome": outcome, **values, **columns})


def _review(ident: str, reviewer: str, verdict: str, **columns: Any) -> Review:
    values: dict[str, Any] = {"review_id": key(ident, reviewer)[:32], "trajectory_id": ident, "attempt": 1}
    return Review(**values, reviewer=reviewer, verdict=verdict, created_at=now(), **columns)  # type: ignore[arg-type]


def _run(run_id: str, recipe: str) -> Run:
    versions = canonical_json({"dataengine": "0.1.0", "python": "3.11"})
    return Run(run_id=run_id, event="started", recipe=recipe, config="{}", versions=versions, created_at=now())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two replies that checks, people and judges spoke about, and a snapshot of each kind; more is said after that."""
    warehouse = Warehouse.open(tmp_path_factory.mktemp("lineage") / "data", create=True)
    asked = {"domain": "math", "reference": "2", "verifier": "exact", "license": "MIT"}
    prompt = Prompt.make([Message(role="user", content="1 + 1?")], source="sums", source_ref="sums.jsonl:7", **asked)  # type: ignore[arg-type]
    lost = _reply(
        prompt, "good", 0, error="lost", text="", answer=None, reasoning=None, finish_reason=None, run_id="run-0"
    )
    good, bad = _reply(prompt, "good", 0, attempt=2), _reply(prompt, "bad", 1)
    pair = Pair(pair_id=key("p"), prompt_id=prompt.prompt_id, a_id=bad.trajectory_id, b_id=good.trajectory_id,
                run_id="run-2", created_at=now())  # fmt: skip
    warehouse.append("runs", [_run("run-0", "first"), _run("run-1", "again"), _run("run-2", "compare")])
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [lost])
    warehouse.append("trajectories", [good, bad])
    warehouse.append("verdicts", [_verdict(good, "format", "fail", version="0", reason="too_old", score=0.0)])
    spans = canonical_json({"spans": [[good.text.index(SECRET), len(good.text), "password"]]})
    warehouse.append("verdicts", [
        *(_verdict(row, "format") for row in (good, bad)),
        _verdict(good, "exact", kind="verifier", against=prompt.against),
        _verdict(bad, "exact", "fail", kind="verifier", against=prompt.against, score=0.0, reason="other"),
        _verdict(good, "judge", kind="judge", details=canonical_json(VOTES)),
        _verdict(good, "pii"),
    ])  # fmt: skip
    warehouse.append("reviews", [_review(good.trajectory_id, "ann", "approve", note="fine", tags=["clear"])])
    warehouse.append("pairs", [pair])
    warehouse.append(
        "pair_steps", [PairStep(pair_id=pair.pair_id, recipe="compare", step="two", run_id="run-2", created_at=now())]
    )
    warehouse.append("pair_verdicts", [
        PairVerdict(pair_id=pair.pair_id, check="likes", version="abc", draw=d, draws=2, a_first=not d, outcome="fail",
                    score=-2.0, details=canonical_json({"votes": VOTES["votes"]}), run_id="run-2", created_at=now())
        for d in range(2)
    ])  # fmt: skip
    warehouse.append("calibrations", [
        Calibration(judge="likes", version="abc", gold="g@1", kappa=0.9, low=0.8, high=1, n=90, created_at=now())
    ])  # fmt: skip
    mixes: dict[str, list[dict[str, Any]]] = {
        "samples": [{"stage": "cold_start", "require": ["format"]},
                    {"stage": "reasoning", "require": ["exact", "format"], "template": "think"}],
        "pairs": [{"judge": "likes", "balanced": False}],
        "labels": [{"stage": "reasoning", "check": "exact"}],
        "prompts": [{"domain": "code"}, {"domain": "math", "verifiers": ["exact"]}],
    }  # fmt: skip
    snapshots = {
        rows: create_snapshot(
            warehouse.path, MixFile.model_validate({"mix": f"of-{rows}", "rows": rows, "sources": s}).root, SYSTEMS,
            {"dataengine": "0.1.0"},
        )[0]
        for rows, s in mixes.items()
    }  # fmt: skip
    edited = _reply(prompt, "edit", 0, parent_id=good.trajectory_id, engine="review", policy="ann@edit", run_id="run-9")
    warehouse.append("trajectories", [edited, _reply(prompt, "late", 2)])
    warehouse.append("verdicts", [
        _verdict(good, "format", "fail", version="2", reason="stricter", score=0.0),
        _verdict(good, "pii", "fail", version="2", reason="secret", details=spans),
    ])  # fmt: skip
    word = {"text": edited.text, "child_id": edited.trajectory_id, "note": f"it says {SECRET}"}
    warehouse.append("reviews", [_review(good.trajectory_id, "ben", "edit", **word)])
    corrected = Prompt.make(
        [Message(role="user", content="1 + 1?")], source="resolution", **{**asked, "reference": "3"}
    )  # type: ignore[arg-type]
    warehouse.append("prompts", [corrected])
    return Place(warehouse.path, good.trajectory_id, bad.trajectory_id, pair.pair_id, prompt.prompt_id, snapshots)


def section(text: str, title: str) -> list[str]:
    """The lines under a title, up to the next empty line."""
    return text.split(f"{title}\n", 1)[1].split("\n\n")[0].splitlines()


def test_a_reply_is_told_with_all_that_it_rests_on(place: Place) -> None:
    text = place.told("good")
    for line in (
        '  sampling      {"temperature":0.7}',
        f"  request_seed  {int(place.good[:8], 16) & 0x7FFFFFFF}",
        "  system_prompt Think well.",
        f"prompt {place.prompt}  (math, sums sums.jsonl:7, MIT, reference '3')",
    ):
        assert line in text.replace("resolution,", "sums sums.jsonl:7,").splitlines()
    attempts = section(text, "attempts:")[2:]
    assert [line.split()[-1] for line in attempts] == ["run-0", "run-1"] and " lost " in attempts[0]
    verdicts = {tuple(line.split()[1:3]): line.split() for line in section(text, "verdicts:")[2:]}
    assert {k: ("yes" in v) for k, v in verdicts.items()} == {
        ("exact", "1"): False, ("format", "0"): False, ("format", "1"): False, ("format", "2"): True,
        ("judge", "1"): True, ("pii", "1"): False, ("pii", "2"): True,
    }, "the reference was corrected, and of a check the latest version counts"  # fmt: skip
    assert [line.split()[-1] for line in section(text, "runs:")[2:]] == ["3.11"] * 2
    assert "dataengine 0.1.0, python 3.11" in section(text, "runs:")[2]
    votes = section(text, "judge: pass, score 1")
    assert votes[-1].split(maxsplit=2) == ["judge@1", "correct", "It adds up."]
    ann, ben = section(text, "people:")[2:]
    assert ann.split()[:7] == [place.good[:12], "1", "ann", "annotator", "approve", "clear", "fine"]
    assert ben.split()[:6] == [place.good[:12], "1", "ben", "annotator", "edit", key("edit")[:12]]
    assert "  edit " in section(text, "made from (steps below 0) and made of it:")[-1]
    assert SECRET not in text


def test_an_edit_is_told_with_who_made_it(place: Place) -> None:
    (said,) = explained(place.path, key("edit"))["reviews"]
    assert (said["reviewer"], said["verdict"], said["trajectory_id"]) == ("ben", "edit", place.good)
    assert "request_seed" not in explained(place.path, key("edit"))["trajectory"]


def test_as_a_snapshot_saw_it_and_what_was_said_since(place: Place) -> None:
    record = place.known("good", "samples")
    manifest = place.snapshots["samples"].manifest
    assert record["prompt"]["reference"] == "2"
    assert {(v["check"], v["version"]) for v in record["verdicts"] if v["counts"]} == {
        ("exact", "1"), ("format", "1"), ("judge", "1"), ("pii", "1")
    }  # fmt: skip
    assert [r["reviewer"] for r in record["reviews"]] == ["ann"] and record["family"] == []
    of = record["snapshot"]
    assert (of["id"], of["logical_hash"], of["code"]) == ("of-samples@1", manifest.logical_hash, manifest.code)
    (row,) = of["rows"]
    assert (row["source"], row["split"], row["file"], row["row"], row["weight"]) == (
        2, "train", "train-00000-of-00001.parquet", 1, 1.0
    )  # fmt: skip
    assert row["asked"] == {"stage": "reasoning", "require": ["exact", "format"], "template": "think"}
    assert (row["attempt"], row["system"]) == (2, "Think first.")
    assert {(v["check"], v["outcome"]) for v in row["verdicts"]} >= {("exact", "pass"), ("pii", "pass")}
    since = record["since"]
    assert since.keys() == {"verdicts", "reviews", "rows"}
    assert [v["reason"] for v in since["verdicts"]] == ["stricter", "secret"]
    assert [r["reviewer"] for r in since["reviews"]] == ["ben"]
    assert [r["reference"] for r in since["rows"]] == ["3"]

    text = place.told("good", "samples")
    assert "  source 2 takes it, into the split train" in section(text, "mix of-samples:")
    lines = section(text, "snapshot of-samples@1")
    assert f"  hash   {manifest.logical_hash}" in lines
    assert "  train-00000-of-00001.parquet row 1, split train, weight 1" in lines
    (asked,) = [line.partition("source 2 of 2: ")[2] for line in lines if "source 2 of 2: " in line]
    assert json.loads(asked) == row["asked"]
    assert ["stricter" in line for line in section(text, "since then, verdicts:")[2:]] == [True, False]
    assert " ben " in section(text, "since then, reviews:")[-1]
    assert section(text, "since then, rows of its prompt:")[-1].startswith("resolution ")
    assert SECRET not in text and SECRET not in json.dumps(record), "though nobody knew then"


def test_what_a_snapshot_left_out_is_told_with_the_reason(place: Place) -> None:
    record = place.known("bad", "samples")
    assert record["snapshot"]["rows"] == [] and record["since"].keys() == {"rows"}
    text = place.told("bad", "samples")
    assert "    no   require: exact: fail, other, score 0" in section(text, "mix of-samples:")
    assert section(text, "snapshot of-samples@1")[-1] == "  it is not in it"


@pytest.mark.parametrize(
    ("name", "kind", "source", "ident"),
    [("pair", "pairs", 1, "pair_id"), ("good", "pairs", 1, "pair_id"), ("prompt", "pairs", 1, "pair_id"),
     ("good", "labels", 1, "trajectory_id"), ("bad", "labels", 1, "trajectory_id"),
     ("prompt", "prompts", 2, "prompt_id"), ("prompt", "samples", 2, "trajectory_id")],
)  # fmt: skip
def test_every_kind_of_rows_leads_back_to_its_source(
    place: Place, name: str, kind: str, source: int, ident: str
) -> None:
    record = place.known(name, kind)
    (row,) = record["snapshot"]["rows"]
    whole = {
        "pair_id": place.pair,
        "prompt_id": place.prompt,
        "trajectory_id": place.bad if name == "bad" else place.good,
    }
    assert (row["source"], row[ident]) == (source, whole[ident])
    assert {r["snapshot"] for r in record["snapshots"]} >= {f"of-{kind}@1"}
    lines = section(place.told(name, kind), f"mix of-{kind}:")
    takes = (
        "taken, train" if (name, kind) == ("prompt", "samples") else f"source {source} of {source} takes it, into the"
    )
    assert any(takes in line and whole[ident][:12] in line for line in lines)


def test_a_pair_is_told_with_its_draws_and_both_replies(place: Place) -> None:
    record = place.known("pair", "pairs")
    assert [(d["draw"], d["a_first"], d["outcome"]) for d in record["draws"]] == [(0, True, "fail"), (1, False, "fail")]
    (told,) = [p for p in record["preferences"] if p["check"] == "likes"]
    assert (told["chosen_id"], told["kept"]) == (place.good, True)
    assert {r["recipe"] for r in record["runs"]} == {"compare"}
    assert record["replies"]["b"]["trajectory"]["trajectory_id"] == place.good
    (row,) = record["snapshot"]["rows"]
    assert [v["outcome"] for v in row["verdicts"]] == ["pass"]
    assert {(v["check"], v["outcome"]) for v in row["rejected_verdicts"]} == {("exact", "fail"), ("format", "pass")}
    assert record["since"].keys() == {"rows", "a", "b"} and "verdicts" in record["since"]["b"]

    text = place.told("pair", "pairs")
    assert text.startswith(f"pair {place.pair}\n  a_id          {place.bad}\n  b_id          {place.good}\n")
    assert "It adds up." in section(text, "likes, draw 1:")[-1]
    assert f"\na: trajectory {place.bad}\n" in text and f"\nb: trajectory {place.good}\n" in text
    assert "since then, verdicts of b:" in text
    assert SECRET not in text


def test_from_a_prompt_and_a_reply_forward_to_every_snapshot(place: Place) -> None:
    told = section(place.told("prompt"), "in snapshots:")[2:]
    assert {(line.split()[0], *line.split()[1:4]) for line in told} == {
        ("of-samples@1", "train", "1", "1"), ("of-labels@1", "train", "2", "2"), ("of-pairs@1", "train", "1", "1"),
        ("of-prompts@1", "train", "1", "1"),
    }  # fmt: skip
    of_bad = {(r["snapshot"], r["pair_id"] or r["trajectory_id"]) for r in place.known("bad")["snapshots"]}
    assert of_bad == {("of-labels@1", place.bad), ("of-pairs@1", place.pair)}


def test_checkpoints_that_were_trained_on_it_are_named(place: Place) -> None:
    manifest = place.snapshots["samples"].manifest
    folder = place.path / "checkpoints" / "tiny-0"
    folder.mkdir(parents=True)
    training = {"snapshot": manifest.id, "snapshot_hash": manifest.logical_hash, "policy": "tiny@0123"}
    (folder / "training.json").write_text(json.dumps(training))
    trained = {r["snapshot"]: r["trained"] for r in place.known("good")["snapshots"]}
    assert trained == {"of-labels@1": [], "of-pairs@1": [], "of-samples@1": ["tiny@0123"]}
    assert " tiny@0123" in place.told("good").rpartition("in snapshots:")[2]


def test_what_is_younger_than_the_snapshot_is_refused(place: Place) -> None:
    with pytest.raises(InputError, match=f"trajectory {key('late')[:12]} was not there yet when of-samples@1 was made"):
        explain(place.path, key("late"), snapshot="of-samples")


def test_a_row_of_an_export_is_explained_by_file_and_line(place: Place, cli: Cli, refused: Any, tmp_path: Path) -> None:
    export_snapshot(place.snapshots["samples"], "openai", tmp_path / "openai")
    export_snapshot(place.snapshots["pairs"], "preference", tmp_path / "preference")
    at = ("--warehouse", place.path)
    openai, preference = "openai/train-00000-of-00001.jsonl", "preference/train-00000-of-00001.parquet"
    assert cli("explain", "--file", openai, "--line", 1, *at).out == place.told("good", "samples") + "\n"
    of_pair = json.loads(cli("explain", "--file", preference, "--line", 1, "--json", *at).out)
    assert (of_pair["id"], of_pair["snapshot"]["id"]) == (place.pair, "of-pairs@1")
    of_labels = json.loads(cli("explain", place.good[:10], "--snapshot", "of-labels@1", "--json", *at).out)
    assert of_labels == place.known("good", "labels")
    assert refused("explain", "--file", openai, "--line", 2, *at) == f"InputError: {openai}: there is no row 2"
    for wrong in ((), (place.good, "--file", openai, "--line", 1), ("--file", openai), (place.good, "--line", 1),
                  (place.good, "--json", "--mix", "laptop-sft")):  # fmt: skip
        assert refused("explain", *wrong, *at).startswith("ConfigError: give an id, or --file and --line; ")


def test_a_snapshot_of_a_mix_that_this_version_does_not_know_is_refused(place: Place, refused: Any) -> None:
    made = place.snapshots["samples"]
    later = made.path.with_name("v2")
    shutil.copytree(made.path, later)
    mix = {**made.manifest.mix, "unheard_of": 1}
    manifest = made.manifest.model_copy(update={"version": 2, "mix": mix})
    (later / "manifest.json").write_text(manifest.model_dump_json())
    try:
        line = refused("explain", place.good, "--snapshot", "of-samples@2", "--warehouse", place.path)
        assert line.startswith("SnapshotError: of-samples@2: this version does not know its mix (samples.unheard_of: ")
    finally:
        shutil.rmtree(later)
