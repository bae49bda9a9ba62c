"""Checks that a rewrite has the final answer of the reply that it rewrites."""

import ast
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import ValidationError

from dataengine.checks import Filter, Opinion, Sample
from dataengine.prompting import take_apart
from dataengine.verify.choice import ChoiceCheck, chosen_in
from dataengine.verify.code import CodeCheck, program_of
from dataengine.verify.exact import ExactCheck, normalised
from dataengine.verify.extract import Extracted, final_answer, is_formula
from dataengine.verify.logic import LogicCheck, form_of
from dataengine.verify.math import MathCheck, found_in
from dataengine.verify.numbers import normalised as latex
from dataengine.verify.numbers import number_of
from dataengine.verify.reply import reply_of
from schemas.code_tests import CodeTests
from schemas.errors import first_problem

# Characters of a reply without any mark that may be an answer as a whole.
_MOST_WHOLE = 100


@dataclass(frozen=True)
class _Calculated:
    """A pair of answers that are equal, or not, as mathematics: the rewrite with its parent's as its reference."""

    sample: Sample
    details: Mapping[str, str]


class SameAnswerCheck(Filter):
    """Passes when the final answer of a rewrite equals that of its parent, as the prompt's verifier compares answers.

    `math` compares values, `choice` the options chosen, `logic` what is said of whom, `code` the programs but for
    comments and spaces; for any other prompt the answers' words, or their values where both are mathematics. Another
    answer fails as `answer_changed`, an answer that is gone as `answer_lost`. Undecided are a parent without a final
    answer, and another program: its tests have to tell.
    """

    name: ClassVar[str] = "same_answer"
    # The verifier says how answers are compared: where it is corrected, they are compared anew.
    uses_reference: ClassVar[bool] = True
    of_rewrites: ClassVar[bool] = True
    RULES: ClassVar[str] = "-".join(
        ("1", *(c.RULES for c in (MathCheck, ChoiceCheck, LogicCheck, ExactCheck, CodeCheck)))
    )

    def __init__(self) -> None:
        super().__init__()
        self._math = MathCheck()

    def applies(self, sample: Sample) -> bool:
        """Whether it rewrites another reply."""
        return sample.parent is not None

    def close(self) -> None:
        """Ends the worker processes of the comparison of formulas."""
        self._math.close()

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        told = [_told(s) for s in samples]
        calculated = iter(self._math([t.sample for t in told if isinstance(t, _Calculated)]))
        return [_opinion(next(calculated), t.details) if isinstance(t, _Calculated) else t for t in told]

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]


def _told(sample: Sample) -> Opinion | _Calculated:
    if sample.parent is None:
        return Opinion("undecided", reason="no_parent")
    # Two ways to write an accent are one answer.
    text = unicodedata.normalize("NFC", sample.parent)
    parts = take_apart(text)
    parent = replace(sample, text=text, reasoning=parts.reasoning, answer=parts.answer)
    answer = None if sample.answer is None else unicodedata.normalize("NFC", sample.answer)
    rewrite = replace(sample, text=unicodedata.normalize("NFC", sample.text), answer=answer)
    return _BY_VERIFIER.get(sample.verifier or "", _by_words)(rewrite, parent)


def _opinion(math: Opinion, details: Mapping[str, str]) -> Opinion:
    if math.outcome == "pass":
        return Opinion("pass", 1.0, "", details, math.seconds)
    if math.outcome == "fail":
        return Opinion("fail", 0.0, "answer_changed", details, math.seconds)
    if math.reason == "no_answer":
        return _lost(details)
    return Opinion(math.outcome, None, math.reason.replace("reference_", "parent_"), details, math.seconds)


def _same(*, same: bool, details: Mapping[str, str]) -> Opinion:
    return Opinion("pass", 1.0, "", details) if same else Opinion("fail", 0.0, "answer_changed", details)


def _lost(details: Mapping[str, str]) -> Opinion:
    return Opinion("fail", 0.0, "answer_lost", details)


def _details(parent: str, answer: str | None) -> dict[str, str]:
    return {"parent": parent[:500]} | ({} if answer is None else {"answer": answer[:500]})


_NONE = Opinion("undecided", reason="parent_has_no_answer")


def _by_math(sample: Sample, parent: Sample) -> Opinion | _Calculated:
    numeric = number_of(latex(sample.reference or "")) is not None
    wanted = found_in(parent, numeric=numeric)
    if wanted is None or (wanted.origin == "whole" and len(wanted.value) > _MOST_WHOLE):
        return _NONE
    given = found_in(sample, numeric=numeric)
    return _calculated(sample, wanted, given)


def _calculated(sample: Sample, wanted: Extracted, given: Extracted | None) -> _Calculated:
    # Without the tolerance and the unit of the reference: this answer is to be the same, not near the right one.
    asked = replace(sample, reference=wanted.value, metadata={})
    return _Calculated(asked, _details(wanted.value, given.value if given else None))


def _by_words(sample: Sample, parent: Sample) -> Opinion | _Calculated:
    numeric = number_of(latex(sample.reference or "")) is not None
    wanted = final_answer(parent.answer, parent.text, numeric=numeric)
    if wanted is None or (wanted.origin == "whole" and len(wanted.value) > _MOST_WHOLE):
        return _NONE
    given = final_answer(sample.answer, sample.text, numeric=numeric)
    details = _details(wanted.value, given.value if given else None)
    if given is None:
        return _lost(details)
    exact = ExactCheck().opinion(replace(sample, reference=wanted.value, metadata={}))
    if exact.outcome != "pass" and _is_mathematics(wanted.value) and _is_mathematics(given.value):
        return _calculated(sample, wanted, given)
    return _same(same=exact.outcome == "pass", details=details)


def _is_mathematics(text: str) -> bool:
    return number_of(latex(text)) is not None or (any(c.isdigit() for c in text) and is_formula(text))


def _by_choice(sample: Sample, parent: Sample) -> Opinion | _Calculated:
    wanted, wanted_options, _ = chosen_in(parent)
    given, options, problem = chosen_in(sample)
    if wanted is None or not wanted_options:
        return _NONE
    details = _details(wanted.value, given.value if given else None)
    if given is None:
        return _lost(details)
    if problem or (options and not options & wanted_options):
        return _same(same=False, details=details)
    if options != wanted_options:
        return Opinion("undecided", reason="ambiguous_option" if options else "no_option_named", details=details)
    return _same(same=True, details=details)


def _by_logic(sample: Sample, parent: Sample) -> Opinion | _Calculated:
    wanted, given = reply_of(parent.answer, parent.text), reply_of(sample.answer, sample.text)
    if wanted is None:
        return _NONE
    says = wanted.marked or wanted.found.value
    details = _details(says, (given.marked or given.found.value) if given else None)
    if given is None:
        return _lost(details)
    if normalised(says) == normalised(given.marked or given.found.value) != "":
        return _same(same=True, details=details)
    verify = sample.metadata.get("verify")
    form = form_of(says, verify if isinstance(verify, Mapping) else {})
    if form is None:
        return Opinion("undecided", reason="parent_not_understood", details=details)
    judged = form.judged(given)
    if judged.outcome == "undecided":
        return Opinion("undecided", reason=judged.reason, details=details)
    return _same(same=judged.outcome == "pass", details=details)


def _by_code(sample: Sample, parent: Sample) -> Opinion | _Calculated:
    try:
        tests = CodeTests.model_validate(sample.metadata.get("verify") or {})
    except ValidationError as e:
        return Opinion("undecided", reason="reference_not_usable", details={"message": first_problem(e)})
    if tests.expression:
        return _by_words(sample, parent)
    wanted, given = program_of(parent, tests), program_of(sample, tests)
    if wanted is None:
        return _NONE
    details = _details(wanted.text, given.text if given else None)
    if given is None:
        return _lost(details)
    if _bare(wanted.text, tests.language) == _bare(given.text, tests.language):
        return _same(same=True, details=details)
    return Opinion("undecided", reason="another_program", details=details)


def _bare(program: str, language: str) -> Any:
    """A program without its comments and spaces, as far as they can be told."""
    if language == "python":
        try:
            return ast.dump(ast.parse(program))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    return "\n".join(" ".join(line.split()) for line in program.splitlines() if line.strip())


_BY_VERIFIER: dict[str, Callable[[Sample, Sample], Opinion | _Calculated]] = {
    MathCheck.name: _by_math,
    ChoiceCheck.name: _by_choice,
    LogicCheck.name: _by_logic,
    CodeCheck.name: _by_code,
}
