"""Of the replies to a prompt those that are least alike."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.mix import Mix
from schemas.records import Trajectory
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict, Rows
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow


def taken(folder: Path, mix: Mix) -> set[str]:
    snapshot, _ = create_snapshot(folder, mix, {"plain": None})
    return {i for file in snapshot.data_files() for i in pq.read_table(file)["trajectory_id"].to_pylist()}


def reply(*words: str) -> dict[str, Any]:
    return {"text": " ".join(words), "reasoning": None, "answer": " ".join(words)}


def words(start: int, stop: int) -> list[str]:
    return [f"w{i}" for i in range(start, stop)]


@pytest.fixture
def varied(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> dict[str, str]:
    """To each of six prompts five replies much like each other, and one each of two other kinds; id -> kind."""
    prompts = [make_prompt(f"{i}?") for i in range(6)]
    kinds: dict[str, str] = {}
    made: list[Trajectory] = []
    for prompt in prompts:
        texts = [("a", reply(*words(0, 100 + i))) for i in range(5)]
        texts += [("b", reply(*words(1000, 1100))), ("c", reply(*words(1050, 1150)))]
        for number, (kind, columns) in enumerate(texts):
            made.append(make_trajectory(prompt, number, **columns))
            kinds[made[-1].trajectory_id] = kind
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", made)
    warehouse.append("verdicts", [make_verdict(t) for t in made])
    return kinds


@pytest.mark.parametrize("seed", range(3))
def test_the_replies_least_alike_are_chosen(
    folder: Path, varied: dict[str, str], make_mix: MakeMix, rows: Rows, seed: int
) -> None:
    prompt_of = {r["trajectory_id"]: r["prompt_id"] for r in rows("SELECT trajectory_id, prompt_id FROM trajectories")}

    def chosen(most: int, choose: str) -> dict[str, str]:
        found = taken(folder, make_mix(f"{choose}-{most}", max_per_prompt=most, choose=choose, seed=seed))
        by_prompt: dict[str, list[str]] = {}
        for ident in found:
            by_prompt.setdefault(prompt_of[ident], []).append(varied[ident])
        return {prompt: "".join(sorted(kinds)) for prompt, kinds in by_prompt.items()}

    assert set(chosen(3, "diverse").values()) == {"abc"}
    # b and c share a third of their words, with a they share none.
    assert set(chosen(2, "diverse").values()) <= {"ab", "ac"}
    assert set(chosen(3, "hash").values()) != {"abc"}
    assert set(chosen(7, "diverse").values()) == {"aaaaabc"}
    assert len(set(chosen(1, "diverse").values())) >= 1


def test_equal_replies_and_those_of_another_source_take_no_place_of_the_diverse(
    folder: Path, varied: dict[str, str], make_mix: MakeMix, warehouse: Warehouse, rows: Rows
) -> None:
    source = {"stage": "reasoning", "require": ["format"]}
    first = {**source, "where": "sample_index = 5"}  # the kind b
    diverse = {**source, "max_per_prompt": 2, "choose": "diverse"}
    found = taken(folder, make_mix(sources=[first, diverse]))
    kinds = sorted(varied[i] for i in found)
    assert kinds == ["a"] * 6 + ["b"] * 6 + ["c"] * 6


def test_any_text_can_be_told_from_another(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict, make_mix: MakeMix,
) -> None:  # fmt: skip
    texts = ["", "\n" * 200_000, "😀", "\0", "a" * 2_000_000, "a b " * 100_000]
    chinese = ["中文字" * 1000, "中文字" * 999 + "別", "漢語" * 1000]
    prompts = [make_prompt("1?"), make_prompt("2?")]
    made = [
        [make_trajectory(prompt, i, text=text, answer=text, reasoning=None) for i, text in enumerate(part)]
        for prompt, part in zip(prompts, (texts, chinese), strict=True)
    ]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", [row for rows in made for row in rows])
    warehouse.append("verdicts", [make_verdict(row) for rows in made for row in rows])
    most = {n: taken(folder, make_mix(f"most-{n}", max_per_prompt=n, choose="diverse")) for n in (2, 5)}
    assert len(most[5] & {row.trajectory_id for row in made[0]}) == 5
    assert len(most[5] & {made[0][0].trajectory_id, made[0][1].trajectory_id}) == 1, "the two that are alike"
    assert made[1][2].trajectory_id in most[2], "the one that is not like the two others"
