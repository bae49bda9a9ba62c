"""Finds the final answer in a reply, in whatever form the model gave it."""

import re
from dataclasses import dataclass
from typing import Literal

from dataengine.verify.formula import COMMANDS

Origin = Literal["answer_tag", "boxed", "hashes", "phrase", "formula", "last_number", "whole"]

#: Characters at the end of a reply that are searched; a final answer stands at the end.
SCANNED = 20_000

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0x2212: 0x2D, 0x3002: 0x2E}

_ANSWER = re.compile(r"</?answer>", re.IGNORECASE)
_BRACES = re.compile(r"\\{1,2}(?:boxed|fbox|framebox)\s{0,5}\{|\\.|[{}]", re.DOTALL)
_BOXED_BARE = re.compile(r"\\boxed\s+([^\s{$]{1,100})")
# Between two boxes that are one answer: nothing, a comma, "and", "papers and", "for part (a) and", "and y =".
_NO_WORD = re.compile(r"\\(?:quad|qquad|text|mathrm|[()\[\],;: !])|[${}]")
_JOIN = re.compile(
    r"(?:,|;|、|和|或|(?:(?:[a-z]{1,12}|for (?:part )?\(?\w\)?) )?,? ?(?:and|or)\b|)(?: ?[A-Za-z](?:_?\d{1,3})? ?=)?",
    re.IGNORECASE,
)
_MOST_BOXES = 50
_PHRASE = re.compile(
    r"\banswer(?:\s(?:to|for|of)\s[^.:\n]{1,80}?)?(?:\s?\*\*)?\s{0,3}(?:is\b|[:=])(?:\s?\*\*)?\s*:?\s*"
    r"|(?:最终)?答案(?:应?该?是|为)?\s?[:是为]?\s?",
    re.IGNORECASE,
)
# A full stop ends the phrase after a digit, a closing bracket or a longer word: not after "St." or in "3.5".
_STOP = re.compile(r"(?:(?<=[\d)\]}$*%\"'])|(?<=\w{4}))[.!]\s")
_BOLD_END = re.compile(r"(?<=\S)\*\*(?=[\s.,;:]|$)")
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?[$€£¥]?(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+|(?<!\d,\d),\d{1,2}(?![\d,]))?"
    r"(?:\s?/\s?\d+)?(?:\s?%)?|(?<![\w.])[-+]?\.\d+"
)
_FORMULA = re.compile(
    r"\$\$(.{1,2000}?)\$\$|\\\[(.{1,2000}?)\\\]|\\\((.{1,2000}?)\\\)|(?<!\\)\$((?:[^$\\]|\\.){1,2000}?)\$", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Extracted:
    """A final answer, with full-width digits and punctuation made plain, and the form it was found in."""

    value: str
    origin: Origin


# Lines of a calculation, of which the last side counts.
_ALIGNED = re.compile(r"\\(?:begin|end)\{(?:aligned|align|gathered|split|eqnarray)\*?\}")


def plain(text: str) -> str:
    """`text` with full-width digits, letters and punctuation, and the minus sign, as ASCII; of the same length.

    >>> plain("（７）")
    '(7)'
    """
    return text.translate(_WIDE)


def final_answer(sample_answer: str | None, text: str, *, numeric: bool = False) -> Extracted | None:
    """The final answer of a reply, or None where there is none.

    `sample_answer` is what stands after the reasoning, `text` the raw reply. Looked for in this order, the last of a
    form wins: ``<answer>``, ``\\boxed{}`` (but for a "final answer is" after the last box), a closing line ``#### x``,
    "the answer is x". With none of these, `numeric` takes the last number, and otherwise the whole visible answer
    counts. A reply that was cut off inside its reasoning has no visible answer: there only the marked forms (tag, box)
    count. Time is linear in the last 20,000 characters.

    >>> final_answer("3 + 4 = 7", "", numeric=True)
    Extracted(value='7', origin='last_number')
    """
    shown = plain(visible(sample_answer, text)[-SCANNED:])
    if shown.strip():
        found = _marked(shown) or _stated(shown)
        if found:
            return found
    found = _marked(plain(text[-SCANNED:]))
    if found or not shown.strip():
        return found
    if numeric:
        number = last_number(shown)
        return Extracted(number, "last_number") if number else None
    return Extracted(shown.strip(), "whole")


def last_number(text: str) -> str | None:
    """The last number of `text` as written ("1,234", "-3.5", "50%"), or None."""
    last = _last(_NUMBER, text)
    return last.group() if last else None


def last_formula(text: str) -> str | None:
    r"""The last formula in `text` between dollar signs, ``\(\)`` or ``\[\]``, unless a number follows it; else None.

    >>> last_formula(r"Hence $k = \frac{1}{3}$.")
    'k = \\frac{1}{3}'
    """
    last = _last(_FORMULA, text)
    if last is None or re.search(r"\d", text[last.end() :]):
        return None
    formula = next(g for g in last.groups() if g is not None).strip()
    if _ALIGNED.search(formula):
        formula = _ALIGNED.sub(" ", formula.rpartition("=")[2]).replace("&", " ").replace("\\\\", " ")
    return formula.strip(" .,")


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for last in pattern.finditer(text):  # noqa: B007  (the last one is wanted)
        pass
    return last


def is_formula(text: str) -> bool:
    """Whether a text holds no words: nothing beside its formulas, or no run of letters that is no function."""
    around = _FORMULA.sub(" ", text)
    if around != text:
        return re.fullmatch(r"(?:and\b|or\b|[\s,;.])*", around) is not None
    return {*re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", text)} <= COMMANDS


def visible(answer: str | None, text: str) -> str:
    """What the reader sees of a reply: what stands after the reasoning, or nothing where that was never ended."""
    if answer is not None:
        return answer
    start = text.rfind("</think>")
    if start >= 0:
        return text[start + len("</think>") :]
    return "" if "<think>" in text else text


def _marked(text: str) -> Extracted | None:
    inside = tagged(text)
    if inside:
        return Extracted(_boxed(inside) or _hashes(inside) or _phrase(inside) or inside, "answer_tag")
    boxed = _boxed(text)
    last = text.lower().rfind("final answer is")
    if boxed and last > max(text.rfind("boxed{"), text.rfind("box{")):
        phrase = _phrase(text[last:])
        if re.search(r"[\d$]", phrase):
            return Extracted(phrase, "phrase")
    return Extracted(boxed, "boxed") if boxed else None


def _stated(text: str) -> Extracted | None:
    hashes = _hashes(text)
    if hashes:
        return Extracted(hashes, "hashes")
    phrase = _phrase(text)
    return Extracted(phrase, "phrase") if phrase else None


def tagged(text: str) -> str:
    """What stands in the last pair of answer tags, or after a last one that was never closed."""
    start, found = -1, ""
    for tag in _ANSWER.finditer(text):
        if tag.group()[1] != "/":
            start = tag.end()
        elif start >= 0:
            found, start = text[start : tag.start()].strip() or found, -1
        elif not found and len(text) == SCANNED:
            found = text[: tag.start()].strip()  # it was opened before the part that is searched
    return found or (text[start:].strip() if start >= 0 else "")


def _boxed(text: str) -> str:
    """What stands in the last ``\\boxed{}``, boxes in boxes unpacked; one pass with a stack.

    Boxes that are listed ("\\boxed{1} and \\boxed{2}") are one answer, "1, 2".
    """
    boxes: list[tuple[int, int, str]] = []
    opened: list[tuple[int, int]] = []
    for token in _BRACES.finditer(text):
        mark = token.group()
        if mark == "{":
            opened.append((-1, -1))
        elif mark == "}":
            start, inside = opened.pop() if opened else (-1, -1)
            content = text[inside : token.start()].strip() if start >= 0 else ""
            if content:
                # An inner box closes before the outer one, which holds it.
                while boxes and boxes[-1][0] > start:
                    boxes.pop()
                boxes.append((start, token.end(), _unpacked(content)))
        elif mark.endswith("{") and len(mark) > 2:
            opened.append((token.start(), token.end()))
    if not boxes:
        bare = [m.group(1).rstrip(".,") for m in _BOXED_BARE.finditer(text)]
        return bare[-1] if bare else ""
    listed = [boxes[-1][2]]
    for before, box in zip(boxes[-2::-1], boxes[:0:-1], strict=False):
        if not _joins(text[before[1] : box[0]]) or len(listed) == _MOST_BOXES:
            break
        listed.insert(0, before[2])
    return ", ".join(dict.fromkeys(listed))


def _unpacked(content: str) -> str:
    for _ in range(3):
        inner = re.fullmatch(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}", content)
        if inner is None:
            break
        content = inner.group(1).strip()
    return content


def _joins(between: str) -> bool:
    """Whether the text between two boxes makes them a list."""
    return len(between) <= 60 and _JOIN.fullmatch(" ".join(_NO_WORD.sub(" ", between).split())) is not None


def _hashes(text: str) -> str:
    """The last line's answer after ``####``; elsewhere that is a heading."""
    line = text.rstrip().rpartition("\n")[2].strip()
    return line[4:].strip() if line.startswith("####") else ""


def _phrase(text: str) -> str:
    found = ""
    for match in _PHRASE.finditer(text):
        line = text[match.end() : match.end() + 300].partition("\n")[0]
        stop = _STOP.search(line)
        line = _undecorated(line[: stop.start()] if stop else line)
        found = line or found
    return found


def _undecorated(line: str) -> str:
    line = line.strip().removeprefix("**").strip().rstrip(".").strip()
    bold = _BOLD_END.search(line)
    if bold:
        line = line[: bold.start()]
    return line.strip("`").rstrip(".").strip()
