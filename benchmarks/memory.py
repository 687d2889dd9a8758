"""How much memory the gateway takes when it starts, and how much more as it answers.

    python -m benchmarks.memory                       20,000 applications of five checks, a minute and a half
    python -m benchmarks.memory --checks 1000000      what the target asks, a quarter of an hour; kept beside the other

Departments are canned (`benchmarks.canned`), so that the gateway answers as much as it can; each application brings a
grant that was never seen, so that whatever remembers grants fills up. Requests are made in processes of their own,
a batch ahead. Resident memory is read from /proc after each batch.

A long run's growth is what stands there: memory after a million checks less memory at the start. A short one cannot
know it: it leaves out what comes before the gateway's memories are full, and tells the growth of the rest for a million
checks: the median slope between all its readings, with those of its first and last thirds as least and most. Read it as
a warning of a leak, not as a figure. A run that ends before tells no growth.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.bounds import count
from benchmarks.canned import canned_federation
from benchmarks.closed_loop import closed_loop, open_calls
from benchmarks.core_work import (
    APPLICATION,
    MAKERS,
    Judgement,
    Share,
    UnrightError,
    asking,
    judge,
    make,
    require_right,
)
from benchmarks.gateway_core import VERIFY_METHOD
from benchmarks.setting import RESULTS, table, write_results
from benchmarks.targets import spread
from gateway.cli.endpoints import open_client, read_endpoints

MILLION = 1_000_000
CHECKS, QUICK_CHECKS = 100_000, 5_000
SETTLED = 60_000
"""Checks after which nothing that the gateway remembers can be filling up any more. It remembers at most 10,000 keys of
evidence (`gateway.evidence.vault.CACHED_KEYS`), of which an application brings one, and fewer of whatever else does."""
BATCH, CONCURRENCY = 500, 64
"""Applications of a batch, and how many are under way."""
FAMILIES, POPULATION = 24, 400
MIB = float(1 << 20)
_THIRDS = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """Resident memory of the gateway once so many checks were answered."""

    checks: int
    rss_mib: float


async def measure(checks: int) -> tuple[list[Reading], Judgement]:
    """Readings, the first one before anything was asked; UnrightError if an answer is not right."""
    readings, all_judged = [], Judgement()
    with ProcessPoolExecutor(MAKERS, mp_context=get_context("spawn")) as makers:
        async with canned_federation(POPULATION) as (measured, _):
            folder, requester = measured.folder, measured.requester
            readings.append(Reading(0, measured.gateway_memory() / MIB))
            held = tuple(await asking(folder, requester, APPLICATION, FAMILIES))
            share = Share(folder, requester, held, APPLICATION.fresh, BATCH)
            target, client = read_endpoints(folder).gateway.grpc, open_client(folder, requester)
            async with open_calls(folder, requester, target, VERIFY_METHOD) as calls:
                making = asyncio.create_task(make(makers, share))
                while readings[-1].checks < checks:
                    asked = await making
                    making = asyncio.create_task(make(makers, share))
                    run = await closed_loop(calls, [each.message for each in asked], CONCURRENCY)
                    judged = judge(client, asked, run.replies)
                    require_right(judged, APPLICATION.name)
                    all_judged.statuses += judged.statuses
                    all_judged.verified += judged.verified
                    done = readings[-1].checks + len(asked) * len(APPLICATION.claims)
                    readings.append(Reading(done, measured.gateway_memory() / MIB))
                    print(f"{done:,} checks: {readings[-1].rss_mib:.1f} MiB", file=sys.stderr, flush=True)
                await making  # of no use any more; its processes must not be ended within it
    return readings, all_judged


def slope(readings: Sequence[Reading]) -> float:
    """MiB for each check: the median slope between any two readings, which single jumps do not move (Theil, Sen)."""
    slopes = [
        (later.rss_mib - earlier.rss_mib) / (later.checks - earlier.checks)
        for place, earlier in enumerate(readings)
        for later in readings[place + 1 :]
    ]
    return median(slopes)


def growth(readings: Sequence[Reading]) -> dict[str, float] | None:
    """MiB of growth over a million checks: as it was if there were so many, else by the slope of what is settled.

    None if there is not enough of that.
    """
    if readings[-1].checks >= MILLION:
        return spread([readings[-1].rss_mib - readings[0].rss_mib])
    settled = [each for each in readings if each.checks >= SETTLED]
    if len(settled) < 2 * _THIRDS:
        return None
    third = len(settled) // _THIRDS
    whole = slope(settled) * MILLION
    ends = [slope(settled[:third]) * MILLION, slope(settled[-third:]) * MILLION]
    return {"value": whole, "low": min(whole, *ends), "high": max(whole, *ends)}


def summary(readings: Sequence[Reading], judged: Judgement) -> dict[str, Any]:
    """What is written."""
    targets = {"rss_start_mib": spread([readings[0].rss_mib])}
    if (grown := growth(readings)) is not None:
        targets["rss_growth_mib"] = grown
    return {
        "checks": readings[-1].checks,
        "growth_is_extrapolated": readings[-1].checks < MILLION,
        "growth_seen_mib": readings[-1].rss_mib - readings[0].rss_mib,
        "statuses": dict(judged.statuses),
        "receipts_verified": judged.verified,
        "rows": [{"checks": each.checks, "rss_mib": each.rss_mib} for each in readings],
        "targets": targets,
    }


def shown(results: Mapping[str, Any]) -> str:
    """The table that is printed: about a dozen readings, then what they come to."""
    rows = results["rows"]
    some = [*rows[:: max(1, len(rows) // 12)], rows[-1]]
    grown = results["targets"].get("rss_growth_mib")
    how = f"by the slope from {SETTLED:,} on" if results["growth_is_extrapolated"] else "as it was"
    over = f"; over {MILLION:,}: {grown['value']:.1f} MiB, {how}" if grown is not None else ""
    return (
        f"{table(('checks', 'RSS MiB'), [(row['checks'], row['rss_mib']) for row in some])}\n\n"
        f"grown by {results['growth_seen_mib']:.1f} MiB in {results['checks']:,} checks{over}\n"
        f"all answers right; {results['receipts_verified']} receipts verified whole"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CHECKS:,} checks")
    parser.add_argument("--checks", type=count, help=f"to answer ({CHECKS:,})")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    checks = options.checks or (QUICK_CHECKS if options.quick else CHECKS)
    try:
        results = summary(*uvloop.run(measure(checks)))
    except UnrightError as error:
        sys.exit(f"not answered right: {error}")
    print(shown(results))
    print(write_results("memory_large" if checks >= MILLION else "memory", results, options.results))


if __name__ == "__main__":
    main()
