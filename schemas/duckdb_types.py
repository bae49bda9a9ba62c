"""DuckDB types worked out from the records, so that an empty table has its columns without a file to read."""

import types
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from schemas.records import Record

_PRIMITIVES: dict[type, str] = {
    str: "VARCHAR",
    int: "BIGINT",
    float: "DOUBLE",
    bool: "BOOLEAN",
    datetime: "TIMESTAMP WITH TIME ZONE",
}


def duckdb_type(annotation: Any) -> str:
    """The DuckDB type of a Python annotation, the one that its Arrow type is read as.

    >>> duckdb_type(list[int] | None)
    'BIGINT[]'
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return duckdb_type(args[0])
    if origin is Literal:
        return "VARCHAR"
    if origin in (Union, types.UnionType):
        (inner,) = (a for a in args if a is not type(None))
        return duckdb_type(inner)
    if origin is list:
        return f"{duckdb_type(args[0])}[]"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = (f'"{name}" {duckdb_type(f.annotation)}' for name, f in annotation.model_fields.items())
        return f"STRUCT({', '.join(fields)})"
    return _PRIMITIVES[annotation]


def duckdb_columns(record: type[Record]) -> dict[str, str]:
    """A record's columns and their DuckDB types, in declared order."""
    return {name: duckdb_type(f.annotation) for name, f in record.model_fields.items()}
