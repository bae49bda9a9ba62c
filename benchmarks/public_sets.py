"""Public sets as texts, for the benchmarks: where they lie below DATA, and which of their columns are read."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

# The file and the columns (one within another by a point) that are read as replies.
SETS = {
    "GSM8K, solutions": ("math/gsm8k/train.jsonl", ("answer",)),
    "GSM8K, Socratic": ("math/gsm8k/test_socratic.jsonl", ("answer",)),
    "AIME, solutions": ("math/deepscaler/train/aime.json", ("solution",)),
    "OlympiadBench, solutions": ("math/deepscaler/test/olympiad_bench.json", ("solution",)),
    "Minerva, solutions": ("math/deepscaler/test/minerva.json", ("solution",)),
    "MATH, problems": ("math/deepscaler/train/math.json", ("problem",)),
    "STAR-1, reasoning of R1": ("preference_safety/star1/STAR-1.json", ("response",)),
    "Marco-o1, reasoning": ("traces/marco_o1/CoT_demo.json", ("response",)),
    "Alpaca, English": ("nonreasoning/llamafactory_demo/alpaca_en_demo.json", ("output",)),
    "Alpaca, Chinese": ("nonreasoning/llamafactory_demo/alpaca_zh_demo.json", ("output",)),
    "DPO, English, chosen": ("nonreasoning/llamafactory_demo/dpo_en_demo.json", ("chosen.value",)),
    "DPO, Chinese, chosen": ("nonreasoning/llamafactory_demo/dpo_zh_demo.json", ("chosen.value",)),
    "hh-rlhf, chosen": ("preference_safety/hh_rlhf/harmless-base/test.jsonl", ("chosen",)),
    "HumanEval": ("code/humaneval/data/HumanEval.jsonl", ("prompt", "canonical_solution")),
    "MBPP": ("code/deepseek_coder_eval/MBPP/data/mbpp.jsonl", ("code",)),
    "LeetCode, English": ("code/deepseek_coder_eval/LeetCode/data/20240121-Jul.jsonl", ("prompt",)),
    "LeetCode, Chinese": ("code/deepseek_coder_eval/LeetCode/data/20240121-Jul-zh.jsonl", ("prompt",)),
    "LeetCode, generated tests": ("code/deepseek_coder_eval/LeetCode/data/20240121-Jul.jsonl", ("test",)),
    "knights and knaves, steps": ("science_logic/kk_logic_rl/kk/instruct", ("cot_repeat_steps", "cot_foot")),
    "Language Confusion, 15 languages": ("langid/language_confusion/outputs/command-r.csv", ("completion",)),
    "Tatoeba, 112 languages": ("nonreasoning/tatoeba_laser/v1", ()),
    # Nobody looked at these when the thresholds of `repetition` were chosen.
    "hh-rlhf, rejected": ("preference_safety/hh_rlhf/harmless-base/test.jsonl", ("rejected",)),
    "OASST, messages": ("nonreasoning/oasst_samples/en_100_message.jsonl", ("text",)),
    "IFEval, prompts": ("nonreasoning/ifeval/data/input_data.jsonl", ("prompt",)),
}


def existing(path: Path) -> Path:
    return path if path.exists() else path.with_name(path.name + ".gz")


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    found = existing(path)
    if found.is_dir():
        for file in sorted(found.rglob("*.parquet")):
            yield from pl.read_parquet(file).iter_rows(named=True)
        return
    content = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
    if ".csv" in found.suffixes:
        yield from pl.read_csv(content).iter_rows(named=True)
    elif ".json" in found.suffixes:
        yield from json.loads(content)
    else:
        yield from map(json.loads, content.splitlines())


def cell(row: Any, column: str) -> str:
    for name in column.split("."):
        row = (row or {}).get(name)
    return "\n".join(row) if isinstance(row, list) else str(row or "")


def texts_of(data: Path, name: str) -> list[str]:
    path, columns = SETS[name]
    if columns:
        texts = ["\n".join(cell(row, c) for c in columns) for row in rows_of(data / path)]
        return [t for t in texts if t.strip()]
    return [text for texts in spoken(data / path).values() for text in texts]


def spoken(folder: Path) -> dict[str, list[str]]:
    """By language texts of 30 different sentences."""
    found = {}
    for file in sorted(folder.iterdir()):
        if "-eng.eng" not in file.name:
            content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            lines = content.decode().split("\n")
            found[file.name.split(".")[1][:3]] = [" ".join(lines[i : i + 30]) for i in range(0, len(lines) - 29, 30)]
    return found


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
