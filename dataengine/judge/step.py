"""A judge asked about what it has not judged: of trajectories in the warehouse, or of cases from anywhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import duckdb

from dataengine.checking import Checked, wanted_trajectories
from dataengine.checks import Opinion, metadata_of
from dataengine.engines.fleet import Fleet
from dataengine.in_flight import ask_all
from dataengine.judge.judge import AnyJudge, Case, Judge, question_of
from dataengine.progress import Progress
from dataengine.runlog import RunLog
from schemas.keys import canonical_json
from schemas.recipe import Scope, Share
from schemas.records import Message, Verdict, now
from warehouse.store import Warehouse

# Cases that are read at once while others are asked about.
_WINDOW = 512

T = TypeVar("T")


@dataclass
class Judged:
    """What a judge step did."""

    asked: int = 0
    """Trajectories that it was asked about, or draws of pairs."""
    failed: dict[str, int] = field(default_factory=dict)
    """Those that it gave no verdict on since a request failed, by kind of failure: the next run asks again."""
    checked: Checked = field(default_factory=Checked)

    @property
    def missing(self) -> int:
        """How many verdicts are missing."""
        return sum(self.failed.values())

    def fail(self, error: str) -> None:
        """Counts one."""
        kind = error.partition(":")[0]
        self.failed[kind] = self.failed.get(kind, 0) + 1


class Asker:
    """Puts cases to a judge's engines; may be called from many tasks. `failed` counts replies that never came."""

    def __init__(self, judge: Judge, fleets: Sequence[Fleet], progress: Progress, failed: Judged) -> None:
        self._judge = judge
        self._fleets = fleets
        self._progress = progress
        self._failed = failed

    async def opinion(self, case: Case) -> Opinion | None:
        """The judge's opinion; None when a request failed for good: what is missing is asked for again, not made up."""
        if (known := self._judge.unasked(case)) is not None:
            self._progress.advance(self._judge.asked)
            return known
        asked = self._judge.requests(case)
        for _ in asked:
            self._progress.started()
        replies = await asyncio.gather(*(self._fleets[number].complete(request) for number, request in asked))
        for reply in replies:
            self._progress.finished(reply.completion_tokens or 0, reply.error)
        errors = [reply.error for reply in replies if reply.error is not None]
        if errors:
            self._failed.fail(errors[0])
            return None
        return self._judge.opinion(replies)


@contextlib.asynccontextmanager
async def judge_fleets(judge: AnyJudge, log: Path) -> AsyncIterator[list[Fleet]]:
    """The servers of each of a judge's policies; those of ours write to files that start with the name `log`."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(policy.fleet(log.with_name(f"{log.name}-{number}.log")))
            for number, policy in enumerate(judge.policies, start=1)
        ]


@dataclass(frozen=True, slots=True)
class _Due:
    """A trajectory that lacks a verdict."""

    trajectory_id: str
    attempt: int
    against: str
    domain: str
    case: Case


def judge_trajectories(
    warehouse: Warehouse, run: RunLog, label: str, judge: Judge, ids: Sequence[str], scope: Scope
) -> Judged:
    """Asks the judge about those of the trajectories that are in scope and lack a verdict by this very judge.

    A verdict row is written for every one that was answered, in batches as they come. Raises EngineError when an engine
    cannot be reached; what was answered before is kept.
    """
    with wanted_trajectories(warehouse, ids) as connection:
        parameters = _parameters(judge, scope)
        count = connection.execute(f"SELECT count(*) {_FROM}", parameters).fetchone()
        assert count is not None
        if not count[0]:
            return Judged()
        step = _Step(warehouse, run, label, judge)
        asyncio.run(step.ask(_due(connection, parameters), count[0]))
        return step.judged


class _Step:
    def __init__(self, warehouse: Warehouse, run: RunLog, label: str, judge: Judge) -> None:
        self._warehouse = warehouse
        self._run = run
        self._label = label
        self._judge = judge
        self.judged = Judged()

    async def ask(self, windows: Iterator[list[_Due]], count: int) -> None:
        judge = self._judge
        self.judged.asked = count
        log = self._warehouse.path / "logs" / f"{self._run.run_id}-{judge.name}"
        async with judge_fleets(judge, log) as fleets:
            # Nothing is written before there is somebody to ask.
            self._run.begin()
            with Progress(self._label, count * judge.asked) as progress:
                asker = Asker(judge, fleets, progress, self.judged)

                async def verdict(due: _Due) -> Verdict | None:
                    opinion = await asker.opinion(due.case)
                    if opinion is None:
                        return None
                    progress.judged(due.domain, opinion.outcome == "pass")
                    return self._verdict(due, opinion)

                await ask_all(read_aside(windows), count, fleets, verdict, self._write)

    def _verdict(self, due: _Due, opinion: Opinion) -> Verdict:
        return Verdict(
            trajectory_id=due.trajectory_id,
            attempt=due.attempt,
            check=self._judge.name,
            version=self._judge.version,
            against=due.against if self._judge.uses_reference else "",
            kind="judge",
            outcome=opinion.outcome,
            score=opinion.score,
            reason=opinion.reason,
            details=canonical_json(dict(opinion.details)),
            seconds=round(opinion.seconds or 0.0, 4),
            run_id=self._run.run_id,
            created_at=now(),
        )

    async def _write(self, verdicts: list[Verdict]) -> None:
        done = await asyncio.to_thread(self._warehouse.append, "verdicts", verdicts)
        for verdict in done.added:
            assert isinstance(verdict, Verdict)
            self.judged.checked.count(verdict.check, verdict.outcome)


async def read_aside(windows: Iterator[list[T]]) -> AsyncIterator[list[T]]:
    """The windows, each read while the one before is asked about."""
    while (window := await asyncio.to_thread(lambda: next(windows, None))) is not None:
        yield window


# Samples of a prompt come together, and prompts in the order of their ids: what they have in common is in the cache.
_FROM = """
FROM trajectories_current t
SEMI JOIN wanted USING (trajectory_id)
JOIN prompts_current p USING (prompt_id)
LEFT JOIN settled s ON s.trajectory_id = t.trajectory_id
ANTI JOIN (SELECT * FROM verdicts WHERE "check" = $name AND version = $version) v
    ON v.trajectory_id = t.trajectory_id AND v.attempt = t.attempt AND v.against IN ('', p.against)
WHERE t.error IS NULL AND in_scope($scope, $share, s.trajectory_id IS NOT NULL, t.trajectory_id, $version)
"""
_COLUMNS = (
    "t.trajectory_id, t.attempt, t.prompt_id, t.text, t.answer, "
    "p.messages, p.reference, p.metadata, p.against, p.domain"
)


def _parameters(judge: Judge, scope: Scope) -> dict[str, object]:
    named, share = ("share", scope.share) if isinstance(scope, Share) else (scope, None)
    return {"name": judge.name, "version": judge.version, "scope": named, "share": share}


def _due(connection: duckdb.DuckDBPyConnection, parameters: dict[str, object]) -> Iterator[list[_Due]]:
    cursor = connection.cursor().execute(f"SELECT {_COLUMNS} {_FROM} ORDER BY t.prompt_id, t.trajectory_id", parameters)
    while batch := cursor.fetchmany(_WINDOW):
        yield [
            _Due(
                trajectory_id=trajectory_id,
                attempt=attempt,
                against=against,
                domain=domain,
                case=Case(
                    question=question_of([Message(**m) for m in messages]),
                    response=text,
                    answer=answer,
                    reference=reference_of(reference, metadata),
                    group=prompt_id,
                ),
            )
            for (
                trajectory_id,
                attempt,
                prompt_id,
                text,
                answer,
                messages,
                reference,
                metadata,
                against,
                domain,
            ) in batch
        ]


def reference_of(reference: str | None, metadata: str) -> str | None:
    """A prompt's reference with the other right answers that it names, one on a line."""
    if reference is None:
        return None
    form = metadata_of(metadata).get("verify")
    aliases = form.get("aliases") if isinstance(form, dict) else None
    return "\n".join([reference, *(a for a in aliases or [] if isinstance(a, str) and a.strip())])
