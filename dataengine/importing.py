"""Files into the warehouse: prompts, finished trajectories, pairs of them, or what people said of trajectories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from dataengine.checking import Checked, load_checks
from dataengine.generate import run_id
from dataengine.pair_import import find_pairs, take_pairs
from dataengine.reusing import find_replies, take_replies
from dataengine.review_import import import_reviews
from dataengine.reviewing import settle
from dataengine.runlog import RunLog
from dataengine.sources.files import prompts_of
from schemas.errors import ConfigError
from schemas.recipe import FileSpec, ImportStep
from schemas.records import Stage
from warehouse.connect import connect, refresh_duckdb_file
from warehouse.store import Warehouse

_BATCH = 2000
KINDS = ("prompts", "trajectories", "pairs", "reviews")


@dataclass
class Imported:
    """What became of the rows of a file."""

    kind: str
    read: int = 0
    added: int = 0
    known: int = 0
    over: int = 0
    conflicts: int = 0
    notes: list[str] = field(default_factory=list)
    checked: Checked = field(default_factory=Checked)

    @property
    def line(self) -> str:
        """The conservation line."""
        left_out = len(self.notes)
        verdict = "" if self.read == self.added + self.known + self.over + left_out else "  DOES NOT ADD UP"
        over = f"{self.over:,} over --max-rows + " if self.over else ""
        told = f"; {self.conflicts} prompts now have conflicting references" if self.conflicts else ""
        return (
            f"{self.kind}: {self.read:,} rows = {self.added:,} added + {self.known:,} there before + "
            f"{over}{left_out:,} left out{verdict}{told}"
        )


def import_file(
    path: Path,
    spec: FileSpec,
    kind: str,
    *,
    stage: str,
    policy: str,
    checks: Sequence[str] = (),
    max_rows: int | None = None,
) -> Imported:
    """Takes the rows of a file into a warehouse, made if it is not there.

    Rows that cannot be taken are left out and named in `notes`. A row that is there already changes nothing, so the
    same import can be repeated. Trajectories, those of pairs too, are given the verdicts of `checks` that they lack.
    Raises ConfigError or InputError when nothing can be taken at all.
    """
    if kind not in KINDS:
        raise ConfigError(f"--as {kind}: there are {', '.join(KINDS)}")
    if stage not in get_args(Stage):
        raise ConfigError(f"--stage {stage}: there are {', '.join(get_args(Stage))}")
    if checks and kind not in ("trajectories", "pairs"):
        raise ConfigError(f"--with: {kind} have nothing to check; leave it out")
    if max_rows is not None and kind != "trajectories":
        raise ConfigError(f"--max-rows: {kind} are taken all; leave it out")
    if kind == "reviews":
        return _reviews(Warehouse.open(path), spec)
    result = Imported(kind)
    if kind == "prompts":
        prepared = _prompts(spec, result)
    else:
        step = ImportStep(
            kind="import",
            stage=stage,  # type: ignore[arg-type]  # looked at above
            policy=policy,
            checks=list(dict.fromkeys(checks)),
            max_rows=max_rows,
            **spec.model_dump(include=set(FileSpec.model_fields)),
        )
        load_checks(step.check_specs)
        prepared = _trajectories(step, result) if kind == "trajectories" else _pairs(step, result)
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


def _prompts(spec: FileSpec, result: Imported) -> _Writer:
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


def _trajectories(step: ImportStep, result: Imported) -> _Writer:
    found = find_replies(step)
    result.read, result.notes, result.over = found.read, found.notes, found.over

    def write(warehouse: Warehouse, log: RunLog) -> None:
        taken = take_replies(warehouse, log, "import", step, found)
        result.added, result.checked = taken.added, taken.checked
        result.known = found.repeated + len(found.prompts) - taken.added

    return write


def _pairs(step: ImportStep, result: Imported) -> _Writer:
    found = find_pairs(step)
    result.read, result.notes = found.read, found.notes

    def write(warehouse: Warehouse, log: RunLog) -> None:
        taken = take_pairs(warehouse, log, step, found)
        result.added, result.checked = taken.added, taken.checked
        result.known = found.repeated + len(found.preferences) - taken.added

    return write


def _reviews(warehouse: Warehouse, spec: FileSpec) -> Imported:
    """Into the journal and from there into the tables; what was left in the journal before comes along."""
    result = Imported("reviews")
    result.read, result.added, result.known = import_reviews(warehouse, spec, result.notes)
    if settle(warehouse).worked:
        warehouse.compact()
        refresh_duckdb_file(warehouse)
    return result


def _conflicts(warehouse: Warehouse) -> int:
    with connect(warehouse.path, only=("prompts_current",)) as connection:
        row = connection.execute("SELECT count(*) FROM prompts_current WHERE conflict").fetchone()
    return int(row[0]) if row else 0
