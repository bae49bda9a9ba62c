"""`preview` shows a few rows and what the rest would take, and writes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

PRICE = {"input": 2.0, "output": 10.0}


def test_it_shows_a_prompt_and_rows_and_counts_what_is_left(
    cli: Any, recipe: Any, scripted: Any, tmp_path: Path
) -> None:
    path = recipe(scripted, prompts=30, samples=4, engine={"price": PRICE})
    done = cli("preview", path, "--rows", "3", "--warehouse", "data")
    assert done.code == 0, done
    assert len(scripted.asked) == 3
    assert not (tmp_path / "data").exists()
    lines = done.out.splitlines()
    assert lines[0] == "[1/1] sample: 30 prompts x 4 samples by scripted@1"
    assert lines[1] == "    120 requests to make, 0 replies are there"
    assert "        user: What is 2 + 3?" in lines
    assert any(line.startswith("        system: You solve the user's problem in two parts.") for line in lines)
    assert "    3 rows:" in lines
    verdicts = [
        line.strip() for line in lines if line.startswith("      ") and line.strip().startswith(("kept", "not"))
    ]
    assert len(verdicts) == 3
    # Each scripted reply counts 10 prompt tokens and its own words.
    assert "estimate: 120 requests, 1,200 prompt tokens, " in done.out
    assert lines[-1].startswith("in all: 120 requests, 1,200 prompt tokens, ")
    assert lines[-1].endswith("USD")


@pytest.mark.slow
def test_what_is_there_is_not_asked_and_other_settings_are_new_work(cli: Any, recipe: Any, scripted: Any) -> None:
    path = recipe(scripted, prompts=5)
    assert cli("run", path, "--warehouse", "data").code == 0
    scripted.asked.clear()

    def requests(*settings: str) -> str:
        out = cli("preview", path, "--warehouse", "data", "--rows", "1", *settings).out
        return next(line.strip() for line in out.splitlines() if "requests to make" in line)

    assert requests() == "0 requests to make, 10 replies are there"
    assert scripted.asked == []
    assert requests("steps.sample.samples=3") == "5 requests to make, 10 replies are there"
    other = (
        "10 requests to make, 0 replies are there (and 10 made with another engine, template or sampling, which stay)"
    )
    assert requests("steps.sample.template=plain") == other
    assert requests("steps.sample.sampling={temperature: 0.5}") == other
    assert requests("steps.sample.checks=[format]") == "0 requests to make, 10 replies are there"


def test_what_judges_would_be_asked_is_counted(cli: Any, recipe: Any, scripted: Any) -> None:
    path = recipe(scripted, prompts=5, samples=2, judge={"votes": 3, "sampling": {"temperature": 1.0}}, judged={})
    asked = "judges, which are not estimated"
    assert (
        cli("preview", path, "--warehouse", "data").out.splitlines()[-1].endswith(f"; and some 30 requests to {asked}")
    )
    share = cli("preview", path, "--warehouse", "data", "steps.judged.scope={share: 0.25}").out
    assert share.splitlines()[-1].endswith(f"; and some 9 requests to {asked}")


def test_a_checkpoint_that_is_not_trained_yet_is_counted(cli: Any, tmp_path: Path) -> None:
    recipe = {
        "recipe": "r",
        "engines": {"base": {"kind": "embedded", "model": "none"}, "tuned": {"kind": "embedded", "checkpoint": "sft"}},
        "prompts": {"p": {"source": "inline", "name": "p", "prompts": [{"prompt": "Hello!"}]}},
        "steps": {
            "keep": {"kind": "snapshot", "mix": "laptop-cold"},
            "sft": {"kind": "train", "snapshot": "keep", "engine": "base", "name": "x"},
            "again": {"kind": "generate", "stage": "reasoning", "prompts": "p", "engine": "tuned", "samples": 7},
        },
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    done = cli("preview", "r.yaml")
    assert done.code == 0, done
    assert "1 prompts x 7 samples by the checkpoint of sft, which is sampled once it is trained" in done.out
    assert done.out.splitlines()[-1].endswith("; and 7 requests to checkpoints that are not trained yet")


def test_without_an_answer_nothing_is_estimated(cli: Any, recipe: Any, scripted: Any) -> None:
    scripted.fault = lambda body, before: "500"
    done = cli("preview", recipe(scripted, prompts=30), "--rows", "2", "--warehouse", "data")
    assert done.code == 0, done
    assert done.out.count("HTTP 500: out of memory") == 2
    assert "    no row was answered: there is nothing to estimate from" in done.out.splitlines()
    assert done.out.splitlines()[-1].endswith("; and 60 requests of steps of which no row was answered")


def test_a_run_ends_with_its_account(cli: Any, recipe: Any, scripted: Any) -> None:
    path = recipe(scripted, prompts=10, engine={"price": PRICE})
    out = cli("run", path, "--warehouse", "data").out.splitlines()
    head = next(i for i, line in enumerate(out) if line.startswith("what this run asked for"))
    names, values = out[head + 1].split(), out[head + 3].split()
    row = dict(zip(names, values, strict=True))
    assert (row["stage"], row["policy"], row["requests"], row["failed"]) == ("reasoning", "scripted@1", "20", "0")
    assert row["prompt_tokens"] == "200"
    usd = (200 * PRICE["input"] + int(row["reply_tokens"]) * PRICE["output"]) / 1e6
    assert float(row["usd"]) == float(f"{usd:.4g}")
    assert float(row["usd_per_kept"]) == float(f"{usd / int(row['kept']):.4g}")
