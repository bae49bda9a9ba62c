"""Which answers are compared: pairs of one prompt's, chosen by hash among those of like length."""

from collections.abc import Sequence

from schemas.keys import key
from schemas.recipe import PairsStep
from schemas.records import Pair, now
from warehouse.connect import connect
from warehouse.store import Warehouse

# Whole answers of the steps, each with the first of the steps that it is of; and those of their pairs that are there.
_CANDIDATES = """
CREATE TABLE candidates AS
SELECT t.trajectory_id, t.prompt_id, md5(t.answer) AS said, length(t.answer) AS characters, min(w.step) AS step
FROM trajectories_current t JOIN wanted w USING (trajectory_id)
WHERE t.error IS NULL AND coalesce(t.finish_reason <> 'length', true) AND trim(t.answer, E' \\n\\t') <> ''
GROUP BY ALL
"""
_THERE = """
SELECT pair_id FROM pairs p
JOIN candidates a ON a.trajectory_id = p.a_id
JOIN candidates b ON b.trajectory_id = p.b_id
WHERE a.step < b.step OR $one
ORDER BY pair_id
"""
# By hash, so that neither the order of rows nor who wrote them decides; with those that are there no more than wanted.
_CHOSEN = """
WITH possible AS (
    SELECT a.prompt_id, a.trajectory_id AS a_id, b.trajectory_id AS b_id
    FROM candidates a
    JOIN candidates b ON b.prompt_id = a.prompt_id AND a.said <> b.said
        AND (a.step < b.step OR ($one AND a.trajectory_id < b.trajectory_id))
        AND greatest(a.characters, b.characters) <= $ratio * least(a.characters, b.characters)
), there AS (
    SELECT p.prompt_id, count(*) AS pairs
    FROM pairs p
    JOIN candidates a ON a.trajectory_id = p.a_id
    JOIN candidates b ON b.trajectory_id = p.b_id
    WHERE a.step < b.step OR $one
    GROUP BY p.prompt_id
)
SELECT prompt_id, a_id, b_id
FROM possible LEFT JOIN there USING (prompt_id)
ANTI JOIN pairs p ON p.a_id = possible.a_id AND p.b_id = possible.b_id
QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY sha256(a_id || b_id))
    <= $per_prompt - coalesce(there.pairs, 0)
ORDER BY ALL
"""


def missing_pairs(
    warehouse: Warehouse, made: Sequence[Sequence[str]], step: PairsStep, run_id: str
) -> tuple[list[Pair], list[str]]:
    """The pairs that a step wants and that are not there yet, and the ids of those that are.

    `made` holds for each step that it is of the ids of its trajectories. Of several steps no pair is of one step alone.
    """
    with connect(warehouse.path) as connection:
        connection.execute("CREATE TABLE wanted (step INTEGER, trajectory_id VARCHAR)")
        for number, ids in enumerate(made):
            connection.execute("INSERT INTO wanted SELECT ?, unnest(?::VARCHAR[])", [number, list(ids)])
        connection.execute(_CANDIDATES)
        one = len(made) == 1
        there = [row[0] for row in connection.execute(_THERE, {"one": one}).fetchall()]
        settings = {"one": one, "ratio": step.max_length_ratio, "per_prompt": step.per_prompt}
        chosen = connection.execute(_CHOSEN, settings).fetchall()
    pairs = [
        Pair(pair_id=key(a, b), prompt_id=prompt_id, a_id=a, b_id=b, run_id=run_id, created_at=now())
        for prompt_id, a, b in chosen
    ]
    return pairs, there
