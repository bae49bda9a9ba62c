"""What was made of a sample can be asked for: step by step by SQL, and beside a reply by `explain`."""

import re
from itertools import pairwise
from typing import Any

from tests.dataengine.rewrites.conftest import Chain
from warehouse.sql import named_query, query

CHAIN = (
    "SELECT s.trajectory_id, f.trajectory_id, p.trajectory_id FROM trajectory_facts s "
    "JOIN trajectory_facts f ON f.parent_id = s.trajectory_id JOIN trajectory_facts p ON p.parent_id = f.trajectory_id "
    "WHERE p.kept ORDER BY ALL LIMIT 1"
)


def lineage(chain: Chain) -> list[dict[str, Any]]:
    found = query(chain.warehouse, named_query("cold_start_lineage"))
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def test_the_question_tells_every_chain_from_the_sample_on(made: Chain) -> None:
    found = lineage(made)
    assert len(found) == made.rows("SELECT count(*) FROM trajectories_current")[0][0]
    by_chain: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_chain.setdefault(row["chain"], []).append(row)
    assert len(by_chain) == 24
    for name, steps in by_chain.items():
        assert [row["step"] for row in steps] == list(range(len(steps)))
        assert [row["did"] for row in steps] == ["sample", "rewrite refine", "rewrite first_person"][: len(steps)]
        assert [row["parent"] for row in steps] == [None, *(row["trajectory"] for row in steps[:-1])]
        assert [row["last"] for row in steps] == [False] * (len(steps) - 1) + [True]
        assert steps[0]["trajectory"] == name
        for before, after in pairwise(steps):
            assert {"exact", "format"} <= set(before["passed"].split()), "only what passed was rewritten"
            if after["kept"]:
                assert after["changed"] == ("reasoning and summary" if after["step"] == 1 else "reasoning")
                assert set(after["passed"].split()) == {"exact", "format", "same_answer"}
                assert after["not_passed"] == ""
    assert max(map(len, by_chain.values())) == 3


def test_explain_shows_what_a_reply_was_made_from_and_what_was_made_of_it(cli: Any, made: Chain) -> None:
    (ids,) = made.rows(CHAIN)
    whole = [(i, ident[:12], parent) for i, (ident, parent) in enumerate(zip(ids, (None, *ids), strict=False))]
    did = ["sample", "rewrite refine", "rewrite first_person"]
    for at, ident in enumerate(ids):
        told = cli("explain", ident, "--warehouse", made.warehouse).out
        section = re.search(r"\n\nmade from .*?:\n.*\n.*\n((?:.+\n){3})\nreply:\n", told)
        assert section, told
        for line, (step, short, parent) in zip(section[1].splitlines(), whole, strict=True):
            assert re.match(rf" *{step - at} +{short} +{parent[:12] if parent else ''}", line), line
            assert did[step] in line


def test_explain_says_nothing_of_a_family_where_there_is_none(cli: Any, made: Chain) -> None:
    alone = (
        "parent_id IS NULL AND trajectory_id NOT IN (SELECT parent_id FROM trajectories WHERE parent_id IS NOT NULL)"
    )
    (ident,) = made.rows(f"SELECT trajectory_id FROM trajectory_facts WHERE {alone} ORDER BY 1 LIMIT 1")[0]
    assert "made from" not in cli("explain", ident, "--warehouse", made.warehouse).out


def test_preview_counts_the_rewrites_of_what_is_there_and_asks_for_none(cli: Any, chain: Chain) -> None:
    settings = ["steps.refined.sampling={seed: 5}", "steps.sample.samples=2"]
    chain.server.asked.clear()
    done = cli("preview", chain.recipe, *settings, "--warehouse", chain.warehouse, "--rows", "1")
    assert done.code == 0, done
    assert chain.server.asked == []
    lines = [line.strip() for line in done.out.splitlines()]
    assert "18 of 24 replies are to be rewritten, 6 do not meet the conditions" in lines
    assert "18 requests to make, 0 rewrites are there" in lines
    assert any(line.startswith("system: You edit worked solutions") for line in lines)
    assert "0 of 18 replies are to be rewritten" not in done.out
    assert lines[-1].endswith("; and 18 rewrites, which are not estimated; and rewrites of what is not there yet")
