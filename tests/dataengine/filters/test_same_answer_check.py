"""A rewrite has its parent's final answer, another one, or none, as the prompt's verifier compares answers."""

import json
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataengine.checks import Check, Opinion, Sample, load_check
from dataengine.prompting import take_apart

THOUGHT = "<think>\nI think about it.\n</think>\n"
OPTIONS = {"options": ["eleven", "twelve", "a dozen and one"]}
TESTS = {"verify": {"tests": ["assert f(1) == 2"]}}


@pytest.fixture(scope="module")
def check() -> Iterator[Check]:
    made = load_check("same_answer", {})
    yield made
    made.close()


def rewrite(text: str, parent: str | None, verifier: str | None = None, **columns: Any) -> Sample:
    parts = take_apart(text)
    return Sample(
        text=text, reasoning=parts.reasoning, answer=parts.answer, parent=parent, verifier=verifier, prompt="Well?",
        **columns,
    )  # fmt: skip


MATH = {"verifier": "math", "reference": "1/2"}
CHOICE = {"verifier": "choice", "reference": "B", "metadata": OPTIONS}
LOGIC = {"verifier": "logic", "reference": "Ann is a knight, and Bo is a knave."}
CODE = {"verifier": "code", "metadata": TESTS}
WORDS = {"verifier": "exact", "reference": "Lake Garda"}
PROGRAM = "```python\ndef f(x):\n    return x + 1\n```"

CASES = [
    # Another way to write it is no other answer; one that is near the right one is.
    (MATH, r"So \boxed{\frac12}.", "<answer>0.5</answer>", "pass", ""),
    (MATH, "<answer>0.501</answer>", "<answer>0.5</answer>", "fail", "answer_changed"),
    (MATH, "<answer>0.5</answer>", "<answer>0.4</answer>", "fail", "answer_changed"),
    (MATH, "<answer>0.4</answer>", "<answer>0.4</answer>", "pass", ""),
    (MATH, "Because of this.", "<answer>0.5</answer>", "fail", "answer_lost"),
    (MATH, "<answer>0.5</answer>", "I could not tell.", "undecided", "parent_has_no_answer"),
    ({**MATH, "metadata": {"verify": {"tolerance": 0.5}}}, "It is 7.", "It is 7.2.", "fail", "answer_changed"),
    (CHOICE, "<answer>twelve</answer>", "The answer is (B).", "pass", ""),
    (CHOICE, "<answer>A</answer>", "<answer>B) twelve</answer>", "fail", "answer_changed"),
    (CHOICE, "<answer>A and B</answer>", "<answer>B</answer>", "fail", "answer_changed"),
    (CHOICE, "<answer>thirteen</answer>", "<answer>B</answer>", "undecided", "no_option_named"),
    (CHOICE, "", "<answer>B</answer>", "fail", "answer_lost"),
    (CHOICE, "<answer>B</answer>", "<answer>none of them</answer>", "undecided", "parent_has_no_answer"),
    (LOGIC, "Ann is a knight and Bo is a knave.", "<answer>Bo is a knave, Ann is a knight</answer>", "pass", ""),
    (LOGIC, "Ann is a knave and Bo is a knave.", "<answer>Bo is a knave, Ann is a knight</answer>", "fail",
     "answer_changed"),
    (CODE, PROGRAM.replace("    return", "    # add one\n    return").replace(" + ", "+"), PROGRAM, "pass", ""),
    (CODE, PROGRAM.replace("1", "2"), PROGRAM, "undecided", "another_program"),
    (CODE, "I add one.", PROGRAM, "fail", "answer_lost"),
    (CODE, PROGRAM, "I add one.", "undecided", "parent_has_no_answer"),
    ({"verifier": "code", "metadata": {"verify": {"tests": 7}}}, PROGRAM, PROGRAM, "undecided", "reference_not_usable"),
    (WORDS, "<answer>the lake Garda</answer>", "<answer>Lake Garda.</answer>", "pass", ""),
    (WORDS, "<answer>Lake Como</answer>", "<answer>Lake Garda.</answer>", "fail", "answer_changed"),
    # The parent's answer counts, not the right one.
    (WORDS, "<answer>Lake Garda</answer>", "<answer>Lake Como</answer>", "fail", "answer_changed"),
    ({}, "<answer>5.0</answer>", "<answer>5</answer>", "pass", ""),
    ({}, "<answer>6</answer>", "<answer>5</answer>", "fail", "answer_changed"),
    ({}, "<answer>5</answer>", "There is much to be said about the lakes of the north, " * 9, "undecided",
     "parent_has_no_answer"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "text", "parent", "outcome", "reason"), CASES)
def test_answers_are_compared_as_the_verifier_compares_them(
    check: Check, prompt: dict[str, Any], text: str, parent: str, outcome: str, reason: str
) -> None:
    (opinion,) = check([rewrite(THOUGHT + text, THOUGHT + parent, **prompt)])
    score = {"pass": 1.0, "fail": 0.0, "undecided": None}[outcome]
    assert (opinion.outcome, opinion.score, opinion.reason) == (outcome, score, reason)


def test_an_answer_inside_a_reasoning_that_never_ends_is_lost(check: Check) -> None:
    (opinion,) = check([rewrite("<think>\nIt is 5, I think", "<answer>5</answer>", "math", reference="5")])
    assert (opinion.outcome, opinion.reason) == ("fail", "answer_lost")


def test_details_hold_both_answers(check: Check) -> None:
    (opinion,) = check([rewrite("<answer>6</answer>", "<answer>5</answer>", "math", reference="5")])
    assert opinion.details == {"parent": "5", "answer": "6"}


def test_it_speaks_of_rewrites_alone(check: Check) -> None:
    alone = rewrite("<answer>6</answer>", None, "math", reference="6")
    assert not check.applies(alone)
    assert check.applies(replace(alone, parent=""))
    (opinion,) = check([alone])
    assert (opinion.outcome, opinion.reason) == ("undecided", "no_parent")


PIECES = (
    "First I add them up. ", "<think>", "</think>\n", "<answer>7</answer>", "<answer>é</answer>",
    r"\boxed{\frac{14}{2}}", "The answer is (B). ", "so B or C", "twelve ", "Zoë is a knight and Åsa is a knave. ",
    "#### 7\n", "yes", "```python\ndef f(x):\n    return x + 1 # é\n```\n", "```\nprint('é')\n",
    "def f(x): return 'é'\n", "7 km ", "각가", "e\u0301\u0327", "\u0344", "\0", "答案是七。", "\ud800",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)
PROMPTS: dict[str, dict[str, Any]] = {
    "math": MATH | {"reference": "7"},
    "choice": CHOICE,
    "logic": {"verifier": "logic", "reference": "Zoë is a knight, and Åsa is a knave."},
    "code": CODE,
    "exact": WORDS,
    "none": {},
}


def timeless(opinions: list[Opinion]) -> list[Opinion]:
    return [replace(o, seconds=None) for o in opinions]


@given(
    chosen=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(sorted(PROMPTS))), min_size=1, max_size=6),
    chance=st.randoms(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_batches_change_no_opinion(check: Check, chosen: list[Any], chance: random.Random) -> None:
    samples = [rewrite(text, parent, **PROMPTS[kind]) for text, parent, kind in chosen]
    together = timeless(check(samples))
    assert {o.outcome for o in together} <= {"pass", "fail", "undecided"}
    order = list(range(len(samples)))
    chance.shuffle(order)
    assert timeless(check([samples[i] for i in order])) == [together[i] for i in order]
    assert [timeless(check([s]))[0] for s in samples] == together


@pytest.mark.parametrize("kind", PROMPTS)
@given(text=TEXTS, parent=TEXTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_accents_written_either_way_are_one_answer(check: Check, kind: str, text: str, parent: str) -> None:
    told = set()
    for one in ("NFC", "NFD"):
        for other in ("NFC", "NFD"):
            sample = rewrite(unicodedata.normalize(one, text), unicodedata.normalize(other, parent), **PROMPTS[kind])
            (opinion,) = check([sample])
            told.add((opinion.outcome, opinion.score, opinion.reason))
    assert len(told) == 1


ODD = {
    "empty": "",
    "digits": "7" * 1_000_000,
    "brackets": "(" * 1_000_000,
    "boxes": r"\boxed{" * 100_000,
    "lines": "\n" * 1_000_000,
    "words": "a " * 500_000,
    "answers": "<answer>" * 100_000,
    "fences": "```\n" * 200_000,
    "nested": "```python\nx = " + "(" * 50_000 + "\n```",
    "a line of 5 MB": "def f(x): return x + 1; " * 210_000,
    "surrogates": "\ud800 is \udfff. " * 20_000,
    "NUL": "\0 \0\0" * 20_000,
    "right to left": "الجواب هو سبعة. " * 20_000,
    "emoji": "👩‍👩‍👧‍👦" * 20_000,
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_texts_have_a_verdict(check: Check, odd: str) -> None:
    good = "<answer>7</answer>"
    pairs = [(ODD[odd], good), (good, ODD[odd]), (ODD[odd], ODD[odd])]
    samples = [rewrite(text, parent, **prompt) for text, parent in pairs for prompt in PROMPTS.values()]
    opinions = check(samples)
    assert {o.outcome for o in opinions} <= {"pass", "fail", "undecided"}
    assert not [o for o, s in zip(opinions, samples, strict=True) if s.text != s.parent and o.outcome == "pass"]
    json.dumps([dict(o.details) for o in opinions])
