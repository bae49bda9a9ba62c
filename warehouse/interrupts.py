"""Ctrl-C in the middle of a query."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises KeyboardInterrupt where DuckDB, which takes the signal while it works, raises a RuntimeError instead."""
    try:
        yield
    except RuntimeError as e:
        if type(e) is not RuntimeError or str(e) != "Query interrupted":
            raise
        raise KeyboardInterrupt from e
