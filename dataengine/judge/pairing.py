"""Which answers are compared: pairs of one prompt's, chosen by hash among those of like length."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.keys import key
from schemas.recipe import PairsStep
from schemas.records import Pair, PairStep, now
from warehouse.connect import connect
from warehouse.store import Warehouse

# Whole answers of the steps, each with the first of the steps that it is of; what their verifiers said where that is
# asked for; and those of their pairs that are there.
_CANDIDATES = """
CREATE TABLE candidates AS
SELECT t.trajectory_id, t.prompt_id, md5(t.answer) AS said, length(t.answer) AS characters, min(w.step) AS step,
    NULL::VARCHAR AS ruled
FROM trajectories_current t JOIN wanted w USING (trajectory_id)
WHERE t.error IS NULL AND coalesce(t.finish_reason <> 'length', true) AND trim(t.answer, E' \\n\\t') <> ''
GROUP BY ALL
"""
_RULED = """
UPDATE candidates SET ruled = r.outcome
FROM ruled r WHERE r.trajectory_id = candidates.trajectory_id AND r.outcome IN ('pass', 'fail')
"""
_THERE = """
CREATE TABLE there AS
SELECT p.pair_id, p.prompt_id
FROM pairs p
JOIN candidates a ON a.trajectory_id = p.a_id
JOIN candidates b ON b.trajectory_id = p.b_id
WHERE (a.step < b.step OR $one) AND (NOT $contrast OR a.ruled <> b.ruled)
"""
# By hash, so that neither the order of rows nor who wrote them decides; with those that are there no more than wanted.
_CHOSEN = """
WITH possible AS (
    SELECT a.prompt_id, a.trajectory_id AS a_id, b.trajectory_id AS b_id
    FROM candidates a
    JOIN candidates b ON b.prompt_id = a.prompt_id AND a.said <> b.said
        AND (a.step < b.step OR ($one AND a.trajectory_id < b.trajectory_id))
        AND greatest(a.characters, b.characters) <= $ratio * least(a.characters, b.characters)
        AND (NOT $contrast OR a.ruled <> b.ruled)
), counted AS (
    SELECT prompt_id, count(*) AS pairs FROM there GROUP BY prompt_id
)
SELECT prompt_id, a_id, b_id
FROM possible LEFT JOIN counted USING (prompt_id)
ANTI JOIN pairs p ON p.a_id = possible.a_id AND p.b_id = possible.b_id
QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY sha256(a_id || b_id))
    <= $per_prompt - coalesce(counted.pairs, 0)
ORDER BY ALL
"""
_UNRECORDED = """
FROM there ANTI JOIN (FROM pair_steps WHERE recipe = $recipe AND step = $step) USING (pair_id)
SELECT pair_id ORDER BY pair_id
"""


@dataclass(frozen=True)
class Chosen:
    """The pairs of a step: those that are there by their ids, and the rows that are missing."""

    there: list[str]
    pairs: list[Pair]
    steps: list[PairStep]
    """That pairs, new ones or such as another step chose, are this step's."""

    @property
    def pair_ids(self) -> list[str]:
        """All of them."""
        return self.there + [pair.pair_id for pair in self.pairs]


def choose_pairs(
    warehouse: Warehouse, made: Sequence[Sequence[str]], recipe: str, name: str, step: PairsStep, run_id: str
) -> Chosen:
    """The pairs that the step `name` of a recipe wants.

    `made` holds for each step that it is of the ids of its trajectories. Of several steps no pair is of one step alone.
    """
    with connect(warehouse.path, only=("trajectories_current", "ruled", "pairs", "pair_steps")) as connection:
        connection.execute("CREATE TABLE wanted (step INTEGER, trajectory_id VARCHAR)")
        for number, ids in enumerate(made):
            connection.execute("INSERT INTO wanted SELECT ?, unnest(?::VARCHAR[])", [number, list(ids)])
        connection.execute(_CANDIDATES)
        which = {"one": len(made) == 1, "contrast": step.contrast == "rule"}
        if which["contrast"]:
            connection.execute(_RULED)
        connection.execute(_THERE, which)
        there = [row[0] for row in connection.execute("SELECT pair_id FROM there ORDER BY pair_id").fetchall()]
        settings = which | {"ratio": step.max_length_ratio, "per_prompt": step.per_prompt}
        chosen = connection.execute(_CHOSEN, settings).fetchall()
        unrecorded = connection.execute(_UNRECORDED, {"recipe": recipe, "step": name}).fetchall()
    pairs = [
        Pair(pair_id=key(a, b), prompt_id=prompt_id, a_id=a, b_id=b, run_id=run_id, created_at=now())
        for prompt_id, a, b in chosen
    ]
    new = [row[0] for row in unrecorded] + [pair.pair_id for pair in pairs]
    steps = [PairStep(pair_id=p, recipe=recipe, step=name, run_id=run_id, created_at=now()) for p in new]
    return Chosen(there, pairs, steps)
