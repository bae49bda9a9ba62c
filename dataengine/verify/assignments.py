"""Answers that say who is what: "Zoey is a knight, and Oliver is a knave"."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from dataengine.checks import Opinion
from dataengine.verify.reply import Reply, any_of, undressed, unnumbered

_KNIGHT = ("knight", "truth-teller", "truth teller", "truthteller")
_KNAVE = ("knave", "liar")
# Choices of two, with the words for each: who is not the one is the other.
_PAIRS: tuple[dict[str, tuple[str, ...]], ...] = (
    {
        "knight": (*_KNIGHT, *(f"{w}s" for w in _KNIGHT), "truthful", "honest", "骑士", "騎士"),
        "knave": (*_KNAVE, *(f"{w}s" for w in _KNAVE), "dishonest", "无赖", "無賴", "骗子", "騙子"),
    },
    {"true": ("true",), "false": ("false",)},
    {"yes": ("yes",), "no": ("no",)},
)

_CANONICAL = {word: value for pair in _PAIRS for value, words in pair.items() for word in words}

# References: items of one name and one value.
_MOST_NAMES = 100
_ENDS = (r"[\n;,]|(?<=[^\W\d])\.(?=\s|$)", r"[\n;,]|(?<=[^\W\d])\.(?=\s|$)|\band\b")
_ITEM = re.compile(
    r"(?:and\s+)?(?P<name>[^:=|→<>]{1,80}?)(?:\s*(?:->|=>|[:=|→])\s*|\s+(?:is|are|[-–—])\s+|\s*是)"
    r"(?P<no>not\s+)?(?:(?:an?|the)\s+|一[个名])?(?P<value>[^:=|→<>]{1,80})",
    re.IGNORECASE,
)
_VERB = re.compile(r"\b(?:is|are)\b", re.IGNORECASE)

# Answers are read as a row of letters, one for each word or sign that matters: N a name, E everyone, R the rest,
# V a value, W values ("knights"), i is, r are, a an article, ! not, ~ neither, : is to be, & and, o or, n a new line,
# . an end, x anything else.
_LETTERS = {
    **dict.fromkeys(("is", "be", "being", "was", "as", "是", "为"), "i"),
    **dict.fromkeys(("isn't", "isn’t", "不是"), "i!"),
    **dict.fromkeys(("are", "were"), "r"),
    **dict.fromkeys(("aren't", "aren’t"), "r!"),
    **dict.fromkeys(("a", "an", "一个", "一名"), "a"),
    **dict.fromkeys((":", "=", "|", "(", "→", "->", "=>", "–", "—", "-"), ":"),
    **dict.fromkeys(("and", "nor", "和", ",", "、", "&"), "&"),
    **dict.fromkeys(("or", "/"), "o"),
    **dict.fromkeys((".", ";", "!", "?"), "."),
    **dict.fromkeys(
        ("the", "both", "all", "also", "only", "indeed", "therefore", "thus", "must", "has", "to", "都"), ""
    ),
    "not": "!",
    "neither": "~",
    "\n": "n",
    **dict.fromkeys(("role", "type", "identity", "of", "s", "'", "’"), ""),
}
_WORD = re.compile(
    r"不是|一[个名]|[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+(?:['’]t)?|\d+|[-=]>|[:=|(→–—,、&/.;!?'’\n]|(?<=\s)-(?=\s)"
)
_EVERYONE = ("everyone", "everybody", "all of them")
_REST = ("everyone else", "everybody else", "the rest", "the others", "the other two", "the other three")
_CLAIM = re.compile(
    r"(?<![o!])(?:"
    # Not told: where the knights end in "the knights are Zoey, Oliver and Ava are knaves".
    r"(?:W[:ir]?|V:)n*N(?:[&n]+N){1,99}r!?[VW]"
    r"|(?:W[:ir]?|V:)n*(?P<named>N(?:[&n]+N){0,99})(?![ir:]!?a?[VW]|a?[VW](?!:))"
    r"|V[ir]?(?P<name>N)(?![ir:]!?a?[VW]|a?[VW](?!:))"
    r"|~(?P<neither>N(?:&+N){1,99})[ir]a?[VW]"
    r"|(?P<many>N(?:&+N){1,99})(?:[r:](?P<not_many>!?)[VW]|i?W)"
    r"|(?P<one>[NER])(?:(?:[ir]|:n*)(?P<not_one>!?)a?[VW]|&?a[VW]|[VW](?!:))"
    r")(?!o)"
)
_SENTENCE = re.compile(r"[^.;?!\n]*[.;?!\n]?")
# A sentence with one of these says what could be, or what somebody says.
_SUPPOSED = re.compile(
    r"\b(?:if|iff|suppos\w+|assum\w+|would|could|might|cannot|can['’]t|don['’]t|doubt\w*|either|unless|whether|maybe"
    r"|perhaps|possibl[ey]|impossible|contradict\w*|not the case|(?:not true|false|wrong|untrue) that"
    r"|says?|said|claim\w*|stat(?:es?|ed|ements?)|mention\w*|comment\w*|remark\w*|declar\w*|assert\w*|express\w*"
    r"|insist\w*|told|heard|according)\b|\?|如果|假设|说",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{1,300})[\"”]")


@dataclass(frozen=True, slots=True)
class Claim:
    """A value that a text gives to a name (to everyone, to the rest), and where."""

    subject: str
    value: str
    at: int


class Assignments:
    """The right value of every name."""

    kind: ClassVar[str] = "assignment"

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        used = set(values.values())
        self._words = {value: value for value in used}
        self._opposite: dict[str, str] = {}
        for pair in _PAIRS:
            if used & pair.keys():
                self._words |= {word: value for value, words in pair.items() for word in words}
            if used <= pair.keys():
                one, other = pair
                self._opposite = {one: other, other: one}
        self._names = {name.casefold(): name for name in self.values}
        self._known = re.compile(any_of([*self.values, *self._words, *_EVERYONE, *_REST]))

    def judged(self, reply: Reply) -> Opinion:
        """Whether the reply gives every name its value.

        What is marked as the answer has to give them all; elsewhere the last paragraphs count that do.
        """
        said, unclear = self.said(unnumbered(undressed(reply.marked)))
        sure = reply.found.origin == "answer_tag" or said.keys() == self.values.keys()
        if not sure:
            shown = _QUOTED.sub(_unquoted, reply.shown)
            said, unclear = self.said(unnumbered(undressed(shown)), conclusion=True)
        details = reply.details | {"said": {n: " / ".join(sorted(v)) for n, v in said.items()}}
        several = any(len(values) > 1 for values in said.values())
        missing = self.values.keys() - said.keys()
        if not said or (not sure and (missing or several)):
            return Opinion("undecided", None, "contradictory" if several else "not_understood", details)
        if several:
            return Opinion("fail", 0.0, "contradictory", details)
        if any(values != {self.values[n]} for n, values in said.items()):
            return Opinion("fail", 0.0, "different", details)
        if unclear:
            return Opinion("undecided", None, "not_understood", details)
        if missing:
            return Opinion("fail", 0.0, "incomplete", details)
        return Opinion("pass", 1.0, details=details)

    def said(self, text: str, *, conclusion: bool = False) -> tuple[dict[str, set[str]], set[str]]:
        """The values that a text gives each name, and the names that it mentions without one.

        With `conclusion` only its last paragraphs count, as many as it takes to give every name a value.
        """
        claims, mentioned = self._read(text)
        if conclusion:
            start = self._start(text, claims)
            claims = [c for c in claims if c.at >= start]
            mentioned = {name: at for name, at in mentioned.items() if at >= start}
        said: dict[str, set[str]] = {}
        for claim in claims:
            if claim.subject not in _REST:
                for name in self.values if claim.subject in _EVERYONE else (claim.subject,):
                    said.setdefault(name, set()).add(claim.value)
        rest = self.values.keys() - said.keys() - mentioned.keys()
        for claim in claims:
            if claim.subject in _REST:
                for name in rest:
                    said.setdefault(name, set()).add(claim.value)
        return said, mentioned.keys() - said.keys()

    def _start(self, text: str, claims: list[Claim]) -> int:
        left = set(self.values)
        for claim in reversed(claims):
            left = left - {claim.subject} if claim.subject in self.values else set()
            if not left:
                return text.rfind("\n\n", 0, claim.at) + 1
        return 0

    def _read(self, text: str) -> tuple[list[Claim], dict[str, int]]:
        """The claims of a text in order, and the last place of every name in it."""
        supposed = bytearray(len(text))
        for sentence in _SENTENCE.finditer(text):
            if _SUPPOSED.search(sentence.group()):
                supposed[sentence.start() : sentence.end()] = b"x" * len(sentence.group())
        row: list[str] = []
        tokens: list[tuple[str, int]] = []
        for word, at, known in self._words_of(text):
            letters, key = self._letters(word, known=known)
            row.append("x" * len(letters) if supposed[at] else letters)
            tokens += [(key, at)] * len(letters)
        code = "".join(row)
        claims = []
        for match in _CLAIM.finditer(code):
            group = next((g for g in ("named", "name", "neither", "many", "one") if match[g]), None)
            if group is None:
                continue
            value: str | None = tokens[match.start() if group in ("named", "name") else match.end() - 1][0]
            if match["neither"] or match["not_many"] or match["not_one"]:
                value = self._opposite.get(value or "")
            if value is not None:
                subjects = [tokens[k] for k in range(*match.span(group)) if code[k] in "NER"]
                claims += [Claim(name, value, at) for name, at in subjects]
        return claims, {key: at for key, at in tokens if key in self.values}

    def _words_of(self, text: str) -> Iterator[tuple[str, int, bool]]:
        """The words and signs of a text, lower case, where they stand, and whether they are names, values and such."""
        end = 0
        for known in itertools.chain(self._known.finditer(text), [None]):
            for word in _WORD.finditer(text, end, known.start() if known else len(text)):
                yield word.group().casefold(), word.start(), False
            if known:
                yield known.group().casefold(), known.start(), True
                end = known.end()

    def _letters(self, word: str, *, known: bool) -> tuple[str, str]:
        """The letters for a word, and which name or value it is."""
        if not known:
            return _LETTERS.get(word, "x"), ""
        if word in self._names:
            return "N", self._names[word]
        if word in self._words:
            return ("W" if word.endswith("s") and word[:-1] in self._words else "V"), self._words[word]
        return ("E" if word in _EVERYONE else "R" if word in _REST else "x"), word


def _unquoted(quoted: re.Match[str]) -> str:
    """Nothing in place of what somebody says; a quoted name or value stays."""
    return "" if _VERB.search(quoted[1]) else quoted.group()


def assignments_of(reference: str, *, sure: bool = False) -> Assignments | None:
    """The assignments that a reference states, one name and one value an item; None where it is no such list.

    Items stand on lines, between commas, in a table or in JSON. One item alone counts where its value is of a known
    kind (knight, liar, true), or with `sure`.

    >>> made = assignments_of("(1) Zoey is a knight (2) Oliver is not a knight")
    >>> made.values if made else None
    {'Zoey': 'knight', 'Oliver': 'knave'}
    """
    text = "\n".join(_rows(unnumbered(undressed(reference)).strip("{}[]() \n").split("\n")))
    for ends in _ENDS:
        items = [item for part in re.split(ends, text) if (item := part.strip(" \t.'"))]
        values = _values(items)
        if values and (sure or len(values) > 1 or set(values.values()) <= _CANONICAL.keys()):
            return Assignments(values)
    return None


def _rows(lines: list[str]) -> list[str]:
    """Lines without the head, the ruler and the outer bars of a table."""
    kept: list[str] = []
    for line in lines:
        if "-" in line and not line.strip("-:| \t"):
            kept = kept[:-1]
        else:
            kept.append(line.strip().strip("|"))
    return kept


def _values(items: list[str]) -> dict[str, str] | None:
    """The value of each name; None where an item has another form, a name has two values or is one itself."""
    values: dict[str, str] = {}
    for item in items:
        match = _ITEM.fullmatch(item)
        if match is None or _VERB.search(match["value"]) or len(values) > _MOST_NAMES:
            return None
        name, value = match["name"].strip(" '"), match["value"].strip(" '").casefold()
        value = _CANONICAL.get(value, value)
        if match["no"]:
            value = next((o for pair in _PAIRS if value in pair for o in pair if o != value), "")
        if not name or not value or values.setdefault(name, value) != value:
            return None
    if {name.casefold() for name in values} & set(values.values()):
        return None
    return values
