"""LLaMA-Factory and Axolotl themselves read what is written for them: `make test-loaders` installs and asks them.

Each has its own versions of the packages that it parses and tokenises with, in folders that go before ours.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import numbered_sums, save_llama
from tests.warehouse.talks import ASSISTANT, Talk, apart, kept, talk_of
from warehouse.export import export_snapshot
from warehouse.snapshot import Snapshot

LOADERS = os.environ.get("LOADERS", "")
pytestmark = [
    pytest.mark.loaders,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not LOADERS, reason="LOADERS names no folder of packages; `make test-loaders` does"),
]
SCRIPTS = Path(__file__).parent / "loaders"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message.reasoning_content %}{{ '<think>\n' + message.reasoning_content + '\n</think>\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [f"{row['question']}\n{row['reply']}" for row in numbered_sums(100)]
    return save_llama(tmp_path_factory.mktemp("model"), TEMPLATE, texts, 300, max_position_embeddings=1024)


Found = list[dict[str, list[dict[str, Any]]]]


def read(trainer: str, model: Path, tmp_path: Path, outs: list[Path]) -> Found:
    """The rows of each export by split, as `loaders/read_TRAINER.py` reads them with the trainer's own packages."""
    file = tmp_path / "rows.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(LOADERS).resolve() / trainer),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
        "AXOLOTL_DO_NOT_TRACK": "1",
    }
    command = [sys.executable, str(SCRIPTS / f"read_{trainer}.py"), str(model), str(file), *map(str, outs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found: Found = json.loads(file.read_text(encoding="utf-8"))
    return found


def rendered(talk: Talk) -> str:
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in talk)


def test_llama_factory_reads_every_row_and_learns_the_last_reply(
    every_kind: dict[str, Snapshot], model: Path, tmp_path: Path
) -> None:
    forms = ("messages", "openai", "sharegpt", "alpaca")
    for form in forms:
        export_snapshot(every_kind["samples"], form, tmp_path / form, shard_rows=2)
    before = kept(every_kind["samples"])
    for form, found in zip(forms, read("llama_factory", model, tmp_path, [tmp_path / f for f in forms]), strict=True):
        for split, rows in before.items():
            for row, was in zip(found[split], rows, strict=True):
                # To LLaMA-Factory a system message that says nothing is as if it were not there.
                talk = [turn for turn in talk_of(was) if turn != ("system", "")]
                assert [tuple(turn) for turn in row["talk"]] == talk, form
                assert row["text"] == rendered(talk), form
                assert row["learnt"] == f"{talk[-1][1]}<|im_end|>\n", form


def test_axolotl_reads_every_row_and_learns_every_reply(
    every_kind: dict[str, Snapshot], model: Path, tmp_path: Path
) -> None:
    forms = [(form, how) for form in ("messages", "openai", "sharegpt") for how in ("content", "split")]
    outs = [tmp_path / f"{form}-{how}" for form, how in forms]
    for out, (form, reasoning) in zip(outs, forms, strict=True):
        export_snapshot(every_kind["samples"], form, out, reasoning=reasoning, shard_rows=2)
    before = kept(every_kind["samples"])
    for (form, reasoning), found in zip(forms, read("axolotl", model, tmp_path, outs), strict=True):
        for split, rows in before.items():
            for row, was in zip(found[split], rows, strict=True):
                talk = talk_of(was) if reasoning == "content" else apart(talk_of(was))
                assert row["text"] == rendered(talk), (form, reasoning)
                replies = [content for role, content in talk if role == ASSISTANT]
                assert row["learnt"] == "<|im_end|>".join([*replies, ""]), (form, reasoning)
