"""People look at rewrites, and what they approved or edited is rewritten further: nothing else is."""

from typing import Any

import pytest

from dataengine.reviewing import review_of, settle
from schemas.records import Trajectory
from tests.dataengine.rewrites.conftest import Chain
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import Journal
from warehouse.store import Warehouse


def looked_at_before_the_last_rewrite(value: dict[str, Any]) -> None:
    """Puts a review step between the two rewrites of the chain."""
    passed = ["exact", "format", "same_answer"]
    looked = {"kind": "review", "of": "refined", "require": passed}
    steps = value["steps"]
    personal = steps["personal"] | {"of": "looked", "require": [*passed, "human"]}
    value["steps"] = {"sample": steps["sample"], "refined": steps["refined"], "looked": looked, "personal": personal}


def refined(chain: Chain) -> list[Trajectory]:
    passed = (
        "SELECT trajectory_id FROM trajectory_facts "
        "WHERE rewrite = 'refine' AND exact = 'pass' AND format = 'pass' AND same_answer = 'pass'"
    )
    with connect(chain.warehouse) as connection:
        cursor = connection.execute(f"SELECT * FROM trajectories_current WHERE trajectory_id IN ({passed}) ORDER BY 1")
        return records(cursor, Trajectory)


@pytest.mark.slow
def test_what_people_approved_or_edited_is_rewritten_further(chain: Chain) -> None:
    chain.change(looked_at_before_the_last_rewrite)
    good, edited, corrected, bad, *rest = refined(chain)
    waits = len(rest) + 4
    better = edited.text.replace("In good order", "In the best order")
    wrong = corrected.text.replace("<answer>", "<answer>1")
    said = [
        review_of(good, "ann", "approve"),
        review_of(edited, "ann", "edit", text=better),
        review_of(corrected, "ann", "edit", text=wrong),
        review_of(bad, "ann", "reject"),
    ]
    with Journal(Warehouse.open(chain.warehouse)) as journal:
        journal.submit(said)
    result = chain.run()
    assert (result.errors, result.balanced) == (0, True)
    (told,) = [line for line in chain.said if "looked" in line]
    # The edit that changed the answer failed what is required, and waits for nobody.
    how = "wait: `dataengine import FILE --as reviews`"
    assert f"5 of {waits + 1} looked at (2 approved, 1 rejected, 2 edited); {waits - 4} {how}" in told
    assert chain.rows(
        "SELECT same_answer, exact, format FROM trajectory_facts WHERE engine = 'review' ORDER BY same_answer"
    ) == [("fail", "fail", "pass"), ("pass", "pass", "pass")]
    parents = chain.rows(
        "SELECT DISTINCT parent_id FROM trajectories WHERE sampling ->> 'rewrite' LIKE 'first_person%' "
        "AND run_id = (SELECT max(run_id) FROM runs WHERE recipe = 'chain')"
    )
    assert {p for (p,) in parents} <= {good.trajectory_id, said[1].child_id}
    assert said[1].child_id in {p for (p,) in parents}, "the approved one was put into the first person before"
    assert chain.run().worked is False
    assert not settle(Warehouse.open(chain.warehouse)).worked
