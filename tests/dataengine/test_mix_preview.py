"""A dry run counts what the snapshot would be made of, and writes nothing."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dataengine.explain_mix import mix_of_several
from tests.dataengine.conftest import Answered
from tests.warehouse.random_rows import SOURCES, SYSTEMS, mix, random_clusters, random_rows, write
from warehouse.connect import connect
from warehouse.mix_preview import preview_mix
from warehouse.snapshot import create_snapshot

MIX = """\
mix: tuned
validation: 0.3
sources:
  - {where: domain = 'math', require: [format], target: {share_of_tokens: 0.7}}
  - {where: domain = 'logic', require: [format], max_per_prompt: 1, max_epochs: 2, target: {share_of_tokens: 0.3}}
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = random_rows(random.Random(5), prompts=50)
    clusters = random_clusters(random.Random(5), [p.model_dump()["prompt_id"] for p in rows["prompts"]])
    folder = tmp_path_factory.mktemp("preview") / "warehouse"
    write(folder, {**rows, "clusters": clusters}, random.Random(5))
    return folder


@pytest.mark.parametrize("rows", SOURCES)
def test_it_counts_what_the_snapshot_then_holds(rows: str, filled: Path) -> None:
    asked = mix(rows, *SOURCES[rows], validation=0.3)
    before = sorted(filled.rglob("*"))
    found = preview_mix(filled, asked, SYSTEMS)
    assert sorted(filled.rglob("*")) == before
    manifest = create_snapshot(filled, asked, SYSTEMS)[0].manifest
    assert (found.rows, found.prompts, found.near_duplicates) == (
        manifest.rows, manifest.prompts, manifest.counts["near_duplicates"]
    )  # fmt: skip
    assert sum(s.rows for s in found.sources) == manifest.rows
    assert sum(s.validation for s in found.sources) == manifest.counts["split"]["validation"]
    dropped = {rule: n for rule, n in manifest.counts["dropped"].items() if n}
    summed = {rule: sum(s.left_out.get(rule, 0) for s in found.sources) for rule in dropped}
    assert summed == dropped
    for source in found.sources:
        assert source.candidates == source.rows + sum(source.left_out.values())


def test_the_command_shows_it_by_source(filled: Path, tmp_path: Path, cli: Callable[..., Answered]) -> None:
    (tmp_path / "tuned.yaml").write_text(MIX, encoding="utf-8")
    told = cli("snapshot", "create", "tuned.yaml", "seed=3", "--dry-run", "--warehouse", filled)
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0].startswith("tuned: ")
    assert lines[0].endswith(" rows in validation")
    assert lines[1].startswith("near-duplicate prompts: ")
    assert lines[2].split() == ["source", "candidates", "samples", "prompts", "validation", "weight", "rows_share",
                                "tokens", "tokens_share", "target"]  # fmt: skip
    assert lines[4].startswith("1 domain = 'math' ")
    assert lines[4].endswith(" 0.7 of tokens")
    assert lines[-1].startswith("source 2 leaves out: ")
    assert not (filled / "snapshots" / "tuned").exists()
    refused = cli("snapshot", "create", "tuned.yaml", "scale=9000", "sources.0.max_rows=5", "--dry-run",
                  "--warehouse", filled)  # fmt: skip
    assert refused.code == 2
    assert "source 1 needs 6,300 tokens and has " in refused.err
    assert "(rows left out: over_max_rows " in refused.err


def test_a_source_without_a_stage_takes_any_but_evaluations(filled: Path) -> None:
    source = {"where": "domain = 'math'", "require": ["format"]}
    every = preview_mix(filled, mix("samples", source), SYSTEMS).rows
    stages = [{**source, "stage": stage} for stage in ("reasoning", "non_reasoning")]
    assert every == preview_mix(filled, mix("samples", *stages), SYSTEMS).rows > 0
    asked = mix("samples", source)
    with connect(filled) as connection:
        sql = "SELECT trajectory_id, prompt_id FROM trajectory_facts WHERE domain = 'math' AND format = 'pass' LIMIT 1"
        ((ident, _),) = connection.execute(sql).fetchall()
        shown = mix_of_several(connection, asked, {ident: "reasoning"})[0].splitlines()
        assert shown[-1].split()[-2:] == ["taken,", "train"]
        # As if it were of an evaluation.
        connection.execute("CREATE TABLE facts AS SELECT * REPLACE ('eval' AS stage) FROM trajectory_facts")
        connection.execute("CREATE OR REPLACE VIEW trajectory_facts AS FROM facts")
        shown = mix_of_several(connection, asked, {ident: "eval"})[0].splitlines()
        assert shown[-1].split()[-3:] == ["not", "met:", "stage"]
