"""The check `contamination` on public benchmarks: what is found of planted items, what of other sets, and how fast.

    python benchmarks/contamination.py DATA [--rows 100000]

DATA holds the public sets (see the paths below). Every item is planted into the reasoning of another set, as it is and
respelled. One process; nothing is copied.
"""

import argparse
import gzip
import random
import resource
import string
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from public_sets import existing, row, rows_of

from dataengine.checks import Sample
from dataengine.filters.contamination import ContaminationCheck

BENCHMARKS = {
    "GSM8K": ["math/gsm8k/test.jsonl"],
    "MATH-500": ["math/deepscaler/test/math.json"],
    "AIME": [
        "math/deepscaler/train/aime.json",
        "math/deepscaler/test/aime.json",
        "math/still_olymmath/STILL-3-TOOL/evaluation/dataset/AIME25.jsonl",
    ],
    "MGSM": ["math/mgsm"],
    "HumanEval": ["code/humaneval/data/HumanEval.jsonl"],
    "MBPP": ["code/deepseek_coder_eval/MBPP/data/mbpp.jsonl"],
    "ARC": ["science_logic/arc_obqa/ARC-Challenge/test.json", "science_logic/arc_obqa/ARC-Easy/test.json"],
    "BBH": ["science_logic/bbh/bbh"],
    "IFEval": ["nonreasoning/ifeval/data/input_data.jsonl"],
}
# Sets that are no benchmark of ours: the file and the columns that are read as replies.
OTHERS = {
    "GSM8K, train": ("math/gsm8k/train.jsonl", ("question", "answer")),
    "MATH, train": ("math/deepscaler/train/math.json", ("problem", "answer")),
    "OlymMATH, English": ("math/still_olymmath/OlymMATH/data/OlymMATH-EN-EASY.jsonl", ("problem",)),
    "CMATH": ("math/cmath/cmath_dev.jsonl", ("input",)),
    "OpenBookQA, test": ("science_logic/arc_obqa/openbookqa/test.json", ("instruction",)),
    "ARC-Challenge, train": ("science_logic/arc_obqa/ARC-Challenge/train.json", ("instruction",)),
    "LeetCode": ("code/deepseek_coder_eval/LeetCode/data/20240121-Jul.jsonl", ("prompt_sft", "prompt")),
    "CruxEval": ("code/cruxeval/data/cruxeval.jsonl", ("code",)),
    "Alpaca, English": ("nonreasoning/llamafactory_demo/alpaca_en_demo.json", ("instruction", "input", "output")),
    "Alpaca, Chinese": ("nonreasoning/llamafactory_demo/alpaca_zh_demo.json", ("instruction", "input", "output")),
    "STAR-1, reasoning of R1": ("preference_safety/star1/STAR-1.json", ("question", "response")),
    "Marco-o1, reasoning": ("traces/marco_o1/CoT_demo.json", ("instruction", "response")),
}
SPACES = str.maketrans(dict.fromkeys(string.punctuation + "，。？！、：；“”（）", " "))
OTHER_MARKS = str.maketrans(dict.fromkeys(string.punctuation, "~") | dict.fromkeys("，。？！、：；“”（）", "·"))
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "other spacing": lambda s: "\n  ".join(s.split()),
    "marks to spaces": lambda s: s.translate(SPACES),
    "other marks": lambda s: s.translate(OTHER_MARKS),
}


def texts_of(data: Path, name: str) -> list[str]:
    path, columns = OTHERS[name]
    return ["\n".join(str(row.get(c) or "") for c in columns) for row in rows_of(data / path)]


def entries(data: Path, names: Iterable[str]) -> list[dict[str, str]]:
    return [{"path": str(existing(data / path)), "name": name} for name in names for path in BENCHMARKS[name]]


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def recall(check: ContaminationCheck, fillers: list[str]) -> None:
    chance = random.Random(1)
    parts = list(dict.fromkeys(check.index.parts))
    questions = [p for p in parts if p.kind == "question"]
    solutions = [p for p in parts if p.kind == "solution"]
    row("benchmark", "planted", *SPELLINGS, "share 1.0")
    row("---", *["---:"] * (len(SPELLINGS) + 2))
    for kind, planted in (("questions", questions), ("solutions", solutions)):
        found: dict[str, Counter[str]] = {s: Counter() for s in SPELLINGS}
        full: Counter[str] = Counter()
        for spelling, change in SPELLINGS.items():
            texts = []
            for part in planted:
                before, after = chance.sample(fillers, 2)
                texts.append(f"{before[:2000]}\n{change(part.text)}\n{after[:2000]}")
            opinions = check([Sample(text=t) for t in texts])
            for part, opinion in zip(planted, opinions, strict=True):
                matches = {m["benchmark"]: m["share"] for m in opinion.details.get("matches", ())}
                found[spelling][part.benchmark] += part.benchmark in matches
                full[part.benchmark] += spelling == "as it is" and matches.get(part.benchmark) == 1.0
                if part.benchmark not in matches and kind == "questions":
                    print(f"    missed, {spelling}: {part.benchmark} {part.item} {part.text[:90]!r}")
        for name, count in Counter(p.benchmark for p in planted).items():
            cells = [f"{found[s][name] / count:.2%}" for s in SPELLINGS]
            row(f"{name}, {kind}", f"{count:,}", *cells, f"{full[name] / count:.2%}")


def others(check: ContaminationCheck, data: Path) -> None:
    print()
    row("set", "rows", "flagged", "share from 0.2", "from 0.5", "by benchmark", "fullest")
    row("---", *["---:"] * 4, "---", "---")
    for name in OTHERS:
        opinions = check([Sample(text=t) for t in texts_of(data, name)])
        flagged = [o for o in opinions if o.outcome == "fail"]
        benchmarks = Counter(m["benchmark"] for o in flagged for m in o.details["matches"])
        best = max(flagged, key=lambda o: o.score or 0, default=None)
        told = ""
        if best:
            match = best.details["matches"][0]
            told = f"{match['share']:.2f} {match['benchmark']} {match['item']}: {' '.join(match['text'].split())[:80]}"
        shares = [sum((o.score or 0) >= least for o in flagged) for least in (0.2, 0.5)]
        row(name, f"{len(opinions):,}", f"{len(flagged)} ({len(flagged) / len(opinions):.2%})", *shares,
            ", ".join(f"{b} {n}" for b, n in benchmarks.most_common()), told.replace("|", "\\|"))  # fmt: skip


def translations(data: Path) -> None:
    check = ContaminationCheck(benchmarks=entries(data, ["GSM8K"]))
    print()
    row("MGSM, against GSM8K in English", "items", "found", "share from 0.5")
    row("---", *["---:"] * 3)
    for path in sorted((data / "math/mgsm").glob("*.tsv*")):
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
        opinions = check([Sample(text=line.rpartition("\t")[0]) for line in text.splitlines()])
        shares = [o.score or 0.0 for o in opinions]
        row(path.name.split(".")[0].removeprefix("mgsm_"), len(shares), sum(s > 0 for s in shares),
            sum(s >= 0.5 for s in shares))  # fmt: skip


def speed(check: ContaminationCheck, data: Path, count: int) -> None:
    """Rows of 4 KB cut from reasoning, solutions and programs at random places, part of each as its prompt."""
    chance = random.Random(2)
    pool = "\n".join(t for n in ("STAR-1, reasoning of R1", "GSM8K, train", "Marco-o1, reasoning", "CruxEval")
                     for t in texts_of(data, n))  # fmt: skip
    size = flagged = first_memory = 0
    spent = processor = 0.0
    for first in range(0, count, 512):
        places = [chance.randrange(200, len(pool) - 4000) for _ in range(min(512, count - first))]
        samples = [Sample(text=pool[p : p + 3800], prompt=f"{i} {pool[p - 200 : p]}") for i, p in enumerate(places)]
        size += sum(len(s.text.encode()) + len(s.prompt.encode()) for s in samples)
        before = time.perf_counter(), time.process_time()
        flagged += sum(o.outcome == "fail" for o in check(samples))
        spent += time.perf_counter() - before[0]
        processor += time.process_time() - before[1]
        first_memory = first_memory or memory()
    print(
        f"\n{count:,} rows of {size / count:,.0f} bytes in {spent:.1f} s of one process ({processor:.1f} s of a core): "
        f"{count / spent:,.0f} rows/s, {size / spent / 1e6:.1f} MB/s; {flagged:,} flagged; most memory after the first "
        f"rows {first_memory:,} MB, after all {memory():,} MB"
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--rows", type=int, default=100_000)
    given = options.parse_args()
    start = time.perf_counter()
    everything = ContaminationCheck(benchmarks=entries(given.data, BENCHMARKS))
    lookup = everything.index.grams
    print(f"{len(everything.index.parts) // 2:,} questions and solutions, {len(lookup.hashes):,} n-grams, read in "
          f"{time.perf_counter() - start:.1f} s, {memory():,} MB\n")  # fmt: skip
    recall(everything, [t for t in texts_of(given.data, "STAR-1, reasoning of R1") if len(t) > 500])
    others(everything, given.data)
    translations(given.data)
    speed(everything, given.data, given.rows)
