"""Tests of programs: generators write the inputs, submissions known to be right or wrong decide which stay (R1, code).

Every run of a generator is accounted for: it becomes a test, or is dropped for one of the reasons in `DROPPED`.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from dataengine.verify.driver import same_output
from dataengine.verify.sandbox import Limits, Sandbox, run_anew
from schemas.code_problem import CodeProblem, Submission
from schemas.code_tests import CodeTests, Language

DROPPED = {
    "generator_failed": "the generator crashed, took or printed more than it may, or was given up",
    "duplicate": "the input is there already",
    "too_long": "the input or the output is longer than a test should be",
    "no_correct": "no correct submission is of use",
    "correct_failed": "a correct submission crashed on it, or took more than it may",
    "disagree": "the correct submissions print different answers",
    "exposes_nothing": "every incorrect submission passes it",
    "beyond_most": "other tests expose as much, and there are enough",
    "beyond_time": "with it a correct submission could take longer than a check lasts",
}
MOST_CHARACTERS = 2 << 20
"""Of an input or of an output."""
MOST_TOGETHER = 32 * MOST_CHARACTERS
"""Of all inputs of a problem."""
# Runs that were too slow, after which an incorrect submission or a generator is not run again.
_PATIENCE = 3
# Characters that one sandbox is given.
_GROUP = 16 << 20
_COMPILING = 90.0
_GENERATOR_SECONDS = Limits().seconds
# A check ends when all tests together take too long: they may take a correct submission a third of that.
_TOGETHER = Limits().total_seconds / 3


@dataclass
class MadeTests:
    """The tests made for one problem, and what became of its inputs and programs, which are named as in the row."""

    cases: list[tuple[str, str]] = field(default_factory=list)
    generated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    deciding: int = 0
    """Correct submissions that decided what is right."""
    exposed: dict[str, str] = field(default_factory=dict)
    """Incorrect submissions that fail a test of the problem, with the reason of the first."""
    survivors: list[str] = field(default_factory=list)
    """Incorrect submissions that pass whatever was generated."""
    beyond: list[str] = field(default_factory=list)
    """Incorrect submissions that only tests which are not kept expose."""
    programs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Programs with something to say of them: runs that failed, answers that differ, why it was set aside."""
    notes: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Everything but the tests, as JSON has it."""
        return {
            "generated": self.generated,
            "kept": len(self.cases),
            "dropped": {reason: self.dropped[reason] for reason in DROPPED if self.dropped[reason]},
            "correct": self.deciding,
            "exposed": self.exposed,
            "survivors": self.survivors,
            "beyond": self.beyond,
            "programs": self.programs,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Candidate:
    """A test that might be kept: seconds of the slowest correct submission, who fails it and for what reason."""

    input: str
    output: str
    seconds: float = 0.0
    exposes: Mapping[str, str] = field(default_factory=dict)


def make_tests(
    problem: CodeProblem, *, seeds: int = 20, most: int = 20, stop: threading.Event | None = None
) -> MadeTests:
    """Runs each generator `seeds` times and chooses at most `most` of the inputs, with their outputs, as tests.

    An input stays when all correct submissions print the same answer, by the rule that `cases` are compared with, and
    an incorrect one fails on it; without incorrect submissions all that are agreed on stay. The same problem gives the
    same tests, as far as its programs do the same each time and none is at the edge of its time. Raises SandboxProblem
    where programs cannot be run, and once `stop` is set.
    """
    return _Making(problem, seeds, stop).tests(most)


def choose(candidates: Sequence[Candidate], most: int, seconds: float, done: Set[str] = frozenset()) -> list[Candidate]:
    """At most `most` tests that take at most so many seconds together, in the order they were chosen.

    Next comes the one that exposes most of the submissions that are not exposed yet (those in `done` are); of several
    the shortest, then the first. When all are exposed it starts over with the tests that are left: a submission is
    better exposed twice.

    >>> tests = [Candidate("1", "", 0.1, {"a": "x"}), Candidate("22", "", 0.1, {"a": "x", "b": "x"})]
    >>> [t.input for t in choose([*tests, Candidate("3", "", 0.1, {"c": "x"})], 3, 10.0)]
    ['22', '3', '1']
    """
    left = [c for c in candidates if c.exposes]
    every = {name for c in left for name in c.exposes}
    wanted = every - done
    chosen: list[Candidate] = []
    while len(chosen) < most and (left := [c for c in left if c.seconds <= seconds]):
        best = max(left, key=lambda c: (len(wanted & c.exposes.keys()), -len(c.input)))
        if not wanted & best.exposes.keys():
            wanted = every
            continue
        chosen.append(best)
        left.remove(best)
        seconds -= best.seconds
        wanted = wanted - best.exposes.keys()
    return chosen


@dataclass(frozen=True)
class _Program:
    name: str
    language: Language
    text: str


class _Making:
    """The making of one problem's tests."""

    def __init__(self, problem: CodeProblem, seeds: int, stop: threading.Event | None) -> None:
        verify = problem.verify
        self._seeds = seeds
        self._stop = stop
        self._seconds = verify.time_limit or Limits().seconds
        self._given = verify.cases
        self._generators = [
            _Program(f"generators[{i}]", g.language or "python", g.program) for i, g in enumerate(problem.generators)
        ]
        self._correct, self._incorrect = (
            [_Program(f"{kind}[{i}]", s.language or verify.language, _text_of(s, verify)) for i, s in enumerate(listed)]
            for kind, listed in (("correct", problem.correct), ("incorrect", problem.incorrect))
        )
        self._made = MadeTests(generated=len(problem.generators) * seeds)

    def tests(self, most: int) -> MadeTests:
        """Everything, from the inputs to the choice."""
        made = self._made
        given, agreed = self._agreed(self._inputs())
        if made.deciding == 1:
            made.notes.append("one correct submission alone decides what is right")
        names, tried = self._tried([*given, *agreed])
        given, agreed = tried[: len(given)], tried[len(given) :]
        seconds = _TOGETHER - sum(c.seconds for c in given)
        if names:
            useful = [c for c in agreed if c.exposes]
            chosen = choose(useful, most, seconds, {name for c in given for name in c.exposes})
            made.dropped["exposes_nothing"] += len(agreed) - len(useful)
            made.dropped["beyond_most" if len(chosen) == most else "beyond_time"] += len(useful) - len(chosen)
        else:
            made.notes.append("no incorrect submission tells which tests are of use: all that are agreed on are kept")
            chosen = []
            for candidate in agreed:
                if candidate.seconds <= seconds:
                    chosen.append(candidate)
                    seconds -= candidate.seconds
            made.dropped["beyond_time"] += len(agreed) - len(chosen)
        made.cases = [(c.input, c.output) for c in chosen]
        for candidate in reversed([*given, *chosen]):
            made.exposed |= candidate.exposes
        exposable = {name for c in agreed for name in c.exposes}
        made.exposed = {name: made.exposed[name] for name in names if name in made.exposed}
        made.beyond = [name for name in names if name in exposable and name not in made.exposed]
        made.survivors = [name for name in names if name not in exposable and name not in made.exposed]
        return made

    def _inputs(self) -> list[str]:
        """What the generators print, each input once."""
        made = self._made
        runs = [(f"{n}\n{self._seeds}\n", [str(n), str(self._seeds)]) for n in range(1, self._seeds + 1)]
        seen = {given for given, _ in self._given}
        inputs: list[str] = []
        room = MOST_TOGETHER
        for generator in self._generators:
            results = self._run(generator, "inputs", runs, _PATIENCE, _GENERATOR_SECONDS)
            self._tell(generator, results)
            made.dropped["generator_failed"] += len(runs) - sum(r["ok"] for r in results)
            for printed in (r["output"] for r in results if r["ok"]):
                if printed in seen:
                    made.dropped["duplicate"] += 1
                elif len(printed) > min(MOST_CHARACTERS, room):
                    made.dropped["too_long"] += 1
                else:
                    seen.add(printed)
                    inputs.append(printed)
                    room -= len(printed)
        return inputs

    def _agreed(self, inputs: list[str]) -> tuple[list[Candidate], list[Candidate]]:
        """The cases that were there and the inputs that all correct submissions agree on, each with its output."""
        made = self._made
        runs: list[tuple[str, list[str]]] = [(text, []) for text in (*(given for given, _ in self._given), *inputs)]
        slowest = [0.0] * len(runs)
        # Equal answers are one text: there may be many submissions.
        texts: list[dict[str, str]] = [{} for _ in runs]
        deciding: dict[str, list[str | None]] = {}
        for program in self._correct:
            results = self._run(program, "inputs", runs, len(runs) + 1, self._seconds)
            if why := self._of_no_use(results):
                made.programs[program.name] = {"set_aside": why}
                continue
            self._tell(program, results)
            answers = [r["output"][: MOST_CHARACTERS + 1] if r["ok"] else None for r in results]
            deciding[program.name] = [a and known.setdefault(a, a) for a, known in zip(answers, texts, strict=True)]
            slowest = [max(s, r.get("seconds", 0.0)) for s, r in zip(slowest, results, strict=True)]
        made.deciding = len(deciding)
        before = len(self._given)
        agreed = []
        for i, text in enumerate(inputs, before):
            answer = self._answer({name: answers[i] for name, answers in deciding.items()})
            if answer is not None:
                agreed.append(Candidate(text, answer, slowest[i]))
        return [Candidate(*case, slowest[i]) for i, case in enumerate(self._given)], agreed

    def _of_no_use(self, results: list[dict[str, Any]]) -> str:
        """Why a submission that is called correct is not believed."""
        if _uncompiled(results):
            return _told(results[-1])
        for i, (result, (_, wanted)) in enumerate(zip(results, self._given, strict=False)):
            if not result["ok"] or not same_output(result["output"], wanted):
                return f"{result['reason'] or 'wrong_answer'} on verify.cases[{i}]"
        return ""

    def _answer(self, answers: Mapping[str, str | None]) -> str | None:
        """What all print, or none; why there is none is counted."""
        dropped, programs = self._made.dropped, self._made.programs
        printed = [a for a in answers.values() if a is not None]
        agreeing = {a: sum(a == other or same_output(other, a) for other in printed) for a in dict.fromkeys(printed)}
        answer = max(agreeing, key=lambda a: agreeing[a], default="")
        if not answers:
            dropped["no_correct"] += 1
        elif len(printed) < len(answers):
            dropped["correct_failed"] += 1
        elif agreeing[answer] < len(printed):
            dropped["disagree"] += 1
            for name, other in answers.items():
                # Where there is no majority nobody knows who is wrong.
                if 2 * agreeing[answer] > len(printed) and not same_output(str(other), answer):
                    told = programs.setdefault(name, {})
                    told["differs"] = told.get("differs", 0) + 1
        elif len(answer) > MOST_CHARACTERS:
            dropped["too_long"] += 1
        else:
            return answer
        return None

    def _tried(self, tests: list[Candidate]) -> tuple[list[str], list[Candidate]]:
        """The incorrect submissions that compile, and the tests with those among them that fail."""
        if not tests:
            return [program.name for program in self._incorrect], []
        exposes: list[dict[str, str]] = [{} for _ in tests]
        names = []
        for program in self._incorrect:
            results = self._run(program, "cases", [(t.input, t.output) for t in tests], _PATIENCE, self._seconds)
            if _uncompiled(results):
                # It fails any test, and so says nothing of them.
                self._made.programs[program.name] = {"set_aside": _told(results[-1])}
                continue
            names.append(program.name)
            for who_fails, result in zip(exposes, results, strict=False):
                if not result["ok"]:
                    who_fails[program.name] = result["reason"]
        return names, [replace(t, exposes=e) for t, e in zip(tests, exposes, strict=True)]

    def _tell(self, program: _Program, results: list[dict[str, Any]]) -> None:
        failed = [r for r in results if not r["ok"]]
        if failed:
            self._made.programs[program.name] = {"failed": len(failed), "first": _told(failed[0])}

    def _run(
        self, program: _Program, kind: str, items: Sequence[tuple[str, Any]], patience: int, seconds: float
    ) -> list[dict[str, Any]]:
        """A result for each item, but for those after it did not compile or was too slow `patience` times."""
        found: list[dict[str, Any]] = []
        at_once = len(items)
        while len(found) < len(items) and patience > 0:
            group = _group(items[len(found) : len(found) + at_once])
            # Never the reason why a run ends: each has its own time.
            total = _COMPILING + len(group) * (3 * seconds + 1)
            job = {"language": program.language, "program": program.text, kind: group, "patience": patience}
            limits = replace(Limits(), seconds=seconds, total_seconds=total)
            results = run_anew(Sandbox(limits, self._stop), job)
            if results[0].get("whole") and len(group) > 1:
                at_once = len(group) // 2
                continue
            found += results
            if _uncompiled(results):
                break
            patience -= sum(r["reason"] == "time_limit" for r in results)
        return found


def _uncompiled(results: list[dict[str, Any]]) -> bool:
    return bool(results) and results[-1]["reason"] == "compile_error"


def _told(result: dict[str, Any]) -> str:
    return f"{result['reason']}: {result['message']}"


def _text_of(submission: Submission, verify: CodeTests) -> str:
    """The program as it would be run in a reply."""
    same = (submission.language or verify.language) == verify.language
    return f"{verify.preamble}\n{submission.program}" if verify.preamble and same else submission.program


def _group(items: Sequence[tuple[str, Any]]) -> Sequence[tuple[str, Any]]:
    """As many from the start as one sandbox is given, at least one."""
    size = 0
    for i, (given, more) in enumerate(items):
        size += len(given) + len(more)
        if i and size > _GROUP:
            return items[:i]
    return items
