"""A file's rows, each written out again with what was found: what the commands over anybody's file have in common."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dataengine.sources.files import reason_of
from dataengine.sources.rows import Row
from schemas.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Unreadable:
    """Why a row is none."""

    problem: str


def taken(row: Row, make: Callable[[Row], T]) -> T | Unreadable:
    """What `make` makes of a row, or why it makes nothing."""
    if row.problem:
        return Unreadable(row.problem)
    try:
        return make(row)
    except (KeyError, ValueError, TypeError) as e:
        return Unreadable(reason_of(e, row.value))


def canonical_row(value: Mapping[str, Any]) -> str:
    """A row as one line of JSON, its fields in the order they came."""
    return json.dumps(value, ensure_ascii=False, default=str)


@contextlib.contextmanager
def rewritten(file: Path | None, out: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes a row to the JSONL file `out`, which appears whole at the end or not at all.

    Raises ConfigError where `out` is the input file, if there is one, or cannot be written.
    """
    if file is not None and out.resolve() == file.resolve():
        raise ConfigError(f"--out {out}: is the input file; name another")
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file")
    work = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work.touch()
    except OSError as e:
        raise ConfigError(f"--out {out}: {(e.strerror or str(e)).lower()}; name another") from None
    try:
        with work.open("w", encoding="utf-8", errors="backslashreplace") as target:
            yield lambda value: print(canonical_row(value), file=target)
        work.replace(out)
    finally:
        work.unlink(missing_ok=True)
