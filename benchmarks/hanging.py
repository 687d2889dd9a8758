"""What one hanging department costs the applications that do not ask it.

    python -m benchmarks.hanging

At a fixed rate (open loop, below saturation) two kinds of applications are offered all the time: `others`, which ask
only departments that answer, and `hanging`, which ask also the department that will hang. Phases alternate: in the
first of each round all departments answer, in the second one department's process is stopped (SIGSTOP), so that its
connections stay open and silent. Reported for each round: p50 and p99 of the others in both phases, counted from when
each was meant to be sent, and their ratio; the median ratio of all rounds; and the gateway's memory over time.

The target: p99 of the others moves by less than 20 %, and memory stays bounded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.applicants import Applicant, Choose, applicants, families_of
from benchmarks.bounds import amount, count
from benchmarks.load import Generator, Tally, quantile
from benchmarks.setting import RESULTS, Measured, federation, table, write_results
from benchmarks.ways import Ready, through_gateway
from gateway.protocol.claims import CLAIMS, DepartmentKind

OTHERS, HANGING = "others", "hanging"
MEMORY_INTERVAL = 0.5
SETTLING = 3.0
"""Seconds between phases: what was held up is answered, streams are open again."""


@dataclass(frozen=True)
class Offered:
    """Who applies: those who ask only departments that answer, and those who ask the one that hangs as well."""

    others: list[Applicant]
    hanging: list[Applicant]


async def measure(measured: Measured, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds, and the gateway's memory over time."""
    hangs = DepartmentKind(options.department)
    families = families_of(measured.folder, options.families)
    offered = Offered(
        await applicants(measured.folder, measured.requester, families, _checks_of(hangs, asked=False)),
        await applicants(measured.folder, measured.requester, families, _checks_of(hangs, asked=True)),
    )
    pid = measured.supervisor.pid(measured.node(options.department))
    rounds: list[dict[str, Any]] = []
    async with through_gateway(measured.folder, measured.requester) as generating, _memory(measured) as memory:
        await _phase(generating, offered, options, options.warm_up)
        for number in range(1, options.rounds + 1):
            phases = {}
            for hanging in (False, True):
                began = time.time()
                if hanging:
                    os.kill(pid, signal.SIGSTOP)
                try:
                    tally = await _phase(generating, offered, options, options.seconds)
                finally:
                    os.kill(pid, signal.SIGCONT)
                phases[hanging] = {"began": began, **_figures(tally)}
                await asyncio.sleep(SETTLING)
            rounds.append({"round": number, "answering": phases[False], "hanging": phases[True], **_ratios(phases)})
    return {
        "department": options.department,
        "rate": options.rate,
        "hanging_rate": options.hanging_rate,
        "rounds": rounds,
        "median_p99_ratio": median(item["p99_ratio"] for item in rounds),
        "median_p50_ratio": median(item["p50_ratio"] for item in rounds),
        "gateway_memory": memory,
    }


def _checks_of(department: DepartmentKind, *, asked: bool) -> Choose:
    """The checks of a plan that a department answers, or all others."""
    return lambda truth: [each for each in truth.plan if (CLAIMS[each.claim].department is department) == asked]


async def _phase(generating: Generator[Ready], offered: Offered, options: argparse.Namespace, seconds: float) -> Tally:
    """Offer both kinds for `seconds`, and wait for all that is under way."""
    tally = Tally()
    loads = ((OTHERS, offered.others, options.rate), (HANGING, offered.hanging, options.hanging_rate))
    prepared = [(kind, generating.prepare(who, max(1, round(rate * seconds))), rate) for kind, who, rate in loads]
    await asyncio.gather(*(generating.open_loop(kind, ready, rate, tally) for kind, ready, rate in prepared))
    return tally


def _figures(tally: Tally) -> dict[str, Any]:
    others = tally.latencies(OTHERS)
    return {
        "p50_ms": 1000 * quantile(others, 0.5),
        "p99_ms": 1000 * quantile(others, 0.99),
        "others": dict(tally.statuses(OTHERS)),
        "asking_the_department": dict(tally.statuses(HANGING)),
        "receipts_verified": tally.verified,
    }


def _ratios(phases: dict[bool, dict[str, Any]]) -> dict[str, float]:
    return {f"{name}_ratio": phases[True][f"{name}_ms"] / phases[False][f"{name}_ms"] for name in ("p50", "p99")}


@asynccontextmanager
async def _memory(measured: Measured) -> AsyncIterator[list[tuple[float, int]]]:
    """Time and resident bytes of the gateway, every MEMORY_INTERVAL seconds."""
    seen: list[tuple[float, int]] = []

    async def look() -> None:
        while True:
            seen.append((time.time(), measured.gateway_memory()))
            await asyncio.sleep(MEMORY_INTERVAL)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def report(results: dict[str, Any]) -> str:
    """The tables that are printed."""
    rows = [
        (
            item["round"],
            *(item[phase][name] for name in ("p50_ms", "p99_ms") for phase in ("answering", "hanging")),
            item["p50_ratio"],
            item["p99_ratio"],
            item["hanging"]["others"],
            item["hanging"]["asking_the_department"],
        )
        for item in results["rounds"]
    ]
    headings = ("round", "p50 ms", "p50 ms, one hangs", "p99 ms", "p99 ms, one hangs", "p50 ratio", "p99 ratio")
    memory = [size for _, size in results["gateway_memory"]]
    return (
        table((*headings, "others", "asking it"), rows)
        + f"\n\nmedian ratio of p99: {results['median_p99_ratio']:.3f} (target: below 1.2)"
        + f"\ngateway memory: {memory[0] / 2**20:.0f} MiB at first, {memory[-1] / 2**20:.0f} at the end, "
        + f"{max(memory) / 2**20:.0f} at most"
    )


async def run(options: argparse.Namespace) -> Path:
    """Measure, print, write."""
    async with federation(options.population) as measured:
        results = await measure(measured, options)
    print(report(results))
    return write_results("hanging", results, options.results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = [kind.value for kind in DepartmentKind]
    parser.add_argument("--department", choices=kinds, default="education", help="the one that hangs")
    parser.add_argument("--rate", type=amount, default=15.0, help="applications/s that do not ask it")
    parser.add_argument("--hanging-rate", type=amount, default=3.0, help="applications/s that ask it")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--seconds", type=amount, default=20.0, help="of each phase, at most 40")
    parser.add_argument("--warm-up", type=amount, default=5.0, help="seconds before the first round")
    parser.add_argument("--families", type=count, default=100, help="that applications are made for, in turn")
    parser.add_argument("--population", type=count, default=2_000, help="families in the registers")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    print(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
