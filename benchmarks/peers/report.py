"""What was measured, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.peers.measuring import PARTIES
from benchmarks.setting import table

_TITLES = {
    "saturation": "Saturation",
    "offered": "Offered to each: a share of Envoy's saturation",
    "idle": "Idle: one in flight (unary: one call for one check)",
}


def report(results: Mapping[str, Any]) -> str:
    """The tables that are printed: medians of the rounds, least and most in brackets."""
    lines = []
    for phase, title in _TITLES.items():
        rows = results["medians"][phase]
        shown = [
            (name, *(_spread(row[figure]) for figure in ("applications_per_second", "p50_ms", "p99_ms")), *_cpu(row))
            for name, row in rows.items()
        ]
        headings = (title, "applications/s", "p50 ms", "p99 ms", *(f"{party} CPU µs" for party in (*PARTIES, "all")))
        lines += [table(headings, shown), ""]
    ratios = [(name, *ratio.values()) for name, ratio in results["targets"].items()]
    chosen = ", ".join(f"{name}: {way['way']} at {way['concurrency']}" for name, way in results["chosen"].items())
    versions = ", ".join(f"{name} {what}" for name, what in results["versions"].items())
    lines += [
        table(("ratio", "median", "least", "most"), ratios),
        "",
        f"Applications under way at saturation: {chosen}.",
    ]
    lines += [f"- {name}: {why}" for name, why in results["missing"].items()]
    lines += [f"Versions: {versions}.", "", "What the peers do not do:"]
    lines += [f"- {item}" for item in results["peers_leave_out"]]
    return "\n".join(lines)


def _spread(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4g} ({figure['low']:.4g} to {figure['high']:.4g})"


def _cpu(row: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [f"{row[f'{party}_cpu_us']['value']:.0f}" for party in (*PARTIES, "all")]
