"""What a GRPO training samples: which prompts, how they are asked, and who answers, this process or an engine."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object

from dataengine.generate import Asking, Wanted, plan
from dataengine.progress import Progress
from schemas.errors import EngineError
from schemas.keys import key
from schemas.recipe import Sampling
from schemas.records import Prompt, Stage
from trainers.grpo_config import GrpoConfig
from trainers.minibatch import Batching, Trained, with_logprobs
from trainers.model import end_ids
from trainers.prompts import prompt_order
from trainers.rollout import Sampled, sample
from trainers.served import Served
from trainers.training import Session


class Sampler:
    """Replies from the weights in training; to be closed when it is of an engine.

    `module` gives log-probabilities of the same `model`, in batches by `batching`; `prompts` are those that rollouts
    are of.
    """

    def __init__(
        self,
        session: Session,
        config: GrpoConfig,
        model: Any,
        tokenizer: Any,
        module: Any,
        prompts: Sequence[Prompt],
        batching: Batching,
    ) -> None:
        self._batching = batching
        self._session, self._config = session, config
        self._model, self._tokenizer, self._module, self._prompts = model, tokenizer, module, prompts
        self._ends = end_ids(model, tokenizer)
        self._served: Served | None = None
        if config.engine and session.accelerator.is_main_process:
            self._served = Served(
                config.engine,
                session.plan,
                session.accelerator.unwrap_model(model),
                tokenizer,
                self._ends,
                prompts,
                self._untempered,
                config.max_logprob_gap,
            )

    def close(self) -> None:
        """Stops a server of ours."""
        if self._served:
            self._served.close()

    @property
    def facts(self) -> dict[str, float]:
        """What was measured of the last rollout, where an engine sampled it."""
        return self._served.facts if self._served else {}

    def asking(self, stage: Stage, step: int, samples: int, temperature: float, top_p: float) -> Asking:
        """How replies are asked for at a step; the policy is key(training, step)."""
        config = self._config
        return Asking(
            stage=stage,
            policy=f"{config.name}@{key(self._session.plan.key, step)[:12]}",
            engine="vllm" if config.engine else "trainer",
            samples=samples,
            sampling=Sampling(temperature=temperature, top_p=top_p, seed=config.seed),
            max_tokens=config.budget(step),
            template=config.template,
            prefill=config.prefill,
        )

    def groups(self, step: int) -> tuple[Asking, list[list[Wanted]]]:
        """The rollout's groups, and how they are asked for.

        A prompt that comes twice, since there are few, makes a second group of further samples.
        """
        config, prompts = self._config, self._prompts
        count = config.prompts_per_step * config.steps_per_rollout
        start = step // config.steps_per_rollout * count
        content = self._session.plan.manifest.logical_hash
        order = list(prompt_order(len(prompts), start, count, seed=config.seed, snapshot=content))
        times = Counter(order)
        size = config.group_size
        asking = self.asking("rl_rollout", step, max(times.values()) * size, config.temperature, 1.0)
        wanted = {index: iter(plan([prompts[index]], asking)) for index in times}
        return asking, [list(islice(wanted[index], size)) for index in order]

    def replies(self, wanted: list[Wanted], asking: Asking, step: int, label: str) -> list[Sampled]:
        """The replies to `wanted`, in that order, by the weights as they are after `step` steps; `label` names them.

        Raises ConfigError for what does not fit the model, EngineError for an engine that fails.
        """
        if self._config.engine:
            return self._asked(wanted, asking, step, label)
        model, slots = self._session.accelerator.unwrap_model(self._model), self._config.slots
        if not self._session.accelerator.is_main_process:
            return sample(model, self._tokenizer, wanted, asking, self._ends, slots)
        with Progress(label, len(wanted)) as progress:
            for _ in wanted:
                progress.started()
            return sample(model, self._tokenizer, wanted, asking, self._ends, slots, progress.finished)

    def _asked(self, wanted: list[Wanted], asking: Asking, step: int, label: str) -> list[Sampled]:
        """As `replies`, from the engine: the first process asks for what all of them want."""
        parts: list[list[Wanted]] = gather_object([wanted])
        told: list[Any] = [None]
        if self._served:
            everything = [one for part in parts for one in part]
            try:
                with Progress(label, len(everything)) as progress:
                    told = [self._served.sample(step, everything, asking, progress)]
            except EngineError as e:
                told = [e]
        broadcast_object_list(told)
        if isinstance(told[0], EngineError):
            raise told[0]
        first = sum(map(len, parts[: self._session.accelerator.process_index]))
        sampled: list[Sampled] = told[0][first : first + len(wanted)]
        return sampled

    def _untempered(self, trained: Sequence[Trained]) -> list[torch.Tensor]:
        """Log-probabilities at temperature 1, as servers tell them."""
        plain = self._session.accelerator.unwrap_model(self._module)
        plain.temperature = 1.0
        try:
            scored = with_logprobs(plain, trained, "old", self._batching)
        finally:
            plain.temperature = self._config.temperature
        return [t.old for t in scored if t.old is not None]
