"""What a reply votes for when several replies to a prompt decide by majority (cons@k)."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeGuard

from dataengine.checks import Filter, Opinion, Sample
from dataengine.verify.canonical import canonical
from dataengine.verify.choice import ChoiceCheck, chosen_in
from dataengine.verify.exact import ExactCheck, normalised
from dataengine.verify.extract import Extracted, final_answer, is_formula
from dataengine.verify.logic import LogicCheck
from dataengine.verify.math import MathCheck, found_in
from dataengine.verify.numbers import normalised as latex
from dataengine.verify.numbers import number_of
from schemas.keys import canonical_json

# Characters of a reply without any mark that may be an answer as a whole.
_MOST_WHOLE = 100
# Programs and replies that follow rules are no answers that two of them share.
_NOT_COMPARED = ("code", "instructions")


class VoteCheck(Filter):
    """Names the class of equal answers that a reply votes for, in `details.answer`; asked of evaluations alone.

    `math` answers are one where their values are (0.5 and 1/2), `choice` where the option is, `logic` where the same is
    said of whom, others where their words are. It passes wherever there is a final answer, and is undecided without
    one. All answers that the verifier passes are one class more, whatever this says of them: who counts asks it first.
    """

    name: ClassVar[str] = "vote"
    # What is said of whom is read with the names in the reference.
    uses_reference: ClassVar[bool] = True
    RULES: ClassVar[str] = "-".join(("1", *(c.RULES for c in (MathCheck, ChoiceCheck, LogicCheck, ExactCheck))))

    def applies(self, sample: Sample) -> bool:
        """Whether answers to this prompt can be equal."""
        return sample.verifier is not None and sample.verifier not in _NOT_COMPARED

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        # Two ways to write an accent are one answer.
        answer = None if sample.answer is None else unicodedata.normalize("NFC", sample.answer)
        sample = replace(sample, text=unicodedata.normalize("NFC", sample.text), answer=answer)
        voted = _BY_VERIFIER.get(sample.verifier or "", _by_words)(sample)
        return Opinion("pass", None, details={"answer": voted}) if voted else Opinion("undecided", reason="no_answer")


def _by_math(sample: Sample) -> str | None:
    verify = sample.metadata.get("verify")
    measured = isinstance(verify, Mapping) and ("tolerance" in verify or "unit" in verify)
    found = found_in(sample, numeric=measured or number_of(latex(sample.reference or "")) is not None)
    return canonical(found.value) if _is_answer(found) else None


def _by_words(sample: Sample) -> str | None:
    numeric = number_of(latex(sample.reference or "")) is not None
    found = final_answer(sample.answer, sample.text, numeric=numeric)
    if not _is_answer(found):
        return None
    formula = any(c.isdigit() for c in found.value) and is_formula(found.value)
    if formula or number_of(latex(found.value)) is not None:
        return canonical(found.value)
    return (normalised(found.value) or "".join(found.value.split()))[:500]


def _by_choice(sample: Sample) -> str | None:
    found, options, _ = chosen_in(sample)
    return " or ".join(sorted(options)) if options else normalised(found.value)[:500] if _is_answer(found) else None


def _by_logic(sample: Sample) -> str | None:
    told: Mapping[str, Any] = LogicCheck().opinion(sample).details
    said = told.get("said")
    if said:
        return canonical_json(said)[:500]
    return normalised(str(told["extracted"])) or None if "extracted" in told else _by_words(sample)


def _is_answer(found: Extracted | None) -> TypeGuard[Extracted]:
    return found is not None and not (found.origin == "whole" and len(found.value) > _MOST_WHOLE)


_BY_VERIFIER: dict[str, Callable[[Sample], str | None]] = {
    MathCheck.name: _by_math,
    ChoiceCheck.name: _by_choice,
    LogicCheck.name: _by_logic,
}
