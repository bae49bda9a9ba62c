"""A mix with targets holds what it says of each source, or says what would be feasible."""

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataengine.shipped import load_mix
from schemas.errors import SnapshotError
from schemas.mix import Mix
from schemas.records import Trajectory
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

Fill = Callable[..., list[Trajectory]]
PUBLISHED = {"math": 395_285, "code": 211_129, "stem": 10_124, "logic": 10_395, "general": 177_812}


@pytest.fixture
def fill(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> Fill:
    """Adds so many prompts of a domain, with `samples` replies of different length each, all in good form."""

    def add(
        domain: str, prompts: int, samples: int = 1, license: str | None = None, **columns: Any
    ) -> list[Trajectory]:
        asked = [make_prompt(f"{domain} {i} {license}?", domain=domain, license=license) for i in range(prompts)]
        made = [
            make_trajectory(p, i, **{"completion_tokens": 50 + 37 * (n * samples + i) % 101, **columns})
            for n, p in enumerate(asked)
            for i in range(samples)
        ]
        warehouse.append("prompts", asked)
        warehouse.append("trajectories", made)
        warehouse.append("verdicts", [make_verdict(t) for t in made])
        return made

    return add


def of(domain: str, **settings: Any) -> dict[str, Any]:
    return {"stage": "reasoning", "require": ["format"], "where": f"domain = '{domain}'", **settings}


def mix_of(*sources: dict[str, Any], **settings: Any) -> Mix:
    return Mix.model_validate({"mix": "demo", "sources": list(sources), **settings})


def take(folder: Path, mix: Mix) -> tuple[Snapshot, list[dict[str, Any]]]:
    snapshot, _ = create_snapshot(folder, mix, {"plain": None, "think": None})
    return snapshot, [row for file in snapshot.data_files() for row in pq.read_table(file).to_pylist()]


def refusal(folder: Path, mix: Mix) -> str:
    with pytest.raises(SnapshotError) as error:
        take(folder, mix)
    assert "\n" not in str(error.value)
    return str(error.value)


def weighed(rows: list[dict[str, Any]], column: str | None = None) -> dict[str, float]:
    """By domain: rows, or what a column sums to, each as often as its weight says."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["domain"]] += row["weight"] * (row[column] if column else 1)
    return dict(sums)


def rows_of(math: int, code: int, **settings: Any) -> Mix:
    return mix_of(of("math", target={"rows": math}), of("code", target={"rows": code}), **settings)


@pytest.mark.parametrize(
    ("targets", "scale", "found"),
    [
        ((20, 10), None, {"math": 20, "code": 10}),
        ((4000, 1000), None, {"math": 60, "code": 15}),
        ((4000, 1000), 41, {"math": 33, "code": 8}),
        ((2, 1), 45, {"math": 30, "code": 15}),
    ],
)
def test_rows_come_in_the_proportions_of_the_targets(
    folder: Path, fill: Fill, targets: tuple[int, int], scale: int | None, found: dict[str, int]
) -> None:
    fill("math", 30, samples=2)
    fill("code", 30)
    snapshot, rows = take(folder, rows_of(*targets, scale=scale))
    assert snapshot.manifest.counts["domain"] == found
    assert {row["weight"] for row in rows} == {1.0}
    assert snapshot.manifest.counts["dropped"]["over_target"] == 90 - sum(found.values())


@pytest.mark.parametrize("scale", [None, 1500, 2999])
@pytest.mark.parametrize("share", [0.2, 0.35])
def test_shares_of_tokens_are_met_within_one_row(folder: Path, fill: Fill, share: float, scale: int | None) -> None:
    math, code = fill("math", 20, samples=3), fill("code", 30)
    mix = mix_of(
        of("math", target={"share_of_tokens": 1 - share}), of("code", target={"share_of_tokens": share}), scale=scale
    )
    _, rows = take(folder, mix)
    tokens = weighed(rows, "completion_tokens")
    at_hand = {"math": sum(t.completion_tokens or 0 for t in math), "code": sum(t.completion_tokens or 0 for t in code)}
    wanted = scale or min(at_hand["math"] / (1 - share), at_hand["code"] / share)
    for domain, part in (("math", 1 - share), ("code", share)):
        assert -1 <= part * wanted - tokens[domain] <= 151, "under by less than the longest row"
    if scale is None:
        assert any(tokens[domain] == at_hand[domain] for domain in tokens), "the scarcest is taken entirely"


def test_what_is_scarce_weighs_more_up_to_max_epochs(folder: Path, fill: Fill) -> None:
    fill("math", 40)
    fill("code", 10)
    mix = mix_of(of("math", target={"rows": 30}), of("code", target={"rows": 15}, max_epochs=2))
    snapshot, rows = take(folder, mix)
    assert snapshot.manifest.counts["domain"] == {"math": 30, "code": 10}
    assert weighed(rows) == pytest.approx({"math": 30, "code": 15})
    assert {(r["domain"], r["weight"]) for r in rows} == {("math", 1.0), ("code", 1.5)}
    assert len({r["trajectory_id"] for r in rows}) == len(rows), "no copies"


def test_an_infeasible_target_says_what_is_feasible_and_that_is_true(folder: Path, fill: Fill) -> None:
    fill("math", 40)
    fill("code", 10)
    message = refusal(folder, rows_of(2, 1, scale=39))
    assert message == (
        "mix demo: source 2 needs 13 rows and has 10; feasible are scale: 30, the largest, or max_epochs: 1.3 for "
        "source 2"
    )
    assert weighed(take(folder, rows_of(2, 1, scale=30))[1]) == {"math": 20, "code": 10}
    sources = [of("math", target={"rows": 2}), of("code", target={"rows": 1}, max_epochs=1.3)]
    assert weighed(take(folder, mix_of(*sources, scale=39))[1]) == pytest.approx({"math": 26, "code": 13})
    again = refusal(folder, mix_of(*sources, scale=60))
    assert "source 2 needs 20 rows and has 10 (13 with max_epochs 1.3); feasible are scale: 39, the" in again
    assert again.endswith("max_epochs: 2 for source 2")
    shares = [of("math", target={"share_of_tokens": 0.5}), of("code", target={"share_of_tokens": 0.5})]
    told = re.search(r"scale: (\d+), the largest", refusal(folder, mix_of(*shares, scale=10_000)))
    assert told
    assert take(folder, mix_of(*shares, scale=int(told[1])))[0].manifest.counts["domain"]["code"] >= 9


def test_a_source_of_which_nothing_is_left_is_named(folder: Path, fill: Fill) -> None:
    fill("math", 4)
    assert refusal(folder, rows_of(2, 1)).startswith(
        "mix demo: no rows are left for the target of source 2 (where: domain = 'code'): no scale is feasible;"
    )


def test_targets_in_tokens_need_counts_of_tokens(folder: Path, fill: Fill) -> None:
    fill("math", 4)
    fill("code", 3, completion_tokens=None)
    sources = [of("math", target={"share_of_tokens": 0.5}), of("code", target={"share_of_tokens": 0.5})]
    assert "source 2 has 3; leave them out by where:" in refusal(folder, mix_of(*sources))


def test_what_two_sources_would_take_counts_for_the_first(folder: Path, fill: Fill) -> None:
    fill("math", 10)
    sources = [of("math", target={"rows": 1}), {**of("math", target={"rows": 1}), "where": "sample_index = 0"}]
    assert "no rows are left for the target of source 2" in refusal(folder, mix_of(*sources))


@pytest.mark.parametrize("seed", range(4))
def test_no_prompt_stands_in_two_splits_whatever_the_targets(folder: Path, fill: Fill, seed: int) -> None:
    draw = random.Random(seed)
    for domain in ("math", "code", "stem"):
        fill(domain, draw.randint(5, 40), samples=draw.randint(1, 4))
    names = [draw.choice(["rows", "share_of_tokens"])] * 3
    cuts = sorted(draw.sample(range(1, 20), 2))
    parts = [cuts[0] / 20, (cuts[1] - cuts[0]) / 20, (20 - cuts[1]) / 20]
    sources = [
        of(
            domain,
            target={name: part if name == "share_of_tokens" else round(100 * part)},
            max_epochs=draw.choice([1, 3]),
        )
        for domain, name, part in zip(("math", "code", "stem"), names, parts, strict=True)
    ]
    mix = mix_of(*sources, validation=0.3, seed=seed)
    _, rows = take(folder, mix)
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["prompt_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert len({r["trajectory_id"] for r in rows}) == len(rows)
    column = "completion_tokens" if names[0] == "share_of_tokens" else None
    sums = weighed(rows, column)
    row = 1 if column is None else max(r["completion_tokens"] for r in rows)
    for domain, part in zip(("math", "code", "stem"), parts, strict=True):
        # Each is under its target by less than a row, and so the sum by less than three.
        assert abs(sums[domain] - part * sum(sums.values())) <= row * (1 + 3 * part)
    whole, _ = create_snapshot(
        folder, mix_of(*(of(d) for d in ("math", "code", "stem")), validation=0.3), {"plain": None}
    )
    for file in whole.data_files():
        for row in pq.read_table(file, columns=["prompt_id", "split"]).to_pylist():
            assert splits.get(row["prompt_id"], {row["split"]}) == {row["split"]}, "as without targets"


def test_the_same_rows_are_chosen_in_whatever_order_they_came(
    tmp_path: Path, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> None:
    prompts = [make_prompt(f"{i}?", domain="math" if i % 3 else "code") for i in range(60)]
    made = [make_trajectory(p, i) for p in prompts for i in range(2)]
    verdicts = [make_verdict(t) for t in made]
    hashes = set()
    for order in range(3):
        warehouse = Warehouse.open(tmp_path / str(order), create=True)
        for table, records in (("prompts", prompts), ("trajectories", made), ("verdicts", verdicts)):
            warehouse.append(table, random.Random(order).sample(records, len(records)))  # type: ignore[type-var]
        hashes.add(take(tmp_path / str(order), rows_of(3, 2, scale=50))[0].manifest.logical_hash)
    assert len(hashes) == 1


def test_only_prompts_of_the_licences_named_are_let_in(folder: Path, fill: Fill, make_mix: MakeMix) -> None:
    fill("math", 4, license="MIT")
    fill("math", 3, license="it's free")
    fill("math", 2, license="CC-BY-NC-4.0")
    fill("math", 1)
    snapshot, rows = take(folder, mix_of(of("math"), licenses=["MIT", "it's free"]))
    assert Counter(r["license"] for r in rows) == {"MIT": 4, "it's free": 3}
    assert snapshot.manifest.counts["dropped"]["license"] == 3
    assert refusal(folder, mix_of(of("math"), licenses=["Apache-2.0"])) == (
        "mix demo: takes no samples: 10 that pass have none of its `licenses`: Apache-2.0"
    )


def test_the_published_proportions_ship_as_a_mix() -> None:
    mix = load_mix("r1-800k", [])
    assert isinstance(mix, Mix)
    found: Counter[str] = Counter()
    for source in mix.sources:
        assert source.target
        domain = re.match("domain = '([a-z]+)'", source.where or "")
        found[domain[1] if domain and source.stage == "reasoning" else "general"] += source.target.rows or 0
    assert found == PUBLISHED
    assert mix.scale is None
    kept = {(s.where, s.policy, s.judge, *s.require, *s.not_failed) for s in mix.sources}
    for name in ("r1-reasoning", "r1-non-reasoning"):
        as_before = load_mix(name, [])
        assert isinstance(as_before, Mix)
        kept -= {(s.where, s.policy, s.judge, *s.require, *s.not_failed) for s in as_before.sources}
    assert not kept, "its sources are those of the two mixes"


def test_the_shipped_proportions_come_out_at_a_small_size(folder: Path, fill: Fill) -> None:
    for domain, prompts in (("math", 60), ("code", 40), ("stem", 2), ("logic", 2)):
        fill(domain, prompts)
    for license, columns in (("a", {"reasoning": None}), ("b", {}), ("c", {"engine": "import"}), ("d", {})):
        fill("general", 10, license=license, stage="non_reasoning", **columns)
    shipped = load_mix("r1-800k", ["scale=100"])
    assert isinstance(shipped, Mix)
    # By form alone, since nobody judges here; facts are told by a licence in place of their source.
    eased = {"policy": None, "judge": None, "require": ["format"], "not_failed": [], "template": "plain"}
    sources = [
        {**s.model_dump(), **eased, "where": "license = 'd'" if s.where == "source = 'facts'" else s.where}
        for s in shipped.sources
    ]
    _, rows = take(folder, mix_of(*sources, scale=shipped.scale))
    assert weighed(rows) == {"math": 49, "code": 26, "stem": 1, "logic": 2, "general": 22}
    assert Counter(r["license"] for r in rows if r["license"]) == {"a": 6, "b": 6, "c": 7, "d": 3}
