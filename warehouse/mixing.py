"""Which trajectories a mix takes: the conditions of its sources, and of mixes of samples what caps leave out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from schemas.errors import JudgeNotCalibrated, SnapshotError
from schemas.mix import AnyMix, LabelSource, Mix, MixSource, PairSource, PromptSource, Threshold
from schemas.records import HUMAN
from warehouse.chosen import TAKEN, TAKEN_PROMPTS, Caps, begin, choose_from
from warehouse.columns import outcome_column, score_column
from warehouse.decontamination import ITSELF, begin_decontamination, decontaminated, lacking, steps_of
from warehouse.diverse import pick_diverse
from warehouse.fitting import Chat, begin_fitting, fitting
from warehouse.quoting import literal
from warehouse.rendering import SAMPLE
from warehouse.row_kind import Systems
from warehouse.where import refuse_no_condition
from warehouse.writing import refusal

#: Why a trajectory that meets every condition of a source is left out.
DROPPED = (
    *("duplicate_reply", "over_max_per_prompt", "over_max_rows", "in_another_source"),
    *("prompt_in_another_source", "license", "contaminated", "overlong", "over_target"),
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


def choose(connection: duckdb.DuckDBPyConnection, mix: Mix, systems: Systems, chat: Chat | None) -> None:
    """Makes the table `chosen` of a mix of samples: see `warehouse.chosen`. Targets come after: `warehouse.targets`.

    What is left out because of what it holds comes before caps, so that it takes nobody's place. `chat` is what the
    mix's `chat_template` names. Raises SnapshotError for a `where` that is no condition; checks without verdicts are
    refused by `refuse_what_nobody_said`.
    """
    begin(connection, mix)
    begin_decontamination(connection, mix)
    begin_fitting(connection)
    for number, source in enumerate(mix.sources):
        with naming(connection, mix, source):
            candidates, order = _passing(source, mix.licenses), "lottery, id"
            candidates = decontaminated(connection, mix, number, candidates, ITSELF)
            # The mix is refused where some were never held against a benchmark: there is no use in measuring them.
            if chat is not None and not lacking(connection):
                given = {"system": systems[source.template], "pattern": source.pattern}
                candidates = fitting(connection, mix, number, candidates, _WAITING, given, chat)
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


_WAITING = f"""
    SELECT trajectory_id, {SAMPLE}
    FROM (SELECT id AS trajectory_id, $system::VARCHAR AS system, $pattern::VARCHAR AS pattern FROM waiting)
    JOIN trajectories_current t USING (trajectory_id)
    JOIN prompts_current p USING (prompt_id)"""


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
            f"asks the judge {told_by!r}, which has compared no pairs here; add the steps {{kind: pairs, of: STEP}} "
            f"and {{kind: judge, judge: {told_by}, of: PAIRS}} to a recipe, and `dataengine run RECIPE` asks it"
            if source.judge
            else "asks which answers people prefer, and nobody has compared any here: `dataengine review`"
            if told_by == HUMAN
            else "takes imported pairs, and there are none here: `dataengine import FILE --as pairs`"
        )
        raise (JudgeNotCalibrated if source.judge else SnapshotError)(f"mix {mix.mix}: {how}")


def _remedy(source: MixSource | PairSource | LabelSource, check: str) -> str:
    asks, steps = f"requires the check {check!r}, which has no verdict here", steps_of([source])
    if check == source.judge:
        return (
            f"asks the judge {check!r}, which has no verdict here; add a step {{kind: judge, judge: {check}, of: STEP}}"
            f" after {steps}, and `dataengine run RECIPE` asks it"
        )
    if check == HUMAN:
        asks = "asks what people said, and nobody has reviewed anything here" if source.policy == "human" else asks
        return f"{asks}: `dataengine import FILE --as reviews`"
    return f"{asks}; add it to the `checks` of {steps}, and `dataengine run RECIPE` gives the verdicts that are missing"


@contextmanager
def naming(
    connection: duckdb.DuckDBPyConnection, mix: AnyMix, source: MixSource | PairSource | LabelSource | PromptSource
) -> Iterator[None]:
    """Turns what DuckDB says of a source's `where`, used within, into one line that names it, a SnapshotError."""
    try:
        refuse_no_condition(connection, source.where)
        yield
    except duckdb.Error as e:
        if isinstance(e, duckdb.OutOfMemoryException) or refusal(e):
            raise
        first, *further = [line.strip() for line in str(e).splitlines()]
        similar = next((f"; {line}" for line in further if line.startswith("Candidate bindings")), "")
        where = " ".join(str(source.where).split())
        raise SnapshotError(f"mix {mix.mix}: where: {where}: {first}{similar}") from e
