"""The `trainers` command: each sub-command reads a YAML file, works, and ends with one line of JSON on stdout."""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataengine.cli_common import DEFAULT_WAREHOUSE, WarehouseOption
from schemas.errors import ConfigError, UserError
from warehouse.interrupts import interruptible

if TYPE_CHECKING:
    from trainers.config import SftConfig, TrainingConfig

app = typer.Typer(
    name="trainers",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train models on snapshots. Exit codes: 0 done, 2 wrong input or configuration, 130 interrupted (resumable).",
)

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML file with the settings; `trainers fields` lists them")
]
Evaluated = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="a benchmark (aime, arc, bbh, gpqa, gsm8k, humaneval, ifeval, math-500, mbpp, mgsm), or a YAML file",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings that replace those of the file")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="count tokens, steps and memory, show a row with its mask, and write nothing")
]


@app.command()
def sft(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Fine-tune on a snapshot's accepted replies; run it again to resume, or to find that it is done."""
    from trainers.config import SftConfig

    _supervised(config, SftConfig, overrides, dry_run)


@app.command()
def distill(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Fine-tune a student on a snapshot of what a teacher wrote: as `sft`, with the teacher named and held to."""
    from trainers.config import DistillConfig

    _supervised(config, DistillConfig, overrides, dry_run)


@app.command()
def grpo(
    config: ConfigFile,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="count prompts, replies, tokens and memory, show a prompt, and write nothing"),
    ] = False,
) -> None:
    """Reinforcement learning on a snapshot's prompts, rewarded by rules; run it again to resume, or when it is done."""
    from trainers.grpo_config import GrpoConfig

    if dry_run:
        _try("trainers.grpo_dry_run", config, GrpoConfig, overrides)
        return
    training, folder, done_before = _train("trainers.grpo", config, GrpoConfig, overrides)
    _end(folder, training, done_before, rewards=training["rewards"], evaluations=training["evaluations"])


def _supervised(file: Path, config: "type[SftConfig]", overrides: list[str] | None, dry_run: bool) -> None:
    if dry_run:
        _try("trainers.dry_run", file, config, overrides)
        return
    training, folder, done_before = _train("trainers.sft", file, config, overrides)
    _end(
        folder,
        training,
        done_before,
        train_loss=training["losses"]["last_epoch"],
        validation_loss=training["losses"]["validation"],
    )


def _train(
    trainer: str, file: Path, config: "type[TrainingConfig]", overrides: list[str] | None
) -> tuple[dict[str, Any], Path, bool]:
    """Does what is left of a training: its `training.json`, the checkpoint's folder, whether nothing was left.

    `trainer` is the module whose `train` does it, imported when there is something to do.
    """
    from schemas.yaml_file import load_yaml
    from trainers.checkpoint import clean_up, finished, make_plan

    plan = make_plan(load_yaml(file, config, overrides or []))
    training = finished(plan.folder)
    if training is None:
        return importlib.import_module(trainer).train(plan), plan.folder, False
    # Killed between naming the checkpoint and removing what it was made from.
    clean_up(plan)
    if os.environ.get("RANK", "0") == "0":
        print(f"nothing to do: {plan.folder}", file=sys.stderr)
    return training, plan.folder, True


def _try(trainer: str, file: Path, config: "type[TrainingConfig]", overrides: list[str] | None) -> None:
    """Prints what a training would do, by the module's `dry_run`. Raises ConfigError when it would be refused."""
    from schemas.yaml_file import load_yaml
    from trainers.checkpoint import make_plan

    result = importlib.import_module(trainer).dry_run(make_plan(load_yaml(file, config, overrides or [])))
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(result), flush=True)
    if result["refused"]:
        raise ConfigError(result["refused"])


def _end(folder: Path, training: dict[str, Any], done_before: bool, **more: Any) -> None:
    """Prints the last line; under `accelerate launch` or `torchrun` the first process speaks for all."""
    if os.environ.get("RANK", "0") != "0":
        return
    summary = {
        "checkpoint": str(folder),
        "policy": training["policy"],
        "steps": training["steps"],
        "seconds": training["seconds"],
        **more,
        "done_before": done_before,
    }
    print(json.dumps(summary), flush=True)


@app.command()
def presets() -> None:
    """List the presets, settings that the R1 report publishes, by trainer; a file takes one by `preset: NAME`."""
    from trainers.fields import list_presets

    for line in list_presets():
        print(line)


@app.command()
def fields(trainer: Annotated[str, typer.Argument(metavar="TRAINER", help="sft, distill, grpo, evaluate")]) -> None:
    """List a trainer's settings with their defaults and what they mean."""
    from trainers.fields import list_fields

    for line in list_fields(trainer):
        print(line)


@app.command()
def evaluate(config: Evaluated, overrides: Overrides = None) -> None:
    """Sample held-out prompts and score them; run again, it asks only for what is not in the warehouse yet."""
    from trainers.evaluate import evaluate as run
    from trainers.evaluate import load_evaluation

    result = run(load_evaluation(config, overrides or []))
    print(json.dumps(result), flush=True)
    if result["errors"]:
        sys.exit(1)


@app.command()
def curves(
    training: Annotated[
        str, typer.Argument(metavar="TRAINING", help="a checkpoint's folder, or the beginning of the training's key")
    ],
    out: Annotated[Path, typer.Option("--out", help="the picture: a name that ends in .png or .svg")],
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """Draw a training from the warehouse's rows: pass@1, cons@k, length, reflection, language and rewards by step."""
    from trainers.pictures import draw_curves

    print(json.dumps({"training": draw_curves(warehouse, training, out), "picture": str(out)}), flush=True)


def main() -> None:
    """Entry point: a problem the user can mend is one line on stderr and exit code 2; an interruption is 130."""
    try:
        with interruptible():
            app()
    except UserError as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
