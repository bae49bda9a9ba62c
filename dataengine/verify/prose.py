"""Words, sentences and other units of a reply, as the rules on instructions count them."""

import re
import unicodedata

from dataengine.verify.exact import UNSPACED

# Vowel signs and accents that stand beside their letter, and joiners: `\w` leaves them out and would cut words there.
_MARKS = "\u200c\u200d" + "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c)[0] == "M")
_WORD = rf"\w++(?:[{_MARKS}]++\w*+)*+"
_WORDS = re.compile(_WORD)
_INSIDE = re.compile(rf"[\w{_MARKS}]")
_CAPITALS = re.compile(rf"(?:[^\W\d_]\.){{2,}}|{_WORD}(?:(?:-|['’](?![a-z])){_WORD})*+")

_CLOSERS = "\"'”’»)\\]*_"
# The stop, what closes with it, and the space and the first letter of what follows. The second form does nothing else.
_STOP = re.compile(
    rf"(?<![.!?…])([.!?…]++)([{_CLOSERS}]*+)(?=\s|\Z)(?=(\s*+)[\"'“‘«(\[*_]*+(.?))|[。！？｡।॥؟۔]++[{_CLOSERS}」』）]*+",
    re.DOTALL,
)
_OPENERS = "\"'“‘«([*_#>- \t\n"
_LIST_MARK = re.compile(r"\d{1,3}|[^\W\d_]|[ivxIVX]{1,5}")
_DOTTED = re.compile(r"[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")
_LOOKED_BACK = 40
# Abbreviations after which a sentence goes on: always; as titles, in capitals; before a number; before a small letter.
_ALWAYS = {"mr", "mrs", "ms", "dr", "prof", "vs", "cf", "approx"}
_TITLES = {"St", "Mt", "Rev", "Hon", "Gen", "Col", "Capt", "Lt", "Sgt", "Gov", "Sen", "Rep", "Pres", "Mme", "Messrs"}
_NUMBERED = {
    *("no", "nos", "fig", "figs", "vol", "pp", "ch", "sec", "eq", "art"),
    *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
}
_MAY_END = {"etc", "inc", "ltd", "co", "corp", "jr", "sr", "al", "bros", "ave", "blvd", "dept", "est", "a.m", "p.m"}

_HIGHLIGHT = re.compile(r"(?<!\*)(?:\*(?!\s)([^*\n]+)(?<!\s)\*|\*\*([^*\n]+)\*\*|\*\*\*([^*\n]+)\*\*\*)(?!\*)")


def words(text: str) -> list[str]:
    """The runs of letters, digits and underscores: "don't" and "well-known" are two words each, as in IFEval.

    >>> words("Don't panic: 3.5 m")
    ['Don', 't', 'panic', '3', '5', 'm']
    """
    return _WORDS.findall(text)


def capital_words(text: str) -> list[str]:
    """The words whose letters are all capitals: "COVID-19", "DON'T" and "U.S." are one each, "NASA's" counts as NASA.

    >>> capital_words("I'm in the U.S., COVID-19 is here: DON'T panic")
    ['I', 'U.S.', 'COVID-19', "DON'T"]
    """
    return [m.group() for m in _CAPITALS.finditer(text) if m.group().isupper()]


def has_word(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as a whole word, letter case aside; in scripts without spaces, anywhere.

    >>> has_word("A catalogue", "cat"), has_word("The CAT.", "cat"), has_word("我在东京。", "东京")
    (False, True, True)
    """
    text, word = text.casefold(), word.casefold()
    for found in re.finditer(f"(?={re.escape(word)})", text):
        left, right = found.start(), found.start() + len(word)
        begins = UNSPACED.match(word) or not _INSIDE.match(text[max(0, left - 1) : left])
        ends = UNSPACED.match(word[-1]) or not _INSIDE.match(text[right : right + 1])
        if begins and ends:
            return True
    return False


def begins_with(text: str, word: str) -> bool:
    """Whether the first word of `text`, after quotation marks, is `word`, letter case aside.

    >>> begins_with('"Weekend": it', "weekend"), begins_with("Weekend-long", "weekend")
    (True, False)
    """
    rest = text.strip().lstrip("\"'“‘„«").casefold()
    word = word.casefold()
    following = rest[len(word) : len(word) + 1]
    return rest.startswith(word) and following != "-" and not _INSIDE.match(following)


def paragraphs(text: str) -> list[str]:
    """The stretches between blank lines; those without text do not count."""
    return [p.strip() for p in re.split(r"\n[ \t\r]*+\n", text) if p.strip()]


def bullets(text: str) -> list[str]:
    """The lines that are a markdown bullet: `*` or `-`, a space, and text that is no divider."""
    lines = (line.strip() for line in text.split("\n"))
    return [s for s in lines if s[:1] in ("*", "-") and s[1:2].isspace() and s.strip("*- \t")]


def highlights(text: str) -> list[str]:
    """What is emphasised as markdown has it: *so*, **so** or ***so***, on one line.

    >>> highlights("* a bullet, 2 * 3 * 4, *one* and **two**")
    ['one', 'two']
    """
    found = ((m[1] or m[2] or m[3]).strip() for m in _HIGHLIGHT.finditer(text))
    return [f for f in found if f]


def placeholders(text: str) -> list[str]:
    """What stands in square brackets, on one line."""
    return [f for f in re.findall(r"\[([^\[\]\n]+)\]", text) if f.strip()]


def titles(text: str) -> list[str]:
    """What stands in double angle brackets, at most one on a line."""
    found = []
    for line in text.split("\n"):
        left, right = line.find("<<"), line.rfind(">>")
        if 0 <= left < right and line[left:right].strip("<> \t"):
            found.append(line[left + 2 : right])
    return found


def sentences(text: str) -> list[str]:
    """The sentences of `text`: what ends with a full stop, "!", "?", an ellipsis or their like in other scripts.

    A line's end is no sentence's, so a heading or a bullet without a stop belongs to what follows. No sentence ends
    after the number of a list ("1."), an initial, a title or another abbreviation, nor where a quotation or an ellipsis
    goes on with a small letter. Time is linear.

    >>> sentences("Dr. A. Smith paid $3.50, i.e. too much. “Why?” he asked... Nobody knew!")
    ['Dr. A. Smith paid $3.50, i.e. too much.', '“Why?” he asked...', 'Nobody knew!']
    """
    found: list[str] = []
    start = 0
    lower = text.islower()
    for stop in _STOP.finditer(text):
        if _ends(text, start, stop, lower=lower):
            found.append(text[start : stop.end()].strip())
            start = stop.end()
    found.append(text[start:].strip())
    return [f for f in found if _WORDS.search(f)]


def _ends(text: str, start: int, stop: re.Match[str], *, lower: bool) -> bool:
    """Whether the sentence that began at `start` ends with this stop; in a text all in `lower` case no letter tells."""
    marks, closers, space, following = stop.groups()
    if marks is None:
        return True
    before = text[max(start, stop.start() - _LOOKED_BACK) : stop.start()].rpartition("\n")[2].lstrip(_OPENERS)
    if marks == "." and _LIST_MARK.fullmatch(before):
        return False
    if not following or "\n" in space:
        return True
    if following.islower() and ((closers.strip("*_") and not lower) or marks.endswith(("..", "…"))):
        return False
    return marks != "." or not _abbreviated(before, following)


def _abbreviated(before: str, following: str) -> bool:
    """Whether a full stop between these belongs to an abbreviation inside of a sentence."""
    token = (before.split() or [""])[-1].lstrip(_OPENERS)
    small = token.lower()
    if small in _ALWAYS or token in _TITLES:
        return True
    if small in _NUMBERED:
        return following.isdigit()
    if small in _MAY_END:
        return following.islower()
    initial = len(token) == 1 and token.isupper() and token != "I"
    return initial or _DOTTED.fullmatch(token) is not None
