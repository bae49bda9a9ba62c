"""The exact text: escaped for HTML, with what nobody would see (control, ANSI, bidi) written out."""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

# Characters that hide, reorder or steer: C0 without tab and line feed, C1, format characters, separators that break
# lines, fillers without a glyph, noncharacters (ours for placeholders), lone surrogates, tags, variations.
_HIDDEN: Final = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\u2800\\u3164\\ufdd0-\\ufdef\\ufeff\\uffa0\\ufff0-\\ufffb\\ufffe\\uffff\\ud800-\\udfff"
    "\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff"
)
_ANSI: Final = r"\x1b\[[0-9;:?]{0,40}[ -/]{0,4}[@-~]?"
_ASCII: Final = re.compile(rf"{_ANSI}|[\x00-\x08\x0b-\x1f\x7f]")
_ALL: Final = re.compile(rf"{_ANSI}|[{_HIDDEN}]")
#: So many are marked up; what follows is written out all the same, only without a frame.
MAX_FRAMED: Final = 5_000
# Joiners belong to the spelling of scripts whose letters have no case (Persian, Hindi), and to emoji.
_JOINERS: Final = "\u200c\u200d"
_JOINED: Final = ("Lo", "Mn", "Mc", "So", "Sk")


class _Escapes(dict[int, str]):
    """For `str.translate`: what is hidden is written out, found out once for each character."""

    def __missing__(self, code: int) -> str:
        self[code] = made = html.escape(escape_of(c) if _ALL.match(c := chr(code)) else c, quote=False)
        return made


_ESCAPES: Final = _Escapes()


def hidden(text: str, before: str = "") -> Iterator[re.Match[str]]:
    """Where `text`, which follows `before`, holds what must be written out: characters and whole ANSI sequences."""
    for found in (_ASCII if text.isascii() else _ALL).finditer(text):
        if found[0] in _JOINERS:
            last = text[found.start() - 1] if found.start() else before[-1:]
            if last and unicodedata.category(last) in _JOINED:
                continue
        yield found


def escape_of(characters: str) -> str:
    r"""How hidden characters are written out, as in Python.

    >>> escape_of("\x1b[31m\u202e")
    '\\x1b[31m\\u202e'
    """
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in characters)


def visible(text: str) -> str:
    """Plain text with hidden characters written out."""
    out, at = list[str](), 0
    for found in hidden(text):
        out += (text[at : found.start()], escape_of(found[0]))
        at = found.end()
    return "".join((*out, text[at:])) if out else text


def framed(characters: str) -> str:
    """HTML of one thing written out, with its name to hover over."""
    name = unicodedata.name(characters[0], "") or ("ANSI sequence" if len(characters) > 1 else "control character")
    shown = html.escape(escape_of(characters))
    return f'<span class="esc" title="U+{ord(characters[0]):04X} {html.escape(name)}">{shown}</span>'


def exact_html(text: str, frames: list[int] | None = None, before: str = "") -> str:
    """`text` as HTML: escaped, hidden characters written out in `<span class="esc">`.

    `frames` holds how many more may be framed and is counted down, so that the parts of a text share one bound;
    `before` is what the text follows.
    """
    left = frames if frames is not None else [MAX_FRAMED]
    out, at = list[str](), 0
    for found in hidden(text, before):
        if left[0] <= 0:
            return "".join(out) + text[at:].translate(_ESCAPES)
        left[0] -= 1
        out += (html.escape(text[at : found.start()], quote=False), framed(found[0]))
        at = found.end()
    return "".join((*out, html.escape(text[at:], quote=False)))
