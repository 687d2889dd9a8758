"""How many messages an application costs the departments, from idle to saturation.

    python -m benchmarks.coalescing

Applications with all checks of their plan are sent: at level 0, idle, one at a time with rests between; then in a
closed loop at rising concurrency. Reported for each: applications a second, latency, messages from the gateway to
departments and parts asked for each application (the gateway's own counters), and reply batches for each application
(the departments' journals). Where many applications are under way, messages hold parts of several, so that both fall.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.applicants import applicants, families_of
from benchmarks.bounds import amount, count
from benchmarks.clients import Clients, Held, clients
from benchmarks.load import Tally, quantile
from benchmarks.setting import RESULTS, Measured, federation, table, write_results
from benchmarks.ways import through_gateway

MESSAGES = "heyan_department_messages_total"
ASKS = "heyan_department_asks_total"
IDLE = 0
IDLE_RATE = 2.0
"""Applications a second that find everything at rest."""
LEVELS = (IDLE, 1, 4, 16, 64, 128)
WAY = "gateway"


async def measure(measured: Measured, started: Clients, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each level."""
    rows = []
    for concurrency in options.levels:
        before, batches = await measured.gateway_metrics(), measured.reply_batches()
        tally = await _run(started, options, concurrency)
        after = await measured.gateway_metrics()
        done = len(tally.latencies())
        row = {
            "concurrency": concurrency,
            "applications": done,
            "applications_per_second": done / tally.seconds,
            "p50_ms": 1000 * quantile(tally.latencies(), 0.5),
            "p99_ms": 1000 * quantile(tally.latencies(), 0.99),
            "messages_per_application": _per(done, before, after, MESSAGES),
            "asks_per_application": _per(done, before, after, ASKS),
            "reply_batches_per_application": (measured.reply_batches() - batches) / done if done else None,
            "statuses": dict(tally.statuses()),
            "retries": tally.retries,
            "receipts_verified": tally.verified,
        }
        rows.append(row)
    return rows


async def _run(started: Clients, options: argparse.Namespace, concurrency: int) -> Tally:
    if concurrency == IDLE:
        await started.prepare(WAY, round(options.seconds * IDLE_RATE), 1)
        return await started.open_loop(WAY, IDLE_RATE, 1)
    await started.prepare(WAY, round(options.seconds * options.expected_rate), concurrency)
    return await started.closed_loop(WAY, concurrency, options.seconds)


@asynccontextmanager
async def _open(folder: Path, requester: str, families: int, number: int, of: int) -> AsyncIterator[Mapping[str, Held]]:
    """What a client process holds: families of its own, and the gateway."""
    held = await applicants(folder, requester, families_of(folder, families)[number::of])
    async with through_gateway(folder, requester) as generating:
        yield {WAY: Held(generating, held)}


def _per(done: int, before: dict[str, float], after: dict[str, float], name: str) -> float | None:
    if name not in after or not done:
        return None
    return (after[name] - before.get(name, 0.0)) / done


def report(rows: list[dict[str, Any]]) -> str:
    """The table that is printed."""
    shown = (
        ("concurrency", "concurrency"),
        ("applications/s", "applications_per_second"),
        ("p50 ms", "p50_ms"),
        ("p99 ms", "p99_ms"),
        ("messages/application", "messages_per_application"),
        ("asks/application", "asks_per_application"),
        ("reply batches/application", "reply_batches_per_application"),
        ("retries", "retries"),
        ("statuses", "statuses"),
    )
    lines = [tuple(row[name] if row[name] is not None else "-" for _, name in shown) for row in rows]
    text = table(tuple(heading for heading, _ in shown), lines)
    for name in ("messages_per_application", "reply_batches_per_application"):
        known = [row[name] for row in rows if row[name]]
        if known:
            text += f"\n\n{name.replace('_', ' ')}: {known[0]:.3g} at first, {min(known):.3g} at least: "
            text += f"{known[0] / min(known):.2g} times fewer"
    return text


async def run(options: argparse.Namespace) -> Path:
    """Measure, print, write."""
    async with federation(options.population) as measured:
        opening = partial(_open, measured.folder, measured.requester, options.families)
        async with clients(opening, options.processes) as started:
            rows = await measure(measured, started, options)
    print(report(rows))
    return write_results("coalescing", {"rows": rows}, options.results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS, help="applications under way; 0: idle")
    parser.add_argument("--seconds", type=amount, default=10.0, help="of each level")
    parser.add_argument("--families", type=count, default=200, help="that applications are made for, in turn")
    parser.add_argument("--population", type=count, default=2_000, help="families in the registers")
    parser.add_argument("--processes", type=count, default=1, help="client processes")
    parser.add_argument("--expected-rate", type=amount, default=400.0, help="applications/s to prepare for")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    print(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
