"""RetryInfo: callers that were refused come back at the pace of the work, each peer's own, and never all at once."""

from __future__ import annotations

import pytest

from gateway.admission.returning import LEAST_RETRY, MOST_RETRY, Returns

PACE = 0.01


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def no_chance() -> float:
    return 0.0


def test_refused_callers_are_spread_at_the_measured_pace() -> None:
    returns = Returns(Clock(), no_chance)
    told = [returns.after("one", PACE) for _ in range(50)]
    assert told[0] == pytest.approx(LEAST_RETRY + PACE)
    assert told[-1] == pytest.approx(LEAST_RETRY + 50 * PACE)
    assert len(set(told)) == 50


def test_slower_gateway_has_callers_come_back_later() -> None:
    quick, slow = (Returns(Clock(), no_chance) for _ in range(2))
    assert [slow.after("one", 0.1) for _ in range(10)][-1] > 5 * [quick.after("one", PACE) for _ in range(10)][-1]


def test_flood_of_one_peer_makes_another_wait_twice_the_pace_and_no_more() -> None:
    returns = Returns(Clock(), no_chance)
    for _ in range(10_000):
        returns.after("flood", PACE)
    assert returns.after("modest", PACE) == pytest.approx(LEAST_RETRY + 2 * PACE)


def test_nobody_is_sent_away_for_longer_than_a_query_lasts() -> None:
    returns = Returns(Clock(), lambda: 1.0)
    told = [returns.after("one", PACE) for _ in range(100_000)]
    assert max(told) < 60 / 4
    assert max(told) >= MOST_RETRY


def test_callers_told_at_the_same_moment_by_two_gateways_do_not_return_together() -> None:
    chances = iter([0.1, 0.9])
    first, second = (Returns(Clock(), lambda: next(chances)) for _ in range(2))
    assert first.after("one", 1.0) != second.after("one", 1.0)


def test_time_that_passes_shortens_what_is_told() -> None:
    clock = Clock()
    returns = Returns(clock, no_chance)
    for _ in range(200):
        returns.after("one", PACE)
    clock.now += 1.0
    assert returns.after("one", PACE) == pytest.approx(LEAST_RETRY + 1.0 + PACE, abs=0.06)
    clock.now += 100.0
    assert returns.after("one", PACE) == pytest.approx(LEAST_RETRY + PACE)


def test_what_is_told_has_few_values_so_that_its_status_can_be_kept() -> None:
    numbers = iter(range(10**9))
    returns = Returns(Clock(), lambda: next(numbers) % 997 / 997)
    assert len({returns.after("one", 0.001) for _ in range(20_000)}) < 250
