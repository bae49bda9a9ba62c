"""Which trajectories a mix takes: the conditions of its sources, and of mixes of samples what caps leave out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from schemas.errors import JudgeNotCalibrated, SnapshotError
from schemas.mix import AnyMix, LabelSource, Mix, MixSource, PairSource, PromptSource, Threshold
from warehouse.chosen import TAKEN, TAKEN_PROMPTS, Caps, begin, choose_from
from warehouse.columns import outcome_column, score_column
from warehouse.diverse import pick_diverse
from warehouse.quoting import literal
from warehouse.where import refuse_no_condition

#: Why a trajectory that meets every condition of a source is left out.
DROPPED = (
    *("duplicate_reply", "over_max_per_prompt", "over_max_rows", "in_another_source"),
    *("prompt_in_another_source", "license", "over_target"),
)


@dataclass(frozen=True)
class Condition:
    """One thing that a source asks of a trajectory, in the mix's words and as SQL over `trajectory_facts`.

    `check` is the check whose verdict it looks at, where it looks at one.
    """

    text: str
    sql: str
    check: str | None = None


def conditions(source: MixSource | PairSource | LabelSource) -> list[Condition]:
    """All that a trajectory has to meet to be a candidate of the source, or one of a pair's two."""
    return [
        _stage(source),
        Condition("has a reply", "error IS NULL"),
        *(_policy(source) if isinstance(source, MixSource) else []),
        *asked_of_verdicts(source.require, source.not_failed, source.where, source.thresholds),
    ]


def _stage(source: MixSource | PairSource | LabelSource) -> Condition:
    """The condition of a source's stage; replies of evaluations are for those alone who say so."""
    if source.stage is None:
        return Condition("stage: any but eval", "stage <> 'eval'")
    return Condition(f"stage: {source.stage}", f"stage = '{source.stage}'")


def _policy(source: MixSource) -> list[Condition]:
    """The condition of a source's policy: whose word makes a reply right."""
    if source.policy is None:
        return []
    rule, judge = (
        "coalesce(verifier_outcome = 'pass', false)",
        f"coalesce({outcome_column(source.judge or '')} = 'pass', false)",
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
            found.append(Condition(text, accepts(check, outcomes, threshold), check))
    if where:
        # On a line of its own, so that a comment in it cannot hide what follows.
        found.append(Condition(f"where: {where}", f"({where}\n)"))
    return found


def accepts(check: str, outcomes: Iterable[str], threshold: Threshold | None) -> str:
    """Over `trajectory_facts`: whether the check's outcome is one of these; a threshold turns those with a score."""
    outcome, score = outcome_column(check), score_column(check)
    listed = f"{outcome} IN ({', '.join(map(repr, outcomes))})"
    if threshold is None:
        return listed
    bounds = [f"{score} >= {threshold.at_least!r}::DOUBLE"] if threshold.at_least is not None else []
    bounds += [f"{score} <= {threshold.at_most!r}::DOUBLE"] if threshold.at_most is not None else []
    passes = " AND ".join(bounds)
    return f"CASE WHEN {outcome} IN ('pass', 'fail') AND {score} IS NOT NULL THEN {passes} ELSE {listed} END"


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
    with naming(connection, mix, source):
        for condition in conditions(source):
            # As a WHERE, and over a table of the same name, so that it means here what it means in `choose`.
            met = "false" if condition.check in missing else condition.sql
            rows = connection.execute(f"SELECT trajectory_id FROM asked AS trajectory_facts WHERE {met}").fetchall()
            for ident in found.keys() - {row[0] for row in rows}:
                found[ident].append(condition)
    return found


def choose(connection: duckdb.DuckDBPyConnection, mix: Mix) -> None:
    """Makes the table `chosen` of a mix of samples: see `warehouse.chosen`. Targets come after: `warehouse.targets`.

    Raises SnapshotError for a check that has no verdict on any trajectory and for a `where` that is no condition.
    """
    begin(connection, mix)
    for number, source in enumerate(mix.sources):
        refuse_what_nobody_said(connection, mix, source)
        with naming(connection, mix, source):
            candidates, order = _passing(source, mix.licenses), "lottery, id"
            if source.choose == "shortest":
                order = "completion_tokens, id"
            elif source.choose == "diverse" and source.max_per_prompt is not None:
                pick_diverse(connection, candidates, source.max_per_prompt, str(mix.seed))
                candidates, order = (
                    f"SELECT * FROM ({candidates}) LEFT JOIN picked USING (id)",
                    f"pick NULLS LAST, {order}",
                )
            caps = Caps("duplicate_reply", order, source.max_per_prompt, source.max_rows)
            choose_from(connection, number, candidates, caps, {"seed": str(mix.seed)})


def _passing(source: MixSource, licenses: Sequence[str] | None) -> str:
    allowed = f"license IN ({', '.join(map(literal, licenses))})" if licenses else "true"
    # A trajectory that two sources choose stands in the snapshot once, as the first has it, and takes nobody's place.
    others = f"WHEN prompt_id IN {TAKEN_PROMPTS} THEN 'prompt_in_another_source'" if source.other_prompts else ""
    return f"""
        SELECT trajectory_id AS id, prompt_id, text AS said, completion_tokens,
            sha256($seed || trajectory_id) AS lottery, sha256($seed || prompt_id) AS prompt_lottery,
            CASE WHEN NOT coalesce({allowed}, false) THEN 'license'
                WHEN trajectory_id IN {TAKEN} THEN 'in_another_source' {others} END AS early
        FROM trajectory_facts
        WHERE {" AND ".join(c.sql for c in conditions(source))}"""


def refuse_what_nobody_said(
    connection: duckdb.DuckDBPyConnection, mix: AnyMix, source: MixSource | PairSource | LabelSource
) -> None:
    """Raises SnapshotError for a check that the source goes by and that has no verdict here, on anything.

    It is JudgeNotCalibrated for a judge.
    """
    for check in without_verdicts(connection, source.checks):
        kind = JudgeNotCalibrated if check == source.judge else SnapshotError
        raise kind(f"mix {mix.mix}: {_remedy(source, check)}")
    told_by = (source.judge or source.check) if isinstance(source, PairSource) else None
    sql = 'SELECT count(*) FROM pair_verdicts WHERE "check" = ?'
    if told_by and connection.execute(sql, [told_by]).fetchone() == (0,):
        how = (
            f"asks the judge {told_by!r}, which has compared no pairs here; run a recipe with a step of kind pairs, "
            "and one of kind judge that names it"
            if source.judge
            else "takes imported pairs, and there are none here: `dataengine import FILE --as pairs`"
        )
        raise (JudgeNotCalibrated if source.judge else SnapshotError)(f"mix {mix.mix}: {how}")


def _remedy(source: MixSource | PairSource | LabelSource, check: str) -> str:
    if check == source.judge:
        return (
            f"asks the judge {check!r}, which has no verdict here; run a recipe with a step of kind judge that names it"
        )
    if source.policy == "human" and check == "human":
        return "asks what people said, and nobody has reviewed anything here: `dataengine import FILE --as reviews`"
    step = f"the {source.stage} step" if source.stage else "the steps that made the replies"
    return (
        f"requires the check {check!r}, which has no verdict here; add it to the `checks` of {step} and run the recipe "
        "again"
    )


@contextmanager
def naming(
    connection: duckdb.DuckDBPyConnection, mix: AnyMix, source: MixSource | PairSource | LabelSource | PromptSource
) -> Iterator[None]:
    """Turns what DuckDB says of a source's `where`, used within, into one line that names it, a SnapshotError."""
    try:
        refuse_no_condition(connection, source.where)
        yield
    except duckdb.Error as e:
        first, *further = [line.strip() for line in str(e).splitlines()]
        similar = next((f"; {line}" for line in further if line.startswith("Candidate bindings")), "")
        where = " ".join(str(source.where).split())
        raise SnapshotError(f"mix {mix.mix}: where: {where}: {first}{similar}") from e
