"""Pairs: to one prompt a better reply and a worse one, as a judge, a file or the prompt's verifier tells them apart."""

import duckdb

from schemas.mix import PairMix, PairSource
from warehouse.chosen import TAKEN, Caps, begin, choose_from, gather
from warehouse.gate import refuse_unproven_judges
from warehouse.mixing import conditions, naming, refuse_what_nobody_said
from warehouse.rendering import PROMPT, SHOWN, assistant, define_selected
from warehouse.row_kind import RowKind, Systems, parameters_of
from warehouse.splits import SPLIT

# Who is better: by the mean of a judge's draws (or what a file said), or by the prompt's verifier.
_PREFERRED = """
    SELECT pair_id, prompt_id, a_id, b_id, chosen_id, rejected_id, abs(score) AS score, "check", version,
        CASE WHEN NOT kept THEN 'not_kept' END AS early
    FROM preferences WHERE "check" = $told_by"""
_RULED = """
    SELECT pair_id, prompt_id, a_id, b_id,
        CASE WHEN a.ruled = 'pass' AND b.ruled = 'fail' THEN a_id
            WHEN a.ruled = 'fail' AND b.ruled = 'pass' THEN b_id END AS chosen_id,
        CASE chosen_id WHEN a_id THEN b_id WHEN b_id THEN a_id END AS rejected_id,
        NULL::DOUBLE AS score, NULL::VARCHAR AS "check", NULL::VARCHAR AS version,
        CASE WHEN chosen_id IS NULL THEN 'no_contrast' END AS early
    FROM pairs
    JOIN fit a ON a.trajectory_id = a_id
    JOIN fit b ON b.trajectory_id = b_id"""


def _select(connection: duckdb.DuckDBPyConnection, mix: PairMix, systems: Systems) -> None:
    refuse_unproven_judges(connection, mix)
    begin(connection, mix)
    for number, source in enumerate(mix.sources):
        refuse_what_nobody_said(connection, mix, source)
        with naming(connection, mix, source):
            _compare(connection, number, source)
        caps = Caps(copies="duplicate_pair", most=source.max_per_prompt, rows=source.max_rows, balanced=source.balanced)
        choose_from(connection, number, f"{_CANDIDATES} WHERE source = {number}", caps, {"seed": str(mix.seed)})
    define_selected(connection, _TAKEN, _RENDERED, parameters_of(mix, systems), _REPLIES)


def _compare(connection: duckdb.DuckDBPyConnection, number: int, source: PairSource) -> None:
    """Gathers the pairs both of whose replies meet the source's conditions, and what is told of them."""
    connection.execute(
        "CREATE OR REPLACE TABLE fit AS "
        f"SELECT trajectory_id, verifier_outcome AS ruled, {SHOWN[source.show]} AS shown "
        f"FROM trajectory_facts WHERE {' AND '.join(c.sql for c in conditions(source))}"
    )
    told_by = source.judge or source.check
    gather(
        connection,
        number,
        f"""
        WITH told AS ({_PREFERRED if told_by else _RULED}
        )
        SELECT pair_id, told.prompt_id, chosen_id, rejected_id, score, "check", version,
            CASE chosen_id WHEN a_id THEN a.shown WHEN b_id THEN b.shown END AS chosen,
            CASE rejected_id WHEN a_id THEN a.shown WHEN b_id THEN b.shown END AS rejected,
            CASE WHEN pair_id IN {TAKEN} THEN 'in_another_source'
                WHEN told.early IS NOT NULL THEN told.early
                WHEN '' IN (chosen, rejected) THEN 'no_answer'
                WHEN chosen = rejected THEN 'same_answer' END AS early
        FROM told
        JOIN fit a ON a.trajectory_id = a_id
        JOIN fit b ON b.trajectory_id = b_id""",
        {"told_by": told_by} if told_by else None,
    )


_CANDIDATES = """
    SELECT pair_id AS id, prompt_id, concat(length(chosen), '/', chosen, rejected) AS said,
        sha256($seed || pair_id) AS lottery, sha256($seed || prompt_id) AS prompt_lottery, early,
        CASE WHEN early IS NULL THEN log2(length(chosen) / length(rejected)) END AS longer
    FROM found"""

_TAKEN = f"""
    SELECT *, {SPLIT} AS split
    FROM (
        SELECT found.* FROM chosen JOIN found ON found.source = chosen.source AND pair_id = id
        WHERE dropped IS NULL
    )"""
_REPLIES = "SELECT chosen_id AS trajectory_id FROM taken UNION SELECT rejected_id FROM taken"
_RENDERED = f"""
    SELECT
        taken.split,
        pair_id, prompt_id, chosen_id, rejected_id, p.domain, p.source, p.language, c.policy AS chosen_policy,
        r.policy AS rejected_policy, p.license,
        {PROMPT} AS prompt,
        {assistant("chosen")} AS chosen,
        {assistant("rejected")} AS rejected,
        score, 1.0::DOUBLE AS weight,
        CASE WHEN "check" IS NULL THEN []
            ELSE [{{'check': "check", 'version': version, 'outcome': 'pass'}}] END AS verdicts,
        cv.verdicts AS chosen_verdicts, rv.verdicts AS rejected_verdicts
    FROM taken
    JOIN parts ON parts.source = taken.source
    JOIN prompts_current p USING (prompt_id)
    JOIN trajectories_current c ON c.trajectory_id = chosen_id
    JOIN trajectories_current r ON r.trajectory_id = rejected_id
    LEFT JOIN judged cv ON cv.trajectory_id = chosen_id
    LEFT JOIN judged rv ON rv.trajectory_id = rejected_id"""

PAIRS = RowKind(
    select=_select,
    order="pair_id",
    hashed=("pair_id", "chosen_id", "rejected_id", "prompt_id", "split", "weight", "score"),
    nested=("prompt", "chosen", "rejected", "verdicts", "chosen_verdicts", "rejected_verdicts"),
    counted=("split", "domain", "source", "language", "license", "chosen_policy", "rejected_policy"),
    dropped=(
        *("in_another_source", "not_kept", "no_contrast", "no_answer", "same_answer", "duplicate_pair"),
        *("over_max_per_prompt", "length_balance", "over_max_rows"),
    ),
    checks="SELECT unnest(list_concat(verdicts, chosen_verdicts, rejected_verdicts), recursive := true) FROM hashed",
)
