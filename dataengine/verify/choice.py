"""Checks answers to multiple-choice questions: the letter, or the text of the option."""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import ClassVar

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.exact import normalised
from dataengine.verify.extract import Extracted, final_answer, plain
from dataengine.verify.numbers import normalised as latex
from dataengine.verify.numbers import number_of
from dataengine.verify.reply import undressed

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Letters that a question without `options` may have.
_USUAL = 10
_MOST_CHARACTERS = 2_000

_SEVERAL = re.compile(r"\(?[A-Z]\)?(?:\s?(?:[,/&、和或]|\band\b|\bor\b)\s?\(?[A-Z]\)?)+\s*\.?$")
_FIRST = re.compile(
    r"(?:(?:the|option|choice|answer|is)\s+|应?选(?:择|项)?\s*:?\s*){0,3}[\[(]*([A-Z])[\])]*\s*"
    r"(?:$|[).:;\]-]|选?项|,\s*(?:not|because|since|as|which)\b|\b(?:because|since)\b)",
    re.IGNORECASE,
)
_BESIDE = re.compile(r"([A-Z])\s+(\S.*)", re.DOTALL)
_NAMED = re.compile(
    r"\b(?:option|choice)\s+[\[(*]*([A-Z])\b|\(([A-Z])\)|\*\*([A-Z])\*\*|选(?:择|项)?\s?:?\s?([A-Z])(?![A-Za-z])"
)


class ChoiceCheck(Verifier):
    """Passes when the option chosen is the reference's.

    The reference is a letter, or the text of an option. "B", "(B)", "B.", "B) text" and "option B" name an option, and
    so does its text where the prompt's metadata holds `options`, in the order of the letters. Two options at once
    fail; a reply that names none, or whose text is that of two options, is undecided.
    """

    name: ClassVar[str] = "choice"
    RULES: ClassVar[str] = "2"

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        if not (sample.reference or "").strip():
            return Opinion("undecided", reason="no_reference")
        options = _options(sample)
        reference = _reference(sample.reference or "", options)
        if reference is None:
            return Opinion("undecided", reason="reference_is_no_option")
        found, chosen, problem = chosen_in(sample)
        if found is None:
            return Opinion("undecided", reason="no_answer")
        details = {"extracted": found.value[:500], "from": found.origin}
        if problem:
            return Opinion("fail", 0.0, problem, details)
        if not chosen:
            if options and found.origin not in ("whole", "phrase"):
                return Opinion("fail", 0.0, "no_such_option", details)
            return Opinion("undecided", reason="no_option_named", details=details)
        details["option"] = " or ".join(sorted(chosen))
        if reference not in chosen:
            return Opinion("fail", 0.0, "different", details)
        if len(chosen) > 1:
            return Opinion("undecided", None, "ambiguous_option", details)
        return Opinion("pass", 1.0, details=details)


def chosen_in(sample: Sample) -> tuple[Extracted | None, set[str], str]:
    """The final answer of a reply, the letters that it may stand for (mostly one), or none and why if it names two."""
    options = _options(sample)
    found = final_answer(sample.answer, sample.text)
    if found is None:
        return None, set(), ""
    chosen, problem = options_of(found.value, options)
    if not chosen and not problem and found.origin in ("whole", "phrase"):
        chosen = _named(found.value, options)
    return found, chosen, problem


def options_of(value: str, options: Sequence[str] = ()) -> tuple[set[str], str]:
    """The letters that an answer may stand for, by letter or by text (mostly one), or none and why if it names two.

    >>> options_of("(b) twelve"), options_of("Twelve.", ["eleven", "twelve"]), options_of("A cat")
    (({'B'}, ''), ({'B'}, ''), (set(), ''))
    >>> options_of("(A) twelve", ["eleven", "twelve"])
    (set(), 'contradictory')
    """
    by_text = _by_text(value[:_MOST_CHARACTERS], options)
    value = undressed(value[:_MOST_CHARACTERS])
    if not by_text and _SEVERAL.match(value) and all(_letter(c, options) for c in re.findall("[A-Z]", value)):
        return set(), "several_options"
    first = _FIRST.match(value)
    letter = _letter(first.group(1), options) if first else None
    if first is None or letter is None:
        beside = _BESIDE.match(value)
        if not by_text and beside and beside[1] in _by_text(beside[2], options):
            return {beside[1]}, ""
        return by_text, ""
    if len(value) == 1:
        return by_text | {letter}, ""  # of the blood groups A, B, AB and 0, "A" is an option's text too
    rest = value[first.end() :].strip()
    if rest and _bare(value) in map(_bare, options):
        return by_text, ""  # an option's text that starts like a letter: "A. Smith"
    beside_it = _by_text(rest, options)
    return (set(), "contradictory") if beside_it and letter not in beside_it else ({letter}, "")


def _reference(reference: str, options: Sequence[str]) -> str | None:
    """The letter of the right option; a reference that is a letter is one, whatever the options say."""
    letter = re.fullmatch(r"\(?([A-Z])\)?\.?", plain(reference).strip())
    if letter and _letter(letter[1], options):
        return letter[1]
    found, _ = options_of(plain(reference), options)
    return found.pop() if len(found) == 1 else None


def _letter(letter: str, options: Sequence[str]) -> str | None:
    """The letter as a capital, if the question has so many options."""
    return letter.upper() if letter.upper() in _LETTERS[: len(options) or _USUAL] else None


def _by_text(value: str, options: Sequence[str]) -> set[str]:
    """The letters of the options that a text is, by the first of the readings below that finds any."""
    for read in _READINGS:
        wanted = read(value)
        found = {_LETTERS[i] for i, option in enumerate(options[: len(_LETTERS)]) if wanted and read(option) == wanted}
        if found:
            return found
    number = _number(value)
    if number is None or number[2]:
        return set()
    # "12" for "12 meters"
    numbers = [_number(option) for option in options[: len(_LETTERS)]]
    return {_LETTERS[i] for i, other in enumerate(numbers) if other and other[:2] == number[:2]}


def _bare(text: str) -> str:
    return undressed(text).strip(" .!").casefold()


def _formula(text: str) -> str:
    return "".join(latex(text).split())


def _number(text: str) -> tuple[Fraction, bool, str | None] | None:
    return number_of(latex(text))


def _words(text: str) -> str:
    return normalised(undressed(text))


# Case and signs tell options apart ("Aa" and "aa", "+" and "-") where they can.
_READINGS: tuple[Callable[[str], object], ...] = (str.strip, undressed, _formula, _number, _words)


def _options(sample: Sample) -> list[str]:
    options = sample.metadata.get("options")
    return [str(o)[:_MOST_CHARACTERS] for o in options] if isinstance(options, list) else []


def _named(text: str, options: Sequence[str]) -> set[str]:
    """The one option a longer answer names, looking at its last lines first; none where a line names several."""
    for line in reversed(text.strip().splitlines()[-5:]):
        letters = {next(g for g in m.groups() if g) for m in _NAMED.finditer(line)}
        first = _FIRST.match(line.strip())
        if not letters and first:
            letters = {first.group(1)}
        letters = {letter for found in letters if (letter := _letter(found, options))}
        if letters:
            return letters if len(letters) == 1 else set()
    return set()
