"""Our trainers beside TRL's: the same weights, rows, token ids, dtype and threads, each training a process of its own.

    python benchmarks/training.py sft [--repeats 3] [--sizes 2M 135M] [--threads 2]
    python benchmarks/training.py first-step [--rows 100000] [--without-trl]

`sft` trains a random model of 2M parameters and SmolLM2-135M-Instruct on made-up rows of log-normal length. Once TRL is
given our batches in our order, and the losses of every step are compared. Then each makes its own batches: ours; TRL
with `train_sampling_strategy="group_by_length"`; in random order; and with its defaults (bf16 and activation
checkpointing) for a few steps. Rates leave the first step out; tokens are those of the rows, without padding.
`first-step` measures how long after the start of reading a snapshot the first update of the weights is done, with the
small model.

Warehouses and models are made in the folder once. Every measurement prints one line of JSON; the last lines are tables.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
BETAS = (0.9, 0.95)
MIX = {"mix": "rows", "sources": [{"stage": "reasoning", "policy": "rule"}]}
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Setting:
    """What is trained for a measurement: `letters` is the mean length of replies, prompts have 300 letters."""

    rows: int
    batch_size: int
    letters: int
    max_length: int
    rate: float
    defaults_steps: int


SETTINGS = {
    "2M": Setting(rows=256, batch_size=8, letters=1000, max_length=1024, rate=1e-3, defaults_steps=8),
    "135M": Setting(rows=24, batch_size=4, letters=250, max_length=512, rate=2e-5, defaults_steps=3),
}
FIRST_STEP = Setting(rows=100_000, batch_size=16, letters=1000, max_length=16_384, rate=1e-3, defaults_steps=0)
# How TRL is asked to train beside its plain settings: fp32, no checkpointing.
TRL: dict[str, dict[str, Any]] = {
    "trl, our batches": {"train_sampling_strategy": "sequential"},
    "trl, group_by_length": {"train_sampling_strategy": "group_by_length"},
    "trl, random order": {},
    "trl, defaults": {"bf16": True, "gradient_checkpointing": True},
}


class Meter:
    """Tokens, seconds by the clock and of all threads, at the end of every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.tokens = self.slots = 0

    def saw(self, tokens: int, slots: int) -> None:
        """Counts what goes into a forward pass."""
        self.tokens += tokens
        self.slots += slots

    def stepped(self, loss: float | None = None) -> None:
        """Ends a step."""
        told = {"clock": time.perf_counter(), "cpu": time.process_time(), "tokens": self.tokens, "slots": self.slots}
        self.steps.append(told if loss is None else {**told, "loss": loss})

    def told(self) -> dict[str, Any]:
        """Rates over all steps but the first."""
        first, last = self.steps[0], self.steps[-1]
        tokens = last["tokens"] - first["tokens"]
        return {
            "steps": len(self.steps),
            "tokens/s": round(tokens / (last["clock"] - first["clock"]), 1),
            "tokens/CPU-s": round(tokens / (last["cpu"] - first["cpu"]), 1),
            "useful": round(last["tokens"] / last["slots"], 3),
        }


def peak_mb() -> int:
    """The peak of this process's resident set, which its parent's does not count into."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


# What is made once.


def make_small_model(folder: Path) -> None:
    """A random Llama of 1.84M parameters and a byte-level tokenizer of 8,192 tokens."""
    from snapshots import Texts
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from torch import manual_seed
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8192, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([Texts(seed=0, words=200_000).pool], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    manual_seed(7)
    config = LlamaConfig(
        vocab_size=8192, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=FIRST_STEP.max_length, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_warehouse(folder: Path, rows: int, letters: int) -> None:
    """A warehouse of made-up replies and its snapshot `rows@1` of all of them."""
    from snapshots import fill

    from dataengine.shipped import systems_of
    from schemas.mix import MixFile
    from warehouse.snapshot import create_snapshot

    fill(folder, rows, (("math", "verifier", 1.0),), letters)
    mix = MixFile.model_validate(MIX).root
    create_snapshot(folder, mix, systems_of(mix))


def model_of(size: str, folder: Path) -> Path:
    """The start weights."""
    if size != "135M":
        return folder / "model-2M"
    from dataengine.engines.weights import find_model

    return find_model("smollm2-135m-instruct").folder


def prepare(size: str, setting: Setting, folder: Path, _threads: int) -> dict[str, Any]:
    """Makes what is missing; all rows as token ids, in the order of our batches, go into a file for TRL."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    warehouse, tokens = folder / f"rows-{size}", folder / f"tokens-{size}.parquet"
    if not (folder / "model-2M").exists():
        make_small_model(folder / "model.making")
        (folder / "model.making").rename(folder / "model-2M")
    if not warehouse.exists():
        making = folder / f"{warehouse.name}.making"
        shutil.rmtree(making, ignore_errors=True)
        make_warehouse(making, setting.rows, setting.letters)
        making.rename(warehouse)
    if size in SETTINGS and not tokens.exists():
        from trainers.curriculum import order_of
        from trainers.data import encode, read_manifest, read_rows
        from trainers.model import end_ids, load_model

        model, tokenizer = load_model(model_of(size, folder))
        manifest = read_manifest(warehouse, "rows@1")
        rows = read_rows(warehouse, manifest)["train"]
        examples = encode(tokenizer, rows, end_ids(model, tokenizer), setting.max_length, "truncate")
        config = our_config(size, setting, folder, 1)
        ordered = [examples[i] for batch in order_of(config, manifest, examples).batches(0) for i in batch]
        table = {
            "input_ids": [e.ids.tolist() for e in ordered],
            "labels": [[-100] * e.prompt + e.ids[e.prompt :].tolist() for e in ordered],
        }
        pq.write_table(pa.table(table), tokens)
    return {}


# What is measured, each in a process of its own.


def our_config(size: str, setting: Setting, folder: Path, threads: int) -> Any:
    """Our training file."""
    from trainers.config import SftConfig

    return SftConfig(
        name="ours", warehouse=folder / f"rows-{size}", snapshot="rows@1", model=model_of(size, folder),
        output=folder / "ours", epochs=1, batch_size=setting.batch_size, learning_rate=setting.rate,
        final_learning_rate=setting.rate, warmup_ratio=0.0, betas=BETAS, max_length=setting.max_length,
        overlong="truncate" if size in SETTINGS else "error", threads=threads, save_every=10**6,
    )  # fmt: skip


class Enough(Exception):
    """As many steps as are measured."""


def ours(size: str, setting: Setting, folder: Path, threads: int, steps: int | None = None) -> dict[str, Any]:
    """`trainers sft`, with a meter on the passes and updates of its loop."""
    from trainers import sft
    from trainers.checkpoint import make_plan

    meter, update, micro_batches, read_rows = Meter(), sft.update, sft.micro_batches, sft.read_rows
    began = time.perf_counter(), time.process_time()

    def counted(examples: Any, max_tokens: int, pad_id: int) -> Any:
        for group in micro_batches(examples, max_tokens, pad_id):
            meter.saw(0, group.input_ids.numel())
            yield group
        meter.saw(sum(len(e.ids) for e in examples), 0)

    def timed(*arguments: Any) -> Any:
        told = update(*arguments)
        meter.stepped(told[0])
        if len(meter.steps) == steps:
            raise Enough
        return told

    def read(*arguments: Any) -> Any:
        nonlocal began
        began = time.perf_counter(), time.process_time()
        return read_rows(*arguments)

    sft.update, sft.micro_batches, sft.read_rows = timed, counted, read
    shutil.rmtree(folder / "ours", ignore_errors=True)
    try:
        sft.train(make_plan(our_config(size, setting, folder, threads)))
    except Enough:
        return first_step(began, meter)
    return {**meter.told(), "losses": [step["loss"] for step in meter.steps]}


def first_step(began: tuple[float, float], meter: Meter) -> dict[str, Any]:
    """Seconds from the start of reading to the end of the first step, by the clock and of all threads."""
    clock, cpu = meter.steps[0]["clock"], meter.steps[0]["cpu"]
    return {"first step after s": round(clock - began[0], 2), "CPU-s": round(cpu - began[1], 2)}


def trl(name: str, size: str, setting: Setting, folder: Path, threads: int) -> dict[str, Any]:
    """TRL's SFTTrainer on the same token ids."""
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(folder / f"tokens-{size}.parquet"), split="train")
    steps = setting.defaults_steps if name == "trl, defaults" else -1
    meter, losses = _trl(rows, size, setting, folder, threads, {"max_steps": steps, **TRL[name]})
    return {**meter.told(), "losses": losses}


def trl_first_step(size: str, setting: Setting, folder: Path, threads: int, steps: int) -> dict[str, Any]:
    """TRL from the snapshot's Parquet files, with as many processes as threads for its tokenization."""
    from datasets import load_dataset

    began = time.perf_counter(), time.process_time()
    files = sorted(map(str, (folder / f"rows-{size}" / "snapshots" / "rows" / "v1").glob("train-*.parquet")))
    rows = load_dataset("parquet", data_files=files, split="train", columns=["messages"])
    rows = rows.map(
        lambda row: {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]},
        remove_columns="messages",
        num_proc=threads,
    )
    changes = {"max_steps": steps, "train_sampling_strategy": "group_by_length", "dataset_num_proc": threads}
    meter, _ = _trl(rows, size, setting, folder, threads, changes)
    return first_step(began, meter)


def _trl(
    rows: Any, size: str, setting: Setting, folder: Path, threads: int, changes: dict[str, Any]
) -> tuple[Meter, list[float]]:
    import torch
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(threads)
    meter = Meter()

    class Metered(SFTTrainer):
        def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
            meter.saw(int(inputs["attention_mask"].sum()), inputs["input_ids"].numel())
            return super().compute_loss(model, inputs, *arguments, **named)

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.stepped()

    settings: dict[str, Any] = {
        "output_dir": str(folder / "trl"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "num_train_epochs": 1, "per_device_train_batch_size": setting.batch_size, "max_length": setting.max_length,
        "learning_rate": setting.rate, "lr_scheduler_type": "constant", "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1], "weight_decay": 0.0, "max_grad_norm": 1.0, "save_strategy": "no", "report_to": "none",
        "logging_steps": 1, "disable_tqdm": True, "model_init_kwargs": {"dtype": "float32"}, **changes,
    }  # fmt: skip
    start = str(model_of(size, folder))
    tokenizer = AutoTokenizer.from_pretrained(start)
    trainer = Metered(
        start, args=SFTConfig(**settings), train_dataset=rows, processing_class=tokenizer, callbacks=[Steps()]
    )
    trainer.train()
    return meter, [line["loss"] for line in trainer.state.log_history if "loss" in line]


# The runs and their tables.


def measure(name: str, size: str, asked: argparse.Namespace, rows: int | None = None) -> dict[str, Any]:
    """Runs one measurement in a process of its own; prints and returns what it tells."""
    command = [sys.executable, __file__, asked.command, "--one", name, "--sizes", size]
    command += ["--folder", str(asked.folder), "--threads", str(asked.threads)]
    command += [] if rows is None else ["--rows", str(rows)]
    quiet = {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    # A file of this folder must not be taken for a package of ours, nor hide one.
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))}
    started = time.perf_counter()
    log = asked.folder / "log.txt"
    with log.open("a") as stderr:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, env=os.environ | quiet | paths)
    if done.returncode:
        sys.exit(f"{name} failed; see {log}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shown = {k: v for k, v in told.items() if k != "losses"} | {"s": round(time.perf_counter() - started, 1)}
    if name != "prepare":
        print(json.dumps({"size": size, "what": name, **shown}), flush=True)
    return told


def compare_sft(asked: argparse.Namespace) -> None:
    """Both trainers at every size; the tables."""
    tables = []
    for size in asked.sizes:
        measure("prepare", size, asked)
        told: dict[str, list[dict[str, Any]]] = {}
        # One after the other, so that each repeat of ours has its peer's beside it.
        names = ["ours", "trl, our batches", "trl, random order", "trl, defaults"]
        names[2:2] = ["trl, group_by_length", *["ours", "trl, group_by_length"] * (asked.repeats - 1)]
        for name in names:
            told.setdefault(name, []).append(measure(name, size, asked))
        tables.append(table(size, told))
    print("\n\n".join(tables))


def table(size: str, told: dict[str, list[dict[str, Any]]]) -> str:
    """Medians as Markdown, how many times as fast ours is, and the losses beside each other."""
    head = ["tokens/s", "tokens/CPU-s", "useful", "peak MB"]
    lines = [f"| {size} | {' | '.join(head)} |", "|---" * 5 + "|"]
    median = {n: {k: statistics.median(run[k] for run in runs) for k in head} for n, runs in told.items()}
    lines += [
        f"| {name}, {len(told[name])} of {told[name][0]['steps']} steps | "
        + " | ".join(f"{median[name][k]:,.2f}" if k == "useful" else f"{median[name][k]:,.0f}" for k in head) + " |"
        for name in median
    ]  # fmt: skip
    for name in ("trl, group_by_length", "trl, our batches"):
        pairs = list(zip(told["ours"], told[name], strict=False))
        for k in ("tokens/s", "tokens/CPU-s"):
            ratios = [mine[k] / peers[k] for mine, peers in pairs]
            lines.append(
                f"\nours / {name}, {k}: {statistics.median(ratios):.2f}, of "
                + ", ".join(f"{ratio:.2f}" for ratio in ratios)
            )
    mine, peers = told["ours"][0]["losses"], told["trl, our batches"][0]["losses"]
    furthest = max(abs(a - b) for a, b in zip(mine, peers, strict=True))
    lines.append(f"\nlosses of {len(mine)} steps, the same batches; the furthest apart by {furthest:.1e}:\n")
    shown = sorted({*range(min(6, len(mine))), *range(0, len(mine), max(1, len(mine) // 6)), len(mine) - 1})
    lines += ["| step | " + " | ".join(str(i + 1) for i in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    lines += ["| ours | " + " | ".join(f"{mine[i]:.4f}" for i in shown) + " |"]
    lines += ["| TRL | " + " | ".join(f"{peers[i]:.4f}" for i in shown) + " |"]
    return "\n".join(lines)


def compare_first_step(asked: argparse.Namespace) -> None:
    """From a snapshot to the first update."""
    size = f"first-{asked.rows}"
    measure("prepare", size, asked, asked.rows)
    for name in ["ours"] if asked.without_trl else ["ours", "trl"]:
        measure(name, size, asked, asked.rows)


def one(asked: argparse.Namespace) -> dict[str, Any]:
    """The measurement that this process is for."""
    (size,) = asked.sizes
    setting = SETTINGS.get(size, FIRST_STEP)
    if size not in SETTINGS:
        setting = Setting(**{**vars(setting), "rows": asked.rows})
    measurements: dict[str, Callable[..., dict[str, Any]]] = {
        "prepare": prepare,
        "ours": ours,
        "trl": trl_first_step,
        **{name: lambda *a, name=name: trl(name, *a) for name in TRL},
    }
    more: Sequence[int] = [4] if asked.command == "first-step" and asked.one != "prepare" else []
    told = measurements[asked.one](size, setting, asked.folder, asked.threads, *more)
    return {**told, "peak MB": peak_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, compare in {"sft": compare_sft, "first-step": compare_first_step}.items():
        command = commands.add_parser(name)
        command.set_defaults(compare=compare)
        command.add_argument("--threads", type=int, default=os.cpu_count())
        command.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "dataengine-training")
        command.add_argument("--sizes", nargs="+", default=list(SETTINGS), help=argparse.SUPPRESS)
        command.add_argument("--one", help=argparse.SUPPRESS)
    commands.choices["sft"].add_argument("--repeats", type=int, default=3)
    commands.choices["first-step"].add_argument("--rows", type=int, default=FIRST_STEP.rows)
    commands.choices["first-step"].add_argument("--without-trl", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.one:
        print(json.dumps(one(asked)), flush=True)
    else:
        asked.compare(asked)


if __name__ == "__main__":
    main()
