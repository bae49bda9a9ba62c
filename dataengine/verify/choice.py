"""Checks answers to multiple-choice questions: the letter, or the text of the option."""

import re
from collections.abc import Sequence
from typing import ClassVar

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.exact import normalised
from dataengine.verify.extract import final_answer, plain

_LETTERS = "ABCDEFGHIJ"
_SEVERAL = re.compile(r"\(?([A-J])\)?(?:\s?(?:,|/|&|\band\b|\bor\b)\s?\(?[A-J]\)?)+\s*\.?$")
_FIRST = re.compile(
    r"(?:(?:the|option|choice|answer|is)\s+){0,3}[\[(*]*([A-Ja-j])[*\])]*\s*(?:$|[).:\]-])", re.IGNORECASE
)
_NAMED = re.compile(r"\b(?:option|choice)\s+[\[(*]*([A-J])\b|\(([A-J])\)|\*\*([A-J])\*\*")


class ChoiceCheck(Verifier):
    """Passes when the option chosen is the reference's.

    The reference is a letter A to J; "B", "(B)", "B.", "B) text" and "option B" name an option, and so does its text
    where the prompt's metadata holds `options`. Two letters at once fail; a reply that names none is undecided.
    """

    name: ClassVar[str] = "choice"
    RULES: ClassVar[str] = "1"

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        if not (sample.reference or "").strip():
            return Opinion("undecided", reason="no_reference")
        options = _options(sample)
        reference = letter_of(plain(sample.reference or ""), options)
        if reference is None:
            return Opinion("undecided", reason="reference_is_no_option")
        found = final_answer(sample.answer, sample.text)
        if found is None:
            return Opinion("undecided", reason="no_answer")
        details = {"extracted": found.value[:500], "from": found.origin}
        if _SEVERAL.match(found.value):
            return Opinion("fail", 0.0, "several_options", details)
        chosen = letter_of(found.value, options)
        if chosen is None and found.origin in ("whole", "phrase"):
            chosen = _named(found.value)
        if chosen is None:
            if options and found.origin not in ("whole", "phrase"):
                return Opinion("fail", 0.0, "no_such_option", details)
            return Opinion("undecided", reason="no_option_named", details=details)
        details["option"] = chosen
        if chosen == reference:
            return Opinion("pass", 1.0, details=details)
        return Opinion("fail", 0.0, "different", details)


def letter_of(value: str, options: Sequence[str] = ()) -> str | None:
    """The letter an answer names, by itself or by the text of one of `options`; None where it names none.

    >>> letter_of("(b) twelve"), letter_of("Twelve.", ["eleven", "twelve"]), letter_of("A cat")
    ('B', 'B', None)
    """
    value = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", value[:2_000]).strip().strip("$").strip()
    same = [i for i, option in enumerate(options[: len(_LETTERS)]) if normalised(option) == normalised(value)]
    if len(same) == 1:
        return _LETTERS[same[0]]
    first = _FIRST.match(value)
    return first.group(1).upper() if first else None


def _options(sample: Sample) -> list[str]:
    options = sample.metadata.get("options")
    return [str(o) for o in options] if isinstance(options, list) else []


def _named(text: str) -> str | None:
    """The one option a longer answer names, looking at its last lines first."""
    for line in reversed(text.strip().splitlines()[-5:]):
        letters = {next(g for g in m.groups() if g) for m in _NAMED.finditer(line)}
        first = _FIRST.match(line.strip())
        if not letters and first:
            letters = {first.group(1).upper()}
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None
