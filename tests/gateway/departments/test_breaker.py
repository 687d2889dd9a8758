"""The breaker of a channel, on a clock of numbers."""

from __future__ import annotations

from gateway.departments.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker
from gateway.departments.latency import (
    BURST,
    ENOUGH,
    FIRST_DELAY,
    LEAST_DELAY,
    LEAST_SILENCE,
    MOST_SILENCE,
    SHARE,
    WINDOW,
    HedgeBudget,
    Latencies,
)


def opened(at: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.fail(at)
    return breaker


def test_closed_breaker_lets_everything_through() -> None:
    assert all(Breaker().admits(now) for now in range(100))


def test_a_few_failures_open_nothing() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            breaker.fail(100.0)
        assert breaker.admits(100.0)
        breaker.succeed()


def test_failures_in_a_row_open_it() -> None:
    assert not opened().admits(100.0)
    assert opened().is_open


def test_one_probe_goes_after_each_pause() -> None:
    breaker = opened()
    assert not breaker.admits(100.0 + FIRST_PAUSE - 0.01)
    assert breaker.admits(100.0 + FIRST_PAUSE)
    assert not breaker.admits(100.0 + FIRST_PAUSE)
    assert not breaker.admits(100.0 + 3 * FIRST_PAUSE - 0.01)
    assert breaker.admits(100.0 + 3 * FIRST_PAUSE)


def test_looking_whether_a_probe_may_go_uses_none_up() -> None:
    breaker = Breaker()
    assert breaker.would_admit(0.0)
    breaker = opened()
    assert not breaker.would_admit(100.0 + FIRST_PAUSE - 0.01)
    for _ in range(3):
        assert breaker.would_admit(100.0 + FIRST_PAUSE)
    assert breaker.admits(100.0 + FIRST_PAUSE)
    assert not breaker.would_admit(100.0 + FIRST_PAUSE)


def test_pause_grows_with_probes_only_and_has_an_end() -> None:
    breaker, now = opened(), 100.0
    for _ in range(1000):
        breaker.fail(now)  # what was under way when it opened fails one by one
    assert breaker.admits(now + FIRST_PAUSE)
    probes, now = 0, now + FIRST_PAUSE
    while now < 1000.0:
        now += 0.5
        probes += breaker.admits(now)
    assert 900 / LONGEST_PAUSE - 10 <= probes <= 900 / LONGEST_PAUSE + 10


def test_any_success_closes_it() -> None:
    breaker = opened()
    breaker.succeed()
    assert breaker.admits(100.0)
    for _ in range(FAILURES):
        breaker.fail(200.0)
    assert not breaker.admits(200.0 + FIRST_PAUSE - 0.01)
    assert breaker.admits(200.0 + FIRST_PAUSE)


def test_openings_are_told_once_each() -> None:
    told: list[None] = []
    breaker = Breaker(lambda: told.append(None))
    for _ in range(3 * FAILURES):
        breaker.fail(100.0)
    breaker.trip(100.0)
    assert len(told) == 1
    breaker.succeed()
    breaker.trip(100.0)
    assert len(told) == 2


def test_percentile_needs_enough_answers_and_follows_them() -> None:
    latencies = Latencies()
    for _ in range(ENOUGH - 1):
        latencies.add(1.0)
    assert latencies.p95 is None
    latencies.add(1.0)
    assert latencies.p95 == 1.0
    for number in range(2 * WINDOW):
        latencies.add(number % WINDOW / WINDOW)
    assert latencies.p95 is not None
    assert 0.94 <= latencies.p95 <= 0.96


def test_hedges_are_saved_up_to_a_burst_and_come_one_for_ten_asks() -> None:
    budget, hedged = HedgeBudget(), 0
    for _ in range(1_000):
        budget.ask()
        if budget.allows:
            budget.spend()
            hedged += 1
    assert BURST + 1_000 * SHARE - 2 < hedged <= BURST + 1_000 * SHARE


def test_delay_and_silence_follow_the_answers_within_bounds() -> None:
    latencies = Latencies()
    assert (latencies.hedge_delay, latencies.longest_silence) == (FIRST_DELAY, LEAST_SILENCE)
    for expected, answer in (((LEAST_DELAY, LEAST_SILENCE), 0.001), ((1.0, 4.0), 1.0), ((5.0, MOST_SILENCE), 5.0)):
        for _ in range(2 * WINDOW):
            latencies.add(answer)
        assert (latencies.hedge_delay, latencies.longest_silence) == expected
