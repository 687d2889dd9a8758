"""The charts: targets, functions and the log's growth, drawn from a folder of results as PNG files beside them.

    python -m benchmarks.charts

Bars with their medians written at them, a thin line from the least round to the most, and a title that says what is
shown in which unit. Drawn with the shapes of the season's chart and Pillow, so that nothing more need be installed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kept import Results, read_results, seen_in
from benchmarks.setting import RESULTS
from benchmarks.targets import TARGETS, Kind, Target, Verdict
from gateway.season.chart import GRID, INK, PAPER, Box, Chart, Label
from gateway.season.picture import png_of

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
        yield Label(max(place(bar.value), place(bar.high)) + 8, y + 4, bar.text, 13)
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


# -- what is drawn ----------------------------------------------------------------------------------------------


def targets_panel(results: Results) -> Panel:
    """How far each target was reached: 1 is the target, more is better."""
    bars = []
    for target in TARGETS:
        seen = seen_in(results, target)
        for name, each in seen.items():
            low, high = sorted((_reached(target, each.low), _reached(target, each.high)))
            marks = () if target.stretch is None else (_reached_by(target, target.stretch),)
            value = _reached(target, each.value)
            fill = BAD if target.verdict(each) is Verdict.MISSED else GOOD
            label = target.id.replace("_", " ") + (" (own run)" if name == target.apart else "")
            bars.append(Bar(label, value, low, high, number(value), fill, (1.0, *marks)))
    return Panel(
        "Targets: how far each is reached (green: met, red: missed)",
        "times the target, logarithmic; right is better; marks: target, then stretch; thin line: least to most round",
        tuple(bars),
        logarithmic=True,
    )


def _reached(target: Target, value: float) -> float:
    return _reached_by(target, max(value, target.bound / 1_000))


def _reached_by(target: Target, value: float) -> float:
    return value / target.bound if target.kind is Kind.AT_LEAST else target.bound / value


def functions_panel(results: Results) -> Panel:
    """What each function costs for one item."""
    bars = tuple(
        Bar(
            row["function"].replace("_", " "),
            row["us_per_item"],
            row["quartile_1_us"] / row["items"],
            row["quartile_3_us"] / row["items"],
            number(row["us_per_item"]),
        )
        for row in results["functions"]["rows"]
    )
    return Panel(
        "Functions: time for one item (of a group of [n] where it says so)",
        "microseconds, logarithmic; thin line: first to third quartile",
        bars,
        logarithmic=True,
    )


def growth_panels(results: Results) -> list[Panel]:
    """Appending and starting, by the log's size."""
    rows = {
        row["size"]: row for name in ("appending", "appending_large") for row in results.get(name, {}).get("rows", ())
    }
    ordered = [rows[size] for size in sorted(rows)]

    def bars(value: str, low: str, high: str) -> tuple[Bar, ...]:
        return tuple(
            Bar(f"{row['size']:,} leaves", row[value], row[low], row[high], number(row[value])) for row in ordered
        )

    return [
        Panel(
            "The log as it grows: appending, durably, in groups of 512",
            "leaves a second; thin line: least to most round",
            bars("leaves_per_second", "least", "most"),
        ),
        Panel(
            "The log as it grows: from opening its file to the first commit",
            "milliseconds; thin line: least to most start",
            bars("start_ms", "start_least_ms", "start_most_ms"),
        ),
    ]


def charts_of(results: Results) -> dict[str, Chart]:
    """Every chart that these results have figures for, by the name of its file."""
    panels: dict[str, list[Panel]] = {}
    if any(seen_in(results, target) for target in TARGETS):
        panels["targets"] = [targets_panel(results)]
    if "functions" in results:
        panels["functions"] = [functions_panel(results)]
    if "appending" in results:
        panels["growth"] = growth_panels(results)
    return {name: draw(each) for name, each in panels.items()}


def write_charts(folder: Path) -> list[Path]:
    """Draw the results of `folder` into it; the files."""
    files = []
    for name, chart in charts_of(read_results(folder)).items():
        file = folder / f"{name}.png"
        file.write_bytes(png_of(chart))
        files.append(file)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that is drawn, and drawn into")
    for file in write_charts(parser.parse_args().results):
        print(file)


if __name__ == "__main__":
    main()
