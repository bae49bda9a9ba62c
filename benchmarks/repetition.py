"""The check `repetition`: speed beside datatrove's Gopher filter, what is found of planted loops, clean texts flagged.

    python -m venv /tmp/datatrove && /tmp/datatrove/bin/pip install datatrove spacy nltk orjson
    python benchmarks/repetition.py DATA --datatrove /tmp/datatrove/bin/python [--data-juicer PYTHON] [--rounds 3]

DATA holds the public sets (see the paths below). One process each, on one thread, in turn. Nothing is copied.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from public_sets import SETS, row, spoken, texts_of

from dataengine.checks import Sample
from dataengine.filters.repetition import RepetitionCheck

SIZE = 2048
BATCH = 256
# Documents that the peers are asked of: enough seconds for a rate.
PEERS = 400
SAMPLED = 200
PLANTED = 100

REASONING = ("STAR-1, reasoning of R1", "Marco-o1, reasoning", "AIME, solutions", "OlympiadBench, solutions")


def modules() -> dict[str, list[str]]:
    """Long code that is on every machine."""
    library = Path(sysconfig.get_path("stdlib"))
    read = {"Python's library": sorted(library.glob("*.py")), "Python's tests": sorted(library.glob("test/test_*.py"))}
    return {name: [p.read_text(errors="replace") for p in paths] for name, paths in read.items()}


def ours(texts: Sequence[str]) -> dict[str, Any]:
    check = RepetitionCheck()
    samples = [Sample(text=t) for t in texts]
    check(samples[:1])
    start = time.perf_counter()
    opinions = [o for first in range(0, len(samples), BATCH) for o in check(samples[first : first + BATCH])]
    return {"seconds": time.perf_counter() - start, "dropped": [o.reason for o in opinions]}


def peer(python: str, script: str, texts: Sequence[str]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(t) + "\n" for t in texts)
        file.flush()
        words = [python, str(Path(__file__).parent / "peers" / script), file.name]
        alone = {"OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
        done = subprocess.run(words, check=True, capture_output=True, text=True, env={**os.environ, **alone})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


Work = Callable[[Sequence[str]], dict[str, Any]]


def speed(documents: list[str], peers: dict[str, Work], rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}
    for _ in range(rounds):
        rates["ours"].append(len(documents) / ours(documents)["seconds"])
        for name, work in peers.items():
            rates[name].append(PEERS / work(documents[:PEERS])["seconds"])
    row("documents/s", *(f"round {n + 1}" for n in range(rounds)), "ours by it, round by round")
    row("---", *["---:"] * (rounds + 1))
    for name, told in rates.items():
        times = ", ".join(f"{a / b:.0f}" for a, b in zip(rates["ours"], told, strict=True))
        row(name, *(f"{r:,.0f}" for r in told), times)


def long(sentences: list[str], size: int) -> str:
    """The sentences again and again until there are `size` characters."""
    said = " ".join(sentences)
    return (f"{said} " * (size // len(said) + 1))[:size]


def planted(data: Path) -> dict[str, list[str]]:
    """Clean texts of some 2,000 characters, each with something that is said again, by kind."""
    chance = random.Random(1)
    pool = [t for name in REASONING for t in texts_of(data, name) if len(t) > SIZE]
    sentences = [s for t in pool for s in t.replace("\n", " ").split(". ") if 30 < len(s) < 120]

    def some(count: int) -> list[str]:
        return [f"{s}." for s in chance.sample(sentences, count)]

    def start() -> str:
        return chance.choice(pool)[:SIZE].rsplit(" ", 1)[0] + "\n\n"

    def counted(size: int) -> str:
        said, first = some(1)[0], chance.randint(1, 40)
        return "\n".join(f"Step {first + n}: {said}" for n in range(size // len(said) + 1))[:size]

    def shuffled(size: int) -> str:
        said = some(3)
        return " ".join(chance.choice(said) for _ in range(size // 50))[:size]

    def spread(times: int) -> str:
        paragraph = " ".join(some(5))
        parts = start().split("\n")
        for _ in range(times):
            parts.insert(chance.randint(0, len(parts)), paragraph)
        return "\n".join(parts)

    kinds: dict[str, Callable[[], str]] = {
        "a sentence to the end, 450 characters": lambda: start() + long(some(1), chance.randint(450, 500)),
        "a sentence to the end, 2,000 characters": lambda: start() + long(some(1), SIZE),
        "a paragraph to the end, 4,000 characters": lambda: start() + long(some(6), 2 * SIZE),
        "three sentences by turns, 4,000 characters": lambda: start() + shuffled(2 * SIZE),
        "a sentence with a number that counts, 4,000 characters": lambda: start() + counted(2 * SIZE),
        "a paragraph five times, here and there": lambda: spread(5),
        "a paragraph ten times, here and there": lambda: spread(10),
        "the whole text twice": lambda: start() * 2,
        "the whole text three times": lambda: start() * 3,
    }
    found = {kind: [make() for _ in range(PLANTED)] for kind, make in kinds.items()}
    texts = spoken(data / SETS["Tatoeba, 112 languages"][0])
    for code in ("cmn", "jpn", "deu", "rus", "ara", "hin", "kor", "tha"):
        of_language = [t for t in texts[code] if len(t) > 100]
        found[f"up to 90 characters to the end, {code}"] = [
            t + " " + long([t[: min(len(t) // 3, 90)]], 600)
            for t in (chance.choice(of_language) for _ in range(PLANTED))
        ]
    return found


def recall(data: Path, peers: dict[str, Work]) -> None:
    kinds = planted(data)
    every = [t for texts in kinds.values() for t in texts]
    dropped = {name: work(every)["dropped"] for name, work in {"ours": ours, **peers}.items()}
    print(f"\nPlanted into clean texts, {PLANTED} of each kind; share that is found:\n")
    row("planted", "ours", *peers, "reasons of ours")
    row("---", *["---:"] * (len(peers) + 1), "---")
    for number, kind in enumerate(kinds):
        part = slice(number * PLANTED, (number + 1) * PLANTED)
        shares = [f"{sum(map(bool, d[part])) / PLANTED:.0%}" for d in dropped.values()]
        reasons = Counter(r for r in dropped["ours"][part] if r)
        row(kind, *shares, ", ".join(f"{r} {n}" for r, n in reasons.most_common()))


def clean(data: Path, peers: dict[str, Work]) -> None:
    sets = {**{name: texts_of(data, name) for name in SETS}, **modules()}
    chance = random.Random(1)
    # Long code takes the peers minutes.
    some = {name: chance.sample(ts, min(20 if "Python" in name else SAMPLED, len(ts))) for name, ts in sets.items()}
    every = [text for texts in some.values() for text in texts]
    theirs = {name: work(every)["dropped"] for name, work in peers.items()}
    print(f"\nClean texts that are flagged; peers are asked of {SAMPLED} of a set at most:\n")
    row("set", "texts", "ours", "by reason", *peers)
    row("---", "---:", "---:", "---", *["---:"] * len(peers))
    start = 0
    for name, texts in sets.items():
        reasons = Counter(r for r in ours(texts)["dropped"] if r)
        end = start + len(some[name])
        shares = [f"{sum(dropped[start:end]) / (end - start):.1%}" for dropped in theirs.values()]
        start = end
        by_reason = ", ".join(f"{r} {n}" for r, n in reasons.most_common())
        row(name, f"{len(texts):,}", reasons.total(), by_reason, *shares)


def memory(documents: list[str], rows: int) -> None:
    """The same batch again and again keeps nothing; then a line of 5 MB."""
    check = RepetitionCheck()
    samples = [Sample(text=d) for d in documents[:BATCH]]
    peaks = []
    for _ in range(4):
        for _ in range(rows // 4 // BATCH):
            check(samples)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    start = time.perf_counter()
    check([Sample(text=" ".join(documents)[:5_000_000])])
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"\n{rows:,} rows, MB after each quarter: {peaks}; a line of 5 MB: {seconds:.2f} s, {after} MB")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--datatrove", help="the Python of an environment that has it")
    options.add_argument("--data-juicer", help="the Python of an environment that has it")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--only", choices=("speed", "recall", "clean", "memory"))
    given = options.parse_args()
    peers: dict[str, Work] = {}
    for name, python in (("datatrove", given.datatrove), ("data_juicer", given.data_juicer)):
        if python:
            peers[name] = lambda texts, python=python, name=name: peer(python, f"{name}_repetition.py", texts)
    pool = "\n\n".join(t for name in REASONING for t in texts_of(given.data, name))
    documents = [pool[i : i + SIZE] for i in range(0, len(pool) - SIZE, SIZE)]
    steps: dict[str, Callable[[], None]] = {
        "speed": lambda: speed(documents, peers, given.rounds),
        "recall": lambda: recall(given.data, peers),
        "clean": lambda: clean(given.data, peers),
        "memory": lambda: memory(documents, given.rows),
    }
    for name, step in steps.items():
        if given.only in (None, name):
            step()


if __name__ == "__main__":
    main()
