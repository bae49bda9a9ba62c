"""Cut-off replies and replies out of bounds fail."""

from pathlib import Path
from typing import Any

import pytest

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters.length import LengthCheck
from schemas.errors import ConfigError


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


def folder_of(place: Path, words: list[str]) -> str:
    """A folder with a tokenizer of one token for each of these words, and one for all others."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: n for n, w in enumerate(["?", *words])}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    place.mkdir()
    made.enable_truncation(2)
    made.save(str(place / "tokenizer.json"))
    return str(place)


def test_a_named_tokenizer_counts_instead_of_the_engine(tmp_path: Path) -> None:
    settings = {"tokenizer": folder_of(tmp_path / "words", ["three"]), "max_tokens": 3}
    counted = ask(settings, text="three and four", completion_tokens=99)
    assert (counted.outcome, counted.score, counted.details["unit"]) == ("pass", 3.0, "tokens")
    assert counted.details["tokenizer"].startswith("words@")
    assert ask(settings, text="three and four, é").reason == "too_long"
    assert ask(settings, text="").score == 0
    assert ask(settings, text="\ud800 \x00 e\u0301") == ask(settings, text="\ud800 \x00 é")
    assert ask(settings, text="a", finish_reason="length").reason == "truncated"


def test_the_version_follows_what_the_tokenizer_is_and_not_where(tmp_path: Path) -> None:
    one, same, other = (folder_of(tmp_path / n, [n[0]]) for n in ("a1", "a2", "b"))
    versions = [LengthCheck(tokenizer=folder).version for folder in (one, same, other)]
    assert versions[0] == versions[1] != versions[2] != LengthCheck().version


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    for wrong in (str(tmp_path), str(tmp_path / "none"), 7):
        with pytest.raises(ConfigError, match="check length: tokenizer is"):
            load_check("length", {"tokenizer": wrong})


def test_characters_are_those_of_the_composed_form() -> None:
    assert ask({"max_chars": 1}, text="e\u0301") == ask({"max_chars": 1}, text="é")
