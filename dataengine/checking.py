"""Checks over trajectories that have no verdict of theirs yet."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import duckdb

from dataengine.checks import Check, Opinion, Sample, load_check, metadata_of
from dataengine.generate import insert_ids
from dataengine.progress import Progress
from schemas.keys import canonical_json
from schemas.recipe import CheckSpec
from schemas.records import Verdict, now
from warehouse.connect import connect
from warehouse.store import Warehouse

_BATCH = 256


@dataclass
class Checked:
    """How many verdicts were added, by check and outcome."""

    added: dict[str, dict[str, int]] = field(default_factory=dict)

    def count(self, check: str, outcome: str) -> None:
        """One more verdict."""
        outcomes = self.added.setdefault(check, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    @property
    def errors(self) -> int:
        """Verdicts with outcome `error`."""
        return sum(outcomes.get("error", 0) for outcomes in self.added.values())

    @property
    def total(self) -> int:
        """All verdicts."""
        return sum(sum(outcomes.values()) for outcomes in self.added.values())


def pending(warehouse: Warehouse, specs: Sequence[CheckSpec], trajectory_ids: Sequence[str]) -> bool:
    """Whether any of the checks lacks a verdict on any of the trajectories."""
    with _wanted(warehouse, trajectory_ids) as connection:
        return any(_count(connection, load_check(spec.check, spec.params)) for spec in specs)


def run_checks(
    warehouse: Warehouse, run_id: str, specs: Sequence[CheckSpec], trajectory_ids: Sequence[str], label: str
) -> Checked:
    """Runs each check on those of the trajectories that lack its verdict, and writes the verdicts."""
    result = Checked()
    with _wanted(warehouse, trajectory_ids) as connection:
        for spec in specs:
            check = load_check(spec.check, spec.params)
            count = _count(connection, check)
            if not count:
                continue
            try:
                with Progress(f"{label}: {check.name}", count) as progress:
                    for samples in _pending(connection, check):
                        for verdict in warehouse.append("verdicts", _verdicts(check, samples, run_id)).added:
                            assert isinstance(verdict, Verdict)
                            result.count(check.name, verdict.outcome)
                        progress.advance(len(samples))
            finally:
                check.close()
    return result


@contextlib.contextmanager
def _wanted(warehouse: Warehouse, trajectory_ids: Sequence[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(warehouse.path) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, trajectory_ids)
        yield connection


def _verdicts(check: Check, samples: Sequence[Sample], run_id: str) -> list[Verdict]:
    started = time.monotonic()
    opinions = check(samples)
    each = (time.monotonic() - started) / max(1, len(samples))
    return [_verdict(check, s, o, run_id, each) for s, o in zip(samples, opinions, strict=True)]


def _verdict(check: Check, sample: Sample, opinion: Opinion, run_id: str, seconds: float) -> Verdict:
    return Verdict(
        trajectory_id=sample.trajectory_id,
        attempt=sample.attempt,
        check=check.name,
        version=check.version,
        against=sample.against if check.uses_reference else "",
        kind=check.kind,
        outcome=opinion.outcome,
        score=opinion.score,
        reason=opinion.reason,
        details=canonical_json(dict(opinion.details)),
        seconds=round(seconds if opinion.seconds is None else opinion.seconds, 6),
        run_id=run_id,
        created_at=now(),
    )


_FROM = """
FROM trajectories_current t
SEMI JOIN wanted USING (trajectory_id)
JOIN prompts_current p USING (prompt_id)
ANTI JOIN (SELECT * FROM verdicts WHERE "check" = $name AND version = $version) v
    ON v.trajectory_id = t.trajectory_id AND v.attempt = t.attempt AND v.against IN ('', p.against)
WHERE t.error IS NULL AND (NOT $verifier OR p.verifier = $name)
"""


def _parameters(check: Check) -> dict[str, object]:
    return {"name": check.name, "version": check.version, "verifier": check.kind == "verifier"}


def _count(connection: duckdb.DuckDBPyConnection, check: Check) -> int:
    row = connection.execute(f"SELECT count(*) {_FROM}", _parameters(check)).fetchone()
    return int(row[0]) if row else 0


def _pending(connection: duckdb.DuckDBPyConnection, check: Check) -> Iterator[list[Sample]]:
    cursor = connection.cursor().execute(
        "SELECT t.trajectory_id, t.attempt, t.text, t.reasoning, t.answer, t.finish_reason, t.completion_tokens, "
        f"p.messages[-1].content, p.domain, p.language, p.reference, p.verifier, p.metadata, p.against {_FROM} "
        "ORDER BY t.trajectory_id",
        _parameters(check),
    )
    while batch := cursor.fetchmany(_BATCH):
        yield [
            Sample(
                trajectory_id=trajectory_id,
                attempt=attempt,
                text=text,
                reasoning=reasoning,
                answer=answer,
                finish_reason=finish_reason,
                completion_tokens=completion_tokens,
                prompt=prompt,
                domain=domain,
                language=language,
                reference=reference,
                verifier=verifier,
                metadata=metadata_of(metadata),
                against=against,
            )
            for (
                trajectory_id, attempt, text, reasoning, answer, finish_reason, completion_tokens,
                prompt, domain, language, reference, verifier, metadata, against,
            ) in batch
        ]  # fmt: skip
