"""What a mix requires of every row: clean of benchmarks, whole under a chat template and not too long for it."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from schemas.errors import SnapshotError
from schemas.keys import canonical_json
from schemas.manifest import Manifest
from schemas.mix import AnyMix, MixFile
from schemas.recipe import CheckSpec, Step
from schemas.records import Trajectory
from tests.warehouse.conftest import Compare, MakePrompt, MakeTrajectory, MakeVerdict, Prove
from warehouse.fitting import Chat, Measured
from warehouse.snapshot import Snapshot, card, create_snapshot, open_snapshot
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

Fill = Callable[..., list[Trajectory]]
Held = Callable[..., None]
ASKED = ["gsm8k", "math"]
SOURCE = {"stage": "reasoning", "require": ["format"]}


def mix_of(*sources: dict[str, Any], **settings: Any) -> AnyMix:
    return MixFile.model_validate({"mix": "demo", "sources": list(sources) or [SOURCE], **settings}).root


def taken(snapshot: Snapshot, column: str = "trajectory_id") -> set[str]:
    return {row[column] for file in snapshot.data_files() for row in pq.read_table(file).to_pylist()}


@pytest.fixture
def fill(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> Fill:
    """Adds so many prompts with `samples` replies each, in good form; their answers are as long as `lengths` say."""

    def add(prompts: int, samples: int = 1, lengths: Sequence[int] = (1,), **columns: Any) -> list[Trajectory]:
        asked = [make_prompt(f"What is {n}?", **columns) for n in range(prompts)]
        made = [make_trajectory(p, i) for p in asked for i in range(samples)]
        made = [t.model_copy(update={"answer": "x" * lengths[n % len(lengths)]}) for n, t in enumerate(made)]
        warehouse.append("prompts", asked)
        warehouse.append("trajectories", made)
        warehouse.append("verdicts", [make_verdict(t) for t in made])
        return made

    return add


@pytest.fixture
def held(warehouse: Warehouse, make_verdict: MakeVerdict) -> Held:
    """Adds a verdict of `contamination`: what was looked for, and which of it was found."""

    def add(rows: Iterable[Trajectory], benchmarks: Sequence[str], *found: str, version: str = "2+a") -> None:
        details = {"benchmarks": list(benchmarks)} | ({"matches": [{"benchmark": b} for b in found]} if found else {})
        outcome = "fail" if found else "pass"
        columns = {"check": "contamination", "version": version, "details": canonical_json(details)}
        warehouse.append("verdicts", [make_verdict(t, outcome, **columns) for t in rows])

    return add


class Characters:
    """Counts a character of the answer as a token, and one more for all else; finds a fault where it is `bad`."""

    def __init__(self, template: str = "template", bad: str = "bad") -> None:
        self.name, self.sha256, self._bad = "characters", template, bad
        self.seen: list[str] = []

    def measure(self, batches: Iterable[Sequence[tuple[str, Any]]], rows: int) -> Iterator[list[Measured]]:
        for batch in batches:
            self.seen += [ident for ident, _ in batch]
            yield [self._measured(ident, messages[-1]["content"]) for ident, messages in batch]

    def _measured(self, ident: str, reply: str) -> Measured:
        answer = reply.rpartition("\n")[2]
        if answer == self._bad:
            return Measured(ident, fault="answer_lost", problem="the answer is gone")
        return Measured(ident, len(answer) + 1, len(answer))


@pytest.fixture
def make(folder: Path) -> Callable[..., Snapshot]:
    def made(*sources: dict[str, Any], chat: Chat | None = None, **settings: Any) -> Snapshot:
        mix = mix_of(*sources, **settings)
        return create_snapshot(folder, mix, {"plain": None}, open_chat=None if chat is None else lambda name: chat)[0]

    return made


@pytest.fixture
def refusal(make: Callable[..., Snapshot]) -> Callable[..., str]:
    def told(*sources: dict[str, Any], **settings: Any) -> str:
        with pytest.raises(SnapshotError) as error:
            make(*sources, **settings)
        assert "\n" not in str(error.value)
        return str(error.value)

    return told


Make = Callable[..., Snapshot]
Refusal = Callable[..., str]


def test_rows_that_hold_an_item_are_left_out_and_reported(make: Make, fill: Fill, held: Held) -> None:
    rows = fill(5)
    held(rows[:3], ["gsm8k", "math", "other"])
    held(rows[3:4], ["gsm8k", "math"], "math")
    held(rows[4:], ["gsm8k", "math", "other"], "other")
    snapshot = make(decontaminated=ASKED)
    assert taken(snapshot) == {t.trajectory_id for t in [*rows[:3], rows[4]]}, "clean of what the mix names"
    assert snapshot.manifest.counts["dropped"]["contaminated"] == 1
    report = {b: c.model_dump() for b, c in snapshot.manifest.decontamination.items()}
    assert report == {
        "gsm8k": {"checked": 5, "contaminated": 0, "versions": ["2+a"]},
        "math": {"checked": 5, "contaminated": 1, "versions": ["2+a"]},
    }
    assert "| math | 5 | 1 |" in card(snapshot.manifest)


def test_rows_that_nobody_held_against_a_benchmark_are_refused(refusal: Refusal, fill: Fill, held: Held) -> None:
    rows = fill(5)
    told = refusal(decontaminated=ASKED)
    assert (
        "never held against a benchmark: 5 against gsm8k, 5 against math (no benchmark was looked for so far)" in told
    )
    held(rows[:4], ["gsm8k", "other"])
    held(rows[:2], ["gsm8k", "math"], version="2+b")
    told = refusal(decontaminated=ASKED)
    assert "1 against gsm8k, 3 against math (looked for so far: gsm8k, math, other)" in told
    entry = re.search(r"add (\{check.*\}) to the `checks` of the reasoning step", told)
    assert entry
    params = {"benchmarks": [{"path": "FILE", "name": "gsm8k"}, {"path": "FILE", "name": "math"}]}
    assert CheckSpec.model_validate(yaml.safe_load(entry[1])) == CheckSpec(check="contamination", params=params)
    assert "`dataengine run RECIPE`" in told


def test_two_runs_with_a_benchmark_each_count_for_both(make: Make, fill: Fill, held: Held) -> None:
    rows = fill(3)
    held(rows, ["gsm8k"], version="2+a")
    held(rows[:1], ["gsm8k"], "gsm8k", version="2+c")
    held(rows, ["math"], version="2+b")
    manifest = make(decontaminated=ASKED).manifest
    assert manifest.rows == 2
    assert manifest.decontamination["gsm8k"].versions == ["2+a", "2+c"]
    assert manifest.decontamination["math"].versions == ["2+b"]


def test_the_latest_verdict_on_the_current_attempt_counts(
    make: Make, refusal: Refusal, fill: Fill, held: Held, warehouse: Warehouse
) -> None:
    (row,) = fill(1)
    held([row], ["math"], "math", version="2+a")
    assert "takes no samples: left out are contaminated 1" in refusal(decontaminated=["math"])
    held([row], ["math"], version="2+b")
    assert make(decontaminated=["math"]).manifest.rows == 1


def test_an_error_or_a_verdict_without_names_says_nothing(
    refusal: Refusal, fill: Fill, warehouse: Warehouse, make_verdict: MakeVerdict
) -> None:
    rows = fill(3)
    odd = ["{}", '{"benchmarks": "math"}', '{"benchmarks": ["math"]}']
    outcomes = ["pass", "pass", "error"]
    warehouse.append(
        "verdicts",
        [
            make_verdict(t, outcome, check="contamination", details=details)
            for t, details, outcome in zip(rows, odd, outcomes, strict=True)
        ],
    )
    assert "3 against math" in refusal(decontaminated=["math"])


def test_what_is_contaminated_takes_nobodys_place(make: Make, fill: Fill, held: Held) -> None:
    rows = fill(1, samples=6)
    held(rows[:4], ["math"], "math")
    held(rows[4:], ["math"])
    for choose in ("hash", "diverse", "shortest"):
        snapshot = make({**SOURCE, "max_per_prompt": 2, "choose": choose}, decontaminated=["math"])
        assert taken(snapshot) == {t.trajectory_id for t in rows[4:]}


def test_both_replies_of_a_pair_and_labels_and_prompts_are_clean(
    make: Make, refusal: Refusal, fill: Fill, held: Held, compare: Compare, prove: Prove, warehouse: Warehouse,
    make_verdict: MakeVerdict,
) -> None:  # fmt: skip
    rows = fill(3, samples=2)
    pairs = [compare(rows[i], rows[i + 1], 2) for i in (0, 2, 4)]
    prove()
    warehouse.append("verdicts", [make_verdict(t, check="safe") for t in rows])
    held(rows[:5], ["math"])
    pair = {"judge": "likes", "show": "whole", "balanced": False}
    asked: dict[str, Any] = {"decontaminated": ["math"]}
    assert "1 against math" in refusal(pair, rows="pairs", **asked)
    assert "1 against math" in refusal({"stage": "reasoning", "check": "safe"}, rows="labels", **asked)
    held(rows[5:], ["math"], "math")
    made = make(pair, rows="pairs", **asked)
    assert (taken(made, "pair_id"), made.manifest.counts["dropped"]["contaminated"]) == (set(pairs[:2]), 1)
    assert make({"stage": "reasoning", "check": "safe"}, rows="labels", **asked).manifest.rows == 5
    made = make({"domain": "math"}, rows="prompts", **asked)
    assert made.manifest.decontamination["math"].model_dump(exclude={"versions"}) == {"checked": 3, "contaminated": 1}
    assert taken(made, "prompt_id") == {t.prompt_id for t in rows[:4]}
    told = refusal({"domain": "math"}, rows="prompts", decontaminated=["gsm8k"])
    assert "3 against gsm8k" in told
    assert "the steps that made the replies" in told


TEMPLATE = {"tokenizer": "characters", "max_length": 10}


def test_rows_too_long_are_left_out_before_caps(make: Make, fill: Fill) -> None:
    rows = fill(2, samples=4, lengths=(9, 10, 9, 30))
    chat = Characters()
    asked = {**TEMPLATE, "overlong": "drop"}
    snapshot = make({**SOURCE, "max_per_prompt": 2}, chat_template=asked, chat=chat)
    assert taken(snapshot) == {t.trajectory_id for t in rows if len(t.answer or "") == 9}
    assert sorted(chat.seen) == sorted(t.trajectory_id for t in rows)
    assert snapshot.manifest.counts["dropped"]["overlong"] == 4
    assert snapshot.manifest.chat_template is not None
    assert snapshot.manifest.chat_template.model_dump() == {
        "tokenizer": "characters", "sha256": "template", "tokens": 40, "loss_tokens": 36, "longest": 10,
        "max_length": 10,
    }  # fmt: skip
    assert "chat template of `characters` (sha256 `template`): 40 tokens" in card(snapshot.manifest)


def test_more_rows_than_are_read_together_are_all_measured(
    make: Make, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.fitting._BATCH", 2)
    rows = fill(3, samples=3)
    chat = Characters()
    assert make(chat_template=TEMPLATE, chat=chat).manifest.rows == 9
    assert sorted(chat.seen) == sorted(t.trajectory_id for t in rows)


def test_only_what_meets_all_else_is_measured(make: Make, fill: Fill, held: Held) -> None:
    rows = fill(4)
    held(rows[:1], ["math"], "math")
    held(rows[1:], ["math"])
    chat = Characters()
    first, second = ({**SOURCE, "where": f"'{rows[n].trajectory_id}' <> trajectory_id", "max_rows": 1} for n in (1, 2))
    manifest = make(first, second, decontaminated=["math"], chat_template=TEMPLATE, chat=chat).manifest
    assert rows[0].trajectory_id not in chat.seen
    assert manifest.chat_template is not None
    assert manifest.rows == 2 == manifest.chat_template.loss_tokens, "capped rows are no part of the figures"


def test_nothing_is_measured_for_a_mix_that_is_refused_anyway(refusal: Refusal, fill: Fill) -> None:
    fill(2)
    chat = Characters()
    assert "2 against math" in refusal(decontaminated=["math"], chat_template=TEMPLATE, chat=chat)
    assert not chat.seen


def test_a_row_too_long_refuses_a_mix_that_does_not_drop_it(refusal: Refusal, make: Make, fill: Fill) -> None:
    rows = fill(3, lengths=(1, 30, 1))
    told = refusal(chat_template=TEMPLATE, chat=Characters())
    assert told == (
        "mix demo: 1 rows are longer than max_length 10 with the tokenizer characters, the longest has 31 tokens, such "
        f"as {rows[1].trajectory_id[:12]}: raise it, or set chat_template.overlong to drop"
    )
    assert make(chat_template={"tokenizer": "characters"}, chat=Characters()).manifest.rows == 3


def test_a_row_that_the_template_spoils_refuses_the_mix_if_it_is_taken(
    refusal: Refusal, make: Make, fill: Fill
) -> None:
    rows = fill(4, lengths=(1, 2, 3, 1))
    told = refusal(chat_template=TEMPLATE, chat=Characters(bad="x"))
    named = ", ".join(sorted(t.trajectory_id for t in (rows[0], rows[3]))[i][:12] for i in range(2))
    assert told.startswith(
        "mix demo: under the chat template of characters, answer_lost: the answer is gone; 2 rows, such as "
        f"{named}; name a tokenizer"
    )
    others = {**SOURCE, "where": "answer <> 'x'"}
    assert make(others, chat_template=TEMPLATE, chat=Characters(bad="x")).manifest.rows == 2


def test_targets_are_met_by_what_fits(make: Make, fill: Fill) -> None:
    fill(6, lengths=(1, 30))
    asked = {**TEMPLATE, "overlong": "drop"}
    manifest = make({**SOURCE, "target": {"rows": 3}}, chat_template=asked, chat=Characters()).manifest
    assert (manifest.rows, manifest.counts["dropped"]["over_target"]) == (3, 0)


def test_the_same_rows_with_another_promise_are_another_version(make: Make, fill: Fill, held: Held) -> None:
    held(fill(3), ["math"])
    first = make().manifest
    made = [
        make(chat_template=TEMPLATE, chat=Characters()).manifest,
        make(chat_template=TEMPLATE, chat=Characters()).manifest,
        make(chat_template=TEMPLATE, chat=Characters("another")).manifest,
        make(decontaminated=["math"]).manifest,
        make(decontaminated=["math"]).manifest,
    ]
    assert [m.version for m in made] == [2, 2, 3, 4, 4]
    assert {m.logical_hash for m in made} == {first.logical_hash}


def test_a_manifest_from_before_still_opens(make: Make, fill: Fill, folder: Path) -> None:
    fill(1)
    file = make().path / "manifest.json"
    old = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("decontamination", "chat_template")}
    old["mix"] = {k: v for k, v in old["mix"].items() if k not in ("decontaminated", "chat_template")}
    file.write_text(json.dumps(old))
    manifest: Manifest = open_snapshot(folder, "demo@1").manifest
    assert (manifest.decontamination, manifest.chat_template) == ({}, None)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"chat_template": {"tokenizer": "t", "overlong": "drop"}}, "overlong is for rows longer than `max_length`"),
        ({"chat_template": {"max_length": 20}}, "tokenizer"),
        ({"decontaminated": []}, "at least 1 item"),
        ({"rows": "pairs", "sources": [{"policy": "rule"}], "chat_template": TEMPLATE}, "chat_template"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        mix_of(**{"sources": [SOURCE], **settings})


@pytest.mark.parametrize(
    ("rows", "source", "steps"),
    [
        ("samples", {"stage": "reasoning", "policy": "judge", "judge": "likes"}, 1),
        ("pairs", {"judge": "likes"}, 2),
    ],
)
def test_a_judge_that_said_nothing_is_asked_by_the_steps_that_are_named(
    refusal: Refusal, fill: Fill, rows: str, source: dict[str, Any], steps: int
) -> None:
    fill(1)
    told = refusal(source, rows=rows)
    named = re.findall(r"\{kind: .*?\}", told)
    assert len(named) == steps
    for text in named:
        TypeAdapter(Step).validate_python(yaml.safe_load(text))
    assert "`dataengine run RECIPE`" in told


def test_people_are_asked_by_an_import_whatever_names_them(refusal: Refusal, fill: Fill) -> None:
    fill(1)
    assert refusal({"stage": "reasoning", "require": ["human"]}).endswith("`dataengine import FILE --as reviews`")
    assert refusal({"stage": "reasoning", "policy": "human"}).endswith("`dataengine import FILE --as reviews`")
