"""The charts of a folder of results, as PNG files beside them: targets, core, peers, functions, and the log's growth.

    python -m benchmarks.charts

Bars with their medians written at them, a thin line from the least round to the most, and a title that says what is
shown in which unit. Drawn with the shapes of the season's chart and Pillow, so that nothing more need be installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

from benchmarks.core_report import KINDS_SHOWN
from benchmarks.kept import Results, read_results, seen_in
from benchmarks.panels import BAD, GOOD, PLAIN, Bar, Panel, draw, number
from benchmarks.setting import RESULTS
from benchmarks.targets import TARGETS, Kind, Target, Verdict
from gateway.season.chart import Chart
from gateway.season.picture import png_of

OURS = "heyan"


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
        "Functions: CPU for one item, of a group of [n] where it says so",
        "microseconds, logarithmic; thin line: first to third quartile; commits by the clock, with their fsync",
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


def peers_panels(results: Results) -> list[Panel]:
    """The whole system beside its peers: throughput, latency at the same offer, processor."""
    medians = results["peers"]["medians"]

    def bars(phase: str, figure: str) -> tuple[Bar, ...]:
        seen = {way: row[figure] for way, row in medians[phase].items()}
        return tuple(
            Bar(way, each["value"], each["low"], each["high"], number(each["value"]), GOOD if way == OURS else PLAIN)
            for way, each in seen.items()
        )

    return [
        Panel(
            "Whole system and peers: applications of five checks at saturation",
            "applications a second; thin line: least to most round",
            bars("saturation", "applications_per_second"),
        ),
        Panel(
            "Whole system and peers: p99 where each is offered the same share of Envoy's saturation",
            "milliseconds for an application; thin line: least to most round",
            bars("offered", "p99_ms"),
        ),
        Panel(
            "Whole system and peers: CPU of all parties at saturation",
            "microseconds for an application; thin line: least to most round",
            bars("saturation", "all_cpu_us"),
        ),
    ]


def core_panel(results: Results) -> Panel:
    """What a request costs the server's core, beside the echo."""
    rounds = results["gateway_core"]["rounds"]
    spent = {kind: [each[kind]["server_cpu_us"] for each in rounds] for kind in KINDS_SHOWN}
    bars = tuple(
        Bar(KINDS_SHOWN[kind], median(us), min(us), max(us), number(median(us)), PLAIN) for kind, us in spent.items()
    )
    return Panel(
        "The gateway's own core: CPU of one request, beside a bare echo",
        "microseconds of the server's process; thin line: least to most round",
        bars,
    )


def charts_of(results: Results) -> dict[str, Chart]:
    """Every chart that these results have figures for, by the name of its file."""
    panels: dict[str, list[Panel]] = {}
    if any(seen_in(results, target) for target in TARGETS):
        panels["targets"] = [targets_panel(results)]
    if "functions" in results:
        panels["functions"] = [functions_panel(results)]
    if "gateway_core" in results:
        panels["core"] = [core_panel(results)]
    if "peers" in results:
        panels["peers"] = peers_panels(results)
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
