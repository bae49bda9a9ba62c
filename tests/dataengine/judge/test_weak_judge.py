"""The real small model as a judge: it is reported for what it is, and no mix trusts it."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_small_model_is_reported_weak_and_a_mix_refuses_it(
    cli: Any, recipe: Any, scripted: Any, rows: Any, refused: Any, tmp_path: Path
) -> None:
    cases = []
    for i in range(40):
        a, b = 3 + i % 9, 2 + i % 7
        said = a + b + (i % 2)
        response = f"<think>\nI add {a} and {b} and get {said}.\n</think>\nIt is <answer>{said}</answer>."
        question = f"What is {a} + {b}? (question {i})"
        cases.append({"prompt": question, "response": response, "reference": str(a + b), "label": i % 2 == 0})
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cases))
    path = recipe(scripted, prompts=12, samples=1, judge={"engine": "small", "max_tokens": 60}, judged={"scope": "all"})
    value = json.loads(path.read_text())
    value["engines"]["small"] = {"kind": "embedded", "model": "smollm2-135m-instruct"}
    path.write_text(json.dumps(value))

    done = cli("judge", "calibrate", "judge", "--recipe", path, "--on", "gold.jsonl", "--warehouse", "data")
    assert done.code == 0, done
    assert any(line.startswith("It ") for line in done.out.splitlines()), done.out
    ((low, n, report),) = rows("SELECT low, n, report FROM calibrations")
    assert n == 40
    assert low < 0.6
    assert json.loads(report)["remarks"]

    assert cli("run", path, "--warehouse", "data").code == 0
    assert rows("SELECT count(*), count(DISTINCT version) FROM verdicts WHERE kind = 'judge'") == [(12, 1)]
    mix = {"mix": "trusting", "sources": [{"stage": "reasoning", "policy": "rule or judge", "judge": "judge"}]}
    (tmp_path / "trusting.yaml").write_text(json.dumps(mix))
    line = refused("snapshot", "create", "trusting.yaml", "--warehouse", "data")
    assert "is too weak: kappa" in line or "has no kappa" in line
    assert "on 40 cases of gold.jsonl@" in line or "on gold.jsonl@" in line
