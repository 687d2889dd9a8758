"""The staggered calendar: what it may change, and by how much it lowers the peak."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.season.assumptions import Capacities, Setting
from gateway.season.proposal import Limits, propose, shifts
from gateway.season.report import make_plan, overlaps_of
from gateway.season.sample import sample_text
from gateway.season.simulation import simulate
from gateway.season.windows import DAY, order_of, read_calendar, season_of
from tests.season.calendars import MONDAY, police_only, window

SETTING = police_only(capacity=5.0)


def days(calendar) -> list[int]:
    return [(opened.opens - MONDAY) // DAY for opened in calendar]


def test_two_that_open_together_are_parted_by_the_nearest_day() -> None:
    calendar = (window(applicants=8000), window("430103", 7000))
    assert days(propose(calendar, SETTING, Limits())) == [1, 0]  # the larger moves; Sunday is no working day


def test_a_peak_of_one_window_alone_is_left_as_it_is() -> None:
    calendar = (window(), window("430202"))
    assert propose(calendar, SETTING, Limits()) == calendar


def test_a_calendar_without_backlog_is_left_as_it_is() -> None:
    calendar = (window(applicants=100), window("430103", 100))
    assert propose(calendar, SETTING, Limits()) == calendar


def test_days_that_are_named_are_not_used() -> None:
    calendar = (window(applicants=8000), window("430103", 7000))
    tuesday = frozenset({MONDAY // DAY + 1})
    assert days(propose(calendar, SETTING, Limits(not_on=tuesday))) == [2, 0]


def test_no_moves_and_no_days_are_no_change() -> None:
    calendar = (window(applicants=8000), window("430103", 7000))
    assert propose(calendar, SETTING, Limits(most_moves=0)) == calendar
    assert propose(calendar, SETTING, Limits(most_days=0)) == calendar


def test_order_and_season_are_kept_though_the_peak_then_stays() -> None:
    first = window("430104", 10, -6, length=5 * DAY)
    late = window("430103", 7000, 63, length=8 * DAY)  # closes on the last day of August
    other = window("430102", 8000, 63, length=8 * DAY, after=("430104", "primary"))
    moved = propose((first, late, other), SETTING, Limits())
    assert max(day.closes for day in moved) <= season_of(2027)[1]
    early = (window("430102", 8000, -81), window("430103", 7000, -81))  # the first of April, a Thursday
    assert min(day.opens for day in propose(early, SETTING, Limits())) >= season_of(2027)[0]
    bound = window("430103", 7000, 0, after=("430104", "primary"))
    calendar = (first, window(applicants=8000, after=("430104", "primary")), bound)
    proposed = propose(calendar, SETTING, Limits(most_days=1))
    assert all(day >= 0 for day in days(proposed)[1:])


@pytest.mark.parametrize("capacity", [4.0, 8.0, 20.0])
def test_a_proposal_for_the_province_keeps_every_promise(capacity: float) -> None:
    calendar = read_calendar(sample_text())
    setting = Setting(capacities=Capacities(dict.fromkeys(Capacities().default, capacity)))
    limits = Limits(not_on=frozenset({MONDAY // DAY + 2}))
    proposed = propose(calendar, setting, limits)
    assert proposed == propose(calendar, setting, limits)
    start, end = season_of(2027)
    for before, after in zip(calendar, proposed, strict=True):
        assert after.closes - after.opens == before.closes - before.opens
        assert (after.opens - before.opens) % DAY == 0
        assert abs(after.day - before.day) <= limits.most_days
        assert (before.key, before.applicants, before.after) == (after.key, after.applicants, after.after)
        assert start <= after.opens < after.closes <= end
        assert before == after or (after.day not in limits.not_on and (after.day - MONDAY // DAY) % 7 < 5)
    by_key = {after.key: after for after in proposed}
    assert order_of(calendar)
    assert all(by_key[first].closes <= by_key[second].opens for first, second in order_of(calendar))
    peaks = [max(course.backlog for course in simulate(side, setting)) for side in (calendar, proposed)]
    assert peaks[1] < peaks[0]


def test_the_provinces_peak_backlog_falls_from_35_211_checks_to_none() -> None:
    """At the default capacities; 81 of 244 windows move, by 6 days at most."""
    plan = make_plan(read_calendar(sample_text()), Setting(), Limits())
    assert round(plan.before.backlog) == 35_211
    assert round(plan.before.wait) == 1_761
    assert plan.after.backlog == 0
    assert len(plan.moves) == 81
    assert max(abs(move.days) for move in plan.moves) == 6


def test_at_half_the_capacity_the_provinces_peak_falls_by_nine_tenths() -> None:
    halved = Setting(capacities=Capacities(dict.fromkeys(Capacities().default, 10.0)))
    plan = make_plan(read_calendar(sample_text()), halved, Limits())
    assert plan.after.backlog < 0.1 * plan.before.backlog
    assert plan.after.wait < 0.1 * plan.before.wait


def test_a_move_that_would_raise_a_peak_is_not_made() -> None:
    calendar = (window(applicants=8000), window("430103", 7000), window("430104", 20_000, 1))
    assert propose(calendar, SETTING, Limits(most_days=1)) == calendar


def test_moves_and_overlaps_are_told() -> None:
    calendar = (window(applicants=8000), window("430103", 7000), window("430202", 1))
    proposed = propose(calendar, SETTING, Limits())
    ((overlap,), after) = overlaps_of(calendar), overlaps_of(proposed)
    assert (overlap.counties, overlap.applicants, overlap.opens) == (("430102", "430103"), 15_000, MONDAY)
    assert after == ()
    (move,) = shifts(calendar, proposed)
    assert (move.before.county, move.days) == ("430102", 1)


def test_each_further_move_never_raises_the_peak() -> None:
    calendar = tuple(window(f"43010{place}", 6000 + place) for place in range(2, 6))
    peaks = [
        max(course.backlog for course in simulate(propose(calendar, SETTING, Limits(most_moves=moves)), SETTING))
        for moves in range(6)
    ]
    assert all(later <= earlier for earlier, later in pairwise(peaks))
    assert peaks[-1] < peaks[0]
