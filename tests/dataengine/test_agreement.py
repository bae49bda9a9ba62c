"""Figures of agreement: those of published examples, those of another implementation, and what has to hold of any."""

import math
import random
from collections.abc import Sequence
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dataengine.agreement import (
    Figure,
    Level,
    cohen,
    cohen_kappa,
    fleiss_kappa,
    kappas,
    krippendorff_alpha,
    percent,
    wilson,
)

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
# What four observers said of twelve units (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
# How often each of five labels was given to each of ten subjects by fourteen raters.
FOURTEEN = (
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
)

Table = Sequence[Sequence[Any]]
values = st.one_of(st.none(), st.integers(1, 4))
# Raters x items.
tables = st.integers(2, 6).flatmap(
    lambda items: st.lists(st.lists(values, min_size=items, max_size=items), min_size=2, max_size=5)
)


def long(table: Table) -> tuple[list[int], list[Any]]:
    """Raters x items as the two sequences that the figures take."""
    return [i for row in table for i in range(len(row))], [v for row in table for v in row]


def of_counts(counts: Table) -> tuple[list[int], list[int]]:
    cells = [(i, label, n) for i, row in enumerate(counts) for label, n in enumerate(row)]
    return [i for i, _, n in cells for _ in range(n)], [label for _, label, n in cells for _ in range(n)]


def close(a: float | None, b: float | None) -> bool:
    return a is b is None or (a is not None and b is not None and math.isclose(a, b, abs_tol=1e-9))


def same(a: Figure, b: Figure) -> None:
    assert all(close(x, y) for x, y in ((a.value, b.value), (a.low, b.low), (a.high, b.high)))


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_alpha_of_his_four_observers(level: Level, alpha: float) -> None:
    found = krippendorff_alpha(*long(OBSERVERS), level)
    assert found.value == pytest.approx(alpha, abs=0.0005)
    # One of the twelve was rated once.
    assert (found.items, found.ratings, found.dropped) == (11, 40, 1)
    assert found.low is not None and found.high is not None and found.low < alpha < found.high


def test_fleiss_kappa_of_fourteen_raters() -> None:
    found = fleiss_kappa(*of_counts(FOURTEEN))
    assert found.value == pytest.approx(0.210, abs=0.0005)
    assert (found.items, found.ratings) == (10, 140)


def test_cohens_kappa_of_his_two_hundred_cases() -> None:
    # Cohen 1960: observed 0.70, expected 0.41.
    table = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    assert cohen(table).value == pytest.approx((0.70 - 0.41) / (1 - 0.41))
    first = [a for a, row in enumerate(table) for n in row for _ in range(n)]
    second = [b for row in table for b, n in enumerate(row) for _ in range(n)]
    assert cohen_kappa(first, second) == cohen(table)
    assert percent(list(range(200)) * 2, first + second).value == pytest.approx(0.70)


def test_the_interval_of_kappa_is_about_that_of_its_standard_error() -> None:
    # sqrt(p (1 - p) / (n (1 - pe)^2)) as in Cohen 1960: 0.055.
    found = cohen([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
    assert found.low == pytest.approx(0.4915 - 1.96 * 0.055, abs=0.02)
    assert found.high == pytest.approx(0.4915 + 1.96 * 0.055, abs=0.02)


@given(tables, st.sampled_from(LEVELS))
def test_alpha_is_that_of_the_krippendorff_package(table: Table, level: Level) -> None:
    found = krippendorff_alpha(*long(table), level)
    matrix = np.array([[np.nan if v is None else v for v in row] for row in table], dtype=float)
    pairable = matrix[:, (~np.isnan(matrix)).sum(axis=0) >= 2]
    if len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        assert found.value is None
    else:
        assert close(found.value, krippendorff.alpha(reliability_data=matrix, level_of_measurement=level))


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=2, max_size=8), st.floats(-1e4, 1e4))
def test_interval_alpha_does_not_hang_on_where_values_are_counted_from(rows: Table, shift: float) -> None:
    rounded = [[round(v, 3) for v in row] for row in rows]
    assume(len({v for row in rounded for v in row}) > 1)
    table = list(zip(*rounded, strict=True))
    moved = [[v + shift for v in row] for row in table]
    first, second = (krippendorff_alpha(*long(t), "interval").value for t in (table, moved))
    assert first is not None and second is not None and math.isclose(first, second, abs_tol=1e-4)


@given(tables, st.permutations([1, 2, 3, 4]))
def test_names_of_labels_do_not_matter_where_they_have_no_order(table: Table, names: list[int]) -> None:
    renamed = [[None if v is None else f"label {names[v - 1]}" for v in row] for row in table]
    for figure in (percent, krippendorff_alpha, lambda *r: fleiss_kappa(*r, n=2)):
        assert close(figure(*long(table)).value, figure(*long(renamed)).value)
    assert close(cohen_kappa(*table[:2]).value, cohen_kappa(*renamed[:2]).value)


@settings(max_examples=25)
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_items_and_raters_changes_nothing_not_the_interval_either(
    table: Table, chance: random.Random
) -> None:
    columns = list(range(len(table[0])))
    chance.shuffle(columns)
    rows = list(table)
    chance.shuffle(rows)
    turned = [[row[c] for c in columns] for row in rows]
    for level in LEVELS:
        same(krippendorff_alpha(*long(table), level), krippendorff_alpha(*long(turned), level))
    same(percent(*long(table)), percent(*long(turned)))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(2, 5))
def test_raters_who_say_the_same_agree_entirely(said: list[int], raters: int) -> None:
    table = [said] * raters
    assert percent(*long(table)).value == 1
    kappa, alphas = fleiss_kappa(*long(table)), [krippendorff_alpha(*long(table), level) for level in LEVELS]
    if len(set(said)) == 1:
        # By chance they would agree as well, so nothing is known.
        assert kappa.value is None and [a.value for a in alphas] == [None] * 3
    else:
        assert [f.value for f in (kappa, cohen_kappa(said, said), *alphas)] == [pytest.approx(1)] * 5


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=20))
def test_kappa_is_the_same_from_either_side(pairs: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    assert close(cohen_kappa(first, second).value, cohen_kappa(second, first).value)


def test_who_always_says_the_opposite_is_below_chance() -> None:
    said = ["a", "b"] * 10
    other = ["b", "a"] * 10
    assert cohen_kappa(said, other).value == pytest.approx(-1)
    assert percent(*long([said, other])).value == 0


def test_ordinal_alpha_forgives_neighbours_and_nominal_alpha_does_not() -> None:
    near, far = [["a", "b", "c", "a"], ["b", "b", "c", "a"]], [["a", "b", "c", "a"], ["c", "b", "c", "a"]]

    def ordinal(table: Table, order: str = "abc") -> float:
        found = krippendorff_alpha(*long(table), "ordinal", order=order).value
        assert found is not None
        return found

    assert ordinal(near) > ordinal(far)
    # In another order a and c are the neighbours.
    assert ordinal(near, "acb") < ordinal(near) and ordinal(far, "acb") > ordinal(far)
    with pytest.raises(ValueError, match="values that the order lacks: 'c'"):
        ordinal(near, "ab")


def test_items_with_another_number_of_ratings_are_refused_or_dropped_and_counted() -> None:
    items, labels = [1, 1, 2, 2, 3, 3, 3, 4], ["a", "a", "b", "a", "b", "b", "a", "a"]
    with pytest.raises(ValueError, match="items have 1, 2, 3 ratings; Fleiss' kappa wants equally many"):
        fleiss_kappa(items, labels)
    found = fleiss_kappa(items, labels, n=2)
    assert (found.items, found.ratings, found.dropped) == (2, 4, 2)
    # P = (1 + 0) / 2, Pe = 0.75^2 + 0.25^2.
    assert found.value == pytest.approx((0.5 - 0.625) / 0.375)
    with pytest.raises(ValueError, match="n is 1"):
        fleiss_kappa(items, labels, n=1)


def test_without_an_item_that_two_rated_there_is_no_figure() -> None:
    nothing = Figure(None, None, None, 0, 0, 2)
    items, labels = [1, 2], ["a", "b"]
    assert [percent(items, labels), fleiss_kappa(items, labels, n=2)] == [nothing] * 2
    assert [krippendorff_alpha(items, [1, 2], level) for level in LEVELS] == [nothing] * 3
    assert cohen_kappa(["a", None], [None, "b"]) == nothing
    assert percent([], []) == Figure(None, None, None, 0, 0, 0)
    assert cohen_kappa([], []).value is None


def test_what_is_missing_counts_for_nothing() -> None:
    nan = float("nan")
    table: Table
    with_missing: Table
    table, with_missing = [[1, 2, 3], [1, 2, 2]], [[1, 2, 3, None], [1, 2, 2, 3], [None, nan, None, nan]]
    for level in LEVELS:
        assert close(
            krippendorff_alpha(*long(with_missing), level).value, krippendorff_alpha(*long(table), level).value
        )


def test_an_interval_narrows_with_the_items_and_is_the_same_each_time() -> None:
    chance = random.Random(7)
    truth = [chance.choice("ab") for _ in range(400)]
    table = [[t if chance.random() < 0.8 else "b" for t in truth] for _ in range(3)]
    few = krippendorff_alpha(*long([row[:40] for row in table]))
    many = krippendorff_alpha(*long(table))
    assert few.low is not None and few.high is not None and many.low is not None and many.high is not None
    assert 2 < (few.high - few.low) / (many.high - many.low) < 5
    assert many == krippendorff_alpha(*long(table))
    assert many.low != krippendorff_alpha(*long(table), seed=1).low


def test_two_who_never_differed_have_an_interval_with_width_all_the_same() -> None:
    few, many = cohen([[3, 0], [0, 3]]), cohen([[300, 0], [0, 300]])
    assert few.value == many.value == 1
    assert few.low is not None and many.low is not None and few.low < 0.7 < many.low


def test_kappas_of_many_tables_at_once() -> None:
    tables = np.array([[[20, 5], [10, 15]], [[5, 0], [0, 0]], [[0, 4], [4, 0]]], dtype=float)
    assert kappas(tables).tolist() == pytest.approx([0.4, float("nan"), -1.0], nan_ok=True)


def test_wilsons_interval() -> None:
    # Figures of the score interval for 0 of 10, 8 of 10 and 81 of 263.
    for hits, n, low, high in ((0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (81, 263, 0.2553, 0.3662)):
        assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)
    assert wilson(0, 0) == (0, 1)
