"""The shipped benchmarks, on files of one made-up row in each one's form."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from dataengine.checks import load_check
from dataengine.sources.build import join
from schemas.recipe import EvaluateStep
from trainers.cli import Evaluated
from trainers.evaluate import benchmarks, load_evaluation

MCQ = {
    "id": "1",
    "question": {"stem": "Sky?", "choices": [{"text": "red", "label": "A"}, {"text": "blue", "label": "B"}]},
    "answerKey": "B",
}
GPQA = {"Question": "Sky?", "Correct Answer": "blue", **{f"Incorrect Answer {i}": f"red {i}" for i in (1, 2, 3)}}
FUNCTION = {
    "task_id": "T/0",
    "prompt": "def one():\n",
    "entry_point": "one",
    "test": "def check(f):\n    assert f() == 1",
}
PROGRAM = {"task_id": 11, "prompt": "Write one().", "test": ["assert one() == 1"]}
RULES = {"key": 1, "prompt": "Say so without commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
MATH = {"problem": "1 + 1?", "answer": "2"}
# The row of each benchmark, its verifier, and k, which the R1 report gives for those in REPORTED.
ROWS: dict[str, tuple[Any, str, int]] = {
    "aime": (MATH, "math", 64),
    "arc": (MCQ, "choice", 4),
    "bbh": ({"input": "not True is", "target": "False"}, "logic", 1),
    "gpqa": (GPQA, "choice", 64),
    "gsm8k": ({"question": "1 + 1?", "answer": "#### 2"}, "math", 4),
    "humaneval": (FUNCTION, "code", 16),
    "ifeval": (RULES, "instructions", 4),
    "math-500": (MATH, "math", 16),
    "mbpp": (PROGRAM, "code", 4),
    "mgsm": ("1 + 1?\t2", "math", 4),
}
REPORTED = {"aime", "gpqa", "math-500"}


def test_every_benchmark_is_looked_at_and_named_in_the_help() -> None:
    assert set(ROWS) == set(benchmarks())
    argument = get_args(Evaluated)[1]
    assert argument.help.startswith(f"a benchmark ({', '.join(benchmarks())})")


@pytest.mark.parametrize("name", ROWS)
def test_a_benchmark_is_read_from_its_files_with_the_reports_settings(name: str, tmp_path: Path) -> None:
    row, verifier, k = ROWS[name]
    config = load_evaluation(name, [f"data={tmp_path}"])
    for number, source in enumerate(config.prompts[n] for n in config.evaluated):
        file = tmp_path / str(getattr(source, "file", None))
        # One row each, which no other set holds.
        text = row if isinstance(row, str) else json.dumps({**row, "problem": "1 + 1?"})
        text = text.replace("1 + 1?", f"{number} + 1?").replace("not True is", f"not True is {number}")
        file.write_text(f"[{text}]" if file.suffix == ".json" else f"{text}\n")
    prompts = join(config.evaluated, config.sources)
    assert prompts.notes == []
    assert [p.verifier for p in prompts.prompts] == [verifier] * len(config.evaluated)
    assert {p.source for p in prompts.prompts} == set(config.evaluated)
    assert (config.samples, config.max_tokens) == (k, 32_768)
    assert config.sampling.of(0) == {"temperature": 0.6, "top_p": 0.95, "seed": 0}
    said = benchmarks()[name].read_text(encoding="utf-8")
    assert ("k is ours" in said) is (name not in REPORTED)
    step = EvaluateStep(kind="evaluate", prompts="x", engine="e", checks=config.checks)
    checks = [load_check(spec.check, spec.params) for spec in step.check_specs]
    assert verifier in {c.name for c in checks if c.kind == "verifier"}
    assert {"format", "vote"} <= {c.name for c in checks}
    for check in checks:
        check.close()
