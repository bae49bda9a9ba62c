"""Every rule of IFEval is followed or broken by what the reader sees of a reply, and nothing else."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample
from dataengine.sources.files import LAYOUTS
from dataengine.verify.instructions import RULES, InstructionsCheck, rules_of
from dataengine.verify.prose import sentences

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "nonreasoning" / "ifeval" / "data"
ENGLISH = "The answer is seven, because three and four are seven. "

# Rule, arguments, replies that follow it, replies that break it.
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("punctuation:no_comma", {}, ["No comma here."], ["One, two", "一，二"]),
    (
        "length_constraints:number_words",
        {"relation": "at least", "num_words": 4},
        ["One two three four.", "Don't be so."],
        ["One two three."],
    ),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, ["One two"], ["One two three"]),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 3},
        ["Dr. Smith paid $3.50. He left.", "1. First of all it rains."],
        ["One. Two. Three.", "一。二。三。"],
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["one\n***\ntwo"], ["one", "a\n***\nb\n***\nc"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        ["It rains.\n\nWeekend is near."],
        ["It rains.\n\nThe weekend is near.", "Weekend is near."],
    ),
    ("keywords:existence", {"keywords": ["sun", "Moon"]}, ["The sun, the moon."], ["The sun alone."]),
    (
        "keywords:frequency",
        {"keyword": "sun", "frequency": 2, "relation": "at least"},
        ["Sun and sunshine."],
        ["The sun."],
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, ["A catalogue."], ["The cat!"]),
    (
        "keywords:letter_frequency",
        {"letter": "q", "let_frequency": 2, "let_relation": "at least"},
        ["Quick, quick"],
        ["Quick"],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*one* and **two**"],
        ["* a bullet\n* another, *one*", "2 * 3 * 4"],
    ),
    ("detectable_format:title", {}, ["<<A title>>\nText."], ["A title\nText", "<< >>"]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* one\n* two", "- one\n- two"],
        ["* one", "-1\n-2", "* one\n* two\n* three"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": [1, 2]}', '```json\n{"a": 1}\n```'],
        ["{'a': 1}", 'Here: {"a": 1}', '{"a": NaN}'],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb"],
        ["SECTION 1\na", "Section 1 Section 2"],
    ),
    ("detectable_format:constrained_response", {}, ["My answer is yes."], ["Yes."]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[name], [address]"], ["[name]", "[] []"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["Hi.\nP. P. S Bye."], ["Hi.\nP.S. Bye."]),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write a poem."},
        ["write a poem.\nRoses"],
        ["Roses. Write a poem."],
    ),
    ("combination:two_responses", {}, ["one\n******\ntwo"], ["one", "one\n******\none"]),
    ("startend:quotation", {}, ['"All of it."', "“All of it.”"], ['"Some" of it']),
    ("startend:end_checker", {"end_phrase": "Any more?"}, ["It rains. any more?"], ["Any more? No."]),
    ("change_case:english_lowercase", {}, [ENGLISH.lower()], [ENGLISH, "die antwort ist leider immer noch sieben."]),
    ("change_case:english_capital", {}, [ENGLISH.upper()], [ENGLISH]),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["NASA and U.S. ones", "I saw NASA"],
        ["NASA alone"],
    ),
    (
        "language:response_language",
        {"language": "de"},
        ["Die Antwort ist sieben, weil drei und vier zusammen sieben sind."],
        [ENGLISH, "Ответ семь, потому что три и четыре семь."],
    ),
]


def ask(reply: str, *rules: dict[str, Any], loose: bool = False, text: str | None = None) -> Opinion:
    sample = Sample(
        text=reply if text is None else text,
        answer=reply,
        verifier="instructions",
        metadata={"verify": {"instructions": list(rules)}},
    )
    return InstructionsCheck(loose=loose).opinion(sample)


def test_each_rule_has_its_cases() -> None:
    assert {name for name, *_ in CASES} == RULES.keys()
    assert len(RULES) == 25


@pytest.mark.parametrize(("name", "arguments", "kept", "broken"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_replies_follow_or_break_a_rule(
    name: str, arguments: dict[str, Any], kept: list[str], broken: list[str]
) -> None:
    rule = {"id": name, **arguments}
    for reply in kept:
        assert ask(reply, rule).outcome == "pass", (reply, ask(reply, rule))
    for reply in broken:
        told = ask(reply, rule)
        assert (told.outcome, told.reason, told.score) == ("fail", "not_followed", 0.0), reply
        assert told.details["not_followed"][0]["id"] == name
        assert told.details["not_followed"][0]["message"]


COMMA = {"id": "punctuation:no_comma"}
BULLETS = {"id": "detectable_format:number_bullet_lists", "num_bullets": 1}
GERMAN = {"id": "language:response_language", "language": "de"}


def test_the_score_is_the_share_of_rules_followed() -> None:
    told = ask("One, two", COMMA, BULLETS, {"id": "detectable_format:title"}, {"id": "startend:quotation"})
    assert (told.outcome, told.score) == ("fail", 0.0)
    told = ask("* one, two", COMMA, BULLETS)
    assert (told.outcome, told.score) == ("fail", 0.5)


def test_only_what_the_reader_sees_counts() -> None:
    text = "<think>Well, let me think, at length.</think>No comma here."
    sample = Sample(text=text, answer="No comma here.", metadata={"verify": {"instructions": [COMMA]}})
    assert InstructionsCheck().opinion(sample).outcome == "pass"
    assert (
        ask("<answer>No comma here.</answer>", {"id": "startend:end_checker", "end_phrase": "here."}).outcome == "pass"
    )
    sample = Sample(text="<think>cut off", metadata={"verify": {"instructions": [COMMA]}})
    assert InstructionsCheck().opinion(sample).reason == "no_answer"


def test_loose_leaves_out_the_first_and_last_line_and_asterisks() -> None:
    reply = "Sure, here it is:\n**No comma here.**\nAnything else, perhaps?"
    assert ask(reply, COMMA).outcome == "fail"
    assert ask(reply, COMMA, loose=True).outcome == "pass"
    assert InstructionsCheck(loose=True).version != InstructionsCheck().version


def test_what_cannot_be_told_is_undecided_unless_another_rule_is_broken() -> None:
    assert (ask("7", GERMAN).outcome, ask("7", GERMAN).reason) == ("undecided", "cannot_tell")
    assert ask("7", GERMAN, BULLETS).outcome == "fail"


@pytest.mark.parametrize(
    "rule",
    [
        {"id": "punctuation:no_semicolon"},
        {"keywords": ["a"]},
        {"id": "keywords:existence"},
        {"id": "keywords:existence", "keywords": []},
        {"id": "length_constraints:number_words", "num_words": 3, "relation": "about"},
        {"id": "punctuation:no_comma", "num_words": 3},
        {"id": "language:response_language", "language": "klingon"},
        "punctuation:no_comma",
    ],
)
def test_rules_that_are_not_known_cannot_be_told(rule: Any) -> None:
    told = ask("Anything.", rule)
    assert (told.outcome, told.reason) == ("undecided", "reference_not_usable")
    assert told.details["message"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("He paid $3.50 to Dr. A. Smith, i.e. too much. “Why?” he asked. Nobody knew!", 3),
        ("It is 5 p.m. now... and late. See fig. 3.", 2),
        ("Mr. and Mrs. Jones vs. the U.S. government", 1),
        ("他来了。她走了！为什么？", 3),
    ],
)
def test_sentences_are_counted_as_a_reader_would(text: str, count: int) -> None:
    assert len(sentences(text)) == count


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_a_rule_of_any_kind(text: str) -> None:
    rules = [{"id": name, **arguments} for name, arguments, *_ in CASES]
    assert ask(text, *rules).outcome in ("fail", "undecided")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["*", "a. ", "<<", "[", "- ", "***", "\n\n", '"', "Mr. ", "é", "SECTION 1"])
def test_hostile_replies_take_bounded_time(unit: str) -> None:
    rules = [{"id": name, **arguments} for name, arguments, *_ in CASES if not name.startswith(("language", "change"))]
    assert ask(unit * (200_000 // len(unit)), *rules).outcome in ("fail", "undecided")


def test_all_rules_of_the_public_set_are_known() -> None:
    file = DATA / "input_data.jsonl.gz"
    if not file.exists():
        pytest.skip("the data of the acceptance runs is not here")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
    assert len(rows) == 541
    for row in rows:
        fields = LAYOUTS["ifeval"](row)
        assert len(rules_of(fields["verify"])) == len(row["instruction_id_list"])
