"""Mathematical answers: accuracy by `dataengine check`, and speed and verdicts beside math-verify called plainly.

    python benchmarks/math_answers.py DATA [--cases FOLDER] [--rows 1500] [--rounds 3]

DATA holds the public sets (see the paths below), FOLDER the tests of math-verify's source distribution; both are read
and neither is copied. Every set is asked twice: each reply beside its own reference, and beside the next question's.
"""

import argparse
import gzip
import importlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dataengine.checks import Opinion, Sample
from dataengine.verify.math import MathCheck

Rows = list[tuple[str, str]]
"""(reference, reply)"""


def read(path: Path) -> list[dict[str, Any]]:
    found = path if path.exists() else path.with_name(path.name + ".gz")
    text = text_of(found)
    rows = json.loads(text) if ".json" in found.suffixes else [json.loads(line) for line in text.splitlines() if line]
    return list(rows)


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def sets(data: Path) -> dict[str, Rows]:
    """Reply is the set's own solution text where it has one, else the answer in a sentence."""
    boxed, said = "Hence it is $\\boxed{%s}$.", "The answer is $%s$."
    found: dict[str, Rows] = {}
    rows = [r for part in ("train", "test") for r in read(data / f"gsm8k/{part}.jsonl")]
    found["GSM8K, solutions"] = [(r["answer"].rpartition("####")[2].strip(), r["answer"]) for r in rows]
    rows = [r for part in ("train", "test") for r in read(data / f"deepscaler/{part}/math.json") if r["answer"]]
    found["MATH, boxed"] = [(r["answer"], boxed % r["answer"]) for r in rows]
    for name in ("EN-EASY", "EN-HARD", "ZH-EASY", "ZH-HARD"):
        rows = read(data / f"still_olymmath/OlymMATH/data/OlymMATH-{name}.jsonl")
        form = said if name.startswith("EN") else "答案是 $%s$。"
        found[f"OlymMATH {name}"] = [(r["answer"], form % r["answer"]) for r in rows]
    rows = read(data / "cmath/cmath_dev.jsonl") + read(data / "cmath/distractor.jsonl")
    found["CMATH, said"] = [(str(r["golden"]), f"答案是{r['golden']}。") for r in rows]
    found["MGSM, 11 languages, boxed"] = [
        (number, boxed % number)
        for path in sorted((data / "mgsm").glob("*.tsv*"))
        for line in text_of(path).splitlines()
        if (number := line.strip().rpartition("\t")[2])
    ]
    rows = [r for part in ("train", "test") for r in read(data / f"deepscaler/{part}/aime.json")]
    found["AIME 1983-2024, solutions"] = [(str(r["answer"]), r["solution"]) for r in rows]
    rows = read(data / "deepscaler/test/olympiad_bench.json")
    found["OlympiadBench, boxed"] = [(", ".join(r["answer"]), boxed % ", ".join(r["answer"])) for r in rows]
    return found


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def beside_the_next(rows: Rows) -> Rows:
    return [(wanted, reply) for (wanted, _), (_, reply) in zip(rows, rows[1:] + rows[:1], strict=True)]


def accuracy(data: Path) -> None:
    row("set", "rows", "passed", "beside the next reference: passed", "of these equal as text", "time, both")
    row("---", *["---:"] * 5)
    for name, rows in sets(data).items():
        start = time.perf_counter()
        own, other = checked(rows), checked(beside_the_next(rows))
        seconds = time.perf_counter() - start
        passed = sum(v["outcome"] == "pass" for _, _, v in own)
        wrong = [c for c in other if c[2]["outcome"] == "pass"]
        same = sum(c[2]["details"].get("by") == "text" for c in wrong)
        row(name, f"{len(rows):,}", f"{passed:,} ({passed / len(rows):.2%})", len(wrong), same, f"{seconds:.1f} s")
        for wanted, reply, verdict in own:
            if verdict["outcome"] != "pass":
                print(
                    f"    {verdict['outcome']}, {verdict['reason']}: {wanted!r} beside ...{reply[-80:]!r}",
                    file=sys.stderr,
                )
        for wanted, reply, verdict in wrong:
            if verdict["details"].get("by") != "text":
                print(f"    coincidence? {wanted!r} beside ...{reply[-60:]!r}", file=sys.stderr)


def checked(rows: Rows) -> list[tuple[str, str, dict[str, Any]]]:
    """The rows with their verdicts, by the command."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "rows.jsonl", Path(folder) / "out.jsonl"
        file.write_text("".join(json.dumps({"reference": w, "response": r}) + "\n" for w, r in rows), encoding="utf-8")
        subprocess.run(
            ["dataengine", "check", str(file), "--with", "math", "--out", str(out)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        return [(r["reference"], r["response"], r["verdicts"]["math"]) for r in found]


def ours(check: MathCheck, rows: Rows) -> list[Opinion]:
    return check([Sample(text=reply, answer=reply, reference=wanted) for wanted, reply in rows])


def plainly(rows: Rows) -> list[bool]:
    """As math-verify's README has it: parse both, verify; in this process, with its own time limits."""
    from math_verify import parse, verify

    return [verify(parse(f"${wanted}$"), parse(reply)) for wanted, reply in rows]


def speed(data: Path, count: int, rounds: int) -> None:
    check = MathCheck()
    check([Sample(text="\\boxed{x x}", answer="\\boxed{x x}", reference="x^2 + [")])  # the workers start
    print()
    row("answers", "rows", "ours, rows/s", "math-verify, rows/s", "times", "other verdicts")
    row("---", *["---:"] * 5)
    found = sets(data)
    gsm8k, math = found["GSM8K, solutions"], found["MATH, boxed"]
    short = [(wanted, f"The answer is {wanted}.") for wanted, _ in gsm8k]
    asked = {
        "GSM8K, solutions": gsm8k,
        "GSM8K, one sentence": short,
        "GSM8K, one sentence, next reference": beside_the_next(short),
        "MATH, boxed": math,
        "MATH, boxed, next reference": beside_the_next(math),
    }
    for name, rows in asked.items():
        sample = rows[:: max(1, len(rows) // count)][:count]
        rates: list[tuple[float, float]] = []
        for _ in range(rounds):
            start = time.perf_counter()
            # All rows, since a fraction of a second would measure little.
            ours(check, rows)
            between = time.perf_counter()
            theirs = plainly(sample)
            rates.append((len(rows) / (between - start), len(sample) / (time.perf_counter() - between)))
        mine, other = (sorted(r[i] for r in rates)[rounds // 2] for i in (0, 1))
        opinions = ours(check, sample)
        differing = [
            (w, r, o, t) for (w, r), o, t in zip(sample, opinions, theirs, strict=True) if (o.outcome == "pass") != t
        ]
        others = f"{len(differing)} of {len(sample):,}"
        row(name, f"{len(rows):,}", f"{mine:,.0f}", f"{other:,.0f}", f"{mine / other:.0f}", others)
        for wanted, reply, opinion, told in differing:
            print(f"    ours {opinion.outcome}, theirs {told}: {wanted!r} beside ...{reply[-70:]!r}", file=sys.stderr)
    check.close()


def own_cases(folder: Path) -> None:
    """Both on the cases of math-verify's own tests: reference, reply, and whether they are equal."""
    from math_verify import parse, verify

    sys.path.insert(0, str(folder.parent))
    cases: list[tuple[str, str, bool, dict[str, Any]]] = []
    for name in ("all", "numina_cases", "strict", "boxed", "open_thoughts", "yujianll"):
        for test in vars(importlib.import_module(f"{folder.name}.test_{name}")).values():
            for mark in getattr(test, "pytestmark", []):
                names = [
                    n.strip() for n in (mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0])
                ]
                for values in mark.args[1]:
                    case = dict(zip(names, values if isinstance(values, tuple) else (values,), strict=False))
                    if {"gold", "pred"} <= case.keys():
                        told = bool(case.pop("expected", case.pop("result", None)))
                        cases.append((case.pop("gold"), case.pop("pred"), told, case))
    check = MathCheck()
    opinions = ours(check, [(gold, reply) for gold, reply, _, _ in cases])
    check.close()
    theirs = [verify(parse(gold), parse(reply)) for gold, reply, _, _ in cases]
    right = Counter({"ours": 0, "math-verify, as it is called plainly": 0})
    for (gold, reply, told, settings), opinion, other in zip(cases, opinions, theirs, strict=True):
        right["ours"] += (opinion.outcome == "pass") == told
        right["math-verify, as it is called plainly"] += other == told
        if (opinion.outcome == "pass") != told:
            print(
                f"    ours {opinion.outcome}, its test {told} {settings}: {gold[-70:]!r} beside {reply[-70:]!r}",
                file=sys.stderr,
            )
    print(f"\nOn the {len(cases)} cases of its own tests: " + ", ".join(f"{k} {v}" for k, v in right.items()))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--cases", type=Path)
    options.add_argument("--rows", type=int, default=1_500)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    logging.disable(logging.CRITICAL)
    accuracy(given.data)
    speed(given.data, given.rows, given.rounds)
    if given.cases:
        own_cases(given.cases)
