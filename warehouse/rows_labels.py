"""Labels: single replies, each with a yes or no that a judge, a check or people gave it."""

import duckdb

from schemas.mix import LabelMix, LabelSource
from warehouse.chosen import TAKEN, Caps, begin, choose_from, gather
from warehouse.columns import outcome_column, score_column
from warehouse.gate import refuse_unproven_judges
from warehouse.mixing import accepts, conditions, naming, refuse_what_nobody_said
from warehouse.quoting import literal
from warehouse.rendering import PROMPT, SHOWN, assistant, define_selected
from warehouse.row_kind import RowKind, Systems, parameters_of
from warehouse.splits import SPLIT


def _select(connection: duckdb.DuckDBPyConnection, mix: LabelMix, systems: Systems) -> None:
    for source in mix.sources:
        refuse_what_nobody_said(connection, mix, source)
    refuse_unproven_judges(connection, mix)
    begin(connection, mix)
    for number, source in enumerate(mix.sources):
        with naming(connection, mix, source):
            gather(connection, number, _heard(source))
        caps = Caps(copies="duplicate_reply", most=source.max_per_prompt, rows=source.max_rows)
        choose_from(connection, number, f"{_CANDIDATES} WHERE source = {number}", caps, {"seed": str(mix.seed)})
    define_selected(connection, _TAKEN, _RENDERED, parameters_of(mix, systems))


def _heard(source: LabelSource) -> str:
    """The replies that the source's check has a verdict on and that meet its conditions."""
    check = source.labelled_by
    outcome = outcome_column(check)
    passes = accepts(check, ("pass",), source.thresholds.get(check))
    return f"""
        SELECT trajectory_id, prompt_id, {passes} AS label, {score_column(check)} AS score,
            {literal(check)} AS labelled_by,
            {SHOWN[source.show]} AS shown,
            CASE WHEN trajectory_id IN {TAKEN} THEN 'in_another_source'
                WHEN {outcome} NOT IN ('pass', 'fail') THEN 'undecided'
                WHEN shown = '' THEN 'no_answer' END AS early
        FROM trajectory_facts
        WHERE {outcome} IS NOT NULL AND {" AND ".join(c.sql for c in conditions(source))}"""


_CANDIDATES = """
    SELECT trajectory_id AS id, prompt_id, shown AS said, sha256($seed || trajectory_id) AS lottery,
        sha256($seed || prompt_id) AS prompt_lottery, early
    FROM found"""

_TAKEN = f"""
    SELECT *, {SPLIT} AS split
    FROM (
        SELECT found.* FROM chosen JOIN found ON found.source = chosen.source AND trajectory_id = id
        WHERE dropped IS NULL
    )"""
_RENDERED = f"""
    SELECT
        taken.split,
        trajectory_id, t.attempt, prompt_id, t.stage, p.domain, p.source, p.language, t.policy, p.license,
        {PROMPT} AS prompt,
        {assistant("shown")} AS completion,
        label, score, labelled_by, 1.0::DOUBLE AS weight, judged.verdicts
    FROM taken
    JOIN parts ON parts.source = taken.source
    JOIN trajectories_current t USING (trajectory_id, prompt_id)
    JOIN prompts_current p USING (prompt_id)
    LEFT JOIN judged USING (trajectory_id)"""

LABELS = RowKind(
    select=_select,
    order="trajectory_id, attempt",
    hashed=("trajectory_id", "attempt", "prompt_id", "split", "weight", "label", "score", "labelled_by"),
    nested=("prompt", "completion", "verdicts"),
    counted=("split", "label", "stage", "domain", "source", "policy", "language", "license"),
    dropped=(
        *("in_another_source", "undecided", "no_answer", "duplicate_reply"),
        *("over_max_per_prompt", "over_max_rows"),
    ),
    checks="SELECT unnest(verdicts, recursive := true) FROM hashed",
)
