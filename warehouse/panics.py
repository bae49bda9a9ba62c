"""Keeps what threads of a library print when they panic off the screen; the error that comes of it is told."""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PANIC = re.compile(rb"\n?thread '[^\n]*panicked at .*?(?:\nnote: run with `RUST_BACKTRACE[^\n]*\n|\Z)", re.DOTALL)

# There is one stderr for all threads: each would take another's for the screen.
_ALONE = threading.Lock()


@contextmanager
def without_panics() -> Iterator[None]:
    """What deltalake says of a full disk, say, comes to the caller as an error, and beside it Rust prints a panic.

    That goes past Python, to the process's own stderr; whatever else is printed there meanwhile is printed at the end.
    """
    if sys.stderr is None:  # a process without one, to which nothing is printed
        yield
        return
    with _ALONE, tempfile.TemporaryFile() as said:
        sys.stderr.flush()
        screen = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            said.seek(0)
            os.write(2, _PANIC.sub(b"", said.read()))
