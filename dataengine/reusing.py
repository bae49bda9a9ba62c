"""Replies that somebody has already: taken from a file as they are, with their prompts, and checked."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dataengine.checking import Checked, check_missing
from dataengine.generate import insert_ids
from dataengine.progress import Progress
from dataengine.prompting import take_apart
from dataengine.runlog import RunLog
from dataengine.sources.chats import CHATS, COLUMNS, answered
from dataengine.sources.files import prompt_of, reader_of, reason_of
from dataengine.sources.rows import read_rows
from schemas.errors import InputError
from schemas.keys import canonical_json, key
from schemas.recipe import ImportStep
from schemas.records import Prompt, Stage, Trajectory, now
from warehouse.connect import connect
from warehouse.store import Warehouse

_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a file, to one prompt."""

    prompt: Prompt
    text: str
    stage: Stage
    policy: str
    name: str
    """Of the file; changes no answer, so it is in the row and not in the key."""
    trajectory_id: str
    rendered_key: str

    @classmethod
    def make(cls, prompt: Prompt, text: str, stage: Stage, policy: str, name: str) -> "Reply":
        """A reply with its keys worked out."""
        rendered = key([m.model_dump() for m in prompt.messages])
        # How it was sampled is unknown, so the text itself tells samples of one prompt apart.
        made = key(prompt.prompt_id, stage, rendered, policy, {"imported": text}, 0, None)
        return cls(prompt, text, stage, policy, name, made, rendered)

    def row(self, run_id: str) -> Trajectory:
        """The reply as a row."""
        parts = take_apart(self.text)
        return Trajectory(
            trajectory_id=self.trajectory_id,
            prompt_id=self.prompt.prompt_id,
            stage=self.stage,
            policy=self.policy,
            engine="import",
            sampling=canonical_json({"imported": self.name}),
            sample_index=0,
            rendered_key=self.rendered_key,
            reasoning=parts.reasoning,
            answer=parts.answer,
            text=self.text,
            finish_reason="unknown",
            run_id=run_id,
            created_at=now(),
        )


class _Replies:
    """The replies of a file in order; counts the rows that were read, and names those that hold none."""

    def __init__(self, step: ImportStep) -> None:
        self._step = step
        self._fields_of = reader_of(step)
        self.path = Path(step.path).expanduser()
        self.read = 0
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[Reply]:
        step = self._step
        (name,) = step.names
        for row in read_rows(self.path):
            self.read += 1
            try:
                if row.problem:
                    raise ValueError(row.problem)
                fields = self._fields_of(row.value)
                if step.layout in CHATS and "response" not in fields:
                    fields["messages"], fields["response"] = answered(fields["messages"])
                text = fields.get("response")
                if not isinstance(text, str):
                    raise ValueError(_no_response(row.value))
                prompt = prompt_of(fields, name, row.place, step.license)
            except (ValueError, KeyError, TypeError) as e:
                self.notes.append(f"{row.place}: left out: {reason_of(e, row.value)}")
                continue
            yield Reply.make(prompt, text, step.stage, step.policy, name)


def _no_response(row: Mapping[str, Any]) -> str:
    layout = next((name for name, column in COLUMNS.items() if column in row), None)
    hint = f"name its column with --map response=COLUMN, or the layout of the file: {layout}"
    return f"there is no text in the field `response`; {hint if layout else hint.partition(',')[0]}"


@dataclass
class Found:
    """What a file holds for an import: read = the replies + `repeated` + `over` + as many as there are `notes`."""

    prompts: dict[str, Prompt]
    """The prompts of the replies that are to be taken, by trajectory id, in the order of the file."""
    read: int
    repeated: int
    """Replies that the file holds before."""
    over: int
    """Replies over `max_rows`."""
    notes: list[str]

    @property
    def ids(self) -> list[str]:
        """The trajectories' ids."""
        return list(self.prompts)

    @property
    def text(self) -> str:
        """In words; the parts add up to the rows of the file."""
        others = [(self.repeated, "said twice"), (self.over, "over max_rows"), (len(self.notes), "left out")]
        parts = [f"{len(self.prompts):,} wanted", *(f"{count:,} {what}" for count, what in others if count)]
        return f"{self.read:,} rows = {' + '.join(parts)}"


def find_replies(step: ImportStep, limit: int | None = None) -> Found:
    """Reads the file of an import once, without holding its replies.

    Of more than `max_rows`, or `limit`, those with the smallest ids are chosen, and an id is a hash. Raises ConfigError
    or InputError for a file that holds nothing to take.
    """
    replies = _Replies(step)
    most = min((n for n in (step.max_rows, limit) if n is not None), default=None)
    found: dict[str, Prompt] = {}
    repeated = 0
    for reply in replies:
        repeated += reply.trajectory_id in found
        found.setdefault(reply.trajectory_id, reply.prompt)
        if most is not None and len(found) >= 2 * most + _BATCH:
            found = _smallest(found, most)
    if not found:
        detail = f"; first problem: {replies.notes[0]}" if replies.notes else ""
        raise InputError(f"{replies.path}: no trajectory in it{detail}")
    if most is not None:
        found = _smallest(found, most)
    over = replies.read - len(replies.notes) - repeated - len(found)
    return Found(found, replies.read, repeated, over, replies.notes)


def _smallest(found: dict[str, Prompt], most: int) -> dict[str, Prompt]:
    chosen = set(heapq.nsmallest(most, found))
    return {ident: prompt for ident, prompt in found.items() if ident in chosen}


@dataclass
class Taken:
    """What an import did."""

    added: int
    checked: Checked


def take_replies(warehouse: Warehouse, run: RunLog, label: str, step: ImportStep, found: Found) -> Taken:
    """Does what is left of an import: replies and verdicts that are there already cost a look.

    The file is read once more for those replies that are missing. May be killed anywhere and called again.
    """
    missing = missing_replies(warehouse.path, found.ids)
    if missing:
        run.begin()
    prompts = iter(found.prompts.values())
    while batch := list(islice(prompts, _BATCH)):
        if warehouse.append("prompts", batch).added:
            run.begin()
    added = _write(warehouse, run, label, step, missing) if missing else 0
    return Taken(added, check_missing(warehouse, run, label, step.check_specs, found.ids))


def missing_replies(path: Path, ids: Sequence[str]) -> set[str]:
    """Those of the trajectories `ids` that the warehouse does not hold."""
    with connect(path, only=("trajectories",)) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, ids)
        rows = connection.execute("SELECT trajectory_id FROM wanted ANTI JOIN trajectories USING (trajectory_id)")
        return {row[0] for row in rows.fetchall()}


def _write(warehouse: Warehouse, run: RunLog, label: str, step: ImportStep, missing: set[str]) -> int:
    """Writes the replies that are missing; how many were added."""
    added = 0
    replies = (reply for reply in _Replies(step) if reply.trajectory_id in missing)
    with Progress(label, len(missing)) as progress:
        while batch := {reply.trajectory_id: reply for reply in islice(replies, _BATCH)}:
            missing -= batch.keys()
            added += len(warehouse.append("trajectories", [r.row(run.run_id) for r in batch.values()]).added)
            progress.advance(len(batch))
    return added
