"""A refusal is told in many languages, by the answer alone; doubts in the reasoning and long help are none."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters.refusal import LANGUAGES, RefusalCheck, opening, refused
from dataengine.prompting import take_apart
from schemas.errors import ConfigError


def ask(text: str, **settings: float) -> Opinion:
    parts = take_apart(text)
    (opinion,) = RefusalCheck(**settings)([Sample(text=text, reasoning=parts.reasoning, answer=parts.answer)])
    return opinion


REFUSALS = [
    ("en", "I'm sorry, but I can't help with that."),
    ("en", "I’m sorry, but I can’t assist with that request. Stealing is illegal."),
    ("en", "As an AI language model, I cannot provide personal opinions."),
    ("en", "I am unable to browse the internet."),
    ("en", "Unfortunately, I do not have the ability to create images."),
    ("en", "No. That's not something I can share."),
    ("en", "I must decline."),
    ("en", "Sorry, that is against my rules."),
    ("en", "<answer>I won't answer this.</answer>"),
    ("zh", "抱歉，我无法提供这方面的帮助。"),
    ("zh", "作为一个人工智能，我不能回答这个问题。"),
    ("zh", "很抱歉，无法满足您的请求。"),
    ("ja", "申し訳ありませんが、そのご依頼にはお応えできません。"),
    ("ja", "その質問にはお答えできません。"),
    ("ko", "죄송하지만 그 요청은 도와드릴 수 없습니다."),
    ("ko", "해당 정보는 제공해 드릴 수 없습니다."),
    ("de", "Es tut mir leid, aber dabei kann ich nicht helfen."),
    ("de", "Ich kann Ihnen diese Auskunft nicht geben."),
    ("fr", "Je suis désolé, mais je ne peux pas vous aider avec cette demande."),
    ("fr", "Je ne suis pas en mesure de répondre à cette question."),
    ("es", "Lo siento, pero no puedo ayudarte con eso."),
    ("es", "No puedo proporcionar esa información."),
    ("pt", "Desculpe, mas não posso ajudar com isso."),
    ("pt", "Não posso fornecer essa informação."),
    ("it", "Mi dispiace, ma non posso aiutarti con questo."),
    ("it", "Non posso fornire queste informazioni."),
    ("ru", "Извините, но я не могу помочь с этим запросом."),
    ("ru", "Я не могу предоставить такие сведения."),
    ("ar", "آسف، لا أستطيع مساعدتك في هذا الطلب."),
    ("ar", "لا يمكنني تقديم هذه المعلومات."),
    ("hi", "क्षमा करें, मैं इसमें आपकी सहायता नहीं कर सकता।"),
    ("hi", "मैं यह जानकारी नहीं दे सकता।"),
]

ANSWERS = [
    "7",
    "Sorry, I made a mistake: the sum is 7, since we cannot divide by zero.",
    "We can't help but notice that x cannot be negative.",
    "The store was sorry, but it could not provide the goods in time.",
    "I'm sorry to hear that you feel this way. You are not alone: talk to somebody you trust.",
    "I'm sorry, but I can't come to work today. I will be back on Monday.",
    '"I can\'t help with that," said the wolf, and went away.',
    "As an AI engineer you train models.",
    "我们不能用零做除数，所以答案是7。",
    "随着技术的发展，机器学习作为人工智能领域的核心技术，受到关注。",
    "ゼロで割ることはできません。答えは7です。",
    "0으로 나눌 수 없습니다. 답은 7입니다.",
    "Durch null kann man nicht teilen, also ist x = 7.",
    "On ne peut pas diviser par zéro, donc x = 7.",
    "No se puede dividir por cero; como x es positivo, x = 7.",
    "Não se pode dividir por zero, portanto x = 7.",
    "Non si può dividere per zero, quindi x = 7.",
    "На ноль делить нельзя, поэтому x = 7.",
    "لا يمكن القسمة على صفر، إذن الجواب 7.",
    "शून्य से भाग नहीं दे सकते, इसलिए उत्तर 7 है।",
]

REMARKS = [
    ("en", "As an AI language model, I read a lot of novels."),
    ("zh", "作为一个人工智能助手，我每天读很多小说。"),
    ("ja", "AIアシスタントとして、小説をたくさん読みます。"),
    ("ko", "저는 AI 언어 모델로서 소설을 많이 읽습니다."),
    ("de", "Als KI lese ich viele Romane."),
    ("fr", "En tant que modèle de langage, je lis beaucoup de romans."),
    ("es", "Como modelo de lenguaje, leo muchas novelas."),
    ("pt", "Como uma IA, leio muitos romances."),
    ("it", "Come modello linguistico, leggo molti romanzi."),
    ("ru", "Как языковая модель, я читаю много романов."),
    ("ar", "بصفتي نموذجًا لغويًا، أقرأ روايات كثيرة."),
    ("hi", "AI भाषा मॉडल के रूप में मैं बहुत पढ़ता हूँ।"),
]


@pytest.mark.parametrize(("language", "text"), REFUSALS)
def test_a_refusal_is_told_with_its_language_and_place(language: str, text: str) -> None:
    opinion = ask(f"<think>\nMay I? Let me see.\n</think>\n\n{text}\n")
    assert (opinion.outcome, opinion.score, opinion.reason) == ("fail", 1.0, "refusal")
    assert opinion.details["language"] == language
    assert opinion.details["pattern"].startswith(f"{language}.")
    start, end = opinion.details["span"]
    assert f"<think>\nMay I? Let me see.\n</think>\n\n{text}\n"[start:end].strip() in text


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_that_cannot_or_apologises_is_none(text: str) -> None:
    assert ask(text) == Opinion("pass", 0.0)


@pytest.mark.parametrize(("language", "text"), REMARKS)
def test_what_the_writer_is_weighs_less(language: str, text: str) -> None:
    opinion = ask(text)
    assert (opinion.outcome, opinion.score, opinion.details["pattern"]) == ("pass", 0.4, f"{language}.remark")
    assert ask(text, threshold=0.3).outcome == "fail"


def test_every_language_has_refusals_and_a_remark() -> None:
    assert {language for language, _ in REFUSALS} == {language for language, _ in REMARKS} == {*LANGUAGES}


def test_only_the_answer_counts() -> None:
    refusal = "I'm sorry, but I can't help with that."
    assert ask(f"<think>\n{refusal}\n</think>\nIt is 7.") == Opinion("pass", 0.0)
    assert ask(f"<think>\nIt is 7.\n</think>\n{refusal}").outcome == "fail"
    for unfinished in ("", " \n", f"<think>\n{refusal}", "<think>\na\n</think>\n"):
        assert ask(unfinished) == Opinion("undecided", reason="no_answer")


def test_long_help_after_it_lowers_the_score() -> None:
    refusal = "I can't give medical advice"
    scores = [ask(f"{refusal}, {'but this may help. ' * n}").score for n in (0, 20, 40, 80, 160)]
    assert scores == sorted(scores, key=lambda s: -(s or 0))
    assert scores[:2] == [1.0, 1.0]
    assert [ask(f"{refusal}, {'but this may help. ' * n}").outcome for n in (40, 80)] == ["fail", "pass"]
    chinese = "我无法提供医疗建议，但是"
    assert [ask(chinese + "这些可能有用。" * n).outcome for n in (20, 80)] == ["fail", "pass"]


def test_a_refusal_late_in_a_long_answer_is_not_looked_for() -> None:
    refusal = "I cannot help with that."
    assert ask(f"{'The sum is 7. ' * 20}{refusal}").outcome == "fail"
    assert ask(f"{'The sum is 7. ' * 60}{refusal}").outcome == "pass"


def test_the_answer_of_an_edit_has_no_span() -> None:
    (opinion,) = RefusalCheck()([Sample(text="It is 7.", answer="I can't help with that.")])
    assert opinion.details == {"pattern": "en.cannot", "language": "en"}


def test_settings_are_checked_and_make_the_version() -> None:
    assert load_check("refusal", {"threshold": 0.5}).version == load_check("refusal").version
    assert load_check("refusal", {"threshold": 0.3}).version != load_check("refusal").version
    for wrong in (0, 1.5, "high"):
        with pytest.raises(ConfigError, match="check refusal: threshold"):
            load_check("refusal", {"threshold": wrong})


PIECES = st.one_of(
    st.text(st.characters(), max_size=8),
    st.sampled_from(["<think>", "</think>", "\ud800", "\x00", "e\u0301", "’", "\u202e", "😀", "\n", " "]),
    st.sampled_from([text for _, text in (*REFUSALS, *REMARKS)] + ANSWERS),
)


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=6), st.randoms())
def test_no_text_breaks_it_and_its_batch_does_not_matter(texts: list[str], chance: random.Random) -> None:
    check = RefusalCheck()
    together = check([Sample(text=t) for t in texts])
    assert together == [check.opinion(Sample(text=t)) for t in texts]
    order = chance.sample(range(len(texts)), len(texts))
    assert check([Sample(text=texts[n]) for n in order]) == [together[n] for n in order]
    for text, opinion in zip(texts, together, strict=True):
        start, end = opinion.details.get("span", (0, 1))
        assert 0 <= start < end <= max(1, len(text))


@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_screens_let_through_whatever_the_patterns_find(text: str) -> None:
    (opinion,) = RefusalCheck()([Sample(text=text, answer=text)])
    hit = refused(opening(unicodedata.normalize("NFC", text.strip())))
    assert opinion.details.get("pattern") == (hit[0].id if hit else None)


@pytest.mark.parametrize("unit", ["I can't ", "sorry ", "我", "죄송", "\ud800", "a", "ich kann ", "</think>"])
@pytest.mark.timeout(60)
def test_long_texts_take_bounded_time(unit: str) -> None:
    assert ask(unit * (5_000_000 // len(unit))).outcome in ("pass", "undecided")
