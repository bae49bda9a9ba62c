"""Answers whose order matters: sorted words, rankings, closing brackets."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dataengine.checks import Opinion
from dataengine.verify.reply import Reply, any_of, undressed, unnumbered

_MOST_ITEMS = 500
_MOST_CHARACTERS = 100
# Characters between two items, and after a list in a reply that marks no answer.
_MOST_BETWEEN = 40
_MOST_AFTER = 300

_FALLING = re.compile(r"\s*(?:->|=>|[→>])\s*")
_RISING = re.compile(r"\s*<\s*")
_LISTED = re.compile(r"\s*[,;、]\s*(?:and\s+)?")
_BETWEEN = re.compile(r"(?:[\s,;、|>→<&'()\[\]-]|=>|\d{1,3}[.)]|\b(?:and|then|followed|by)\b)*", re.IGNORECASE)
_BEFORE = re.compile(
    r"(?:^|[\n:'\[({=|-]|\b(?:is|are|be|as|order|list|words?|items?|ranking|first))\s*$", re.IGNORECASE
)
_AFTER = re.compile(r"['\])}|]*\s*(?:$|\n|[.!](?:\s|$)|\()")
_BESIDE = ",;、>→<&"

_BRACKETS = "()[]{}<>"
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class _Run:
    """Items in a row, lower case; the sign between them; whether more is listed beside them, or words stand there."""

    items: tuple[str, ...]
    sign: str
    end: int
    more: bool
    clear: bool


class Ordered:
    """The items in their right order, and the sign that stands between them ("<", ">" or none)."""

    kind: ClassVar[str] = "ordered"

    def __init__(self, items: Sequence[str], sign: str = "") -> None:
        self.items = tuple(item.casefold() for item in items)
        self.sign = sign
        self._pattern = re.compile(any_of(items))

    def judged(self, reply: Reply) -> Opinion:
        """Whether the reply lists these items in this order, and no others.

        In what is marked as the answer the longest list counts, elsewhere the last one that stands by itself.
        """
        marked = unnumbered(undressed(reply.marked))
        run = max(self._runs(marked), key=lambda r: (len(r.items), r.end), default=None)
        if run is None and self._pattern.search(marked):
            return Opinion("fail", 0.0, "different", reply.details)
        if run is None:
            shown = unnumbered(undressed(reply.shown))
            last = [r for r in self._runs(shown) if r.clear and len(shown) - r.end <= _MOST_AFTER]
            run = last[-1] if last else None
        if run is None:
            return Opinion("undecided", None, "not_understood", reply.details)
        details = reply.details | {"listed": list(run.items)}
        if run.items != self.items or run.more:
            reason = "incomplete" if set(run.items) < set(self.items) and not run.more else "different"
            return Opinion("fail", 0.0, reason, details)
        if not run.clear:
            return Opinion("undecided", None, "not_understood", details)
        return Opinion("pass", 1.0, details=details)

    def _runs(self, text: str) -> list[_Run]:
        """The lists in a text of two items or more that the reference has."""
        matches = list(self._pattern.finditer(text))
        runs: list[_Run] = []
        first = 0
        for i in range(1, len(matches) + 1):
            if i < len(matches) and _joins(text[matches[i - 1].end() : matches[i].start()]):
                continue
            if i - first > 1:
                runs.append(self._run(text, matches[first:i]))
            first = i
        return runs

    def _run(self, text: str, matches: list[re.Match[str]]) -> _Run:
        start, end = matches[0].start(), matches[-1].end()
        items = tuple(m.group().casefold() for m in matches)
        signs = {_sign(text[a.end() : b.start()]) for a, b in itertools.pairwise(matches)}
        sign = signs.pop() if len(signs) == 1 else ""
        if sign and self.sign and sign != self.sign:
            items = items[::-1]
        before = text[max(0, start - _MOST_BETWEEN) : start]
        more = before.rstrip()[-1:] in _BESIDE if before.strip() else False
        more = more or (text[end : end + _MOST_BETWEEN].strip()[:1] or " ") in _BESIDE
        return _Run(items, sign, end, more, _BEFORE.search(before) is not None and _AFTER.match(text, end) is not None)


def ordered_of(reference: str, *, sure: bool = False) -> Ordered | None:
    """The list that a reference is; None where it is none.

    "[a, b]", "a > b", "a -> b" and numbered lines are lists by their form; with `sure` so are lines, commas and spaces.

    >>> made = ordered_of("Ann > Bob > Cid")
    >>> made.items if made else None
    ('ann', 'bob', 'cid')
    """
    bare = undressed(reference)
    text = unnumbered(bare).strip()
    sign = ""
    if len(lines := [line for line in text.split("\n") if line.strip()]) > 1:
        items, by_form = lines, text != bare
    elif len(items := _FALLING.split(text)) > 1:
        by_form = True
        sign = ">" if not re.search("[-=]>|→", text) else ""
    elif len(items := _RISING.split(text)) > 1:
        by_form, sign = True, "<"
    else:
        by_form = text.startswith("[") and text.endswith("]")
        text = text[1:-1] if by_form else text
        items = _LISTED.split(text)
        if len(items) < 2:
            items = text.split()
    items = [item.strip(" \t.,;'") for item in items]
    if not (by_form or sure) or not 2 <= len(items) <= _MOST_ITEMS:
        return None
    if not all(0 < len(item) <= _MOST_CHARACTERS for item in items):
        return None
    return Ordered(items, sign)


def _joins(gap: str) -> bool:
    return len(gap) <= _MOST_BETWEEN and _BETWEEN.fullmatch(gap) is not None


def _sign(gap: str) -> str:
    gap = re.sub(r"[-=]>", "", gap)
    return "<" if "<" in gap else ">" if ">" in gap else ""


class Brackets:
    """The right brackets; `given` are those that the question shows before them, which an answer may repeat."""

    kind: ClassVar[str] = "brackets"

    def __init__(self, brackets: str, given: str = "") -> None:
        self.brackets = brackets
        self.given = given

    def judged(self, reply: Reply) -> Opinion:
        """Whether the brackets at the end of the answer are the right ones; spaces between them do not matter."""
        said = _closing(_place(reply))
        if not said:
            return Opinion("undecided", None, "not_understood", reply.details)
        details = reply.details | {"brackets": said[:500]}
        if said in (self.brackets, self.given + self.brackets):
            return Opinion("pass", 1.0, details=details)
        return Opinion("fail", 0.0, "different", details)


def brackets_of(reference: str, given: str = "") -> Brackets | None:
    """The brackets that a reference consists of; None where it holds anything else."""
    compact, before = "".join(reference.split()), "".join(given.split())
    if not compact or compact.strip(_BRACKETS) or before.strip(_BRACKETS):
        return None
    return Brackets(compact, before)


def _place(reply: Reply) -> str:
    """The text that ends in the answer's brackets."""
    box = reply.shown.rfind("\\boxed{")
    if reply.found.origin != "answer_tag" and box >= 0:
        # Braces that are part of the answer need not pair: the box ends with the last one of the line.
        line = reply.shown[box:].partition("\n")[0]
        return line[len("\\boxed{") : line.rfind("}")]
    if reply.found.origin == "whole":
        return reply.shown.strip(_SPACE + "`").rpartition("\n")[2]
    return reply.marked or reply.found.value


def _closing(text: str) -> str:
    """The brackets that a text ends in, without spaces; nothing where they belong to its last word."""
    text = re.sub(r"[\\`*$\"']", "", text).rstrip(_SPACE + ".")
    before = text.rstrip(_BRACKETS + _SPACE)
    after = text[len(before) :]
    return "".join(after.split()) if not before or before[-1] in ":=→" or after[:1].isspace() else ""
