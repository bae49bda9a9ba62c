"""Prompts in nearly the same words are one cluster, and what comes later changes it only by joining."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dataengine.prompt_clusters import cluster_prompts
from schemas.records import Message, Prompt
from warehouse.connect import connect
from warehouse.store import Warehouse

STORY = " ".join(f"word{i}" for i in range(60))


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse.open(tmp_path / "data", create=True)


@pytest.fixture
def add(warehouse: Warehouse) -> Callable[..., str]:
    """Adds a prompt and returns its id."""

    def put(question: str, system: str = "", source: str = "s") -> str:
        turns = [Message(role="system", content=system)] if system else []
        prompt = Prompt.make([*turns, Message(role="user", content=question)], domain="math", source=source)
        warehouse.append("prompts", [prompt])
        return prompt.prompt_id

    return put


def clusters(warehouse: Warehouse) -> dict[str, str]:
    with connect(warehouse.path) as connection:
        found = connection.execute("SELECT id, cluster_id FROM clusters_current WHERE kind = 'prompt'").fetchall()
    assert len(found) == len(dict(found))
    return dict(found)


def test_prompts_are_clustered_whatever_the_system_message_says(warehouse: Warehouse, add: Callable[..., str]) -> None:
    one, same, near = add(STORY), add(STORY, "Think."), add(f"{STORY} indeed")
    other = add("What is 1 + 1?")
    add(STORY, source="another")
    assert cluster_prompts(warehouse) == 4
    assert clusters(warehouse) == {**dict.fromkeys((one, same, near), min(one, same, near)), other: other}
    assert cluster_prompts(warehouse) == 0


def test_a_prompt_between_two_clusters_joins_them(warehouse: Warehouse, add: Callable[..., str]) -> None:
    words = STORY.split()
    first, last = add(STORY), add(" ".join(words[9:] + [f"more{i}" for i in range(9)]))
    cluster_prompts(warehouse)
    assert clusters(warehouse) == {first: first, last: last}
    middle = add(" ".join(words[4:] + [f"more{i}" for i in range(4)]))
    cluster_prompts(warehouse)
    assert clusters(warehouse) == dict.fromkeys((first, middle, last), min(first, middle, last))


def test_another_threshold_is_another_version_and_the_latest_counts(
    warehouse: Warehouse, add: Callable[..., str]
) -> None:
    one, near = add(STORY), add(f"{STORY} indeed")
    cluster_prompts(warehouse)
    assert cluster_prompts(warehouse, 1.0) == 2
    assert clusters(warehouse) == {one: one, near: near}


def test_a_warehouse_without_prompts_has_no_clusters(warehouse: Warehouse) -> None:
    assert cluster_prompts(warehouse) == 0
