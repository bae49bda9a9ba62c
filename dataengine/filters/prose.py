"""What is measured of how a reply reads: paragraphs, code blocks, markdown, voice, summary, tags that leak."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import polars as pl

from dataengine.filters.bits import Mask, Numbers
from dataengine.filters.columns import Batch, Questions
from dataengine.filters.phrases import PLURAL, SINGULAR, patterns

#: Spans of one kind that are listed as evidence.
MOST_SPANS = 20

_BRACED = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
_BARE = rf"(?s)\A\s*(?:<answer>.*</answer>|[$\\(\[\s]*boxed{_BRACED}[$\\)\].\s]*)?\s*\z"
# Tags and special tokens of chat templates (not <s>, which HTML has too), for Rust and Python alike.
_TOKENS = (
    r"</?think>|<\|[A-Za-z/][A-Za-z0-9_.:/-]{1,40}\|>|<｜[A-Za-z▁]{2,40}｜>|\|special_token\||\[/?INST\]|<</?SYS>>"
    r"|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|</?(?:[Tt]hought|thinking|reasoning|scratchpad)>"
    r"|</?tool_(?:call|response)>|### (?:Instruction|Response|Human|User|Assistant):"
)
_TAG = re.compile(rf"{_TOKENS}|</?answer>")


def _questions(*, plain: bool) -> Questions:
    counted = {
        "bold": [r"\*\*[^*\s][^*\n]*\*\*"],
        "we": patterns(PLURAL, plain=plain),
        "i": patterns(SINGULAR, plain=plain),
    }
    answer = pl.col("answer").str
    asked = {
        "bare": answer.contains(_BARE),
        "tokens": answer.contains(_TOKENS),
        "tags": answer.count_matches("</?answer>"),
        "paired": answer.contains("(?s)<answer>.*</answer>"),
    }
    return Questions(counted, asked)


_PLAIN, _ALL = _questions(plain=True), _questions(plain=False)


@dataclass(frozen=True)
class Paragraphs:
    """Of one piece of each reply: its longest paragraph (room, words, offsets) and two shares of its room."""

    longest: Numbers
    words: Numbers
    start: Numbers
    end: Numbers
    long_share: npt.NDArray[np.float64]
    code_share: npt.NDArray[np.float64]


def paragraphs(batch: Batch, read: Numbers, long: int) -> Paragraphs:
    """The paragraphs of the pieces `read`: lines outside of code blocks; those above `long` are long."""
    lines, code, pieces = batch.lines, batch.structure.code, len(batch.begin)
    room = np.where(batch.filled, batch.room, 0)
    prose = np.where(code, 0, room)
    longest = np.maximum.reduceat(prose, lines.first)
    top = np.flatnonzero(prose == longest[lines.piece])[::-1]
    line = np.zeros(pieces, dtype=np.int64)
    line[lines.piece[top]] = top  # of several the first stays
    above, inside = np.flatnonzero(prose > long), np.flatnonzero(code)
    whole = np.maximum(np.add.reduceat(room, lines.first), 1)
    long_share = np.bincount(lines.piece[above], prose[above], minlength=pieces) / whole
    code_share = np.bincount(lines.piece[inside], room[inside], minlength=pieces) / whole
    begin = lines.begin[line[read]]
    end = np.where(longest[read] > 0, lines.end[line[read]], begin)
    return Paragraphs(
        longest[read],
        batch.words.within(begin, end),
        batch.offsets(read, begin),
        batch.offsets(read, end),
        long_share[read],
        code_share[read] * batch.reasoned,
    )


def code_spans(batch: Batch) -> dict[int, list[list[int]]]:
    """By reply the code blocks in its reasoning, as [start, end] in characters of the composed text."""
    lines, blocks = batch.lines, batch.structure.blocks
    blocks = blocks[lines.piece[blocks[:, 0]] < batch.count]
    piece = lines.piece[blocks[:, 0]]
    starts = batch.offsets(piece, lines.begin[blocks[:, 0]])
    ends = batch.offsets(piece, lines.end[blocks[:, 1]])
    spans: dict[int, list[list[int]]] = {}
    for reply, start, end in zip(piece.tolist(), starts.tolist(), ends.tolist(), strict=True):
        spans.setdefault(reply, []).append([start, end])
    return spans


@dataclass(frozen=True)
class Found:
    """What patterns find in each reply.

    How often bold text, "we", "I" in reasoning and answer, (2, replies); whether the answer is bare of words, holding
    nothing, an answer tag or a box alone; whether it is `suspect` of tags that do not belong there: `leaked` tells.
    """

    bold: Numbers
    we: Numbers
    i: Numbers
    bare: Mask
    suspect: Mask


def look(batch: Batch) -> Callable[[], Found]:
    """Starts to look for all of these at once; the call gives what was found."""
    asked = batch.ask(_PLAIN if batch.ascii else _ALL)

    def found() -> Found:
        told = asked()
        tags = told["tags"]
        suspect = (told["tokens"] > 0) | (tags == 1) | (tags > 2) | (tags == 2) & (told["paired"] == 0)
        return Found(told["bold"], told["we"], told["i"], told["bare"] > 0, suspect)

    return found


def markdown(batch: Batch, bold: Numbers) -> dict[int, dict[str, dict[str, int]]]:
    """By reply and part (`reasoning`, `answer`) how much there is of what markdown there is."""
    lines, known = batch.lines, batch.structure
    kinds = {"headings": known.headings, "list_items": known.items, "tables": known.tables}
    columns = {name: np.bincount(lines.piece[chosen], minlength=len(batch.begin)) for name, chosen in kinds.items()}
    marks: dict[int, dict[str, dict[str, int]]] = {}
    for name, column in (columns | {"bold": bold.ravel()}).items():
        for piece in np.flatnonzero(column).tolist():
            parts = marks.setdefault(piece % batch.count, {})
            parts.setdefault("reasoning" if piece < batch.count else "answer", {})[name] = int(column[piece])
    return marks


def leaked(batch: Batch, suspect: Mask) -> dict[int, list[list[int | str]]]:
    """By reply the first tags and special tokens in its answer: [start, end, tag], in characters of the composed text.

    Those in code do not count, nor does one pair of answer tags.
    """
    tags = ((reply, list(islice(_leaks(batch, reply), MOST_SPANS))) for reply in np.flatnonzero(suspect).tolist())
    return {reply: leaks for reply, leaks in tags if leaks}


def _leaks(batch: Batch, reply: int) -> Iterator[list[int | str]]:
    offset, byte = int(batch.at[batch.count + reply]), int(batch.begin[batch.count + reply])
    answer = batch.texts[reply][offset:]
    at, inside, before = 0, False, False
    for match in _TAG.finditer(answer):
        tag = match.group()
        byte += len(answer[at : match.start()].encode("utf-8", "replace"))
        at = match.start()
        if tag == "<answer>" and not before:
            inside = before = True
        elif tag == "</answer>" and inside:
            inside = False
        elif answer[at - 1 : at] != "`" and not batch.structure.code[batch.lines.at(byte)]:
            yield [offset + at, offset + match.end(), tag]
