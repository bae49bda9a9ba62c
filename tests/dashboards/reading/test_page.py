"""Blocks, formulas, places, marks and bounds of one text."""

import re

import pytest

from dashboards.reading import Mark, guideline_html, page, rendered_html
from dashboards.reading.mathml import mathml
from dashboards.reading.page import MAX_FORMULAS, MAX_MARKS, MAX_RENDERED


@pytest.mark.parametrize("formula", [r"\(x^2\)", "$x^2$", r"\[x^2\]", "$$x^2$$", "$$\nx^2\n$$"])
def test_all_four_delimiters_are_rendered(formula: str) -> None:
    made = rendered_html(f"so {formula} holds")
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in made
    assert ('display="block"' in made) == (formula[:2] in (r"\[", "$$"))


@pytest.mark.parametrize(
    "text",
    [
        "it costs $5 and $10",
        r"a \$5 and \$6",
        r"\\(x\\)",
        "`$x$`",
        "``a ` $x$``",
        "```\n$x$\n\n\\(y\\)\n```",
        "a $ b $ c",
    ],
)
def test_dollars_and_code_are_no_formulas(text: str) -> None:
    assert "<math" not in rendered_html(text)


def test_what_is_no_latex_is_shown_as_its_source() -> None:
    assert '<code class="tex inline">\\(x^2^&lt;b&gt;\\)</code>' in rendered_html(r"\(x^2^<b>\)")
    for bomb in (r"\def\a{\b\b}\def\b{\c\c}\a", "{" * 500 + "}" * 500, "x" * 5_000, r"\newcommand{\x}{y}\x"):
        assert mathml(bomb, block=False) is None


def test_formulas_bring_no_links_classes_styles_or_colours() -> None:
    made = mathml(r"\href{javascript:x}{a}\class{b}{c}\style{d:e}{f}\color{white}{g}\hspace{9999cm}", block=True)
    assert made and not re.search("href|class|style=|color|9999", made)


def test_lines_of_display_math_are_no_lists() -> None:
    assert "<li>" not in rendered_html("\\[\nx\n- 2\n+ 3\n\\]")


def test_lists_tables_and_code_are_rendered() -> None:
    made = rendered_html("1. a\n2. b")
    assert "<ol>" in made and made.count("<li>") == 2
    assert "<table>" in rendered_html("|a|b|\n|-|-|\n|1|2|")
    assert '<span class="lang">py</span>' in rendered_html("```py\nx\n```")
    assert rendered_html("a\n---\nb").count("<hr") == 1


def test_code_with_blank_lines_is_one_block() -> None:
    assert len(page("before\n\n```\na\n\nb\n```\n\nafter")["exact_blocks"]) == 3
    assert len(page("```\nnever\n\nclosed\n\n")["exact_blocks"]) == 1


def test_places_are_the_end_of_thinking_the_last_box_and_reflective_words() -> None:
    text = "<think>\n\\boxed{1}? Wait, 😀 let me check.\n</think>\nIt is \\boxed{2}."
    found = page(text)
    assert text[: found["think_end"]].endswith("</think>")
    assert found["box"] is not None and text[found["box"] :].startswith("\\boxed{2}")
    assert [text[w : w + 4].lower() for w in found["waits"]] == ["wait", "let "]
    answer = found["answer_block"]
    assert (
        answer is not None and "It is" in found["exact_blocks"][answer] and "think" not in found["exact_blocks"][answer]
    )
    joined = "".join(found["exact_blocks"])
    assert joined.count('data-at="wait"') == 2 and '<span class="at box" data-at="box">\\boxed</span>{2}' in joined


def test_a_text_without_places_has_none() -> None:
    found = page("")
    assert (found["think_end"], found["box"], found["waits"], found["exact_blocks"]) == (None, None, [], [])


def test_marks_are_spans_in_code_points_and_may_overlap_and_cross_blocks() -> None:
    text = "😀 uno dos\n\ntres four"
    found = page(text, [Mark(2, 15, "es"), Mark(6, 9, "odd"), Mark(18, 999, "rest"), Mark(400, 500, "gone")])
    marked = "".join(re.findall(r"<mark[^>]*>([^<]*)</mark>", "".join(found["exact_blocks"])))
    assert marked == "uno dos\n\ntres" + "ur"
    assert 'title="es, odd"' in found["exact_blocks"][0]
    assert "".join(found["exact_blocks"]).count("data-at") == 3
    assert [(g["what"], g["n"]) for g in found["legend"]] == [("es", 1), ("odd", 1), ("rest", 1)]


def test_bounds_are_kept_and_said() -> None:
    formulas = page("".join(f"\\[x_{{{i}}}\\]\n\n" for i in range(3000)))
    assert sum(b.count("<math") for b in formulas["html_blocks"] if b) == MAX_FORMULAS
    assert any("formulas" in n for n in formulas["notes"])
    long = page("word " * 200_000)
    assert sum(map(len, long["exact_blocks"])) == 1_000_000
    assert any("exact only" in n for n in long["notes"]) and any("reflective" in n for n in long["notes"])
    paragraphs = page("some words\n\n" * (MAX_RENDERED // 6))
    assert paragraphs["html_blocks"][0] and paragraphs["html_blocks"][-1] is None
    many = page("ab" * 5000, [Mark(i, i + 1, "x") for i in range(5000)])
    assert len(many["marks"]) == MAX_MARKS and any("marks" in n for n in many["notes"])


def test_guidelines_are_filled_and_replies_keep_their_lines() -> None:
    text = "one line,\nand the next"
    assert guideline_html(text) == "<p>one line,\nand the next</p>\n"
    assert page(text)["html_blocks"] == ["<p>one line,<br />\nand the next</p>\n"]
