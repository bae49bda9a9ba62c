"""A model of 2M parameters learns by imitation which numbers are even; held-out numbers tell."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from dataengine.generate import Asking, plan
from schemas.recipe import Sampling
from schemas.records import Message, Prompt
from tests.tiny_model import TEMPLATE, save_llama
from trainers import sft
from trainers.checkpoint import make_plan
from trainers.config import SftConfig
from trainers.rollout import sample

NUMBERS = random.Random(0).sample(range(1000), 500)
LEARNT, HELD_OUT = NUMBERS[:400], NUMBERS[400:]


def question(number: int) -> str:
    return f"Is {number} even or odd?"


def answer(number: int) -> str:
    return "odd" if number % 2 else "even"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, 1.9M parameters; digits are tokens of their own."""
    folder = tmp_path_factory.mktemp("model")
    texts = ["system\nYou are helpful\nuser\nIs even or odd?assistant\n\n", "even", "odd"]
    size = {"hidden_size": 192, "intermediate_size": 640, "num_attention_heads": 6}
    return save_llama(folder, TEMPLATE, texts, 320, max_position_embeddings=256, tie_word_embeddings=True, **size)


def accuracy(folder: Path) -> float:
    """The share of held-out numbers that the model in a folder tells right, without chance."""
    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompts = [
        Prompt.make([Message(role="user", content=question(n))], domain="logic", source="parity", reference=answer(n))
        for n in HELD_OUT
    ]
    asking = Asking("eval", "model", "trainer", 1, Sampling(temperature=0.0), 8, "plain")
    replies = sample(loaded, tokenizer, plan(prompts, asking), asking, {2}, slots=32)
    right = {p.prompt_id: p.reference for p in prompts}
    return sum(r.text.strip() == right[r.wanted.prompt.prompt_id] for r in replies) / len(replies)


@pytest.mark.slow
def test_by_imitation(
    model: Path, write_snapshot: Callable[..., Path], tmp_path: Path, sums: Callable[..., Any]
) -> None:
    warehouse = write_snapshot([{"question": question(n), "reply": answer(n)} for n in LEARNT])
    config = SftConfig(
        name="parity", warehouse=warehouse, snapshot="sums@1", model=model, output=tmp_path / "out", threads=1,
        epochs=5, batch_size=16, learning_rate=2e-3, final_learning_rate=2e-4,
    )  # fmt: skip
    assert accuracy(model) < 0.2
    training = make_plan(config)
    sft.train(training)
    assert accuracy(training.folder) > 0.95
