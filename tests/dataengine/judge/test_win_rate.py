"""Win rates at equal length: made-up preferences whose truth is known."""

import math

import numpy as np
import pytest

from dataengine.judge.win_rate import Compared, length_controlled, win_rates


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def compared(number: int, won: float | None, over: int, consistent: bool | None = True) -> Compared:
    return Compared(f"q{number}", "set", 1, won, consistent, False, False, False, 500 + over, 500)


@pytest.mark.parametrize("theta", [-1.0, 0.0, 0.7])
@pytest.mark.parametrize("phi", [0.0, 2.0, -1.0])
def test_the_rate_at_equal_length_is_found_whatever_length_does(theta: float, phi: float) -> None:
    """Answers that are longer on the whole: the raw rate is far off where length counts, the controlled one is not."""
    rng = np.random.default_rng(7)
    over = rng.normal(300, 400, 20_000)
    p = 1 / (1 + np.exp(-(theta + phi * np.tanh(over / over.std(ddof=1)))))
    won = (rng.random(len(p)) < p).astype(np.float64)
    (found,) = length_controlled(won, over)
    assert abs(found - sigmoid(theta)) < 0.02
    if phi == 2.0:
        assert won.mean() - sigmoid(theta) > 0.1


def test_the_fit_is_where_the_slope_is_zero() -> None:
    """Held against a plain search over both terms."""
    rng = np.random.default_rng(1)
    over, won = rng.normal(0, 1, 40), rng.choice([0.0, 0.5, 1.0], 40)
    x = np.tanh(over / over.std(ddof=1))

    def loss(theta: float, phi: float) -> float:
        z = theta + phi * x
        fit = (won * np.logaddexp(0, -z) + (1 - won) * np.logaddexp(0, z)).sum()
        return float(fit + 0.005 * (theta**2 + phi**2))

    grid = np.linspace(-2, 2, 401)
    best = min((loss(t, p), t) for t in grid for p in grid)[1]
    (found,) = length_controlled(won, over)
    assert abs(found - sigmoid(best)) < 0.003


@pytest.mark.parametrize("over", [[10.0, -10, 5, -3], [7.0, 7, 7, 7], [0.0, 0, 0, 0]])
def test_a_policy_that_wins_everything_wins_at_equal_length_too(over: list[float]) -> None:
    (found,) = length_controlled(np.ones(4), np.array(over))
    assert 0.95 < found < 1


def test_one_pair_and_none_have_their_figures() -> None:
    one = win_rates([compared(0, 0.5, 3)])
    assert one.won is not None and one.controlled is not None
    assert (one.won.value, one.won.low, one.won.high, round(one.controlled.value, 6)) == (0.5, 0.5, 0.5, 0.5)
    none = win_rates([compared(0, None, 3, None)])
    assert (none.won, none.controlled, none.consistency, none.undecided) == (None, None, None, 1)
    assert win_rates([]).pairs == 0


def test_a_loss_by_silence_is_not_excused_as_one_by_brevity() -> None:
    """Where length counts for nothing, it still does not once half of the answers are empty and so lost."""
    told = [compared(q, float(q % 2), (-1) ** (q // 2) * 50) for q in range(40)]
    silent = [Compared(f"s{q}", "set", 1, 0.0, None, False, True, False, 0, 500) for q in range(40)]
    rates = win_rates(told + silent)
    assert rates.won is not None and rates.controlled is not None
    assert (rates.won.value, round(rates.controlled.value, 2)) == (0.25, 0.25)
    assert not rates.extrapolated


def test_the_interval_is_over_questions_and_holds_the_rate() -> None:
    """Ten samples of a question that agree are one observation, not ten."""
    few = [compared(q, float(q % 2), 0) for q in range(20)]
    many = [pair for pair in few for _ in range(10)]
    a, b = win_rates(few).won, win_rates(many).won
    assert a == b and a is not None
    assert 0.25 < a.low < 0.35 and 0.65 < a.high < 0.75


def test_it_is_said_where_no_answer_is_the_shorter_one() -> None:
    assert win_rates([compared(q, 1.0, 10 + q) for q in range(4)]).extrapolated
    assert win_rates([compared(q, 1.0, -10) for q in range(4)]).extrapolated
    assert not win_rates([compared(q, 1.0, q - 1) for q in range(4)]).extrapolated
