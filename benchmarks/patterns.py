"""The filters that split and look for patterns (format, length, readability, features): MB/s on documents of 2 KB.

    python benchmarks/patterns.py DATA [--batch 1024] [--rounds 15] [--write FILE]

DATA holds the public sets (STAR-1, GSM8K, AIME, Alpaca in Chinese). A document is reasoning of 1.7 KB, a summary and an
answer in think and answer tags, from texts that stand next to each other; all differ. Measured is calling a check on
lists of samples, making of opinions included, beside what reading alone costs. `--write` writes the English documents
as JSONL, for `benchmarks/peers/datatrove_filters.py`, which runs in an environment of its own.
"""

import argparse
import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from dataengine.checks import Sample, load_check
from dataengine.filters import columns

CHECKS = ("format", "length", "readability", "features")


def text(path: Path) -> str:
    found = path if path.exists() else path.with_name(path.name + ".gz")
    content = found.read_bytes()
    return (gzip.decompress(content) if found.suffix == ".gz" else content).decode()


def english(data: Path) -> Iterator[str]:
    for row in json.loads(text(data / "preference_safety/star1/STAR-1.json")):
        yield re.sub("</?think>", "", row["response"])
    for line in text(data / "math/gsm8k/train.jsonl").splitlines():
        yield re.sub(r"<<.*?>>", "", json.loads(line)["answer"])
    for row in json.loads(text(data / "math/deepscaler/train/aime.json")):
        yield str(row["solution"])


def chinese(data: Path) -> Iterator[str]:
    folder = data / "nonreasoning/llamafactory_demo"
    for row in json.loads(text(folder / "alpaca_zh_demo.json")):
        yield row["output"]
    for row in json.loads(text(folder / "dpo_zh_demo.json")):
        yield row["chosen"]["value"] + "\n" + row["rejected"]["value"]


def documents(texts: Iterator[str], size: int = 2_000) -> list[str]:
    """Replies of `size` bytes or a little more, of whole lines."""
    made, reasoning, answer, length = [], [], [], 0
    for line in (line for part in texts for line in [*part.split("\n"), ""]):
        (reasoning if length < 0.85 * size else answer).append(line)
        length += len(line.encode()) + 1
        if length >= size - 60:
            thought, told = "\n".join(reasoning).strip(), "\n".join(answer).strip()
            made.append(f"<think>\n{thought}\n</think>\n\n{told}\n<answer>7</answer>\n")
            reasoning, answer, length = [], [], 0
    return made


def best(run: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def measure(name: str, texts: list[str], size: int, rounds: int) -> None:
    samples = [Sample(text=t, finish_reason="stop", completion_tokens=500) for t in texts]
    parts = [samples[n : n + size] for n in range(0, len(samples), size)]
    checks = {name: load_check(name) for name in CHECKS}
    buffer = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    column = pl.Series(texts)

    def call(*names: str) -> Callable[[], object]:
        # The batches that the last two share are made once for both of them, as in `dataengine check`.
        def run() -> None:
            for part in parts:
                columns.forget()
                for name in names:
                    checks[name](part)

        return run

    works: dict[str, Callable[[], object]] = {
        "a copy of the bytes": buffer.copy,
        "polars: a column of the texts": lambda: pl.Series(texts),
        "polars: `len_chars`": column.str.len_chars,
        **{f"`{name}`": call(name) for name in CHECKS},
        "all four": call(*CHECKS),
    }
    mean = len(buffer) / len(texts)
    print(f"\n{name}: {len(texts):,} documents of {mean:,.0f} bytes, {len(buffer) / 1e6:.1f} MB, batches of {size}\n")
    print("| work | MB/s | us a document |\n| --- | ---: | ---: |")
    for work, run in works.items():
        seconds = best(run, rounds)
        print(f"| {work} | {len(buffer) / seconds / 1e6:,.0f} | {seconds / len(texts) * 1e6:.2f} |", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--batch", type=int, default=1_024)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    made = {"English": documents(english(given.data)), "Chinese": documents(chinese(given.data))}
    together = sorted((d for each in made.values() for d in each), key=len)
    if given.write:
        given.write.write_text("".join(json.dumps({"text": d}) + "\n" for d in made["English"]), encoding="utf-8")
    print(f"polars: {pl.thread_pool_size()} threads")
    for name, texts in (made | {"both": together}).items():
        measure(name, texts, given.batch, given.rounds)
