"""Checks that a reply is complete and within bounds of length."""

import unicodedata
from collections.abc import Sequence
from typing import ClassVar

from dataengine.checks import Filter, Opinion, Sample
from dataengine.filters.settings import changed, count
from dataengine.filters.tokenizer import Tokenizer

_TOKENS, _CHARACTERS = {"unit": "tokens"}, {"unit": "characters"}


class LengthCheck(Filter):
    """Fails a reply that was cut off at its token limit, or that is outside the bounds given.

    `min_tokens` and `max_tokens` bound tokens, `max_chars` characters (of the composed form, NFC); None is no bound.
    Tokens are the completion tokens that the engine counted, or with `tokenizer` (a shipped model's name, or a folder
    with a tokenizer.json) those that it makes of the text. A reply whose tokens were not counted is undecided where a
    bound on tokens is set. `score` is the tokens, or the characters where tokens were not counted: `details.unit` says
    which, `details.tokenizer` by which tokenizer. The version follows the tokenizer's content, not where it lies.
    """

    name: ClassVar[str] = "length"
    RULES: ClassVar[str] = "2"

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        min_tokens: int | None = None,
        max_chars: int | None = None,
        tokenizer: str | None = None,
    ) -> None:
        bounds = {"max_tokens": max_tokens, "min_tokens": min_tokens, "max_chars": max_chars}
        for setting, value in bounds.items():
            if value is not None:
                count(setting, value)
        if max_tokens is not None and min_tokens is not None and min_tokens > max_tokens:
            raise ValueError(f"min_tokens is {min_tokens}, above max_tokens, which is {max_tokens}")
        self.tokenizer = None if tokenizer is None else Tokenizer(tokenizer)
        given = bounds | {"tokenizer": self.tokenizer and self.tokenizer.digest}
        super().__init__(**changed(type(self).__init__, given))
        self.max_tokens = max_tokens
        self.min_tokens = min_tokens
        self.max_chars = max_chars

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        return self([sample])[0]

    def __call__(self, samples: Sequence[Sample]) -> list[Opinion]:
        """One opinion per sample, in order."""
        if self.tokenizer is None:
            return [
                self._told(s, s.completion_tokens, _CHARACTERS if s.completion_tokens is None else _TOKENS)
                for s in samples
            ]
        details = _TOKENS | {"tokenizer": self.tokenizer.name}
        tokens = self.tokenizer.counts([_composed(s.text) for s in samples])
        return [self._told(s, n, details) for s, n in zip(samples, tokens, strict=True)]

    def _told(self, sample: Sample, tokens: int | None, details: dict[str, str]) -> Opinion:
        chars = 0 if tokens is not None and self.max_chars is None else len(_composed(sample.text))
        score = float(chars if tokens is None else tokens)
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
        return Opinion("pass", score, "", details)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)
