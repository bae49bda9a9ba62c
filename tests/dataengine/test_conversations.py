"""Prompts with system messages and several turns, from the file that held them to the file that is trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from dataengine.prompting import TEMPLATES

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello! Can you add?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "What is 4 + 5?"},
]


@pytest.mark.parametrize("template", ["plain", "think", "reflect"])
def test_every_turn_is_sent_and_exported(cli: Any, recipe: Any, scripted: Any, tmp_path: Path, template: str) -> None:
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": TURNS, "reference": "9", "verifier": "exact"}) + "\n")
    sources = {"chat": {"source": "file", "path": "chat.jsonl"}}
    mix = {"sources": [{"stage": "reasoning", "require": ["exact", "format"], "template": template}]}
    path = recipe(scripted, sources=sources, snapshot=mix, prompts=1, template=template)
    done = cli("run", path, "steps.sample.prompts=chat", "steps.sample.samples=4", "--warehouse", "data")
    assert done.code == 0, done

    words = "Be brief." if template == "plain" else f"{TEMPLATES[template]}\n\nBe brief."
    sent = [{"role": "system", "content": words}, *TURNS[1:]]
    assert [body["messages"] for body in scripted.asked] == [sent] * 4

    assert cli("snapshot", "export", "sums-kept", "--format", "openai", "--out", "out", "--warehouse", "data").code == 0
    lines = [json.loads(line) for file in (tmp_path / "out").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert lines
    for line in lines:
        assert line["messages"][:-1] == sent
        assert line["messages"][-1]["role"] == "assistant"
        assert "9" in line["messages"][-1]["content"]
