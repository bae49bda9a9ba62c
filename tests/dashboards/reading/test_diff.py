"""What an edit changed, told word by word."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dashboards.reading import changes, diff_html, sizes

WORDS = st.lists(st.sampled_from(["a ", "b ", "sum ", "<b> ", "\n", "\n\n", "5", ".", "é", "\u202e"]), max_size=60).map(
    "".join
)


@given(WORDS, WORDS)
def test_both_texts_can_be_read_off_the_changes(before: str, after: str) -> None:
    found = changes(before, after)
    assert "".join(c.text for c in found if c.kind != "+") == before
    assert "".join(c.text for c in found if c.kind != "-") == after
    assert all(c.text for c in found)
    assert all(x.kind != y.kind for x, y in pairwise(found))


@given(WORDS, WORDS, WORDS)
def test_what_both_begin_and_end_with_is_no_change(head: str, middle: str, tail: str) -> None:
    found = changes(head + "\n" + tail, head + "\n" + middle + tail)
    assert sum(len(c.text) for c in found if c.kind == "+") - sum(len(c.text) for c in found if c.kind == "-") == len(
        middle
    )
    assert changes(head, head) == ([("=", head)] if head else [])


def test_single_words_are_told_in_a_long_text() -> None:
    draw = random.Random(4)
    words = [draw.choice(["the", "sum", "of", "x", "is", "five"]) for _ in range(10_000)]
    other = list(words)
    for at in (10, 5_000, 9_990):
        other[at] = "seven"
    found = changes(" ".join(words), " ".join(other))
    assert [c.text for c in found if c.kind == "+"] == ["seven"] * 3
    assert sizes(found)[2:] == (3, 3)


def test_two_texts_with_nothing_in_common_are_compared_as_wholes() -> None:
    draw = random.Random(4)
    before, after = (" ".join(draw.choice("abcdefgh") * 3 for _ in range(10_000)) for _ in range(2))
    found = changes(before, after)
    assert "".join(c.text for c in found if c.kind != "+") == before
    assert len(found) < 10


def test_html_shows_changes_escaped_with_their_surroundings() -> None:
    made = diff_html("x" * 500 + "\none <b>\n" + "y" * 500, "x" * 500 + "\none \u202e\n" + "y" * 500)
    assert "<del>&lt;b&gt;</del>" in made and '<ins><span class="esc"' in made
    assert "characters unchanged" in made and "x" * 200 not in made
    assert diff_html("same", "same") == ""
