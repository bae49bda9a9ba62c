"""Walls of text, code in the reasoning and tags in the answer fail, with their place; the rest is stored."""

import random
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters.columns import forget
from dataengine.filters.readability import ReadabilityCheck
from schemas.errors import ConfigError

WALL = "I add one more number to what I have. " * 40
BLOCK = "```python\nprint(3 + 4)\n```"


def ask(text: str, **settings: Any) -> Opinion:
    (opinion,) = ReadabilityCheck(**settings)([Sample(text=text)])
    return opinion


def reply(reasoning: str, answer: str = "It is 7.") -> str:
    return f"<think>\n{reasoning}\n</think>\n\n{answer}\n"


def spans(text: str, opinion: Opinion, name: str) -> list[str]:
    return [text[start:end] for start, end, *_ in opinion.details[name]]


def test_short_paragraphs_pass() -> None:
    text = reply("First I add.\n\nThree and four is seven.")
    opinion = ask(text)
    assert (opinion.outcome, opinion.score, opinion.reason) == ("pass", 0.0, "")
    start, end = opinion.details["span"]
    assert text[start:end] == "Three and four is seven."
    assert (opinion.details["longest"], opinion.details["longest_words"]) == (24, 5)


def test_a_wall_of_text_fails_with_its_place() -> None:
    text = reply(f"I start.\n{WALL}\nI end.")
    opinion = ask(text)
    assert (opinion.outcome, opinion.reason) == ("fail", "long_paragraph")
    start, end = opinion.details["span"]
    assert text[start:end] == WALL
    assert opinion.score == round(len(WALL) / (len(WALL) + len("I start.I end.")), 4)


@pytest.mark.parametrize(
    ("letter", "longest"), [("a", 1000), ("é", 1000), ("я", 1000), ("算", 500), ("か", 500), ("한", 500)]
)
def test_the_limit_is_room_of_which_wide_characters_take_two(letter: str, longest: int) -> None:
    assert ask(reply(letter * longest)).outcome == "pass"
    assert ask(reply(letter * (longest + 1))).reason == "long_paragraph"
    assert ask(reply(letter * longest), long_paragraph=999).reason == "long_paragraph"


def test_one_long_paragraph_of_many_short_ones_only_shows_in_the_score() -> None:
    text = reply("\n\n".join([*["I add one more number."] * 800, WALL]))
    assert ask(text).outcome == "pass"
    assert 0 < (ask(text).score or 0) <= 0.1
    assert ask(text, max_long=0.01).reason == "long_paragraph"


def test_code_in_the_reasoning_fails_with_its_place() -> None:
    text = reply(f"Let me try.\n{BLOCK}\nAnd once more:\n  ~~~\n# a\n  ~~~~\nDone.")
    opinion = ask(text)
    assert (opinion.outcome, opinion.reason) == ("fail", "code_in_reasoning")
    assert opinion.details["code_blocks"] == 2
    assert spans(text, opinion, "code") == [BLOCK, "  ~~~\n# a\n  ~~~~"]
    code, all_of_it = sum(map(len, f"{BLOCK}  ~~~# a  ~~~~".split("\n"))), len("Let me try.And once more:Done.")
    assert opinion.score == opinion.details["code_share"] == round(code / (code + all_of_it), 4)
    assert ask(text, max_code=0.6).outcome == "pass"


@pytest.mark.parametrize(
    "text", [reply("I add.", BLOCK), f"Here it is:\n{BLOCK}", reply("```f(3)``` is 7, and\n~3 is near.")]
)
def test_code_in_the_answer_and_inside_a_line_is_welcome(text: str) -> None:
    opinion = ask(text)
    assert (opinion.outcome, opinion.score, opinion.details["code_blocks"]) == ("pass", 0.0, 0)


@pytest.mark.parametrize("code", ["```\nx\n\ny", "````\n```\n````", "```\n~~~\nx", "```\n```python\nx\n```"])
def test_a_fence_is_closed_by_its_like_or_by_the_end_of_the_reasoning(code: str) -> None:
    text = f"<think>{code}</think> 7"
    assert spans(text, ask(text), "code") == [code]


def test_a_long_line_of_code_is_no_paragraph() -> None:
    opinion = ask(reply(f"```\n{WALL}\n```\nI add."), max_code=1.0)
    assert (opinion.outcome, opinion.details["longest"], opinion.details["long_share"]) == ("pass", 6, 0.0)
    alone = ask(f"```\n{WALL}\n```").details
    assert (alone["longest"], alone["longest_words"], alone.get("span")) == (0, 0, None)


@pytest.mark.parametrize(
    "tag",
    [
        *("<think>", "</think>", "<|im_end|>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "|special_token|", "[/INST]"),
        *("<</SYS>>", "<eos>", "<end_of_turn>", "</Thought>", "<tool_call>", "### Response:", "</answer>"),
    ],
)
def test_a_tag_in_the_answer_fails_with_its_place(tag: str) -> None:
    text = reply("Drei und vier ist sieben: ü.", f"Es sind sieben für dich. {tag}\n")
    opinion = ask(text)
    assert (opinion.outcome, opinion.reason) == ("fail", "tag_in_answer")
    assert spans(text, opinion, "tags") == [tag] == [found for _, _, found in opinion.details["tags"]]


@pytest.mark.parametrize("answer", ["<answer>7<answer>8</answer></answer>", "<answer>7</answer><answer>7</answer>"])
def test_a_second_answer_tag_fails(answer: str) -> None:
    assert ask(reply("I add.", answer)).reason == "tag_in_answer"


@pytest.mark.parametrize(
    "answer",
    [
        *("It is 7.\n<answer>7</answer>", "<answer>7", "Use `<|im_end|>` at the end.", "```\n<|im_end|>\n```"),
        *("If a<b and b>c, |x| is 3.", "<s>old</s> new", "[INSTALL]"),
    ],
)
def test_what_belongs_into_an_answer_is_no_leak(answer: str) -> None:
    assert ask(reply("I add <|im_start|>.", answer)).outcome == "pass"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        *(
            (bare, False)
            for bare in ("", "<answer>7</answer>", "\\boxed{7}", "$\\boxed{\\frac{1}{2}}$.", "\\[ \\boxed{7} \\]")
        ),
        *(
            (said, True)
            for said in ("It is 7.", "Three and four: <answer>7</answer>", "So \\boxed{7}", "\\boxed{7} apples")
        ),
    ],
)
def test_a_summary_is_more_than_the_answer(answer: str, told: bool) -> None:
    assert ask(reply("I add.", answer)).details["summary"] is told
    assert ask(reply("I add.", answer)).outcome == "pass"
    assert ask(reply("I add.", answer), summary=True).reason == ("" if told else "no_summary")
    assert ask(f"<think>\n{WALL[:100]}", summary=True).reason == "no_summary"
    assert ask("It is 7.", summary=True).outcome == "pass"


@pytest.mark.parametrize(
    ("text", "we", "i"),
    [
        ("I add, we add. I'm done; let's see, and we go. In ice, web, INN: no.", 3, 2),
        ("Ich rechne. Wir rechnen, und ich ende. Nichts, wirklich.", 1, 2),
        ("Je calcule, puis nous vérifions. J'ai fini, et j’ai raison.", 1, 3),
        ("Я считаю, мы считаем; я закончил. Мысль мыла яму.", 1, 2),
        ("मैं जोड़ता हूँ। हम जोड़ते हैं, हमेशा।", 1, 1),
        ("我先算，我们再算，结果属于我", 1, 2),
        ("私は足す。私たちは確かめる。", 1, 1),
        ("나는 더한다. 우리는 확인한다.", 1, 1),
    ],
)
def test_voices_are_counted_where_the_pronoun_is_said(text: str, we: int, i: int) -> None:
    for written in (text, reply(text, "We hope that I helped. 我们和我。"), unicodedata.normalize("NFD", text)):
        assert (ask(written).details["we"], ask(written).details["i"]) == (we, i)
    assert ask(text, max_we=we / (we + i)).outcome == "pass"
    assert ask(text, max_we=0.0).reason == "we_voice"


def test_markdown_is_counted_by_part() -> None:
    reasoning = (
        "# Plan\n- a\n  * b\n1. c\n2) d\n- \n-e\n3.5 is\n#f\n| a | b |\n|---|---|\n| 1 | 2 |\n|-x| = x\n**bold** x**2"
    )
    opinion = ask(reply(reasoning, "**So** **it** is.\n\u2022 7\n3、8\n```\n# x\n- y\n1. z\n```"))
    assert opinion.details["markdown"] == {
        "reasoning": {"headings": 1, "list_items": 5, "tables": 1, "bold": 1},
        "answer": {"list_items": 2, "bold": 2},
    }


@pytest.mark.parametrize("text", ["", " \n", "\u3000", "\x00", "<think>\n</think>", "<think> "])
def test_a_reply_without_a_word_is_undecided(text: str) -> None:
    assert ask(text) == Opinion("undecided", reason="empty")


@pytest.mark.parametrize("text", ["😀", "…", "\ud800", "مرحبا", "<answer></answer>"])
def test_whatever_else_there_is_has_a_verdict(text: str) -> None:
    assert ask(text).outcome == "pass"


def test_settings_are_checked_and_make_the_version() -> None:
    standard = load_check("readability")
    assert load_check("readability", {"max_code": 0, "long_paragraph": 1000}).version == standard.version == "1"
    assert load_check("readability", {"max_code": 0.1}).version != standard.version
    for wrong in ({"long_paragraph": 0}, {"max_long": 2}, {"max_code": "none"}, {"summary": 1}, {"max_we": -1}):
        with pytest.raises(ConfigError, match=f"check readability: {next(iter(wrong))}"):
            load_check("readability", wrong)


PIECES = st.one_of(
    st.text(st.characters(), max_size=6),
    st.sampled_from(
        ["<think>", "</think>", "<answer>", "</answer>", "|special_token|", "<|im_end|>", BLOCK, "```", "`"]
    ),
    st.sampled_from(["e\u0301", "é", "か\u3099", "가", "\u1100\u1161", "क\u093c", "\ud800", "\x00", "我们", "ü", "😀"]),
    st.sampled_from(["\n", "\n\n", " ", "a " * 600, "算" * 600, "- x", "1. x", "**b**", "I ", "we ", "\r\n"]),
)
TEXTS = st.lists(PIECES, max_size=10).map("".join)


@given(st.lists(TEXTS, max_size=6), st.randoms())
def test_no_text_breaks_it_and_its_batch_does_not_matter(texts: list[str], chance: random.Random) -> None:
    check = ReadabilityCheck()
    together = check([Sample(text=t) for t in texts])
    assert together == [check.opinion(Sample(text=t)) for t in texts]
    order = chance.sample(range(len(texts)), len(texts))
    forget()
    assert check([Sample(text=texts[n]) for n in order]) == [together[n] for n in order]


@given(TEXTS)
def test_composed_and_decomposed_text_get_the_same_with_the_same_places(text: str) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")] + [text]
    told = [ask(form) for form in forms]
    assert len({(o.outcome, o.score, o.reason) for o in told}) == 1
    found = [
        [unicodedata.normalize("NFC", form[start:end]) for start, end, *_ in evidence(opinion)]
        for form, opinion in zip(forms, told, strict=True)
    ]
    assert found[0] == found[1] == found[2]
    for form, opinion in zip(forms, told, strict=True):
        assert all(0 <= start <= end <= len(form) for start, end, *_ in evidence(opinion))


def evidence(opinion: Opinion) -> list[Any]:
    details = opinion.details
    return [*([details["span"]] if "span" in details else ()), *details.get("code", ()), *details.get("tags", ())]


@given(TEXTS)
def test_the_longest_paragraph_is_that_of_a_plain_count(text: str) -> None:
    opinion = ask(f"<think>\n{text.replace('think', '').replace('`', '').replace('~', '')}")
    if opinion.outcome == "undecided":
        return
    lines = unicodedata.normalize("NFC", text).replace("think", "").replace("`", "").replace("~", "").split("\n")
    room = [
        sum(1 + (c >= "\u3000" and not "\ud800" <= c <= "\udfff") for c in ln) for ln in lines if ln.strip(CONTROLS)
    ]
    long = sum(r for r in room if r > 1000)
    assert opinion.details["longest"] == max(room)
    assert opinion.details["long_share"] == round(long / sum(room), 4)


CONTROLS = "".join(map(chr, range(33)))


@pytest.mark.parametrize(
    "unit", ["a", "a ", "(", "\n", "```\n", "<", "<answer>", "<|a", "$", "|-", "- ", "我", "é", "e\u0301"]
)
@pytest.mark.timeout(60)
def test_long_texts_take_bounded_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    for written in (reply(text), reply("I add.", text), text):
        assert ask(written).outcome in ("pass", "fail", "undecided")
