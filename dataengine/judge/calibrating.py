"""A judge asked about cases whose verdict is known, and its figures stored: by the command, and by a recipe's step."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataengine.checks import Opinion
from dataengine.engines.fleet import Fleet
from dataengine.generate import run_id
from dataengine.in_flight import ask_all
from dataengine.judge.calibration import Report
from dataengine.judge.judge import Judge
from dataengine.judge.labels import Labelled, from_file, from_reviews
from dataengine.judge.pair_step import PairAsker
from dataengine.judge.preference import PairJudge, lone_judge
from dataengine.judge.step import Asker, Judged, judge_fleets
from dataengine.progress import Progress
from dataengine.rewriting import rewritten
from dataengine.runlog import RunLog
from schemas.errors import EngineError
from schemas.recipe import CalibrateStep, Recipe
from schemas.records import Calibration
from warehouse.connect import connect, refresh_duckdb_file
from warehouse.store import Warehouse


def calibrate_judge(
    recipe: Recipe,
    name: str,
    path: Path,
    *,
    on: Path | None,
    mapping: Mapping[str, str],
    notes: list[str],
    out: Path | None = None,
) -> Report:
    """Asks a recipe's judge about the cases of the file `on`, or about what people reviewed, and stores the figures.

    The warehouse is made if it is not there; rows of the file that cannot be taken are named in `notes`. What the judge
    said of each case is written to the JSONL file `out`. Raises ConfigError, InputError, EngineError.
    """
    judge = lone_judge(name, recipe)
    cases, gold = from_reviews(judge, path) if on is None else from_file(judge, on, mapping, notes)
    warehouse = Warehouse.open(path, create=True)
    log = warehouse.path / "logs" / f"{run_id()}-calibrate-{name}"
    # An `out` that cannot be is refused before anything is paid for.
    with contextlib.ExitStack() as stack:
        write = None if out is None else stack.enter_context(rewritten(on, out))
        report = calibrate(judge, cases, gold, log)
        warehouse.append("calibrations", [report.record()])
        if write is not None:
            for reply in report.replies():
                write(reply)
    refresh_duckdb_file(warehouse)
    return report


def calibrate_step(
    warehouse: Warehouse, run: RunLog, name: str, step: CalibrateStep, judge: Judge | PairJudge, notes: list[str]
) -> tuple[Calibration, Report | None]:
    """What the step `name` calibrates: the stored figures, and the report where they are new.

    A judge is asked about the same cases once: the key is its version and what the cases hold. Cases that cannot be
    taken are named in `notes`. Raises InputError, ConfigError, EngineError.
    """
    cases, gold = from_file(judge, Path(step.cases).expanduser(), step.map, notes)
    if (known := _stored(warehouse, judge, gold)) is not None:
        return known, None
    run.begin()
    report = calibrate(judge, cases, gold, warehouse.path / "logs" / f"{run.run_id}-{name}")
    record = report.record()
    warehouse.append("calibrations", [record])
    return record, report


def _stored(warehouse: Warehouse, judge: Judge | PairJudge, gold: str) -> Calibration | None:
    with connect(warehouse.path, only=("calibrations",)) as connection:
        cursor = connection.execute(
            "SELECT judge, version, gold, kappa, low, high, n, report, created_at FROM calibrations "
            "WHERE judge = ? AND version = ? AND gold = ?",
            [judge.name, judge.version, gold],
        )
        row = cursor.fetchone()
        names = [column[0] for column in cursor.description or ()]
    return Calibration(**dict(zip(names, row, strict=True))) if row else None


def calibrate(judge: Judge | PairJudge, cases: Sequence[Labelled], gold: str, log: Path) -> Report:
    """Asks the judge about every case. Raises EngineError when one got no reply: figures of the rest would mislead."""
    found: dict[int, Opinion] = {}
    started = time.monotonic()
    counted = asyncio.run(_ask(judge, cases, found, log))
    if counted.failed:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(counted.failed.items()))
        raise EngineError(f"{len(cases) - len(found):,} of {len(cases):,} cases got no reply ({kinds}); run it again")
    return Report(judge, gold, cases, [found[number] for number in range(len(cases))], time.monotonic() - started)


async def _ask(judge: Judge | PairJudge, cases: Sequence[Labelled], found: dict[int, Opinion], log: Path) -> Judged:
    counted = Judged()

    async def windows() -> AsyncIterator[Sequence[int]]:
        yield range(len(cases))

    async def write(rows: list[tuple[int, Opinion]]) -> None:
        found.update(rows)

    fleets: list[Fleet]
    async with judge_fleets(judge, log) as fleets:
        with Progress(f"calibrate {judge.name}", len(cases) * judge.asked) as progress:
            of_pairs = isinstance(judge, PairJudge)
            # The cases are of the judge's kind: `labels` made them for it.
            asker: Any = (PairAsker if of_pairs else Asker)(judge, fleets, progress, counted)  # type: ignore[arg-type]

            async def opinion(number: int) -> tuple[int, Opinion] | None:
                told: Opinion | None = await asker.opinion(cases[number].case)
                return None if told is None else (number, told)

            await ask_all(windows(), len(cases), fleets, opinion, write)
    return counted
