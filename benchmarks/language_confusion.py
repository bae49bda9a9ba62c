"""The line-level pass rate of the Language Confusion Benchmark, by its own definition and by ours.

    python benchmarks/language_confusion.py DATA

A completion passes when every line of five words or more is in the language that was wanted; one without such a line is
skipped. By the benchmark's definition a line's language is the first guess of fastText's lid.176 on the line without
punctuation, if that is surer than 0.3; lines of code and tables count like any other. By ours it is the language with
the most words among the segments of the line, and a line whose language cannot be told is not in another one: `lines`
are read each by itself, as the benchmark does, `replies` whole, so that code is seen to be code. The benchmark counts
words of Chinese and Japanese with jieba and fugashi; here two characters are a word, on both sides alike. Its model is
lid.176.bin, here the compressed .ftz.
"""

import argparse
import csv
import gzip
import re
import string
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dataengine.filters.identify import guessed, same_language
from dataengine.filters.language import main_of, segments_of
from dataengine.filters.latin import Segment

LEAST_WORDS = 5
LEAST_PROBABILITY = 0.3
UNSPACED = ("zh", "ja")
_MARKS = str.maketrans(dict.fromkeys(string.punctuation + "،") | {"—": " "})
_DENSE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


def long_enough(line: str, language: str) -> bool:
    words = len(_DENSE.findall(line)) / 2 if language in UNSPACED else 0
    return words + len(_DENSE.sub(" ", line).split()) >= LEAST_WORDS


def lines_of(completion: str, language: str) -> list[tuple[int, str]]:
    """Where the lines that count begin, and what they hold, marks included."""
    found, at = [], 0
    for line in completion.split("\n"):
        if long_enough(line.translate(_MARKS), language):
            found.append((at, line))
        at += len(line) + 1
    return found


def by_definition(lines: list[str], language: str) -> bool:
    return all(
        guess == language and sure > LEAST_PROBABILITY for guess, sure in guessed([s.translate(_MARKS) for s in lines])
    )


def by_us(lines: Sequence[Sequence[Segment]], language: str) -> bool:
    mains = map(main_of, lines)
    return all(main is None or same_language(main, language) for main in mains)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    folder = options.parse_args().data / "langid" / "language_confusion" / "outputs"
    rows = []
    for file in sorted(folder.glob("*.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8", newline="") as opened:
            rows += list(csv.DictReader(opened))
    texts = [row["completion"].split("\nQ:")[0].strip() for row in rows]
    wanted = [row["language"] for row in rows]
    whole = segments_of(texts, wanted)
    told: dict[tuple[str, str], list[tuple[bool, bool, bool]]] = defaultdict(list)
    for row, text, found in zip(rows, texts, whole, strict=True):
        language = row["language"]
        lines = lines_of(text, language)
        if not lines:
            continue
        alone = segments_of([line for _, line in lines], [language] * len(lines))
        inside = [[s for s in found if start <= s.start < start + len(line)] for start, line in lines]
        told[language, row["task"]].append(
            (by_definition([line for _, line in lines], language), by_us(alone, language), by_us(inside, language))
        )
    print("| language | task | completions | by its definition | ours, lines | points | same verdict | ours, replies |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for (language, task), pairs in sorted(told.items()):
        line(language, task, pairs)
    for task in ("monolingual", "crosslingual"):
        line("all", task, [p for (_, of), pairs in told.items() if of == task for p in pairs])
    line("all", "both", [p for pairs in told.values() for p in pairs])


def line(language: str, task: str, told: list[tuple[bool, bool, bool]]) -> None:
    theirs, lines, replies = (sum(side) / len(told) for side in zip(*told, strict=True))
    same = sum(a == b for a, b, _ in told) / len(told)
    cells = (language, task, f"{len(told):,}", f"{theirs:.1%}", f"{lines:.1%}", f"{100 * (lines - theirs):+.1f}",
             f"{same:.1%}", f"{replies:.1%}")  # fmt: skip
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
