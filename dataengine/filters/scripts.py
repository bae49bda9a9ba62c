"""Sentences and scripts: which stretches of a text are written in which letters."""

import re
from collections.abc import Iterator
from typing import Final

#: Words of one sentence that are looked at together; a text without any full stop is cut here.
MOST_WORDS: Final = 40

# Letters and marks, without digits and punctuation. A script names its language; where it serves several, the first
# stands for it unless another of them is asked for.
SCRIPTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "cyrillic": (
        r"\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
        "+",
        ("ru", "uk", "bg", "sr", "mk", "be", "kk", "ky", "mn", "tg", "tt", "ba", "cv", "uz"),
    ),
    "greek": (r"\u0370-\u03ff\u1f00-\u1fff", "{2,}", ("el",)),  # one Greek letter is a symbol
    "hebrew": (r"\u0590-\u05ff\ufb1d-\ufb4f", "+", ("he", "yi", "iw")),
    "arabic": (
        r"\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
        "+",
        ("ar", "fa", "ur", "ps", "ckb", "ku", "ug", "sd", "pnb", "arz", "azb", "ks"),
    ),
    "devanagari": (
        r"\u0900-\u0963\u0970-\u097f\ua8e0-\ua8ff",
        "+",
        ("hi", "mr", "ne", "sa", "bh", "mai", "gom", "dty"),
    ),
    "bengali": (r"\u0980-\u09ff", "+", ("bn", "as", "bpy")),
    "gurmukhi": (r"\u0a00-\u0a7f", "+", ("pa",)),
    "gujarati": (r"\u0a80-\u0aff", "+", ("gu",)),
    "oriya": (r"\u0b00-\u0b7f", "+", ("or",)),
    "tamil": (r"\u0b80-\u0bff", "+", ("ta",)),
    "telugu": (r"\u0c00-\u0c7f", "+", ("te",)),
    "kannada": (r"\u0c80-\u0cff", "+", ("kn",)),
    "malayalam": (r"\u0d00-\u0d7f", "+", ("ml",)),
    "sinhala": (r"\u0d80-\u0dff", "+", ("si",)),
    "thai": (r"\u0e00-\u0e7f", "", ("th",)),
    "lao": (r"\u0e80-\u0eff", "", ("lo",)),
    "tibetan": (r"\u0f00-\u0f0c\u0f15-\u0f1f\u0f2a-\u0fff", "", ("bo", "dz")),
    "burmese": (r"\u1000-\u103f\u1050-\u109f\uaa60-\uaa7f", "", ("my",)),
    "georgian": (r"\u10a0-\u10ff\u1c90-\u1cbf", "+", ("ka", "xmf")),
    "armenian": (r"\u0531-\u0588", "+", ("hy",)),
    "ethiopic": (r"\u1200-\u135f\u1380-\u139f", "+", ("am", "ti")),
    "khmer": (r"\u1780-\u17d3\u17d7-\u17df", "", ("km",)),
    "hangul": (r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af", "+", ("ko",)),
    "kana": (r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9d", "", ("ja",)),
    "han": (r"\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af", "", ("zh", "yue", "wuu")),
}
# Latin letters with what may stand inside a word; a single letter is a variable or an article and tells nothing.
LATIN_LETTERS: Final = r"A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\u0300-\u036f"
#: Characters of scripts that write no spaces between words.
UNSPACED: Final = "".join(chars for chars, many, _ in SCRIPTS.values() if not many)
#: Letters of scripts with capitals.
CASED: Final = LATIN_LETTERS + "".join(SCRIPTS[name][0] for name in ("cyrillic", "greek", "armenian"))
#: Its pattern means the same to Rust's regular expressions.
LATIN_WORD = re.compile(rf"[{LATIN_LETTERS}]{{2,}}(?:['’-][{LATIN_LETTERS}]+)*")
_TOKEN = re.compile(
    "|".join(f"(?P<{name}>[{chars}]{many})" for name, (chars, many, _) in SCRIPTS.items())
    + f"|(?P<latin>{LATIN_WORD.pattern})"
    + r"|(?P<stop>(?<![.!?…])[.!?…]++(?=[\s\"'”’)\]*]|$)|(?<![!?…])[!?…]++(?=[\u3040-\u9fff])|[。！？；।॥؟۔։።།။។]|\n)"
)

_OTHER_SCRIPT = re.compile(f"[{''.join(chars for chars, _, _ in SCRIPTS.values())}]")
# A run of stops is tried from its start alone: from each of its characters it would take quadratic time.
_STOP = re.compile(r"[.!?…\n](?:(?<=\n)|(?<![.!?…][.!?…])[.!?…]*+(?=[\s\"'”’)\]*]|$))")
# Characters of a sentence beyond which it is cut by its words.
_LONG = 400

#: A stretch of one script: (script, start, end, words, end of what belongs to it: punctuation included).
Run = tuple[str, int, int, int, int]
_Token = tuple[str, int, int]


def only_latin(text: str) -> bool:
    """Whether there are letters of no other script in it, as in most texts."""
    return text.isascii() or _OTHER_SCRIPT.search(text) is None


def latin_sentences(text: str) -> Iterator[tuple[int, int]]:
    """The sentences of a text in Latin script alone: offsets, punctuation included."""
    left = 0
    for match in _STOP.finditer(text):
        right = match.end()
        yield from ((left, right),) if right - left <= _LONG else _cut(text, left, right)
        left = right
    if left < len(text):
        yield from ((left, len(text)),) if len(text) - left <= _LONG else _cut(text, left, len(text))


def _cut(text: str, left: int, right: int) -> Iterator[tuple[int, int]]:
    for number, word in enumerate(LATIN_WORD.finditer(text, left, right), 1):
        if number % MOST_WORDS == 0:
            yield left, word.end()
            left = word.end()
    if left < right:
        yield left, right


def runs(text: str) -> Iterator[tuple[int, bool, list[Run]]]:
    """The sentences of a text: where each starts, whether it is Japanese (it has kana), and its runs of one script."""
    for left, right, sentence in _sentences(text):
        japanese = any(script == "kana" for script, _, _ in sentence)
        found = list(_runs(sentence, join=japanese))
        ends = [start for _, start, _, _ in found[1:]] + [right]
        yield left, japanese, [(*run, end) for run, end in zip(found, ends, strict=True)]


def _sentences(text: str) -> Iterator[tuple[int, int, list[_Token]]]:
    """Each sentence with words: its offsets, punctuation included, and its words as (script, start, end)."""
    sentence: list[_Token] = []
    left = 0
    for match in _TOKEN.finditer(text):
        script = match.lastgroup or ""
        if script != "stop":
            sentence.append((script, match.start(), match.end()))
        if script == "stop" or len(sentence) >= MOST_WORDS:
            if sentence:
                yield left, match.end(), sentence
            left, sentence = match.end(), []
    if sentence:
        yield left, len(text), sentence


def _runs(sentence: list[_Token], *, join: bool) -> Iterator[tuple[str, int, int, int]]:
    """Neighbouring words of one script as (script, start, end, words); with `join` (a Japanese sentence) kana and Han
    are one.
    """
    run: list[_Token] = []
    for token in sentence:
        script = "kana" if join and token[0] == "han" else token[0]
        if run and run[0][0] != script:
            yield run[0][0], run[0][1], run[-1][2], len(run)
            run = []
        run.append((script, *token[1:]))
    if run:
        yield run[0][0], run[0][1], run[-1][2], len(run)
