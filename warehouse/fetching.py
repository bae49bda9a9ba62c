"""Rows of a query in the shapes that Python wants."""

from typing import Any, TypeVar

import duckdb

from schemas.records import Record

R = TypeVar("R", bound=Record)


def as_dicts(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """All rows of an executed query, by the names of its columns."""
    names = [d[0] for d in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def records(cursor: duckdb.DuckDBPyConnection, record: type[R]) -> list[R]:
    """The rows of a query as records; columns that the record lacks are left out."""
    names = [d[0] for d in cursor.description or []]
    kept = [i for i, name in enumerate(names) if name in record.model_fields]
    return [record(**{names[i]: row[i] for i in kept}) for row in cursor.fetchall()]
