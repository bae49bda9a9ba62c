"""Tests made by real programs in real sandboxes: which inputs stay, and which submissions they expose."""

import os
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.verify import generated_tests as module
from dataengine.verify import sandbox
from dataengine.verify.generated_tests import Candidate, MadeTests, choose, make_tests
from dataengine.verify.sandbox import Limits
from schemas.code_problem import CodeProblem

pytestmark = pytest.mark.slow

why = sandbox.problem()
runs = pytest.mark.skipif(why is not None, reason=f"no program can be run here: {why}")

# How many numbers, then the numbers: none in every fourth input, large ones in every third.
NUMBERS = """
import random, sys
n = int(sys.argv[1])
size = n % 4
print(size)
print(*(random.randint(2**31, 2**32 - 1) if n % 3 == 0 else random.randint(1, 9) for _ in range(size)))
"""
COUNT = "import sys\nprint(sys.argv[1])"
SUM = "import sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))"
SUM_OTHERWISE = "n = int(input())\ntotal = 0\nfor word in input().split():\n    total += int(word)\nprint(total)"
GREATEST = "n = int(input())\nprint(max(map(int, input().split()), default=0))"
OVERFLOWING = SUM.replace("sum(", "(lambda s: (s + 2**31) % 2**32 - 2**31)(sum(") + ")"
NOT_EMPTY = "n = int(input())\na = list(map(int, input().split()))\nprint(a[0] + sum(a[1:]))"


def made(seeds: int = 8, most: int = 20, **row: Any) -> MadeTests:
    found = make_tests(CodeProblem.model_validate({"correct": [SUM], **row}), seeds=seeds, most=most)
    assert found.generated == len(found.cases) + found.dropped.total()
    assert not found.dropped.keys() - module.DROPPED.keys()
    return found


@runs
def test_a_test_stays_when_it_exposes_an_incorrect_submission() -> None:
    found = made(
        generators=[NUMBERS],
        correct=[SUM, SUM_OTHERWISE],
        incorrect=[GREATEST, OVERFLOWING, NOT_EMPTY, SUM_OTHERWISE],
    )
    assert found.exposed == {
        "incorrect[0]": "wrong_answer",
        "incorrect[1]": "wrong_answer",
        "incorrect[2]": "runtime_error",
    }
    assert (found.survivors, found.beyond, found.notes) == (["incorrect[3]"], [], [])
    # Inputs 4 and 8 are both empty; 1 and 5 hold one small number.
    assert found.report()["dropped"] == {"duplicate": 1, "exposes_nothing": 2}
    assert sorted(text.split()[0] for text, _ in found.cases) == ["0", "2", "2", "3", "3"]
    for text, output in found.cases:
        assert int(output) == sum(map(int, text.split()[1:]))


@runs
def test_the_same_problem_gives_the_same_tests() -> None:
    unseeded = "import random\nprint(random.randint(1, 10**9))"
    row = {"generators": [unseeded, {"program": unseeded, "language": "python"}], "correct": ["print(input())"]}
    first = made(seeds=4, **row)
    assert made(seeds=4, **row) == first
    # The number alone decides what it draws, so the second of two equal generators adds nothing.
    assert first.dropped["duplicate"] == 4
    assert len(set(first.cases)) == 4


@runs
def test_a_generator_gets_its_number_and_their_count_as_arguments_and_as_input() -> None:
    program = "import sys\nprint(sys.argv[1:] == [input(), input()], sys.argv[1], 'of', sys.argv[2])"
    echo = "print(input())"
    assert made(seeds=3, generators=[program], correct=[echo]).cases == [
        (f"True {n} of 3\n", f"True {n} of 3\n") for n in (1, 2, 3)
    ]


@runs
def test_generators_that_fail_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GENERATOR_SECONDS", 0.2)
    monkeypatch.setattr(module, "_PATIENCE", 1)
    monkeypatch.setattr(module, "MOST_CHARACTERS", 1000)
    found = made(
        seeds=3,
        generators=[
            "print(1 // (int(input()) - 2))",
            "while True: pass",
            "while True: print('x' * 1000000)",
            "print('1 ' * 5000)",
            "x = (",
            COUNT,
        ],
    )
    assert found.dropped["generator_failed"] == 1 + 3 + 3 + 3
    assert found.dropped["too_long"] == 3
    assert found.dropped["duplicate"] == 1  # 1 // (3 - 2)
    told = {name: (about["failed"], about["first"].partition(":")[0]) for name, about in found.programs.items()}
    assert told == {
        "generators[0]": (1, "runtime_error"),
        "generators[1]": (1, "time_limit"),
        "generators[2]": (3, "output_limit"),
        "generators[4]": (1, "compile_error"),
    }


@runs
def test_inputs_together_and_each_output_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOGETHER", 7)
    monkeypatch.setattr(module, "MOST_CHARACTERS", 1000)
    found = made(seeds=4, generators=[COUNT], correct=["print('x' * 400 * int(input()))"])
    assert [text for text, _ in found.cases] == ["1\n", "2\n"]
    assert found.dropped["too_long"] == 2


@runs
def test_a_sandbox_is_given_so_many_characters_and_the_next_one_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    process = "import os\ninput()\nprint(os.getpid())"
    assert len({output for _, output in made(seeds=4, generators=[COUNT], correct=[process]).cases}) == 4
    monkeypatch.setattr(module, "_GROUP", 5)
    found = made(seeds=4, generators=[COUNT], correct=[process]).cases
    assert [text for text, _ in found] == ["1\n", "2\n", "3\n", "4\n"]
    assert found[0][1] == found[2][1] != found[1][1] == found[3][1]


@runs
def test_what_correct_submissions_disagree_on_is_dropped_and_the_odd_one_named() -> None:
    wrong_from_3 = "n = int(input())\nprint(n if n < 3 else -n)"
    echo = "print(int(input()))"
    found = made(seeds=5, generators=[COUNT], correct=[wrong_from_3, echo, echo + "\n"])
    assert [text for text, _ in found.cases] == ["1\n", "2\n"]
    assert found.dropped["disagree"] == 3
    assert found.programs == {"correct[0]": {"differs": 3}}
    alone = made(seeds=5, generators=[COUNT], correct=[wrong_from_3, echo])
    assert (alone.dropped["disagree"], alone.programs) == (3, {})


@runs
def test_answers_agree_by_the_rule_of_cases() -> None:
    whole = "print(int(input()))"
    point = "print(float(input()), '')"
    found = made(seeds=2, generators=[COUNT], correct=[whole, point])
    assert found.cases == [("1\n", "1.0 \n"), ("2\n", "2.0 \n")]


@runs
def test_what_a_correct_submission_fails_on_is_dropped() -> None:
    # A limit of 0.2 s lets 0.6 s pass.
    slow_or_dead = "import time\nn = int(input())\nif n == 2: time.sleep(3)\nassert n != 3\nprint(n)"
    found = made(seeds=5, generators=[COUNT], correct=["print(int(input()))", slow_or_dead], verify={"time_limit": 0.2})
    assert [text for text, _ in found.cases] == ["1\n", "4\n", "5\n"]
    assert found.dropped["correct_failed"] == 2
    assert (found.programs["correct[1]"]["failed"], found.deciding) == (2, 2)
    assert found.programs["correct[1]"]["first"].startswith("time_limit")


@runs
def test_submissions_that_say_nothing_are_set_aside() -> None:
    echo = "print(int(input()))"
    found = made(
        seeds=3,
        generators=[COUNT],
        correct=["print raw_input()", "print(-int(input()))", "import nothing", echo],
        incorrect=["x = (", "print(3)"],
        verify={"cases": [["7\n", "7\n"]]},
    )
    aside = {name: about["set_aside"].partition(":")[0] for name, about in found.programs.items()}
    assert aside == {
        "correct[0]": "compile_error",
        "correct[1]": "wrong_answer on verify.cases[0]",
        "correct[2]": "runtime_error on verify.cases[0]",
        "incorrect[0]": "compile_error",
    }
    assert found.deciding == 1
    assert found.notes == ["one correct submission alone decides what is right"]
    assert [text for text, _ in found.cases] == ["1\n", "2\n"]


@runs
def test_without_a_correct_submission_of_use_there_are_no_tests() -> None:
    found = made(seeds=3, generators=[COUNT], correct=["x = ("], incorrect=["print(1)"])
    assert (found.cases, found.dropped["no_correct"], found.deciding, found.notes) == ([], 3, 0, [])
    assert found.survivors == ["incorrect[0]"]


@runs
def test_without_incorrect_submissions_all_that_are_agreed_on_stay() -> None:
    found = made(seeds=3, most=1, generators=[COUNT], incorrect=["x = ("])
    assert len(found.cases) == 3
    assert found.notes[1:] == ["no incorrect submission tells which tests are of use: all that are agreed on are kept"]


@runs
def test_cases_that_were_there_count_and_are_not_made_again() -> None:
    wrong_at = "n = int(input())\nprint(0 if n in {} else n)"
    found = made(
        seeds=4,
        most=1,
        generators=[COUNT],
        correct=["print(int(input()))"],
        incorrect=[wrong_at.format((2, 12)), wrong_at.format([3])],
        verify={"cases": [["1\n", "1\n"], ["12\n", "12\n"]]},
    )
    assert found.dropped["duplicate"] == 1
    assert found.exposed == {"incorrect[0]": "wrong_answer", "incorrect[1]": "wrong_answer"}
    # 2 exposes only what a case does that was there.
    assert found.cases == [("3\n", "3\n")]


@runs
def test_submissions_that_only_further_tests_would_expose_are_named() -> None:
    incorrect = [f"n = int(input())\nprint(n if n != {n} else 0)" for n in (1, 2, 3)]
    row: dict[str, Any] = {"seeds": 4, "generators": [COUNT], "correct": ["print(int(input()))"]}
    found = made(**row, most=2, incorrect=incorrect)
    assert [text for text, _ in found.cases] == ["1\n", "2\n"]
    assert (list(found.exposed), found.beyond) == (["incorrect[0]", "incorrect[1]"], ["incorrect[2]"])
    assert (found.dropped["beyond_most"], found.dropped["exposes_nothing"]) == (1, 1)


@runs
def test_one_that_is_too_slow_is_exposed_and_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 1)
    sizes = "import sys\nn = int(sys.argv[1])\nprint(100_000 if n in (2, 3) else n)"
    pairs = "n = int(input())\nprint(sum(i < j for i in range(n) for j in range(n)))"
    quick = "n = int(input())\nprint(n * (n - 1) // 2)"
    found = made(seeds=4, generators=[sizes], correct=[quick], incorrect=[pairs], verify={"time_limit": 0.3})
    assert found.cases == [("100000\n", "4999950000\n")]
    assert found.exposed == {"incorrect[0]": "time_limit"}
    # Input 3 is the same again; the other two are so small that it is right.
    assert (found.dropped["duplicate"], found.dropped["exposes_nothing"]) == (1, 2)


@runs
def test_tests_that_would_take_a_check_too_long_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 1e-6)
    assert made(seeds=1, generators=[COUNT]).dropped["beyond_time"] == 1
    assert made(seeds=1, generators=[COUNT], incorrect=["print(1)"]).dropped["beyond_time"] == 1
    monkeypatch.setattr(module, "_TOGETHER", 0.4)
    slow_once = "import time\nn = int(input())\nwhile n == 7 and time.process_time() < 0.5: pass\nprint(n)"
    given = {"cases": [["7\n", "7\n"]]}
    assert made(seeds=1, generators=[COUNT], correct=[slow_once], verify=given).dropped["beyond_time"] == 1


@runs
def test_a_program_that_ends_its_whole_sandbox_fails_only_where_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Limits", partial(Limits, memory=200 << 20))
    greedy = """
import os, time
n = int(input())
if n == 2:
    for _ in range(4):
        if os.fork() == 0:
            block = bytearray(90 << 20)
            for at in range(0, len(block), 4096):
                block[at] = 1
            time.sleep(60)
    time.sleep(60)
print(n)
"""
    found = made(seeds=3, generators=[COUNT], correct=["print(int(input()))", greedy], incorrect=["print(0)"])
    assert [text for text, _ in found.cases] == ["1\n", "3\n"]
    assert found.programs == {"correct[1]": {"failed": 1, "first": "memory_limit: "}}


@runs
@pytest.mark.skipif(not os.access("/usr/bin/g++", os.X_OK), reason="there is no g++")
def test_submissions_may_be_in_other_languages() -> None:
    wraps = """
#include <cstdio>
int main() {
    unsigned n, x, s = 0;
    scanf("%u", &n);
    while (scanf("%u", &x) == 1) s += x;
    printf("%u", s);
}
"""
    python = {"preamble": "import sys"}
    found = made(generators=[NUMBERS], incorrect=[{"language": "cpp", "program": wraps}], verify=python)
    assert found.exposed == {"incorrect[0]": "wrong_answer"}
    assert all(int(output) >= 2**32 for _, output in found.cases)


@runs
def test_submissions_start_as_replies_do() -> None:
    verify = {"preamble": "def read(): return int(input())"}
    assert len(made(seeds=2, generators=[COUNT], correct=["print(read())"], verify=verify).cases) == 2


def test_of_tests_that_expose_as_many_the_shortest_is_chosen_then_the_first() -> None:
    tests = [Candidate(text, text[0], exposes={name: "x"}) for text, name in (("11", "a"), ("2", "b"), ("3", "c"))]
    assert [c.output for c in choose(tests, 3, 1.0)] == ["2", "3", "1"]


NAMES = st.frozensets(st.sampled_from("abcdef"), max_size=4)


@given(st.lists(st.tuples(st.text("1", max_size=4), NAMES, st.sampled_from([0.0, 1.0, 5.0])), max_size=12), NAMES)
def test_the_choice_exposes_whatever_can_be_exposed(tests: list[tuple[str, Any, float]], done: frozenset[str]) -> None:
    candidates = [Candidate(text, "", seconds, dict.fromkeys(names, "x")) for text, names, seconds in tests]
    every = {name for c in candidates for name in c.exposes}
    chosen = choose(candidates, 100, 1000.0, done)
    assert sorted(map(id, chosen)) == sorted(id(c) for c in candidates if c.exposes)
    for most in range(8):
        fewer = choose(candidates, most, 1000.0, done)
        assert fewer == chosen[:most]
        # Each of the first ones exposes somebody new, as long as there is anybody.
        missing = every - done
        for candidate in fewer:
            assert candidate.exposes.keys() & missing or not missing
            missing -= candidate.exposes.keys()
    assert sum(c.seconds for c in choose(candidates, 100, 7.0, done)) <= 7.0
