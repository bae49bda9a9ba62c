"""How the columns of trajectory_facts are called that hold a check's verdict."""

from schemas.records import Prompt, Trajectory
from warehouse.quoting import identifier

_TAKEN = {*Trajectory.model_fields, *Prompt.model_fields}


def outcome_column(check: str) -> str:
    """The quoted column of a check's outcome: its name, or `language_outcome` where the row has such a column."""
    return identifier(f"{check}_outcome" if check in _TAKEN else check)


def score_column(check: str) -> str:
    """The quoted column of its score."""
    return identifier(f"{check}_score")
