"""What a GRPO training is told of: figures of a rollout, lines of progress, alarms, the model card."""

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from trainers.grpo_config import Alarms, GrpoConfig
from trainers.minibatch import Trained


@dataclass(frozen=True)
class Reply:
    """A reply with what became of it; a reward and an advantage of None leave it out of the loss."""

    trained: Trained
    parts: dict[str, float | None]
    reward: float | None
    advantage: float | None
    truncated: bool

    @property
    def tokens(self) -> int:
        """Tokens of the reply, its end included."""
        return self.trained.example.labelled


def measured(groups: Sequence[Sequence[Reply]]) -> dict[str, float]:
    """What a rollout was like, by the names that users of TRL have on their dashboards where there is one."""
    replies = [reply for group in groups for reply in group]
    told = [reply.reward for reply in replies if reply.reward is not None]
    return {
        **{
            f"rewards/{name}/mean": _mean([value for r in replies if (value := r.parts[name]) is not None])
            for name in replies[0].parts
        },
        "rewards/sum/mean": _mean(told),
        "rewards/sum/std": statistics.pstdev(told) if told else 0.0,
        "rewards/no_spread": _mean([not any(reply.advantage for reply in group) for group in groups]),
        "rewards/left_out": 1 - len(told) / len(replies),
        "completions/mean_length": _mean([reply.tokens for reply in replies]),
        "completions/clipped_ratio": _mean([reply.truncated for reply in replies]),
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def progress_line(line: dict[str, Any], config: GrpoConfig) -> str:
    """One step for people, with its rollout where one was sampled."""
    parts = [f"step {line['step']}/{config.steps}  loss {line['train/loss']:.4f}  kl {line['train/kl']:.4f}"]
    if "rewards/sum/mean" in line:
        each = ", ".join(
            f"{name.split('/')[1]} {value:.2f}"
            for name, value in line.items()
            if name.startswith("rewards/") and name.endswith("/mean") and name != "rewards/sum/mean"
        )
        parts.append(f"reward {line['rewards/sum/mean']:.3f} ({each})")
        parts.append(f"{line['completions/mean_length']:,.0f} tokens a reply")
        if "rollout/logprob_gap" in line:
            parts.append(f"logprob gap {line['rollout/logprob_gap']:.3g}")
    return "  ".join(parts)


class Watch:
    """Counts, over rollouts in a row, what tells that nothing is learnt."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._first_length: float | None = None
        self.counts: dict[str, int] = {}

    def look(self, line: dict[str, Any]) -> list[str]:
        """What has lasted too long, in words; nothing for a step without a rollout."""
        if "rewards/no_spread" not in line:
            return []
        alarms, length = self._alarms, line["completions/mean_length"]
        self._first_length = self._first_length or length
        so = {
            "no group's rewards differ, so nothing is learnt": line["rewards/no_spread"] >= alarms.no_spread,
            "nearly all replies are cut at max_tokens": line["completions/clipped_ratio"] >= alarms.truncated,
            "replies have all but vanished": length <= alarms.shrunk * self._first_length,
        }
        self.counts = {text: self.counts.get(text, 0) + 1 for text, now in so.items() if now}
        return [text for text, times in self.counts.items() if times >= alarms.rollouts]


def sample_columns(rewards: Iterable[str]) -> pa.Schema:
    """The columns of `samples.parquet`: which reply was learnt from at which step, and what it was held to be worth.

    `weight` is 0 for a reply that nobody could judge, `clipped` says that it was cut at max_tokens.
    """
    return pa.schema(
        [
            ("step", pa.int32()),
            ("trajectory_id", pa.string()),
            ("snapshot", pa.string()),
            ("source", pa.string()),
            ("labelled_tokens", pa.int32()),
            ("weight", pa.float64()),
            *((f"rewards/{name}", pa.float64()) for name in rewards),
            ("reward", pa.float64()),
            ("advantage", pa.float64()),
            ("clipped", pa.bool_()),
        ]
    )


def sample_rows(
    groups: Sequence[Sequence[Reply]], sources: Sequence[str], first: int, groups_per_step: int, snapshot: str
) -> Iterator[dict[str, Any]]:
    """The rows of a rollout whose first minibatch is learnt from at the step after `first`."""
    for number, (group, source) in enumerate(zip(groups, sources, strict=True)):
        for reply in group:
            example = reply.trained.example
            yield {
                "step": first + number // groups_per_step + 1,
                "trajectory_id": example.id,
                "snapshot": snapshot,
                "source": source,
                "labelled_tokens": example.labelled,
                "weight": example.weight,
                **{f"rewards/{name}": value for name, value in reply.parts.items()},
                "reward": reply.reward,
                "advantage": reply.advantage,
                "clipped": reply.truncated,
            }


def card_facts(result: dict[str, Any], config: GrpoConfig) -> dict[str, str]:
    """What the model card tells of the training."""
    per_step = config.prompts_per_step * config.group_size
    facts = {
        "prompts": f"{result['rows']['train']:,}",
        "optimizer steps": f"{result['steps']:,} of {config.prompts_per_step} x {config.group_size} = {per_step} "
        f"replies, {config.steps_per_rollout} steps on each rollout",
        "objective": f"{config.form}, clip {config.clip:g}, KL {config.kl_coefficient:g}"
        + (f", reference replaced every {config.reference_every} steps" if config.reference_every else ""),
        "learning rate": f"{config.learning_rate:g}, constant",
        "reward": f"{result['rewards']['first']:.3f} in the first rollout, {result['rewards']['last']:.3f} in the last",
    }
    if config.engine:
        facts["replies"] = "sampled by vLLM, which was handed the weights before each rollout"
    for step, (value, low, high) in result["evaluations"].items():
        facts[f"held out, step {step}"] = f"pass@1 {value:.1%} ({low:.1%} to {high:.1%})"
    return facts
