"""From rounds to ratios, and to the table that is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.setting import table
from benchmarks.targets import spread

Rounds = Sequence[Mapping[str, Any]]
CHECKS = 5
"""Of an application."""

_CPU = "server_cpu_us"
_RATE = "requests_per_second"


def summary(rounds: Rounds) -> dict[str, Any]:
    """Targets and the other ratios, each as median, least and most of the rounds."""
    by_cpu = {
        "single_over_echo": [each["echo"][_CPU] / each["single"][_CPU] for each in rounds],
        "checks_per_echo": [CHECKS * each["echo"][_CPU] / each["application"][_CPU] for each in rounds],
        "floor_share": [each["floor"]["cpu_us"] / each["single"][_CPU] for each in rounds],
    }
    others = {
        "single_repeated_over_echo": [each["echo"][_CPU] / each["single_repeated"][_CPU] for each in rounds],
        "checks_per_echo_repeated": [
            CHECKS * each["echo"][_CPU] / each["application_repeated"][_CPU] for each in rounds
        ],
        "single_over_echo_by_clock": [each["single"][_RATE] / each["echo"][_RATE] for each in rounds],
        "checks_per_echo_by_clock": [CHECKS * each["application"][_RATE] / each["echo"][_RATE] for each in rounds],
    }
    return {
        "targets": {name: spread(values) for name, values in by_cpu.items()},
        "ratios": {name: spread(values) for name, values in others.items()},
    }


KINDS_SHOWN = {
    "echo": "bare echo",
    "single": "single check",
    "application": f"{CHECKS} checks at 4 departments",
    "single_repeated": "single check, grants seen before",
    "application_repeated": f"{CHECKS} checks, grants seen before",
}
"""Of `benchmarks.gateway_core`, and as they are called where they are shown."""
_COLUMNS = {
    _CPU: "server CPU us/request",
    _RATE: "requests/s",
    "server_core_share": "server's core",
    "generator_core_share": "generator",
    "departments_core_share": "departments",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "retries": "retries",
}


def report(results: Mapping[str, Any]) -> str:
    """Tables of the runs (medians of the rounds) and of the ratios."""
    rounds = results["rounds"]
    rows = [
        (KINDS_SHOWN[kind], *(median(each[kind][column] for each in rounds) for column in _COLUMNS))
        for kind in KINDS_SHOWN
    ]
    rows.append(
        ("two ES256 verifications", median(each["floor"]["cpu_us"] for each in rounds), *["-"] * (len(_COLUMNS) - 1))
    )
    ratios = [
        (name, *(item[part] for part in ("value", "low", "high")))
        for name, item in {**results["targets"], **results["ratios"]}.items()
    ]
    verified = sum(each[kind].get("receipts_verified", 0) for each in rounds for kind in KINDS_SHOWN)
    right = sum(each[kind]["requests"] for each in rounds for kind in KINDS_SHOWN)
    return "\n\n".join(
        (
            table(("", *_COLUMNS.values()), rows),
            table(("ratio", "median", "least", "most"), ratios),
            f"{len(rounds)} rounds, {right} requests, all answered right; {verified} receipts verified whole.",
        )
    )
