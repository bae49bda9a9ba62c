"""A step of GRPO beside TRL's with `generate`: the same weights, prompts, dtype and threads, each a process of its own.

    python benchmarks/grpo_steps.py [--sizes 2M 135M] [--steps 6] [--repeats 3] [--words 0] [--threads 2]

A step samples 8 replies to each of 8 questions, rewards them and updates the weights once. Seconds and tokens are those
of replies, over all steps but the first. `--words` puts so many made-up words before every question. TRL samples
replies of its own, as long as ours to chance only, so rates count; the random model of 2M parameters seldom ends a
reply, so there the lengths are equal. Then TRL is given our replies and rewards, and losses and norms of gradients are
compared at every step. Ours writes every reply into its warehouse in the meantime. The last lines are tables.
"""

import argparse
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from training import BETAS, REPOSITORY, make_small_model, model_of, peak_mb

PROMPTS, GROUP, MOST_TOKENS, RATE = 8, 8, 32, 1e-5
MIX = {"mix": "questions", "rows": "prompts", "sources": [{"domain": "math", "verifiers": ["math"]}]}
NAMES = ("ours", "trl, generate")


def even(prompts: Any, completions: list[str], **_: Any) -> list[float | None]:
    """A reward that replies of any model differ in."""
    return [float(len(text) % 2 == 0) for text in completions]


class Steps:
    """When each step ended, and how many tokens of replies it had."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.tokens: list[int] = []

    def told(self) -> dict[str, Any]:
        seconds, tokens = self.ends[-1] - self.ends[0], sum(self.tokens[1:])
        return {
            "s a step": round(seconds / (len(self.ends) - 1), 3),
            "tokens a step": round(tokens / (len(self.ends) - 1), 1),
            "tokens/s": round(tokens / seconds, 1),
        }


def prepare(size: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The small model, and a snapshot with the prompts of all steps."""
    from snapshots import Texts

    from dataengine.importing import import_file
    from schemas.mix import MixFile
    from schemas.recipe import FileSpec
    from warehouse.snapshot import create_snapshot

    if not (asked.folder / "model-2M").exists():
        make_small_model(asked.folder / "model.making")
        (asked.folder / "model.making").rename(asked.folder / "model-2M")
    folder = asked.folder / f"questions-{asked.words}"
    if not folder.exists():
        making = asked.folder / "questions.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        words = Texts(seed=1, words=10_000).pool.split()
        rows = [
            {
                "prompt": " ".join([*words[n * 7 : n * 7 + asked.words], f"Calculate {n // 10} + {n % 10}."]),
                "reference": str(n // 10 + n % 10),
                "domain": "math",
            }
            for n in range(90)
        ]
        (making / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        import_file(
            making / "data",
            FileSpec(path=str(making / "rows.jsonl"), verifier="math"),
            "prompts",
            stage="reasoning",
            policy="",
        )
        create_snapshot(making / "data", MixFile.model_validate(MIX).root, {"plain": None})
        making.rename(folder)
    return {}


def ours(size: str, asked: argparse.Namespace) -> dict[str, Any]:
    """`trainers grpo`; what it sampled goes into a file for TRL."""
    from trainers import grpo
    from trainers.checkpoint import make_plan
    from trainers.grpo_config import GrpoConfig
    from trainers.rewards import RewardSpec

    data = asked.folder / f"run-{size}"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(asked.folder / f"questions-{asked.words}" / "data", data)
    config = GrpoConfig(
        name="steps", warehouse=data, snapshot="questions@1", model=model_of(size, asked.folder),
        output=asked.folder / f"out-{size}", steps=asked.steps, prompts_per_step=PROMPTS, group_size=GROUP,
        steps_per_rollout=1, learning_rate=RATE, betas=BETAS, kl_coefficient=0.0, reference_every=None,
        max_tokens=MOST_TOKENS, template="plain", rewards=[RewardSpec(name="grpo_steps:even")],
        evaluation=None, save_every=10**6, form="token", threads=asked.threads, slots=PROMPTS * GROUP,
        micro_batch_tokens=4096,
    )  # fmt: skip
    steps, learn, kept, lines = Steps(), grpo._Loop._learn, [], []

    def timed(loop: Any, step: int, minibatch: Any, line: dict[str, Any]) -> bool:
        stopped = learn(loop, step, minibatch, line)
        steps.ends.append(time.perf_counter())
        steps.tokens.append(sum(t.example.labelled for t in minibatch))
        kept.append([(t.example.ids.tolist(), t.example.prompt, t.advantage) for t in minibatch])
        lines.append(dict(line))
        return stopped

    grpo._Loop._learn = timed  # type: ignore[method-assign]
    shutil.rmtree(config.output, ignore_errors=True)
    grpo.train(make_plan(config))
    (asked.folder / f"replies-{size}.pickle").write_bytes(pickle.dumps(kept))
    parts = {
        name: round(statistics.mean(line[f"seconds/{name}"] for line in lines[1:]), 3)
        for name in ("sampling", "rewards", "rows", "update")
    }
    return {
        **steps.told(), **parts, "losses": [line["train/loss"] for line in lines],
        "norms": [line["train/grad_norm"] for line in lines],
    }  # fmt: skip


def trl(size: str, asked: argparse.Namespace, replies: list[Any] | None = None) -> dict[str, Any]:
    """TRL's GRPOTrainer; with `replies` it samples nothing, and its rewards are our advantages."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from trainers.data import read_manifest
    from trainers.prompts import read_prompts

    torch.set_num_threads(asked.threads)
    data = asked.folder / f"questions-{asked.words}" / "data"
    prompts = read_prompts(data, read_manifest(data, "questions@1"))["train"]
    rows = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": p.messages[-1].content}]} for p in prompts[: PROMPTS * asked.steps]]
    )
    steps, turn = Steps(), iter(replies or [])
    now: list[Any] = []

    def reward(prompts: Any, completions: Any, completion_ids: Any, **_: Any) -> list[float]:
        steps.tokens.append(sum(len(ids) for ids in completion_ids))
        if replies is not None:
            return [advantage for _, _, advantage in now]
        return even(prompts, [completion[0]["content"] for completion in completions])

    def given(prompts: Any, trainer: Any) -> dict[str, Any]:
        now[:] = next(turn)
        return {
            "prompt_ids": [ids[:start] for ids, start, _ in now],
            "completion_ids": [ids[start:] for ids, start, _ in now],
            "logprobs": None,
        }

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.ends.append(time.perf_counter())

    settings: dict[str, Any] = {
        "output_dir": str(asked.folder / "trl"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": PROMPTS * GROUP, "num_generations": GROUP, "steps_per_generation": 1,
        "max_completion_length": MOST_TOKENS, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "beta": 0.0,
        "loss_type": "grpo", "epsilon": 0.2, "learning_rate": RATE, "lr_scheduler_type": "constant",
        "adam_beta1": BETAS[0], "adam_beta2": BETAS[1], "weight_decay": 0.0, "max_grad_norm": 1.0,
        "max_steps": asked.steps, "save_strategy": "no", "report_to": "none", "logging_steps": 1,
        "disable_tqdm": True, "model_init_kwargs": {"dtype": "float32"}, "shuffle_dataset": False,
        "scale_rewards": "group" if replies is None else "none",
    }  # fmt: skip
    start = str(model_of(size, asked.folder))
    tokenizer = AutoTokenizer.from_pretrained(start)
    more: dict[str, Any] = {} if replies is None else {"rollout_func": given}
    trainer = GRPOTrainer(
        start, reward_funcs=reward, args=GRPOConfig(**settings), train_dataset=rows, processing_class=tokenizer,
        callbacks=[Clock()], **more,
    )  # fmt: skip
    trainer.train()
    logged = [line for line in trainer.state.log_history if "grad_norm" in line]
    return {
        **steps.told(), "losses": [line["loss"] for line in logged], "norms": [line["grad_norm"] for line in logged],
    }  # fmt: skip


def one(name: str, size: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The measurement that this process is for."""
    if name == "prepare":
        return prepare(size, asked)
    if name == "ours":
        return ours(size, asked) | {"peak MB": peak_mb()}
    path = asked.folder / f"replies-{size}.pickle"
    return trl(size, asked, pickle.loads(path.read_bytes()) if "our replies" in name else None) | {"peak MB": peak_mb()}


def measure(name: str, size: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Runs one measurement in a process of its own; prints and returns what it tells."""
    command = [sys.executable, __file__, "--one", name, "--sizes", size, "--folder", str(asked.folder)]
    for setting in ("threads", "steps", "words"):
        command += [f"--{setting}", str(getattr(asked, setting))]
    quiet = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))}
    log = asked.folder / "log.txt"
    with log.open("a") as stderr:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, env=os.environ | quiet | paths)
    if done.returncode:
        sys.exit(f"{name} failed; see {log}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if name != "prepare":
        shown = {k: v for k, v in told.items() if k not in ("losses", "norms")}
        print(json.dumps({"size": size, "what": name, **shown}), flush=True)
    return told


def table(size: str, told: dict[str, list[dict[str, Any]]], given: dict[str, Any]) -> str:
    """Medians as Markdown, how many times as fast ours is, and how far losses and norms are apart."""
    head = ["s a step", "tokens a step", "tokens/s", "peak MB"]
    lines = [f"| {size} | {' | '.join(head)} |", "|---" * 5 + "|"]
    for name, runs in told.items():
        lines.append(f"| {name} | " + " | ".join(f"{statistics.median(r[k] for r in runs):,.2f}" for k in head) + " |")
    ratios = [a["tokens/s"] / b["tokens/s"] for a, b in zip(*told.values(), strict=True)]
    lines.append(f"\nours / trl, tokens/s: {statistics.median(ratios):.2f}, of {', '.join(f'{r:.2f}' for r in ratios)}")
    mine = told["ours"][-1]
    lines.append("\nthe same replies, step by step:\n\n| | loss | | norm of the gradient | |\n|---" + "|---" * 4 + "|")
    lines.append("| step | ours | TRL | ours | TRL |")
    for i, row in enumerate(zip(mine["losses"], given["losses"], mine["norms"], given["norms"], strict=True)):
        lines.append(f"| {i + 1} | " + " | ".join(f"{value:.6f}" for value in row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "dataengine-grpo-steps")
    parser.add_argument("--sizes", nargs="+", default=["2M", "135M"])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--words", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.one:
        print(json.dumps(one(asked.one, asked.sizes[0], asked)), flush=True)
        return
    tables = []
    for size in asked.sizes:
        measure("prepare", size, asked)
        told: dict[str, list[dict[str, Any]]] = {}
        for _ in range(asked.repeats):
            for name in NAMES:
                told.setdefault(name, []).append(measure(name, size, asked))
        tables.append(table(size, told, measure("trl, our replies", size, asked)))
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
