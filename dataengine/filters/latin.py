"""Tells the languages of stretches of Latin script, in which the letters say nothing."""

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import polars

from dataengine.filters.identify import LEAST_PROBABILITY, guessed, latin_languages, likely, ranked, same_language
from dataengine.filters.scripts import LATIN_WORD
from dataengine.filters.terms import named, titled, without_names

#: Latin-script sentences with fewer words than this are not told apart; beside other scripts one more is needed.
LEAST_WORDS: Final = 2
#: From here on fastText's word for the language that is wanted needs no second opinion.
CERTAIN: Final = 0.6
#: Below this a sentence is in another language than the one wanted, by the number of different words: the logarithm of
#: the odds that fastText gives that language, and `WEIGHT` of the difference that py3langid sees to the best other one.
#: Chosen on sentences of Tatoeba among solutions of GSM8K and questions of MGSM (benchmarks/curation.md).
FOREIGN: Final = {2: -10.0, 3: -4.5, 4: -3.5}
WEIGHT: Final = 0.3
#: Words without a capital that tell a sentence's language against the names in it.
LEAST_REST: Final = 4
#: A sentence of `LONG` words of which fastText is less sure than this is looked at again in stretches of `STRETCH`
#: words, which have to be as foreign as `SWITCHED`.
QUITE: Final = 0.8
LONG: Final = 8
STRETCH: Final = 6
SWITCHED: Final = -6.0
# What may stand before and after the words of a sentence.
_AROUND = " \t\n\r.,;:!?…\"'“”‘’„«»()[]{}*_-–—&%~`@0123456789"
_LOWER = re.compile(r"(?<![^\W\d_])[a-zß-öø-ÿā-ž]")


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


class Stretch(NamedTuple):
    """A stretch of Latin script that a model is asked about: where it starts, what it holds, what is wanted."""

    left: int
    text: str
    wanted: str
    inside: bool

    def segment(self, language: str | None, words: int) -> Segment:
        """The stretch without what surrounds its words."""
        start = len(self.text) - len(self.text.lstrip(_AROUND))
        return Segment(self.left + start, self.left + len(self.text.rstrip(_AROUND)), language, words, self.inside)


class Stretches:
    """Stretches in columns: a batch holds tens of thousands, and the models are sure of most."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.text: list[str] = []
        self.wanted: list[str] = []
        self.inside: list[bool] = []

    def add(self, left: int, text: str, wanted: str, *, inside: bool) -> int:
        """Puts one at the end and gives its number."""
        self.left.append(left)
        self.text.append(text)
        self.wanted.append(wanted)
        self.inside.append(inside)
        return len(self.left) - 1

    def add_sentences(self, text: str, cuts: Sequence[tuple[int, int]], wanted: str) -> range:
        """Puts whole sentences of one text at the end and gives their numbers."""
        first = len(self.left)
        self.left += [left for left, _ in cuts]
        self.text += [text[left:right] for left, right in cuts]
        self.wanted += [wanted] * len(cuts)
        self.inside += [False] * len(cuts)
        return range(first, len(self.left))

    def __getitem__(self, number: int) -> Stretch:
        return Stretch(self.left[number], self.text[number], self.wanted[number], self.inside[number])


def latin_segments(stretches: Stretches) -> list[Segment | list[Segment]]:
    """The segment of each stretch; none without words, several where its language changes inside."""
    texts = polars.Series(stretches.text, dtype=polars.String)
    counts: list[int] = texts.str.count_matches(LATIN_WORD.pattern).to_list()
    ends = map(int.__add__, stretches.left, map(len, stretches.text))
    # All in the language that is wanted, until fastText is not quite sure of that.
    columns = zip(stretches.left, ends, stretches.wanted, counts, stretches.inside, strict=True)
    told: list[Segment | list[Segment]] = list(map(Segment._make, columns))
    asked: list[int] = []
    for number, (words, inside) in enumerate(zip(counts, stretches.inside, strict=True)):
        if words >= LEAST_WORDS + inside:
            asked.append(number)
        else:
            told[number] = stretches[number].segment(None, words) if words else []
    long: list[int] = []
    for number, (language, sure) in zip(asked, guessed([stretches.text[n] for n in asked]), strict=True):
        if sure >= QUITE and language == stretches.wanted[number]:
            continue
        stretch, words = stretches[number], counts[number]
        decided = _second_look(stretch, language, sure)
        told[number] = stretch.segment(decided, words)
        if words >= LONG and decided in (stretch.wanted, None) and stretch.wanted in latin_languages():
            long.append(number)
    for number, parts in zip(long, _switched([stretches[n] for n in long]), strict=True):
        told[number] = parts or told[number]
    return told


def _second_look(stretch: Stretch, language: str, sure: float) -> str | None:
    """What is told of a stretch of which fastText is not quite sure."""
    if stretch.wanted not in latin_languages():
        return _foreign(stretch.text, language, sure, inside=stretch.inside)
    if sure >= CERTAIN and same_language(language, stretch.wanted):
        return stretch.wanted
    different = len({*LATIN_WORD.findall(stretch.text)})
    told = _compared(stretch.text, stretch.wanted, FOREIGN[max(2, min(different, 4))])
    if told in (stretch.wanted, None):
        return told
    # Names of another language do not make a sentence one of theirs.
    if titled(stretch.text):
        return None
    rest = without_names(stretch.text)
    if len(LATIN_WORD.findall(rest)) < LEAST_REST or len(rest) == len(stretch.text):
        return told
    return stretch.wanted if _compared(rest, stretch.wanted, SWITCHED) == stretch.wanted else told


def _switched(sentences: Sequence[Stretch]) -> list[list[Segment]]:
    """The parts of each sentence where its language changes inside; none where it does not."""
    words = [[m.span() for m in LATIN_WORD.finditer(sentence.text)] for sentence in sentences]
    starts = [[*range(0, len(spans) - STRETCH, STRETCH // 2), len(spans) - STRETCH] for spans in words]
    texts = [
        [sentence.text[spans[at][0] : spans[at + STRETCH - 1][1]] for at in places]
        for sentence, spans, places in zip(sentences, words, starts, strict=True)
    ]
    guesses = iter(guessed([text for of_sentence in texts for text in of_sentence]))
    found: list[list[Segment]] = []
    for sentence, spans, places, of_sentence in zip(sentences, words, starts, texts, strict=True):
        languages: list[str | None] = [None] * len(spans)
        for at, text in zip(places, of_sentence, strict=True):
            guess, sure = next(guesses)
            if same_language(guess, sentence.wanted) and sure >= LEAST_PROBABILITY:
                continue
            other = None if named(text) else _compared(text, sentence.wanted, SWITCHED)
            if other is not None and other != sentence.wanted:
                languages[at : at + STRETCH] = [other] * STRETCH
        found.append(_parts(sentence, spans, languages) if any(languages) else [])
    return found


def _parts(sentence: Stretch, spans: list[tuple[int, int]], languages: list[str | None]) -> list[Segment]:
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
    odds = likely(text)
    sure = min(1.0, sum(p for language, p in odds.items() if same_language(language, wanted)))
    scores = ranked(text)
    mine = max((score for language, score in scores.items() if same_language(language, wanted)), default=None)
    others = {language: score for language, score in scores.items() if not same_language(language, wanted)}
    if mine is None:
        # A language that py3langid does not compare: fastText alone has to be sure of another one.
        likeliest = max(odds, key=lambda language: odds[language], default="")
        if same_language(likeliest, wanted):
            return wanted
        return likeliest if odds.get(likeliest, 0.0) >= LEAST_PROBABILITY else None
    score = math.log((sure + 1e-5) / (1 - sure + 1e-5))
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
    scores = ranked(text)
    best = max(scores, key=lambda name: scores[name])
    # Words inside a sentence of another script may be terms: there both models have to say the same.
    return best if not inside or same_language(best, language) else None
