"""Worked examples of a file or of prompts in the recipe: shown before each question, and never asked themselves."""

import json
from pathlib import Path
from typing import Any

import pytest

from dataengine.sources.build import PromptSet, build
from schemas.recipe import FileSource, InlineSource

SHOWN = {"question": "What is 2 + 2?", "reasoning": "I add 2 and 2, which is 4.", "answer": "<answer>4</answer>"}
ASKED = ["What is 1 + 1?", " What is 2 + 2?\n", "What is 3 + 3?"]


def of_file(folder: Path, **settings: Any) -> PromptSet:
    path = folder / "sums.jsonl"
    path.write_text("".join(json.dumps({"prompt": q, "reference": "4"}) + "\n" for q in ASKED))
    return build("set", {"set": FileSource(source="file", path=str(path), **settings)})


def of_recipe(folder: Path, **settings: Any) -> PromptSet:
    prompts = [{"prompt": q} for q in ASKED]
    return build("set", {"set": InlineSource(source="inline", name="sums", prompts=prompts, **settings)})  # type: ignore[arg-type]


@pytest.mark.parametrize("made", [of_file, of_recipe])
def test_a_question_that_an_example_answers_is_left_out_and_named(made: Any, tmp_path: Path) -> None:
    found = made(tmp_path, demonstrations=[SHOWN])
    assert [p.messages[0].content for p in found.prompts] == [ASKED[0], ASKED[2]]
    assert [d.question for d in found.demonstrations["sums"]] == ["What is 2 + 2?"]
    (note,) = found.notes
    assert note.startswith("sums") and note.endswith("2: left out: a demonstration answers it")


@pytest.mark.parametrize("made", [of_file, of_recipe])
def test_without_examples_every_question_is_asked(made: Any, tmp_path: Path) -> None:
    found = made(tmp_path)
    assert (len(found.prompts), found.notes, found.demonstrations.get("sums")) == (3, [], [])
