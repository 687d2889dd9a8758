"""The queues, against figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.season.assumptions import Setting
from gateway.season.simulation import simulate
from gateway.season.windows import DAY, HOUR
from tests.season.calendars import MONDAY, police_only, window


def test_one_citys_wave_asks_what_the_load_table_says() -> None:
    """200,000 applicants: 69 checks a second on average, 208 in a burst, 312 with retries."""
    wave = [window(applicants=200_000)]
    (calm,) = simulate(wave, police_only(burst_factor=1.0, retry_factor=1.0))
    (burst,) = simulate(wave, police_only(retry_factor=1.0))
    (retried,) = simulate(wave, police_only())
    assert [round(course.most_asked, 1) for course in (calm, burst, retried)] == [69.4, 208.3, 312.5]


def test_backlog_and_wait_are_those_worked_out_by_hand() -> None:
    """7,200 applicants: 1,800 in the first hour, 13,500 checks with retries: 675 a minute in ten minutes of burst, 135
    after. At 5 a second 300 a minute are answered: 3,750 wait after the burst, gone 3750/165 minutes later."""
    (course,) = simulate([window()], police_only(capacity=5.0))
    (busy,) = course.busy
    assert (busy.starts, busy.peaks) == (MONDAY, MONDAY + 10)
    assert busy.backlog == pytest.approx(3750)
    assert busy.wait == pytest.approx(750)
    assert busy.ends == pytest.approx(MONDAY + 10 + 3750 / 165)
    assert course.backlog_by_day == {MONDAY // DAY: pytest.approx(3750)}


def test_a_backlog_lasts_over_night_and_past_the_close() -> None:
    (course,) = simulate([window(length=3 * HOUR)], police_only(capacity=0.2))
    (busy,) = course.busy
    asked = 13_500 + 5_400 * 5
    assert busy.ends == pytest.approx(MONDAY + asked / 12)  # 12 checks a minute, from the first to the last
    (night,) = simulate([window(length=DAY + 3 * HOUR)], police_only(capacity=0.2))
    assert set(night.backlog_by_day) >= {MONDAY // DAY, MONDAY // DAY + 1}


def test_enough_capacity_leaves_nothing_waiting() -> None:
    (course,) = simulate([window()], police_only(capacity=11.25))
    assert course.busy == ()
    assert course.backlog == course.wait == 0
    (short,) = simulate([window()], police_only(capacity=11.24))
    assert len(short.busy) == 1


def test_windows_that_open_together_add_up_and_other_prefectures_do_not() -> None:
    setting = police_only(capacity=5.0)
    (alone,) = simulate([window()], setting)
    (both,) = simulate([window(), window("430103")], setting)
    assert both.most_asked == pytest.approx(2 * alone.most_asked)
    assert both.backlog > 2 * alone.backlog
    apart = simulate([window(), window("430202")], setting)
    assert [(course.prefecture, course.backlog) for course in apart] == [
        ("4301", alone.backlog),
        ("4302", alone.backlog),
    ]


def test_only_departments_that_are_asked_have_a_course() -> None:
    assert [course.department for course in simulate([window()], Setting())] == [
        "police",
        "land",
        "housing",
        "education",
    ]


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 3)), min_size=1, max_size=4), st.floats(0.5, 50))
def test_more_capacity_never_makes_a_longer_queue(waves, capacity: float) -> None:
    windows = [window(f"43010{place + 2}", applicants, day) for place, (applicants, day) in enumerate(waves)]
    (less,) = simulate(windows, police_only(capacity=capacity))
    (more,) = simulate(windows, police_only(capacity=capacity * 1.5))
    assert more.backlog <= less.backlog + 1e-3
    assert all(period.starts < period.peaks <= period.ends + 1e-6 for period in less.busy)
