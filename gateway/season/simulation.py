"""Queues of a season: a fluid model, exact between the minutes at which a rate changes, and without chance.

Of each window `first_hour_percent` comes in its first hour, the burst in its first minutes; the rest comes evenly in
the hours of the day until it closes. Checks of the first hour are asked `retry_factor` times. A department answers in
the order of arrival at its capacity; what it cannot answer waits. So the backlog rises and falls in straight lines,
its peak lies where a rate changes, and the wait of the last in the queue is the backlog divided by the capacity.

A prefecture's departments serve its own counties only: prefectures do not touch each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gateway.season.assumptions import DEPARTMENTS, Assumptions, Setting
from gateway.season.windows import DAY, HOUR, Window

_SECONDS = 60
_NOTHING = 1e-6
"""Checks, or checks a minute, that are rounding and no backlog."""


@dataclass(frozen=True, slots=True)
class BusyPeriod:
    """One time during which a department had a backlog: minutes, checks, and seconds of the longest wait."""

    prefecture: str
    department: str
    starts: int
    peaks: int
    ends: float
    backlog: float
    wait: float


@dataclass(frozen=True, slots=True)
class Course:
    """One department of one prefecture over the season."""

    prefecture: str
    department: str
    capacity: float
    busy: tuple[BusyPeriod, ...]
    most_asked: float
    """Checks a second, at the busiest minute."""
    backlog_by_day: Mapping[int, float] = field(repr=False)
    """The peak backlog of each day that has one, by its ordinal."""

    @property
    def backlog(self) -> float:
        """The peak backlog of the season, in checks."""
        return max((period.backlog for period in self.busy), default=0.0)

    @property
    def wait(self) -> float:
        """The longest wait of the season, in seconds."""
        return max((period.wait for period in self.busy), default=0.0)


def simulate(windows: Sequence[Window], setting: Setting) -> tuple[Course, ...]:
    """The courses of every department that is asked, in every prefecture of `windows`, ascending."""
    by_prefecture: dict[str, list[Window]] = defaultdict(list)
    for window in windows:
        by_prefecture[window.prefecture].append(window)
    return tuple(
        course
        for prefecture in sorted(by_prefecture)
        for course in simulate_prefecture(by_prefecture[prefecture], setting)
    )


def simulate_prefecture(windows: Sequence[Window], setting: Setting) -> tuple[Course, ...]:
    """The courses of one prefecture's departments; `windows` are all its own."""
    prefecture = windows[0].prefecture
    segments = _segments(windows, setting.assumptions)
    return tuple(
        _course(
            segments,
            prefecture,
            department,
            setting.assumptions.share_percent[department] / 100,
            setting.capacities.of(prefecture, department),
        )
        for department in DEPARTMENTS
        if setting.assumptions.share_percent[department]
    )


def _arrivals(window: Window, assumptions: Assumptions) -> Iterator[tuple[int, int, float]]:
    """From when until when how many checks a minute a window brings."""
    checks = window.applicants * assumptions.checks_per_application
    rush = checks * assumptions.first_hour_percent / 100
    burst_rate = rush / HOUR * assumptions.burst_factor
    calm_rate = (rush - burst_rate * assumptions.burst_minutes) / (HOUR - assumptions.burst_minutes)
    calm_from, rest_from = window.opens + assumptions.burst_minutes, window.opens + HOUR
    yield window.opens, calm_from, burst_rate * assumptions.retry_factor
    yield calm_from, rest_from, calm_rate * assumptions.retry_factor
    spans = tuple(_open_hours(rest_from, window.closes, assumptions)) or ((rest_from, window.closes),)
    rest_rate = (checks - rush) / sum(end - start for start, end in spans)
    yield from ((start, end, rest_rate) for start, end in spans)


def _open_hours(start: int, end: int, assumptions: Assumptions) -> Iterator[tuple[int, int]]:
    """The hours of the day in which applicants come, between two minutes."""
    for day in range(start // DAY, end // DAY + 1):
        opens = max(start, day * DAY + assumptions.day_starts * HOUR)
        closes = min(end, day * DAY + assumptions.day_ends * HOUR)
        if opens < closes:
            yield opens, closes


def _segments(windows: Sequence[Window], assumptions: Assumptions) -> tuple[tuple[int, int, float], ...]:
    """All windows together: from when until when how many checks a minute, without gaps."""
    changes: dict[int, float] = defaultdict(float)
    for window in windows:
        for start, end, rate in _arrivals(window, assumptions):
            changes[start] += rate
            changes[end] -= rate
    found = []
    rate, minutes = 0.0, sorted(changes)
    for start, end in pairwise(minutes):
        rate += changes[start]
        found.append((start, end, max(rate, 0.0)))
    return tuple(found)


def _course(
    segments: Sequence[tuple[int, int, float]], prefecture: str, department: str, share: float, capacity: float
) -> Course:
    served = capacity * _SECONDS
    backlog = peak = most = 0.0
    starts = peaks = 0
    busy: list[BusyPeriod] = []
    by_day: dict[int, float] = {}

    def close(minute: float) -> None:
        busy.append(BusyPeriod(prefecture, department, starts, peaks, minute, peak, peak / capacity))

    for start, end, rate in segments:
        asked = rate * share
        most = max(most, asked)
        growth = asked - served
        if backlog > _NOTHING:
            by_day[start // DAY] = max(by_day.get(start // DAY, 0.0), backlog)
        elif growth > _NOTHING:
            starts, peaks, peak = start, start, 0.0
        else:
            continue
        emptied = start + backlog / -growth if growth < 0 else float("inf")
        if emptied <= end:
            backlog = 0.0
            close(emptied)
            continue
        backlog += growth * (end - start)
        if backlog > peak:
            peak, peaks = backlog, end
            by_day[(end - 1) // DAY] = max(by_day.get((end - 1) // DAY, 0.0), backlog)
    if backlog > _NOTHING:
        close(segments[-1][1] + backlog / served)
    return Course(prefecture, department, capacity, tuple(busy), most / _SECONDS, by_day)
