"""Content keys: sha256 over canonical JSON of exactly what changes the answer."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# Made once: `json.dumps` makes one at every call.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and UTF-8 text, so that equal values give equal strings.

    Lone surrogates (which UTF-8 cannot hold) are written as ``\\udXXX`` escapes.
    Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold.

    >>> canonical_json({"b": 1, "a": "é"})
    '{"a":"é","b":1}'
    """
    text = _ENCODER.encode(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def storable(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which neither UTF-8 nor Parquet can hold.

    >>> storable("a\\ud800b") == "a\\ufffdb"
    True
    """
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def key(*parts: Any) -> str:
    """Hex sha256 (64 characters) over the canonical JSON of ``parts``, as a list.

    A list keeps the boundaries of the parts, so ("ab", "c") and ("a", "bc") differ.

    >>> key("ab", "c") == key("a", "bc")
    False
    """
    return hashlib.sha256(canonical_json(list(parts)).encode("utf-8")).hexdigest()


def trajectory_key(
    prompt_id: str,
    stage: str,
    rendered_key: str,
    policy: str,
    sampling: Mapping[str, Any],
    sample_index: int,
    parent_id: str | None = None,
    *,
    max_tokens: int,
) -> str:
    """A trajectory's id; `rendered_key` is key(messages as rendered), `sampling` the parameters without `max_tokens`.

    The budget is part of it at stage `eval` alone: an evaluation with another one is another evaluation, and
    yesterday's score must not change.
    """
    trajectory_id = key(prompt_id, stage, rendered_key, policy, dict(sampling), sample_index, parent_id)
    return key(trajectory_id, max_tokens) if stage == "eval" else trajectory_id


def seed_of(ident: str) -> int:
    """The seed with which a trajectory of that id is asked for: 31 bits of it, so the same in every run.

    >>> seed_of("ffffffff" + "0" * 56) == 2**31 - 1
    True
    """
    return int(ident[:8], 16) & 0x7FFFFFFF
