"""Checks programs by running them in a sandbox."""

import ast
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.extract import SCANNED, final_answer, tagged, visible
from dataengine.verify.sandbox import Limits, Sandbox, SandboxProblem, run_anew
from schemas.code_tests import CodeTests, Language
from schemas.errors import first_problem

_TAGS: dict[str, Language] = {
    **dict.fromkeys(("python", "python3", "py"), "python"),
    **dict.fromkeys(("cpp", "c++", "cc"), "cpp"),
    **dict.fromkeys(("javascript", "js", "node"), "javascript"),
}
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*\n", re.MULTILINE)
_CODE_LINE = re.compile(r"(?:from|import|def|class|async def|@\w|#include|using |int |function |const |let )")

# Characters at the end of a reply in which a program is looked for.
_MOST_PROGRAM = 200_000

From = Literal["fence", "whole", "continuation"]


@dataclass(frozen=True)
class Program:
    """A program found in a reply, and where."""

    text: str
    origin: From


class CodeCheck(Verifier):
    """Passes when the program of the reply passes every test of the prompt (metadata `verify`: `CodeTests`).

    `score` is the share of tests passed. A program that is wrong, crashes or takes more than it may fails; a reply
    without one is undecided; where there is no sandbox the outcome is an error, and nothing is run. `workers` is how
    many sandboxes run at once.
    """

    name: ClassVar[str] = "code"
    RULES: ClassVar[str] = "1"

    def __init__(self, *, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}; it must be at least 1")
        super().__init__()
        self._workers = workers or os.cpu_count() or 1

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        with ThreadPoolExecutor(self._workers, thread_name_prefix="sandbox") as pool:
            return list(pool.map(self.opinion, samples))

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        try:
            tests = CodeTests.model_validate(sample.metadata.get("verify") or {})
        except ValidationError as e:
            return Opinion("undecided", reason="reference_not_usable", details={"message": first_problem(e)})
        if not tests.count:
            return Opinion("undecided", reason="no_reference")
        job = _expression(sample, tests) if tests.expression else _program(sample, tests)
        if isinstance(job, Opinion):
            return job
        limits = Limits() if tests.time_limit is None else replace(Limits(), seconds=tests.time_limit)
        sandbox = Sandbox(limits)
        try:
            results = run_anew(sandbox, job)
        except SandboxProblem as e:
            return Opinion("error", None, "no_sandbox" if not e.again else "sandbox_lost", {"message": str(e)})
        return _judged(results, tests.count, {"language": tests.language, "from": job["from"]})


def program_of(sample: Sample, tests: CodeTests) -> Program | None:
    """The program of a reply: its last fenced block that defines the entry point, or the last one in the language.

    Blocks without a language count as in the right one. With no fence the whole visible reply is the program, from the
    first line that looks like code, if it parses or is no Python. What is cut off in an open fence is taken as it is.
    """
    # Not `sample.answer`, which has lost the space at its start: the indentation of a body.
    reply = visible(None, sample.text)[-_MOST_PROGRAM:]
    blocks = [text for tag, text in _blocks(reply) if _TAGS.get(tag.lower(), tests.language) == tests.language]
    if blocks:
        defining = [b for b in blocks if _defines(b, tests.entry_point)]
        return Program((defining or blocks)[-1], "fence")
    text = (tagged(reply) or reply).strip("\n")
    if tests.language != "python":
        return Program(text, "whole") if _CODE_LINE.search(text) else None
    if tests.prefix and not _defines(text, tests.entry_point) and _parses(tests.prefix + text):
        return Program(text, "continuation")
    for start in _starts(text):
        if _parses(text[start:]):
            return Program(text[start:], "whole")
    return None


def _blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a text, (language, content); a last one may be open."""
    blocks = []
    at = 0
    while (opened := _FENCE.search(text, at)) is not None:
        closing = re.compile(rf"^[ \t]*{re.escape(opened[1])}[ \t]*$", re.MULTILINE).search(text, opened.end())
        blocks.append((opened[2], text[opened.end() : closing.start() if closing else len(text)]))
        at = closing.end() if closing else len(text)
    return blocks


def _defines(text: str, name: str) -> bool:
    return (
        bool(name)
        and re.search(rf"^[ \t]*(?:async def|def|class) +{re.escape(name.partition('.')[0])}\b", text, re.M) is not None
    )


def _starts(text: str) -> list[int]:
    """Where code may start: at once, or at the first line that looks like it."""
    looks = [m.start() for m in re.finditer(r"^", text, re.MULTILINE) if _CODE_LINE.match(text, m.start())]
    return [0, *looks[:1]]


def _parses(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    # A lone word is an expression to Python, and no program.
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in tree.body)


def _program(sample: Sample, tests: CodeTests) -> dict[str, Any] | Opinion:
    program = program_of(sample, tests)
    if program is None:
        return Opinion("undecided", reason="no_answer")
    text = program.text
    if tests.prefix:
        if program.origin == "continuation" or not _defines(text, tests.entry_point):
            text = tests.prefix + text
        else:
            text = f"{tests.prefix}\n    pass\n\n{text}" if _parses(f"{tests.prefix}\n    pass\n") else text
    return {
        "language": tests.language,
        "program": f"{tests.preamble}\n{text}" if tests.preamble else text,
        "tests": tests.tests,
        "cases": tests.cases,
        "calls": tests.calls.model_dump() if tests.calls else None,
        "from": program.origin,
    }


def _expression(sample: Sample, tests: CodeTests) -> dict[str, Any] | Opinion:
    found = final_answer(sample.answer, sample.text)
    if found is None:
        return Opinion("undecided", reason="no_answer")
    value = found.value.strip().strip("`").strip()[-SCANNED:]
    if not _is_value(value, literal=tests.literal):
        return Opinion("fail", 0.0, "no_value", {"extracted": value[:500]})
    return {
        "language": "python",
        "program": f"{tests.preamble}\n{tests.prefix}",
        "tests": [f"assert {tests.expression.replace('ANSWER', value)}"],
        "from": found.origin,
    }


def _is_value(text: str, *, literal: bool) -> bool:
    """Whether a text is one value written out, or (not `literal`) one expression or the arguments of one call."""
    try:
        if literal:
            ast.literal_eval(text)
            return True
        call = ast.parse(f"_({text}\n)", mode="eval").body
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False
    # "1) or (1" would be more than an argument.
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name)


def _judged(results: list[dict[str, Any]], count: int, details: dict[str, Any]) -> Opinion:
    passed = sum(r["ok"] for r in results)
    details |= {"tests": count, "passed": passed}
    if passed == count:
        return Opinion("pass", 1.0, "", details)
    at, first = next(((i, r) for i, r in enumerate(results) if not r["ok"]), (len(results), None))
    reason = first["reason"] if first else "time_limit"
    details |= {"failed_at": at, "message": (first or {}).get("message", "")}
    return Opinion("fail", passed / count, reason, details)
