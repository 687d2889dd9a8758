"""The bound of the line follows the measured pace: down and up again, between a floor and the places there are."""

from __future__ import annotations

import pytest

from gateway.admission.pace import LEAST_BOUND, LONGEST_WAIT, TOGETHER, Pace

PLACES = 512


def work(pace: Pace, seconds_a_turn: float, turns: int) -> None:
    for _ in range(turns):
        pace.worked(seconds_a_turn, 1)


def test_bound_is_what_can_be_worked_off_within_the_longest_wait() -> None:
    pace = Pace()
    work(pace, 0.002, 2000)
    assert pace.seconds == pytest.approx(0.002, rel=0.01)
    assert pace.bound(PLACES) == pytest.approx(LONGEST_WAIT / 0.002, rel=0.02)


def test_bound_falls_when_turns_take_longer_and_rises_when_they_take_less() -> None:
    pace = Pace()
    work(pace, 0.002, 2000)
    quick = pace.bound(PLACES)
    work(pace, 0.012, 500)
    slow = pace.bound(PLACES)
    work(pace, 0.002, 4000)
    assert slow < quick / 4
    assert pace.bound(PLACES) == pytest.approx(quick, rel=0.05)


def test_one_long_stop_is_forgotten_within_a_second_of_work() -> None:
    pace = Pace()
    work(pace, 0.002, 2000)
    quick = pace.bound(PLACES)
    pace.worked(3.0, 1)
    assert pace.bound(PLACES) == LEAST_BOUND
    work(pace, 0.001, 3000)
    assert pace.bound(PLACES) > quick / 2


def test_bound_stays_between_floor_and_places() -> None:
    pace = Pace()
    work(pace, 10.0, 20)
    assert pace.bound(PLACES) == LEAST_BOUND
    work(pace, 0.000_01, 1_000_000)
    assert pace.bound(PLACES) == PLACES
    assert pace.bound(8) == 8


def test_more_begin_together_the_quicker_they_are_done() -> None:
    pace = Pace()
    work(pace, 0.001, 3000)
    assert pace.together() == pytest.approx(TOGETHER / 0.001, rel=0.05)
    work(pace, 1.0, 20)
    assert pace.together() == 1
