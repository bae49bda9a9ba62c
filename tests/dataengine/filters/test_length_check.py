"""Cut-off replies and replies out of bounds fail."""

from typing import Any

import pytest

from dataengine.checks import Opinion, Sample
from dataengine.filters.length import LengthCheck


def ask(settings: dict[str, Any], **fields: Any) -> Opinion:
    (opinion,) = LengthCheck(**settings)([Sample(**({"text": "12345"} | fields))])
    return opinion


def test_a_cut_off_reply_fails() -> None:
    assert ask({}, finish_reason="length", completion_tokens=9).reason == "truncated"
    assert ask({}, finish_reason="stop", completion_tokens=9).outcome == "pass"


def test_score_is_tokens_or_else_characters() -> None:
    assert ask({}, completion_tokens=9).score == 9
    counted = ask({})
    assert (counted.score, counted.details["unit"]) == (5, "characters")


def test_bounds_are_inclusive() -> None:
    assert ask({"max_tokens": 9}, completion_tokens=9).outcome == "pass"
    assert ask({"max_tokens": 8}, completion_tokens=9).reason == "too_long"
    assert ask({"min_tokens": 10}, completion_tokens=9).reason == "too_short"
    assert ask({"max_chars": 5}).outcome == "pass"
    assert ask({"max_chars": 4}).reason == "too_long"


def test_a_bound_on_tokens_that_were_not_counted_is_undecided() -> None:
    assert ask({"max_tokens": 8}).outcome == "undecided"


@pytest.mark.parametrize("settings", [{"max_tokens": -1}, {"min_tokens": 5, "max_tokens": 4}])
def test_impossible_bounds_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tokens"):
        LengthCheck(**settings)


@pytest.mark.parametrize("settings", [{"max_tokens": "9"}, {"max_tokens": True}, {"max_token": 9}])
def test_wrong_kinds_of_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        LengthCheck(**settings)
