"""Easy rows first: the order of batches, the solve rates that it goes by, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError, WarehouseError
from schemas.records import Message, Prompt, Trajectory, Verdict, now
from schemas.yaml_file import load_yaml
from trainers.checkpoint import make_plan
from trainers.config import SftConfig
from trainers.curriculum import Order, order_of, told
from trainers.data import Example, epoch_batches, known, read_manifest, read_rows
from trainers.origins import origins, solve_rates

Write = Callable[..., Path]


def order(lengths: list[int], size: int, difficulty: list[float] | None, stages: int = 2) -> Order:
    return Order(len(lengths), known(lengths), size, seed=0, snapshot="s", difficulty=difficulty, stages=stages)


def test_without_a_curriculum_the_order_is_that_of_epoch_batches() -> None:
    lengths = [7, 30, 12, 9, 55, 31, 8, 8, 90, 14] * 9
    for epoch in (0, 1):
        expected = epoch_batches(len(lengths), known(lengths), 8, seed=0, epoch=epoch, snapshot="s")
        assert order(lengths, 8, None).batches(epoch)[:] == expected[:]


def test_easy_rows_come_first_and_batches_hold_rows_of_like_length() -> None:
    # Two stages of two batches of two: the easy half is rows 0, 2, 4, 6; in it 0 and 4 are long, 2 and 6 short.
    lengths = [90, 90, 10, 10, 80, 80, 20, 20]
    difficulty = [0.0, 1.0, 0.0, 1.0, 0.25, 1.0, 0.25, 1.0]
    for epoch in range(5):
        batches = order(lengths, 2, difficulty).batches(epoch)
        assert sorted(map(sorted, batches[:2])) == [[0, 4], [2, 6]]
        assert sorted(map(sorted, batches[2:])) == [[1, 5], [3, 7]]
        assert all(lengths[a] > lengths[b] for a, b in batches)


def test_with_as_many_stages_as_batches_the_order_is_strict() -> None:
    difficulty = [0.5, 0.1, 0.9, 0.3, 0.7]
    assert order([5] * 5, 1, difficulty, stages=99).batches(3) == [[1], [3], [0], [4], [2]]


def test_equally_hard_rows_are_in_another_order_each_epoch() -> None:
    same = order([5] * 40, 4, [0.0] * 40)
    assert same.batches(0)[:] != same.batches(1)[:]
    assert same.batches(0) == same.batches(0)


@given(
    st.lists(st.tuples(st.integers(2, 400), st.sampled_from([0.0, 0.25, 1.0, math.inf])), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(2, 30),
)
def test_every_row_comes_once_in_batches_of_even_size(rows: list[tuple[int, float]], size: int, stages: int) -> None:
    made = order([r[0] for r in rows], size, [r[1] for r in rows], stages)
    batches = made.batches(0)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    assert len(batches) == made.steps_per_epoch == math.ceil(len(rows) / size)
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= size and max(sizes) - min(sizes) <= 1


def example(length: int, id: str) -> Example:
    return Example(id, np.arange(length, dtype=np.int32), 1, 1.0)


@pytest.fixture
def by_length(write_config: Write, write_snapshot: Write, sums: Any) -> SftConfig:
    write_snapshot(sums(3))
    return load_yaml(write_config(batch_size=1, curriculum={"by": "length", "stages": 3}), SftConfig)


def test_by_length_the_shortest_replies_come_first(by_length: SftConfig) -> None:
    manifest = read_manifest(by_length.warehouse, by_length.snapshot)
    made = order_of(by_length, manifest, [example(9, "a"), example(4, "b"), example(6, "c")])
    assert made.batches(0) == [[1], [2], [0]]
    assert told(by_length, made) == {"by": "length", "stages": [3.0, 5.0, 8.0], "unrated": 0}


REPLIES = {
    "What is 1 + 1?": ["pass", "pass", "pass", "pass"],
    "What is 2 + 2?": ["pass", "fail", "undecided", "pass"],
    "What is 3 + 3?": ["pass", "fail", "fail", "fail"],
    "Say hello.": [None, None],
}


@pytest.fixture
def attempts(tmp_path: Path) -> Any:
    """A warehouse with the replies above, of which the mix `solved@1` takes what is right or was never verified."""
    from schemas.mix import Mix
    from warehouse.snapshot import create_snapshot
    from warehouse.store import Warehouse

    warehouse = Warehouse.open(tmp_path / "warehouse", create=True)
    for question, outcomes in REPLIES.items():
        prompt = Prompt.make(
            [Message(role="user", content=question)], source="sums", domain="math", reference="2", verifier="exact"
        )
        warehouse.append("prompts", [prompt])
        for i, outcome in enumerate(outcomes):
            add_reply(warehouse, prompt, f"{question}{i}", outcome)
        # Neither a rewrite nor a held-out sample is an attempt.
        add_reply(warehouse, prompt, f"{question}rewritten", "fail", parent_id=f"{question}0")
        add_reply(warehouse, prompt, f"{question}held out", "fail", stage="eval")
    where = "parent_id IS NULL AND coalesce(correct, verifier_outcome IS NULL)"
    source = {"stage": "reasoning", "require": ["length"], "where": where}
    mix = Mix.model_validate({"mix": "solved", "validation": 0.0, "sources": [source]})
    create_snapshot(warehouse.path, mix, {"plain": None})
    return warehouse


def add_reply(warehouse: Any, prompt: Prompt, id: str, outcome: str | None, **columns: Any) -> None:
    values: dict[str, Any] = {"stage": "reasoning", "policy": "model@1", **columns}
    reply = Trajectory(
        trajectory_id=id,
        prompt_id=prompt.prompt_id,
        engine="embedded",
        sampling="{}",
        sample_index=0,
        rendered_key="r",
        text=f"It is {id}.",
        answer=f"It is {id}.",
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=2,
        max_tokens=9,
        run_id="run",
        created_at=now(),
        **values,
    )
    warehouse.append("trajectories", [reply])
    verdict: dict[str, Any] = {"trajectory_id": id, "attempt": 1, "version": "1", "run_id": "run", "created_at": now()}
    said = [Verdict(**verdict, check="length", kind="filter", outcome="pass")]
    if outcome:
        said.append(Verdict(**verdict, check="exact", kind="verifier", outcome=outcome, against=prompt.against))
    warehouse.append("verdicts", said)


def by_solve_rate(write_config: Write, **curriculum: Any) -> SftConfig:
    settings = {"by": "solve_rate", "stages": 9, **curriculum}
    return load_yaml(write_config(snapshot="solved@1", batch_size=1, curriculum=settings), SftConfig)


def test_solve_rates_are_those_of_the_tables_at_the_time_of_the_snapshot(attempts: Any, write_config: Write) -> None:
    manifest = read_manifest(attempts.path, "solved@1")
    questions = {row.id: row.messages[0]["content"] for row in read_rows(attempts.path, manifest)["train"]}
    told = origins(attempts.path, manifest)
    rates = {questions[id]: solve_rates(attempts.path, manifest).get(told[id].prompt_id) for id in questions}
    expected = {"What is 1 + 1?": 1.0, "What is 2 + 2?": 0.5, "What is 3 + 3?": 0.25, "Say hello.": None}
    assert rates == expected
    assert {(o.policy, o.source) for o in told.values()} == {("model@1", "sums")}
    prompt = Prompt.make([Message(role="user", content="What is 3 + 3?")], source="sums", domain="math", reference="2")
    key = make_plan(by_solve_rate(write_config, unrated="last")).key
    for i in range(9):
        add_reply(attempts, prompt, f"later{i}", "pass")
    assert sorted(solve_rates(attempts.path, manifest).values()) == [0.25, 0.5, 1.0]
    assert make_plan(by_solve_rate(write_config, unrated="last")).key == key


def test_rows_without_a_solve_rate_are_refused_or_come_last(attempts: Any, write_config: Write) -> None:
    manifest = read_manifest(attempts.path, "solved@1")
    rows = read_rows(attempts.path, manifest)["train"]
    learnt = [example(5, row.id) for row in rows]
    with pytest.raises(ConfigError, match=r"2 rows \(Say hello\.0/1, Say hello\.1/1\) without a solve rate") as refused:
        order_of(by_solve_rate(write_config), manifest, learnt)
    assert "set curriculum.unrated to last" in str(refused.value)
    made = order_of(config := by_solve_rate(write_config, unrated="last"), manifest, learnt)
    asked = [rows[i].messages[0]["content"] for (i,) in made.batches(0)]
    assert asked == ["What is 1 + 1?"] * 4 + ["What is 2 + 2?"] * 2 + ["What is 3 + 3?"] + ["Say hello."] * 2
    assert told(config, made)["stages"] == [1.0] * 4 + [0.5] * 2 + [0.25] + [None] * 2
    assert told(config, made)["unrated"] == 2


def test_solve_rates_need_the_whole_warehouse(write_config: Write, write_snapshot: Write, sums: Any) -> None:
    manifest = read_manifest(write_snapshot(sums(2)), "sums@1")
    with pytest.raises(WarehouseError, match="no warehouse here"):
        order_of(by_solve_rate(write_config), manifest, [example(5, "train0000/1")])


def test_the_tables_count_for_the_key_where_they_count_for_the_order(
    write_config: Write, write_snapshot: Write, sums: Any
) -> None:
    manifest = write_snapshot(sums(2)) / "snapshots" / "sums" / "v1" / "manifest.json"

    def keys() -> list[str]:
        configs = [None, {"by": "length"}, {"by": "solve_rate"}]
        return [make_plan(load_yaml(write_config(curriculum=c), SftConfig)).key for c in configs]

    before = keys()
    manifest.write_text(manifest.read_text().replace('"tables":{}', '"tables":{"verdicts":7}'))
    after = keys()
    assert len(set(before)) == 3
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]
