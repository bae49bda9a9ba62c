"""Texts come through exact, and nothing in them is markup or hidden."""

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.reading import exact_html, page, rendered_html, visible
from dashboards.reading.blocks import MAX_BLOCK, MAX_BLOCKS, blocks
from dashboards.reading.exact import escape_of

NASTY = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "<>&\"'`*_[]()!#$\\{}|~-\n\t \x00\x1b\x07\r\u202e\u2066\u200b\u200d\ufeff\ufdd0\ufdd1\ud800\U000e0041"
        ),
    ),
    max_size=400,
)
PIECES = st.lists(
    st.sampled_from(
        [
            "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![a](http://evil.example/x.png)", "</think>",
            "[b](javascript:alert(1))", "<http://evil.example>", "https://evil.example/", "[r]: http://evil.example\n",
            "\\(x^2\\)", "$$\\sum_i i$$", "\\[\\href{javascript:alert(1)}{x}\\]", "$a<b$",
            "$\\style{x:url(http://e)}{y}$",
            "```html\n<b>\n```\n", "`<i>`", "\n\n", "\n", " ", "> ", "- ", "1. ", "| a | b |\n|---|---|\n| 1 | 2 |\n",
            "&lt;", "&#60;script&#62;", "\x1b[31m", "\u202e", "\ufdd00\ufdd1", "# ", "**x**", "\\boxed{<b>}", "wait,",
            "$\\class{evil}{x}$", "\\(\\text{</span><script>}\\)", "$\\unicode{<}$", "\\(\\mathrm{&lt;img&gt;}\\)", "x",
            "\x00",
        ]
    ),
    max_size=20,
).map("".join)  # fmt: skip

ALLOWED = re.compile(
    "p|br|strong|em|code|pre|ul|ol|li|blockquote|h[1-6]|hr|table|thead|tbody|tr|th|td|span|math|mrow|mi|mn|mo|mtext|mspace|"
    "ms|mfrac|msqrt|mroot|mstyle|mpadded|mphantom|menclose|msub|msup|msubsup|munder|mover|munderover|mmultiscripts|"
    "mprescripts|none|mtable|mtr|mtd|merror|mlabeledtr"
)
CLASSES = {"esc", "math inline", "math display", "tex inline", "tex display", "lang"}


class Seen(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, *a) for a in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@given(NASTY | PIECES)
def test_what_is_shown_exact_is_the_text_with_hidden_characters_written_out(text: str) -> None:
    seen = Seen(exact_html(text))
    assert seen.tags <= {"span"}
    assert seen.text == visible(text)


@given(NASTY | PIECES)
def test_the_blocks_of_a_page_are_the_whole_text(text: str) -> None:
    parts = blocks(text)
    assert "".join(text[b.start : b.end] for b in parts) == text
    shown = page(text, [{"start": 2, "end": 9, "what": "<b>en"}, {"start": 5, "end": 50, "what": "\u202e"}])
    seen = Seen("".join(shown["exact_blocks"]))
    assert seen.tags <= {"span", "mark"}
    assert {a for _, a, _ in seen.attributes} <= {"class", "title", "data-at"}
    # A mark's border may fall inside of an ANSI sequence, which is then written out in parts: the same characters.
    assert seen.text == visible(text)
    assert len(shown["html_blocks"]) == len(shown["exact_blocks"])


@given(PIECES | NASTY)
def test_a_rendering_holds_only_elements_and_attributes_that_are_allowed(text: str) -> None:
    seen = Seen(rendered_html(text))
    assert all(ALLOWED.fullmatch(tag) for tag in seen.tags), seen.tags
    for tag, name, value in seen.attributes:
        assert not name.startswith(("on", "data", "xlink")) and name not in ("href", "src", "id", "action"), (tag, name)
        if name == "class":
            assert value in CLASSES
        if name == "style":
            assert tag in ("th", "td") and value in ("text-align:left", "text-align:right", "text-align:center")


def test_links_images_and_html_stay_text() -> None:
    text = "![a](http://evil.example/x.png) [b](javascript:x) <http://c.example> <b>d</b> &lt; [r]: http://e.example"
    made = rendered_html(text)
    assert html.unescape(made.removeprefix("<p>").removesuffix("</p>\n")) == html.unescape(html.escape(text))


@pytest.mark.parametrize(
    ("characters", "written"),
    [("\x1b[31m", "\\x1b[31m"), ("\u202e", "\\u202e"), ("\x00", "\\x00"), ("\U000e0041", "\\U000e0041"), ("\r", "\\r")],
)
def test_hidden_characters_are_written_out(characters: str, written: str) -> None:
    assert escape_of(characters) == written
    assert 'class="esc"' in exact_html(characters) and written in exact_html(characters)
    assert written in rendered_html(f"a {characters} b") and written in rendered_html(f"`a {characters} b`")


def test_joiners_stay_where_a_script_needs_them() -> None:
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert visible("👩\u200d🔬") == "👩\u200d🔬"
    assert visible("pass\u200cword") == "pass\\u200cword"


def test_megabytes_without_a_break_come_in_blocks_that_can_be_laid_out() -> None:
    parts = blocks("x" * 1_000_000)
    assert all(b.end - b.start <= MAX_BLOCK and b.cut for b in parts)
    many = blocks("a\n\n" * 100_000)
    assert len(many) <= MAX_BLOCKS + 300_000 // (MAX_BLOCK // 2) + 1


def test_escapes_without_end_are_all_written_out_but_not_all_framed() -> None:
    made = exact_html("a\x1b" * 100_000)
    assert made.count("\\x1b") == 100_000
    assert made.count("<span") <= 5_000
