"""The rows of a snapshot into its files: sorted, of as many rows each, and hashed."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.manifest import SnapshotFile
from warehouse.hashing import LogicalHash, sha256_of
from warehouse.quoting import literal
from warehouse.row_kind import RowKind

SPLITS = ("train", "validation")
# A file has at most so many rows, and no more than make so many bytes: it is sorted in memory.
ROWS_OF_A_FILE = 65_536
_BYTES_OF_A_FILE = 384 << 20
# Row groups are small, so that a reader's first rows are there soon and neither side holds many texts at once.
_ROWS_OF_A_GROUP = 10_240
# So many rows at a time are dealt out, and taken in order: their texts stay where the processor has them at hand.
_AT_ONCE = 2048
# Each holds the rows of one file, twice for a moment.
_WRITERS = 2


@dataclass(frozen=True)
class _Shard:
    """One file to be: which rows of a split stand in it, as SQL, and how many they are."""

    name: str
    condition: str
    rows: int


def write_files(
    connection: duckdb.DuckDBPyConnection, folder: Path, kind: RowKind, row_bytes: float
) -> tuple[list[SnapshotFile], str]:
    """Writes the rows of `selected`, sorted, in files of at most `ROWS_OF_A_FILE`; these, and their logical hash.

    Of rows of more than some KB, which `row_bytes` says, files hold fewer. Rows are rendered once, in any order, and
    dealt out to temporary files, each of which then fits into memory. Arrow sorts and writes those: DuckDB copies every
    text several times for either, and more often where its memory ends.
    """
    shards = _shards(connection, kind, min(ROWS_OF_A_FILE, max(1024, int(_BYTES_OF_A_FILE / max(1.0, row_bytes)))))
    dealt = folder / "dealt"
    dealt.mkdir()
    _deal(connection, shards, dealt)
    order = [(column.strip(), "ascending") for column in kind.order.split(",")]
    content = LogicalHash([*kind.hashed, *kind.nested])
    with ThreadPoolExecutor(_WRITERS) as writers:
        written: list[Future[str]] = []
        try:
            for shard in shards:
                before = written[-1] if written else None
                written.append(writers.submit(_write, dealt / shard.name, folder / shard.name, order, content, before))
            sums = [each.result() for each in written]
        finally:
            # After a failure the others need not begin.
            writers.shutdown(cancel_futures=True)
    dealt.rmdir()
    files = [
        SnapshotFile(path=shard.name, rows=shard.rows, bytes=(folder / shard.name).stat().st_size, sha256=sha256)
        for shard, sha256 in zip(shards, sums, strict=True)
    ]
    return files, content.hexdigest()


def bytes_of_a_row(trajectories: Sequence[str], prompts: Sequence[str]) -> float:
    """About how many bytes a row of these tables' files has: the most that the mean of any row group is.

    Of trajectories it is their text, of prompts all that they are. Only the files' footers are read.
    """
    return _largest_mean(trajectories, "text") + _largest_mean(prompts, None)


def _largest_mean(files: Sequence[str], column: str | None) -> float:
    largest = 0.0
    for file in files:
        footer = pq.read_metadata(file)
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            size = group.total_byte_size
            if column is not None:
                chunks = (group.column(i) for i in range(group.num_columns))
                size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == column)
            largest = max(largest, size / max(1, group.num_rows))
    return largest


def _shards(connection: duckdb.DuckDBPyConnection, kind: RowKind, rows_of_a_file: int) -> list[_Shard]:
    """The files that the rows go to: as many rows each, by the first of the columns that sort them."""
    ident = kind.ident
    shards = []
    for split in SPLITS:
        found = connection.execute(
            f"""
            SELECT min({ident}), count(*) FROM (
                SELECT {ident}, (row_number() OVER (ORDER BY {ident}) - 1) // {rows_of_a_file} AS number
                FROM taken WHERE split = {literal(split)}
            ) GROUP BY number ORDER BY number"""
        ).fetchall()
        for number, (first, rows) in enumerate(found):
            condition = f"split = {literal(split)}"
            condition += f" AND {ident} >= {literal(first)}" if number else ""
            condition += f" AND {ident} < {literal(found[number + 1][0])}" if number + 1 < len(found) else ""
            shards.append(_Shard(f"{split}-{number:05d}-of-{len(found):05d}.parquet", condition, rows))
    return shards


def _deal(connection: duckdb.DuckDBPyConnection, shards: list[_Shard], folder: Path) -> None:
    """Renders all rows and appends each to the file of its shard, one Arrow stream for each time."""
    cases = " ".join(f"WHEN {shard.condition} THEN {number}" for number, shard in enumerate(shards))
    # In any order, and with as many bytes of texts as there are.
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET arrow_large_buffer_size = true")
    rows = connection.sql(f"SELECT *, CASE {cases} END AS shard FROM selected").to_arrow_reader(_AT_ONCE)
    for batch in rows:
        batch = batch.take(pc.sort_indices(batch.column("shard")))
        of_shard, batch, start = pc.value_counts(batch.column("shard")), batch.drop_columns(["shard"]), 0
        for number, count in zip(*(part.to_pylist() for part in of_shard.flatten()), strict=True):
            with (
                pa.OSFile(str(folder / shards[number].name), "ab") as file,
                pa.ipc.new_stream(file, batch.schema) as stream,
            ):
                stream.write_batch(batch.slice(start, count))
            start += count
    connection.execute("RESET preserve_insertion_order")


def _dealt(file: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as opened:
        while opened.tell() < opened.size():
            yield from pa.ipc.open_stream(opened)


def _write(
    dealt: Path, file: Path, order: list[tuple[str, str]], content: LogicalHash, before: Future[str] | None
) -> str:
    """Sorts the rows of one file, writes it and returns its sha256; adds the rows to `content` once `before` is done.

    Rows are taken in order twice, in small parts: to have them all at once would take their memory once more.
    """
    rows = pa.Table.from_batches(_dealt(dealt)).combine_chunks()
    dealt.unlink()
    places = pc.sort_indices(rows, order)
    # Without Arrow's own schema, whose large texts and lists a reader would take for types of their own.
    with pq.ParquetWriter(file, rows.schema, compression="zstd", compression_level=1, store_schema=False) as writer:
        for start in range(0, len(places), _ROWS_OF_A_GROUP):
            group = _taken(rows, places.slice(start, _ROWS_OF_A_GROUP))
            writer.write_table(pa.Table.from_batches(group), row_group_size=_ROWS_OF_A_GROUP)
    sha256 = sha256_of(file)
    if before:
        before.result()
    for batch in _taken(rows.select(content.columns), places):
        content.add(batch)
    return sha256


def _taken(rows: pa.Table, places: pa.Array) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(places), _AT_ONCE):
        yield from rows.take(places.slice(start, _AT_ONCE)).to_batches()
