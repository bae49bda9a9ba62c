"""All that the warehouse knows of a prompt, a trajectory or a pair: where it is from, and what was said of it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from dataengine.evidence import each_text, secrets_hidden, spans_of
from schemas.errors import InputError
from schemas.keys import seed_of
from warehouse.fetching import as_dicts

Row = dict[str, Any]

# By what is asked for, the table that has it, and its id there.
_TABLES = {"trajectory": "trajectories", "prompt": "prompts", "pair": "pairs"}


def find(connection: duckdb.DuckDBPyConnection, ident: str) -> tuple[str, str]:
    """The kind (trajectory, prompt or pair) and the whole of the one id that starts with `ident`. Raises InputError."""
    ident = ident.strip().lower()
    if len(ident) < 4 or any(c not in "0123456789abcdef" for c in ident):
        raise InputError(
            f"{ident!r} is no id: give at least 4 characters of the hexadecimal id of a prompt, trajectory or pair"
        )
    selects = [
        f"SELECT DISTINCT '{kind}', {kind}_id FROM {table} WHERE starts_with({kind}_id, $id)"
        for kind, table in _TABLES.items()
    ]
    found = connection.execute(f"{' UNION ALL '.join(selects)} LIMIT 6", {"id": ident}).fetchall()
    if not found:
        raise InputError(f"no prompt, trajectory or pair has an id that starts with {ident}")
    if len(found) > 1:
        listed = ", ".join(f"{kind} {full[:16]}" for kind, full in found[:5])
        raise InputError(f"{ident} is the start of several ids: {listed}; give more characters")
    return found[0]


def lineage_of(
    connection: duckdb.DuckDBPyConnection, kind: str, ident: str, hide: Callable[[str], str] = str
) -> Row | None:
    """What is known of a whole id of that kind, as JSON can hold it; None when it is not there.

    `prompt` is the prompt as it counts, `rows` what each source said of it. Of a trajectory there are `trajectory`,
    `attempts`, `verdicts` and `reviews` (every one, with whether it `counts`), `family` and `runs`; of a pair `pair`,
    `steps`, `draws`, `preferences`, `reviews` and `runs`, and the same of both `replies`; of a prompt `trajectories` in
    short.
    `hide` is put on every text: see `masks`.
    """
    gather = {"prompt": _prompt, "trajectory": _trajectory, "pair": _pair}[kind]
    found = gather(connection, ident)
    return None if found is None else {"kind": kind, "id": ident, **each_text(found, hide)}


def masks(connection: duckdb.DuckDBPyConnection, kind: str, ident: str) -> Callable[[str], str]:
    """What masks the passwords and keys that `pii` found in a trajectory, or in either of a pair's, in any text.

    In any, since a judge may quote it, or a person.
    """
    if kind == "prompt":
        return str
    of = {"trajectory": "trajectory_id = $id", "pair": _OF_THE_PAIR}[kind]
    found = _rows(
        connection,
        "SELECT text, details FROM verdicts_current JOIN trajectories_current USING (trajectory_id) "
        f"WHERE \"check\" = 'pii' AND {of}",
        ident,
    )
    hiders = [secrets_hidden(f["text"], spans_of(f["details"])) for f in found if isinstance(f["details"], dict)]

    def hide(text: str) -> str:
        for hider in hiders:
            text = hider(text)
        return text

    return hide


_OF_THE_PAIR = "trajectory_id IN (SELECT unnest([a_id, b_id]) FROM pairs WHERE pair_id = $id)"


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, ident: Any) -> list[Row]:
    rows = as_dicts(connection.execute(sql, {"id": ident}))
    return [{name: _read(name, value) for name, value in row.items()} for row in rows]


_CURRENT_PROMPT = "SELECT * FROM prompts_current WHERE prompt_id = $id"
_PROMPT_ROWS = """
SELECT source, revision, source_ref, reference, verifier, license, created_at
FROM prompts WHERE prompt_id = $id ORDER BY created_at"""

# Columns that hold JSON as text.
_JSON = {"sampling", "metadata", "details", "versions"}


def _read(name: str, value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return json.loads(value) if name in _JSON and isinstance(value, str) else value


def _prompt(connection: duckdb.DuckDBPyConnection, ident: str) -> Row | None:
    current = _rows(connection, _CURRENT_PROMPT, ident)
    if not current:
        return None
    return {
        "prompt": current[0],
        "rows": _rows(connection, _PROMPT_ROWS, ident),
        "trajectories": _rows(
            connection,
            "SELECT trajectory_id, stage, policy, sample_index, finish_reason, correct, kept, not_passed, error "
            "FROM trajectory_facts WHERE prompt_id = $id ORDER BY created_at, sample_index, trajectory_id",
            ident,
        ),
        "pairs": [row["pair_id"] for row in _rows(connection, _PAIRS_OF_PROMPT, ident)],
    }


_PREFERENCES = """
SELECT "check", version, draws, drawn, verdicts, score, chosen_id, rejected_id, kept
FROM preferences WHERE pair_id = $id ORDER BY "check" """
_PAIRS_OF_PROMPT = "SELECT pair_id FROM pairs WHERE prompt_id = $id ORDER BY 1"
_PAIRS_OF_REPLY = "SELECT pair_id FROM pairs WHERE $id IN (a_id, b_id) ORDER BY 1"
_ROLLOUTS = """
SELECT attempt, step, reward, advantage, clipped, run_id, created_at
FROM rollouts WHERE trajectory_id = $id ORDER BY attempt"""
_VERDICTS = """
SELECT v.attempt, v."check", v.version, v.against, v.kind, v.outcome, v.score, v.reason, v.details,
    v.run_id, v.created_at, c.trajectory_id IS NOT NULL AS counts
FROM verdicts v
LEFT JOIN (SELECT * FROM verdicts_current WHERE trajectory_id = $id) c
    ON (c.attempt, c."check", c.version, c.against) = (v.attempt, v."check", v.version, v.against)
WHERE v.trajectory_id = $id
ORDER BY v.attempt, v."check", v.created_at"""
_SAID = """
SELECT r.review_id, r.trajectory_id, r.attempt, r.reviewer, r.role, r.verdict, r.tags, r.note, r.text, r.child_id,
    r.a_first, r.queue, r.guideline, r.repeat, r.seconds, r.created_at, c.review_id IS NOT NULL AS counts
FROM reviews r
LEFT JOIN (SELECT DISTINCT review_id FROM reviews_current WHERE {current}) c USING (review_id)
WHERE {of}
ORDER BY r.created_at, r.number"""
# An edit approves what it made, so a child has its parent's edit among the words that were said of it.
_REVIEWS = _SAID.format(
    current="trajectory_id = $id AND pair_id IS NULL", of="$id IN (r.trajectory_id, r.child_id) AND r.pair_id IS NULL"
)
_REVIEWS_OF_PAIR = _SAID.format(current="pair_id = $id", of="r.pair_id = $id")


def _trajectory(connection: duckdb.DuckDBPyConnection, ident: str) -> Row | None:
    attempts = _rows(
        connection,
        "SELECT attempt, policy, engine, finish_reason, prompt_tokens, completion_tokens, max_tokens, logprob_sum, "
        "seconds, error, run_id, created_at FROM trajectories WHERE trajectory_id = $id ORDER BY attempt",
        ident,
    )
    if not attempts:
        return None
    (current,) = _rows(
        connection,
        "SELECT t.*, f.kept, f.correct FROM trajectories_current t JOIN trajectory_facts f USING (trajectory_id) "
        "WHERE trajectory_id = $id",
        ident,
    )
    if current["engine"] not in ("import", "review"):
        current["request_seed"] = seed_of(ident)
    verdicts = _rows(connection, _VERDICTS, ident)
    return {
        "prompt": _rows(connection, _CURRENT_PROMPT, current["prompt_id"])[0],
        "rows": _rows(connection, _PROMPT_ROWS, current["prompt_id"]),
        "trajectory": current,
        "attempts": attempts,
        "family": _family(connection, ident),
        "rollouts": _rows(connection, _ROLLOUTS, ident),
        "verdicts": verdicts,
        "reviews": _rows(connection, _REVIEWS, ident),
        "pairs": [row["pair_id"] for row in _rows(connection, _PAIRS_OF_REPLY, ident)],
        "runs": _runs(connection, [*attempts, *verdicts]),
    }


def _pair(connection: duckdb.DuckDBPyConnection, ident: str) -> Row | None:
    pairs = _rows(connection, "SELECT * FROM pairs WHERE pair_id = $id", ident)
    if not pairs:
        return None
    steps = _rows(connection, "SELECT recipe, step, run_id, created_at FROM pair_steps WHERE pair_id = $id "
                  "ORDER BY created_at", ident)  # fmt: skip
    draws = _rows(
        connection,
        'SELECT "check", version, draw, draws, a_first, outcome, score, reason, details, run_id, created_at '
        'FROM pair_verdicts WHERE pair_id = $id ORDER BY "check", created_at, draw',
        ident,
    )
    replies = {side: _trajectory(connection, pairs[0][f"{side}_id"]) for side in ("a", "b")}
    return {
        "prompt": _rows(connection, _CURRENT_PROMPT, pairs[0]["prompt_id"])[0],
        "rows": _rows(connection, _PROMPT_ROWS, pairs[0]["prompt_id"]),
        "pair": pairs[0],
        "steps": steps,
        "draws": draws,
        "preferences": _rows(connection, 'SELECT * FROM preferences WHERE pair_id = $id ORDER BY "check"', ident),
        "reviews": _rows(connection, _REVIEWS_OF_PAIR, ident),
        "runs": _runs(connection, [*pairs, *steps, *draws]),
        "replies": replies,
    }


def _runs(connection: duckdb.DuckDBPyConnection, made: Sequence[Row]) -> list[Row]:
    """The runs that these rows are from, as far as they have left a row; an import leaves none."""
    return _rows(
        connection,
        "SELECT run_id, recipe, state, started_at, ended_at, versions FROM runs_current "
        "WHERE list_contains($id::VARCHAR[], run_id) ORDER BY started_at, run_id",
        sorted({row["run_id"] for row in made}),
    )


# By steps up: what it was made from, back to the sample. By steps down: whatever was made of it.
_FAMILY = """
WITH RECURSIVE linked AS (SELECT trajectory_id, parent_id FROM trajectories_current),
above AS (
    SELECT trajectory_id, parent_id, 0 AS step FROM linked WHERE trajectory_id = $id
    UNION ALL
    SELECT t.trajectory_id, t.parent_id, a.step - 1 FROM linked t JOIN above a ON a.parent_id = t.trajectory_id
), below AS (
    SELECT trajectory_id, 0 AS step FROM linked WHERE trajectory_id = $id
    UNION ALL
    SELECT t.trajectory_id, b.step + 1 FROM linked t JOIN below b ON t.parent_id = b.trajectory_id
), family AS (
    SELECT trajectory_id, step FROM above UNION SELECT trajectory_id, step FROM below
)
SELECT f.step, trajectory_id, t.parent_id,
    CASE WHEN t.parent_id IS NULL THEN 'sample' ELSE coalesce('rewrite ' || t.rewrite, 'edit') END AS did,
    t.stage, t.policy, t.kept, t.not_passed, t.error
FROM family f JOIN trajectory_facts t USING (trajectory_id)
ORDER BY f.step, t.created_at, trajectory_id
"""


def _family(connection: duckdb.DuckDBPyConnection, ident: str) -> list[Row]:
    """The trajectory with its parents (steps below 0) and its rewrites and edits; empty where it has neither."""
    rows = _rows(connection, _FAMILY, ident)
    return rows if len(rows) > 1 else []
