"""Checks answers to logic puzzles: who is what, yes or no, ordered lists, closing brackets."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.assignments import assignments_of
from dataengine.verify.reply import Reply, reply_of
from dataengine.verify.sequences import brackets_of, ordered_of
from dataengine.verify.truth import yes_no_of

#: Characters of a reference that are read.
MAX_REFERENCE = 20_000


class Form(Protocol):
    """A kind of answer with the right one in it."""

    kind: ClassVar[str]

    def judged(self, reply: Reply) -> Opinion:
        """The opinion on a reply."""
        ...


class LogicCheck(Verifier):
    """Passes when the answer says what the reference says, in any of the usual forms.

    The reference is a list of who is what, yes or no (true, valid, plausible), an ordered list, or brackets. Its form
    tells which, or else metadata `verify.kind`: assignment, yes_no, ordered or brackets.
    """

    name: ClassVar[str] = "logic"
    RULES: ClassVar[str] = "1"

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        if not (sample.reference or "").strip():
            return Opinion("undecided", reason="no_reference")
        verify = sample.metadata.get("verify")
        form = form_of(sample.reference or "", verify if isinstance(verify, Mapping) else {})
        if form is None:
            return Opinion("undecided", reason="reference_not_usable")
        reply = reply_of(sample.answer, sample.text)
        if reply is None:
            return Opinion("undecided", reason="no_answer")
        return form.judged(reply)


def form_of(reference: str, verify: Mapping[str, Any] = MappingProxyType({})) -> Form | None:
    """What kind of answer a reference is, by `verify["kind"]` or by itself; None where it is none that is known.

    >>> [form.kind for text in ("no", "] )", "b > a", "Zoey: knight") if (form := form_of(text))]
    ['yes_no', 'brackets', 'ordered', 'assignment']
    """
    kind, given = verify.get("kind"), verify.get("given", "")
    if len(reference) > MAX_REFERENCE or not isinstance(given, str):
        return None
    if kind == "assignment":
        return assignments_of(reference, sure=True)
    if kind == "yes_no":
        return yes_no_of(reference)
    if kind == "ordered":
        return ordered_of(reference, sure=True)
    if kind == "brackets":
        return brackets_of(reference, given)
    if kind is not None:
        return None
    return yes_no_of(reference) or brackets_of(reference, given) or assignments_of(reference) or ordered_of(reference)
