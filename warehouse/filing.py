"""The rows of a snapshot into its files: sorted, of as many rows each, and hashed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
# Few enough for a sort in memory at 5 KB a row, and a file of some 100 MB.
ROWS_OF_A_FILE = 65_536
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


def write_files(connection: duckdb.DuckDBPyConnection, folder: Path, kind: RowKind) -> tuple[list[SnapshotFile], str]:
    """Writes the rows of `selected`, sorted, in files of `ROWS_OF_A_FILE`; these, and their logical hash.

    Rows are rendered once, in any order, and dealt out to temporary files, each of which then fits into memory. Arrow
    sorts and writes those: DuckDB copies every text several times for either, and more often where its memory ends.
    """
    shards = _shards(connection, kind)
    dealt = folder / "dealt"
    dealt.mkdir()
    _deal(connection, shards, dealt)
    order = [(column.strip(), "ascending") for column in kind.order.split(",")]
    content = LogicalHash([*kind.hashed, *kind.nested])
    with ThreadPoolExecutor(_WRITERS) as writers, ThreadPoolExecutor(1) as behind:
        written = [writers.submit(_write, dealt / shard.name, folder / shard.name, order) for shard in shards]
        try:
            hashed = []
            for shard, done in zip(shards, written, strict=True):
                done.result()
                hashed.append(behind.submit(content.add, folder / shard.name))
            for added in hashed:
                added.result()
        finally:
            # After a failure the others need not begin.
            writers.shutdown(cancel_futures=True)
            behind.shutdown(cancel_futures=True)
    dealt.rmdir()
    files = [
        SnapshotFile(path=shard.name, rows=shard.rows, bytes=(folder / shard.name).stat().st_size, sha256=done.result())
        for shard, done in zip(shards, written, strict=True)
    ]
    return files, content.hexdigest()


def _shards(connection: duckdb.DuckDBPyConnection, kind: RowKind) -> list[_Shard]:
    """The files that the rows go to: as many rows each, by the first of the columns that sort them."""
    ident = kind.ident
    shards = []
    for split in SPLITS:
        found = connection.execute(
            f"""
            SELECT min({ident}), count(*) FROM (
                SELECT {ident}, (row_number() OVER (ORDER BY {ident}) - 1) // {ROWS_OF_A_FILE} AS number
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


def _write(dealt: Path, file: Path, order: list[tuple[str, str]]) -> str:
    """Sorts the rows of one file and writes it; returns its sha256."""
    rows = pa.Table.from_batches(_dealt(dealt)).combine_chunks()
    dealt.unlink()
    places = pc.sort_indices(rows, order)
    # Without Arrow's own schema, whose large texts and lists a reader would take for types of their own.
    with pq.ParquetWriter(file, rows.schema, compression="zstd", compression_level=1, store_schema=False) as writer:
        for start in range(0, len(places), _ROWS_OF_A_GROUP):
            group = places.slice(start, _ROWS_OF_A_GROUP)
            parts = [rows.take(group.slice(at, _AT_ONCE)) for at in range(0, len(group), _AT_ONCE)]
            writer.write_table(pa.concat_tables(parts), row_group_size=_ROWS_OF_A_GROUP)
    return sha256_of(file)
