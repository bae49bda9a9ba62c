"""Arrow types worked out from the records, so that a column is declared in one place only."""

import types
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from schemas.keys import storable
from schemas.records import Record

_PRIMITIVES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of a Python annotation and whether it may be null."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return arrow_type(args[0])
    if origin is Literal:
        return pa.string(), False
    if origin in (Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        if len(inner) != 1 or len(inner) == len(args):
            raise TypeError(f"{annotation}: only `X | None` unions have an Arrow type")
        return arrow_type(inner[0])[0], True
    if origin is list:
        return pa.list_(arrow_type(args[0])[0]), False
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct([_field(n, f.annotation) for n, f in annotation.model_fields.items()]), False
    return _PRIMITIVES[annotation], False


def _field(name: str, annotation: Any) -> pa.Field:
    kind, nullable = arrow_type(annotation)
    return pa.field(name, kind, nullable=nullable)


@cache
def arrow_schema(record: type[Record]) -> pa.Schema:
    """The Arrow schema of a record, one field per attribute, in declared order."""
    # Delta and DuckDB hand back nullable fields whatever was written, so only the types are fixed here.
    return pa.schema([_field(n, f.annotation).with_nullable(True) for n, f in record.model_fields.items()])


def to_arrow(record: type[Record], rows: Iterable[Record]) -> pa.Table:
    """Records as an Arrow table of `arrow_schema(record)`; lone surrogates become U+FFFD, which Parquet can hold."""
    # Column by column: four times as fast as from rows as dicts, and without their memory.
    listed, schema = list(rows), arrow_schema(record)
    arrays = [
        _array([getattr(row, name) for row in listed], kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_nested(kind):
        values = [_plain(v) for v in values]
    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError:
        return pa.array([_clean(v) for v in values], type=kind)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value
