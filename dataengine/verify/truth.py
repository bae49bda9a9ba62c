"""Answers that are yes or no: also as true and false, valid and invalid, plausible and implausible, or unknown."""

import re
from typing import ClassVar

from dataengine.checks import Opinion
from dataengine.verify.reply import Reply, undressed

_NOT = r"(?P<not>\b(?:not|never|cannot be)\s+|n['’]t\s+)?(?:be\s+|[a-z]{1,20}ly\s+)?\(?\s?\b(?<!\w-)"
# "no" is an answer where it stands alone, and not in "there is no reason".
_ALONE = r"(?=\s*(?:$|[.,;:!)'\n–—-]|\b(?:because|since|as|and|or|it|he|she|they|the|this|that)\b))"
_UNKNOWN = r"|(?P<unknown>unknown|uncertain|undetermined|(?:cannot|can['’]t) be (?:determined|known|told))"
# Pairs of words, those that answer a question first.
_PAIRS = {
    ("yes", "no"): re.compile(_NOT + rf"(?:(?P<yes>yes)|(?P<no>no{_ALONE}){_UNKNOWN})\b(?!-\w)", re.IGNORECASE),
    **{
        pair: re.compile(_NOT + rf"(?:(?P<yes>{pair[0]})|(?P<no>{pair[1]}){_UNKNOWN})\b(?!-\w)", re.IGNORECASE)
        for pair in (("true", "false"), ("valid", "invalid"), ("plausible", "implausible"))
    },
}
_WORDS = {word: (pair, said) for pair in _PAIRS for word, said in zip(pair, ("yes", "no"), strict=True)}
_WORDS |= dict.fromkeys(("unknown", "uncertain", "undetermined"), (("true", "false"), "unknown"))
_WORDS |= dict.fromkeys(("是", "是的", "对", "正确", "真"), (("yes", "no"), "yes"))
_WORDS |= dict.fromkeys(("否", "不是", "不", "错", "错误", "不对", "不正确", "假"), (("yes", "no"), "no"))
_SENTENCE = re.compile(r"[^.?!\n]*[.?!\n]?")
_LEADS_TO = re.compile(r"(?:\b(?:is|are|be|so|thus|therefore)|[=:→])[\s(,]*$", re.IGNORECASE)
# Lines at the end of a longer answer in which it may stand; the first line is read too.
_LAST_LINES = 5


class YesNo:
    """The right one of yes, no and unknown, and the pair of words it is said in."""

    kind: ClassVar[str] = "yes_no"

    def __init__(self, answer: str, pair: tuple[str, str] = ("yes", "no")) -> None:
        self.answer = answer
        self._order = [pair, *(p for p in _PAIRS if p != pair)]

    def judged(self, reply: Reply) -> Opinion:
        """Whether the reply says this; one that says both, or neither, is undecided."""
        said = self.said(undressed(reply.found.value))
        if len(said) != 1:
            return Opinion("undecided", None, "contradictory" if said else "not_understood", reply.details)
        details = reply.details | {"said": next(iter(said))}
        if said == {self.answer}:
            return Opinion("pass", 1.0, details=details)
        return Opinion("fail", 0.0, "different", details)

    def said(self, text: str) -> set[str]:
        """What a text says, in the reference's own words if it has any of them: of yes, no and unknown."""
        word = _WORDS.get(text.strip(" .!'").casefold())
        if word:
            return {word[1]}
        lines = [line for line in "".join(_statements(text)).split("\n") if line.strip()]
        for pair in self._order:
            said = _said(lines[0], _PAIRS[pair]) if lines else set()
            last = next((s for line in reversed(lines[1:][-_LAST_LINES:]) if (s := _said(line, _PAIRS[pair]))), set())
            if said or last:
                return said | last
        return set()


def yes_no_of(reference: str) -> YesNo | None:
    """The answer that a reference of one word is; None where it is none.

    >>> made = yes_no_of("Invalid.")
    >>> made.answer if made else None
    'no'
    """
    word = _WORDS.get(undressed(reference).strip(" .!").casefold())
    return YesNo(word[1], word[0]) if word else None


def _statements(text: str) -> list[str]:
    return [s.group() for s in _SENTENCE.finditer(text) if not s.group().endswith("?")]


def _said(line: str, pattern: re.Pattern[str]) -> set[str]:
    said = set()
    for match in pattern.finditer(line):
        says = "yes" if match["yes"] else "no" if match["no"] else "unknown"
        if match["not"] and says != "unknown":
            says = "no" if says == "yes" else "yes"
        said.add(says)
        start, rest = match.start(), line[match.end() :]
        if len(said) > 1 and not rest.strip(" .!)'") and _LEADS_TO.search(line[max(0, start - 40) : start]):
            return {says}  # "not ( True ) and True is False"
    return said
