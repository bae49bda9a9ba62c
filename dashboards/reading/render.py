"""A faithful rendering of one block: Markdown without HTML, links or images, and LaTeX in four delimiters."""

import html
import re
from collections.abc import Callable
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from dashboards.reading.exact import framed, hidden
from dashboards.reading.mathml import mathml

# Two noncharacters with a number between them stand for HTML of ours; exact.py writes them out where a text has them.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_PLACE: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_CLOSERS: Final = {r"\(": r"\)", r"\[": r"\]", "$$": "$$", "$": "$"}
_TOKEN: Final = re.compile(
    r"(?P<fence>^ {0,3}(?P<f>`{3,}|~{3,})[^\n]*\n(?s:.*?)(?:^ {0,3}(?P=f)[`~]*[ \t\r]*$|\Z))"
    r"|(?P<code>(?<!`)(?P<c>`{1,20})(?!`)(?:[^`]|(?!(?<!`)(?P=c)(?!`))`){1,2000}(?<!`)(?P=c)(?!`))"
    r"|\\\\|\\\$|(?P<open>\\\(|\\\[|\$\$|\$)",
    re.MULTILINE,
)


def _fence(self: RendererHTML, tokens: list[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    info = escapeHtml(tokens[i].info.strip()[:40])
    label = f'<span class="lang">{info}</span>' if info else ""
    return f"<pre>{label}<code>{escapeHtml(tokens[i].content)}</code></pre>\n"


def _markdown(breaks: bool) -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False, "breaks": breaks})
    made.enable("table")
    # What would make text vanish or become something to click or load stays text.
    made.disable(["image", "link", "autolink", "reference", "html_block", "html_inline", "entity", "code", "lheading"])
    made.add_render_rule("fence", _fence)
    return made


_MARKDOWN: Final = {breaks: _markdown(breaks) for breaks in (True, False)}


class Formulas:
    """How many more formulas may be rendered, over all blocks of a text."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.refused = 0


def rendered_html(text: str, formulas: Formulas | None = None, *, breaks: bool = True) -> str:
    """One block of hostile text as HTML: elements of Markdown and MathML, no links, no attributes from the text.

    Lines end where they end in the text; without `breaks` a paragraph is filled, as in Markdown.
    """
    counter = formulas or Formulas(10_000)
    ours: list[str] = []

    def place(made: str) -> str:
        ours.append(made)
        return f"{_OPEN}{len(ours) - 1}{_CLOSE}"

    clean, at = list[str](), 0
    for found in hidden(text):
        clean += (text[at : found.start()], place(framed(found[0])))
        at = found.end()
    marked = "".join((*clean, text[at:]))
    made = _MARKDOWN[breaks].render(_with_formulas(marked, place, counter)) if marked.strip() else ""
    # A formula's own source, shown when it cannot be rendered, may hold places of hidden characters.
    for _ in range(2):
        made = _PLACE.sub(lambda m: ours[int(m[1])], made)
    return made


def _with_formulas(text: str, place: Callable[[str], str], counter: Formulas) -> str:
    out, at, search = list[str](), 0, 0
    nowhere: set[str] = set()
    while found := _TOKEN.search(text, search):
        search = found.end()
        opener = found["open"]
        if not opener or opener in nowhere:
            continue
        closer = _CLOSERS[opener]
        end = _closing(text, search, closer)
        if end is None:
            nowhere.add(opener)
            continue
        inside = text[search:end]
        if opener == "$" and (not inside or inside[0].isspace() or inside[-1].isspace() or _follows_digit(text, end)):
            continue
        stop = end + len(closer)
        out += (text[at : found.start()], place(_formula(inside, text[found.start() : stop], opener, counter)))
        at = search = stop
    return "".join((*out, text[at:]))


def _closing(text: str, start: int, closer: str) -> int | None:
    """Where the closing delimiter stands, passing over escaped ones."""
    at = text.find(closer, start)
    while closer.startswith("$") and at > start and text[at - 1] == "\\":
        at = text.find(closer, at + 1)
    return at if at >= 0 else None


def _follows_digit(text: str, end: int) -> bool:
    return text[end + 1 : end + 2].isdigit()


def _formula(inside: str, source: str, opener: str, counter: Formulas) -> str:
    block = opener in (r"\[", "$$")
    made = None
    if _OPEN not in inside:
        if counter.left > 0:
            counter.left -= 1
            made = mathml(inside.strip(), block=block)
        else:
            counter.refused += 1
    kind = "display" if block else "inline"
    if made is None:
        return f'<code class="tex {kind}">{html.escape(source, quote=False)}</code>'
    return f'<span class="math {kind}">{made}</span>'
