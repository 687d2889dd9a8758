"""What a gateway does that is offered more than it can do.

    python -m benchmarks.overload [--quick] [--results DIR]

In each round, one after the other:

- capacity: a closed loop of unary calls that keeps the gateway at work;
- cooperative: three times as many callers want as much as it can do, two over streams and one in unary calls; they
  keep to the streams' window, and come back when RetryInfo says so;
- flood: twice its capacity in unary calls, open loop, over several connections, by a requester that heeds nothing,
  while another requester asks now and then.

Goodput is what was answered within the phase, by the capacity of the same round. Beside it stands what was answered for
each second of the gateway's CPU, by the same: that a neighbour on the machine does not change. All departments are
canned, so that the gateway is the bottleneck; it has a core of its own, everything else shares the other. What the
gateway spent on a refused call follows from its CPU time in the flood, less that of the answered ones at the cost that
they had before.
Every status is counted; anything but right answers and refusals for overload ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.applicants import Applicant, applicants
from benchmarks.bounds import amount, count
from benchmarks.canned import canned_federation, known
from benchmarks.crowd import Callers, Outcome, callers
from benchmarks.load import OK, quantile
from benchmarks.overload_report import report
from benchmarks.processes import cores, cpu_seconds
from benchmarks.setting import PREFECTURE, RESULTS, Measured, write_results
from benchmarks.targets import spread
from gateway.party.process import configure_logging
from gateway.protocol.reasons import Reason

OTHER_PREFECTURE = "4303"
CONCURRENCY = 64
CONNECTIONS = 4
COOPERATIVE, FLOOD = 3, 2
"""Times the capacity that is offered."""
MODEST = 0.05
"""Part of the capacity that the modest requester asks for."""
EXPLAINED = {OK, Reason.OVERLOADED.value}
LOOK = 0.2
FIRST_GUESS = 150.0
"""Applications a second, to prepare for before any were measured."""


class UnexplainedError(Exception):
    """Something was neither answered right nor refused for overload: there is nothing to report."""


@dataclass
class Phase:
    """What was seen of a phase."""

    seconds: float = 0.0
    gateway_cpu: float = 0.0
    generator_cpu: float = 0.0
    memory: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    verified: int = 0
    retries: int = 0
    goodput: float = 0.0
    p50: float = 0.0
    p99: float = 0.0

    def callers(self) -> dict[str, Any]:
        """What its callers saw."""
        return {
            "goodput_per_second": self.goodput,
            "p50_ms": 1000 * self.p50,
            "p99_ms": 1000 * self.p99,
            "statuses": dict(self.statuses),
            "retries": self.retries,
            "receipts_verified": self.verified,
        }

    def figures(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self.callers(),
            "gateway_core": self.gateway_cpu / self.seconds,
            "generator_core": self.generator_cpu / self.seconds,
            "memory_mib": self.memory / 2**20,
        }


@dataclass(frozen=True)
class Bench:
    """A federation with both requesters connected, and whom they ask for."""

    measured: Measured
    flooding: Callers
    modest: Callers
    families: Sequence[Applicant]
    modest_families: Sequence[Applicant]

    @asynccontextmanager
    async def phase(self, seconds: float) -> AsyncIterator[Phase]:
        """Measure what is done meanwhile, which ends what it began; its rates are by `seconds`."""
        seen, pid = Phase(), self.measured.supervisor.pid("gateway")
        began, gateway, generator = time.perf_counter(), cpu_seconds(pid), time.process_time()
        looking = asyncio.create_task(self._look(seen))
        yield seen
        seen.seconds = max(seconds, time.perf_counter() - began)
        seen.gateway_cpu = cpu_seconds(pid) - gateway
        seen.generator_cpu = time.process_time() - generator
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    async def _look(self, seen: Phase) -> None:
        while True:
            seen.memory = max(seen.memory, self.measured.gateway_memory())
            await asyncio.sleep(LOOK)


def told(phase: Phase, who: Callers, outcome: Outcome, began: float, seconds: float) -> None:
    """Hold what came of callers against the truth, and reckon their figures; UnexplainedError."""
    statuses, verified = who.judged(outcome)
    if unexplained := statuses.keys() - EXPLAINED:
        raise UnexplainedError(", ".join(f"{name}: {statuses[name]}" for name in sorted(unexplained)))
    in_time = outcome.answered(began + seconds)
    phase.statuses += statuses
    phase.verified += verified
    phase.retries += outcome.retries
    phase.goodput = len(in_time) / seconds
    phase.p50, phase.p99 = quantile(outcome.answered(), 0.5), quantile(outcome.answered(), 0.99)


async def capacity(bench: Bench, seconds: float, guess: float) -> Phase:
    """As fast as the gateway answers, nobody being refused for long."""
    ready = bench.flooding.prepare(bench.families, round(1.5 * guess * seconds))
    outcome = Outcome()
    async with bench.phase(seconds) as phase:
        began = time.perf_counter()
        await bench.flooding.unary(ready, CONCURRENCY, began + seconds, outcome)
    took = min(seconds, max(one.due + one.latency for one in outcome.ended) - began)
    told(phase, bench.flooding, outcome, began, took)
    return phase


async def cooperative(bench: Bench, seconds: float, able: float) -> Phase:
    """Three callers that want as much as the gateway can do, each."""
    ready = [bench.flooding.prepare(bench.families, round(able * seconds)) for _ in range(COOPERATIVE)]
    outcome = Outcome()
    async with bench.phase(seconds) as phase:
        began = time.perf_counter()
        until = began + seconds
        await asyncio.gather(
            bench.flooding.stream(ready[0], until, outcome),
            bench.flooding.stream(ready[1], until, outcome),
            bench.flooding.unary(ready[2], CONCURRENCY, until, outcome),
        )
    told(phase, bench.flooding, outcome, began, seconds)
    return phase


async def flood(bench: Bench, seconds: float, able: float) -> tuple[Phase, Phase]:
    """The flood, and the modest requester beside it."""
    floods = bench.flooding.prepare(bench.families, round(FLOOD * able * seconds))
    asks = bench.modest.prepare(bench.modest_families, max(5, round(MODEST * able * seconds)))
    flooded, asked, modest = Outcome(), Outcome(), Phase()
    async with bench.phase(seconds) as phase:
        began = time.perf_counter()
        await asyncio.gather(
            bench.flooding.open_loop(floods, len(floods) / seconds, flooded),
            bench.modest.open_loop(asks, len(asks) / seconds, asked),
        )
    told(phase, bench.flooding, flooded, began, seconds)
    told(modest, bench.modest, asked, began, seconds)
    return phase, modest


async def one_round(bench: Bench, seconds: float, guess: float) -> dict[str, Any]:
    """All phases, and their ratios."""
    able = await capacity(bench, seconds, guess)
    together = await cooperative(bench, seconds, able.goodput)
    flooded, modest = await flood(bench, seconds, able.goodput)
    each = able.gateway_cpu / able.statuses[OK]
    answered = flooded.statuses[OK] + modest.statuses[OK]
    refused = flooded.statuses[Reason.OVERLOADED.value]
    return {
        "capacity": able.figures(),
        "cooperative": together.figures(),
        "flood": flooded.figures(),
        "modest": modest.callers(),
        "cooperative_ratio": together.goodput / able.goodput,
        "flood_ratio": (flooded.goodput + modest.goodput) / able.goodput,
        "cooperative_cpu_ratio": together.statuses[OK] * each / together.gateway_cpu,
        "flood_cpu_ratio": answered * each / flooded.gateway_cpu,
        "cpu_ms_each": 1000 * each,
        "cpu_ms_refused": 1000 * max(0.0, flooded.gateway_cpu - each * answered) / refused if refused else None,
        "modest_answered": modest.statuses[OK] / modest.statuses.total(),
    }


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds."""
    gateway_core, other_core = cores()
    os.sched_setaffinity(0, {other_core})
    async with AsyncExitStack() as stack:
        measured, _ = await stack.enter_async_context(
            canned_federation(
                options.population,
                gateway_core=gateway_core,
                other_core=other_core,
                prefectures=(PREFECTURE, OTHER_PREFECTURE),
            )
        )
        one, other = (requester.name for requester in measured.sandbox.requesters)
        truths, _ = known(measured.folder)
        families = truths[: options.families]
        bench = Bench(
            measured,
            await stack.enter_async_context(callers(measured.folder, one, CONNECTIONS)),
            await stack.enter_async_context(callers(measured.folder, other, 1)),
            await applicants(measured.folder, one, families),
            await applicants(measured.folder, other, families[:8]),
        )
        idle = measured.gateway_memory()
        guess = (await capacity(bench, options.seconds / 2, FIRST_GUESS)).goodput
        rounds = []
        for _ in range(options.rounds):
            rounds.append(await one_round(bench, options.seconds, guess))
            guess = rounds[-1]["capacity"]["goodput_per_second"]
    return {
        "cores": {"gateway": gateway_core, "others": other_core},
        "memory_mib_at_first": idle / 2**20,
        "rounds": rounds,
        "targets": {
            f"overload_{name}": spread([item[f"{name}_ratio"] for item in rounds]) for name in ("cooperative", "flood")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=count, help="5, or 1")
    parser.add_argument("--seconds", type=amount, help="of each phase: 4, or 1.5")
    parser.add_argument("--families", type=count, default=40, help="that applications are made for, in turn")
    parser.add_argument("--population", type=count, default=300, help="families in the registers")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1.5 if options.quick else 4.0)
    configure_logging("WARNING")
    try:
        results = uvloop.run(run(options))
    except UnexplainedError as error:
        sys.exit(f"unexplained: {error}")
    print(report(results))
    print(write_results("overload", results, options.results))


if __name__ == "__main__":
    main()
