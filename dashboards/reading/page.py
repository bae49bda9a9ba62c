"""One text as the screen wants it: blocks exact and rendered, marks, places to jump to, and what was left out."""

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from time import thread_time
from typing import Any, Final, NamedTuple, TypedDict

from dashboards.reading.blocks import Block, blocks
from dashboards.reading.exact import MAX_FRAMED, exact_html, visible
from dashboards.reading.places import MAX_SEARCHED, Places, places
from dashboards.reading.render import Formulas, rendered_html

#: Rendering stops behind so many characters and formulas; the exact text never does.
MAX_RENDERED: Final = 100_000
MAX_FORMULAS: Final = 300
MAX_MARKS: Final = 2_000
# A last resort against a text that no bound has thought of; of work, so that a busy machine shows the same.
_SECONDS: Final = 0.4
_CACHED: Final = 300_000
_COLOURS: Final = 6


class Mark(NamedTuple):
    """A span of a text in code points, and what is there."""

    start: int
    end: int
    what: str


class Page(TypedDict):
    """What the screen is given for one text (JSON)."""

    text: str
    exact_blocks: list[str]
    #: None where the block is shown exact.
    html_blocks: list[str | None]
    #: Where each block begins, in code points.
    starts: list[int]
    marks: list[dict[str, Any]]
    legend: list[dict[str, Any]]
    think_end: int | None
    box: int | None
    waits: list[int]
    #: The first block behind the thinking.
    answer_block: int | None
    #: Which blocks are pieces of something longer.
    cut: list[int]
    notes: list[str]


def page(text: str, marks: Iterable[Mark | Mapping[str, Any]] = ()) -> Page:
    """`text` with `marks` ({start, end, what}) for the screen. Do not change what comes back: it is remembered."""
    spans = tuple(m if isinstance(m, Mark) else Mark(m["start"], m["end"], str(m["what"])) for m in marks)
    return _remembered(text, spans) if len(text) <= _CACHED else _page(text, spans)


def guideline_html(text: str) -> str:
    """Markdown of ours as HTML, by the same rules: no HTML in it, links as text."""
    return rendered_html(text, breaks=False)


def _page(text: str, marks: Sequence[Mark]) -> Page:
    notes: list[str] = []
    found = places(text)
    parts = blocks(text, (found.answer,) if found.answer else ())
    inside = sorted({Mark(max(m.start, 0), min(m.end, len(text)), m.what) for m in marks if m.start < len(text)})
    shown = [m for m in inside if m.start < m.end]
    if len(shown) > MAX_MARKS:
        notes.append(f"{len(shown):,} marks: the first {MAX_MARKS:,} are shown")
        shown = shown[:MAX_MARKS]
    colours = {what: i % _COLOURS for i, what in enumerate(dict.fromkeys(m.what for m in shown))}
    rendered = _rendered(text, parts, notes)
    if len(text) > MAX_SEARCHED:
        notes.append(f"{len(text):,} characters: reflective words are looked for in the first {MAX_SEARCHED:,}")
    starts = [b.start for b in parts]
    return Page(
        text=text,
        exact_blocks=_exact(text, parts, shown, found, colours),
        html_blocks=rendered,
        starts=starts,
        marks=[m._asdict() for m in shown],
        legend=[{"what": w, "colour": colours[w], "n": n} for w, n in Counter(m.what for m in shown).items()],
        think_end=found.think_end,
        box=found.box,
        waits=[start for start, _ in found.waits],
        answer_block=starts.index(found.answer) if found.answer in starts else None,
        cut=[i for i, b in enumerate(parts) if b.cut],
        notes=notes,
    )


@lru_cache(maxsize=256)
def _remembered(text: str, marks: tuple[Mark, ...]) -> Page:
    return _page(text, marks)


def _rendered(text: str, parts: Sequence[Block], notes: list[str]) -> list[str | None]:
    formulas, out = Formulas(MAX_FORMULAS), list[str | None]()
    until, stopped = thread_time() + _SECONDS, False
    for block in parts:
        stopped = stopped or block.end > MAX_RENDERED or thread_time() > until
        out.append(None if stopped or block.cut else rendered_html(text[block.start : block.end], formulas))
    if stopped or any(b.cut for b in parts):
        skipped = sum(b.end - b.start for b, made in zip(parts, out, strict=True) if made is None)
        notes.append(f"{skipped:,} of {len(text):,} characters are shown exact only: too long to render")
    if formulas.refused:
        notes.append(f"{formulas.refused:,} formulas behind the first {MAX_FORMULAS:,} are shown as their source")
    return out


def _exact(
    text: str, parts: Sequence[Block], marks: Sequence[Mark], found: Places, colours: Mapping[str, int]
) -> list[str]:
    """The exact blocks with their marks and places: a sweep over all borders."""
    anchors = {start: (end, "wait") for start, end in found.waits}
    if found.box is not None:
        anchors[found.box] = (found.box + (6 if text.startswith("\\boxed", found.box) else 5), "box")
    opening: dict[int, list[int]] = {}
    closing: dict[int, list[int]] = {}
    for i, mark in enumerate(marks):
        opening.setdefault(mark.start, []).append(i)
        closing.setdefault(mark.end, []).append(i)
    borders = sorted({*opening, *closing, *anchors, *(end for end, _ in anchors.values())})
    frames, active, out, b = [MAX_FRAMED], dict[int, None](), list[str](), 0
    anchor: tuple[int, str] | None = None
    for block in parts:
        made, at = [], block.start
        while at < block.end:
            while b < len(borders) and borders[b] <= at:
                for i in closing.get(borders[b], ()):
                    active.pop(i, None)
                active.update(dict.fromkeys(opening.get(borders[b], ())))
                anchor = anchors.get(borders[b], anchor)
                b += 1
            stop = min(borders[b], block.end) if b < len(borders) else block.end
            piece = exact_html(text[at:stop], frames, text[at - 1 : at] if at else "")
            if anchor and at < anchor[0]:
                first = f' data-at="{anchor[1]}"' if at in anchors else ""
                piece = f'<span class="at {anchor[1]}"{first}>{piece}</span>'
            if active:
                piece = _marked(piece, [marks[i] for i in islice(active, 3)], colours, first=at in opening)
            made.append(piece)
            at = stop
        out.append("".join(made))
    return out


def _marked(piece: str, marks: Sequence[Mark], colours: Mapping[str, int], *, first: bool) -> str:
    title = html.escape(visible(", ".join(m.what for m in marks)[:200]))
    at = ' data-at="mark"' if first else ""
    return f'<mark class="m{colours[marks[0].what]}" title="{title}"{at}>{piece}</mark>'
