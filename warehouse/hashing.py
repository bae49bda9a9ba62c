"""What a snapshot's content comes down to: one hash that does not depend on the layout of its files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from warehouse.quoting import identifier, literal

_MANY = 100_000


def logical_hash(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], columns: Sequence[str], order: str
) -> str:
    """sha256 over the sha256 of each row's content, in hexadecimal with a line break, rows in `order`.

    A row's content are its `columns`, bencoded as one list: `3:abc` is a text with its length in bytes, `i7e` a whole
    number, `l...e` a list, `d...e` a struct, its names in order; beyond bencoding `n` is NULL, and a float is the text
    that the format `%.17g` gives.
    """
    rows = connection.cursor()
    rows.execute(f"CREATE OR REPLACE VIEW hashed AS FROM read_parquet([{', '.join(literal(str(f)) for f in files)}])")
    listed = ", ".join(map(identifier, columns))
    types = rows.sql(f"SELECT {listed} FROM hashed LIMIT 0").types
    content = [_bencoded(identifier(name), kind, 0) for name, kind in zip(columns, types, strict=True)]
    rows.execute(f"SELECT sha256(concat('l', {', '.join(content)}, 'e')) FROM hashed ORDER BY {order}")
    digest = hashlib.sha256()
    while batch := rows.fetchmany(_MANY):
        digest.update("".join(f"{row}\n" for (row,) in batch).encode())
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
