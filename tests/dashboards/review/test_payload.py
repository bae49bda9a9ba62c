"""What a browser sends is taken only as agreed."""

from typing import Any

import pytest

from dashboards.review.screen import _act, _draft

ACT: dict[str, Any] = {
    "task": "q/1", "nonce": "0123456789abcdef", "do": "reject", "text": None, "note": "n", "reasons": ["a", "a", "b"],
}  # fmt: skip
DRAFT: dict[str, Any] = {
    "task": "q/1", "n": 7, "seen": 3, "window": "w", "text": "t", "note": "", "reasons": [], "verdict": "flag"
}  # fmt: skip


def test_an_act_as_agreed_comes_through() -> None:
    assert _act(ACT) == {**ACT, "reasons": ["a", "b"]}
    assert _draft(DRAFT) == DRAFT


@pytest.mark.parametrize(
    "change",
    [
        {"do": "withdraw"}, {"do": ["approve"]}, {"do": None}, {"task": 5}, {"nonce": "x"}, {"nonce": None},
        {"nonce": "../../../../etc"},
    ],
)  # fmt: skip
def test_what_is_no_act_is_none(change: dict[str, Any]) -> None:
    assert _act({**ACT, **change}) is None


@pytest.mark.parametrize("raw", [None, "approve", 5, [], {}, {"do": "approve"}])
def test_anything_else_is_none(raw: object) -> None:
    assert _act(raw) is None
    assert _draft(raw) is None
    assert _draft({**DRAFT, "n": raw if raw != 5 else float("inf")}) is None


def test_fields_of_other_types_are_dropped() -> None:
    changed = {"text": 5, "note": ["x"], "reasons": [1, "a", {}]}
    assert _act({**ACT, **changed}) == {**ACT, "text": None, "note": "", "reasons": ["a"]}
    act = _act({**ACT, "note": "n" * 1_000_000, "text": "t" * 30_000_000})
    assert act and (len(act["note"]), act["text"]) == (20_000, None)
    draft = _draft({**DRAFT, "verdict": "<b>", "seen": None, "window": 9})
    assert draft and (draft["verdict"], draft["seen"], draft["window"]) == (None, 0, "")
