"""Features are counted once for every reply, in the languages that replies come in."""

import random
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters.columns import forget
from dataengine.filters.features import FeaturesCheck
from dataengine.filters.phrases import REFLECTION


def ask(text: str) -> Opinion:
    (opinion,) = FeaturesCheck()([Sample(text=text)])
    return opinion


def test_a_reply_is_counted_once_for_all() -> None:
    text = (
        "<think>\nStep 1: I add 3 and 4.\n\n1. It is 7.\n2. Wait, let me check: $3 + 4 = 7$.\n```\nx = 7\n```\n"
        "</think>\n\nSo it is \\(7\\), for $5 or $10.\n\\boxed{7}\n"
    )
    opinion = ask(text)
    assert (opinion.outcome, opinion.reason) == ("pass", "")
    assert opinion.details == {
        "characters": len(text),
        "reasoning_characters": text.index("</think>") - len("<think>"),
        "answer_characters": len(text) - text.index("</think>") - len("</think>"),
        "words": 35,
        "lines": 8,
        "paragraphs": 5,
        "code_blocks": 1,
        "boxed": 1,
        "formulas": 2,
        "steps": 3,
        "reflections": 2,
        "digits": round(15 / 91, 4),
    }
    assert opinion.score == round(2000 / 35, 4)


WAITING = [
    ("en", "Wait, that is 8. Hmm, let me double-check. Actually, it is 7.", 4),
    ("de", "Warte, das ist 8. Lass mich nachrechnen. Überprüfen wir das.", 3),
    ("fr", "Attends, c'est 8. Laisse-moi voir. Vérifions.", 3),
    ("es", "Espera, son 8. Déjame comprobar. Verifiquemos.", 3),
    ("pt", "Espera, são 8. Deixe-me verificar. Vamos conferir.", 3),
    ("it", "Aspetta, fa 8. Fammi controllare. Verifichiamo.", 3),
    ("ru", "Подожди, это 8. Хм, давай проверим. Если подумать, это 7.", 4),
    ("ar", "انتظر، هذا 8. دعني أتحقق. لنتأكد من ذلك.", 3),
    ("hi", "रुको, यह 8 है। फिर से जाँच करते हैं। हम्म।", 3),
    ("zh", "等等，这是8。让我再检查一下。不对，是7。", 3),
    ("ja", "待って、8だ。もう一度確認する。うーん、7だ。", 3),
    ("ko", "잠깐, 8이다. 다시 확인해 보자. 흠.", 3),
]
PLAIN = [
    "The waiter waited; he awaits a factually right bill. Etwas wartet. Human, thumb.",
    "Es dauert einen Moment. Je passe un instant agréable. Se espera que son 7.",
    "水果有苹果、香蕉等等。这个答案不对称。今天天气很好。",
    "Он стоял у стопки книг. Захмелев, он ушёл.",
    "एक मिनट में साठ सेकंड होते हैं।",
]


@pytest.mark.parametrize(("language", "text", "count"), WAITING)
def test_reflection_is_counted_in_many_languages(language: str, text: str, count: int) -> None:
    for written in (text, f"<think>\n{text}\n</think>\n7", unicodedata.normalize("NFD", text)):
        assert ask(written).details["reflections"] == count, language


def test_every_language_has_reflection() -> None:
    assert {language for language, _, _ in WAITING} == {*REFLECTION}


@pytest.mark.parametrize("text", PLAIN)
def test_words_that_only_look_alike_are_none(text: str) -> None:
    assert ask(text).details["reflections"] == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Step 1: add. Then step 12.", 2),
        ("1. Add.\n  2) Check.\n10. Done.\n3.5 is no step.\n2024 is none.", 3),
        ("Schritt 1, Étape 2, Paso 3, Passo 4, Шаг 5", 5),
        ("第一步，相加。第2步，检查。步骤三。一、相加\n3、完成", 4),
        ("ステップ1、ステップ 2。", 2),
        ("A footstep is no step, nor are first steps.", 0),
    ],
)
def test_steps_are_those_with_a_number(text: str, count: int) -> None:
    assert ask(text).details["steps"] == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("$x$ and $$y = 3$$ and \\(z\\) and \\[w\\] and \\begin{align} a \\end{align}", 5),
        ("It costs $5 or $10, maybe $20.", 0),
        ("$12*3=$36 and $4", 0),
        ("$a$$b$", 1),
        ("$ x $", 0),
    ],
)
def test_formulas_are_told_from_money(text: str, count: int) -> None:
    assert ask(text).details["formulas"] == count


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000。", "<think>\n</think>"])
def test_a_reply_without_a_word_is_undecided(text: str) -> None:
    assert ask(text) == Opinion("undecided", reason="empty")


def test_it_has_no_settings() -> None:
    assert load_check("features").version == "1"


PIECES = st.one_of(
    st.text(st.characters(), max_size=8),
    st.sampled_from(
        ["<think>", "</think>", "```", "\n", " ", "\ud800", "\x00", "e\u0301", "é", "か\u3099", "\u1100\u1161"]
    ),
    st.sampled_from(
        [text for _, text, _ in WAITING] + PLAIN + ["$x$", "\\boxed{7}", "我", "ไทย", "ភាសា", "Ａ", "’", "\u00a0"]
    ),
)
TEXTS = st.lists(PIECES, max_size=10).map("".join)
# As the docstring has it: what stands between spaces, and in scripts without spaces each character.
ALONE = "\u0e00-\u0eff\u1000-\u10bf\u1780-\u17ff\u3040-\u9fff"
WORD = re.compile(f"[{ALONE}]|[^\0- {ALONE}\u3000-\u303f\uff00-\uff7f]+")


@given(st.lists(TEXTS, max_size=6), st.randoms())
def test_no_text_breaks_it_and_its_batch_does_not_matter(texts: list[str], chance: random.Random) -> None:
    check = FeaturesCheck()
    together = check([Sample(text=t) for t in texts])
    assert together == [check.opinion(Sample(text=t)) for t in texts]
    order = chance.sample(range(len(texts)), len(texts))
    forget()
    assert check([Sample(text=texts[n]) for n in order]) == [together[n] for n in order]


@given(TEXTS)
def test_counts_are_those_of_a_plain_count_in_any_form(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    opinion = ask(composed)
    assert opinion == ask(text) == ask(unicodedata.normalize("NFD", text))
    if composed.lstrip().startswith("<think>"):
        return
    words = len(WORD.findall(composed))
    assert (opinion.outcome == "pass") is (words > 0)
    if words:
        assert opinion.details["words"] == words
        assert opinion.details["characters"] == opinion.details["answer_characters"] == len(composed)
        assert opinion.details["lines"] == sum(bool(line.strip(CONTROLS)) for line in composed.split("\n"))


CONTROLS = "".join(map(chr, range(33)))


@pytest.mark.parametrize(
    "unit", ["a", "a ", "$", "$a", "\\(", "\n", "1. ", "wait ", "等", "с ", "step ", "e\u0301", "```\n"]
)
@pytest.mark.timeout(60)
def test_long_texts_take_bounded_time(unit: str) -> None:
    assert ask(unit * (1_000_000 // len(unit))).outcome in ("pass", "undecided")
