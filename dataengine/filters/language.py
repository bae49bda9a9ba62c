"""Tells which language each part of a text is written in, and how much of it is in the one that was asked for."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from dataengine.filters.composing import composed
from dataengine.filters.identify import (
    LEAST_PROBABILITY,
    base,
    guessed,
    labels,
    latin_languages,
    likely,
    same_language,
    spoken,
)
from dataengine.filters.latin import Segment, Stretches, latin_segments
from dataengine.filters.masking import masked
from dataengine.filters.scripts import SCRIPTS, latin_sentences, only_latin, runs
from dataengine.filters.terms import glossed, named

#: Words from which on fastText is asked which of the languages that share a script it is. The one that is wanted is
#: preferred as long as it gives it this much. Chosen on sentences of Tatoeba (benchmarks/curation.md).
LEAST_SHARED: Final = 4
LEAST_WANTED: Final = 0.02
#: Han characters from which on a line without any kana is Chinese, even in a Japanese text; for a whole sentence half.
HAN_SENTENCE: Final = 10

# Characters of Chinese that Japanese has no use for where it writes a sentence without kana.
_CHINESE = frozenset("我你您她它們们這这那哪谁誰什麼么吗嗎呢吧啊没沒还還让讓给很也就了的说說话話吃喝找想把跟")
_ENDED = re.compile(r"[。！？!?]\s*$")


class NoWords(ValueError):
    """The text holds no words whose language could be told."""


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


def main_of(found: Sequence[Segment]) -> str | None:
    """The language with the most words, the first of several; None without any whose language can be told."""
    words: Counter[str] = Counter()
    for segment in found:
        if segment.language is not None:
            words[segment.language] += segment.words
    return max(words, key=lambda language: words[language], default=None)


def segments(text: str, target: str | None = None) -> list[Segment]:
    """The words of `text` in stretches of one sentence and one script, in order, with their language."""
    return segments_of([text], [target or ""])[0]


def segments_of(texts: Sequence[str], targets: Sequence[str]) -> list[list[Segment]]:
    """`segments` of many texts, each with its target language; the models are asked once for all.

    The script decides where it can; among the languages that share it (Cyrillic: ru, uk, bg ...) fastText is asked, in
    Latin script py3langid as well, and the target is preferred as long as they do not doubt it.
    """
    return [list(found) for found in _segments_of(tuple(texts), tuple(targets))]


# Two checks read the same replies, one of them the prompts as well: what is kept is a batch of each.
@lru_cache(maxsize=2)
def _segments_of(texts: tuple[str, ...], targets: tuple[str, ...]) -> list[list[Segment]]:
    forms = [composed(text) for text in texts]
    found = _of_composed([form.text if form else text for form, text in zip(forms, texts, strict=True)], targets)
    for number, form in enumerate(forms):
        if form:
            found[number] = [s._replace(start=form.places[s.start], end=form.places[s.end]) for s in found[number]]
    return found


def _of_composed(texts: Sequence[str], targets: Sequence[str]) -> list[list[Segment]]:
    pieces: list[list[Segment | int]] = []
    stretches = Stretches()
    shared: list[_Shared] = []
    latin = latin_languages()
    for text, target in zip(texts, targets, strict=True):
        wanted = base(target)
        plain = masked(text)
        said = spoken(plain)
        of_text: list[Segment | int] = []
        pieces.append(of_text)
        if only_latin(plain):
            of_text += stretches.add_sentences(said, list(latin_sentences(plain)), wanted)
            continue
        for left, japanese, sentence in runs(plain):
            inside = len(sentence) > 1
            for script, start, end, words, after in sentence:
                # With a full stop after it a stretch is a sentence.
                term = inside and not plain.startswith(".", end)
                term = term and (glossed(plain, start, end) or named(plain[start:end]))
                if script == "latin" and (not term or wanted in latin):
                    of_text.append(stretches.add(left, said[left:after], wanted, inside=inside))
                else:
                    language = _of_script(script, plain[start:after], words, wanted, japanese=japanese)
                    told = None if term and language != wanted else language
                    if told is not None and _asked(script, words, wanted):
                        shared.append(_Shared(of_text, len(of_text), said[left:after], script, wanted))
                    of_text.append(Segment(start, end, told, words, inside))
                left = after
    _tell_apart(shared)
    of_latin = latin_segments(stretches)
    return [_flat(of_text, of_latin) for of_text in pieces]


def _flat(of_text: Sequence[Segment | int], of_latin: Sequence[Segment | list[Segment]]) -> list[Segment]:
    """The segments of a text in order, where a number stands for those of that stretch of Latin script."""
    flat: list[Segment] = []
    for piece in of_text:
        found = of_latin[piece] if isinstance(piece, int) else piece
        if isinstance(found, Segment):
            flat.append(found)
        else:
            flat += found
    return flat


class _Shared(NamedTuple):
    """A stretch of a script that several languages share: the list its segment stands in and where, what it holds."""

    segments: list[Segment | int]
    at: int
    text: str
    script: str
    wanted: str


def _asked(script: str, words: int, wanted: str) -> bool:
    """Whether fastText is asked which of a script's languages it is."""
    languages = SCRIPTS[script][2]
    if len(languages) == 1 or script == "han" or words < LEAST_SHARED:
        return False
    return wanted not in languages or wanted in labels()


def _tell_apart(stretches: Sequence[_Shared]) -> None:
    """Puts the language of a stretch where another one than was taken for granted writes these letters too."""
    guesses = guessed([s.text for s in stretches])
    for (segments, at, text, script, wanted), (language, sure) in zip(stretches, guesses, strict=True):
        segment = segments[at]
        assert isinstance(segment, Segment)
        if sure < LEAST_PROBABILITY or language not in SCRIPTS[script][2]:
            continue
        if same_language(language, segment.language or ""):
            continue
        if segment.language != wanted or likely(text).get(wanted, 0.0) < LEAST_WANTED:
            segments[at] = segment._replace(language=language)


def _of_script(script: str, text: str, words: int, wanted: str, *, japanese: bool) -> str | None:
    if script == "latin":
        return None
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
