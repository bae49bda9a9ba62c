"""Lines in the language that was asked for: the Language Confusion Benchmark's own measure beside the check `language`.

    pip install jieba fugashi unidic-lite
    python benchmarks/language_confusion.py DATA

DATA holds `langid/language_confusion/outputs/command-r.csv` (or .gz): 6,586 completions of one model, 15 languages.
The benchmark (for-ai/language-confusion, compute_metrics.py) cuts a completion at "\\nQ:", drops ASCII punctuation, and
reads the lines of five words or more; jieba cuts Chinese into words, MeCab Japanese. A line is right when fastText's
first guess is the language wanted, with a probability above 0.3; a completion passes when all of its lines are right.
The line pass rate (LPR) is the share of those that pass among those with such lines. Our check reads the same lines as
they were written: one is wrong when most of its words are in another language.
"""

import argparse
import csv
import gzip
import io
import string
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import fasttext
import fugashi
import jieba

from dataengine.filters.identify import model_path, same_language
from dataengine.filters.language import main_of, segments_of

LEAST_WORDS = 5
LEAST_PROBABILITY = 0.3
DROPPED = str.maketrans({**dict.fromkeys(string.punctuation + "،", ""), "—": " "})
TAGGER = fugashi.Tagger("-O wakati -b 50000")


@dataclass
class Line:
    """A line that both read: as it was written, and as the benchmark asks fastText about it."""

    text: str
    asked: str


def lines(completion: str, language: str) -> list[Line]:
    """The lines of five words or more. Dropping punctuation keeps them in number."""
    text = completion.split("\nQ:")[0].strip()
    both = zip(text.split("\n"), text.translate(DROPPED).split("\n"), strict=True)
    return [Line(line, asked) for line, asked in both if words(asked, language) >= LEAST_WORDS]


def words(line: str, language: str) -> int:
    if language == "zh":
        return len(list(jieba.cut(line)))
    if language == "ja":
        return len(TAGGER.parse(line).split())
    return len(line.split())


def passed_by_fasttext(rows: list[tuple[str, list[Line]]]) -> list[bool]:
    model: Any = fasttext.load_model(str(model_path()))
    passed = []
    for language, read in rows:
        labels, probabilities = model.predict([line.asked for line in read])
        told = [
            label[0].removeprefix("__label__") if p[0] > LEAST_PROBABILITY else "unknown"
            for label, p in zip(labels, probabilities, strict=True)
        ]
        passed.append(all(t == language for t in told))
    return passed


def passed_by_check(rows: list[tuple[str, list[Line]]]) -> list[bool]:
    found = iter(
        segments_of(
            [line.text for _, read in rows for line in read], [language for language, read in rows for _ in read]
        )
    )
    told = [(language, [main_of(next(found)) for _ in read]) for language, read in rows]
    return [all(main is None or same_language(main, language) for main in mains) for language, mains in told]


def table(counted: dict[tuple[str, str], list[tuple[bool, bool]]]) -> None:
    print("| task | language | completions | LPR | by the check | difference | same verdict |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for (task, language), pairs in [*sorted(counted.items()), (("all", ""), [*chain(*counted.values())])]:
        theirs, ours = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
        same = sum(a == b for a, b in pairs) / len(pairs)
        print(
            f"| {task} | {language} | {len(pairs):,} | {theirs:.1%} | {ours:.1%} | {100 * (ours - theirs):+.1f} "
            f"| {same:.1%} |"
        )


def main(data: Path) -> None:
    path = data / "langid/language_confusion/outputs/command-r.csv"
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_name("command-r.csv.gz").read_bytes())
    completions = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    kept = [(c, read) for c in completions if (read := lines(c["completion"], c["language"]))]
    rows = [(c["language"], read) for c, read in kept]
    counted = defaultdict(list)
    for (c, _), *pair in zip(kept, passed_by_fasttext(rows), passed_by_check(rows), strict=True):
        counted[c["task"], c["language"]].append((pair[0], pair[1]))
    table(counted)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    main(options.parse_args().data)
