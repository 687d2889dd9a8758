"""Small calendars for the tests of the season."""

from __future__ import annotations

from datetime import date

from gateway.season.assumptions import Assumptions, Capacities, Setting
from gateway.season.windows import DAY, HOUR, Key, Window

MONDAY = date(2027, 6, 21).toordinal() * DAY + 9 * HOUR


def window(county: str = "430102", applicants: int = 7200, day: int = 0, **changes) -> Window:
    """Nine in the morning of a day after that Monday, to five in the afternoon four days later."""
    after: Key | None = changes.pop("after", None)
    opens = MONDAY + day * DAY
    stage = changes.pop("stage", "primary")
    return Window(county, stage, opens, opens + changes.pop("length", 4 * DAY + 8 * HOUR), applicants, after)


def police_only(capacity: float = 20.0, **assumptions) -> Setting:
    """Every check goes to the police."""
    return Setting(
        Assumptions(share_percent={"police": 100, "land": 0, "hrss": 0, "housing": 0, "education": 0}, **assumptions),
        Capacities({"police": capacity}),
    )
