"""From a row of any export back to its id and snapshot: by the ids in it, else by what it says."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from schemas.errors import InputError, SnapshotError
from tests.warehouse.conftest import Compare, MakeMix, MakePrompt, MakeTrajectory, MakeVerdict, Prove, mix_of
from warehouse.export import export_snapshot
from warehouse.exported import ROW_ID, find_row
from warehouse.formats import FORMATS, REASONING
from warehouse.snapshot import Snapshot, create_snapshot, open_snapshot
from warehouse.store import Warehouse

EVERY = [
    (form, kind, reasoning)
    for form, known in FORMATS.items()
    for kind in known.kinds
    for reasoning in (REASONING if known.splits else REASONING[:1])
]
NAMES = {"samples": "demo", "pairs": "of-pairs", "labels": "of-labels", "prompts": "of-prompts"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported") / "warehouse"


@pytest.fixture
def made(template: Path, folder: Path, request: pytest.FixtureRequest) -> dict[str, Snapshot]:
    """A snapshot of every kind of rows, by kind; in a copy of the warehouse that the first test has made."""
    if not template.exists():
        request.getfixturevalue("make_all")
        shutil.copytree(folder, template)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    return {kind: open_snapshot(folder, f"{name}@1") for kind, name in NAMES.items()}


@pytest.fixture
def make_all(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
    compare: Compare,
    prove: Prove,
) -> None:
    prompts = [make_prompt(f"What is {i} + {i}? 😀") for i in range(3)]
    rows = [make_trajectory(p, i) for p in prompts for i in range(2)]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", rows)
    warehouse.append("verdicts", [make_verdict(row) for row in rows])
    for a, b in zip(rows[::2], rows[1::2], strict=True):
        compare(a, b, 2, 2)
    prove()
    for mix in (
        make_mix(),
        mix_of("pairs", {"judge": "likes", "balanced": False}, name=NAMES["pairs"]),
        mix_of("labels", {"stage": "reasoning", "check": "format"}, name=NAMES["labels"]),
        mix_of("prompts", {"domain": "math"}, name=NAMES["prompts"]),
    ):
        create_snapshot(warehouse.path, mix, {"plain": None})


def ids_of(snapshot: Snapshot) -> list[str]:
    (file,) = snapshot.data_files()
    ids: list[str] = pq.read_table(file)[ROW_ID[snapshot.manifest.rows_of]].to_pylist()
    return ids


def without_ids(file: Path, out: Path) -> Path:
    """The same rows as lines of JSON, with what they say and no id."""
    ids = {"pair_id", "chosen_id", "rejected_id", "trajectory_id", "prompt_id"}
    with duckdb.connect(":memory:") as connection:
        reader = "read_json" if file.suffix == ".jsonl" else "read_parquet"
        rows = connection.sql(f"FROM {reader}('{file}')")
        kept = [c for c in rows.columns if c not in ids]
        connection.sql(f"COPY (SELECT {', '.join(kept)} FROM rows) TO '{out}' (FORMAT json)")
    return out


@pytest.mark.parametrize(("form", "kind", "reasoning"), EVERY)
def test_each_row_of_each_format_leads_back(
    made: dict[str, Snapshot], folder: Path, tmp_path: Path, form: str, kind: str, reasoning: str
) -> None:
    snapshot, out = made[kind], tmp_path / "out"
    export_snapshot(snapshot, form, out, reasoning=reasoning)
    (file,) = out.glob("train-*")
    bare = without_ids(file, tmp_path / "bare.jsonl")
    for line, ident in enumerate(ids_of(snapshot), 1):
        assert find_row(folder, file, line) == (ident, snapshot.manifest.id)
        # Beside no card, and without ids: by what it says, in whatever snapshot holds it.
        assert find_row(folder, bare, line) == (ident, snapshot.manifest.id)
        assert find_row(folder, bare, line, snapshot.manifest.id) == (ident, snapshot.manifest.id)


def test_a_row_of_a_snapshots_own_file_leads_back_to_it(made: dict[str, Snapshot], folder: Path) -> None:
    for snapshot in made.values():
        (file,) = snapshot.data_files()
        assert find_row(folder, file, 2) == (ids_of(snapshot)[1], snapshot.manifest.id)


def test_of_several_versions_that_hold_it_the_newest_is_told(
    made: dict[str, Snapshot], folder: Path, tmp_path: Path, make_mix: MakeMix
) -> None:
    export_snapshot(made["samples"], "openai", tmp_path / "out")
    again, _ = create_snapshot(folder, make_mix(max_rows=5, template="plain"), {"plain": None})
    assert again.manifest.id == "demo@2"
    file = shutil.copy(tmp_path / "out" / "train-00000-of-00001.jsonl", tmp_path / "moved.jsonl")
    found = [find_row(folder, Path(file), line) for line in range(1, 7)]
    assert [ident for ident, _ in found] == ids_of(made["samples"])
    assert sorted(ref or "" for _, ref in found) == ["demo@1", *["demo@2"] * 5]


def refusal(*asked: Any) -> str:
    with pytest.raises((InputError, SnapshotError)) as error:
        find_row(*asked)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_row_of_a_snapshot_is_refused_in_one_line(
    made: dict[str, Snapshot], folder: Path, tmp_path: Path
) -> None:
    export_snapshot(made["samples"], "openai", tmp_path / "out")
    file = tmp_path / "out" / "train-00000-of-00001.jsonl"
    assert refusal(folder, file, 7) == f"{file}: there is no row 7"
    assert "there is no snapshot nosuch@1" in refusal(folder, file, 1, "nosuch@1")
    row = json.loads(file.read_text().splitlines()[0])
    row["messages"][-1]["content"] += "!"
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(r) + "\n" for r in (row, {"text": "x"}, [1])) + "{\n")
    other.write_text(other.read_text() + json.dumps({"messages": [{"role": 1, "said": {}}]}) + "\n")
    assert refusal(folder, other, 1).endswith("stands in no snapshot; name the one by --snapshot")
    assert "is a row of none of the formats" in refusal(folder, other, 2)
    assert refusal(folder, other, 3).endswith(":3: is no JSON object")
    assert ":4: cannot be read as a row: " in refusal(folder, other, 4)
    assert "stands in no snapshot" in refusal(folder, other, 5)
    assert "cannot be read as a row: " in refusal(folder, tmp_path / "nowhere.jsonl", 1)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    assert "cannot be read as a row: " in refusal(folder, tmp_path / "torn.parquet", 1)


def test_rows_that_say_the_same_are_named(
    warehouse: Warehouse,
    folder: Path,
    tmp_path: Path,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> None:
    prompt = make_prompt()
    # The raw texts differ, and what is rendered of them does not.
    rows = [make_trajectory(prompt, i, reasoning=None, answer="2", text="2" + " " * i) for i in range(2)]
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", rows)
    warehouse.append("verdicts", [make_verdict(row) for row in rows])
    snapshot, _ = create_snapshot(folder, make_mix(), {"plain": None})
    export_snapshot(snapshot, "openai", tmp_path / "out")
    said = refusal(folder, tmp_path / "out" / "train-00000-of-00001.jsonl", 1)
    assert "several rows say the same" in said and all(row.trajectory_id in said for row in rows)


def test_an_export_of_another_warehouse_with_a_snapshot_of_that_name_is_told_apart(
    made: dict[str, Snapshot], folder: Path, tmp_path: Path
) -> None:
    export_snapshot(made["samples"], "messages", tmp_path / "out")
    card = tmp_path / "out" / "README.md"
    card.write_text(card.read_text().replace(made["samples"].manifest.logical_hash, "0" * 64))
    said = refusal(folder, tmp_path / "out" / "train-00000-of-00001.parquet", 1)
    assert "its card says demo@1 with hash 000000000000, and the one here has " in said
