"""Panels of horizontal bars, drawn with the shapes of the season's chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.season.chart import GRID, INK, PAPER, Box, Chart, Label

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 1_000, 26, 340, 110, 64, 48
"""Pixels: of the picture, of a row, of the labels, of the room for figures, of heading and axis."""
GOOD, BAD, PLAIN, RANGE, MARK = "#4c8c6a", "#c0503c", "#5b7fa6", "#222222", "#8a6d1f"
_LARGE, _SMALL = 100, 0.01


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its label, median, least and most, what is written at it, its colour, and marks on the axis."""

    label: str
    value: float
    low: float
    high: float
    text: str
    fill: str = PLAIN
    marks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars over one axis, which begins at `least`: logarithmic, or linear from 0."""

    title: str
    axis: str
    bars: tuple[Bar, ...]
    logarithmic: bool = False

    @property
    def height(self) -> int:
        """Pixels."""
        return TOP + ROW * len(self.bars) + BOTTOM


def draw(panels: Sequence[Panel]) -> Chart:
    """The panels, one below the other."""
    shapes: list[Box | Label] = [Box(0, 0, WIDTH, sum(panel.height for panel in panels), PAPER)]
    top = 0
    for panel in panels:
        shapes += _panel(panel, top)
        top += panel.height
    return Chart(WIDTH, top, tuple(shapes))


def _panel(panel: Panel, top: int) -> Iterator[Box | Label]:
    place, ticks = _scale(panel)
    first, last = top + TOP, top + TOP + ROW * len(panel.bars)
    yield Label(16, top + 16, panel.title, 18)
    yield Label(LEFT, last + 24, panel.axis, 13)
    for tick in ticks:
        yield Box(place(tick), first - 4, 1, last - first + 4, GRID)
        yield Label(place(tick), last + 12, number(tick), 12, centred=True)
    for row, bar in enumerate(panel.bars):
        y = first + row * ROW
        yield Label(16, y + 4, bar.label, 13)
        yield Box(LEFT, y + 4, max(1, place(bar.value) - LEFT), ROW - 10, bar.fill)
        for mark in bar.marks:
            yield Box(place(mark), y, 3, ROW - 2, MARK)
        if bar.low < bar.high:
            yield Box(place(bar.low), y + ROW // 2 - 2, max(1, place(bar.high) - place(bar.low)), 2, RANGE)
        yield Label(max(map(place, (bar.value, bar.high, *bar.marks))) + 8, y + 4, bar.text, 13)
    yield Box(LEFT, first - 4, 1, last - first + 4, INK)


def _scale(panel: Panel) -> tuple[Callable[[float], int], list[float]]:
    """Where a value lies, in pixels, and the values that the axis shows."""
    values = [value for bar in panel.bars for value in (bar.low, bar.high, *bar.marks)]
    room = WIDTH - LEFT - RIGHT
    if not panel.logarithmic:
        step = _step(max(values))
        ticks = [step * number for number in range(math.ceil(max(values) / step) + 1)]
        return lambda value: LEFT + round(room * value / ticks[-1]), ticks
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    ticks = [10.0**exponent for exponent in range(low, high + 1)]
    return lambda value: LEFT + round(room * (math.log10(value) - low) / (high - low)), ticks


def _step(largest: float) -> float:
    """A round step that makes about five ticks."""
    power = 10 ** math.floor(math.log10(largest / 5))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= largest)


def number(value: float) -> str:
    """A figure as it is written at a bar: three digits that count."""
    if value >= _LARGE:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1e}" if 0 < value < _SMALL else f"{value:.3g}"
