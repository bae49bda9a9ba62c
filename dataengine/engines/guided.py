"""Replies that must be one of some texts, or JSON of a schema: which tokens may come next."""

import json
from collections.abc import Mapping
from typing import Any

import llguidance
import llguidance.hf
import torch


class Matcher:
    """One reply's place in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> torch.Tensor:
        """Which tokens may come next: booleans [vocabulary]. Raises ValueError when the grammar broke."""
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8)) & 1
        allowed = bits.flatten().bool()[: self._vocabulary]
        missing = self._vocabulary - len(allowed)
        return torch.nn.functional.pad(allowed, (0, missing)) if missing else allowed

    def take(self, token: int) -> None:
        """That token came."""
        self._matcher.consume_token(token)


class Grammars:
    """Makes matchers for one tokenizer; `vocabulary` is the width of the model's logits, `ends` what ends a reply."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: set[int]) -> None:
        self._vocabulary = vocabulary
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(ends))

    def matcher(self, asked: Mapping[str, Any]) -> Matcher:
        """A matcher for `{"choice": [texts]}` or `{"json": schema}`. Raises ValueError for anything else."""
        if set(asked) == {"choice"}:
            texts = asked["choice"]
            if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t for t in texts):
                raise ValueError("structured_outputs.choice must be a list of texts")
            grammar = llguidance.LLMatcher.grammar_from_lark(
                "start: " + " | ".join(json.dumps(t, ensure_ascii=False) for t in texts)
            )
        elif set(asked) == {"json"}:
            schema = asked["json"] if isinstance(asked["json"], str) else json.dumps(asked["json"])
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
        else:
            raise ValueError(
                f"structured_outputs can be `choice` or `json`, not {', '.join(map(str, asked)) or 'none'}"
            )
        if problem := llguidance.LLMatcher.validate_grammar(grammar, self._tokenizer):
            raise ValueError(f"structured_outputs: {problem.splitlines()[0]}")
        return Matcher(llguidance.LLMatcher(self._tokenizer, grammar), self._vocabulary)
