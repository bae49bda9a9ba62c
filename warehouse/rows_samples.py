"""Samples: prompts with the replies that are to be learnt."""

import duckdb

from schemas.errors import SnapshotError
from schemas.mix import Mix
from warehouse.gate import refuse_unproven_judges
from warehouse.mixing import DROPPED, choose
from warehouse.rendering import PATTERNED, PROMPT, assistant, define_selected
from warehouse.row_kind import RowKind, Systems, parameters_of
from warehouse.splits import SPLIT
from warehouse.targets import meet_targets


def _select(connection: duckdb.DuckDBPyConnection, mix: Mix, systems: Systems) -> None:
    choose(connection, mix)
    refuse_unproven_judges(connection, mix)
    weights = meet_targets(connection, mix)
    patterns = [source.pattern for source in mix.sources]
    _refuse_marks_within(connection, mix, [i for i, pattern in enumerate(patterns) if pattern == "special_token"])
    given = {**parameters_of(mix, systems), "patterns": patterns, "weights": weights}
    define_selected(connection, _TAKEN, _RENDERED, given)


def _refuse_marks_within(connection: duckdb.DuckDBPyConnection, mix: Mix, sources: list[int]) -> None:
    """Raises SnapshotError for a row of these sources that could not be taken apart again."""
    found = connection.execute(
        "SELECT trajectory_id FROM chosen JOIN trajectories_current ON trajectory_id = id "
        "WHERE dropped IS NULL AND list_contains(?::INTEGER[], source) AND reasoning IS NOT NULL "
        "AND contains(concat(reasoning, answer), '|special_token|') ORDER BY 1",
        [sources],
    ).fetchall()
    if found:
        raise SnapshotError(
            f"mix {mix.mix}: {len(found)} replies hold the text |special_token|, such as {found[0][0][:12]}; leave "
            "them out by where: \"NOT contains(concat(reasoning, answer), '|special_token|')\""
        )


_TAKEN = f"""
    SELECT id AS trajectory_id, prompt_id, source, ($weights::DOUBLE[])[source + 1] AS weight, {SPLIT} AS split
    FROM chosen WHERE dropped IS NULL"""
_RENDERED = f"""
    SELECT
        taken.split,
        trajectory_id, t.attempt, prompt_id, t.stage, p.domain, p.source, p.language, t.policy, p.license,
        list_concat({PROMPT}, {assistant(PATTERNED)}) AS messages,
        t.prompt_tokens, t.completion_tokens, taken.weight,
        judged.verdicts
    FROM taken
    JOIN parts ON parts.source = taken.source
    JOIN trajectories_current t USING (trajectory_id, prompt_id)
    JOIN prompts_current p USING (prompt_id)
    LEFT JOIN judged USING (trajectory_id)"""

SAMPLES = RowKind(
    select=_select,
    order="trajectory_id, attempt",
    hashed=("trajectory_id", "attempt", "prompt_id", "split", "weight"),
    nested=("messages", "verdicts"),
    counted=("split", "stage", "domain", "source", "policy", "language", "license"),
    dropped=DROPPED,
    checks="SELECT unnest(verdicts, recursive := true) FROM hashed",
)
