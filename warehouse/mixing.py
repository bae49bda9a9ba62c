"""Which trajectories a mix takes: the conditions of its sources, then what copies and caps leave out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from schemas.errors import SnapshotError
from schemas.mix import Mix, MixSource, Threshold
from warehouse.diverse import pick_diverse

#: Why a trajectory that meets every condition of a source is left out.
DROPPED = ("duplicate_reply", "over_max_per_prompt", "over_max_rows", "in_another_source")

#: The split of a row, from its prompt's id alone: no prompt stands in two splits, whatever else is in the mix.
SPLIT = (
    "CASE WHEN ('0x' || sha256($salt || prompt_id)[:13])::BIGINT / 16.0**13 < $share::DOUBLE "
    "THEN 'validation' ELSE 'train' END"
)


@dataclass(frozen=True)
class Condition:
    """One thing that a source asks of a trajectory, in the mix's words and as SQL over `trajectory_facts`.

    `check` is the check whose verdict it looks at, where it looks at one.
    """

    text: str
    sql: str
    check: str | None = None


def conditions(source: MixSource) -> list[Condition]:
    """All that a trajectory has to meet to be a candidate of the source."""
    return [
        Condition(f"stage: {source.stage}", f"stage = '{source.stage}'"),
        Condition("has a reply", "error IS NULL"),
        *_policy(source),
        *asked_of_verdicts(source.require, source.not_failed, source.where, source.thresholds),
    ]


def _policy(source: MixSource) -> list[Condition]:
    """The condition of a source's policy: whose word makes a reply right."""
    if source.policy is None:
        return []
    rule, judge = (
        "coalesce(verifier_outcome = 'pass', false)",
        f"coalesce({_identifier(source.judge or '')} = 'pass', false)",
    )
    sql = {
        "rule": rule,
        "judge": judge,
        "rule or judge": f"({rule} OR {judge})",
        "rule and judge": f"({rule} AND {judge})",
        "human": "coalesce(human = 'pass', false)",
    }[source.policy]
    text = f"policy: {source.policy}" + (f" ({source.judge})" if source.judge else "")
    return [Condition(text, sql, "human" if source.policy == "human" else source.judge)]


def asked_of_verdicts(
    require: Sequence[str], not_failed: Sequence[str], where: str | None, thresholds: Mapping[str, Threshold]
) -> list[Condition]:
    """The conditions for checks that must have passed, for checks that must not have failed, and one in SQL."""
    found = []
    for word, checks, outcomes in (("require", require, ("pass",)), ("not_failed", not_failed, ("pass", "undecided"))):
        for check in checks:
            threshold = thresholds.get(check)
            text = f"{word}: {check}" + (f" {threshold.text}" if threshold else "")
            found.append(Condition(text, _accepts(check, outcomes, threshold), check))
    if where:
        # On a line of its own, so that a comment in it cannot hide what follows.
        found.append(Condition(f"where: {where}", f"({where}\n)"))
    return found


def _accepts(check: str, outcomes: Iterable[str], threshold: Threshold | None) -> str:
    outcome, score = _identifier(check), _identifier(f"{check}_score")
    listed = f"{outcome} IN ({', '.join(map(repr, outcomes))})"
    if threshold is None:
        return listed
    bounds = [f"{score} >= {threshold.at_least!r}::DOUBLE"] if threshold.at_least is not None else []
    bounds += [f"{score} <= {threshold.at_most!r}::DOUBLE"] if threshold.at_most is not None else []
    passes = " AND ".join(bounds)
    return f"CASE WHEN {outcome} IN ('pass', 'fail') AND {score} IS NOT NULL THEN {passes} ELSE {listed} END"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def without_verdicts(connection: duckdb.DuckDBPyConnection, checks: Iterable[str]) -> list[str]:
    """Those of the checks that have no verdict in the warehouse, on any trajectory."""
    known = {row[0] for row in connection.execute('SELECT DISTINCT "check" FROM verdicts').fetchall()}
    return [c for c in checks if c not in known]


def unmet(
    connection: duckdb.DuckDBPyConnection, mix: Mix, source: MixSource, trajectory_ids: Sequence[str]
) -> dict[str, list[Condition]]:
    """The conditions of a source that each of the trajectories does not meet; a check without verdicts is not met.

    Raises SnapshotError for a `where` that is no condition.
    """
    if not trajectory_ids:
        return {}
    marks = ", ".join("?" for _ in trajectory_ids)
    connection.execute(
        f"CREATE OR REPLACE TABLE asked AS SELECT * FROM trajectory_facts WHERE trajectory_id IN ({marks})",
        list(trajectory_ids),
    )
    missing = without_verdicts(connection, source.checks)
    found: dict[str, list[Condition]] = {ident: [] for ident in trajectory_ids}
    with _named(mix, source):
        refuse_more_than_a_condition(connection, source.where)
        for condition in conditions(source):
            # As a WHERE, and over a table of the same name, so that it means here what it means in `choose`.
            met = "false" if condition.check in missing else condition.sql
            rows = connection.execute(f"SELECT trajectory_id FROM asked AS trajectory_facts WHERE {met}").fetchall()
            for ident in found.keys() - {row[0] for row in rows}:
                found[ident].append(condition)
    return found


def choose(connection: duckdb.DuckDBPyConnection, mix: Mix) -> None:
    """Makes the table `chosen`, a row for each source and each trajectory that meets its conditions.

    Columns: `source` (its number in the mix, from 0), `trajectory_id`, `prompt_id`; `copy` (among equal replies to the
    prompt), `rank` (among its different replies) and `place` (among all that these leave), from 1 on; `dropped` is one
    of DROPPED, or NULL for what the mix takes. Raises SnapshotError for a check that has no verdict on any trajectory
    and for a `where` that is no condition.
    """
    connection.execute(
        "CREATE OR REPLACE TABLE chosen (source INTEGER, trajectory_id VARCHAR, prompt_id VARCHAR, copy BIGINT, "
        "rank BIGINT, place BIGINT, dropped VARCHAR)"
    )
    for number, source in enumerate(mix.sources):
        for check in without_verdicts(connection, source.checks):
            raise SnapshotError(f"mix {mix.mix}: {_remedy(source, check)}")
        with _named(mix, source):
            refuse_more_than_a_condition(connection, source.where)
            if source.choose == "diverse" and source.max_per_prompt is not None:
                pick_diverse(connection, _passing(source), source.max_per_prompt, str(mix.seed))
            connection.execute(f"INSERT INTO chosen {_candidates(number, source)}", {"seed": str(mix.seed)})


def _remedy(source: MixSource, check: str) -> str:
    if check == source.judge:
        return (
            f"asks the judge {check!r}, which has no verdict here; run a recipe with a step of kind judge that names it"
        )
    if source.policy == "human" and check == "human":
        return "asks what people said, and nobody has reviewed anything here: `dataengine import FILE --as reviews`"
    return (
        f"requires the check {check!r}, which has no verdict here; add it to the `checks` of the {source.stage} step "
        "and run the recipe again"
    )


@contextmanager
def _named(mix: Mix, source: MixSource) -> Iterator[None]:
    """Turns what DuckDB says of a source's `where` into one line that names it."""
    try:
        yield
    except duckdb.Error as e:
        raise SnapshotError(f"mix {mix.mix}: where: {source.where}: {str(e).splitlines()[0]}") from e


def refuse_more_than_a_condition(connection: duckdb.DuckDBPyConnection, where: str | None) -> None:
    """Raises duckdb.Error for a `where` that would close its bracket or start another statement."""
    if where:
        statements = connection.extract_statements(f"SELECT 1 FROM trajectory_facts WHERE {where}")
        if len(statements) != 1:
            raise duckdb.ParserException("one condition is expected, without a semicolon")


def _passing(source: MixSource) -> str:
    # A trajectory that two sources choose stands in the snapshot once, as the first has it, and takes nobody's place.
    return f"""
        SELECT trajectory_id, prompt_id, text, completion_tokens,
            sha256($seed || trajectory_id) AS lottery, sha256($seed || prompt_id) AS prompt_lottery,
            trajectory_id IN (SELECT trajectory_id FROM chosen WHERE dropped IS NULL) AS twice
        FROM trajectory_facts
        WHERE {" AND ".join(c.sql for c in conditions(source))}"""


def _candidates(number: int, source: MixSource) -> str:
    order = "completion_tokens, trajectory_id" if source.choose == "shortest" else "lottery, trajectory_id"
    passing = _passing(source)
    if source.choose == "diverse" and source.max_per_prompt is not None:
        order = f"pick NULLS LAST, {order}"
        passing = f"SELECT * FROM ({passing}) LEFT JOIN picked USING (trajectory_id)"
    most, rows = source.max_per_prompt or "rank", source.max_rows or "place"
    return f"""
        WITH passing AS ({passing}
        ), numbered AS (
            SELECT *, row_number() OVER (PARTITION BY twice, prompt_id, text ORDER BY {order}) AS copy
            FROM passing
        ), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY twice, prompt_id, copy = 1 ORDER BY {order}) AS rank
            FROM numbered
        ), placed AS (
            SELECT *, row_number() OVER (
                PARTITION BY twice, copy = 1 AND rank <= {most} ORDER BY prompt_lottery, lottery
            ) AS place
            FROM ranked
        )
        SELECT {number}, trajectory_id, prompt_id, copy, rank, place, CASE
            WHEN twice THEN 'in_another_source'
            WHEN copy > 1 THEN 'duplicate_reply'
            WHEN rank > {most} THEN 'over_max_per_prompt'
            WHEN place > {rows} THEN 'over_max_rows' END AS dropped
        FROM placed"""
