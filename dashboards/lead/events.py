"""The audit log: every event of the table `reviews`, filtered, by pages of a key, and as a file."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from dashboards.lead.context import Rows
from schemas.arrow import arrow_schema
from schemas.records import Review

_KEY = "created_at, number, review_id"
# What a spreadsheet takes for a formula.
_FORMULA = tuple("=+-@\t\r")
_COLUMNS = (
    "created_at, queue, reviewer, role, verdict, tags, note, seconds, coalesce(pair_id, trajectory_id) AS id, attempt, "
    "repeat, guideline, child_id, number, review_id"
)


class Key(NamedTuple):
    """The place of an event in the log, which is in the order of time."""

    at: datetime
    number: int
    review_id: str

    @classmethod
    def read(cls, text: str | None) -> "Key | None":
        """The key that an address holds; None where it holds none."""
        try:
            at, number, review_id = (text or "").split("~")
            moment = datetime.fromisoformat(at)
            return cls(moment if moment.tzinfo else moment.replace(tzinfo=UTC), int(number), review_id)
        except (ValueError, OverflowError):
            return None

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.number}~{self.review_id}"


@dataclass(frozen=True)
class Filter:
    """Which events; what is empty is not asked for. Days are in UTC, both ends included."""

    queue: str = ""
    reviewer: str = ""
    verdict: str = ""
    since: date | None = None
    until: date | None = None
    text: str = ""
    """Stands in the note, or starts the id of a trajectory, a pair or a review."""

    def where(self) -> tuple[str, list[Any]]:
        """As a condition, with its parameters."""
        conditions, parameters = ["true"], list[Any]()
        for column in ("queue", "reviewer", "verdict"):
            if value := getattr(self, column):
                parameters.append(value)
                conditions.append(f"{column} = ${len(parameters)}")
        if self.since is not None:
            parameters.append(_midnight(self.since))
            conditions.append(f"created_at >= ${len(parameters)}")
        if self.until is not None and self.until < date.max:
            parameters.append(_midnight(self.until + timedelta(days=1)))
            conditions.append(f"created_at < ${len(parameters)}")
        if self.text:
            parameters.append(self.text)
            starts = (f"starts_with({c}, ${len(parameters)})" for c in ("trajectory_id", "pair_id", "review_id"))
            conditions.append(f"(contains(lower(note), lower(${len(parameters)})) OR {' OR '.join(starts)})")
        return " AND ".join(conditions), parameters


class Page(NamedTuple):
    """Some events, the latest first, and whether there are newer and older ones."""

    rows: list[dict[str, Any]]
    newer: Key | None
    """Ask for what is newer than this, if there is any."""
    older: Key | None


def page(rows: Rows, wanted: Filter, *, older: Key | None = None, newer: Key | None = None, size: int = 50) -> Page:
    """The events right before `older`, or right after `newer`, or the latest."""
    where, parameters = wanted.where()
    backwards = newer is not None
    at = newer if backwards else older
    if at is not None:
        marks = ", ".join(f"${len(parameters) + i}" for i in (1, 2, 3))
        parameters += at
        where += f" AND ({_KEY}) {'>' if backwards else '<'} ({marks})"
    direction = "ASC" if backwards else "DESC"
    order = ", ".join(f"{column} {direction}" for column in _KEY.split(", "))
    found = rows(f"SELECT {_COLUMNS} FROM reviews WHERE {where} ORDER BY {order} LIMIT {size + 1}", parameters)
    more, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    if not found:
        return Page([], None, None)
    first, last = (Key(r["created_at"], r["number"], r["review_id"]) for r in (found[0], found[-1]))
    if backwards:
        return Page(found, first if more else None, last)
    return Page(found, first if at is not None else None, last if more else None)


def count(rows: Rows, wanted: Filter) -> int:
    """How many events there are."""
    where, parameters = wanted.where()
    return int(rows(f"SELECT count(*) AS n FROM reviews WHERE {where}", parameters)[0]["n"])


def choices(rows: Rows) -> dict[str, list[str]]:
    """The queues, reviewers and verdicts that the log has."""
    return {
        column: [r[column] for r in rows(f"SELECT DISTINCT {column} FROM reviews WHERE {column} <> '' ORDER BY 1", [])]
        for column in ("queue", "reviewer", "verdict")
    }


def all_events(rows: Rows, wanted: Filter) -> list[dict[str, Any]]:
    """Every column of every event, the first first: what a file holds."""
    where, parameters = wanted.where()
    return rows(f"SELECT * FROM reviews WHERE {where} ORDER BY {_KEY}", parameters)


def as_csv(events: Sequence[Mapping[str, Any]]) -> bytes:
    """For spreadsheets: tags as JSON, and an apostrophe before what one would take for a formula."""
    text = io.StringIO()
    names = list(Review.model_fields)
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for event in _plain(events):
        event["tags"] = json.dumps(event["tags"], ensure_ascii=False)
        writer.writerow({k: f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA) else v for k, v in event.items()})
    return text.getvalue().encode()


def as_jsonl(events: Sequence[Mapping[str, Any]]) -> bytes:
    """A JSON object a line."""
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in _plain(events)).encode()


def as_parquet(events: Sequence[Mapping[str, Any]]) -> bytes:
    """As the table `reviews` is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(events), schema=arrow_schema(Review)), file, compression="zstd")
    return file.getvalue()


#: By the ending of the file: how it is written, and of what kind it is.
FORMS: dict[str, tuple[Callable[[Sequence[Mapping[str, Any]]], bytes], str]] = {
    "csv": (as_csv, "text/csv"),
    "jsonl": (as_jsonl, "application/x-ndjson"),
    "parquet": (as_parquet, "application/vnd.apache.parquet"),
}


def _plain(events: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events:
        yield {k: v.isoformat() if isinstance(v, datetime) else v for k, v in event.items()}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
