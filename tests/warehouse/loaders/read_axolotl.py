"""Reads exports as `axolotl train YOURS.yaml` does: MODEL FILE FOLDER..., rows as JSON into FILE.

Run by `tests/warehouse/test_trainers_load.py` with Axolotl's own packages; it imports nothing of ours.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml


def rows_of(model: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of the export in the working folder, by split: their text, and what is learnt of it."""
    # Not above: the processes that `datasets` starts to save a table import this file, and would take a minute each.
    from axolotl.loaders import load_tokenizer
    from axolotl.utils.config import normalize_cfg_datasets, normalize_config, validate_config
    from axolotl.utils.data.sft import prepare_datasets
    from axolotl.utils.dict import DictDefault

    told = yaml.safe_load(Path("axolotl.yaml").read_text(encoding="utf-8"))
    # What a user adds to the lines of the export. Axolotl shuffles, by default.
    yours = {
        "base_model": model,
        "sequence_len": 1024,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "num_epochs": 1,
        "learning_rate": 1e-4,
        "output_dir": "trained",
        "dataset_prepared_path": "prepared",
        "shuffle_merged_datasets": False,
        "dataset_num_proc": 1,
    }
    config = validate_config(DictDefault({**told, **yours}))
    normalize_config(config)
    normalize_cfg_datasets(config)
    tokenizer = load_tokenizer(config)
    train, validation, _, _ = prepare_datasets(config, tokenizer)
    return {
        split: [
            {
                "text": tokenizer.decode(row["input_ids"]),
                "learnt": tokenizer.decode([token for token in row["labels"] if token != -100]),
            }
            for row in rows
        ]
        for split, rows in (("train", train), ("validation", validation))
    }


if __name__ == "__main__":
    model, file, *folders = sys.argv[1:]
    found = []
    for folder in folders:
        os.chdir(folder)
        found.append(rows_of(model))
    Path(file).write_text(json.dumps(found), encoding="utf-8")
