"""The exceptions a user can cause; each carries one line that names the cause and the way out.

UserError
├── ConfigError          a recipe, mix, training file or option is wrong
├── InputError           a data file cannot be read as what it was said to be
├── WarehouseError       the folder is no warehouse, or of another version
│   └── WarehouseTooNew
├── QueryError           SQL that is wrong, or that would do more than read
├── SnapshotError        a snapshot is missing, damaged or cannot be made
│   └── JudgeNotCalibrated
├── EngineError          a model cannot be found, started or reached
└── RewardError          a reward function raises, or returns what is no reward
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """A problem the user can mend: shown as one line, exit code 2."""


class ConfigError(UserError):
    """A recipe, mix, training configuration or command option is wrong."""


class InputError(UserError):
    """A data file is missing, unreadable or not of the expected shape."""


class WarehouseError(UserError):
    """The folder is not a warehouse, or cannot be used as one."""


class WarehouseTooNew(WarehouseError):
    """The warehouse was written by a later version of this program."""


class QueryError(UserError):
    """SQL that does not parse, fails, or would do more than read."""


class SnapshotError(UserError):
    """A snapshot is missing, damaged or cannot be made."""


class JudgeNotCalibrated(SnapshotError):
    """A mix or evaluation goes by a judge that has said nothing, or has not shown to agree with known verdicts."""


class EngineError(UserError):
    """A model cannot be found, started or reached."""


class RewardError(UserError):
    """A reward function raises, or returns what is no reward."""


def first_problem(error: "ValidationError", *within: object) -> str:
    """Where the first thing is that is wrong, inside of `within`, and what: on one line."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, (*within, *first['loc'])))}: {first['msg']}"
