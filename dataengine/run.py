"""The stage loop: every step does the work that has no row yet, so a run can be killed anywhere and started again."""

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataengine.account import account
from dataengine.chat_tokenizer import open_chat
from dataengine.checking import load_checks, pending
from dataengine.engines.keeping import Keeper
from dataengine.generate import Wanted, missing, plan
from dataengine.generate import run_id as new_run_id
from dataengine.judge.calibrating import calibrate_step
from dataengine.judge.judge import Judge
from dataengine.judge.pair_step import judge_pairs
from dataengine.judge.pairing import choose_pairs
from dataengine.judge.preference import PairJudge, load_judge
from dataengine.judge.step import judge_trajectories
from dataengine.looking_over import look_over_recipe, mix_of
from dataengine.policy import Policy
from dataengine.processes import die_with_parent, polite_threads
from dataengine.reusing import find_replies, take_replies
from dataengine.review_step import look
from dataengine.rewrites.planning import Made, plan_step
from dataengine.runlog import RunLog, code_versions, recipe_checks
from dataengine.sampling import Sampled, asking_of, asking_of_rewrite, sample_and_check
from dataengine.screen import first_of
from dataengine.shipped import systems_of
from dataengine.sources.build import PromptSet, join
from dataengine.status import conservation
from dataengine.tables import table
from schemas.errors import ConfigError, JudgeNotCalibrated, UserError
from schemas.recipe import (
    CalibrateStep,
    CheckSpec,
    EndpointEngine,
    EvaluateStep,
    GenerateStep,
    ImportStep,
    JudgeStep,
    PairsStep,
    Recipe,
    ReportStep,
    ReviewStep,
    RewriteStep,
    SnapshotStep,
    TrainStep,
)
from schemas.records import Stage
from warehouse.connect import refresh_duckdb_file
from warehouse.interrupts import interruptible
from warehouse.snapshot import Snapshot, create_snapshot
from warehouse.store import Warehouse


class TrainerFailed(UserError):
    """A trainer process ended without a result."""


@dataclass
class RunResult:
    """What a run did.

    `errors` counts requests and checks that failed and are recorded, `missing` the verdicts of judges whose requests
    failed.
    """

    run_id: str
    worked: bool = False
    errors: int = 0
    missing: int = 0
    balanced: bool = True
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, count: int) -> None:
        """Counts work."""
        if count:
            self.worked = True
            self.counts[name] = self.counts.get(name, 0) + count


def run_recipe(recipe: Recipe, path: str | Path, *, limit: int | None = None, say: Callable[[str], None]) -> RunResult:
    """Runs every step of a recipe on a warehouse, made if it is not there. `limit` caps the prompts of each set.

    Raises UserError when it cannot go on; what was finished is kept, and the same call goes on from there.
    """
    look_over_recipe(recipe)
    warehouse = Warehouse.open(path, create=True)
    loop = _Loop(recipe, warehouse, limit, say)
    try:
        with interruptible():
            loop.run()
    except (KeyboardInterrupt, UserError) as e:
        # On a full disk this fails as well: it is the first problem that has to be told.
        with suppress(UserError):
            loop.log.end("interrupted" if isinstance(e, KeyboardInterrupt) else "failed", loop.result.counts)
            _refresh(loop)
        raise
    finally:
        loop.servers.close()
    _refresh(loop)
    return loop.result


def _refresh(loop: "_Loop") -> None:
    if loop.log.begun:
        refresh_duckdb_file(loop.warehouse)


class _Loop:
    def __init__(self, recipe: Recipe, warehouse: Warehouse, limit: int | None, say: Callable[[str], None]) -> None:
        self.recipe = recipe
        self.warehouse = warehouse
        self.limit = limit
        self.say = say
        self.result = RunResult(new_run_id())
        self.servers = Keeper()
        config = recipe.model_dump(mode="json", exclude_defaults=True)
        self.log = RunLog(warehouse, self.result.run_id, recipe.recipe, config, recipe_checks(recipe))
        self._sets: dict[tuple[str, ...], PromptSet] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._checkpoints: dict[str, Path] = {}
        self._policies: dict[str, Policy] = {}
        self._evaluated: dict[str, tuple[str, list[str]]] = {}
        self._made: dict[str, Made] = {}
        self._paired: dict[str, list[str]] = {}

    def run(self) -> None:
        for number, (name, step) in enumerate(self.recipe.steps.items(), start=1):
            started = time.monotonic()
            begun = f"[{number}/{len(self.recipe.steps)}] {name}"
            if isinstance(step, GenerateStep):
                done = self._generate(name, step)
            elif isinstance(step, ImportStep):
                done = self._import(name, step)
            elif isinstance(step, RewriteStep):
                done = self._rewrite(name, step)
            elif isinstance(step, PairsStep):
                done = self._pairs(name, step)
            elif isinstance(step, JudgeStep):
                done = self._judge(name, step)
            elif isinstance(step, CalibrateStep):
                done = self._calibrate(name, step)
            elif isinstance(step, ReviewStep):
                done = self._review(name, step)
            elif isinstance(step, SnapshotStep):
                done = self._snapshot(name, step)
            elif isinstance(step, TrainStep):
                done = self._train(name, step)
            elif isinstance(step, EvaluateStep):
                done = self._evaluate(name, step)
            else:
                done = self._report(name, step)
            self.say(f"{begun}: {done} ({time.monotonic() - started:.1f} s)")
        if self.log.begun:
            self._account()
            self.warehouse.compact()
            self.log.end("finished", self.result.counts)

    # -- steps; each returns what it did, in words

    def _generate(self, name: str, step: GenerateStep) -> str:
        prompts, policy = self._prompts(step.prompt_sets).sifted(step.only), self._policy(step.engine)
        asking = asking_of(step, policy, prompts)
        sampled = sample_and_check(self.warehouse, self.log, name, prompts, policy, asking, step.check_specs)
        self._keep(name, sampled.wanted, prompts)
        return self._sampled(sampled, "samples", step.stage, policy)

    def _import(self, name: str, step: ImportStep) -> str:
        found = find_replies(step, self.limit)
        for note in first_of(found.notes):
            self.say(f"    {note}")
        taken = take_replies(self.warehouse, self.log, name, step, found)
        self._made[name] = Made(found.ids, list(found.prompts.values()))
        self.result.add("replies", taken.added)
        self.result.add("verdicts", taken.checked.total)
        self.result.errors += taken.checked.errors
        if not taken.added and not taken.checked.total:
            return f"nothing to do, {len(found.prompts):,} replies are there"
        self._conservation(step.stage)
        return f"{taken.added:,} replies added: {found.text}"

    def _rewrite(self, name: str, step: RewriteStep) -> str:
        policy = self._policy(step.engine)
        asking = asking_of_rewrite(step, policy)
        planned = plan_step(self.warehouse.path, name, step, self._made, asking)
        self.say(f"    {planned.chosen.text}")
        self._keep(name, planned.wanted, planned.prompts)
        sampled = sample_and_check(
            self.warehouse, self.log, name, planned.prompts, policy, asking, step.check_specs, planned.wanted
        )
        return self._sampled(sampled, "rewrites", step.stage, policy)

    def _keep(self, name: str, wanted: Sequence[Wanted], prompts: PromptSet) -> None:
        """Remembers what a step wanted for the steps that are `of` it."""
        later = (
            s for s in self.recipe.steps.values() if isinstance(s, RewriteStep | PairsStep | JudgeStep | ReviewStep)
        )
        if any(name in s.steps for s in later):
            self._made[name] = Made([w.trajectory_id for w in wanted], prompts.prompts)

    def _sampled(self, sampled: Sampled, what: str, stage: Stage, policy: Policy) -> str:
        self.result.add("requests", sampled.asked)
        self.result.add("verdicts", sampled.checked.total)
        self.result.errors += sampled.failed + sampled.checked.errors
        if not sampled.asked and not sampled.checked.total:
            return f"nothing to do, {len(sampled.wanted):,} {what} are there"
        self._conservation(stage)
        failed = f", {sampled.failed} requests failed (recorded; run again to ask them again)" if sampled.failed else ""
        return f"{sampled.asked:,} of {len(sampled.wanted):,} {what} asked for by {policy.name}{failed}"

    def _conservation(self, stage: Stage) -> None:
        for line in conservation(self.warehouse.path, stage):
            self.say(f"    {line.text}")
            self.result.balanced &= line.balanced

    def _pairs(self, name: str, step: PairsStep) -> str:
        made = [self._made[earlier].ids for earlier in step.steps]
        chosen = choose_pairs(self.warehouse, made, self.recipe.recipe, name, step, self.log.run_id)
        self._paired[name] = chosen.pair_ids
        if not chosen.steps:
            return f"nothing to do, {len(chosen.there):,} pairs are there"
        self.log.begin()
        self.result.add("pairs", len(self.warehouse.append("pairs", chosen.pairs).added))
        self.warehouse.append("pair_steps", chosen.steps)
        return f"{len(chosen.pairs):,} pairs chosen, {len(chosen.there):,} were there"

    def _judge(self, name: str, step: JudgeStep) -> str:
        judge = self._load_judge(step.judge)
        # A step's samples may be another's as well.
        if isinstance(judge, PairJudge):
            ids = list(dict.fromkeys(i for earlier in step.steps for i in self._paired[earlier]))
            judged, wanted = judge_pairs(self.warehouse, self.log, name, judge, ids), len(ids) * judge.asked
        else:
            ids = list(dict.fromkeys(i for made in step.steps for i in self._made[made].ids))
            judged, wanted = judge_trajectories(self.warehouse, self.log, name, judge, ids, step.scope), len(ids)
        self.result.add("verdicts", judged.checked.total)
        self.result.missing += judged.missing
        if not judged.asked:
            return f"nothing to do, {step.judge} has judged what it is asked about"
        self.result.worked = True
        for line in conservation(self.warehouse.path):
            if line.check == step.judge:
                self.say(f"    {line.text}")
                self.result.balanced &= line.balanced
        by = ", ".join(policy.name for policy in judge.policies)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(judged.failed.items()))
        failed = f", {judged.missing:,} got no verdict ({kinds}; run again to ask again)" if judged.failed else ""
        what = "draws of pairs" if isinstance(judge, PairJudge) else "samples"
        return f"{judged.asked:,} of {wanted:,} {what} judged by {by}{failed}"

    def _calibrate(self, name: str, step: CalibrateStep) -> str:
        judge, notes = self._load_judge(step.judge), list[str]()
        figures, report = calibrate_step(self.warehouse, self.log, name, step, judge, notes)
        for note in notes:
            self.say(f"    {note}")
        if report is None:
            told = "no kappa" if figures.kappa is None else f"kappa {figures.kappa:.2f}"
            return f"nothing to do, {step.judge} was asked about {figures.gold} ({told})"
        self.result.add("calibrations", 1)
        for line in report.text().splitlines():
            self.say(f"    {line}")
        return f"{step.judge} calibrated on {figures.n:,} cases"

    def _review(self, name: str, step: ReviewStep) -> str:
        made = [self._made[other] for other in step.steps]
        checks = [self._checks_of(other) for other in step.steps]
        looked = look(self.warehouse, self.log, name, step, [(m.ids, c) for m, c in zip(made, checks, strict=True)])
        self._made[name] = Made(looked.ids, [prompt for m in made for prompt in m.prompts])
        self.result.add("reviews", looked.settled.reviews)
        self.result.add("verdicts", looked.settled.verdicts + looked.checked.total)
        self.result.errors += looked.checked.errors
        return looked.text

    def _checks_of(self, name: str) -> list[CheckSpec]:
        specs = [spec for step in self.recipe.sampled(name) for spec in step.check_specs]
        return [spec for i, spec in enumerate(specs) if spec not in specs[:i]]

    def _snapshot(self, name: str, step: SnapshotStep) -> str:
        mix = mix_of(step)
        try:
            snapshot, new = create_snapshot(self.warehouse.path, mix, systems_of(mix), code_versions(), open_chat)
        except JudgeNotCalibrated as e:
            if step.if_refused == "stop":
                raise
            return f"refused, and gone on without: {e}"
        self._snapshots[name] = snapshot
        self.result.add("snapshots", int(new))
        made = "made" if new else "unchanged"
        m = snapshot.manifest
        return f"{m.id} {made}: {m.rows:,} rows of {m.prompts:,} prompts, hash {m.logical_hash[:12]}"

    def _train(self, name: str, step: TrainStep) -> str:
        policy = self._policy(step.engine)
        if policy.model is None:
            raise ConfigError(
                f"steps.{name}.engine: {policy.name} is no folder on this machine; name one as its `model`"
            )
        if step.snapshot not in self._snapshots:
            raise ConfigError(
                f"steps.{name}: there is no snapshot of {step.snapshot} to train on, since it was refused"
            )
        config = {
            "name": step.name,
            "warehouse": str(self.warehouse.path),
            "snapshot": self._snapshots[step.snapshot].manifest.id,
            "model": str(policy.model.folder),
            "output": str(self.warehouse.path / "checkpoints"),
            **step.config,
        }
        with self._lock(step.name):
            done = self._trainer(step.trainer, name, config)
        self._checkpoints[name] = Path(done["checkpoint"])
        if done["done_before"]:
            return f"nothing to do, {done['policy']} is trained"
        self.log.begin()
        self.result.add("trainings", 1)
        if step.trainer == "grpo":
            told = f"reward {done['rewards']['first']:.3f} at first, {done['rewards']['last']:.3f} at last"
        else:
            told = f"loss {done['train_loss']:.3f}"
        return f"{done['policy']} trained: {done['steps']} steps, {told}"

    def _evaluate(self, name: str, step: EvaluateStep) -> str:
        prompts, policy = self._prompts(step.prompt_sets), self._policy(step.engine)
        asking = asking_of(step, policy, prompts)
        wanted = plan(prompts.prompts, asking)
        self._evaluated[name] = (policy.name, [w.trajectory_id for w in wanted])
        self._keep(name, wanted, prompts)
        todo = missing(self.warehouse.path, wanted, asking.max_tokens)
        if not todo and not pending(self.warehouse, load_checks(step.check_specs), [w.trajectory_id for w in wanted]):
            return f"nothing to do, {len(wanted):,} samples are there"
        self.log.begin()
        engine = policy.engine.model_dump(mode="json", exclude_defaults=True) | {"kind": policy.engine.kind}
        if policy.model is not None:
            engine = {k: v for k, v in engine.items() if k != "checkpoint"} | {"model": str(policy.model.folder)}
        config = {
            "name": name,
            "warehouse": str(self.warehouse.path),
            "run_id": self.log.run_id,
            "engine": engine,
            "prompts": {k: v.model_dump(mode="json", exclude_defaults=True) | {"source": v.source}
                        for k, v in self.recipe.prompts.items()},
            "sets": step.prompt_sets,
            "limit": self.limit,
            **step.model_dump(mode="json", include={"samples", "sampling", "max_tokens", "template", "checks"}),
        }  # fmt: skip
        done = self._trainer("evaluate", name, config)
        self.result.add("requests", done["asked"])
        self.result.errors += done["errors"]
        self.result.worked = True
        strict, low, high = done["strict"]
        return f"{done['policy']}: pass@1 {strict:.1%} (95% CI {low:.1%} to {high:.1%}), {done['samples']} samples"

    def _report(self, name: str, step: ReportStep) -> str:
        from dataengine.report import Evaluation, write_report

        target = self.warehouse.path / "reports" / f"{self.recipe.recipe}.html"
        evaluations = [Evaluation(e, *self._evaluated[e]) for e in step.evaluations]
        fresh = write_report(self.warehouse, self.recipe, step, evaluations, target, self.say)
        return f"{target}" if fresh else f"nothing to do, {target} is up to date"

    def _account(self) -> None:
        prices = {p.name: p.engine.price for p in self._policies.values() if p.engine.price is not None}
        spent = account(self.warehouse.path, self.log.run_id, prices)
        if spent:
            self.say(f"\nwhat this run asked for, and what it cost:\n{table(spent)}")

    # -- what steps need

    def _prompts(self, names: Sequence[str]) -> PromptSet:
        chosen = tuple(names)
        if chosen not in self._sets:
            self._sets[chosen] = join(chosen, self.recipe.prompts, self.limit)
            for note in self._sets[chosen].notes:
                self.say(f"    {note}")
        return self._sets[chosen]

    def _policy(self, name: str) -> Policy:
        if name not in self._policies:
            engine = self.recipe.engines[name]
            checkpoint = None if isinstance(engine, EndpointEngine) else engine.checkpoint
            weights = self._checkpoints[checkpoint] if checkpoint else None
            self._policies[name] = Policy.of(engine, weights, self.servers)
        return self._policies[name]

    def _load_judge(self, name: str) -> Judge | PairJudge:
        engines = self.recipe.judges[name].engines
        return load_judge(name, self.recipe, {engine: self._policy(engine) for engine in engines})

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """One process trains a checkpoint at a time; the lock goes with the process that holds it."""
        folder = self.warehouse.path / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{name}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"    {name} is being trained by another process; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _trainer(self, command: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
        """Runs the trainers' program in a process of its own; its last line of output is its result."""
        # The trainer takes all the memory that there is.
        self.servers.close()
        folder = self.warehouse.path / "steps" / self.recipe.recipe
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.yaml"
        # JSON is YAML, and needs no care with strings that look like something else.
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "trainers.cli", command, str(file)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
            env=polite_threads(),
        )
        try:
            output, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        lines = output.strip().splitlines()
        if process.returncode == 130:
            raise KeyboardInterrupt
        if process.returncode not in (0, 1) or not lines:
            raise TrainerFailed(f"step {name}: `trainers {command} {file}` failed with exit code {process.returncode}")
        result: dict[str, Any] = json.loads(lines[-1])
        return result
