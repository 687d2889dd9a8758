"""The fictional season that ships with the package: two windows for each of the 122 counties.

The numbers are a formula, no statistics. A county's weight is that of its kind (district 1.3, city 1.2, county 1.0,
autonomous county 0.6), times that of its prefecture (长沙 2.0, 张家界 and 湘西 0.6, others 1.0), times 0.8 to 1.2 by
the SHA-256 of its code. 1,600,000 applicants (below the province's 1.75 million families) are shared out by weight:
55 % to primary school, 45 % to junior secondary school, rounded to tens. Openings cluster, as they do where nobody
plans them together: the counties of a prefecture open at 09:00 on one of two days, for ten days.
"""

from __future__ import annotations

from datetime import date
from hashlib import sha256
from importlib.resources import files

from gateway.protocol.divisions import COUNTIES
from gateway.season.windows import DAY, HOUR, Calendar, Window, write_calendar

SAMPLE_FILE = "sample.csv"
TOTAL = 1_600_000
_PRIMARY_PERCENT = 55
_FIRST_DAYS = {"primary": date(2027, 6, 21), "junior": date(2027, 7, 12)}
_OPENS_AT, _CLOSES_AT = 9, 17
_LENGTH = 9
"""Days from the opening day to the closing day."""
_KINDS = (("自治县", 0.6), ("区", 1.3), ("市", 1.2), ("县", 1.0))
_PREFECTURES = {"4301": 2.0, "4308": 0.6, "4331": 0.6}


def sample_text() -> str:
    """The sample as a CSV, as it ships."""
    return files("gateway.season").joinpath(SAMPLE_FILE).read_text(encoding="utf-8")


def make_sample() -> str:
    """The sample as the formula makes it."""
    return write_calendar(_calendar())


def _calendar() -> Calendar:
    weights = {county: _weight(county) for county in COUNTIES}
    scale = TOTAL / sum(weights.values())
    windows = []
    for county, weight in weights.items():
        first = None
        for stage, percent in (("primary", _PRIMARY_PERCENT), ("junior", 100 - _PRIMARY_PERCENT)):
            day = _FIRST_DAYS[stage].toordinal() + _fraction(county, "day") % 2
            applicants = int(weight * scale * percent / 100) // 10 * 10
            window = Window(
                county,
                stage,
                day * DAY + _OPENS_AT * HOUR,
                (day + _LENGTH) * DAY + _CLOSES_AT * HOUR,
                applicants,
                first,
            )
            windows.append(window)
            first = window.key
    return tuple(windows)


def _weight(county: str) -> float:
    kind = next(weight for suffix, weight in _KINDS if COUNTIES[county].endswith(suffix))
    return kind * _PREFECTURES.get(county[:4], 1.0) * (0.8 + 0.4 * _fraction(county, "size") / 0xFFFF)


def _fraction(county: str, what: str) -> int:
    """0 to 65535, the same for the same county and purpose."""
    return int.from_bytes(sha256(f"{county} {what}".encode()).digest()[:2], "big")
