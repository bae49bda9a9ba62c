"""One map of keys: no key twice in a task, none of Streamlit's."""

import pytest

from dashboards.review.keys import KEYS, Key, check_keys, reason_keys
from schemas.errors import ConfigError


def test_the_shipped_map_is_free_of_collisions() -> None:
    check_keys()
    assert len({k.action for k in KEYS}) == len(KEYS)


@pytest.mark.parametrize(
    ("first", "second"),
    [("y", "y"), ("y", "Y"), ("Shift+W", "Shift+w"), ("Ctrl+Shift+K", "Shift+Ctrl+K"), ("1-9", "4"), ("?", "?")],
)
def test_two_actions_on_one_key_are_refused_with_both_names(first: str, second: str) -> None:
    with pytest.raises(ConfigError, match="both 'one' and 'two'"):
        check_keys([Key("one", first, ""), Key("two", second, "")])


@pytest.mark.parametrize("key", ["c", "R", "Ctrl+C", "Shift+R", "Alt+Shift+c"])
def test_keys_of_streamlit_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="belongs to Streamlit"):
        check_keys([Key("mine", key, "")])


@pytest.mark.parametrize("key", ["", "Hyper+X", "yy", "Ctrl+"])
def test_keys_that_cannot_be_read_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        check_keys([Key("mine", key, "")])


def test_a_key_may_mean_one_thing_for_attempts_and_another_for_pairs() -> None:
    check_keys([Key("one", "z", "", "attempt"), Key("two", "z", "", "pair")])
    with pytest.raises(ConfigError):
        check_keys([Key("one", "z", "", "attempt"), Key("two", "z", "")])


def test_reasons_get_digits_as_far_as_there_are_some() -> None:
    keys = [r["key"] for r in reason_keys({f"r{i}": f"Reason {i}" for i in range(11)})]
    assert keys == [*"123456789", "", ""]
