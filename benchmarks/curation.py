"""The whole curation stage beside datatrove's filters: documents a second, one process each, the same documents.

    python benchmarks/curation.py DATA --datatrove PYTHON [--documents 2000] [--rounds 3]

DATA holds the public sets. PYTHON is the interpreter of an environment of its own:

    python -m venv /tmp/datatrove && /tmp/datatrove/bin/pip install datatrove nltk spacy fasttext-numpy2-wheel fasteners

Documents are of 2 KB, cut from reasoning, solutions and programs at random places, and framed as replies. What is timed
is the filters, not the reading and writing of rows.
"""

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from contamination import BENCHMARKS, entries, texts_of
from public_sets import row, rows_of

from dataengine.checks import Check, Sample, load_check
from dataengine.filters.identify import model_path
from dataengine.prompting import take_apart

SETS = ("STAR-1, reasoning of R1", "GSM8K, train", "Marco-o1, reasoning", "CruxEval")
SIZE = 2_000
BATCH = 512
#: Of each thing that datatrove looks at, our checks that do.
SAME = {
    "language": ("language_mix",),
    "repetition": ("repetition",),
    "quality": ("format", "readability", "length", "features"),
    "personal data": ("pii",),
    "decontamination": ("contamination",),
    "near duplicates": ("duplicate",),
}
OURS_ALONE = ("language", "refusal")


def documents(data: Path, count: int) -> list[str]:
    chance = random.Random(7)
    pool = "\n".join(text for name in SETS for text in texts_of(data, name))
    pool = pool.replace("<think>", "").replace("</think>", "")
    made = []
    for _ in range(count):
        start = chance.randrange(len(pool) - SIZE)
        body = pool[start : start + SIZE - 60]
        made.append(f"<think>\n{body[:-200]}\n</think>\n{body[-200:]}\n<answer>7</answer>")
    return made


def questions(data: Path) -> list[str]:
    """The items of GSM8K and MATH-500, which both sides are given."""
    columns = ("question", "problem")
    return [
        next(str(item[c]) for c in columns if c in item)
        for name in ("GSM8K", "MATH-500")
        for path in BENCHMARKS[name]
        for item in rows_of(data / path)
    ]


def written(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def loaded(name: str, data: Path) -> Check:
    settings = {"benchmarks": entries(data, ("GSM8K", "MATH-500"))} if name == "contamination" else {}
    check = load_check(name, settings)
    check([Sample(text="A first text, so that models are loaded.")])
    return check


def seconds(check: Check, samples: Sequence[Sample]) -> float:
    """What a check takes for all samples; `duplicate` compares them all, the others are given batches."""
    size = len(samples) if check.name == "duplicate" else BATCH
    begun = time.perf_counter()
    for start in range(0, len(samples), size):
        check(samples[start : start + size])
    return time.perf_counter() - begun


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--datatrove", type=Path, required=True)
    options.add_argument("--documents", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    peer = Path(__file__).parent / "peers" / "datatrove_filters.py"
    texts = documents(given.data, given.documents)
    samples = [
        Sample(text=t, reasoning=p.reasoning, answer=p.answer, prompt="How many?", trajectory_id=str(n))
        for n, (t, p) in enumerate((t, take_apart(t)) for t in texts)
    ]
    checks = {name: loaded(name, given.data) for name in (*(n for names in SAME.values() for n in names), *OURS_ALONE)}
    ours = dict.fromkeys(checks, float("inf"))
    theirs = dict.fromkeys(SAME, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        files = [written(Path(folder) / "texts", texts), written(Path(folder) / "items", questions(given.data))]
        for _ in range(given.rounds):
            done = subprocess.run(
                [given.datatrove, peer, *files, model_path()], check=True, stdout=subprocess.PIPE, text=True
            )
            theirs = {name: min(theirs[name], spent) for name, spent in json.loads(done.stdout).items()}
            ours = {name: min(ours[name], seconds(checks[name], samples)) for name in checks}
    count = len(texts)
    print(f"{count:,} documents of {sum(map(len, texts)) / count:,.0f} characters; the best of {given.rounds} rounds\n")
    row("what", "our checks", "ours, documents/s", "datatrove", "times")
    row("---", "---", "---:", "---:", "---:")
    for what, names in SAME.items():
        spent = sum(ours[name] for name in names)
        row(what, ", ".join(f"`{n}`" for n in names), f"{count / spent:,.0f}", f"{count / theirs[what]:,.0f}",
            f"{theirs[what] / spent:.1f}")  # fmt: skip
    same = sum(ours[name] for names in SAME.values() for name in names)
    row("together", "", f"{count / same:,.0f}", f"{count / sum(theirs.values()):,.0f}",
        f"{sum(theirs.values()) / same:.1f}")  # fmt: skip
    alone = ", ".join(f"`{n}`" for n in OURS_ALONE)
    row("with what datatrove has not", alone, f"{count / sum(ours.values()):,.0f}", "", "")
    print("\nEach check by itself, documents/s:", ", ".join(f"`{n}` {count / s:,.0f}" for n, s in ours.items()))


if __name__ == "__main__":
    main()
