"""What a rewrite step wants, from what the steps before it wanted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataengine.generate import Asking, Wanted, plan_rewrites
from dataengine.rewrites.parents import Chosen, choose, read_parents
from dataengine.sources.build import PromptSet
from schemas.recipe import RewriteStep


@dataclass(frozen=True)
class Made:
    """The trajectories that a step wanted, and the prompt sets that their prompts are from."""

    ids: list[str]
    sets: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """The rewrites that a step wants, with what they are chosen from."""

    wanted: list[Wanted]
    chosen: Chosen
    sets: tuple[str, ...]

    @property
    def prompts(self) -> PromptSet:
        """The prompts of what is rewritten."""
        return PromptSet(list({w.prompt.prompt_id: w.prompt for w in self.wanted}.values()))


def plan_step(
    path: Path,
    name: str,
    step: RewriteStep,
    made: Mapping[str, Made],
    prompts_of: Callable[[Sequence[str]], PromptSet],
    asking: Asking,
) -> Planned:
    """The rewrites of the step `name`, with parents among what earlier steps `made`. Raises ConfigError."""
    earlier = [made[other] for other in step.steps]
    sets = tuple(dict.fromkeys(s for m in earlier for s in m.sets))
    prompts = prompts_of(sets).prompts
    chosen = choose(path, name, step, prompts, [i for m in earlier for i in m.ids])
    # Two sources may hold the same prompt: the first counts, as when it was sampled.
    by_id = {p.prompt_id: p for p in reversed(prompts)}
    return Planned(plan_rewrites(read_parents(path, chosen.ids), by_id, asking), chosen, sets)
