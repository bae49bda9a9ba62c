"""Tests for the code problems of a file: every line comes back with those that were made for it, in order."""

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataengine.progress import Progress
from dataengine.rewriting import Unreadable, rewritten, taken
from dataengine.sources.files import refuse_unknown
from dataengine.sources.rows import Row, read_rows
from dataengine.verify import sandbox
from dataengine.verify.generated_tests import DROPPED, MadeTests, make_tests
from dataengine.verify.sandbox import Limits, SandboxProblem
from schemas.code_problem import CodeProblem
from schemas.errors import ConfigError

FIELDS = tuple(CodeProblem.model_fields)


@dataclass(frozen=True)
class _Made:
    problem: CodeProblem
    tests: MadeTests


_Outcome = _Made | SandboxProblem | Unreadable


@dataclass
class FileMade:
    """What became of the rows, of the generated inputs and of the incorrect submissions of a file."""

    rows: int = 0
    with_tests: int = 0
    without: int = 0
    errors: int = 0
    unreadable: int = 0
    generated: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    incorrect: int = 0
    submissions: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The conservation lines."""
        dropped = "".join(f" + {self.dropped[r]:,} {r}" for r in DROPPED if self.dropped[r])
        kinds = ("exposed", "survivors", "beyond", "set aside")
        submissions = " + ".join(f"{self.submissions[k]:,} {k}" for k in kinds)
        return [
            f"incorrect      {self.incorrect:>8,} submissions = {submissions}",
            f"inputs         {self.generated:>8,} generated = {self.kept:,} kept{dropped}",
            f"problems       {self.rows:>8,} rows = {self.with_tests:,} with tests + {self.without:,} without + "
            f"{self.errors:,} error + {self.unreadable:,} unreadable",
        ]

    @property
    def balanced(self) -> bool:
        """Whether every row, input and submission is accounted for."""
        return (
            self.rows == self.with_tests + self.without + self.errors + self.unreadable
            and self.generated == self.kept + self.dropped.total()
            and self.incorrect == self.submissions.total()
        )

    def take(self, row: Row, outcome: _Outcome) -> dict[str, Any]:
        """Counts what came of a row and returns the row to be written."""
        self.rows += 1
        if not isinstance(outcome, _Made):
            problem = str(outcome) if isinstance(outcome, SandboxProblem) else outcome.problem
            self.errors += isinstance(outcome, SandboxProblem)
            self.unreadable += isinstance(outcome, Unreadable)
            self.notes.append(f"{row.place}: {problem}")
            return {**row.value, "problem": problem}
        made, verify = outcome.tests, outcome.problem.verify
        report = made.report()
        self.generated += made.generated
        self.kept += len(made.cases)
        self.dropped += made.dropped
        self.incorrect += len(outcome.problem.incorrect)
        aside = [name for name, told in made.programs.items() if name.startswith("incorrect") and "set_aside" in told]
        parts = {"exposed": made.exposed, "survivors": made.survivors, "beyond": made.beyond, "set aside": aside}
        self.submissions.update({kind: len(names) for kind, names in parts.items()})
        if not made.cases:
            self.without += 1
            why = "; ".join(f"{n:,} {reason}: {DROPPED[reason]}" for reason, n in report["dropped"].items())
            self.notes.append(f"{row.place}: no tests, {made.generated:,} inputs = {why}")
            return {**row.value, "made_tests": report}
        self.with_tests += 1
        tests = {
            "language": verify.language,
            "time_limit": verify.time_limit or Limits().seconds,
            **verify.model_dump(mode="json", exclude_defaults=True),
            "cases": [*verify.cases, *made.cases],
        }
        return {**row.value, "verify": tests, "made_tests": report}


def make_tests_file(
    file: Path,
    out: Path,
    *,
    seeds: int = 20,
    most: int = 20,
    workers: int | None = None,
    mapping: Mapping[str, str] | None = None,
) -> FileMade:
    """Makes tests for each row of a file (`CodeProblem`) and writes the rows with `verify` and `made_tests` to `out`.

    `made_tests` is the report: `MadeTests` without the tests. A row that cannot be read, or whose programs cannot be
    run, gets a `problem` instead. `out`, a JSONL file, appears whole or not at all.
    Raises ConfigError for an unknown field or where there is no sandbox, InputError for a file that cannot be read.
    """
    columns = {name: name for name in FIELDS} | dict(mapping or {})
    refuse_unknown(columns, FIELDS)
    if why := sandbox.problem():
        raise ConfigError(f"no program can be run: {why}")
    workers = workers or os.cpu_count() or 1
    stop = threading.Event()

    def problem_of(row: Row) -> CodeProblem:
        needed = {name: row.value[columns[name]] for name in ("generators", "correct")}
        return CodeProblem.model_validate({n: row.value.get(columns[n]) for n in FIELDS} | needed)

    def made(row: Row) -> _Outcome:
        problem = taken(row, problem_of)
        if isinstance(problem, Unreadable):
            return problem
        try:
            return _Made(problem, make_tests(problem, seeds=seeds, most=most, stop=stop))
        except SandboxProblem as e:
            return e

    result = FileMade()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="make-tests")
    try:
        with rewritten(file, out) as write, Progress("make-tests", None) as progress:
            for row, outcome in _in_order(pool, made, read_rows(file), 2 * workers):
                write(result.take(row, outcome))
                progress.advance(1)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return result


def _in_order(
    pool: Executor, work: Callable[[Row], _Outcome], rows: Iterable[Row], at_once: int
) -> Iterator[tuple[Row, _Outcome]]:
    """Each row with what `work` made of it, in order; no more of them are held at once."""
    waiting: deque[tuple[Row, Future[_Outcome]]] = deque()
    for row in rows:
        waiting.append((row, pool.submit(work, row)))
        if len(waiting) == at_once:
            first, future = waiting.popleft()
            yield first, _result(future)
    for first, future in waiting:
        yield first, _result(future)


def _result(future: Future[_Outcome]) -> _Outcome:
    """What a future brings. A signal that another thread has taken is seen by this one only while it is awake."""
    while not wait([future], timeout=1.0).done:
        pass
    return future.result()
