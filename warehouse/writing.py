"""What may go wrong while files are written, told in one line that names the way out."""

import errno
import os
import re
from pathlib import Path

import duckdb
from deltalake.exceptions import DeltaError

from schemas.errors import UserError

#: What reading and writing may raise, by Python, DuckDB and Delta. SQL that is wrong is not among them.
IO_ERRORS = (
    *(OSError, DeltaError),
    *(duckdb.IOException, duckdb.InvalidInputException, duckdb.OutOfMemoryException, duckdb.TransactionException),
)

_SPACE = "free some space and run the same command again"
_RIGHT = "name a folder that you may write to, or ask for the right to"
_WAYS_OUT = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "lift the limit on the size of files and run the same command again",
    errno.EROFS: "name a folder on a disk that can be written",
    errno.EACCES: _RIGHT,
    errno.EPERM: _RIGHT,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "name another folder",
    errno.EEXIST: "name a new folder",
    errno.ENOTEMPTY: "name a new folder",
    errno.EIO: "the disk may be failing: copy what is there, and look at the system's log",
}


def refusal(error: BaseException) -> str | None:
    """What the system refused and what helps, as `No space left on device; free some ...`; None for other faults."""
    number = error.errno if isinstance(error, OSError) else None
    if number not in _WAYS_OUT:
        # Native libraries hand on the system's words alone.
        number = next((known for known in _WAYS_OUT if os.strerror(known) in str(error)), None)
    return None if number is None else f"{os.strerror(number)}; {_WAYS_OUT[number]}"


def io_error(error: BaseException, what: Path, kind: type[UserError]) -> UserError:
    """One of IO_ERRORS, which came up while `what` was written, as an error of that kind."""
    if refused := refusal(error):
        return kind(f"{what}: cannot be written: {refused}")
    if isinstance(error, duckdb.OutOfMemoryException):
        return kind(f"{what}: memory does not suffice: {in_words(error)}; set DATAENGINE_MEMORY to more, or free space")
    return kind(f"{what}: cannot be made: {in_words(error)}")


def in_words(error: BaseException) -> str:
    """What a library says, on one line and without colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()
    return " ".join((lines[0] if isinstance(error, duckdb.Error) else " ".join(lines)).split())[-300:]


def fsync(path: Path) -> None:
    """Has a file, or the names in a folder, on the disk before it returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
