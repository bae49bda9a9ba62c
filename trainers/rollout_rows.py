"""What a training samples, as rows: trajectories, verdicts that rewards are made of, what the loss made of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dataengine.checking import sample_of, verdict_of
from dataengine.checks import Check, Opinion
from dataengine.filters.features import FeaturesCheck
from dataengine.generate import Asking, Wanted, insert_ids
from dataengine.prompting import take_apart
from dataengine.verify.vote import VoteCheck
from schemas.keys import storable
from schemas.records import FinishReason, Outcome, Rollout, Stage, Trajectory, Verdict, now
from trainers.rewards import Part, Rewarded, Rewards
from warehouse.connect import connect
from warehouse.store import Warehouse


class Reply(Protocol):
    """A sampled reply. `text` is all of it, a prefilled start included; `prompt` and `tokens` count tokens."""

    @property
    def wanted(self) -> Wanted: ...  # noqa: D102

    @property
    def text(self) -> str: ...  # noqa: D102

    @property
    def prompt(self) -> int: ...  # noqa: D102

    @property
    def tokens(self) -> int: ...  # noqa: D102

    @property
    def finish_reason(self) -> str: ...  # noqa: D102

    @property
    def logprob_sum(self) -> float | None: ...  # noqa: D102


@dataclass(frozen=True)
class Written:
    """What became of a batch: trajectories that are new, and ids of those that the warehouse has with another text."""

    added: int
    differing: list[str]


def reward_replies(rewards: Rewards, replies: Sequence[Reply]) -> Rewarded:
    """The rewards of replies, in order; functions get all that is known of prompt and reply as columns.

    These are `prompt_id`, `source`, `domain`, `language`, `reference`, `verifier`, `metadata` (JSON), `finish_reason`,
    and `completion_tokens`. Raises RewardError as `Rewards` does.
    """
    prompts = [reply.wanted.prompt for reply in replies]
    names = ("prompt_id", "source", "domain", "language", "reference", "verifier", "metadata")
    columns = {name: [getattr(prompt, name) for prompt in prompts] for name in names}
    columns["finish_reason"] = [reply.finish_reason for reply in replies]
    columns["completion_tokens"] = [reply.tokens for reply in replies]
    asked = [[message.model_dump() for message in prompt.messages] for prompt in prompts]
    return rewards(asked, [reply.text for reply in replies], **columns)


def rollout_checks(rewards: Rewards, verifiers: Iterable[str], stages: Sequence[Stage]) -> list[dict[str, object]]:
    """The checks whose verdicts `write_replies` gives, as `runs.checks` holds them: what the funnel takes as due.

    `verifiers` are those of the prompts. Raises ConfigError for one that does not exist.
    """
    asked = [(part.check, part.version, False) for part in rewards.parts]
    asked += [(check.name, check.version, True) for check in rewards.verifiers(verifiers)]
    names = ("check", "version", "verifier")
    return [
        {"stage": stage, **dict(zip(names, row, strict=True))}
        for stage in stages
        for row in [*asked, *((check.name, check.version, False) for check in _beside(stage))]
    ]


def _beside(stage: Stage) -> list[Check]:
    """What is asked beside rewards and verifiers: counts of words, and of evaluations what a reply votes for."""
    return [FeaturesCheck(), VoteCheck()] if stage == "eval" else [FeaturesCheck()]


def write_replies(
    warehouse: Warehouse,
    run_id: str,
    asking: Asking,
    step: int,
    replies: Sequence[Reply],
    rewards: Rewards,
    rewarded: Rewarded,
    advantages: Sequence[float | None] | None = None,
) -> Written:
    """Writes a batch that was sampled by the weights of an optimizer step (0: the start weights).

    `asking` is how it was asked for, its `policy` that of the step. `rewarded` and `advantages` are in the order of
    `replies`; an advantage of None says that the reply is left out of the loss, and no advantages at all that nothing
    is learnt from the batch, an evaluation. Verdicts are the verifiers' words, each part of the reward under
    `reward_<name>` (its value is the score, a pass from the part's threshold on, undecided where it is None), the
    counts of the check `features`, and in evaluations what a reply votes for. The rows of `rollouts` come last, so
    where they are, all is there. Written again, by a run that goes on, a batch leaves its rows once. A reply whose
    trajectory is in the warehouse with another text, as sampling on a GPU may repeat it, is left out and named.

    Raises ValueError where a trajectory is there twice: of a prompt that stands in a batch twice, the samples count on.
    """
    rows = [_trajectory(reply, asking, run_id, step) for reply in replies]
    if len({row.trajectory_id for row in rows}) < len(rows):
        raise ValueError("a trajectory stands in the batch twice; samples of one prompt and step are to be numbered on")
    added = {t.trajectory_id: t for t in warehouse.append("trajectories", rows).added if isinstance(t, Trajectory)}
    stored = _stored(warehouse, [row.trajectory_id for row in rows if row.trajectory_id not in added])
    standing: dict[int, Trajectory] = {}
    for i, row in enumerate(rows):
        attempt, text = stored.get(row.trajectory_id, (1, ""))
        if row.trajectory_id in added:
            standing[i] = added[row.trajectory_id]
        elif text == storable(row.text):
            standing[i] = row.model_copy(update={"attempt": attempt})
    verdicts = _verdicts(standing, replies, rewards, rewarded, run_id, asking.stage)
    warehouse.append("verdicts", verdicts)
    if advantages is not None:
        warehouse.append("rollouts", [_rollout(t, rewarded.sums[i], advantages[i]) for i, t in standing.items()])
    return Written(len(added), [row.trajectory_id for i, row in enumerate(rows) if i not in standing])


def _trajectory(reply: Reply, asking: Asking, run_id: str, step: int) -> Trajectory:
    parts = take_apart(reply.text)
    finish_reason: FinishReason = reply.finish_reason  # type: ignore[assignment]  # checked by the record
    return Trajectory(
        **asking.columns(reply.wanted),
        reasoning=parts.reasoning,
        answer=parts.answer,
        text=reply.text,
        finish_reason=finish_reason,
        prompt_tokens=reply.prompt,
        completion_tokens=reply.tokens,
        logprob_sum=reply.logprob_sum,
        run_id=run_id,
        step=step,
        created_at=now(),
    )


def _stored(warehouse: Warehouse, trajectory_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """The current attempt and the text of those trajectories."""
    if not trajectory_ids:
        return {}
    with connect(warehouse.path, only=("trajectories_current",)) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, trajectory_ids)
        rows = connection.execute(
            "SELECT trajectory_id, attempt, text FROM trajectories_current SEMI JOIN wanted USING (trajectory_id)"
        ).fetchall()
    return {trajectory_id: (attempt, text) for trajectory_id, attempt, text in rows}


def _verdicts(
    standing: Mapping[int, Trajectory],
    replies: Sequence[Reply],
    rewards: Rewards,
    rewarded: Rewarded,
    run_id: str,
    stage: Stage,
) -> list[Verdict]:
    samples = {i: sample_of(row, replies[i].wanted.prompt) for i, row in standing.items()}
    rows = []
    for i, sample in samples.items():
        if (verified := rewarded.verified[i]) is not None:
            rows.append(verdict_of(verified.check, sample, verified.opinion, run_id, verified.seconds))
        against = replies[i].wanted.prompt.against
        rows += [_reward(p, standing[i], rewarded.parts[p.name][i], against) for p in rewards.parts]
    for check in _beside(stage):
        concerned = [sample for sample in samples.values() if check.applies(sample)]
        opinions: list[Opinion] = check(concerned)
        rows += [verdict_of(check, s, o, run_id, 0.0) for s, o in zip(concerned, opinions, strict=True)]
    return rows


def _reward(part: Part, row: Trajectory, value: float | None, against: str) -> Verdict:
    outcome: Outcome = "undecided" if value is None else "pass" if value >= part.threshold else "fail"
    return Verdict(
        trajectory_id=row.trajectory_id,
        attempt=row.attempt,
        check=part.check,
        version=part.version,
        against=against if part.uses_reference else "",
        kind="reward",
        outcome=outcome,
        score=value,
        reason="not_told" if value is None else "" if outcome == "pass" else "below_threshold",
        run_id=row.run_id,
        created_at=now(),
    )


def _rollout(row: Trajectory, reward: float | None, advantage: float | None) -> Rollout:
    assert row.step is not None
    return Rollout(
        trajectory_id=row.trajectory_id,
        attempt=row.attempt,
        step=row.step,
        reward=reward,
        advantage=advantage,
        clipped=row.finish_reason == "length",
        run_id=row.run_id,
        created_at=now(),
    )
