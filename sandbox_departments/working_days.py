"""The days in which a department works, and when its time to correct ends. Pure: the calendar is given.

Monday to Friday, but for public holidays, and the Saturdays and Sundays on which their bridging days are made up for:
both are announced year by year, so they are settings. Days are Beijing's, which has known no summer time since 1991.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from gateway.protocol.beijing import BEIJING

CORRECTION_DAYS = 10
"""Working days for a correction: Regulations on Government Data Sharing (政务数据共享条例), article 26."""

_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which days are worked besides or instead of Monday to Friday."""

    holidays: frozenset[date] = frozenset()
    makeup_days: frozenset[date] = frozenset()

    def is_working(self, day: date) -> bool:
        """Whether `day` is worked; a day that is in both lists is."""
        return day in self.makeup_days or (day.weekday() < _SATURDAY and day not in self.holidays)


def due_time(received: float, calendar: Calendar, days: int = CORRECTION_DAYS) -> float:
    """When `days` working days have passed since `received`: the midnight that ends the last of them.

    The day of receipt is not counted (General Part of the Civil Code, article 201). Seconds since the epoch.
    """
    day = datetime.fromtimestamp(received, UTC).astimezone(BEIJING).date()
    left = days
    while left:
        day += timedelta(days=1)
        left -= calendar.is_working(day)
    return datetime.combine(day + timedelta(days=1), time(), BEIJING).timestamp()
