"""Rows of anybody's JSONL, JSON, TSV or Parquet file, one at a time; what cannot be read is named, never fatal."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from schemas.errors import InputError

_MOST_BYTES = 256 << 20
_ENDINGS = ".jsonl, .json, .tsv or .parquet, each but Parquet also with .gz"


@dataclass(frozen=True)
class Row:
    """A row and its place (`file:line`); `problem` says why there is no value."""

    place: str
    value: dict[str, Any]
    problem: str | None = None


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Row]:
    """The rows of a file in order. `columns` names those of a TSV file, which has no header.

    A line that is torn, not UTF-8 or no JSON object comes back as a row with a `problem`. Raises InputError for a file
    that is missing, empty, or of an unknown kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    kinds = [s for s in path.suffixes if s != ".gz"]
    kind = kinds[-1] if kinds else ""
    if kind == ".parquet":
        yield from _parquet(path)
    elif kind in (".jsonl", ".ndjson"):
        yield from _lines(path, _json_object)
    elif kind == ".json":
        yield from _array(path)
    elif kind == ".tsv" and columns:
        yield from _lines(path, lambda text: _fields(text, columns))
    else:
        raise InputError(f"{path}: unknown kind of file; there are {_ENDINGS}")


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _lines(path: Path, parse: Any) -> Iterator[Row]:
    number = 0
    with _open(path) as file:
        while True:
            number += 1
            place = f"{path.name}:{number}"
            try:
                line = file.readline(_MOST_BYTES)
            except (OSError, EOFError) as e:
                yield Row(place, {}, f"the file ends in the middle: {e}")
                return
            if not line:
                return
            if not line.strip():
                continue
            torn = "" if line.endswith(b"\n") else " (the last line; was the file cut off?)"
            try:
                yield Row(place, parse(line.decode("utf-8")))
            except UnicodeDecodeError as e:
                yield Row(place, {}, f"not UTF-8 at byte {e.start} of the line{torn}")
            except ValueError as e:
                yield Row(place, {}, f"{e}{torn}")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"no JSON: {e.msg} at column {e.colno}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if not isinstance(value, dict):
        # ValueError like the others here: it is the line that is wrong, not a caller
        raise ValueError(f"a JSON {type(value).__name__}, not an object")
    return value


def _fields(text: str, columns: list[str]) -> dict[str, Any]:
    values = text.rstrip("\r\n").split("\t")
    if len(values) != len(columns):
        raise ValueError(f"{len(values)} fields, not {len(columns)}")
    return dict(zip(columns, values, strict=True))


def _array(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        try:
            values = json.loads(file.read().decode("utf-8"))
        except (ValueError, OSError, EOFError, RecursionError) as e:
            raise InputError(f"{path}: no JSON: {e}") from None
    if isinstance(values, dict) and isinstance(values.get("examples"), list):
        values = values["examples"]  # BIG-bench: the rows beside a notice
    if not isinstance(values, list):
        raise InputError(f"{path}: a JSON {type(values).__name__}, not a list of objects")
    for number, value in enumerate(values, start=1):
        place = f"{path.name}:[{number}]"
        yield Row(place, value) if isinstance(value, dict) else Row(place, {}, "not an object")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(f"{path.name}:{number}", value)
    except (pa.ArrowException, OSError) as e:
        raise InputError(f"{path}: no readable Parquet: {str(e).splitlines()[0]}") from None
