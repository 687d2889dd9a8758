"""The picture of a plan as plain shapes, which `page` writes as SVG and `picture` as PNG.

Two panels of rows (a prefecture each) and columns (a day each), the calendar as it is above the proposed one; a cell
tells the longest wait of that day at any department, by its shade and by a sign, so that nothing is told by colour
alone. Labels are ASCII: codes, dates and English, since a drawing library may bring no Chinese font.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from gateway.season.report import Plan, Side
from gateway.season.windows import DAY

CELL = 18
_LEFT, _TOP, _GAP, _RIGHT = 64, 92, 64, 24
_MIN_WIDTH = 900
INK, PAPER, GRID = "#1a1a1a", "#ffffff", "#dddddd"

LEVELS = (
    (0.0, "#eef3f8", "", "no wait"),
    (60.0, "#fde0a6", ".", "up to 1 minute"),
    (300.0, "#f9b265", "-", "up to 5 minutes"),
    (900.0, "#e8743b", "+", "up to 15 minutes"),
    (3600.0, "#b7312c", "#", "up to 1 hour"),
    (float("inf"), "#5c1420", "!", "longer"),
)
"""Longest wait in seconds, shade, sign, and what they mean."""


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle, in pixels."""

    x: int
    y: int
    width: int
    height: int
    fill: str


@dataclass(frozen=True, slots=True)
class Label:
    """A line of ASCII text; `x`, `y` is its left upper corner, or its middle if `centred`."""

    x: int
    y: int
    text: str
    size: int = 13
    fill: str = INK
    centred: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Shapes in the order in which they are drawn."""

    width: int
    height: int
    shapes: tuple[Box | Label, ...]


def draw(plan: Plan) -> Chart:
    """The chart of `plan`."""
    calendars = plan.before.calendar + plan.after.calendar
    first = min(window.day for window in calendars)
    last = max((window.closes - 1) // DAY for window in calendars)
    prefectures = sorted({window.prefecture for window in calendars})
    panel = CELL * len(prefectures)
    width = max(_MIN_WIDTH, _LEFT + CELL * (last - first + 1) + _RIGHT)
    height = _TOP + 2 * (panel + _GAP)
    shapes: list[Box | Label] = [Box(0, 0, width, height, PAPER)]
    shapes += [Label(_LEFT, 12, "Longest wait at any department, by prefecture and day", 18), *_legend()]
    for place, (title, side) in enumerate((("as it is", plan.before), ("proposed", plan.after))):
        top = _TOP + place * (panel + _GAP)
        heading = (
            f"Calendar {title}: peak backlog {side.backlog:,.0f} checks, longest wait {side.wait / 60:,.1f} minutes"
        )
        shapes.append(Label(_LEFT, top - 24, heading, 14))
        shapes += _panel(side, prefectures, first, last, top)
    return Chart(width, height, tuple(shapes))


def _legend() -> Iterator[Box | Label]:
    for place, (_, fill, sign, meaning) in enumerate(LEVELS):
        x = _LEFT + place * 138
        yield from _cell(x, 40, fill, sign)
        yield Label(x + CELL + 6, 42, meaning)


def _panel(side: Side, prefectures: list[str], first: int, last: int, top: int) -> Iterator[Box | Label]:
    waits = waits_by_day(side)
    for row, prefecture in enumerate(prefectures):
        y = top + row * CELL
        yield Label(12, y + 1, prefecture)
        for day in range(first, last + 1):
            _, fill, sign, _ = level_of(waits.get((prefecture, day), 0.0))
            yield from _cell(_LEFT + (day - first) * CELL, y, fill, sign)
    for day in range(first, last + 1, 7):
        yield Label(_LEFT + (day - first) * CELL, top + len(prefectures) * CELL + 4, f"{date.fromordinal(day):%m-%d}")


def _cell(x: int, y: int, fill: str, sign: str) -> Iterator[Box | Label]:
    yield Box(x, y, CELL, CELL, GRID)
    yield Box(x, y, CELL - 1, CELL - 1, fill)
    if sign:
        dark = fill in {level[1] for level in LEVELS[-2:]}
        yield Label(x + CELL // 2, y + CELL // 2, sign, 13, PAPER if dark else INK, centred=True)


def waits_by_day(side: Side) -> Mapping[tuple[str, int], float]:
    """The longest wait, in seconds, of each prefecture and day that has one."""
    waits: dict[tuple[str, int], float] = {}
    for course in side.courses:
        for day, backlog in course.backlog_by_day.items():
            key = course.prefecture, day
            waits[key] = max(waits.get(key, 0.0), backlog / course.capacity)
    return waits


def level_of(wait: float) -> tuple[float, str, str, str]:
    """The level of a wait in seconds."""
    return next(level for level in LEVELS if wait <= level[0])
