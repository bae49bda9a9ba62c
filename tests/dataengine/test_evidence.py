"""Spans that verdicts rest on are cut from the right text, and nothing that a model wrote acts on a terminal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.evidence import Span, lines_of, secrets_hidden, spans_of
from dataengine.screen import printable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["spans", "span", "matches", "representative", "rule", "in", "words"])


def test_a_span_is_shown_between_brackets_with_what_stands_around_it() -> None:
    text = "The first part is long enough to be cut.\n\nThen 然后 it\tgoes on, and on, until the very end of the line."
    at = text.index("然后")
    assert Span(at, at + 2, "zh").within(text) == (
        "47-49 zh  …st part is long enough to be cut. Then ⟦然后⟧ it goes on, and on, until the very end …"
    )
    assert Span(0, 3).within("The end") == "0-3  ⟦The⟧ end"
    assert Span(4, 7, of="prompt").within("The end") == "4-7 of the prompt  The ⟦end⟧"


def test_a_long_span_shows_how_it_begins_and_ends() -> None:
    shown = Span(0, 10_000).within("a" * 5_000 + "b" * 5_000)
    assert "⟦" + "a" * 100 + " … " + "b" * 60 + "⟧" in shown
    assert len(shown) < 200


@pytest.mark.parametrize(
    ("details", "spans"),
    [
        ({"spans": [[0, 2, "zh"], [3, 5]]}, [Span(0, 2, "zh"), Span(3, 5)]),
        ({"spans": [[0, 2, None]]}, [Span(0, 2)]),
        ({"span": [1, 4], "rule": "loop", "share": 0.9}, [Span(1, 4, "loop")]),
        ({"span": [1, 4], "pattern": "en.sorry"}, [Span(1, 4, "en.sorry")]),
        (
            {
                "matches": [
                    {"benchmark": "b", "item": "t:1", "part": "question", "share": 0.5, "in": "prompt", "span": [0, 9]},
                    {"benchmark": "c", "item": "t:2", "in": "reply", "span": [2, 3]},
                ]
            },
            [Span(0, 9, "b t:1 question 50% of it", "prompt"), Span(2, 3, "c t:2")],
        ),
        ({}, []),
        ({"spans": "none", "span": {"start": 1}, "matches": [3, {"span": None}]}, []),
        ({"spans": [[0], ["a", "b"], [True, False], None, [1.5, 2]]}, []),
    ],
)
def test_spans_are_read_in_every_form_that_checks_write(details: dict[str, Any], spans: list[Span]) -> None:
    assert spans_of(details) == spans


def test_spans_in_the_prompt_are_cut_from_the_prompt() -> None:
    details = {"matches": [{"benchmark": "b", "span": [0, 6], "in": "prompt"}, {"benchmark": "c", "span": [0, 5]}]}
    told = list(lines_of(details, {"prompt": "Prompt text", "reply": "Reply text"}))
    assert told == ["0-6 of the prompt b  ⟦Prompt⟧ text", "0-5 c  ⟦Reply⟧ text"]


def test_what_else_the_details_say_comes_first_and_many_spans_are_counted() -> None:
    details = {"words": 7, "spans": [[i, i + 1, "de"] for i in range(8)], "representative": "abc"}
    told = list(lines_of(details, {"reply": "0123456789"}))
    assert told[:2] == ['{"words": 7}', "the one that stands for it: abc"]
    assert told[2] == "0-1 de  ⟦0⟧123456789"
    assert told[7:] == ["and 3 more"]


@given(st.dictionaries(NAMES, JSON), st.text(st.characters(), max_size=30))
def test_any_details_and_any_text_give_lines(details: dict[str, Any], text: str) -> None:
    for line in lines_of(details, {"prompt": text, "reply": text}):
        shown = printable(line)
        assert shown.encode("utf-8")
        assert "\n" not in shown
        assert "\x1b" not in shown


def test_secrets_are_masked_wherever_they_stand_and_texts_keep_their_length() -> None:
    word, key = "kX9#vQ2m", "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----"
    text = f"Use {word} and {key}, or write to me@mail.net. {word}!"
    spans = [
        Span(text.index(word), text.index(word) + len(word), "password"),
        Span(text.index(key), text.index(key) + len(key), "private_key"),
        Span(text.index("me@"), text.index("me@") + 11, "email"),
    ]
    hide = secrets_hidden(text, spans)
    hidden = hide(text)
    assert len(hidden) == len(text)
    assert hidden.startswith("Use kX•••••• and ----•••••")
    assert word not in hidden and "abcdefgh" not in hidden
    assert "me@mail.net" in hidden, "personal data are shown: they are what the verdict is about"
    assert hidden.count("\n") == 2
    assert "kX••" in next(lines_of({"extracted": {"all": [word]}}, {}, hide))
    assert "abcdefgh" not in next(lines_of({"extracted": key}, {}, hide))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red \x1b[31m bell \x07 del \x7f", "red \\x1b[31m bell \\x07 del \\x7f"),
        ("csi \x9b31m", "csi \\x9b31m"),
        ("over\rwritten", "over\\rwritten"),
        ("turned \u202etxet", "turned \\u202etxet"),
        ("lone \ud800 half", "lone \\ud800 half"),
        ("lines\nand\ttabs, שלום, 👩‍👩‍👧‍👦, e\u0301", "lines\nand\ttabs, שלום, 👩‍👩‍👧‍👦, e\u0301"),
    ],
)
def test_what_acts_on_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_details_that_came_as_json_with_half_a_character_can_be_printed() -> None:
    details = json.loads('{"text": "\\ud83d"}')
    (line,) = lines_of(details, {})
    assert printable(line) == '{"text": "\\ud83d"}'
