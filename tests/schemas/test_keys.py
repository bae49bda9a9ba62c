"""Equal values have equal keys, different values different ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.keys import canonical_json, key, storable

text = st.text(st.characters())  # lone surrogates included
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_canonical_json_says_the_value_and_fits_in_utf_8(value: object) -> None:
    written = canonical_json(value)
    assert json.loads(written.encode("utf-8")) == value


@given(st.dictionaries(text, st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_there_are_no_spaces_and_no_needless_escapes() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é 😀\n"}) == '{"a":"é 😀\\n","b":[1,2.5]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_numbers_that_json_lacks_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key(value)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        key({1, 2})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a", "b"), (["a", "b"],)),
        (("a",), ("a", None)),
        ((1,), ("1",)),
        ((None,), ("null",)),
        ((True,), (1,)),
        (("\ud800",), ("\\ud800",)),
        (("a\x1fb",), ("a", "b")),
    ],
)
def test_different_parts_have_different_keys(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert key(*one) != key(*other)


def test_a_key_is_the_sha256_of_the_list_of_parts() -> None:
    # sha256 of ["a",{"b":1}], worked out with sha256sum
    assert key("a", {"b": 1}) == "3d6f51e1fd2489c7f062f0347a710fa6a5f238bdd8c8bf55741236400da86492"


@given(text)
def test_storable_text_fits_in_utf_8_and_keeps_its_length(value: str) -> None:
    stored = storable(value)
    stored.encode("utf-8")
    assert len(stored) == len(value)
    assert storable(stored) == stored
    assert all(a == b or b == "\ufffd" for a, b in zip(value, stored, strict=True))
