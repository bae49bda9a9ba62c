"""The life of a prompt, trajectory or pair, in words or as JSON: where it is from, what was said, where it went."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from pydantic import ValidationError

from dataengine.evidence import spans_of
from dataengine.explain_mix import mix_of_other_rows, mix_of_several, mix_of_trajectory
from dataengine.explain_snapshot import seen_by, snapshot_lines
from dataengine.explain_words import PARTS, details_of, said_of, texts_of
from dataengine.lineage import Row, find, lineage_of, masks
from dataengine.screen import printable
from dataengine.tables import table
from schemas.errors import InputError, SnapshotError, first_problem
from schemas.mix import AnyMix, Mix, MixFile
from warehouse.connect import connect
from warehouse.membership import rows_holding, trained_on
from warehouse.snapshot import Snapshot, list_snapshots, open_snapshot
from warehouse.store import Warehouse


@dataclass(frozen=True)
class _Found:
    """A record, the connection that it was seen on, and the mixes that are to be told of."""

    record: Row
    connection: duckdb.DuckDBPyConnection
    mixes: Sequence[AnyMix]


def explain(path: Path, ident: str, mixes: Sequence[AnyMix] = (), *, snapshot: str | None = None) -> str:
    """What is known of the prompt, trajectory or pair whose id starts so, and what each of `mixes` makes of it.

    With `snapshot` (name@version) all of it as that snapshot saw it: its mix is told of too, then the row itself, and
    what was said since. Passwords and keys that the check `pii` found are masked, and so is what would act on a
    terminal. Raises InputError when no id starts so, several do, or what has it is younger than the snapshot;
    SnapshotError for a mix whose `where` is no condition.
    """
    with _found(path, ident, snapshot) as found:
        told = [PARTS[found.record["kind"]](found.record)]
        for mix in (*found.mixes, *mixes):
            told.append("\n".join([f"mix {mix.mix}:", *_mix(found.connection, mix, found.record)]))
        if snapshot is not None:
            told.append("\n".join(snapshot_lines(found.record)))
        told.append(_snapshots(found.record["snapshots"]))
    return printable("\n\n".join(told))


def explained(path: Path, ident: str, *, snapshot: str | None = None) -> Row:
    """The same as values that JSON can hold, without what a mix makes of it: see `dataengine.lineage.lineage_of`.

    `snapshots` are the rows of snapshots that hold it. With `snapshot` there are also `snapshot`, with the mix, hashes,
    versions and for each of its rows the source that took it, and `since`, what was added after.
    """
    with _found(path, ident, snapshot) as found:
        return found.record


@contextmanager
def _found(path: Path, ident: str, ref: str | None) -> Iterator[_Found]:
    warehouse = Warehouse.open(path).path
    with connect(path, snapshots=True) as connection:
        kind, full = find(connection, ident)
        hide = masks(connection, kind, full)
        record = lineage_of(connection, kind, full, hide)
        assert record is not None
        replies = row_ids(record, "samples") if kind != "pair" else []
        prompt = full if kind == "prompt" else None
        places = rows_holding(connection, replies, row_ids(record, "pairs"), prompt)
        hashes = {s.manifest.id: s.manifest.logical_hash for s in list_snapshots(warehouse)} if places else {}
        trained = trained_on(warehouse, hashes)
        record["snapshots"] = [row | {"trained": trained.get(row["snapshot"], [])} for row in places]
        if ref is None:
            yield _Found(record, connection, ())
            return
    snapshot = open_snapshot(warehouse, ref)
    with connect(path, at=snapshot.manifest.id) as connection:
        # What is known to be a password now was one then.
        then = lineage_of(connection, kind, full, hide)
        if then is None:
            raise InputError(f"{kind} {full[:12]} was not there yet when {snapshot.manifest.id} was made")
        mix = _mix_of(snapshot)
        yield _Found(seen_by(connection, snapshot, mix, then, record), connection, (mix,))


def _mix_of(snapshot: Snapshot) -> AnyMix:
    try:
        return MixFile.model_validate(snapshot.manifest.mix).root
    except ValidationError as e:
        raise SnapshotError(
            f"{snapshot.manifest.id}: this version does not know its mix ({first_problem(e)}): take the one that made "
            "it, or leave out --snapshot"
        ) from None


def row_ids(record: Row, rows: str) -> list[str]:
    """The ids by which rows of that kind (samples, pairs, labels, prompts) would hold what the record is of."""
    if rows == "prompts":
        return [record["prompt"]["prompt_id"]]
    if rows == "pairs":
        return [record["id"]] if record["kind"] == "pair" else list(record["pairs"])
    if record["kind"] == "pair":
        return [record["pair"]["a_id"], record["pair"]["b_id"]]
    return [t["trajectory_id"] for t in record["trajectories"]] if record["kind"] == "prompt" else [record["id"]]


def _mix(connection: duckdb.DuckDBPyConnection, mix: AnyMix, record: Row) -> list[str]:
    if not isinstance(mix, Mix):
        return mix_of_other_rows(connection, mix, row_ids(record, mix.rows))
    if record["kind"] == "prompt":
        return mix_of_several(connection, mix, {t["trajectory_id"]: t["stage"] for t in record["trajectories"]})
    if record["kind"] == "pair":
        known = [reply["trajectory"] for reply in record["replies"].values() if reply]
        return mix_of_several(connection, mix, {t["trajectory_id"]: t["stage"] for t in known})
    given = [v for v in record["verdicts"] if v["counts"]]
    texts = texts_of(record)
    first = {v["check"]: s[0].within(texts.get(s[0].of, "")) for v in given if (s := spans_of(details_of(v)))}
    return mix_of_trajectory(connection, mix, record["id"], {v["check"]: said_of(v) for v in given}, first)


def _snapshots(rows: Sequence[Row]) -> str:
    """The snapshots that hold it: a line for each split."""
    if not rows:
        return "in snapshots: none"
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row["snapshot"], row["split"]), []).append(row)
    lines = [
        {
            "snapshot": snapshot,
            "split": split,
            "rows": len(held),
            "weight": sum(row["weight"] for row in held),
            "first": f"{held[0]['file']} row {held[0]['row']}",
            "ids": " ".join((r["pair_id"] or r["trajectory_id"] or r["prompt_id"])[:12] for r in held),
            "trained on it": " ".join(held[0]["trained"]),
        }
        for (snapshot, split), held in grouped.items()
    ]
    return f"in snapshots:\n{table(lines)}"
