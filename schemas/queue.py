"""A review queue: what people are asked to look at, how many of them, and by which guideline."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from schemas.keys import key
from schemas.yaml_file import load_yaml

# Digits pick reasons, and the keyboard has nine beside 0.
MOST_REASONS = 9
# The journal holds no lease that ends later.
MOST_LEASE = 3600
_BEFORE_SQL = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_SELECTS = re.compile(r"(?:select|with|from)\b", re.IGNORECASE)

Rows = Literal["attempts", "pairs"]
Kind = Literal["review", "adjudicate"]
Code = Annotated[str, StringConstraints(pattern="^[a-z_]{1,40}$")]


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("the guideline is empty; say what to look for, and what to do then")
    return text


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("a title, and what a reason says, is one line of printable characters")
    return text


def _selects(sql: str) -> str:
    """Whether it is one statement, and one that only reads, is DuckDB's to say: when the queue is filled."""
    if not _SELECTS.match(sql, _BEFORE_SQL.match(sql).end()):  # type: ignore[union-attr] # matches always
        raise ValueError("the queue's sql is one SELECT that gives a trajectory_id, or a pair_id, per row")
    return sql


class Queue(BaseModel):
    """A named list of attempts or pairs that people look at, given by SQL."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
    queue: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,59}$", description="the queue's name: a-z, 0-9 and -")
    title: Annotated[str, AfterValidator(_one_line), Field(max_length=100)]
    rows: Rows = Field(default="attempts", description="what is looked at: single replies, or two to one prompt")
    kind: Kind = Field(
        default="review", description="adjudicate: only adjudicators, who see what others said and decide alone"
    )
    sql: Annotated[str, AfterValidator(_selects)] = Field(
        description="one SELECT over the warehouse whose column trajectory_id (of pairs: pair_id) names what to look at"
    )
    reviewers: int = Field(default=1, ge=1, le=9, description="how many people look at each: exactly so many")
    order: Literal["random", "given"] = Field(
        default="random", description="random: drawn by hash, the same for everybody; given: as the SQL orders them"
    )
    edit: bool = Field(default=True, description="whether people may edit what they see; never of pairs")
    lease: int = Field(
        default=900, ge=1, le=MOST_LEASE, description="seconds for which an item is somebody's who opened it"
    )
    gold: float = Field(
        default=0.0, ge=0, le=0.5, description="share of tasks that are gold items, whose right answer is known"
    )
    repeats: float = Field(
        default=0.0, ge=0, le=0.5, description="share of tasks that a person is given a second time, blind"
    )
    guideline: Annotated[str, AfterValidator(_said), Field(max_length=20_000)] = Field(
        description="Markdown that stands beside the task: what to look for, and what to do then"
    )
    reasons: dict[Code, Annotated[str, AfterValidator(_one_line), Field(max_length=80)]] = Field(
        default_factory=dict,
        max_length=MOST_REASONS,
        description="{code: what it says}: why something is rejected; the digits 1 to 9 pick them",
    )

    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _pairs_have_no_edits(cls, value: Any) -> Any:
        return {"edit": False, **value} if isinstance(value, dict) and value.get("rows") == "pairs" else value

    @model_validator(mode="after")
    def _fits_together(self) -> "Queue":
        if self.rows == "pairs" and self.edit:
            raise ValueError("edit is for rows: attempts; of a pair one is preferred")
        if self.rows == "attempts" and not self.reasons:
            raise ValueError("reasons are missing: who rejects a reply says why, by one of their codes")
        if self.kind == "adjudicate" and (self.reviewers != 1 or self.gold or self.repeats):
            raise ValueError("an adjudicator decides alone: reviewers is 1, gold and repeats are 0")
        return self

    @property
    def guideline_version(self) -> str:
        """12 hex digits of a hash of the guideline and its reasons: what a review was made by."""
        return key(self.guideline, self.reasons)[:12]

    @property
    def file(self) -> Path | None:
        """Where it stands, if it was read from a file."""
        return self._file

    @classmethod
    def load(cls, file: Path) -> "Queue":
        """The queue that a file holds. Raises ConfigError."""
        queue = load_yaml(file, cls)
        queue._file = file
        return queue

    @property
    def id_column(self) -> str:
        """The column of its SQL that names what is looked at."""
        return "pair_id" if self.rows == "pairs" else "trajectory_id"
