"""Reads exports as `llamafactory-cli train llama-factory.yaml` does: MODEL FILE FOLDER..., rows as JSON into FILE.

Run by `tests/warehouse/test_trainers_load.py` with LLaMA-Factory's own packages; it imports nothing of ours.
"""

import json
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

# Imported for sound alone; the one on PyPI wants CUDA.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # noqa: E402
from llamafactory.data.loader import _get_merged_dataset  # noqa: E402
from llamafactory.hparams import get_train_args  # noqa: E402
from llamafactory.model import load_tokenizer  # noqa: E402


def rows_of(model: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of the export in the working folder, by split: their turns, their text, and what is learnt of it."""
    told = yaml.safe_load(Path("llama-factory.yaml").read_text(encoding="utf-8"))
    # What a user adds to the lines of the export.
    yours = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": model,
        "template": "chatml",
        "output_dir": "trained",
        "report_to": "none",
        "use_cpu": True,
    }
    model_args, data_args, training_args, *_ = get_train_args({**told, **yours})
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    tokenised = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)
    rows: dict[str, list[dict[str, Any]]] = {}
    for split, names, key in (
        ("train", data_args.dataset, "train_dataset"),
        ("validation", data_args.eval_dataset, "eval_dataset"),
    ):
        parsed = _get_merged_dataset(names, model_args, data_args, training_args, "sft")
        rows[split] = [
            {
                "talk": ([("system", row["_system"])] if row["_system"] else [])
                + [(turn["role"], turn["content"]) for turn in (*row["_prompt"], *row["_response"])],
                "text": module["tokenizer"].decode(tokens["input_ids"]),
                "learnt": module["tokenizer"].decode([token for token in tokens["labels"] if token != -100]),
            }
            for row, tokens in zip(parsed, tokenised[key], strict=True)
        ]
    return rows


model, file, *folders = sys.argv[1:]
found = []
for folder in folders:
    os.chdir(folder)
    found.append(rows_of(model))
Path(file).write_text(json.dumps(found), encoding="utf-8")
