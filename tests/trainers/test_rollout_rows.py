"""Rollouts in a real warehouse: every row once, the verdicts that rewards are made of, and sums that add up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dataengine.explain import explain
from dataengine.generate import Asking, Wanted, plan
from dataengine.runlog import RunLog
from dataengine.status import conservation
from schemas.recipe import Sampling
from schemas.records import Message, Prompt
from trainers.rewards import Rewards, RewardSpec, load_rewards
from trainers.rollout_rows import Written, reward_replies, rollout_checks, write_replies
from warehouse.connect import connect
from warehouse.store import Warehouse
from warehouse.views import names_in

ASKING = Asking(
    stage="rl_rollout",
    policy="tiny-0123",
    engine="trainer",
    samples=2,
    sampling=Sampling(temperature=1.0),
    max_tokens=16,
    template="think",
)
RIGHT, WRONG = "<think>\nWait, I add them up.\n</think>\n<answer>3</answer>", "<think>\nI add them up.\n</think>\n4"


@dataclass(frozen=True)
class Said:
    wanted: Wanted
    text: str
    finish_reason: str = "stop"
    prompt: int = 9
    tokens: int = 12
    logprob_sum: float | None = -3.5


@pytest.fixture
def prompts() -> list[Prompt]:
    """A sum that has a reference, and one that has none."""
    return [
        Prompt.make(
            [Message(role="user", content=f"1 + 2 + {n}?")],
            domain="math",
            source="sums",
            reference=None if n else "3",
            verifier="math",
        )
        for n in range(2)
    ]


@pytest.fixture
def warehouse(tmp_path: Path, prompts: list[Prompt]) -> Warehouse:
    made = Warehouse.open(tmp_path / "data", create=True)
    made.append("prompts", prompts)
    return made


@pytest.fixture
def rewards() -> Iterator[Rewards]:
    with load_rewards([RewardSpec(name=name) for name in ("accuracy", "format", "language")]) as loaded:
        yield loaded


@pytest.fixture
def write(warehouse: Warehouse, prompts: list[Prompt], rewards: Rewards) -> Callable[..., Written]:
    """Writes the batch of a step: of each prompt a right and a wrong reply, the last one cut."""

    def written(step: int = 0, policy: str = ASKING.policy, right: str = RIGHT) -> Written:
        asking = replace(ASKING, policy=policy)
        wanted = plan(prompts, asking)
        replies = [Said(w, WRONG if w.sample_index else right) for w in wanted]
        replies[-1] = replace(replies[-1], text="<think>\nI add", finish_reason="length", tokens=16)
        rewarded = reward_replies(rewards, replies)
        advantages = [None if total is None else total - 2.5 for total in rewarded.sums]
        return write_replies(warehouse, "run-1", asking, step, replies, rewards, rewarded, advantages)

    return written


def rows(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    with connect(warehouse.path, only=names_in(sql)) as connection:
        return connection.execute(sql).fetchall()


def test_a_rollout_is_a_trajectory_with_its_reward_and_advantage(
    warehouse: Warehouse, write: Callable[..., Written]
) -> None:
    assert write(step=4) == Written(4, [])
    found = rows(
        warehouse,
        "SELECT f.stage, f.policy, f.step, r.step, f.engine, f.reasoning, f.answer, f.completion_tokens, "
        "f.logprob_sum, f.correct, r.reward, r.advantage, r.clipped "
        "FROM trajectory_facts f JOIN rollouts r USING (trajectory_id, attempt) "
        "WHERE f.reference IS NOT NULL ORDER BY f.sample_index",
    )
    shared = ("rl_rollout", "tiny-0123", 4, 4, "trainer")
    assert found == [
        (*shared, "Wait, I add them up.", "<answer>3</answer>", 12, -3.5, True, 3.0, 0.5, False),
        (*shared, "I add them up.", "4", 12, -3.5, False, 2.0, -0.5, False),
    ]
    untold = rows(warehouse, "SELECT reward, advantage, clipped FROM rollouts WHERE reward IS NULL ORDER BY clipped")
    assert untold == [(None, None, False), (None, None, True)]


def test_parts_of_the_reward_and_the_verifiers_words_are_verdicts(
    warehouse: Warehouse, write: Callable[..., Written]
) -> None:
    write()
    found = rows(
        warehouse,
        'SELECT "check", kind, outcome, score, reason FROM verdicts v JOIN trajectories t USING (trajectory_id) '
        "JOIN prompts p USING (prompt_id) WHERE p.reference IS NOT NULL AND t.sample_index = 1 ORDER BY 1",
    )
    assert found == [
        ("features", "filter", "pass", 0.0, ""),
        ("math", "verifier", "fail", 0.0, "different"),
        ("reward_accuracy", "reward", "fail", 0.0, "below_threshold"),
        ("reward_format", "reward", "pass", 1.0, ""),
        ("reward_language", "reward", "pass", 1.0, ""),
    ]
    assert rows(
        warehouse, "SELECT outcome, score, reason, count(*) FROM verdicts WHERE score IS NULL GROUP BY ALL ORDER BY 3"
    ) == [("undecided", None, "no_reference", 2), ("undecided", None, "not_told", 2)]


def test_a_batch_that_is_written_again_leaves_its_rows_once(
    warehouse: Warehouse, write: Callable[..., Written]
) -> None:
    write()
    tables = ("trajectories", "verdicts", "rollouts")
    before = {t: rows(warehouse, f"FROM {t} ORDER BY ALL") for t in tables}
    assert write() == Written(0, [])
    assert {t: rows(warehouse, f"FROM {t} ORDER BY ALL") for t in tables} == before
    write(step=1, policy="tiny-4567")
    assert rows(warehouse, "SELECT count(*) FROM rollouts") == [(8,)]


@pytest.mark.parametrize("last", ["trajectories", "verdicts"])
def test_a_batch_whose_writing_was_killed_is_completed(
    warehouse: Warehouse, write: Callable[..., Written], monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    append = Warehouse.append

    def killing(self: Warehouse, table: str, given: Any) -> Any:
        done = append(self, table, given)
        if table == last:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Warehouse, "append", killing)
        write()
    write()
    counts = [rows(warehouse, f"SELECT count(*) FROM {t}")[0][0] for t in ("trajectories", "verdicts", "rollouts")]
    assert counts == [4, 20, 4]


def test_a_reply_that_came_out_otherwise_the_second_time_is_named_and_left_out(
    warehouse: Warehouse, write: Callable[..., Written]
) -> None:
    write()
    before = rows(warehouse, "FROM verdicts ORDER BY ALL")
    again = write(right=WRONG)
    first = rows(warehouse, "SELECT trajectory_id FROM trajectories WHERE sample_index = 0 ORDER BY 1")
    assert (again.added, sorted(again.differing)) == (0, [trajectory_id for (trajectory_id,) in first])
    assert rows(warehouse, "FROM verdicts ORDER BY ALL") == before


def test_the_funnel_adds_up_and_knows_what_is_still_to_come(
    warehouse: Warehouse, write: Callable[..., Written], rewards: Rewards, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunLog(warehouse, "run-1", "grpo-tiny", {}, rollout_checks(rewards, ["math"], ["rl_rollout"]))
    log.begin()
    append = Warehouse.append
    with monkeypatch.context() as patched:
        patched.setattr(Warehouse, "append", lambda self, t, given: None if t == "verdicts" else append(self, t, given))
        write()
    counts = {line.check: line.counts["pending"] for line in conservation(warehouse.path)}
    parts = ("reward_accuracy", "reward_format", "reward_language")
    assert counts == {"(replied)": 0, "features": 4, "math": 4, **dict.fromkeys(parts, 4)}
    write()
    lines = {line.check: line for line in conservation(warehouse.path)}
    assert all(line.balanced and not line.counts["pending"] for line in lines.values())
    assert lines["reward_accuracy"].counts == {"pass": 1, "fail": 1, "undecided": 2, "error": 0, "pending": 0}


def test_explain_tells_what_was_made_of_it(warehouse: Warehouse, write: Callable[..., Written]) -> None:
    write(step=4)
    ((ident,),) = rows(warehouse, "SELECT trajectory_id FROM rollouts WHERE reward = 2")
    told = " ".join(explain(warehouse.path, ident).split())
    assert "attempt step reward advantage clipped run_id" in told
    assert "1 4 2 -0.5 False run-1" in told


def test_samples_of_a_prompt_that_stands_there_twice_are_numbered_on(
    warehouse: Warehouse, prompts: list[Prompt], rewards: Rewards
) -> None:
    said = [Said(plan(prompts[:1], ASKING)[0], RIGHT)] * 2
    rewarded = reward_replies(rewards, said)
    with pytest.raises(ValueError, match="numbered on"):
        write_replies(warehouse, "run-1", ASKING, 0, said, rewards, rewarded, [None] * 2)
    assert rows(warehouse, "SELECT count(*) FROM trajectories") == [(0,)]
