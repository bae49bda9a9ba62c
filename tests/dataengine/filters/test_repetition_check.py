"""Replies that go round in circles fail; arithmetic that looks alike, and what is said twice, does not."""

import random
import re
import string
import unicodedata
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters.repeats import BLOCK, repeats
from dataengine.filters.repetition import WINDOW, RepetitionCheck
from dataengine.filters.tail_loop import BARE, LETTERED, tail_loop
from schemas.errors import ConfigError


def ask(text: str, **settings: Any) -> Opinion:
    (opinion,) = RepetitionCheck(**settings)([Sample(text=text)])
    return opinion


def prose(words: int, seed: int = 1) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices(string.ascii_lowercase, k=6)) for _ in range(words))


def span(text: str, opinion: Opinion) -> str:
    """What the first span shows."""
    start, end, rule = opinion.details["spans"][0]
    assert rule == opinion.reason
    return text[start:end]


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 7",
        "",
        "<think>\n3 + 4 = 7\n</think>\n3 + 4 = 7\n<answer>7</answer>",
        "\n".join(f"{n} + {n + 1} = {2 * n + 1}" for n in range(1, 40)),
        "\n".join(" ".join("0" for _ in range(12)) for _ in range(12)),
        prose(60) + "\n" + "\n".join(" ".join("0" for _ in range(9)) for _ in range(20)) + "\n" + prose(10, 2),
        "\n".join(f"For n = {n} the sum of the first n numbers is {n * (n + 1) // 2}." for n in range(1, 12)),
        prose(400),
        f"<think>{prose(200)}</think>{prose(200)}",
    ],
)
def test_what_does_not_repeat_itself_passes(text: str) -> None:
    assert ask(text).outcome == "pass"


def test_a_loop_at_the_end_is_found_with_its_place() -> None:
    start = prose(200) + ". "
    text = start + "Wait, let me check that again. " * 6
    opinion = ask(text)
    assert (opinion.outcome, opinion.reason) == ("fail", "loop")
    assert abs(len(span(text, opinion)) - len(text.rstrip()) + len(start)) <= 3
    assert opinion.details["spans"][0][1] == len(text.rstrip())


@pytest.mark.parametrize(
    ("start", "unit", "cut"),
    [
        ("So ", "we add three and then four, ", "we add th"),
        ("Die Summe ist sieben. ", "Aber warte, wir prüfen das noch einmal. ", "Aber warte, wi"),
        ("Сумма равна семи. ", "Подождите, проверим ещё раз. ", "Подожд"),
        ("المجموع سبعة. ", "لنتحقق من ذلك مرة أخرى. ", "لنتحقق"),
        ("योग सात है। ", "चलो एक बार फिर जाँच करते हैं। ", "चलो एक"),
        ("首先我们把三和四相加。", "我们需要再检查一遍答案是否正确。", "我们需要"),
        ("合計は七です。", "もう一度確認してみましょう。", "もう一度"),
        ("합은 칠입니다. ", "다시 한 번 확인해 봅시다. ", "다시"),
        ("ผลรวมคือเจ็ด ", "ลองตรวจสอบอีกครั้งหนึ่ง ", "ลอง"),
        ("The list: ", "and so on 🙂 ", "and"),
        ("x = 1\n", "    return self.value\n", "    ret"),
    ],
)
def test_a_loop_that_was_cut_off_in_the_middle_is_found(start: str, unit: str, cut: str) -> None:
    text = start + unit * 9 + cut
    opinion = ask(text)
    assert opinion.reason == "loop"
    assert len(span(text, opinion)) >= len(unit * 9 + cut) - 1


def test_what_goes_on_after_a_loop_is_no_loop_at_the_end() -> None:
    assert ask(prose(60) + " so it goes, so it goes," * 5 + " and the answer is seven.").reason == ""


def test_three_times_is_no_loop() -> None:
    assert ask(prose(100) + " no no no").outcome == "pass"
    assert ask(prose(100) + " we add them up again and again" * 3).outcome == "pass"
    assert ask(prose(100) + " we add them up again and again" * 3, loop_repeats=3).reason == "loop"


def test_repeated_lines_are_found() -> None:
    line = "We compute the sum of the first ten numbers, which is 55."
    text = "\n".join(x for n in range(30) for x in (line, prose(3, n)))
    opinion = ask(text)
    assert opinion.reason == "lines"
    assert span(text, opinion) == line
    assert opinion.details["lines"] > 0.5


def test_an_answer_may_say_the_reasoning_once_more() -> None:
    said = "\n".join(prose(9, n) + "." for n in range(12))
    twice = ask(f"<think>\n{said}\n</think>\n{said}")
    assert (twice.outcome, twice.score) == ("pass", 0.0)
    assert ask(f"<think>\n{said}\n</think>\n{said}\n{said}").reason == "lines"


def test_a_paragraph_said_here_and_there_is_found() -> None:
    paragraph = f"{prose(40)}. {prose(12, 2)}."
    text = "\n\n".join(x for n in range(5) for x in (prose(60, n), paragraph))
    opinion = ask(text)
    assert opinion.reason == "lines"
    assert span(text, opinion) == paragraph


def test_repeated_sentences_on_one_line_are_found() -> None:
    said = ["The sum of the two is therefore even.", "But the product must be odd (as we saw)!", "Is that so?"]
    text = " ".join(x for n in range(20) for x in (said[n % 3], prose(2, n) + "."))
    opinion = ask(text, max_phrases=1.0)
    assert opinion.reason == "sentences"
    assert span(text, opinion) == said[1]
    assert "lines" not in opinion.details
    assert (
        ask("".join(f"所以这两个数的和一定是一个偶数，对不对呢？{c}" for c in prose(90)), max_phrases=1.0).reason
        == "sentences"
    )


def test_repeated_phrases_are_found() -> None:
    phrase = prose(30)
    text = " ".join(f"{phrase} {prose(2, n)}" for n in range(8)) + " " + prose(9)
    opinion = ask(text)
    assert opinion.reason == "phrases"
    assert span(text, opinion) == phrase
    assert opinion.score is not None
    assert 0.5 < opinion.score <= 1


def test_phrases_with_other_numbers_are_others() -> None:
    text = " ".join(f"If the first is {n} then the last of them is {n * n}, says the rule." for n in range(9))
    assert ask(text).details.get("phrases", 0.0) == 0.0


@pytest.mark.parametrize(
    "line", ["Step {}: let me check this once more to be sure.\n", "第{}步：我们再检查一遍答案是否正确。\n"]
)
def test_what_is_said_over_and_over_with_other_numbers_is_told_by_compression(line: str) -> None:
    start = prose(700) + "\n"
    text = start + "".join(line.format(n) for n in range(1000, 1000 + 6000 // len(line)))
    opinion = ask(text, max_phrases=1.0)
    assert (opinion.outcome, opinion.reason) == ("fail", "compression")
    assert len(span(text, opinion)) == WINDOW
    assert opinion.details["spans"][0][0] >= len(start)
    assert opinion.score == pytest.approx(1 - opinion.details["compression"], abs=1e-4)


def test_a_mix_may_ask_for_less() -> None:
    text = prose(200) + ". " + " ".join(["All of this, as you can see, was said before, word by word."] * 3)
    opinion = ask(text)
    assert opinion.outcome == "pass"
    assert opinion.score == pytest.approx(max(opinion.details[rule] for rule in ("sentences", "phrases")), abs=1e-4)
    assert 0.03 < opinion.score < 0.1
    assert {rule for _, _, rule in opinion.details["spans"]} == {"sentences", "phrases"}
    assert ask(text, max_sentences=0.03).reason == "sentences"
    assert ask(text, max_phrases=0.03).reason == "phrases"
    assert ask(f"{prose(100)} {prose(100)}").details["compression"] < 0.9
    assert ask(f"{prose(100)} {prose(100)}", min_compression=0.9).reason == "compression"


def test_short_texts_are_only_asked_for_a_loop() -> None:
    text = "The sum of both is seven.\n" * 3 + "Yes."
    assert ask(text).details == {}
    assert ask(text, min_words=5).reason == "lines"


def plain_repeats(text: str, size: int) -> tuple[float, float, float]:
    """The shares of lines, sentences and phrases in a text of Latin letters, word by word."""

    def again(units: list[str]) -> float:
        seen: Counter[tuple[str, ...]] = Counter()
        found = 0
        for unit in units:
            if len(unit) >= 20 and any(c.isalpha() for c in unit):
                found += len(unit) * (seen[tuple(unit.split())] >= 2)
                seen[tuple(unit.split())] += 1
        return found / max(1, sum(map(len, units)))

    lines = [line.strip() for line in text.split("\n")]
    sentences = [s.strip() for line in lines for s in re.split(r"(?<=[.!?])\s+|(?<=[.!?]\))\s+", line)]
    words = text.split()
    lettered = [i for i, word in enumerate(words) if any(c.isalpha() for c in word)]
    seen: Counter[tuple[str, ...]] = Counter()
    covered: set[int] = set()
    for n in range(len(lettered) - size + 1):
        phrase = tuple(words[lettered[n] : lettered[n + size - 1] + 1])
        if seen[phrase] >= 2:
            covered.update(range(n, n + size))
        seen[phrase] += 1
    return again(lines), again(sentences), len(covered) / max(1, len(lettered))


WORDS = st.sampled_from(
    ["so", "the", "sum", "is", "even", "(odd.)", "seven.", "no!", "7", "x=3", "therefore", "1.", "-"]
)
GAPS = st.sampled_from([" ", " ", " ", "  ", "\n", "\n\n"])
SAID = st.lists(st.tuples(WORDS, GAPS), max_size=60).map(lambda pairs: "".join(w + g for w, g in pairs))


@given(
    st.lists(st.tuples(SAID, st.integers(1, 4)).map(lambda p: p[0] * p[1]), min_size=1, max_size=4), st.integers(2, 6)
)
def test_shares_are_those_of_a_count_word_by_word(texts: list[str], size: int) -> None:
    for text, found in zip(texts, repeats(texts, size), strict=True):
        shares = (found.lines.share, found.sentences.share, found.phrases.share)
        assert shares == pytest.approx(plain_repeats(text, size))
        for part in (found.lines, found.sentences, found.phrases):
            assert (part.span is not None) == (part.share > 0)
            if part.span:
                again = text[slice(*part.span)]
                assert again == again.strip() != ""


def plain_loop(text: str, times: int) -> int:
    """The length of the longest loop at the end, unit by unit."""
    longest = 0
    for unit in range(1, len(text) // times + 1):
        length = unit
        while length < len(text) and text[-length - 1] == text[-length - 1 + unit]:
            length += 1
        lettered = any(c.isalpha() for c in text[-unit:])
        if length >= max(unit * times, LETTERED if lettered else BARE):
            longest = max(longest, length)
    return longest


@given(
    st.text("ab1", max_size=12),
    st.lists(st.tuples(st.text("ab1", min_size=1, max_size=7), st.integers(1, 30)), min_size=1, max_size=3),
    st.integers(1, 6),
    st.integers(2, 6),
)
def test_the_longest_loop_is_that_of_a_search_unit_by_unit(
    start: str, parts: list[tuple[str, int]], times: int, least: int
) -> None:
    text = start + "".join(unit * n for unit, n in parts) * times
    found = tail_loop(text, least)
    length = plain_loop(text, least)
    assert found.span == ((len(text) - length, len(text)) if length else None)
    assert found.share == length / max(1, len(text))


@given(st.text(st.characters(), min_size=1, max_size=30), st.integers(4, 12))
def test_any_unit_said_often_enough_is_a_loop(unit: str, times: int) -> None:
    text = ("x" + unit).strip() * times
    found = tail_loop(text, 4)
    assert (found.span is not None) == (len(text.rstrip()) >= 60)


def several() -> list[str]:
    """Texts of all kinds, more than are looked at together."""
    line = "We compute the sum of the first ten numbers, which is 55."
    texts = [
        "",
        "7",
        "\ud800 \x00",
        f"{line}\n" * 40,
        prose(300),
        "我们再检查一遍答案。" * 30,
        prose(80) * 4,
        " \n" * 50,
    ]
    texts += [f"{prose(20, n)}. {line} " * (n % 5) for n in range(60)]
    texts += [prose(BLOCK // 7 + 9), f"{prose(30)} 1 {prose(2)} " * 9 + prose(5, 2), f"{line} {prose(5)}. " * 40]
    return texts


def test_opinions_do_not_depend_on_the_others() -> None:
    texts = several()
    check = RepetitionCheck()
    alone = [check([Sample(text=t)])[0] for t in texts]
    assert check([Sample(text=t) for t in texts]) == alone
    assert check([Sample(text=t) for t in texts[::-1]]) == alone[::-1]
    assert {o.reason for o in alone} >= {"", "loop", "sentences", "phrases"}


@pytest.mark.parametrize(
    "said",
    [
        "Où est né l'élève ? Il a été reçu à Noël, où tout a changé.",
        "이 답은 칠입니다, 그리고 다시 한 번 확인해 봅시다.",
        "আমরা কোনো উত্তর আবার পরীক্ষা করি, তারপর যোগ করি।",
        "Ещё раз: твой йогурт мой, и всё идёт своим чередом.",
    ],
)
@pytest.mark.parametrize(
    "pattern", ["{0} {0} {0} {0} {0} {0}", "{0}\n{1}\n{0}\n{2}\n{0}\n{3}\n{0}\n{4}\n{0}\nà bientôt"]
)
def test_the_form_of_accents_changes_nothing(said: str, pattern: str) -> None:
    text = unicodedata.normalize("NFC", pattern.format(said, *(prose(2, n) for n in range(4))))
    one, two = (ask(unicodedata.normalize(form, text), min_words=20) for form in ("NFC", "NFD"))
    assert one.outcome == "fail"
    assert (one.outcome, one.score, one.reason) == (two.outcome, two.score, two.reason)
    assert {**one.details, "spans": []} == {**two.details, "spans": []}
    plain = unicodedata.normalize("NFD", text)
    for (a, b, rule), (c, d, other) in zip(one.details["spans"], two.details["spans"], strict=True):
        assert rule == other
        assert unicodedata.normalize("NFC", plain[c:d]) == text[a:b]


@pytest.mark.parametrize(
    "unit", ["a", "ab ", "\n", "0 ", "字", "(", ".", "! ", "e\u0301 ", "word " * 7, "\u0301\u0327", "\ud800"]
)
@pytest.mark.timeout(60)
def test_long_texts_take_bounded_time(unit: str) -> None:
    opinion = ask(unit * (1_500_000 // len(unit)))
    assert opinion.reason == ("" if unit == "\n" else "loop")
    # Marks of two classes are put in order: one after the other.
    assert opinion.score == {"\n": 0.0, "\u0301\u0327": 0.75}.get(unit, 1.0)


@pytest.mark.timeout(60)
def test_a_line_of_five_megabytes_gets_a_verdict_on_its_end() -> None:
    text = prose(100) * 7_000 + " the end " * 9
    opinion = ask(text)
    assert opinion.reason == "loop"
    assert span(text, opinion).lstrip().startswith("the end")
    assert ask(prose(100) + " the end" * 200_000 + prose(150_000)).reason == ""


def test_units_that_nearly_loop_are_compared_at_little_cost() -> None:
    # The last characters stand everywhere, at distances that are no period.
    chance = random.Random(3)
    assert ask("".join("x" * 50 + chance.choice("yz") * chance.randint(1, 9) for _ in range(9_000))).reason != "loop"


@given(st.text(st.characters(), max_size=400))
def test_no_text_breaks_it(text: str) -> None:
    score = ask(text, min_words=1).score
    assert score is not None
    assert 0 <= score <= 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_lines": 1.5}, "max_lines is 1.5; it must be from 0 to 1"),
        ({"max_sentences": "half"}, "max_sentences is 'half'; it must be a number from 0 to 1"),
        ({"min_compression": -1}, "min_compression is -1; it must be from 0 to 1"),
        ({"phrase_words": 1}, "phrase_words is 1; it must be at least 2"),
        ({"loop_repeats": 2.5}, "loop_repeats is 2.5; it must be a whole number"),
        ({"loops": 3}, "loops"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_check("repetition", settings)


def test_only_settings_that_are_no_defaults_make_another_version() -> None:
    plain = load_check("repetition").version
    assert load_check("repetition", {"max_lines": 0.2, "phrase_words": 12}).version == plain
    versions = {
        load_check("repetition", {name: 0.4}).version for name in ("max_lines", "max_sentences", "min_compression")
    }
    assert len(versions | {plain}) == 4
