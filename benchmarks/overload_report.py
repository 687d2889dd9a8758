"""The tables of `benchmarks.overload`."""

from __future__ import annotations

from typing import Any

from benchmarks.setting import table

HEADINGS = (
    "round",
    "capacity/s",
    "cooperative",
    "by CPU",
    "retries",
    "flood",
    "by CPU",
    "flood's statuses",
    "its p99 ms",
    "modest answered",
    "its p99 ms",
    "CPU ms answered",
    "CPU ms refused",
    "gateway MiB",
    "generator's core",
)


def report(results: dict[str, Any]) -> str:
    """The tables that are printed."""
    rows = [
        (
            number,
            item["capacity"]["goodput_per_second"],
            item["cooperative_ratio"],
            item["cooperative_cpu_ratio"],
            item["cooperative"]["retries"],
            item["flood_ratio"],
            item["flood_cpu_ratio"],
            item["flood"]["statuses"],
            item["flood"]["p99_ms"],
            item["modest_answered"],
            item["modest"]["p99_ms"],
            item["cpu_ms_each"],
            item["cpu_ms_refused"] or "-",
            item["flood"]["memory_mib"],
            item["flood"]["generator_core"],
        )
        for number, item in enumerate(results["rounds"], 1)
    ]
    targets = [
        f"{name}: {item['value']:.2f} ({item['low']:.2f} to {item['high']:.2f})"
        for name, item in results["targets"].items()
    ]
    first = f"gateway's memory at first: {results['memory_mib_at_first']:.0f} MiB"
    return "\n\n".join([table(HEADINGS, rows), *targets, first])
