"""Reinforcement learning by group relative policy optimisation (GRPO): the loop, top to bottom.

rollout     prompts -> G replies each, from the weights as they are -> rewards -> advantages -> rows of the warehouse
minibatch   some whole groups of the rollout -> one update of the weights
"""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn

from dataengine.generate import Asking, plan
from dataengine.runlog import RunLog
from dataengine.scores import read_attempts, score
from schemas.errors import ConfigError, EngineError, UserError
from schemas.records import Prompt, Stage
from trainers.checkpoint import (
    SAMPLES,
    Plan,
    State,
    load_state,
    publish_checkpoint,
    publish_on_the_way,
    save_state,
)
from trainers.data import Example
from trainers.grpo_config import GrpoConfig
from trainers.grpo_report import Reply, Watch, card_facts, measured, progress_line, sample_columns, sample_rows
from trainers.minibatch import Batch, Batching, Trained, batches, can_share, pack, unpack, with_logprobs
from trainers.model import TokenLogProbs
from trainers.objective import group_advantages, grpo_terms
from trainers.prompts import read_prompts
from trainers.reference import Reference
from trainers.rewards import Rewarded, Rewards, load_rewards
from trainers.rollout import Sampled
from trainers.rollout_rows import reward_replies, rollout_checks, write_replies
from trainers.sample_log import SampleLog
from trainers.sampler import Sampler
from trainers.training import (
    Session,
    code_versions,
    make_optimizer,
    open_accelerator,
    open_curves,
    open_log,
    open_model,
    open_session,
    refuse_infinite,
    say,
    set_rate,
    size_of,
    update,
)
from warehouse.store import Warehouse

_METHOD = "Reinforcement learning (GRPO)"


@dataclass(frozen=True)
class Inputs:
    """What a training is of: the snapshot's prompts by split, the warehouse they lie in, and what replies earn.

    The rewards are to be closed.
    """

    warehouse: Warehouse
    prompts: dict[str, list[Prompt]]
    rewards: Rewards


def read_inputs(plan: Plan) -> Inputs:
    """Opens what a training needs. Raises UserError for what it cannot be trained on."""
    config = _config(plan)
    warehouse = open_curves(config.warehouse.expanduser())
    if warehouse is None:
        raise ConfigError(f"warehouse: {config.warehouse} has no tables, and every rollout is kept in them")
    prompts = read_prompts(config.warehouse, plan.manifest)
    if not prompts["train"]:
        raise ConfigError(f"snapshot {plan.manifest.id} has no training prompts; lower the mix's `validation`")
    if config.evaluation and not prompts["validation"]:
        raise ConfigError(f"snapshot {plan.manifest.id} holds no prompts out: give its mix a `validation`")
    return Inputs(warehouse, prompts, load_rewards(config.rewards))


def train(plan: Plan) -> dict[str, Any]:
    """Trains as planned, from the newest state if there is one, and returns the checkpoint's `training.json`.

    Started as one process or, by `accelerate launch` or `torchrun`, as several: each samples its share of a rollout's
    groups and takes its share of every minibatch. Progress goes to stderr. Ctrl-C or SIGTERM finishes the step, keeps
    the state and raises KeyboardInterrupt. Raises UserError for what the user can mend.
    """
    config = _config(plan)
    accelerator, tell = open_accelerator(config)
    began = time.perf_counter()

    # All that can be refused is refused here, before anything is written.
    inputs = read_inputs(plan)
    warehouse, prompts, rewards = inputs.warehouse, inputs.prompts, inputs.rewards
    state = load_state(plan, accelerator.device)
    model, tokenizer = open_model(config, state, accelerator.device)
    _no_dropout(model)

    with ExitStack() as stack:
        stack.callback(rewards.close)
        session = stack.enter_context(open_session(plan, accelerator, tokenizer, state, tell, began))
        log = _run_log(plan, warehouse, prompts, rewards)
        if accelerator.is_main_process:
            log.begin()
        loop = _Loop(session, model, tokenizer, prompts, rewards, warehouse, state)
        stack.callback(loop.sampler.close)
        try:
            loop.run()
        except (KeyboardInterrupt, UserError) as e:
            if accelerator.is_main_process:
                log.end("interrupted" if isinstance(e, KeyboardInterrupt) else "failed", {})
            raise
        result = loop.result()
        if accelerator.is_main_process:
            result = publish_checkpoint(plan, model, tokenizer, result, _METHOD, card_facts(result, config))
            log.end("finished", {"steps": result["steps"]})
            tell(f"done: {plan.folder}")
        accelerator.wait_for_everyone()
        accelerator.end_training()
        return result


class _Loop:
    def __init__(
        self,
        session: Session,
        model: Any,
        tokenizer: Any,
        prompts: dict[str, list[Prompt]],
        rewards: Rewards,
        warehouse: Warehouse,
        state: State | None,
    ) -> None:
        self.session = session
        self.config = _config(session.plan)
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.rewards = rewards
        self.warehouse = warehouse
        accelerator, config = session.accelerator, self.config
        # The order of prompts, their seeds and the dropout (none) are functions of the step, so a state is weights,
        # optimizer, reference, what is left of the rollout, and the step.
        self.optimizer = make_optimizer(model, config)
        self.reference = Reference(model) if config.kl_coefficient else None
        self.minibatches: list[list[Trained]] = []
        self.first, self.seconds = 0, 0.0
        self.watch = Watch(config.alarms)
        if state:
            self.optimizer.load_state_dict(state.tensors["optimizer"])
            if self.reference:
                self.reference.load(state.tensors["reference"])
            self.minibatches = unpack(state.tensors["minibatches"])
            self.first, self.seconds = state.progress["step"], state.progress["seconds"]
            for line in state.progress["log"]:
                self.watch.look(line)
            session.say(f"resuming after step {self.first}/{config.steps}")
        self.log = open_log(session, state)
        # Lines whose rows this session has written; one before may have been killed between its state and its rows.
        self.told = 0
        kept = session.plan.partial / SAMPLES if accelerator.is_main_process else None
        self.samples = SampleLog(kept, sample_columns(part.name for part in rewards.parts), self.first)
        scorer = TokenLogProbs(model, config.temperature)
        # What activations are recomputed of, keeps no keys and values.
        shared = not config.activation_checkpointing and can_share(scorer, session.pad_id, accelerator.device)
        self.batching = Batching(config.micro_batch_tokens, session.pad_id, accelerator.device, shared)
        self.module, self.optimizer = accelerator.prepare(scorer, self.optimizer)
        self.sampler = Sampler(session, config, model, tokenizer, self.module, prompts["train"], self.batching)

    # -- the loop

    def run(self) -> None:
        config, session = self.config, self.session
        session.say(
            f"{config.name}: {size_of(self.model)}, {len(self.prompts['train']):,} prompts of "
            f"{session.plan.manifest.id}, {config.steps:,} steps of {config.prompts_per_step} x {config.group_size} "
            "replies"
        )
        if self.first == 0 and config.evaluation:
            before: dict[str, Any] = {"step": 0}
            self._evaluate(0, before)
            self.log.append(before)
        for step in range(self.first, config.steps):
            line: dict[str, Any] = {"step": step + 1}
            if not self.minibatches:
                try:
                    self._sample(step, line)
                except EngineError:
                    # What was learnt since the last state need not go with the server.
                    if step > self.first:
                        self._keep(step)
                    raise
            stopped = self._learn(step, self.minibatches.pop(0), line)
            if self.reference and config.reference_every and (step + 1) % config.reference_every == 0:
                self.reference.renew()
            if config.evaluation and ((step + 1) % config.evaluation.every == 0 or step + 1 == config.steps):
                self._evaluate(step + 1, line)
            self.log.append(line)
            if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
                session.say(progress_line(line, config))
            alarms = self.watch.look(line)
            for alarm in alarms:
                session.say(f"alarm: {alarm} ({self.watch.counts[alarm]} rollouts in a row)")
            alarmed = bool(alarms) and config.alarms.stop
            if config.checkpoint_at(step + 1, last_of_epoch=False) and step + 1 < config.steps:
                self._publish(step + 1)
            if (step + 1) % config.save_every == 0 or stopped or alarmed or step + 1 == config.steps:
                self._keep(step + 1)
            if alarmed:
                raise UserError(f"stopped after step {step + 1}: {alarms[0]}; its state is kept")
            if stopped and step + 1 < config.steps:
                session.say(f"stopped after step {step + 1}/{config.steps}; the same command goes on from here")
                raise KeyboardInterrupt

    # -- rollouts

    def _sample(self, step: int, line: dict[str, Any]) -> None:
        """Samples and scores a rollout with the weights as they are; `line` gets what was measured of it."""
        config, accelerator = self.config, self.session.accelerator
        clock = _Clock()
        asking, groups = self.sampler.groups(step)
        # Each process samples whole groups; then all hold all of them, since minibatches are dealt out by length.
        mine = list(range(accelerator.process_index, len(groups), accelerator.num_processes))
        sampled = self.sampler.replies([w for i in mine for w in groups[i]], asking, step, f"rollout {step + 1}")
        sampling = clock.lap()
        rewarded = reward_replies(self.rewards, sampled)
        rewarding = clock.lap()
        sums = torch.tensor([math.nan if r is None else r for r in rewarded.sums], dtype=torch.float64)
        advantages = [
            None if math.isnan(a) else a
            for a in group_advantages(sums.view(len(mine), config.group_size)).flatten().tolist()
        ]
        self._write(asking, step, sampled, rewarded, advantages)
        writing = clock.lap()
        trained = self._with_logprobs([_trained(s, a) for s, a in zip(sampled, advantages, strict=True)])
        scoring = clock.lap()
        replies = [
            Reply(
                trained[i],
                {name: values[i] for name, values in rewarded.parts.items()},
                rewarded.sums[i],
                advantages[i],
                sampled[i].finish_reason == "length",
            )
            for i in range(len(sampled))
        ]
        size = config.group_size
        gathered = gather_object([(i, replies[n * size : (n + 1) * size]) for n, i in enumerate(mine)])
        ordered = [group for _, group in sorted(gathered, key=lambda item: item[0])]
        self.minibatches = [
            [reply.trained for group in ordered[first : first + config.prompts_per_step] for reply in group]
            for first in range(0, len(ordered), config.prompts_per_step)
        ]
        if self.session.accelerator.is_main_process:
            sources = [group[0].prompt.source for group in groups]
            snapshot = self.session.plan.manifest.id
            self.samples.append(sample_rows(ordered, sources, step, config.prompts_per_step, snapshot))
        line |= measured(ordered)
        line |= {"seconds/sampling": sampling, "seconds/rewards": rewarding, "seconds/rows": writing}
        line["seconds/logprobs"] = scoring
        line |= self.sampler.facts

    def _write(
        self,
        asking: Asking,
        step: int,
        sampled: Sequence[Sampled],
        rewarded: Rewarded,
        advantages: Sequence[float | None] | None = None,
    ) -> None:
        run_id = self.session.plan.key
        written = write_replies(self.warehouse, run_id, asking, step, sampled, self.rewards, rewarded, advantages)
        if written.differing:
            say(
                f"{len(written.differing)} replies were sampled before, with another text, and stay as they are in the "
                f"warehouse, e.g. {written.differing[0]}"
            )

    def _with_logprobs(self, trained: list[Trained]) -> list[Trained]:
        """With the old log-probabilities, unless each step is on-policy, and those of a reference, if there is one."""
        plain = self.session.accelerator.unwrap_model(self.module)
        if self.config.steps_per_rollout > 1:
            trained = with_logprobs(plain, trained, "old", self.batching)
        if self.reference:
            self.reference.swap()
            trained = with_logprobs(plain, trained, "reference", self.batching)
            self.reference.swap()
        return trained

    # -- learning

    def _learn(self, step: int, minibatch: list[Trained], line: dict[str, Any]) -> bool:
        """One update from one minibatch; whether a signal asks to stop."""
        config, session = self.config, self.session
        clock = _Clock()
        rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
        set_rate(self.optimizer, rate)
        session.seed(step)
        counted = [t for t in minibatch if t.example.weight]
        # kl and clipped, summed over this process's replies
        sums = torch.zeros(2, device=session.accelerator.device)
        groups = batches(self._share(counted or minibatch), self.batching)
        denominator = max(1, len(counted))

        def part(batch: Batch) -> torch.Tensor:
            logprobs = self.module(batch.input_ids, batch.positions, batch.targets, batch.prefix)
            terms = grpo_terms(
                logprobs,
                batch.old,
                batch.reference,
                batch.advantages,
                batch.rows,
                form=config.form,
                clip_low=config.clip,
                clip_high=config.clip,
                kl_coefficient=config.kl_coefficient,
            )
            sums.add_(torch.stack([(terms.kl * batch.weights).sum(), (terms.clipped * batch.weights).sum()]))
            return (terms.loss * batch.weights).sum() / denominator

        loss, grad_norm, stopped = update(session, self.module, self.optimizer, [partial(part, b) for b in groups])
        refuse_infinite(loss, grad_norm, step + 1)
        kl, clipped = (session.accelerator.reduce(sums) / denominator).tolist()
        line |= {
            "train/loss": loss,
            "train/lr": rate,
            "train/grad_norm": grad_norm,
            "train/kl": kl,
            "train/clip_fraction": clipped,
            "seconds/update": clock.lap(),
        }
        return stopped

    def _share(self, minibatch: Sequence[Trained]) -> Sequence[Trained]:
        """This process's part; every process needs some reply to take part in the exchange of gradients."""
        accelerator = self.session.accelerator
        ordered = sorted(minibatch, key=lambda t: -len(t.example.ids))
        share = ordered[accelerator.process_index :: accelerator.num_processes]
        return share or [replace(ordered[-1], example=replace(ordered[-1].example, weight=0.0))]

    # -- what is looked at, said and kept

    def _evaluate(self, step: int, line: dict[str, Any]) -> None:
        """Tries the held-out prompts with the weights as they are; rows of stage `eval`, scores in `line`."""
        evaluation, accelerator = self.config.evaluation, self.session.accelerator
        if evaluation is None:
            return
        asking = self.sampler.asking("eval", step, evaluation.samples, evaluation.temperature, evaluation.top_p)
        wanted = plan(self.prompts["validation"][: evaluation.prompts], asking)
        sampled = self.sampler.replies(
            wanted[accelerator.process_index :: accelerator.num_processes], asking, step, f"eval {step}"
        )
        self._write(asking, step, sampled, reward_replies(self.rewards, sampled))
        accelerator.wait_for_everyone()
        scores = score(read_attempts(self.warehouse.path, asking.policy, [w.trajectory_id for w in wanted]))
        line |= {
            "eval/pass@1": scores.lenient.value,
            "eval/pass@1_low": scores.lenient.low,
            "eval/pass@1_high": scores.lenient.high,
            "eval/mean_length": scores.mean_tokens,
        }
        if scores.cons:
            line[f"eval/cons@{evaluation.samples}"] = scores.cons.value
        self.session.say(
            f"step {step}  held out: pass@1 {scores.lenient.text}, {scores.mean_tokens:,.0f} tokens a reply"
        )

    def _publish(self, step: int) -> None:
        """Writes a checkpoint on the way."""
        session = self.session
        if session.accelerator.is_main_process:
            self.samples.keep(step)
            result = self.result()
            facts = card_facts(result, self.config)
            publish_on_the_way(session.plan, step, self.model, self.tokenizer, result, _METHOD, facts)
            session.say(f"checkpoint: {session.plan.folder_of(step)}")
        session.accelerator.wait_for_everyone()

    def _keep(self, step: int) -> None:
        """Writes a state, and the curves so far into the warehouse."""
        session = self.session
        if session.accelerator.is_main_process:
            tensors: dict[str, Any] = {
                "optimizer": self.optimizer.state_dict(),
                "minibatches": pack(self.minibatches),
                **({"reference": self.reference.tensors} if self.reference else {}),
            }
            progress = {"seconds": self._spent(), "log": self.log.lines}
            self.samples.keep(step)
            save_state(session.plan, step, self.model, self.tokenizer, tensors, progress)
            self.warehouse.append("metrics", self.log.rows(session.plan.key, self.told))
            self.told = len(self.log.lines)
        session.accelerator.wait_for_everyone()

    def _spent(self) -> float:
        return self.seconds + time.perf_counter() - self.session.began

    def result(self) -> dict[str, Any]:
        """What `training.json` says of the training."""
        lines = [line for line in self.log.lines if "train/loss" in line]
        rollouts = [line for line in lines if "rewards/sum/mean" in line]
        evaluated = [line for line in self.log.lines if "eval/pass@1" in line]
        return {
            "rows": {name: len(prompts) for name, prompts in self.prompts.items()},
            "steps": len(lines),
            "rewards": {"first": rollouts[0]["rewards/sum/mean"], "last": rollouts[-1]["rewards/sum/mean"]},
            "evaluations": {
                str(line["step"]): [line["eval/pass@1"], line["eval/pass@1_low"], line["eval/pass@1_high"]]
                for line in evaluated
            },
            "seconds": round(self._spent(), 3),
            "versions": code_versions(),
        }


class _Clock:
    """Seconds since it was made, or since the last lap."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def lap(self) -> float:
        before, self._at = self._at, time.perf_counter()
        return self._at - before


def _trained(sampled: Sampled, advantage: float | None) -> Trained:
    # What nobody could judge was sampled for nothing: it is in no mean, no std and no loss.
    weight = 0.0 if advantage is None else 1.0
    return Trained(Example(sampled.wanted.trajectory_id, sampled.ids, sampled.prompt, weight), advantage or 0.0)


def _run_log(plan: Plan, warehouse: Warehouse, prompts: dict[str, list[Prompt]], rewards: Rewards) -> RunLog:
    """The training's own rows, a run by the training's key: its rollouts and metrics are of that run too."""
    config = _config(plan)
    verifiers = [p.verifier for split in prompts.values() for p in split if p.verifier]
    stages: list[Stage] = ["rl_rollout", "eval"] if config.evaluation else ["rl_rollout"]
    checks = rollout_checks(rewards, verifiers, stages)
    settings = config.model_dump(mode="json", exclude={"warehouse", "output", "model"})
    return RunLog(warehouse, plan.key, f"grpo-{config.name}", settings, checks)


def _no_dropout(model: Any) -> None:
    """Turns dropout off: with it the ratio would be of other weights than those that sampled."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0


def _config(plan: Plan) -> GrpoConfig:
    assert isinstance(plan.config, GrpoConfig)
    return plan.config
