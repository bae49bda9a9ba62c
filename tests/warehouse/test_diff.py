"""The difference of two snapshots is what comparing their rows one by one in plain Python gives."""

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.diff_report import describe_diff
from schemas.errors import ConfigError, SnapshotError
from schemas.keys import canonical_json, key
from schemas.manifest import Manifest, SnapshotFile
from schemas.mix import Mix
from schemas.records import Trajectory
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeTrajectory, MakeVerdict, mix_of
from warehouse.diff import SnapshotDiff, ValueCounts, diff_snapshots
from warehouse.mix_diff import FieldChange, mix_changes
from warehouse.snapshot import KINDS, Snapshot, create_snapshot, open_snapshot
from warehouse.store import Warehouse

Row = dict[str, Any]
SYSTEMS = {"plain": None, "think": "Think first."}

# ---- snapshots written by hand, of every kind of rows

TEXT, LONG, REAL, YES = pa.string(), pa.int64(), pa.float64(), pa.bool_()
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))
VERDICTS = pa.list_(pa.struct([("check", TEXT), ("version", TEXT), ("outcome", TEXT)]))
COMMON: Row = {"split": TEXT, "prompt_id": TEXT, "domain": TEXT, "source": TEXT, "language": TEXT, "license": TEXT}
COLUMNS: dict[str, Row] = {
    "samples": {
        **COMMON, "trajectory_id": TEXT, "attempt": LONG, "stage": TEXT, "policy": TEXT, "messages": MESSAGES,
        "prompt_tokens": LONG, "completion_tokens": LONG, "weight": REAL, "verdicts": VERDICTS,
    },
    "labels": {
        **COMMON, "trajectory_id": TEXT, "attempt": LONG, "stage": TEXT, "policy": TEXT, "prompt": MESSAGES,
        "completion": MESSAGES, "label": YES, "score": REAL, "labelled_by": TEXT, "weight": REAL, "verdicts": VERDICTS,
    },
    "pairs": {
        **COMMON, "pair_id": TEXT, "chosen_id": TEXT, "rejected_id": TEXT, "chosen_policy": TEXT,
        "rejected_policy": TEXT, "prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES, "score": REAL,
        "weight": REAL, "verdicts": VERDICTS, "chosen_verdicts": VERDICTS, "rejected_verdicts": VERDICTS,
    },
    "prompts": {
        **COMMON, "prompt": MESSAGES, "reference": TEXT, "verifier": TEXT, "against": TEXT, "metadata": TEXT,
        "answer_form": TEXT, "solve_rate": REAL, "n": LONG, "weight": REAL,
    },
}  # fmt: skip
BY = {
    "samples": {*COMMON, "stage", "policy"} - {"prompt_id"},
    "labels": {*COMMON, "stage", "policy", "label", "labelled_by"} - {"prompt_id"},
    "pairs": {*COMMON, "chosen_policy", "rejected_policy"} - {"prompt_id"},
    "prompts": {*COMMON, "verifier", "answer_form"} - {"prompt_id"},
}


def written(
    folder: Path, name: str, rows: Sequence[Row], kind: str = "samples", without: Sequence[str] = (), **manifest: Any
) -> Snapshot:
    """A snapshot of these rows, a file for each split."""
    path = folder / "snapshots" / name / "v1"
    path.mkdir(parents=True)
    types = {column: of for column, of in COLUMNS[kind].items() if column not in without}
    files = []
    for split in sorted({row["split"] for row in rows}) or ["train"]:
        file = path / f"{split}-00000-of-00001.parquet"
        held = [row for row in rows if row["split"] == split]
        pq.write_table(pa.Table.from_pylist(held, schema=pa.schema(list(types.items()))), file, compression="zstd")
        files.append(SnapshotFile(path=file.name, rows=len(held), bytes=file.stat().st_size, sha256=""))
    values: Row = {"mix": {"rows": kind}, "counts": {}, "checks": {}, "code": {}, "tables": {}, **manifest}
    made = Manifest(
        name=name,
        version=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        logical_hash=key(rows),
        rows=len(rows),
        prompts=len({row["prompt_id"] for row in rows}),
        files=files,
        **values,
    )
    (path / "manifest.json").write_text(made.model_dump_json())
    return Snapshot(made, path)


def sample(number: int, **columns: Any) -> Row:
    return {
        "split": "train", "prompt_id": f"p{number // 2}", "domain": "math", "source": "sums", "language": "en",
        "license": None, "trajectory_id": f"t{number:03}", "attempt": 1, "stage": "reasoning", "policy": "model@1",
        "messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "1"}],
        "prompt_tokens": 5, "completion_tokens": 10, "weight": 1.0, "verdicts": [verdict("math")], **columns,
    }  # fmt: skip


def verdict(check: str, outcome: str = "pass", version: str = "1") -> Row:
    return {"check": check, "version": version, "outcome": outcome}


# ---- the oracle


def plain_diff(kind: str, before: Sequence[Row], after: Sequence[Row]) -> Row:
    """What the diff of these rows has to say, row by row."""
    keys = KINDS[kind].order.split(", ")  # type: ignore[index]
    old, new = ({tuple(row[k] for k in keys): row for row in rows} for rows in (before, after))
    columns: Counter[str] = Counter()
    verdicts: Counter[tuple[Any, ...]] = Counter()
    by = {name: dict[str | None, Counter[str]]() for name in BY[kind]}
    happened = {}
    for ident in old.keys() | new.keys():
        was, now = old.get(ident), new.get(ident)
        differing = [c for c in COLUMNS[kind] if was and now and canonical_json(was[c]) != canonical_json(now[c])]
        what = "added" if not was else "removed" if not now else "changed" if differing else "same"
        columns.update(differing)
        happened[ident] = (what, sorted(differing))
        for name, values in by.items():
            if was:
                values.setdefault(text(was[name]), Counter())["before"] += 1
            if now:
                values.setdefault(text(now[name]), Counter()).update(["after", *(["changed"] if differing else [])])
            if not was or not now:
                values[text((was or now or {})[name])][what] += 1
            elif was[name] != now[name]:
                values[text(was[name])]["moved_out"] += 1
                values[text(now[name])]["moved_in"] += 1
        for column in (c for c in differing if c.endswith("verdicts")):
            assert was and now
            said = [{v["check"]: (v["outcome"], v["version"]) for v in row[column] or []} for row in (was, now)]
            for check in said[0].keys() | said[1].keys():
                (a, a_version), (b, b_version) = (s.get(check, (None, None)) for s in said)
                if (a, a_version) != (b, b_version):
                    verdicts[column, check, a, b, a_version, b_version] += 1
    return {"columns": columns, "verdicts": verdicts, "by": by, "happened": happened, "prompts": prompts(old, new)}


def prompts(*sides: dict[tuple[Any, ...], Row]) -> tuple[int, int, int, int, Counter[tuple[str, str]]]:
    old, new = (
        {p: "+".join(sorted({r["split"] for r in side.values() if r["prompt_id"] == p})) for p in ids}
        for side in sides
        for ids in [{row["prompt_id"] for row in side.values()}]
    )
    moved = Counter((old[p], new[p]) for p in old.keys() & new.keys() if old[p] != new[p])
    return len(old), len(new), len(new.keys() - old.keys()), len(old.keys() - new.keys()), moved


def text(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


FEW = st.sampled_from
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    TEXT: st.none() | FEW(["a", "b", "", "ü; -> 'x'", 'line\n"break"']),
    LONG: st.none() | st.integers(0, 3),
    REAL: st.none() | FEW([0.0, 1.0, 1.25, 1 / 3]),
    YES: st.none() | st.booleans(),
    MESSAGES: st.none()
    | st.lists(
        st.fixed_dictionaries({"role": FEW(["user", "assistant"]), "content": FEW([None, "", "1", "1, content: 2"])}),
        max_size=2,
    ),
    VERDICTS: st.none()
    | st.lists(
        st.builds(verdict, FEW(["format", "math"]), FEW(["pass", "fail", "undecided"]), FEW(["1", "2"])),
        max_size=2,
        unique_by=lambda v: v["check"],
    ),
}
NEVER_NULL = {"split": FEW(["train", "validation"]), "prompt_id": FEW(["p1", "p2", "p3"])}


def rows_of(kind: str) -> st.SearchStrategy[list[Row]]:
    """Some rows, each with an id of its own."""
    keys = KINDS[kind].order.split(", ")  # type: ignore[index]
    given_ids = {name: st.integers(1, 2) if name == "attempt" else FEW(["i1", "i2", "i3", "i4"]) for name in keys}
    columns = {name: VALUES[of] for name, of in COLUMNS[kind].items()}
    row = st.fixed_dictionaries({**columns, **NEVER_NULL, **given_ids})
    return st.lists(row, max_size=6, unique_by=lambda r: tuple(r[k] for k in keys))


@st.composite
def two_of(draw: st.DrawFn, kind: str) -> tuple[list[Row], list[Row]]:
    """Rows, and the same with some left out, some added, and some with other values."""
    before, others = draw(rows_of(kind)), draw(rows_of(kind))
    keys = KINDS[kind].order.split(", ")  # type: ignore[index]
    after = {tuple(r[k] for k in keys): r for r in before if draw(st.integers(0, 3))}
    for row in others:
        ident = tuple(row[k] for k in keys)
        kept = after.get(ident)
        if kept is not None:
            row = {name: row[name] if draw(st.booleans()) else value for name, value in kept.items()}
        after[ident] = row
    return before, list(after.values())


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_rows_are_compared_as_one_by_one(kind: str) -> None:
    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(two_of(kind))
    def check(sides: tuple[list[Row], list[Row]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            before, after = (written(folder, n, rows, kind) for n, rows in zip("ab", sides, strict=True))
            found = diff_snapshots(before, after, rows=folder / "rows.jsonl")
            told = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        expected = plain_diff(kind, *sides)
        whats = Counter(what for what, _ in expected["happened"].values())
        if found.equal:
            assert sides[0] == sides[1] and told == []
            return
        r = found.rows
        assert (r.added, r.removed, r.changed, r.same) == tuple(
            whats[w] for w in ("added", "removed", "changed", "same")
        )
        assert (r.before, r.after) == (len(sides[0]), len(sides[1]))
        assert found.columns == expected["columns"]
        counted = {
            name: {v.value: +Counter({k: n for k, n in vars(v).items() if k != "value"}) for v in values}
            for name, values in found.by.items()
        }
        assert counted == expected["by"]
        said = Counter({tuple(vars(v).values())[:-1]: v.rows for v in found.verdicts})
        assert said == expected["verdicts"]
        p = found.prompts
        assert (p.before, p.after, p.added, p.removed, Counter({(m.before, m.after): m.prompts for m in p.moved})) == (
            expected["prompts"]
        )
        keys = KINDS[kind].order.split(", ")  # type: ignore[index]
        assert {tuple(t[k] for k in keys): (t["what"], sorted(t["changed"])) for t in told} == {
            ident: (what, changed) for ident, (what, changed) in expected["happened"].items() if what != "same"
        }
        assert [tuple(t[k] for k in keys) for t in told] == sorted(tuple(t[k] for k in keys) for t in told)
        assert describe_diff(found)
        assert json.loads(json.dumps(found.as_json()))["rows"]["before"] == len(sides[0])

    check()


# ---- by hand, one thing at a time


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., SnapshotDiff]:
    """The diff of two snapshots of these rows."""

    def diff(before: Sequence[Row], after: Sequence[Row], *, rows: Path | None = None, **manifest: Any) -> SnapshotDiff:
        return diff_snapshots(
            written(tmp_path, "a", before), written(tmp_path, "b", after, **manifest), rows=rows
        )  # fmt: skip

    return diff


def test_what_became_of_each_row_is_told_with_why(two: Callable[..., SnapshotDiff], tmp_path: Path) -> None:
    before = [sample(i, verdicts=[verdict("format"), verdict("math")]) for i in range(6)]
    newer = [verdict("format", version="2"), verdict("math")]
    after = [
        {**before[0], "weight": 1.5, "verdicts": [verdict("format"), verdict("math", "fail")]},
        {**before[1], "messages": before[2]["messages"], "verdicts": [verdict("math", "undecided", "2")]},
        {**before[2], "license": "MIT", "source": "more; sums", "verdicts": newer},
        *before[3:5],
        sample(7),
    ]  # fmt: skip
    made = {}
    for ending in ("jsonl", "csv", "parquet"):
        out = tmp_path / "new folder" / f"rows.{ending}"
        found = diff_snapshots(
            written(tmp_path / ending, "a", before), written(tmp_path / ending, "b", after), rows=out
        )
        made[ending] = out
    said = [json.loads(line) for line in made["jsonl"].read_text().splitlines()]
    assert said == pq.read_table(made["parquet"]).to_pylist()
    assert [(row["trajectory_id"], row["attempt"], row["prompt_id"], row["what"]) for row in said] == [
        ("t000", 1, "p0", "changed"), ("t001", 1, "p0", "changed"), ("t002", 1, "p1", "changed"),
        ("t005", 1, "p2", "removed"), ("t007", 1, "p3", "added"),
    ]  # fmt: skip
    assert [sorted(row["changed"]) for row in said] == [
        ["verdicts", "weight"], ["messages", "verdicts"], ["license", "source", "verdicts"], [], []
    ]  # fmt: skip
    assert [sorted(row["why"]) for row in said] == [
        ["math: pass -> fail", "weight: 1.0 -> 1.5"],
        ["format: pass -> none", "math: pass -> undecided, version 1 -> 2"],
        ["format: version 1 -> 2", "license: none -> MIT", "source: sums -> more; sums"],
        [],
        [],
    ]
    with made["csv"].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["what"] for line in lines] == [row["what"] for row in said]
    assert [line["why"] for line in lines] == ["; ".join(row["why"]) for row in said]
    assert sorted(p.name for p in made["csv"].parent.iterdir()) == ["rows.csv", "rows.jsonl", "rows.parquet"]
    assert (found.rows.added, found.rows.removed, found.rows.changed, found.rows.same) == (1, 1, 3, 2)
    assert found.by["source"] == [
        ValueCounts("sums", before=6, after=5, added=1, removed=1, changed=2, moved_out=1),
        ValueCounts("more; sums", after=1, changed=1, moved_in=1),
    ]


def test_a_source_is_weighed_by_its_tokens_and_weights(two: Callable[..., SnapshotDiff]) -> None:
    before = [sample(0, completion_tokens=30), sample(1, completion_tokens=10, source="code")]
    after = [
        before[0],
        {**before[1], "weight": 1.5},
        sample(2, completion_tokens=15, source="new"),
        sample(3, completion_tokens=None, source="new"),
    ]
    found = two(before, after)
    assert found.notes == ["1 rows of b@1 have no completion_tokens and count as 0 tokens"]
    shares = found.tokens
    assert [(s.source, s.before, s.after) for s in shares] == [("sums", 30, 30), ("code", 10, 15), ("new", 0, 15)]
    assert [(s.share_before, s.share_after, s.difference) for s in shares] == [
        (0.75, 0.5, -0.25), (0.25, 0.25, 0), (0, 0.25, 0.25)
    ]  # fmt: skip


def test_different_verdicts_may_become_the_same(two: Callable[..., SnapshotDiff]) -> None:
    said = [[verdict("math", "fail")], [verdict("math", "undecided")], [verdict("math", "undecided")], None]
    before = [sample(i, verdicts=verdicts) for i, verdicts in enumerate(said)]
    found = two(before, [sample(i, verdicts=[verdict("math")]) for i in range(4)]).verdicts
    assert [(v.before, v.after, v.version_before, v.version_after, v.rows) for v in found] == [
        ("undecided", "pass", "1", "1", 2), ("fail", "pass", "1", "1", 1), (None, "pass", None, "1", 1)
    ]  # fmt: skip


def test_prompts_that_changed_split_are_counted(two: Callable[..., SnapshotDiff]) -> None:
    before = [sample(i) for i in range(8)]
    after = [{**row, "split": "validation" if row["prompt_id"] in ("p1", "p2") else "train"} for row in before[2:]]
    found = two(before, [*after, sample(9)])
    assert [vars(m) for m in found.prompts.moved] == [{"before": "train", "after": "validation", "prompts": 2}]
    assert (found.prompts.before, found.prompts.after, found.prompts.added, found.prompts.removed) == (4, 4, 1, 1)
    assert "2 went from train to validation" in describe_diff(found)


def test_another_attempt_is_another_row(two: Callable[..., SnapshotDiff]) -> None:
    found = two([sample(0), sample(1)], [sample(0, attempt=2), sample(1)])
    assert (found.rows.added, found.rows.removed, found.rows.same) == (1, 1, 1)


def test_with_equal_hashes_no_file_is_read(two: Callable[..., SnapshotDiff], tmp_path: Path) -> None:
    rows = [sample(0), sample(1)]
    before, after = written(tmp_path, "a", rows), written(tmp_path, "b", rows, checks={"math": ["2"]})
    for snapshot in (before, after):
        for file in snapshot.data_files():
            file.write_bytes(b"damaged")
    found = diff_snapshots(before, after)
    assert found.equal and found.same_rows
    assert (found.rows.before, found.rows.same, found.prompts.after) == (2, 2, 1)
    told = describe_diff(found)
    assert "no difference: both hold the same 2 rows" in told
    assert 'math: none -> ["2"]' in told


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_with_equal_hashes_the_file_of_rows_is_empty(tmp_path: Path, ending: str) -> None:
    rows = [sample(0)]
    out = tmp_path / f"rows.{ending}"
    diff_snapshots(written(tmp_path, "a", rows), written(tmp_path, "b", rows), rows=out)
    if ending == "parquet":
        table = pq.read_table(out)
        assert (table.num_rows, table.column_names[:3]) == (0, ["trajectory_id", "attempt", "prompt_id"])
    else:
        assert out.read_text().splitlines() == (
            ["trajectory_id,attempt,prompt_id,what,changed,why"] if ending == "csv" else []
        )


def test_a_column_that_one_of_them_lacks_is_named_and_the_rest_compared(tmp_path: Path) -> None:
    rows = [sample(0), sample(1)]
    before = written(tmp_path, "a", rows, without=["license", "weight"])
    found = diff_snapshots(before, written(tmp_path, "b", [{**rows[0], "language": "de"}, rows[1]]))
    assert found.columns == {"language": 1}
    assert "license" not in found.by
    assert found.tokens == []
    assert found.notes == [
        "the column license is in b@1 alone and was not compared",
        "the column weight is in b@1 alone and was not compared",
    ]
    assert "note: the column license is in b@1 alone" in describe_diff(found)


def refusal(before: Snapshot, after: Snapshot, error: type[Exception] = SnapshotError, **options: Any) -> str:
    with pytest.raises(error) as raised:
        diff_snapshots(before, after, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_compared_is_refused_in_a_line(tmp_path: Path) -> None:
    one = written(tmp_path, "one", [sample(0)])
    assert refusal(one, written(tmp_path, "pairs", [], "pairs")) == (
        "the rows of one@1 are samples, those of pairs@1 pairs: compare two of one kind"
    )
    keyless = written(tmp_path, "keyless", [sample(1)], without=["attempt"])
    assert refusal(one, keyless) == "keyless@1 cannot be compared: its rows have no attempt"

    cut, gone, short = (written(tmp_path, name, [sample(1), sample(2)]) for name in ("cut", "gone", "short"))
    (file,) = cut.data_files()
    file.write_bytes(file.read_bytes()[:-100])
    assert refusal(one, cut).startswith("cut@1: its files cannot be read: ")
    assert refusal(cut, one).endswith("`dataengine snapshot verify cut@1` names what is damaged")
    (file,) = gone.data_files()
    file.unlink()
    assert refusal(one, gone) == f"gone@1: {file} is gone; restore it from a copy"
    (file,) = short.data_files()
    pq.write_table(pq.read_table(file).slice(1), file)
    assert "its files hold 1 rows and its manifest says 2" in refusal(short, one)


def test_damage_that_only_a_read_finds_is_refused_in_a_line(tmp_path: Path) -> None:
    one, damaged = written(tmp_path, "one", [sample(0)]), written(tmp_path, "damaged", [sample(1)])
    (file,) = damaged.data_files()
    content = bytearray(file.read_bytes())
    content[4:500] = b"x" * 496  # pages of data; the footer is whole
    file.write_bytes(content)
    assert pq.read_metadata(file).num_rows == 1
    assert refusal(one, damaged).startswith("damaged@1: its files cannot be read: ")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("rows.txt", "is to end in .parquet, .jsonl, .csv"),
        ("folder.csv", "is a folder"),
        ("snapshots/b/v1/rows.csv", "is in the folder of a snapshot, which never changes"),
        ("file/rows.csv", "cannot be written"),
    ],
)
def test_a_place_for_rows_that_cannot_be_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    before, after = written(tmp_path, "a", [sample(0)]), written(tmp_path, "b", [sample(1)])
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    listed = sorted(tmp_path.rglob("*"))
    assert problem in refusal(before, after, ConfigError, rows=tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == listed


# ---- what the manifests say


SOURCE = {"stage": "reasoning", "require": ["format"]}
CODE = {"stage": "reasoning", "require": ["code"], "where": "domain = 'code'"}
CHAT = {"stage": "non_reasoning", "policy": "human"}


def mix(*sources: Row, **columns: Any) -> Row:
    return {"mix": "demo", "sources": list(sources), **columns}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (mix(SOURCE), mix(SOURCE), []),
        (mix(SOURCE), mix(SOURCE, seed=1, licenses=["MIT"]), [("seed", 0, 1), ("licenses", None, ["MIT"])]),
        # What a manifest of an older version lacks, has the default.
        (mix(SOURCE), mix({**SOURCE, "max_epochs": 1.0, "target": None}, rows="samples", scale=None), []),
        (
            mix({**SOURCE, "thresholds": {"format": {"at_least": 0.5}}}, CHAT),
            mix({**SOURCE, "require": ["format", "math"], "thresholds": {"format": {"at_least": 0.9}}}, CHAT),
            [
                ("source 1.require", ["format"], ["format", "math"]),
                ("source 1.thresholds.format.at_least", 0.5, 0.9),
            ],
        ),
        (
            mix(SOURCE, CHAT),
            mix(CODE, SOURCE, {**CHAT, "max_rows": 9}),
            [
                ("source 1", None, {**CODE, "min_kappa": 0.6, "max_epochs": 1.0, "choose": "hash", "pattern": "think",
                                    "template": "plain"}),
                ("source 3 (was 2).max_rows", None, 9),
            ],
        ),
        (mix(SOURCE, CODE, CHAT), mix(CHAT, SOURCE, CODE), [("order of sources", [1, 2, 3], [3, 1, 2])]),
        # One that this version cannot read is compared as it is.
        ({"mix": "old", "had": {"a": 1, "b": 2}}, {"mix": "old", "had": {"a": 1, "b": 3}}, [("had.b", 2, 3)]),
        ({}, {"rows": "samples"}, [("rows", None, "samples")]),
    ],
)  # fmt: skip
def test_mixes_are_compared_field_by_field(before: Row, after: Row, told: list[tuple[str, Any, Any]]) -> None:
    assert mix_changes(before, after) == [FieldChange(*change) for change in told]


def test_a_source_that_is_gone_is_told_whole() -> None:
    (change,) = mix_changes(mix(CHAT, SOURCE), mix(SOURCE))
    assert (change.field, change.after) == ("source 1 of the first", None)
    assert change.before["stage"] == "non_reasoning"
    assert "where" not in change.before


# ---- snapshots that a mix made


def test_a_mix_made_again_is_compared_with_what_it_was(
    folder: Path,
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> None:
    prompts = [make_prompt(f"{i}?", source="sums" if i else "one") for i in range(3)]
    replies = [make_trajectory(p, n) for p in prompts for n in range(2)]
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", replies)
    warehouse.append("verdicts", [make_verdict(t) for t in replies])
    warehouse.append("verdicts", [make_verdict(t, "fail" if t.sample_index else "pass", check="math") for t in replies])

    def made(mix: Mix, **code: str) -> Snapshot:
        return create_snapshot(folder, mix, SYSTEMS, code)[0]

    first = made(make_mix(), engine="1")
    warehouse.append("verdicts", [make_verdict(replies[0], "undecided", check="math", version="2")])
    second = made(make_mix(not_failed=["math"], template="think"), engine="2")
    found = diff_snapshots(first, second)
    assert vars(found.rows) == {"before": 6, "after": 3, "added": 0, "removed": 3, "changed": 3, "same": 0}
    assert found.columns == {"messages": 3, "verdicts": 1}
    assert [tuple(vars(v).values()) for v in found.verdicts] == [("verdicts", "math", "pass", "undecided", "1", "2", 1)]
    assert [v.value for v in found.by["source"]] == ["sums", "one"]
    assert found.mix == [
        FieldChange("source 1.template", "plain", "think"),
        FieldChange("source 1.not_failed", [], ["math"]),
    ]
    assert found.checks == [FieldChange("math", ["1"], ["1", "2"])]
    assert found.code == [FieldChange("engine", "1", "2")]
    assert found.dropped == []
    assert diff_snapshots(second, first).rows.added == 3
    assert diff_snapshots(open_snapshot(folder, "demo"), second).equal


def test_prompts_with_another_reference_have_changed(
    folder: Path, warehouse: Warehouse, make_prompt: MakePrompt
) -> None:
    wanted = mix_of("prompts", {"domain": "math", "verifiers": ["exact"]})
    warehouse.append("prompts", [make_prompt("1?"), make_prompt("2?")])
    first, _ = create_snapshot(folder, wanted, SYSTEMS)
    warehouse.append("prompts", [make_prompt("2?", reference="3"), make_prompt("3?", license="MIT")])
    second, _ = create_snapshot(folder, wanted, SYSTEMS)
    found = diff_snapshots(first, second)
    assert found.columns == {"against": 1, "reference": 1}
    assert (found.prompts.added, found.rows.added, found.rows.same) == (1, 1, 1)
    assert found.tokens == []
    assert [(v.value, v.before, v.after) for v in found.by["license"]] == [(None, 2, 2), ("MIT", 0, 1)]


def test_the_page_about_mixes_shows_what_is_told(
    folder: Path,
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_mix: MakeMix,
) -> None:
    def fill(source: str, license: str, numbers: range, tokens: int) -> list[Trajectory]:
        prompts = [make_prompt(f"What is {i} + {i + 1}?", source=source, license=license) for i in numbers]
        made = [make_trajectory(p, n, completion_tokens=tokens + n) for p in prompts for n in range(2)]
        warehouse.append("prompts", prompts)
        warehouse.append("trajectories", made)
        warehouse.append("verdicts", [make_verdict(t, check=c) for t in made for c in ("exact", "language_mix")])
        return made

    school = fill("schoolbook", "MIT", range(20), 40)
    fill("contest", "Apache-2.0", range(100, 110), 120)
    before, _ = create_snapshot(folder, make_mix("sums", require=["exact"], validation=0.2), SYSTEMS)
    fill("contest", "Apache-2.0", range(200, 206), 120)
    again = [
        make_verdict(t, "pass" if i > 2 else "fail", check="language_mix", version="2") for i, t in enumerate(school)
    ]
    warehouse.append("verdicts", [*again, *(make_verdict(t, "fail", check="exact", version="2") for t in school[-2:])])
    after, _ = create_snapshot(folder, make_mix("sums", require=["exact"], validation=0.3, max_per_prompt=1), SYSTEMS)
    told = describe_diff(diff_snapshots(before, after))
    page = (Path(__file__).parents[2] / "docs" / "mixes.md").read_text(encoding="utf-8")
    assert "".join(f"    {line}".rstrip() + "\n" for line in told.splitlines()) in page, told
