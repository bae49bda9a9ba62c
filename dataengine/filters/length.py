"""Checks that a reply is complete and within bounds of length."""

from typing import ClassVar

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.settings import changed, count


class LengthCheck(Filter):
    """Fails a reply that was cut off at its token limit, or that is outside the bounds given.

    `min_tokens` and `max_tokens` bound completion tokens, `max_chars` characters; None is no bound. A reply whose
    tokens were not counted is undecided where a bound on tokens is set. `score` is the completion tokens, or the
    characters where tokens were not counted (`details.unit` says which).
    """

    name: ClassVar[str] = "length"
    RULES: ClassVar[str] = "1"

    def __init__(
        self, *, max_tokens: int | None = None, min_tokens: int | None = None, max_chars: int | None = None
    ) -> None:
        given = {"max_tokens": max_tokens, "min_tokens": min_tokens, "max_chars": max_chars}
        for setting, value in given.items():
            if value is not None:
                count(setting, value)
        if max_tokens is not None and min_tokens is not None and min_tokens > max_tokens:
            raise ValueError(f"min_tokens is {min_tokens}, above max_tokens, which is {max_tokens}")
        super().__init__(**changed(type(self).__init__, given))
        self.max_tokens = max_tokens
        self.min_tokens = min_tokens
        self.max_chars = max_chars

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        tokens, chars = sample.completion_tokens, len(sample.text)
        score = float(chars if tokens is None else tokens)
        details = {"unit": "characters" if tokens is None else "tokens"}
        if sample.finish_reason == "length":
            return Opinion("fail", score, "truncated", details)
        if self.max_chars is not None and chars > self.max_chars:
            return Opinion("fail", score, "too_long", details)
        if tokens is None:
            if self.max_tokens is not None or self.min_tokens is not None:
                return Opinion("undecided", score, "tokens_unknown", details)
        elif self.max_tokens is not None and tokens > self.max_tokens:
            return Opinion("fail", score, "too_long", details)
        elif self.min_tokens is not None and tokens < self.min_tokens:
            return Opinion("fail", score, "too_short", details)
        return Opinion("pass", score, details=details)
