"""Checks that reasoning is pleasant to read: no walls of text, no code, no tags that leak into the answer."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.columns import Batch, batches, in_original
from dataengine.filters.prose import MOST_SPANS, Found, code_spans, leaked, look, markdown, paragraphs
from dataengine.filters.settings import changed, count, share

_EMPTY = Opinion("undecided", reason="empty")
_REASONS = ("", "tag_in_answer", "code_in_reasoning", "long_paragraph", "no_summary", "we_voice")


class ReadabilityCheck(Filter):
    """Passes when the reasoning is pleasant to read.

    The R1 report drops chains of thought with long paragraphs and code blocks and publishes no thresholds: these are
    ours. A paragraph is what stands between two line breaks. Its length is the room it takes: one for a character, two
    from U+3000 on (Chinese, Japanese, Korean), which say as much in half as many.

    - `long_paragraph` (1000): a paragraph above this length is long.
    - `max_long` (0.1): share of the reasoning in long paragraphs above which it fails (`long_paragraph`).
    - `max_code` (0.0): share of the reasoning in code blocks above which it fails (`code_in_reasoning`).
    - `summary` (false): whether an answer has to say more than an answer tag or a box (`no_summary`).
    - `max_we` (1.0): share of "we" among "we" and "I" above which it fails (`we_voice`); 1.0 asks nothing.

    Tags and special tokens in the answer fail always (`tag_in_answer`), but for those in code. In a reply without
    reasoning all of it is read, and code is welcome. `score` is the share in long paragraphs and code blocks together.
    `details` holds the longest paragraph (`longest`, `longest_words`, `span`), `long_share`, `code_blocks`,
    `code_share`, `code` (spans), `we`, `i`, `summary`, `markdown` (what is there, by part) and `tags`.
    """

    name: ClassVar[str] = "readability"
    RULES: ClassVar[str] = "1"

    def __init__(
        self,
        *,
        long_paragraph: int = 1000,
        max_long: float = 0.1,
        max_code: float = 0.0,
        summary: bool = False,
        max_we: float = 1.0,
    ) -> None:
        if not isinstance(summary, bool):
            raise TypeError(f"summary is {summary!r}; it must be true or false")
        given = {
            "long_paragraph": count("long_paragraph", long_paragraph, 1),
            "max_long": share("max_long", max_long),
            "max_code": share("max_code", max_code),
            "summary": summary,
            "max_we": share("max_we", max_we),
        }
        super().__init__(**changed(type(self).__init__, given))
        self.long_paragraph = long_paragraph
        self.max_long = max_long
        self.max_code = max_code
        self.summary = summary
        self.max_we = max_we

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        opinions = [_EMPTY] * len(samples)
        looked = [(indices, batch, look(batch)) for indices, batch in batches([s.text for s in samples])]
        for indices, batch, found in looked:
            texts = [samples[i].text for i in indices]
            for index, opinion in zip(indices, self._opinions(batch, found, texts), strict=True):
                opinions[index] = opinion
        return opinions

    def _opinions(self, batch: Batch, found: Callable[[], Found], texts: list[str]) -> list[Opinion]:
        # In a reply without reasoning the answer is what is read.
        read = np.arange(batch.count) + np.where(batch.reasoned, 0, batch.count)
        prose, blocks = paragraphs(batch, read, self.long_paragraph), code_spans(batch)
        said = batch.words.within(batch.begin, batch.end).reshape(2, -1).any(0)
        seen = found()
        we, singular = np.where(batch.reasoned, seen.we[0], seen.we[1]), np.where(batch.reasoned, seen.i[0], seen.i[1])
        summary = ~seen.bare & batch.reasoned
        tags, marks = leaked(batch, seen.suspect), markdown(batch, seen.bold)
        tagged = np.zeros(batch.count, dtype=np.bool_)
        tagged[list(tags)] = True
        faults = (
            tagged,
            prose.code_share > self.max_code,
            prose.long_share > self.max_long,
            batch.reasoned & ~summary & self.summary,
            we > self.max_we * (we + singular),
        )
        fault = np.zeros(batch.count, dtype=np.int8)
        for number in range(len(faults), 0, -1):
            fault[faults[number - 1]] = number  # the first of them stays
        shares = prose.long_share, prose.code_share, prose.long_share + prose.code_share
        columns = (said, fault, prose.longest, prose.words, prose.start, prose.end, we, singular, summary)
        rows = zip(*(c.tolist() for c in columns), *(np.round(s, 4).tolist() for s in shares), strict=True)
        opinions, found_more = [], {*blocks, *tags, *marks}
        for reply, row in enumerate(rows):
            any_word, number, longest, words, start, end, plural, i, summed, long_share, code_share, score = row
            if not any_word:
                opinions.append(_EMPTY)
                continue
            details: dict[str, Any] = {
                "longest": longest,
                "longest_words": words,
                "long_share": long_share,
                "code_blocks": 0,
                "code_share": code_share,
                "we": plural,
                "i": i,
                "summary": summed,
            }
            if end > start:
                details["span"] = [start, end]
            if reply in found_more:
                if reply in blocks:
                    details |= {"code_blocks": len(blocks[reply]), "code": blocks[reply][:MOST_SPANS]}
                if reply in tags:
                    details["tags"] = tags[reply]
                if reply in marks:
                    details["markdown"] = marks[reply]
            if not batch.ascii and texts[reply] != batch.texts[reply]:
                _place(details, texts[reply], batch.texts[reply])
            opinions.append(Opinion("fail" if number else "pass", score, _REASONS[number], details))
        return opinions


def _place(details: dict[str, Any], text: str, composed: str) -> None:
    """Turns the offsets of spans, which are in the composed text, to offsets in the text itself."""
    spans = [*([details["span"]] if "span" in details else ()), *details.get("code", ()), *details.get("tags", ())]
    offsets = in_original(text, composed, [offset for span in spans for offset in span[:2]])
    for span, start, end in zip(spans, offsets[::2], offsets[1::2], strict=True):
        span[:2] = start, end
