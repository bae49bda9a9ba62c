"""A judge's reply, read strictly: one JSON object of the form that was asked for, or why there is no verdict."""

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.keys import storable

# Why a reply is no verdict, in the words of `Verdict.reason`.
TRUNCATED = "truncated"
UNPARSEABLE = "unparseable"
REPEATED_KEY = "repeated_key"
WRONG_KEYS = "wrong_keys"
WRONG_TYPE = "wrong_type"
UNKNOWN_VERDICT = "unknown_verdict"
REASONS = (TRUNCATED, UNPARSEABLE, REPEATED_KEY, WRONG_KEYS, WRONG_TYPE, UNKNOWN_VERDICT)


@dataclass(frozen=True)
class Said:
    """What a reply says: a verdict, or in `reason` why it is none."""

    verdict: str | None = None
    analysis: str | None = None
    reason: str = ""


class _RepeatedKey(ValueError):
    pass


def read_reply(
    text: str, finish_reason: str | None, words: Container[str], fields: Sequence[str] = ("analysis", "verdict")
) -> Said:
    """The verdict of a reply that is `{"analysis": TEXT, "verdict": WORD}`, the word one of `words`, and nothing else.

    `fields` are the keys that it must have, all of them texts.

    White space may stand around the object. Nothing is guessed: prose, a code fence, a key too many, twice or missing,
    a word in another case or language is no verdict, and neither is a reply that was cut off, whatever its start says.

    >>> read_reply('{"analysis": "Both say 4.", "verdict": "correct"}', "stop", {"correct", "incorrect"})
    Said(verdict='correct', analysis='Both say 4.', reason='')
    >>> read_reply('correct', "stop", {"correct", "incorrect"}).reason
    'unparseable'
    """
    if finish_reason == "length":
        return Said(reason=TRUNCATED)
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except _RepeatedKey:
        return Said(reason=REPEATED_KEY)
    except (ValueError, RecursionError):
        return Said(reason=UNPARSEABLE)
    if not isinstance(value, dict):
        return Said(reason=WRONG_TYPE)
    if set(value) != set(fields):
        return Said(reason=WRONG_KEYS)
    if not all(isinstance(said, str) for said in value.values()):
        return Said(reason=WRONG_TYPE)
    analysis, verdict = value["analysis"], value["verdict"]
    if verdict not in words:
        return Said(None, storable(analysis), UNKNOWN_VERDICT)
    return Said(verdict, storable(analysis))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _RepeatedKey
    return made
