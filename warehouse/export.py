"""Snapshots in the shapes that trainers read."""

import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from math import ceil
from operator import itemgetter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import SnapshotError
from warehouse.card import card
from warehouse.croissant import DataFile, croissant
from warehouse.filing import SPLITS
from warehouse.formats import ALTERNATES, FORMATS, LINES, REASONING
from warehouse.hashing import sha256_of
from warehouse.quoting import literal, parquet
from warehouse.snapshot import Snapshot, verify_files
from warehouse.stanzas import Exported, stanzas
from warehouse.writing import IO_ERRORS, fsync, io_error

_AT_A_TIME = 4096


def export_snapshot(
    snapshot: Snapshot,
    form: str,
    out: Path,
    *,
    reasoning: str = "content",
    shard_rows: int | None = None,
) -> list[Path]:
    """Writes a snapshot to the folder `out` and returns its files.

    The data are one file for each split, or files of `shard_rows` rows; beside them lie a card, `croissant.json`, what
    trainers have to be told (`warehouse.stanzas`), and the SHA256SUMS of all. `reasoning` is `content` (as it is in the
    snapshot) or `split` (in a message's `reasoning_content`).

    The folder appears whole or not at all. Raises SnapshotError for an unknown format or one that the snapshot's rows
    cannot take, a folder that is in use or cannot be written, or a damaged snapshot.
    """
    _refuse_what_does_not_fit(snapshot, form, reasoning, shard_rows)
    verify_files(snapshot)
    out = out.expanduser().resolve()
    # Names are up to 255 bytes long, and this one is to be as good as the folder's own.
    work = out.with_name(f".{out.name[:40]}-{uuid.uuid4().hex[:8]}")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SnapshotError(f"{out}: exists already; name a new folder")
        work.mkdir(parents=True)
        with duckdb.connect(":memory:") as connection:
            _write(connection, snapshot, form, work, reasoning, shard_rows)
        for file in [*work.iterdir(), work]:
            fsync(file)
        work.rename(out)
        fsync(out.parent)
    except IO_ERRORS as e:
        raise io_error(e, out, SnapshotError) from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return sorted(out.iterdir())


def _refuse_what_does_not_fit(snapshot: Snapshot, form: str, reasoning: str, shard_rows: int | None) -> None:
    if form not in FORMATS:
        raise SnapshotError(f"there is no format {form!r}; there are: {', '.join(FORMATS)}")
    kind, kinds = snapshot.manifest.rows_of, FORMATS[form].kinds
    if kind not in kinds:
        takes = ", ".join(name for name, known in FORMATS.items() if kind in known.kinds)
        raise SnapshotError(
            f"{snapshot.manifest.id}: its rows are {kind}, and {form!r} is for {' and '.join(kinds)}; take {takes}"
        )
    if reasoning not in REASONING:
        raise SnapshotError(f"there is no reasoning {reasoning!r}; there are: {', '.join(REASONING)}")
    if reasoning == "split" and not FORMATS[form].splits:
        splits = ", ".join(name for name, known in FORMATS.items() if known.splits)
        raise SnapshotError(f"{form!r} has no place for reasoning apart from the content; {splits} do")
    if shard_rows is not None and shard_rows < 1:
        raise SnapshotError(f"a shard of {shard_rows} rows: it has to be at least 1")


def _write(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    form: str,
    work: Path,
    reasoning: str,
    shard_rows: int | None,
) -> None:
    shape, manifest = FORMATS[form], snapshot.manifest
    columns = shape.kinds[manifest.rows_of](reasoning)
    alternates = _alternate(connection, snapshot, form)
    connection.execute(f"CREATE VIEW rows AS FROM {parquet(snapshot.data_files())}")
    files: dict[str, list[DataFile]] = {}
    for split in SPLITS:
        total = manifest.counts["split"].get(split, 0)
        size = shard_rows or max(total, 1)
        for number, shard in enumerate(_shards(snapshot, split, size)):
            file = work / f"{split}-{number:05d}-of-{ceil(total / size):05d}.{shape.ending}"
            connection.register("shard", shard)
            select = f"SELECT {columns} FROM shard"
            if shape.ending == "jsonl" and reasoning == "split":
                select = f"SELECT {LINES} FROM ({select})"
            connection.sql(f"COPY ({select}) TO {literal(str(file))} ({shape.options})")
            connection.unregister("shard")
            files.setdefault(split, []).append(DataFile(file.name, file.stat().st_size, sha256_of(file)))

    exported = Exported(
        manifest=manifest,
        form=form,
        reasoning=reasoning,
        files={split: [file.name for file in made] for split, made in files.items()},
        longest=_longest(connection),
        alternates=alternates,
    )
    schema = connection.sql(f"SELECT {columns} FROM rows LIMIT 0").to_arrow_table().schema
    licences = connection.sql("SELECT DISTINCT license FROM rows WHERE license IS NOT NULL ORDER BY 1").fetchall()
    told = croissant(manifest, files, schema, [str(name) for (name,) in licences])
    beside = {
        "README.md": card(manifest).replace("*.parquet", f"*.{shape.ending}"),
        "croissant.json": json.dumps(told, indent=2, ensure_ascii=False) + "\n",
        **stanzas(exported),
    }
    sums = {file.name: file.sha256 for made in files.values() for file in made}
    for name, text in beside.items():
        (work / name).write_text(text, encoding="utf-8")
        sums[name] = sha256_of(work / name)
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    (work / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _alternate(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, form: str) -> bool:
    """Whether user and assistant take turns in all rows. Raises SnapshotError where the format has to have it so."""
    if snapshot.manifest.rows_of != "samples":
        return False
    # Who speaks is a column of its own in the file, and the texts need not be read for it.
    columns = ["trajectory_id", "messages.list.element.role"]
    connection.register("roles", _read(_batches(snapshot.data_files(), columns)))
    ((rows, first),) = connection.sql(
        f"SELECT count(*), min(trajectory_id) FROM roles WHERE NOT coalesce({ALTERNATES}, false)"
    ).fetchall()
    connection.unregister("roles")
    if rows and form == "alpaca":
        raise SnapshotError(
            f"{snapshot.manifest.id}: in {rows:,} rows user and assistant do not take turns, such as "
            f"{first[:12]}, and 'alpaca' cannot hold them; take messages, openai or sharegpt"
        )
    return not rows


def _longest(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Tokens of the longest row, by the tokenizer of its policy; None where rows have no count."""
    if "prompt_tokens" not in connection.sql("FROM rows LIMIT 0").columns:
        return None
    ((longest,),) = connection.sql("SELECT max(prompt_tokens + completion_tokens) FROM rows").fetchall()
    return None if longest is None else int(longest)


def _shards(snapshot: Snapshot, split: str, rows: int) -> Iterator[pa.RecordBatchReader]:
    """A split's rows in the order of the snapshot, `rows` by `rows`; each is read to its end before the next."""
    for _, pieces in groupby(_numbered(snapshot.data_files(split), rows), key=itemgetter(0)):
        yield _read(batch for _, batch in pieces)


def _numbered(files: Sequence[Path], rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Rows with the number of their shard."""
    seen = 0
    for batch in _batches(files):
        start = 0
        while start < len(batch):
            piece = batch.slice(start, rows - seen % rows)
            yield seen // rows, piece
            start, seen = start + len(piece), seen + len(piece)


def _batches(files: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of all files, few at a time, so that memory does not grow with the files."""
    for file in files:
        with pq.ParquetFile(file) as opened:
            yield from opened.iter_batches(_AT_A_TIME, columns=columns)


def _read(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    """One or more batches as what DuckDB reads."""
    first = next(batches)
    return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
