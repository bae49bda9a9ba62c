"""The limit of requests in flight finds what a server can do, in simulated time."""

import heapq
import random

import pytest

from dataengine.engines.limit import Limit


def simulate(limit: Limit, *, capacity: int, requests: int, most: int | None = None) -> tuple[float, list[int], int]:
    """A server that works on `capacity` requests at full speed and on more with the same speed shared among them.

    One with more than `most` at once answers 429 at once. Returns the time it took, the limit after each answer, and
    how many were turned away.
    """
    rng = random.Random(0)
    now, number, answered, turned_away = 0.0, 0, 0, 0
    running: list[tuple[float, int, object, float, int]] = []
    limits: list[int] = []
    while answered < requests:
        while limit.free:
            ticket, number = limit.send(), number + 1
            tokens = rng.randint(100, 1000)
            seconds = tokens / 1000 * max(1, limit.in_flight / capacity)
            if most is not None and limit.in_flight > most:
                seconds, tokens = 0.01, 0
            heapq.heappush(running, (now + seconds, number, ticket, seconds, tokens))
        now, _, sent, seconds, tokens = heapq.heappop(running)
        if tokens:
            limit.answered(sent, seconds, tokens)  # type: ignore[arg-type]
            answered += 1
        else:
            limit.pressed(sent)  # type: ignore[arg-type]
            turned_away += 1
        limits.append(limit.value)
    return now, limits, turned_away


@pytest.mark.parametrize(("capacity", "start"), [(16, 8), (32, 8), (32, 32), (100, 8), (100, 32)])
def test_it_finds_the_knee_and_loses_little_time_on_the_way(capacity: int, start: int) -> None:
    took, limits, _ = simulate(Limit(512, start), capacity=capacity, requests=4000)
    assert capacity <= limits[-1] <= 2.5 * capacity
    assert took < 1.2 * 4000 * 0.55 / capacity  # 0.55 s is the mean of a request alone


def test_it_stays_below_what_makes_the_server_refuse() -> None:
    _, limits, turned_away = simulate(Limit(512, 8), capacity=200, requests=6000, most=64)
    late = limits[len(limits) // 2 :]
    assert turned_away < 0.05 * 6000
    assert 45 <= sum(late) / len(late) <= 66


def test_it_never_passes_its_bounds() -> None:
    _, limits, _ = simulate(Limit(20, 8), capacity=500, requests=500)
    assert (max(limits), limits[-1]) == (20, 20)
    limit = Limit(4, 9)
    assert limit.value == 4
    for _ in range(20):
        limit.pressed(limit.send())
    assert (limit.value, limit.in_flight) == (1, 0)
