"""What all verifiers have in common: the reference is right, in any order and thread, and no text breaks one."""

import asyncio
import importlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataengine.checks import CHECKS, Check, Opinion, Sample, load_check
from dataengine.verify.sandbox import problem

OPTIONS = {"options": ["one", "two", "three", "four"]}
ADDS = {"verify": {"entry_point": "add", "tests": ["assert add(1, 2) == 3"]}}
CASES: dict[str, list[tuple[str, str, str | None, dict[str, Any]]]] = {
    # A right reply, a wrong one, the reference, metadata.
    "math": [
        (r"\boxed{\frac{1}{2}}", r"\boxed{2}", "0.5", {}),
        (r"\boxed{1} and \boxed{2}", r"\boxed{1}", r"\{2, 1\}", {}),
        (r"\boxed{\int_0^1 2x dx}", r"\boxed{\int_0^1 3x dx}", "1", {}),  # math-verify has to be asked
        (r"\boxed{120 \text{ kPa}}", r"\boxed{120 \text{ K}}", "0.12", {"verify": {"unit": "MPa", "tolerance": 0.01}}),
    ],
    "choice": [("The answer is B.", "The answer is C.", "B", OPTIONS), ("two", "three", "B", OPTIONS)],
    "exact": [("The answer is: the Seine", "Rhine", "Seine", {"verify": {"aliases": ["La Seine"]}})],
    "logic": [
        (
            "Zoey is a knight and Tom is a knave.",
            "Zoey is a knave and Tom is a knight.",
            "Zoey: knight, Tom: knave",
            {},
        ),
        ("<answer>Yes, it is.</answer>", "<answer>No.</answer>", "yes", {}),
    ],
    "instructions": [("no comma", "a, b", None, {"verify": {"instructions": [{"id": "punctuation:no_comma"}]}})],
    "code": [("def add(a, b):\n    return a + b", "def add(a, b):\n    return a - b", None, ADDS)],
}


def sample(name: str, reply: str, reference: str | None, metadata: dict[str, Any]) -> Sample:
    return Sample(text=reply, answer=reply, reference=reference, verifier=name, metadata=metadata)


@pytest.fixture(scope="module")
def checks() -> Iterator[dict[str, Check]]:
    made = {name: load_check(name) for name in CASES}
    yield made
    for check in made.values():
        check.close()


def runnable(name: str) -> None:
    if name == "code" and (why := problem()):
        pytest.skip(why)


def test_each_verifier_has_its_cases_here() -> None:
    kinds = {name: kind_of(*path.split(":")) for name, path in CHECKS.items()}
    # reasoning_gym scores with the data set of each task and has tests of its own.
    assert {name for name, kind in kinds.items() if kind == "verifier"} == {*CASES, "reasoning_gym"}


def kind_of(module: str, name: str) -> str:
    kind: str = getattr(importlib.import_module(module), name).kind
    return kind


@pytest.mark.parametrize("name", CASES)
def test_right_replies_pass_and_wrong_ones_fail(checks: dict[str, Check], name: str) -> None:
    runnable(name)
    for right, wrong, reference, metadata in CASES[name]:
        told = checks[name]([sample(name, reply, reference, metadata) for reply in (right, wrong)])
        assert [o.outcome for o in told] == ["pass", "fail"], told


@pytest.mark.parametrize("name", CASES)
def test_order_and_workers_change_nothing(checks: dict[str, Check], name: str) -> None:
    runnable(name)
    samples = [sample(name, r, ref, meta) for right, wrong, ref, meta in CASES[name] for r in (right, wrong, "", "§")]
    told = outcomes(checks[name](samples))
    order = list(range(len(samples)))
    random.Random(3).shuffle(order)
    assert outcomes(checks[name]([samples[i] for i in order])) == [told[i] for i in order]
    assert [outcomes(checks[name]([s]))[0] for s in samples] == told
    if name in ("math", "code"):
        other = load_check(name, {"workers": 3})
        assert outcomes(other(samples)) == told
        other.close()


@pytest.mark.parametrize("name", CASES)
def test_without_a_reference_nothing_can_be_told(checks: dict[str, Check], name: str) -> None:
    (told,) = checks[name]([sample(name, "7", None, {})])
    assert (told.outcome, told.score) == ("undecided", None)
    assert told.reason == "no_reference"


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"code"}))
@given(reply=st.text(max_size=60), reference=st.text(max_size=30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_breaks_one(checks: dict[str, Check], name: str, reply: str, reference: str) -> None:
    (told,) = checks[name]([sample(name, reply, reference, CASES[name][0][3])])
    assert told.outcome in ("pass", "fail", "undecided")


def outcomes(opinions: list[Opinion]) -> list[tuple[str, str]]:
    return [(o.outcome, o.reason) for o in opinions]


def everything() -> list[tuple[str, str]]:
    """All cases by checks of its own; also what the page below runs."""
    told = []
    for name, cases in CASES.items():
        check = load_check(name)
        samples = [sample(name, r, ref, meta) for right, wrong, ref, meta in cases for r in (right, wrong)]
        told += [(o.outcome, o.reason) for o in check(samples)]
        check.close()
    return told


def page() -> None:
    import streamlit as st

    from tests.dataengine.verify.test_every_verifier import everything

    st.json(everything())


def in_a_thread() -> list[tuple[str, str]]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(everything).result()


def in_asyncio() -> list[tuple[str, str]]:
    async def both() -> list[tuple[str, str]]:
        return everything()

    return asyncio.run(both())


def in_a_streamlit_page() -> list[tuple[str, str]]:
    import json

    from streamlit.testing.v1 import AppTest

    shown = AppTest.from_function(page, default_timeout=60).run()
    assert not shown.exception
    return [(outcome, reason) for outcome, reason in json.loads(shown.json[0].value)]


@pytest.mark.slow
@pytest.mark.parametrize("place", [in_a_thread, in_asyncio, in_a_streamlit_page])
def test_the_verdicts_are_the_same_wherever_they_are_asked_for(place: Callable[[], list[tuple[str, str]]]) -> None:
    assert place() == everything()
