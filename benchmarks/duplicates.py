"""Near duplicates: speed beside rensa with shingles made in Python, what is found and missed, and memory.

    python benchmarks/duplicates.py TEXTS [--documents 5000] [--rows 200000] [--rounds 3]

TEXTS is a JSONL file, or a folder of such (.gz too): strings in it are cut into words, and documents of 2 KB made of
runs of these words. Nothing of them is written anywhere. All is measured in one process on one thread.
"""

import argparse
import gzip
import itertools
import json
import os
import random
import re
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from rensa import RMinHash, RMinHashLSH

from dataengine.checks import Sample
from dataengine.filters.duplicate import DuplicateCheck
from dataengine.filters.minhash import NUMBERS, normal, signatures

SIZE = 2048
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
# Of four numbers each: finds what our bands find.
RIVAL_BANDS = 32


def texts(path: Path) -> Iterator[str]:
    files = sorted(p for p in path.rglob("*.jsonl*")) if path.is_dir() else [path]
    for file in files:
        content = file.read_bytes()
        for line in (gzip.decompress(content) if file.suffix == ".gz" else content).decode().splitlines():
            yield from strings(json.loads(line))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def made(pool: list[str], count: int, size: int, chance: random.Random) -> list[str]:
    """Documents of `size` characters, each of runs of 3 to 30 words from all over the pool."""
    documents = []
    for _ in range(count):
        words: list[str] = []
        length = 0
        while length < size:
            start = chance.randrange(len(pool) - 30)
            run = pool[start : start + chance.randint(3, 30)]
            words += run
            length += sum(map(len, run)) + len(run)
        documents.append(" ".join(words)[:size])
    return documents


def altered(text: str, share: float, pool: list[str], chance: random.Random) -> str:
    words = text.split()
    for place in chance.sample(range(len(words)), round(share * len(words))):
        words[place] = chance.choice(pool)
    return " ".join(words)


def shingles(text: str, split: Callable[[str], list[str]]) -> set[str]:
    words = split(text.lower())
    return {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


# The words that the check compares, as far as these documents go.
same_words = re.compile(r"\w+|[^\w\s]").findall


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one, same_words), shingles(other, same_words)
    return len(a & b) / len(a | b)


def plainly(documents: list[str], split: Callable[[str], list[str]]) -> list[RMinHash]:
    """As rensa's README has it, with shingles in place of words."""
    found = []
    for document in documents:
        made = RMinHash(num_perm=NUMBERS, seed=42)
        made.update(list(shingles(document, split)))
        found.append(made)
    return found


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def speed(documents: list[str], rounds: int) -> None:
    samples = [Sample(text=d, trajectory_id=str(i)) for i, d in enumerate(documents)]
    check = DuplicateCheck()

    def by_batch() -> None:
        for start in range(0, len(documents), 256):
            signatures([normal(d) for d in documents[start : start + 256]])

    def whole() -> None:
        comparison = check.comparison()
        for start in range(0, len(samples), 256):
            comparison.add(samples[start : start + 256])
        assert len(list(comparison.opinions())) == len(samples)

    def theirs_whole() -> None:
        index = RMinHashLSH(threshold=0.8, num_perm=NUMBERS, num_bands=RIVAL_BANDS)
        for i, found in enumerate(plainly(documents, str.split)):
            index.query(found)
            index.insert(i, found)

    work: dict[str, Callable[[], object]] = {
        "signatures: ours": by_batch,
        "signatures: rensa, words by split()": lambda: plainly(documents, str.split),
        "signatures: rensa, the same words as ours": lambda: plainly(documents, same_words),
        "verdicts: ours": whole,
        "looked up: rensa, words by split()": theirs_whole,
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    by_batch()  # tables are made
    for _ in range(rounds):
        for name, step in work.items():
            times[name].append(seconds(step))
    row("work", "documents/s, median", "lowest", "highest")
    row("---", *["---:"] * 3)
    for name, taken in times.items():
        rates = sorted(len(documents) / t for t in taken)
        row(name, f"{statistics.median(rates):,.0f}", f"{rates[0]:,.0f}", f"{rates[-1]:,.0f}")


def quality(documents: list[str], pool: list[str], chance: random.Random) -> None:
    """Each document and a copy with some words changed, among all the others: is the pair found, and rightly so?"""
    shares = [SHARES[i % len(SHARES)] for i in range(len(documents))]
    copies = [altered(d, share, pool, chance) for d, share in zip(documents, shares, strict=True)]
    similar = [jaccard(d, c) for d, c in zip(documents, copies, strict=True)]
    opinions = DuplicateCheck()([Sample(text=t, trajectory_id=str(i)) for i, t in enumerate([*documents, *copies])])
    ours, strange = [], 0
    for i in range(len(documents)):
        pair = (i, i + len(documents))
        named = [opinions[n].details["representative"] for n in pair if opinions[n].outcome == "fail"]
        ours.append(any(int(n) in pair for n in named))
        strange += sum(int(n) not in pair for n in named)
    index = RMinHashLSH(threshold=0.8, num_perm=NUMBERS, num_bands=RIVAL_BANDS)
    first, second = plainly(documents, same_words), plainly(copies, same_words)
    for i, made in enumerate(first):
        index.insert(i, made)
    theirs = [i in index.query(made) and first[i].jaccard(made) >= 0.8 for i, made in enumerate(second)]
    print()
    row("words changed", "pairs", "true similarity, mean", "ours: found", "rensa: found")
    row(*["---:"] * 5)
    for share in SHARES:
        chosen = [i for i, s in enumerate(shares) if s == share]
        told = [f"{statistics.mean(f[i] for i in chosen):.1%}" for f in (ours, theirs)]
        row(f"{share:.0%}", f"{len(chosen):,}", f"{statistics.mean(similar[i] for i in chosen):.3f}", *told)
    print()
    row("true similarity", "pairs", "ours: found", "rensa: found")
    row(*["---:"] * 4)
    for low, high in itertools.pairwise((0.0, 0.7, 0.75, 0.8, 0.85, 0.9, 1.1)):
        chosen = [i for i, s in enumerate(similar) if low <= s < high]
        if chosen:
            told = [f"{statistics.mean(f[i] for i in chosen):.1%}" for f in (ours, theirs)]
            row(f"{low:.2f} to {min(high, 1):.2f}", f"{len(chosen):,}", *told)
    for name, found in (("ours", ours), (f"rensa, {RIVAL_BANDS} bands", theirs)):
        right = sum(f and s >= 0.8 for f, s in zip(found, similar, strict=True))
        wanted = sum(s >= 0.8 for s in similar)
        print(f"{name}: recall {right / wanted:.2%}, precision {right / sum(found):.2%} at a true similarity of 0.8")
    print(f"ours: {strange} failed beside a document that they were not made from")


def memory(pool: list[str], rows: int, chance: random.Random) -> None:
    """A third of the rows are near another, some equal to one; texts of 4 KB are made and forgotten by batches."""
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    comparison = DuplicateCheck().comparison()
    kept: list[str] = []
    start = time.perf_counter()
    making = 0.0
    for first in range(0, rows, 256):
        begun = time.perf_counter()
        batch = made(pool, 256, 4096, chance)
        for i in range(len(batch)):
            if kept and i % 3 == 0:
                batch[i] = altered(chance.choice(kept), 0.01, pool, chance)
            elif kept and i % 10 == 1:
                batch[i] = chance.choice(kept)
        kept = (kept + batch[:4])[-2000:]
        making += time.perf_counter() - begun
        comparison.add([Sample(text=t, trajectory_id=f"{first + i:064}") for i, t in enumerate(batch)])
    added = time.perf_counter() - start - making
    counts: dict[str, int] = {}
    start = time.perf_counter()
    for _, opinion in comparison.opinions():
        name = opinion.reason or opinion.outcome
        counts[name] = counts.get(name, 0) + 1
    told = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{rows:,} documents of 4 KB: {counts}; added in {added:.1f} s, judged in {told:.1f} s; "
        f"{base:,.0f} MB before, {peak:,.0f} MB at most, {(peak - base) / rows * 1e6 / 1024:.2f} GB for a million"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("texts", type=Path)
    options.add_argument("--documents", type=int, default=5_000)
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    chance = random.Random(1)
    pool = [word for text in texts(given.texts) for word in text.split()]
    documents = made(pool, given.documents, SIZE, chance)
    speed(documents, given.rounds)
    quality(documents, pool, chance)
    memory(pool, given.rows, chance)


if __name__ == "__main__":
    main()
