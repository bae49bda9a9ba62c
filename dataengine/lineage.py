"""What a trajectory was made from, and what was made of it."""

import duckdb

from dataengine.tables import table

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
SELECT f.step, left(trajectory_id, 12) AS trajectory, left(t.parent_id, 12) AS parent,
    CASE WHEN t.parent_id IS NULL THEN 'sample' ELSE coalesce('rewrite ' || t.rewrite, 'edit') END AS did,
    t.stage, t.policy, t.kept, array_to_string(t.not_passed, ' ') AS not_passed, t.error
FROM family f JOIN trajectory_facts t USING (trajectory_id)
ORDER BY f.step, t.created_at, trajectory_id
"""


def family(connection: duckdb.DuckDBPyConnection, ident: str) -> str:
    """A table of the trajectory `ident` (whole id) with its parents (steps below 0) and its rewrites and edits (above).

    Empty for one that has neither.
    """
    cursor = connection.execute(_FAMILY, {"id": ident})
    names = [d[0] for d in cursor.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return f"made from (steps below 0) and made of it:\n{table(rows)}" if len(rows) > 1 else ""
