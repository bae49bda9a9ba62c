"""Checks over trajectories that have no verdict of theirs yet."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import duckdb

from dataengine.checks import Check, Opinion, Sample, SetCheck, load_check, metadata_of
from dataengine.generate import insert_ids
from dataengine.progress import Progress
from dataengine.rewrites.rewriting import Parent
from dataengine.runlog import RunLog
from schemas.keys import canonical_json
from schemas.recipe import CheckSpec
from schemas.records import Prompt, Trajectory, Verdict, now
from warehouse.connect import connect
from warehouse.store import Warehouse

_BATCH = 256
# Verdicts of one commit where all opinions are there at once.
_COMMIT = 8192


@dataclass
class Checked:
    """How many verdicts were added, by check and outcome."""

    added: dict[str, dict[str, int]] = field(default_factory=dict)

    def count(self, check: str, outcome: str, number: int = 1) -> None:
        """One more verdict, or so many."""
        outcomes = self.added.setdefault(check, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + number

    def merge(self, other: "Checked") -> None:
        """Adds what another counted."""
        for check, outcomes in other.added.items():
            for outcome, number in outcomes.items():
                self.count(check, outcome, number)

    @property
    def errors(self) -> int:
        """Verdicts with outcome `error`."""
        return sum(outcomes.get("error", 0) for outcomes in self.added.values())

    @property
    def total(self) -> int:
        """All verdicts."""
        return sum(sum(outcomes.values()) for outcomes in self.added.values())


def load_checks(specs: Sequence[CheckSpec]) -> list[Check]:
    """The checks that a step names, ready to be called. Raises ConfigError."""
    return [load_check(spec.check, spec.params) for spec in specs]


def pending(warehouse: Warehouse, checks: Sequence[Check], trajectory_ids: Sequence[str]) -> bool:
    """Whether any of the checks lacks a verdict on any of the trajectories."""
    if not checks:
        return False
    with wanted_trajectories(warehouse, trajectory_ids) as connection:
        return any(_count(connection, check) for check in checks)


def check_missing(
    warehouse: Warehouse, run: RunLog, label: str, specs: Sequence[CheckSpec], trajectory_ids: Sequence[str]
) -> Checked:
    """Gives the trajectories those verdicts that they lack; begins the run if there are any to give."""
    checks = load_checks(specs) if trajectory_ids else []
    try:
        if not pending(warehouse, checks, trajectory_ids):
            return Checked()
        run.begin()
        return run_checks(warehouse, run.run_id, checks, trajectory_ids, label)
    finally:
        for check in checks:
            check.close()


def run_checks(
    warehouse: Warehouse, run_id: str, checks: Sequence[Check], trajectory_ids: Sequence[str], label: str
) -> Checked:
    """Runs each check on those of the trajectories that lack its verdict, and writes the verdicts."""
    result = Checked()
    with wanted_trajectories(warehouse, trajectory_ids) as connection:
        connection.execute(_PARENTS)
        for check in checks:
            count = _count(connection, check)
            if not count:
                continue
            with Progress(f"{label}: {check.name}", count) as progress:
                if isinstance(check, SetCheck):
                    _compare(warehouse, run_id, check, connection, result, progress)
                    continue
                for samples in _pending(connection, check):
                    give_verdicts(warehouse, run_id, check, samples, result)
                    progress.advance(len(samples))
    return result


def give_verdicts(
    warehouse: Warehouse, run_id: str, check: Check, samples: Sequence[Sample], result: Checked
) -> list[Verdict]:
    """Runs a check on samples and writes its verdicts, one per sample; those that are new are counted in `result`."""
    verdicts = _verdicts(check, samples, run_id)
    _write(warehouse, check, verdicts, result)
    return verdicts


def _write(warehouse: Warehouse, check: Check, verdicts: Sequence[Verdict], result: Checked) -> None:
    for verdict in warehouse.append("verdicts", verdicts).added:
        assert isinstance(verdict, Verdict)
        result.count(check.name, verdict.outcome)


def _compare(
    warehouse: Warehouse,
    run_id: str,
    check: SetCheck,
    connection: duckdb.DuckDBPyConnection,
    result: Checked,
    progress: Progress,
) -> None:
    """Gives the missing verdicts of a check that compares trajectories with each other and with those that passed.

    Committed in the order of the opinions, so that a killed run goes on to the same verdicts.
    """
    started = time.monotonic()
    comparison = check.comparison()
    names: list[Sample] = []
    for samples in _pending_in_any_order(connection, check):
        comparison.add(samples)
        names += [Sample(text="", trajectory_id=s.trajectory_id, attempt=s.attempt) for s in samples]
        progress.advance(len(samples))
    for samples in _settled(connection, check):
        comparison.add(samples, settled=True)
    opinions = comparison.opinions()
    while batch := list(islice(opinions, _COMMIT)):
        each = (time.monotonic() - started) / len(batch)
        _write(warehouse, check, [verdict_of(check, names[i], o, run_id, each) for i, o in batch], result)
        started = time.monotonic()


# Of judges too.
_READ = (
    "trajectories",
    "trajectories_current",
    "prompts_current",
    "verdicts",
    "reviews_current",
    "settled",
    "in_scope",
)


@contextlib.contextmanager
def wanted_trajectories(warehouse: Warehouse, trajectory_ids: Sequence[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose temporary table `wanted` holds those ids, and that has what verdicts are missed by."""
    with connect(warehouse.path, only=_READ) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, trajectory_ids)
        yield connection


def _verdicts(check: Check, samples: Sequence[Sample], run_id: str) -> list[Verdict]:
    started = time.monotonic()
    opinions = check(samples)
    each = (time.monotonic() - started) / max(1, len(samples))
    return [verdict_of(check, s, o, run_id, each) for s, o in zip(samples, opinions, strict=True)]


def verdict_of(check: Check, sample: Sample, opinion: Opinion, run_id: str, seconds: float) -> Verdict:
    """An opinion as a row; `seconds` count where it does not say what it took."""
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
"""
_WHERE = """
WHERE t.error IS NULL AND (NOT $verifier OR p.verifier = $name) AND (NOT $rewrites OR t.parent_id IS NOT NULL)
"""


def current_prompts(warehouse: Warehouse, prompts: Iterable[Prompt]) -> dict[str, Prompt]:
    """The prompts as they stand: with corrected references, and with none where two sources disagree.

    What the warehouse says otherwise is read, the rest are those given: a step holds its prompts once.
    """
    found = {p.prompt_id: p for p in prompts}
    columns = ("prompt_id", "against", "domain", "language", "metadata")
    given = ", ".join(f"unnest(?::VARCHAR[]) AS {c}" for c in columns)
    differs = " OR ".join(f"c.{c} <> g.{c}" for c in columns[1:])
    with connect(warehouse.path, only=("prompts_current",)) as connection:
        connection.execute(
            f"CREATE TABLE given AS SELECT {given}", [[getattr(p, c) for p in found.values()] for c in columns]
        )
        cursor = connection.execute(
            f"SELECT c.* EXCLUDE (conflict) FROM prompts_current c JOIN given g USING (prompt_id) WHERE {differs}"
        )
        names = [d[0] for d in cursor.description or []]
        while batch := cursor.fetchmany(_BATCH):
            for row in batch:
                prompt = Prompt.model_validate(dict(zip(names, row, strict=True)))
                found[prompt.prompt_id] = prompt
    return found


def sample_of(row: Trajectory, prompt: Prompt, parent: Parent | None = None) -> Sample:
    """A reply that was just written, and the one that it rewrites, as its checks see it."""
    return Sample(
        trajectory_id=row.trajectory_id,
        attempt=row.attempt,
        text=row.text,
        reasoning=row.reasoning,
        answer=row.answer,
        finish_reason=row.finish_reason,
        completion_tokens=row.completion_tokens,
        prompt=prompt.messages[-1].content,
        domain=prompt.domain,
        language=prompt.language,
        reference=prompt.reference,
        verifier=prompt.verifier,
        metadata=metadata_of(prompt.metadata),
        against=prompt.against,
        parent=None if parent is None else parent.text,
    )


def _parameters(check: Check) -> dict[str, object]:
    return {
        "name": check.name,
        "version": check.version,
        "verifier": check.kind == "verifier",
        "rewrites": check.of_rewrites,
    }


def _count(connection: duckdb.DuckDBPyConnection, check: Check) -> int:
    row = connection.execute(f"SELECT count(*) {_FROM} {_WHERE}", _parameters(check)).fetchone()
    return int(row[0]) if row else 0


_COLUMNS = (
    "t.trajectory_id, t.attempt, t.text, t.reasoning, t.answer, t.finish_reason, t.completion_tokens, "
    "p.messages[-1].content AS prompt, p.domain, p.language, p.reference, p.verifier, p.metadata, p.against, "
    "parents.text AS parent"
)
_WITH_PARENT = "LEFT JOIN parents ON parents.trajectory_id = t.parent_id"
# The replies that the wanted ones rewrite; chosen by their ids first, as below.
_PARENTS = """
CREATE TABLE parents AS
WITH ids AS (
    SELECT DISTINCT parent_id AS trajectory_id
    FROM trajectories SEMI JOIN wanted USING (trajectory_id) WHERE parent_id IS NOT NULL
), chosen AS MATERIALIZED (
    SELECT trajectory_id, attempt FROM trajectories_current SEMI JOIN ids USING (trajectory_id)
)
SELECT t.trajectory_id, t.text FROM trajectories t SEMI JOIN chosen USING (trajectory_id, attempt)
"""
# Chosen by their ids first: the texts then stream through, where sorting them would hold them all.
_IN_ANY_ORDER = (
    "WITH chosen AS MATERIALIZED (SELECT t.trajectory_id, t.attempt {chosen}) "
    f"SELECT {_COLUMNS} FROM trajectories t SEMI JOIN chosen USING (trajectory_id, attempt) "
    f"JOIN prompts_current p USING (prompt_id) {_WITH_PARENT}"
)
# What a person edited is out of the comparison: the edited text, which is much like it, takes its place.
_SETTLED = """
FROM trajectories_current t
ANTI JOIN (SELECT * FROM reviews_current WHERE verdict = 'edit') e
    ON e.trajectory_id = t.trajectory_id AND e.attempt = t.attempt
SEMI JOIN (SELECT * FROM verdicts WHERE "check" = $name AND version = $version AND outcome = 'pass') v
    ON v.trajectory_id = t.trajectory_id AND v.attempt = t.attempt
WHERE t.stage IN (SELECT stage FROM trajectories SEMI JOIN wanted USING (trajectory_id))
"""


def _pending(connection: duckdb.DuckDBPyConnection, check: Check) -> Iterator[list[Sample]]:
    sql = f"SELECT {_COLUMNS} {_FROM} {_WITH_PARENT} {_WHERE} ORDER BY t.trajectory_id"
    return _samples(connection, sql, _parameters(check))


def _pending_in_any_order(connection: duckdb.DuckDBPyConnection, check: SetCheck) -> Iterator[list[Sample]]:
    return _samples(connection, _IN_ANY_ORDER.replace("{chosen}", _FROM + _WHERE), _parameters(check))


def _settled(connection: duckdb.DuckDBPyConnection, check: SetCheck) -> Iterator[list[Sample]]:
    """The trajectories of the wanted ones' stage that passed the check."""
    parameters: dict[str, object] = {"name": check.name, "version": check.version}
    return _samples(connection, _IN_ANY_ORDER.replace("{chosen}", _SETTLED), parameters)


def _samples(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, object]) -> Iterator[list[Sample]]:
    cursor = connection.cursor().execute(sql, parameters)
    names = [d[0] for d in cursor.description or []]
    while batch := cursor.fetchmany(_BATCH):
        rows = (dict(zip(names, row, strict=True)) for row in batch)
        yield [Sample(**row | {"metadata": metadata_of(row["metadata"])}) for row in rows]
