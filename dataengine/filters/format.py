"""Checks that a reply keeps the form that was asked for: reasoning in think tags, a summary, one answer tag."""

import re
from typing import ClassVar, Literal, get_args

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.settings import changed

Presence = Literal["required", "optional", "forbidden"]

_TAG = re.compile(r"</?(?:think|answer)>")


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
        # A rewrite that has parts of its own has them; one that has none was not in the form that it was asked for.
        unread = sample.parent is not None and sample.reasoning is None and sample.answer is None
        problem = self.problem(sample.text) or ("not_as_asked" if unread else "")
        return Opinion("fail", 0.0, problem) if problem else Opinion("pass", 1.0)

    def problem(self, text: str) -> str:
        """The code of the first thing wrong with the form of `text`, or an empty string."""
        if not text.strip():
            return "empty"
        problem, rest = self._think(text)
        return problem or self._answer(rest)

    def _think(self, text: str) -> tuple[str, str]:
        """What is wrong with the reasoning, and the text after it."""
        tags = [(m.group(), m.start(), m.end()) for m in _TAG.finditer(text)]
        thinks = [t for t in tags if t[0] in ("<think>", "</think>")]
        if not thinks:
            return ("no_think" if self.thinking == "required" else ""), text
        if self.thinking == "forbidden":
            return "thinking_forbidden", ""
        opening, start, inside = thinks[0]
        if opening == "</think>":
            return "unopened_think", ""
        if text[:start].strip():
            return "text_before_think", ""
        if len(thinks) == 1:
            return "unclosed_think", ""
        if thinks[1][0] == "<think>":
            return "nested_think", ""
        _, end, after = thinks[1]
        if len(thinks) > 2:
            return "several_think", ""
        if any(inside <= at < end for name, at, _ in tags if "answer" in name):
            return "tag_in_reasoning", ""
        if not text[inside:end].strip():
            return "empty_reasoning", ""
        return "", text[after:]

    def _answer(self, text: str) -> str:
        """What is wrong with the visible part of a reply."""
        tags = [(m.group(), m.start(), m.end()) for m in _TAG.finditer(text)]
        if not tags:
            if self.answer_tag == "required":
                return "no_answer"
            return "" if text.strip() else "no_summary"
        if self.answer_tag == "forbidden":
            return "answer_tag_forbidden"
        if tags[0][0] == "</answer>":
            return "unopened_answer"
        if len(tags) == 1:
            return "unclosed_answer"
        if tags[1][0] == "<answer>":
            return "nested_answer"
        if len(tags) > 2:
            return "several_answers"
        (_, start, inside), (_, end, after) = tags
        if not text[inside:end].strip():
            return "empty_answer"
        if text[after:].strip():
            return "text_after_answer"
        return "no_summary" if self.summary and not text[:start].strip() else ""
