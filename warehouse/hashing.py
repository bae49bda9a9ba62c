"""What a snapshot's content comes down to: one hash that does not depend on the layout of its files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from warehouse.quoting import identifier, literal

# Rows at a time; a batch may be as many times the size of a row.
_AT_ONCE = 2048


def logical_hash(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], columns: Sequence[str]) -> str:
    """sha256, in hexadecimal, over the content of all rows, one after the other as they stand in the files.

    A row's content are its `columns`, bencoded as one list: `3:abc` is a text with its length in bytes, `i7e` a whole
    number, `l...e` a list, `d...e` a struct, its names in order; beyond bencoding `n` is NULL, and a float is the text
    that the format `%.17g` gives.
    """
    # Of the columns' names and types the SQL is made; its text is hashed here, four times as fast as by DuckDB.
    rows = connection.cursor()
    rows.execute(f"CREATE OR REPLACE VIEW hashed AS FROM read_parquet([{', '.join(literal(str(f)) for f in files)}])")
    # Offsets of 64 bits: a batch of long texts may be over 2 GB.
    rows.execute("SET arrow_large_buffer_size = true")
    listed = ", ".join(map(identifier, columns))
    types = rows.sql(f"SELECT {listed} FROM hashed LIMIT 0").types
    content = [_bencoded(identifier(name), kind, 0) for name, kind in zip(columns, types, strict=True)]
    told = rows.sql(f"SELECT concat('l', {', '.join(content)}, 'e') FROM hashed")
    digest = hashlib.sha256()
    for batch in told.to_arrow_reader(_AT_ONCE):
        texts = batch.column(0)
        _, ends, data = texts.buffers()
        first, last = (memoryview(ends).cast("q")[texts.offset + i] for i in (0, len(texts)))
        digest.update(memoryview(data)[first:last])
    return digest.hexdigest()


def _bencoded(value: str, kind: Any, depth: int) -> str:
    """SQL that bencodes a value of a DuckDB type; lambdas within one another need names of their own: `depth`."""
    if kind.id == "varchar":
        known = f"concat(strlen({value}), ':', {value})"
    elif kind.id in ("bigint", "integer"):
        known = f"concat('i', {value}, 'e')"
    elif kind.id == "boolean":
        known = f"if({value}, 'i1e', 'i0e')"
    elif kind.id == "double":
        known = _bencoded(f"format('{{:.17g}}', {value})", duckdb.sqltypes.VARCHAR, depth)
    elif kind.id == "list":
        ((_, item),) = kind.children
        each = _bencoded(f"x{depth}", item, depth + 1)
        known = f"concat('l', array_to_string(list_transform({value}, lambda x{depth}: {each}), ''), 'e')"
    elif kind.id == "struct":
        fields = [
            f"'{len(name.encode())}:{name}', {_bencoded(f'{value}.{identifier(name)}', field, depth)}"
            for name, field in sorted(kind.children)
        ]
        known = f"concat('d', {', '.join(fields)}, 'e')"
    else:
        raise TypeError(f"rows of snapshots have no values of type {kind}")
    return f"CASE WHEN {value} IS NULL THEN 'n' ELSE {known} END"
