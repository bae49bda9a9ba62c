"""Foreign sentences in reasoning: how many are found, and how often clean text is flagged.

    python benchmarks/language_mix.py DATA [--documents 1000]

DATA holds the public sets (GSM8K, MGSM, STAR-1, Alpaca in Chinese, Tatoeba). A document is 20 sentences of one
language; one to three sentences of another are planted into 150. One counts as found when a span covers half of it.
Then: sentences whose language changes after half of the words, and sentences of languages that share a script.
"""

import argparse
import gzip
import json
import random
import re
import time
from pathlib import Path

from dataengine.checks import Sample
from dataengine.filters.language import segments_of
from dataengine.filters.language_mix import LanguageMixCheck

PLANTED = ["en", "de", "fr", "es", "pt", "it", "nl", "pl", "ru", "zh", "ja", "ar"]
TATOEBA = {"de": "deu", "fr": "fra", "es": "spa", "pt": "por", "it": "ita", "nl": "nld", "pl": "pol", "ru": "rus"} | {
    "zh": "cmn",
    "ja": "jpn",
    "ar": "ara",
}
#: Languages of one script, with Tatoeba's code.
SHARED = [
    {"ru": "rus", "uk": "ukr", "bg": "bul", "mk": "mkd", "be": "bel"},
    {"ar": "ara", "fa": "pes", "ur": "urd"},
    {"hi": "hin", "mr": "mar"},
]
HAN = re.compile("[\u4e00-\u9fff]")


def text(path: Path) -> str:
    found = path if path.exists() else path.with_name(path.name + ".gz")
    content = found.read_bytes()
    return (gzip.decompress(content) if found.suffix == ".gz" else content).decode()


def sentences(part: str) -> list[str]:
    return [s.strip() for s in re.split(r"(?<=[.!?。！？])\s*", part) if len(s.strip()) > 15]


def bases(data: Path) -> dict[str, list[str]]:
    """Sentences to build documents from, by language."""
    english = []
    for line in text(data / "math/gsm8k/train.jsonl").splitlines()[:3000]:
        solution = re.sub(r"<<.*?>>", "", json.loads(line)["answer"]).partition("####")[0]
        english += [s for part in solution.split("\n") for s in sentences(part)]
    for row in json.loads(text(data / "preference_safety/star1/STAR-1.json"))[:400]:
        reply = re.sub("</?think>", "", row["response"])
        # Some of these replies are mixed themselves.
        english += [s for part in reply.split("\n") for s in sentences(part) if not HAN.search(s)]
    rows = json.loads(text(data / "nonreasoning/llamafactory_demo/alpaca_zh_demo.json"))
    chinese = [s for r in rows for part in r["output"].split("\n") for s in sentences(part)]
    found = {"en": english, "zh": [s for s in chinese if HAN.search(s) and not re.search("[A-Za-z]{4}", s)]}
    for language in ("de", "fr", "es", "ru", "ja"):
        lines = text(data / f"math/mgsm/mgsm_{language}.tsv").splitlines()
        found[language] = [s for line in lines for s in sentences(line.partition("\t")[0])]
    return found


def foreign(data: Path, language: str) -> list[str]:
    code, side = ("deu", "eng") if language == "en" else (TATOEBA[language], TATOEBA[language])
    return tatoeba(data, code, side)


def tatoeba(data: Path, code: str, side: str) -> list[str]:
    return text(data / f"nonreasoning/tatoeba_laser/v1/tatoeba.{code}-eng.{side}").splitlines()


def joined(parts: list[tuple[str, bool]], gap: str) -> tuple[str, list[tuple[int, int]]]:
    """Parts as one text, on a new line after one without a full stop, and where the planted ones stand."""
    whole, places = "", []
    for part, planted in parts:
        if whole:
            whole += (gap or " " * planted) if re.search(r"[.!?。！？]\W*$", whole) else "\n"
        if planted:
            places.append((len(whole), len(whole) + len(part)))
        whole += part
    return whole, places


def off(texts: list[str], language: str) -> list[list[list[int | str]]]:
    check = LanguageMixCheck()
    return [o.details.get("spans", []) for o in check([Sample(text=t, language=language) for t in texts])]


def accuracy(data: Path, count: int) -> None:
    chance = random.Random(1)
    print(f"| language | {' | '.join(PLANTED)} | clean documents flagged | clean sentences flagged |")
    print("|---" * (len(PLANTED) + 3) + "|")
    planted = {language: foreign(data, language) for language in PLANTED}
    for base, pool in bases(data).items():
        gap = "" if base in ("zh", "ja") else " "
        documents = [[chance.choice(pool) for _ in range(20)] for _ in range(count)]
        clean = off([joined([(s, False) for s in d], gap)[0] for d in documents], base)
        cells = []
        for language in PLANTED:
            texts, places = [], []
            for document in documents[:150] if language != base else []:
                parts = [(s, False) for s in document]
                for _ in range(chance.randint(1, 3)):
                    parts.insert(chance.randint(0, len(parts)), (chance.choice(planted[language]), True))
                made = joined(parts, gap)
                texts.append(made[0])
                places.append(made[1])
            wanted = [(s, p) for spans, ps in zip(off(texts, base), places, strict=True) for p in ps for s in [spans]]
            hits = [
                sum(max(0, min(end, int(b)) - max(start, int(a))) for a, b, _ in spans) >= (end - start) / 2
                for spans, (start, end) in wanted
            ]
            cells.append(f"{sum(hits) / len(hits):.3f}" if hits else "")
        flagged = sum(map(bool, clean))
        print(
            f"| {base} | {' | '.join(cells)} | {flagged} of {count} | {sum(map(len, clean)) / count / 20:.2%} |",
            flush=True,
        )


def switches(data: Path) -> None:
    """English sentences that go on in another language without a full stop; found where a span covers half of it."""
    chance = random.Random(5)
    english = [s for s in bases(data)["en"] if 40 < len(s) < 160]
    cells = []
    for language in ("de", "fr", "es", "nl"):
        others = [s for s in foreign(data, language) if len(s.split()) >= 6]
        found = 0
        for _ in range(600):
            first, second = (chance.choice(pool).rstrip(".!?") for pool in (english, others))
            made = f"{first} {second[0].lower()}{second[1:]}."
            (spans,) = off([made], "en")
            found += sum(max(0, int(b) - max(int(a), len(first) + 1)) for a, b, _ in spans) >= len(second) / 2
        cells.append(f"{language} {found / 600:.3f}")
    print(f"\nEnglish that goes on in another language, of 600 each: {', '.join(cells)}\n")


def shared(data: Path) -> None:
    """Sentences of each language, all by themselves, where another one of its script is wanted."""
    for group in SHARED:
        print(f"| wanted | {' | '.join(group)} |\n{'|---' * (len(group) + 1)}|")
        pools = {language: tatoeba(data, code, code) for language, code in group.items()}
        for wanted in group:
            told = {language: off(pool, wanted) for language, pool in pools.items()}
            print(f"| {wanted} | {' | '.join(f'{sum(map(bool, t)) / len(t):.3f}' for t in told.values())} |")
        print()


def speed(data: Path) -> None:
    """Documents of 2 KB of different English sentences, beside fastText on the same sentences, one line each."""
    import fasttext

    from dataengine.filters.identify import model_path

    model = fasttext.load_model(str(model_path()))
    documents, whole = [], ""
    for sentence in dict.fromkeys(bases(data)["en"]):
        whole = joined([(whole, False), (sentence, False)], " ")[0] if whole else sentence
        if len(whole) > 2_000:
            documents.append(whole)
            whole = ""
    lines = [s for d in documents for s in re.split(r"(?<=[.!?])\s+|\n", d) if s.strip()]
    size = sum(map(len, documents)) / 1e6
    best = {"fastText": 9e9, "language_mix": 9e9}
    for first in range(7):
        another = documents[first:] + documents[:first]  # a batch that was just asked about is not looked at again
        start = time.perf_counter()
        model.predict(lines)
        middle = time.perf_counter()
        segments_of(another, ["en"] * len(another))
        best["fastText"] = min(best["fastText"], middle - start)
        best["language_mix"] = min(best["language_mix"], time.perf_counter() - middle)
    told = ", ".join(f"{name} {size / seconds:.2f} MB/s" for name, seconds in best.items())
    ratio = best["fastText"] / best["language_mix"]
    print(f"{len(documents):,} documents, one process: {told}; {ratio:.2f} of fastText's")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--documents", type=int, default=1_000)
    given = options.parse_args()
    accuracy(given.data, given.documents)
    switches(given.data)
    shared(given.data)
    speed(given.data)
