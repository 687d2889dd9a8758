"""The order in which the ways are measured, and the ratios that come of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.peers.doors import DIRECT, HEYAN, TOGETHER, UNARY
from benchmarks.peers.measuring import PARTIES, Measuring, Seen
from benchmarks.targets import spread

ENVOY, NGINX = "envoy", "nginx"
_NOT_WORTH = 1.03
"""A later choice is taken only if it brings more than this."""

_WARM_UP = 0.5
"""Seconds."""

Found = dict[str, tuple[str, int]]
"""By peer: the way that is best for it, and the concurrency at which it is saturated."""


async def compare(measuring: Measuring, proxies: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The search, all rounds, and the targets' ratios."""
    searched, found = await _search(measuring, proxies, options)
    rounds = [await _round(measuring, found, number, options) for number in range(options.rounds)]
    return {
        "chosen": {name: {"way": way, "concurrency": concurrency} for name, (way, concurrency) in found.items()},
        "search": searched,
        "rounds": [
            {phase: {name: seen.figures() for name, seen in runs.items()} for phase, runs in each.items()}
            for each in rounds
        ],
        "medians": _medians(rounds),
        "targets": _targets(rounds, found),
    }


async def _search(
    measuring: Measuring, proxies: Sequence[str], options: argparse.Namespace
) -> tuple[list[dict[str, Any]], Found]:
    """Saturate each way at each level of concurrency, briefly, where there is a choice; a first run warms it up."""
    ways = {HEYAN: [HEYAN], DIRECT: [DIRECT]}
    for proxy in proxies:
        ways.setdefault(proxy.partition("-")[0], []).append(proxy)
    rows, found = [], {}
    for name, candidates in ways.items():
        best, most = (candidates[0], options.levels[0]), 0.0
        for way in candidates:
            await measuring.saturation(way, options.levels[0], _WARM_UP)
            for level in options.levels if len(candidates) * len(options.levels) > 1 else ():
                rate = (await measuring.saturation(way, level, options.search_seconds)).rate
                rows.append({"way": way, "concurrency": level, "applications_per_second": rate})
                if rate > most * _NOT_WORTH:
                    best, most = (way, level), rate
        found[name] = best
    way, level = found[ENVOY]
    found[f"{ENVOY}, {TOGETHER}"] = f"{way}, {TOGETHER}", level
    return rows, found


async def _round(
    measuring: Measuring, found: Found, number: int, options: argparse.Namespace
) -> dict[str, dict[str, Seen]]:
    """One round; each begins with another way, so that none is always the first."""
    names = list(found)
    names = names[number % len(names) :] + names[: number % len(names)]
    saturated = {name: await measuring.saturation(*found[name], options.seconds) for name in names}
    rate = options.share * saturated[ENVOY].rate
    apart = [name for name in names if TOGETHER not in name]
    offered = {name: await measuring.offered(found[name][0], rate, options.seconds) for name in apart}
    idle = {
        HEYAN: await measuring.saturation(HEYAN, 1, options.seconds / 2),
        DIRECT: await measuring.saturation(DIRECT, 1, options.seconds / 2),
        UNARY: await measuring.saturation(UNARY, 1, options.seconds / 2),
    }
    return {"saturation": saturated, "offered": offered, "idle": idle}


def _medians(rounds: Sequence[Mapping[str, Mapping[str, Seen]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each phase and way: median, least and most of what is shown."""
    of: dict[str, Callable[[Seen], float]] = {
        "applications_per_second": lambda seen: seen.rate,
        "p50_ms": lambda seen: 1000 * seen.latency(0.5),
        "p99_ms": lambda seen: 1000 * seen.latency(0.99),
        **{f"{party}_cpu_us": partial(_cpu, party) for party in (*PARTIES, "all")},
    }
    return {
        phase: {
            name: {figure: spread([value(each[phase][name]) for each in rounds]) for figure, value in of.items()}
            for name in runs
        }
        for phase, runs in rounds[0].items()
    }


def _targets(rounds: Sequence[Mapping[str, Mapping[str, Seen]]], found: Found) -> dict[str, dict[str, float]]:
    """The ratios that `benchmarks.targets` names, taken within each round."""
    ratios: dict[str, Callable[[Mapping[str, Mapping[str, Seen]]], float]] = {
        f"system_over_{peer}": partial(_over, peer) for peer in (ENVOY, NGINX) if peer in found
    }
    ratios["p99_over_envoy"] = lambda each: each["offered"][HEYAN].latency(0.99) / each["offered"][ENVOY].latency(0.99)
    ratios["idle_over_unary"] = lambda each: each["idle"][HEYAN].latency(0.5) / each["idle"][UNARY].latency(0.5)
    return {name: spread([ratio(each) for each in rounds]) for name, ratio in ratios.items()}


def _cpu(party: str, seen: Seen) -> float:
    return seen.cpu_per_application[party]


def _over(peer: str, runs: Mapping[str, Mapping[str, Seen]]) -> float:
    return runs["saturation"][HEYAN].rate / runs["saturation"][peer].rate
