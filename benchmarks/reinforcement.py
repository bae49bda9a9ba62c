"""GRPO with the small real model on one-digit arithmetic, as a user would do it, command by command.

    python benchmarks/reinforcement.py [--folder DIR] [KEY=VALUE ...]

Writes 243 questions (`Calculate A + B.`, with +, - and *, digits 1 to 9), imports them, makes a snapshot that holds a
fifth of them out, trains SmolLM2-135M-Instruct, and draws its curves. KEY=VALUE go to `trainers grpo`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dataengine.engines.weights import find_model

MIX = """\
mix: arithmetic
rows: prompts
validation: 0.2
sources:
  - {domain: math, verifiers: [math]}
"""
TRAINING = """\
name: arithmetic
warehouse: data
snapshot: arithmetic@1
model: {model}
output: checkpoints
steps: 30
prompts_per_step: 8
group_size: 8
steps_per_rollout: 1
learning_rate: 1.0e-5
kl_coefficient: 0.0
max_tokens: 32
template: plain
# The model keeps no tags: an unmarked answer counts.
rewards: [{{name: accuracy, params: {{form: any}}}}]
evaluation: {{every: 10, samples: 4}}
save_every: 100
micro_batch_tokens: 2048
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="reinforcement-"))
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    write(folder)
    run(
        folder,
        "dataengine.cli",
        "import",
        "arithmetic.jsonl",
        "--as",
        "prompts",
        "--verifier",
        "math",
        "--warehouse",
        "data",
    )
    run(folder, "dataengine.cli", "snapshot", "create", "mix.yaml", "--warehouse", "data")
    training = json.loads(run(folder, "trainers.cli", "grpo", "grpo.yaml", *arguments.settings).splitlines()[-1])
    seconds = time.monotonic() - started
    run(folder, "trainers.cli", "curves", training["checkpoint"], "--warehouse", "data", "--out", "curves.png")
    print("\n| step | held-out pass@1 | 95 % interval |\n|---:|---:|---|")
    for step, (value, low, high) in training["evaluations"].items():
        print(f"| {step} | {value:.1%} | {low:.1%} to {high:.1%} |")
    print(f"\n{training['steps']} steps; all of it took {seconds / 60:.1f} minutes; {folder / 'curves.png'}")


def write(folder: Path) -> None:
    signs = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    rows = [
        {"prompt": f"Calculate {a} {sign} {b}.", "reference": str(work(a, b)), "domain": "math"}
        for sign, work in signs.items()
        for a in range(1, 10)
        for b in range(1, 10)
    ]
    (folder / "arithmetic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mix.yaml").write_text(MIX)
    model = find_model("smollm2-135m-instruct").folder
    (folder / "grpo.yaml").write_text(TRAINING.format(model=json.dumps(str(model))))


def run(folder: Path, module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
