"""Prompts: what reinforcement learning samples from, with all that is needed to verify a reply."""

import duckdb

from schemas.mix import PromptMix, PromptSource, Threshold
from warehouse.chosen import TAKEN, Caps, begin, choose_from, gather
from warehouse.mixing import naming
from warehouse.quoting import literal
from warehouse.rendering import PROMPT, define_selected
from warehouse.row_kind import RowKind, Systems, parameters_of
from warehouse.splits import SPLIT

# The form that an answer has to have, as far as its verifier and its reference tell it.
_NUMBER = r"[-+]?[0-9][0-9,]*(\.[0-9]+)?(/[0-9]+)?\\?%?"
_ANSWER_FORM = f"""CASE
            WHEN verifier IS NULL THEN 'open'
            WHEN verifier = 'code' THEN if(coalesce(metadata ->> '$.verify.expression', '') = '', 'program', 'value')
            WHEN verifier = 'instructions' THEN 'instructions'
            WHEN verifier = 'choice' THEN 'option'
            WHEN regexp_full_match(trim(reference, E' $\\n'), '{_NUMBER}') THEN 'number'
            WHEN verifier = 'math' THEN if(contains(reference, '='), 'equation', 'expression')
            WHEN verifier = 'logic' AND regexp_full_match(trim(reference, E' \\n'), '\\(?[A-Z]\\)?') THEN 'option'
            ELSE 'text' END"""
# What has its tests or rules in the metadata needs no reference.
_CHECKABLE = """CASE
            WHEN verifier IS NULL THEN false
            WHEN verifier = 'code' THEN list_bool_or(list_transform(
                json_extract_string(metadata, ['$.verify.tests', '$.verify.cases', '$.verify.calls',
                    '$.verify.expression']),
                lambda given: given NOT IN ('', '[]', 'null')
            ))
            WHEN verifier IN ('instructions', 'reasoning_gym') THEN json_exists(metadata, '$.verify')
            ELSE trim(reference, E' \\n\\t\\r') <> '' END"""


def _select(connection: duckdb.DuckDBPyConnection, mix: PromptMix, systems: Systems) -> None:
    begin(connection, mix)
    connection.execute('CREATE TABLE tried (source INTEGER, prompt_id VARCHAR, "check" VARCHAR, version VARCHAR, '
                       "outcome VARCHAR)")  # fmt: skip
    for number, source in enumerate(mix.sources):
        if source.stage:
            connection.execute(f"INSERT INTO tried {_TRIED}", [number, source.stage])
        with naming(connection, mix, source):
            gather(connection, number, _found(number, source))
        choose_from(
            connection,
            number,
            f"{_CANDIDATES} WHERE source = {number}",
            Caps(copies="", rows=source.max_rows),
            {"seed": str(mix.seed)},
        )
    define_selected(connection, _TAKEN, _RENDERED, parameters_of(mix, systems), replies=None)


# What the prompts' own verifiers said of a stage's replies; what they could not tell says nothing of a prompt.
_TRIED = """
    SELECT ?, p.prompt_id, v."check", v.version, v.outcome
    FROM verdicts_current v
    JOIN trajectories_current t USING (trajectory_id)
    JOIN prompts_current p ON p.prompt_id = t.prompt_id AND p.verifier = v."check"
    WHERE t.stage = ? AND v.outcome IN ('pass', 'fail')"""


def _found(number: int, source: PromptSource) -> str:
    """The prompts of the source's domain that meet its condition, with why one is left out."""
    where = f" AND ({source.where}\n)" if source.where else ""
    listed = ", ".join(map(literal, source.verifiers))
    rules = ["WHEN prompt_id IN " + TAKEN + " THEN 'in_another_source'"]
    if source.verifiers:
        rules += [
            "WHEN conflict THEN 'conflict'",
            "WHEN NOT coalesce(checkable, false) THEN 'no_checkable_answer'",
            f"WHEN verifier NOT IN ({listed}) THEN 'other_verifier'",
        ]
    if source.solve_rate:
        rules += [
            "WHEN n IS NULL THEN 'not_attempted'",
            f"WHEN NOT ({_within(source.solve_rate)}) THEN 'solve_rate'",
        ]
    return f"""
        WITH rates AS (
            SELECT prompt_id, count(*) FILTER (WHERE outcome = 'pass') / count(*) AS solve_rate, count(*) AS n
            FROM tried WHERE source = {number} GROUP BY prompt_id
        ), known AS (
            SELECT p.*, {_ANSWER_FORM} AS answer_form, {_CHECKABLE} AS checkable,
                json_array_length(metadata, '$.options') AS options, solve_rate, n
            FROM prompts_current p LEFT JOIN rates USING (prompt_id)
        )
        SELECT prompt_id, answer_form, solve_rate, n, CASE {" ".join(rules)} END AS early
        FROM known AS prompts_current WHERE domain = {literal(source.domain)}{where}"""


def _within(threshold: Threshold) -> str:
    bounds = [f"solve_rate >= {threshold.at_least!r}::DOUBLE"] if threshold.at_least is not None else []
    bounds += [f"solve_rate <= {threshold.at_most!r}::DOUBLE"] if threshold.at_most is not None else []
    return " AND ".join(bounds)


_CANDIDATES = """
    SELECT prompt_id AS id, prompt_id, prompt_id AS said, sha256($seed || prompt_id) AS lottery,
        lottery AS prompt_lottery, early
    FROM found"""

_TAKEN = f"""
    SELECT *, {SPLIT} AS split
    FROM (
        SELECT found.* FROM chosen JOIN found ON found.source = chosen.source AND found.prompt_id = id
        WHERE dropped IS NULL
    )"""
_RENDERED = f"""
    SELECT
        taken.split,
        prompt_id, p.domain, p.source, p.language, p.license,
        {PROMPT} AS prompt,
        p.reference, p.verifier, p.against, p.metadata, answer_form, solve_rate, n, 1.0::DOUBLE AS weight
    FROM taken
    JOIN parts ON parts.source = taken.source
    JOIN prompts_current p USING (prompt_id)"""

PROMPTS = RowKind(
    select=_select,
    order="prompt_id",
    hashed=(
        *("prompt_id", "split", "weight", "domain", "reference", "verifier", "against", "metadata", "answer_form"),
        *("solve_rate", "n"),
    ),
    nested=("prompt",),
    counted=("split", "domain", "source", "language", "license", "verifier", "answer_form"),
    dropped=(
        *("in_another_source", "conflict", "no_checkable_answer", "other_verifier", "not_attempted", "solve_rate"),
        "over_max_rows",
    ),
    checks='SELECT "check", version FROM tried JOIN chosen ON chosen.source = tried.source AND id = tried.prompt_id '
    "WHERE dropped IS NULL",
)
