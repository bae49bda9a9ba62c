"""Files into the warehouse: prompts, finished trajectories with their prompts, or what people said of trajectories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from dataengine.checking import Checked, run_checks
from dataengine.checks import Check, load_check
from dataengine.generate import run_id
from dataengine.prompting import take_apart
from dataengine.review_import import import_reviews
from dataengine.reviewing import settle
from dataengine.runlog import RunLog
from dataengine.sources.files import prompt_of, prompts_of, reader_of, reason_of
from dataengine.sources.rows import read_rows
from schemas.errors import ConfigError, InputError
from schemas.keys import key
from schemas.recipe import FileSource
from schemas.records import Prompt, Stage, Trajectory, now
from warehouse.connect import connect, refresh_duckdb_file
from warehouse.store import Warehouse

_BATCH = 2000
KINDS = ("prompts", "trajectories", "reviews")


@dataclass
class Imported:
    """What became of the rows of a file."""

    kind: str
    read: int = 0
    added: int = 0
    known: int = 0
    conflicts: int = 0
    notes: list[str] = field(default_factory=list)
    checked: Checked = field(default_factory=Checked)

    @property
    def line(self) -> str:
        """The conservation line."""
        left_out = len(self.notes)
        verdict = "" if self.read == self.added + self.known + left_out else "  DOES NOT ADD UP"
        told = f"; {self.conflicts} prompts now have conflicting references" if self.conflicts else ""
        return (
            f"{self.kind}: {self.read:,} rows = {self.added:,} added + {self.known:,} there before + "
            f"{left_out:,} left out{verdict}{told}"
        )


def import_file(
    path: Path, spec: FileSource, kind: str, *, stage: str, policy: str, checks: Sequence[str] = ()
) -> Imported:
    """Takes the rows of a file into a warehouse, made if it is not there.

    Rows that cannot be taken are left out and named in `notes`. A row that is there already changes nothing, so the
    same import can be repeated. Trajectories are given the verdicts of `checks` that they lack. Raises ConfigError or
    InputError when nothing can be taken at all.
    """
    if kind not in KINDS:
        raise ConfigError(f"--as {kind}: there are {', '.join(KINDS)}")
    if stage not in get_args(Stage):
        raise ConfigError(f"--stage {stage}: there are {', '.join(get_args(Stage))}")
    if checks and kind != "trajectories":
        raise ConfigError(f"--with: {kind} have nothing to check; leave it out")
    if kind == "reviews":
        return _reviews(Warehouse.open(path), spec)
    result = Imported(kind)
    if kind == "prompts":
        prepared = _prompts(spec, result)
    else:
        loaded = [load_check(name) for name in dict.fromkeys(checks)]
        prepared = _trajectories(spec, result, stage, policy, loaded)
    warehouse = Warehouse.open(path, create=True)
    before = _conflicts(warehouse)
    log = RunLog(warehouse, run_id(), f"import-{kind}", spec.model_dump(mode="json", exclude={"path"}), [])
    prepared(warehouse, log)
    log.end("finished", {"added": result.added})
    result.conflicts = _conflicts(warehouse) - before
    if result.added or result.checked.total:
        warehouse.compact()
        refresh_duckdb_file(warehouse)
    return result


_Writer = Callable[[Warehouse, RunLog], None]


def _prompts(spec: FileSource, result: Imported) -> _Writer:
    found = prompts_of(spec)
    result.read, result.notes = found.read, found.notes

    def write(warehouse: Warehouse, log: RunLog) -> None:
        for start in range(0, len(found.prompts), _BATCH):
            done = warehouse.append("prompts", found.prompts[start : start + _BATCH])
            result.added += len(done.added)
            result.known += done.known
        if result.added:
            log.begin()

    return write


def _trajectories(spec: FileSource, result: Imported, stage: str, policy: str, checks: Sequence[Check]) -> _Writer:
    path = Path(spec.path).expanduser()
    (name,) = spec.names
    fields_of = reader_of(spec)
    taken: list[tuple[Prompt, dict[str, Any], str]] = []
    for row in read_rows(path):
        result.read += 1
        try:
            if row.problem:
                raise ValueError(row.problem)
            fields = fields_of(row.value)
            if not isinstance(fields.get("response"), str):
                raise ValueError("there is no text in the field `response`; name its column with --map response=COLUMN")
            taken.append((prompt_of(fields, name, row.place, spec.license), fields, row.place))
        except (ValueError, KeyError, TypeError) as e:
            result.notes.append(f"{row.place}: left out: {reason_of(e, row.value)}")
    if not taken:
        detail = f"; first problem: {result.notes[0]}" if result.notes else ""
        raise InputError(f"{path}: no trajectory in it{detail}")

    def write(warehouse: Warehouse, log: RunLog) -> None:
        log.begin()
        ids: list[str] = []
        for start in range(0, len(taken), _BATCH):
            batch = taken[start : start + _BATCH]
            warehouse.append("prompts", [prompt for prompt, _, _ in batch])
            rows = [_trajectory(prompt, fields, stage, policy, log.run_id) for prompt, fields, _ in batch]
            ids += [row.trajectory_id for row in rows]
            done = warehouse.append("trajectories", rows)
            result.added += len(done.added)
            result.known += done.known
        try:
            result.checked = run_checks(warehouse, log.run_id, checks, ids, "import")
        finally:
            for check in checks:
                check.close()

    return write


def _reviews(warehouse: Warehouse, spec: FileSource) -> Imported:
    """Into the journal and from there into the tables; what was left in the journal before comes along."""
    result = Imported("reviews")
    result.read, result.added, result.known = import_reviews(warehouse, spec, result.notes)
    if settle(warehouse).worked:
        warehouse.compact()
        refresh_duckdb_file(warehouse)
    return result


def _trajectory(prompt: Prompt, fields: dict[str, Any], stage: str, policy: str, run: str) -> Trajectory:
    text = fields["response"]
    parts = take_apart(text)
    rendered_key = key([m.model_dump() for m in prompt.messages])
    # How it was sampled is unknown, so the text itself tells samples of one prompt apart.
    trajectory_id = key(prompt.prompt_id, stage, rendered_key, policy, {"imported": text}, 0, None)
    return Trajectory(
        trajectory_id=trajectory_id,
        prompt_id=prompt.prompt_id,
        stage=stage,  # type: ignore[arg-type]  # checked above
        policy=policy,
        engine="import",
        sampling="{}",
        sample_index=0,
        rendered_key=rendered_key,
        reasoning=parts.reasoning,
        answer=parts.answer,
        text=text,
        finish_reason="unknown",
        run_id=run,
        created_at=now(),
    )


def _conflicts(warehouse: Warehouse) -> int:
    with connect(warehouse.path) as connection:
        row = connection.execute("SELECT count(*) FROM prompts_current WHERE conflict").fetchone()
    return int(row[0]) if row else 0
