"""Checks that a reply keeps the form that was asked for: reasoning in think tags, a summary, one answer tag."""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.settings import changed

Presence = Literal["required", "optional", "forbidden"]

_TAG = re.compile(r"(</?(?:think|answer)>)")


class FormatCheck(Filter):
    """Passes for ``<think>reasoning</think> summary <answer>answer</answer>`` and nothing after it.

    `thinking` and `answer_tag` say whether those tags are required, optional or forbidden; `summary` asks for text
    beside the answer tag. The reason of a failure is a code such as `no_think` or `text_after_answer`; a rewrite that
    did not come in the form that it was asked for fails with `not_as_asked`, whatever its text looks like.
    """

    name: ClassVar[str] = "format"
    RULES: ClassVar[str] = "1"

    def __init__(
        self, *, thinking: Presence = "required", answer_tag: Presence = "required", summary: bool = True
    ) -> None:
        for setting, value in (("thinking", thinking), ("answer_tag", answer_tag)):
            if value not in get_args(Presence):
                raise ValueError(f"{setting} is {value!r}; it must be one of {', '.join(get_args(Presence))}")
        if not isinstance(summary, bool):
            raise TypeError(f"summary is {summary!r}; it must be true or false")
        given = {"thinking": thinking, "answer_tag": answer_tag, "summary": summary}
        super().__init__(**changed(type(self).__init__, given))
        self.thinking = thinking
        self.answer_tag = answer_tag
        self.summary = summary

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        known: dict[tuple[str | bool, ...], Opinion] = {}  # most replies of a batch have one of a few forms
        opinions = []
        for sample in samples:
            pieces = _TAG.split(sample.text)
            tags, blank = pieces[1::2], [not piece or piece.isspace() for piece in pieces[::2]]
            # A rewrite that has parts of its own has them; one that has none was not in the form that it was asked for.
            unread = sample.parent is not None and sample.reasoning is None and sample.answer is None
            form = (*tags, *blank, unread)
            opinion = known.get(form)
            if opinion is None:
                problem = self.problem(tags, blank) or ("not_as_asked" if unread else "")
                opinion = known[form] = Opinion("fail", 0.0, problem) if problem else Opinion("pass", 1.0)
            opinions.append(opinion)
        return opinions

    def problem(self, tags: list[str], blank: list[bool]) -> str:
        """The code of the first thing wrong with the form of a reply, or an empty string.

        `tags` are its tags in order, `blank` says of each piece of text before, between and after them whether it holds
        nothing but space.
        """
        if not tags and blank[0]:
            return "empty"
        thinks = [n for n, tag in enumerate(tags) if "think" in tag]
        if not thinks:
            return "no_think" if self.thinking == "required" else self._answer(tags, blank)
        return self._think(tags, thinks, blank) or self._answer(tags[2:], blank[2:])

    def _think(self, tags: list[str], thinks: list[int], blank: list[bool]) -> str:
        """What is wrong with the reasoning; where nothing is, it is what stands between the first two tags."""
        if self.thinking == "forbidden":
            return "thinking_forbidden"
        if tags[thinks[0]] == "</think>":
            return "unopened_think"
        if thinks[0] > 0 or not blank[0]:
            return "text_before_think"
        if len(thinks) == 1:
            return "unclosed_think"
        if tags[thinks[1]] == "<think>":
            return "nested_think"
        if len(thinks) > 2:
            return "several_think"
        if thinks[1] > 1:
            return "tag_in_reasoning"
        return "empty_reasoning" if blank[1] else ""

    def _answer(self, tags: list[str], blank: list[bool]) -> str:
        """What is wrong with the visible part of a reply."""
        if not tags:
            if self.answer_tag == "required":
                return "no_answer"
            return "no_summary" if blank[0] else ""
        if self.answer_tag == "forbidden":
            return "answer_tag_forbidden"
        if tags[0] == "</answer>":
            return "unopened_answer"
        if len(tags) == 1:
            return "unclosed_answer"
        if tags[1] == "<answer>":
            return "nested_answer"
        if len(tags) > 2:
            return "several_answers"
        if blank[1]:
            return "empty_answer"
        if not blank[2]:
            return "text_after_answer"
        return "no_summary" if self.summary and blank[0] else ""
