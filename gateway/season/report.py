"""A plan as values: the calendar as it is and as proposed, what each does to the departments, and what overlaps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.season.assumptions import Setting
from gateway.season.proposal import Limits, Shift, propose, shifts
from gateway.season.simulation import BusyPeriod, Course, simulate
from gateway.season.windows import Calendar, Window, text_of_minute


@dataclass(frozen=True, slots=True)
class Overlap:
    """Windows of one prefecture that open at the same minute."""

    prefecture: str
    opens: int
    counties: tuple[str, ...]
    applicants: int


@dataclass(frozen=True, slots=True)
class Side:
    """One calendar and what it does."""

    calendar: Calendar
    courses: tuple[Course, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def backlog(self) -> float:
        """The highest backlog of any department, in checks."""
        return max((course.backlog for course in self.courses), default=0.0)

    @property
    def wait(self) -> float:
        """The longest wait at any department, in seconds."""
        return max((course.wait for course in self.courses), default=0.0)

    def worst(self, count: int) -> tuple[BusyPeriod, ...]:
        """The busy periods with the highest backlogs, the highest first."""
        found = [period for course in self.courses for period in course.busy]
        return tuple(sorted(found, key=lambda period: (-period.backlog, period.starts, period.prefecture))[:count])


@dataclass(frozen=True, slots=True)
class Plan:
    """Both sides and the moves between them."""

    before: Side
    after: Side
    moves: tuple[Shift, ...]


def make_plan(calendar: Calendar, setting: Setting, limits: Limits) -> Plan:
    """Simulate `calendar`, propose a staggered one, and simulate that."""
    proposed = propose(calendar, setting, limits)
    return Plan(_side(calendar, setting), _side(proposed, setting), shifts(calendar, proposed))


def overlaps_of(calendar: Sequence[Window]) -> tuple[Overlap, ...]:
    """Openings that two windows or more of a prefecture share, those of most applicants first."""
    together: dict[tuple[str, int], list[Window]] = defaultdict(list)
    for window in calendar:
        together[window.prefecture, window.opens].append(window)
    found = [
        Overlap(prefecture, opens, tuple(window.county for window in windows), sum(w.applicants for w in windows))
        for (prefecture, opens), windows in together.items()
        if len(windows) > 1
    ]
    return tuple(sorted(found, key=lambda overlap: (-overlap.applicants, overlap.opens, overlap.prefecture)))


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan for a program to read: checks, seconds, civil times."""
    return {
        "before": _side_json(plan.before),
        "after": _side_json(plan.after),
        "moves": [
            {
                "county": move.before.county,
                "name": COUNTIES[move.before.county],
                "stage": move.before.stage,
                "days": move.days,
                "opens_before": text_of_minute(move.before.opens),
                "opens_after": text_of_minute(move.after.opens),
                "closes_after": text_of_minute(move.after.closes),
            }
            for move in plan.moves
        ],
    }


def _side(calendar: Calendar, setting: Setting) -> Side:
    return Side(calendar, simulate(calendar, setting), overlaps_of(calendar))


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "peak_backlog": round(side.backlog),
        "longest_wait_seconds": round(side.wait),
        "overlaps": [
            {
                "prefecture": overlap.prefecture,
                "opens": text_of_minute(overlap.opens),
                "counties": list(overlap.counties),
                "applicants": overlap.applicants,
            }
            for overlap in side.overlaps
        ],
        "departments": [_course_json(course) for course in side.courses],
    }


def _course_json(course: Course) -> dict[str, Any]:
    return {
        "prefecture": course.prefecture,
        "name": PREFECTURES[course.prefecture],
        "department": course.department,
        "capacity_per_second": course.capacity,
        "most_asked_per_second": round(course.most_asked, 2),
        "peak_backlog": round(course.backlog),
        "longest_wait_seconds": round(course.wait),
        "backlog_by_day": {
            date.fromordinal(day).isoformat(): round(backlog) for day, backlog in sorted(course.backlog_by_day.items())
        },
        "busy": [
            {
                "starts": text_of_minute(period.starts),
                "peaks": text_of_minute(period.peaks),
                "ends": text_of_minute(int(period.ends)),
                "backlog": round(period.backlog),
                "wait_seconds": round(period.wait),
            }
            for period in course.busy
        ],
    }
