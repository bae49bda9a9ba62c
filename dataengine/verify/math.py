"""Checks mathematical answers: by text, by number, by form, and then by math-verify in a process that can be killed."""

import math
import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from pydantic import ValidationError

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.equality import equal
from dataengine.verify.extract import Extracted, final_answer, is_formula, last_formula, last_number
from dataengine.verify.formula import NotUnderstood, Words
from dataengine.verify.grammar import read
from dataengine.verify.numbers import MAX_DIGITS, Number, bare, decimal_comma, normalised, number_of, same_number
from dataengine.verify.pool import DEADLINE, Pool
from dataengine.verify.units import Measure, convert, measure, parsed, power_of_ten, split
from dataengine.verify.values import value_of
from schemas.answer_form import AnswerForm
from schemas.errors import first_problem

#: Characters of an answer or a reference that are parsed at all.
MAX_LENGTH = 2_000
#: Levels of brackets that are parsed.
MAX_NESTING = 50
# Characters of a reply that may be an answer as a whole.
_MOST_WHOLE = 100

# Two words or more and nothing else: an answer in prose, which is equal to its own text or cannot be told.
_PROSE = re.compile(r"[A-Za-z]{2,}(?:[ ,;'-]+[A-Za-z]{2,})+[.?!]?")
_SIDE = re.compile(r"^[A-Za-z](?:\([a-z]\))?\s*=\s*(?!=)")

# "x + z = 1" gives no value to anything.
_CALCULATED = re.compile(r"[A-Za-z]\s*[-+*/^]|[-+*/^]\s*[A-Za-z]")
_PLAIN = AnswerForm()

#: "equal", "different", or the reason why it cannot be told.
Told = str
Pair = tuple[str, str]


class _Wanted(NamedTuple):
    """A reference: its answer as written, as text to compare, and the number it is."""

    answer: str
    text: str
    number: Number | None


class _Open(NamedTuple):
    """A sample that computer algebra has to be asked about: the pairs, and what is told of its other references."""

    pairs: list[Pair]
    told: list[Told]
    details: dict[str, str]


class MathCheck(Verifier):
    """Passes when the final answer is mathematically equal to the reference, or to an alias of it.

    A prompt's metadata `verify` (`AnswerForm`) may hold aliases, a relative tolerance and the reference's unit.
    `deadline` is seconds per comparison, `workers` the processes that compare; neither changes an outcome, so neither
    is in the version.
    """

    name: ClassVar[str] = "math"
    RULES: ClassVar[str] = "2"

    def __init__(self, *, deadline: float = DEADLINE, workers: int | None = None) -> None:
        super().__init__()
        self._pool = Pool(["math_verify"], workers=workers, deadline=deadline)

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        quick = [_quick(sample) for sample in samples]
        opinions = [q if isinstance(q, Opinion) else None for q in quick]
        asked = [(i, q) for i, q in enumerate(quick) if not isinstance(q, Opinion)]
        answers = self._pool.map(compare, [q.pairs for _, q in asked])
        for (i, q), answer in zip(asked, answers, strict=True):
            if answer.failure or answer.value is None:
                note = q.details | {"message": answer.message}
                opinions[i] = Opinion("error", None, answer.failure or "crash", note, answer.seconds)
            else:
                told = _best([answer.value, *q.told])
                opinions[i] = _opinion(told, q.details | {"by": "math_verify"}, answer.seconds)
        return [o for o in opinions if o is not None]


def compare(pairs: Sequence[Pair]) -> Told:
    """What math-verify says of pairs of (reference, answer), LaTeX without delimiters; runs in a worker."""
    return _best([_compare(*pair) for pair in pairs])


def _compare(wanted: str, given: str) -> Told:
    from math_verify import parse, verify

    # A line break or a dollar sign inside would end the formula.
    formulas = [side.replace("\n", " ").replace("$", "") for side in (wanted, given)]
    gold, target = (parse(f"${f}$", parsing_timeout=None) for f in formulas)
    if gold and target and verify(gold, target, timeout_seconds=None):
        return "equal"
    # The text of a formula that could not be parsed comes back as a string; an expression is anything else.
    if all(isinstance(g, str) for g in gold):
        return "reference_not_parsed"
    if all(isinstance(t, str) for t in target):
        return "answer_not_parsed"
    return "different"


def too_complex(text: str) -> str | None:
    """Why a formula is not parsed: its parser or its arithmetic would take unbounded time. None where it is."""
    if len(text) > MAX_LENGTH:
        return "too_long"
    depth = 0
    for char in text:
        if char in "([{":
            depth += 1
            if depth > MAX_NESTING:
                return "too_nested"
        elif char in ")]}":
            depth = max(0, depth - 1)
    if re.search(rf"\d{{{MAX_DIGITS + 1}}}", text):
        return "too_many_digits"
    if re.search(r"(?:\^|\*\*)[\s{(]*[-+]?\d{6}", text):
        return "exponent_too_large"
    # 9^{9^9}: digits raised to a power that is a power of digits; 2^{2^3} is small enough to be harmless.
    tower = re.search(r"\d[\s})]*(?:\^|\*\*)[\s{(]*(\d{1,6})[\s})]*(?:\^|\*\*)[\s{(]*(\d{1,6})[\s})]*(\^|\*\*)?", text)
    if tower and (tower.group(3) or int(tower.group(2)) > 20 or int(tower.group(1)) ** int(tower.group(2)) > 10_000):
        return "exponent_too_large"
    if re.search(r"\d{5}[\s})]*!|![\s})]*!", text):
        return "factorial_too_large"
    return None


def _quick(sample: Sample) -> Opinion | _Open:
    """An opinion that needs no computer algebra, or else what it is to be asked."""
    if not (sample.reference or "").strip():
        return Opinion("undecided", reason="no_reference")
    try:
        form = _form_of(sample)
    except ValidationError as e:
        return Opinion("undecided", reason="reference_not_usable", details={"message": first_problem(e)})
    references = [_wanted(r) for r in (sample.reference or "", *form.aliases)]
    measured = form.tolerance is not None or form.unit != ""
    found = found_in(sample, numeric=measured or references[0].number is not None)
    if found is None:
        return Opinion("undecided", reason="no_answer")
    details: dict[str, str] = {"extracted": found.value[:500], "from": found.origin}
    given = normalised(found.value)
    told: list[Told] = []
    pairs: list[Pair] = []
    for wanted in references:
        result, by = (_measured(wanted.answer, found, form), "measure") if measured else _against(wanted, given, found)
        if result == "equal":
            return _opinion(result, details | {"by": by})
        if isinstance(result, tuple):
            pairs.append(result)
        else:
            told.append(result)
    return _Open(pairs, told, details) if pairs else _opinion(_best(told), details | {"by": by})


def _form_of(sample: Sample) -> AnswerForm:
    given = sample.metadata.get("verify")
    return AnswerForm.model_validate(given) if given else _PLAIN


def _wanted(reference: str) -> _Wanted:
    """A reference, of which the box counts where it is a whole solution."""
    found = final_answer(reference, reference) if "\\boxed" in reference else None
    answer = found.value if found else reference[: MAX_LENGTH + 1]
    text = normalised(answer)
    return _Wanted(answer, text, number_of(text))


def found_in(sample: Sample, *, numeric: bool) -> Extracted | None:
    """The final answer; in a reply that marks none, its last formula or its last number, whichever comes later."""
    found = final_answer(sample.answer, sample.text)
    if found is None or found.origin == "boxed":
        return found
    if found.origin != "whole":
        # "The answer is therefore $x = 3$": the formula.
        inside = None if is_formula(found.value.strip('"\\“” ')) else last_formula(found.value)
        return Extracted(inside, found.origin) if inside else found
    if len(found.value) <= _MOST_WHOLE and is_formula(found.value):
        return found
    formula = last_formula(found.value)
    if formula is not None:
        return Extracted(formula, "formula")
    if not numeric:
        return found
    number = last_number(found.value)
    return Extracted(number, "last_number") if number else None


def _against(reference: _Wanted, given: str, found: Extracted) -> tuple[Told | Pair, str]:
    """What is told of one reference, and by what; a pair is what computer algebra has to be asked."""
    wanted, gold = reference.text, reference.number
    if _same_text(wanted, given):
        return "equal", "text"
    if found.origin == "whole" and len(given) > 300:
        return "answer_not_parsed", "length"
    if "=" not in wanted:
        given = _SIDE.sub("", given)  # of "x = 7" the 7
        if _same_text(wanted, given):
            return "equal", "text"
    if decimal_comma(wanted, given) or decimal_comma(given, wanted):
        return "equal", "number"
    if gold is not None:
        said = number_of(given) or _only_number(found, given)
        if said is not None:
            return ("equal" if same_number(gold, said) else "different"), "number"
    if found.origin == "whole" and _PROSE.fullmatch(given):
        return "answer_not_parsed", "words"
    if _PROSE.fullmatch(wanted):
        # A parser would take its letters for a product of variables and find every answer different from it.
        return "reference_not_parsed", "words"
    for side, text in (("reference", wanted), ("answer", given)):
        why = too_complex(text)
        if why:
            return f"{side}_{why}", "length"
    told = _by_form(bare(reference.answer), bare(found.value))
    return (told, "form") if told else ((_latex(wanted), _latex(given)), "")


def _by_form(wanted: str, given: str) -> Told | None:
    """What reading both and calculating says; None where that does not tell."""
    try:
        left, right = read(wanted), read(given)
    except NotUnderstood:
        return None
    if isinstance(right, Words) and not isinstance(left, Words):
        return "answer_not_parsed"
    same = equal(left, right)
    return None if same is None else "equal" if same else "different"


def _measured(reference: str, found: Extracted, form: AnswerForm) -> Told:
    """What is told of a number with a tolerance and a unit; an answer without a unit has the reference's."""
    factor, unit = power_of_ten(form.unit)
    wanted = measure(bare(reference))
    if wanted is None:
        return "reference_not_parsed"
    given = _measure(re.split(r"=|\\approx|\\cong|\\simeq|≈", bare(found.value))[-1])
    if given is None:
        return "answer_not_parsed"
    readings = [given.value, given.value / factor]
    if given.unit and unit:
        try:
            converted = convert(given.value, given.unit, unit)
        except ValueError:
            return "different"
        readings = readings if converted is None else [converted / factor]
    elif given.unit in ("%", "\\%"):
        readings.append(given.value / 100)
    tolerance = max(form.tolerance or 0.0, 1e-9)
    return "equal" if any(math.isclose(r, wanted.value, rel_tol=tolerance) for r in readings) else "different"


def _measure(text: str) -> Measure | None:
    """A number or an expression with its unit: what a text command begins, or what `measure` finds."""
    head, unit = split(text)
    found = measure(head)
    if found is None or (found.unit and parsed(found.unit) is None):
        try:
            value = value_of(read(head))
            found = found if value is None else Measure(float(value), "")
        except (NotUnderstood, OverflowError, TypeError):
            pass
    if found is None:
        return None
    power, unit = power_of_ten(f"{found.unit} {unit}".strip())
    return Measure(found.value * power, unit)


def _opinion(result: Told, details: dict[str, str], seconds: float | None = None) -> Opinion:
    if result == "equal":
        return Opinion("pass", 1.0, "", details, seconds)
    if result == "different":
        return Opinion("fail", 0.0, "different", details, seconds)
    return Opinion("undecided", None, result, details, seconds)


def _best(told: Sequence[Told]) -> Told:
    """Of several references one has to be equal; it is no other answer while one of them cannot be told."""
    if "equal" in told:
        return "equal"
    return next((t for t in told if t != "different"), "different")


def _same_text(wanted: str, given: str) -> bool:
    left, right = "".join(wanted.split()), "".join(given.split())
    # Letters of formulas are case-sensitive, words are not.
    return left == right or (left.isalpha() and len(left) > 2 and left.casefold() == right.casefold())


def _only_number(found: Extracted, given: str) -> Number | None:
    """The number of a sentence that holds only one, or of "3 + 4 = 7" what stands after the last sign."""
    if found.origin not in ("phrase", "answer_tag", "whole", "boxed", "hashes") or len(given) > 300:
        return None
    before, sign, result = given.rpartition("=")
    if sign and not _CALCULATED.search(before) and (number := number_of(result.strip())) is not None:
        return number
    if "\\" in given or not re.search(r"[A-Za-z]{3}", given) or found.origin == "boxed":
        return None
    number_text = last_number(given)
    if number_text is None or len(re.findall(r"\d+(?:[.,/]\d+)*", given)) != 1:
        return None
    return number_of(normalised(number_text))


def _latex(text: str) -> str:
    """A plain `{1, 2}` as the set it stands for: in LaTeX its braces would only group."""
    if text.startswith("{") and text.endswith("}") and "," in text:
        return "\\{" + text[1:-1] + "\\}"
    return text.replace("\\%", "%").replace("%", "\\%")
