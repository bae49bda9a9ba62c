"""What a rewrite step wants, from what the steps before it wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataengine.generate import Asking, Wanted, plan_rewrites
from dataengine.rewrites.parents import Chosen, choose, read_parents
from dataengine.sources.build import PromptSet
from schemas.recipe import RewriteStep
from schemas.records import Prompt


@dataclass(frozen=True)
class Made:
    """The trajectories that a step wanted, and their prompts, among which may be others."""

    ids: list[str]
    prompts: Sequence[Prompt]


@dataclass(frozen=True)
class Planned:
    """The rewrites that a step wants, with what they are chosen from."""

    wanted: list[Wanted]
    chosen: Chosen

    @property
    def prompts(self) -> PromptSet:
        """The prompts of what is rewritten."""
        return PromptSet(list({w.prompt.prompt_id: w.prompt for w in self.wanted}.values()))

    @property
    def made(self) -> Made:
        """For the steps that are of this one."""
        return Made([w.trajectory_id for w in self.wanted], self.prompts.prompts)


def plan_step(path: Path, name: str, step: RewriteStep, made: Mapping[str, Made], asking: Asking) -> Planned:
    """The rewrites of the step `name`, with parents among what earlier steps `made`. Raises ConfigError."""
    earlier = [made[other] for other in step.steps]
    # Two sources may hold the same prompt: the first counts, as when it was sampled.
    by_id: dict[str, Prompt] = {}
    for prompt in (p for m in earlier for p in m.prompts):
        by_id.setdefault(prompt.prompt_id, prompt)
    chosen = choose(path, name, step, list(by_id.values()), [i for m in earlier for i in m.ids])
    return Planned(plan_rewrites(read_parents(path, chosen.ids), by_id, asking), chosen)
