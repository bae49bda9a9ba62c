"""No prompt and no cluster of near-duplicate prompts stands in two splits, whatever the mix; and what that moves."""

import random
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataengine.explain_mix import mix_of_trajectory
from schemas.mix import AnyMix
from schemas.records import Cluster
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict
from tests.warehouse.random_rows import SOURCES, SYSTEMS, cluster_of, mix, random_clusters, random_rows, write
from warehouse.connect import connect
from warehouse.snapshot import KINDS, create_snapshot
from warehouse.splits import SPLIT
from warehouse.store import Warehouse


def own_split(unit: str, salt: str, share: float) -> str:
    """Where a prompt, or a cluster called by it, belongs: the rule of docs/mixes.md, once more in Python."""
    place = int(sha256((salt + unit).encode()).hexdigest()[:13], 16) / 16**13
    return "validation" if place < share else "train"


def splits(folder: Path, asked: AnyMix) -> dict[str, set[str]]:
    """By prompt the splits that its rows stand in."""
    kind = KINDS[asked.rows]
    with connect(folder) as connection:
        kind.select(connection, asked, SYSTEMS, None)
        found = connection.execute("SELECT prompt_id, list(DISTINCT split) FROM selected GROUP BY 1").fetchall()
    return {prompt: set(names) for prompt, names in found}


def split_of(folder: Path, **columns: Any) -> dict[str, str]:
    """By prompt the split that its samples stand in; of every reply in good form."""
    asked = mix("samples", {"stage": "reasoning", "require": ["format"]}, **columns)
    return {prompt: name for prompt, (name,) in splits(folder, asked).items()}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    rows = random_rows(random.Random(11), prompts=80)
    folder = tmp_path_factory.mktemp("splits") / "warehouse"
    write(folder, rows, random.Random(11))
    return folder, [prompt.model_dump()["prompt_id"] for prompt in rows["prompts"]]


_CAPS = st.fixed_dictionaries({}, optional={"max_rows": st.integers(8, 200)})


@settings(max_examples=10, deadline=None)
@given(
    rows=st.sampled_from(sorted(SOURCES)),
    salt=st.text(max_size=5),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 9),
    clustering=st.integers(0, 2**31),
    split_by=st.sampled_from(["cluster", "cluster", "prompt"]),
    caps=_CAPS,
    epochs=st.floats(2, 5),
)
@pytest.mark.slow
def test_no_prompt_and_no_cluster_stands_in_two_splits(
    many: tuple[Path, list[str]],
    rows: str,
    salt: str,
    share: float,
    seed: int,
    clustering: int,
    split_by: str,
    caps: dict[str, int],
    epochs: float,
) -> None:
    folder, prompts = many
    clusters = random_clusters(random.Random(clustering), prompts, version=f"v{clustering}")
    Warehouse.open(folder).append("clusters", clusters)
    sources = [{**s, **caps, **({"max_epochs": epochs} if "target" in s else {})} for s in SOURCES[rows]]
    columns = {"validation": share, "seed": seed, "split_by": split_by}
    found = splits(folder, mix(rows, *sources, salt=salt, **columns))
    unit = {c.id: c.cluster_id if split_by == "cluster" else c.id for c in clusters}
    # By the rule and the prompt's cluster alone: so in every mix the same, and a cluster in one.
    assert found == {prompt: {own_split(unit[prompt], salt, share)} for prompt in found}


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_the_share_is_that_of_many_prompts(share: float) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE clustered (member VARCHAR, cluster_id VARCHAR)")
        sql = f"SELECT count(*) FROM (SELECT range::VARCHAR AS prompt_id, {SPLIT} AS split FROM range(20000)) "
        sql += "WHERE split = 'validation'"
        (held_out,) = connection.execute(sql, {"salt": "", "share": share}).fetchone() or (0,)
    assert abs(held_out - 20000 * share) < 4 * (20000 * share * (1 - share)) ** 0.5


@pytest.fixture
def asked(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> list[str]:
    """Forty prompts with a reply each that passes; their ids in order."""
    prompts = [make_prompt(f"{i}?") for i in range(40)]
    replies = [make_trajectory(p) for p in prompts]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", replies)
    warehouse.append("verdicts", [make_verdict(t) for t in replies])
    return sorted(p.prompt_id for p in prompts)


def put(warehouse: Warehouse, *clusters: Iterable[str], version: str = "v") -> None:
    rows = [cluster_of(ident, min(members), version) for members in map(list, clusters) for ident in members]
    warehouse.append("clusters", rows)


def test_clusters_move_their_prompts_alone_and_the_manifest_counts_them(
    folder: Path, warehouse: Warehouse, asked: list[str], make_mix: MakeMix
) -> None:
    before = split_of(folder, validation=0.5)
    put(warehouse, asked[:4], asked[4:6], *([ident] for ident in asked[6:]))
    after = split_of(folder, validation=0.5)
    assert {after[p] for p in asked[:4]} == {before[asked[0]]}
    assert {after[p] for p in asked[4:6]} == {before[asked[4]]}
    assert [after[p] for p in asked[6:]] == [before[p] for p in asked[6:]]
    moved = sum(before[p] != after[p] for p in asked)
    assert moved > 0
    manifest = create_snapshot(folder, make_mix(validation=0.5), {"plain": None})[0].manifest
    assert manifest.counts["near_duplicates"] == {"prompts": 6, "clusters": 2, "moved": moved}
    assert "clusters" in manifest.tables
    assert split_of(folder, validation=0.5, split_by="prompt") == before


def test_a_cluster_of_which_the_first_prompt_is_not_in_the_mix_stands_in_its_split_all_the_same(
    folder: Path, warehouse: Warehouse, asked: list[str]
) -> None:
    put(warehouse, ["0" * 64, *asked[:8]])
    found = split_of(folder, validation=0.5)
    assert {found[p] for p in asked[:8]} == {own_split("0" * 64, "", 0.5)}


@pytest.mark.slow
def test_a_prompt_that_joins_a_cluster_later_goes_where_it_is_unless_its_id_is_the_smallest(
    folder: Path, warehouse: Warehouse, asked: list[str]
) -> None:
    put(warehouse, asked[3:6])
    before = split_of(folder, validation=0.5)
    put(warehouse, asked[3:9])
    after = split_of(folder, validation=0.5)
    assert {after[p] for p in asked[3:9]} == {before[asked[3]]}
    put(warehouse, asked[:9])
    assert {split_of(folder, validation=0.5)[p] for p in asked[:9]} == {own_split(asked[0], "", 0.5)}


def current(folder: Path) -> dict[str, str]:
    with connect(folder) as connection:
        sql = "SELECT id, cluster_id FROM clusters_current WHERE kind = 'prompt'"
        return dict(connection.execute(sql).fetchall())


def test_of_several_clusterings_that_know_all_prompts_the_latest_counts(folder: Path, warehouse: Warehouse) -> None:
    put(warehouse, "abcd", version="loose")
    put(warehouse, "ab", "c", "d", version="strict")
    assert current(folder) == {"a": "a", "b": "a", "c": "c", "d": "d"}
    # A further prompt, in a run by the first rules: what they said before counts again, also of prompts without news.
    put(warehouse, "abcde", version="loose")
    assert set(current(folder).values()) == {"a"}


def test_a_clustering_that_was_cut_short_parts_no_cluster(folder: Path, warehouse: Warehouse) -> None:
    put(warehouse, "cde", "fg")
    # `b` joins them all. Rows are written in the order of ids: here as far as `c`.
    warehouse.append("clusters", [cluster_of("b", "b"), cluster_of("c", "b")])
    assert current(folder) == {**dict.fromkeys("bcde", "b"), **dict.fromkeys("fg", "f")}
    put(warehouse, "bcdefg")
    # By stricter rules, as far as `d`: they do not count yet, or `e` would be parted from `d`, its like by both.
    put(warehouse, "b", "c", "d", version="strict")
    put(warehouse, "h", version="of others")
    assert current(folder) == {**dict.fromkeys("bcdefg", "b"), "h": "h"}
    put(warehouse, "de", "fg", version="strict")
    assert current(folder) == {"b": "b", "c": "c", "d": "d", "e": "d", "f": "f", "g": "f", "h": "h"}


def test_a_cluster_is_called_by_its_smallest_id() -> None:
    with pytest.raises(ValidationError, match="smallest of its ids"):
        cluster_of("a", "b")
    assert isinstance(cluster_of("b", "a"), Cluster)


def test_explain_tells_the_split_of_the_snapshot(
    folder: Path, warehouse: Warehouse, asked: list[str], make_mix: MakeMix
) -> None:
    before = split_of(folder, validation=0.5)
    moved = next(p for p in asked if before[p] != before[asked[0]])
    put(warehouse, [asked[0], moved])
    with connect(folder) as connection:
        sql = "SELECT trajectory_id FROM trajectories WHERE prompt_id = ?"
        (ident,) = connection.execute(sql, [moved]).fetchone() or ("",)
        lines = mix_of_trajectory(connection, make_mix(validation=0.5), ident, {}, {})
    assert lines[-1] == f"  source 1 takes it, into the split {before[asked[0]]}"
