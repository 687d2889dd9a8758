"""The ten working days of a correction: Beijing's days, weekends, holidays, and the weekends that make up for them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from gateway.protocol.beijing import BEIJING
from sandbox_departments.working_days import CORRECTION_DAYS, Calendar, due_time

NATIONAL_DAY = frozenset(date(2026, 10, 1) + timedelta(days=day) for day in range(7))
OF_2026 = Calendar(NATIONAL_DAY, frozenset({date(2026, 9, 20), date(2026, 10, 10)}))


def at(text: str) -> float:
    """A moment of Beijing time."""
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING).timestamp()


@pytest.mark.parametrize(
    ("received", "due", "calendar"),
    [
        ("2026-03-02T10:00", "2026-03-17T00:00", Calendar()),  # a Monday: to the end of the Monday after next
        ("2026-03-02T00:00", "2026-03-17T00:00", Calendar()),
        ("2026-03-02T23:59:59.999", "2026-03-17T00:00", Calendar()),
        ("2026-03-03T00:00", "2026-03-18T00:00", Calendar()),  # a second later, a day more
        ("2026-03-06T18:00", "2026-03-21T00:00", Calendar()),  # a Friday
        ("2026-03-07T09:00", "2026-03-21T00:00", Calendar()),  # on a weekend: as on the Friday before it
        ("2026-03-08T09:00", "2026-03-21T00:00", Calendar()),
        ("2026-12-28T09:00", "2027-01-12T00:00", Calendar()),  # over the turn of the year
        ("2026-12-28T09:00", "2027-01-13T00:00", Calendar(frozenset({date(2027, 1, 1)}))),
        ("2026-09-30T09:00", "2026-10-21T00:00", OF_2026),  # seven days of holiday, one Saturday worked
        ("2026-09-30T09:00", "2026-10-22T00:00", Calendar(NATIONAL_DAY)),
        ("2026-09-19T09:00", "2026-10-09T00:00", OF_2026),  # a Sunday worked counts; the holiday is stepped over
        ("2026-10-04T09:00", "2026-10-21T00:00", OF_2026),  # received in the middle of a holiday
    ],
)
def test_ten_working_days_end_at_the_midnight_after_the_last(received: str, due: str, calendar: Calendar) -> None:
    found = due_time(at(received), calendar)
    assert datetime.fromtimestamp(found, BEIJING).isoformat(timespec="minutes") == f"{due}+08:00"


def test_day_of_receipt_is_beijings_not_utcs() -> None:
    evening = at("2026-03-02T23:30")
    night = at("2026-03-03T00:30")  # the same day in UTC
    assert due_time(night, Calendar()) - due_time(evening, Calendar()) == timedelta(days=1).total_seconds()


def test_a_weekend_that_is_in_both_lists_is_worked() -> None:
    day = date(2026, 10, 10)
    assert Calendar(frozenset({day}), frozenset({day})).is_working(day)


def test_every_day_of_ten_years_is_followed_by_exactly_ten_working_days() -> None:
    for offset in range(3_650):
        received = at("2026-01-01T12:00") + offset * 86_400.0
        first = datetime.fromtimestamp(received, BEIJING).date()
        last = datetime.fromtimestamp(due_time(received, OF_2026) - 1, BEIJING).date()
        days = [first + timedelta(days=number) for number in range(1, (last - first).days + 1)]
        assert sum(map(OF_2026.is_working, days)) == CORRECTION_DAYS
        assert OF_2026.is_working(last)
