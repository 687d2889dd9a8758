"""What a second worker costs: the gateway's CPU for an application, with two workers on one store and with one.

    python -m benchmarks.workers [--quick] [--results DIR]

One federation with canned departments (`benchmarks.canned`) has its gateway run twice: as a single process, and beside
it with two workers, on a store and ports of its own. In each round both answer the same number of applications of 5
checks at 4 departments, one after the other, with the same number under way; which comes first changes from round to
round.

The ratio is of CPU time for each application (/proc/PID/stat): of the gateway's process, its supervisor and its
workers, all threads and what follows the last reply included. So it tells what sharing costs: smaller batches to
departments and smaller groups of the log, the turns at the store, the supervisor. Connections are spread by the system;
the share of the busiest worker is told beside it. Every answer is held against the truth and every 100th receipt
verified whole; anything but right answers ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.applicants import Applicant
from benchmarks.bounds import count
from benchmarks.canned import canned_federation
from benchmarks.closed_loop import Call, closed_loop, open_calls
from benchmarks.core_work import APPLICATION, MAKERS, Share, UnrightError, asking, judge, make, require_right
from benchmarks.gateway_core import VERIFY_METHOD
from benchmarks.processes import AFTERMATH, family_seconds
from benchmarks.setting import RESULTS, table, write_results
from benchmarks.targets import spread
from gateway.cli.endpoints import open_client
from gateway.cli.sandbox import Process, address
from gateway.cli.supervisor import Supervisor, free_port_base
from gateway.protocol.identities import PartyRole

GATEWAY = PartyRole.GATEWAY.value
ONE, TWO = 1, 2
PORTS = 3
WARM_UP = 200
"""Applications before anything is measured."""
CHANNELS = 32
"""Connections of the generator, so that the system can spread them."""
FEW = 8
START_SECONDS = 60.0


@dataclass
class Served:
    """One gateway, as the generator knows it."""

    folder: Path
    requester: str
    pid: int
    probes: int
    applicants: list[Applicant]
    calls: Sequence[Call]
    makers: Executor

    async def run(self, requests: int, concurrency: int) -> dict[str, Any]:
        """One run: its row. UnrightError unless all is answered, and right."""
        share = Share(self.folder, self.requester, tuple(self.applicants), APPLICATION.fresh, requests)
        asked = await make(self.makers, share)
        counted, used = await self._calls_by_worker(), family_seconds(self.pid)
        run = await closed_loop(self.calls, [each.message for each in asked], concurrency)
        await asyncio.sleep(AFTERMATH)
        used = family_seconds(self.pid) - used
        by_worker = [now - before for now, before in zip(await self._calls_by_worker(), counted, strict=True)]
        judgement = judge(open_client(self.folder, self.requester), asked, run.replies)
        require_right(judgement, APPLICATION.name)
        return {
            "requests": requests,
            "statuses": dict(judgement.statuses),
            "retries": run.retries,
            "receipts_verified": judgement.verified,
            "gateway_cpu_us": used / requests * 1e6,
            "gateway_cores": used / run.seconds,
            "requests_per_second": requests / run.seconds,
            "busiest_worker_share": max(by_worker) / sum(by_worker),
        }

    async def _calls_by_worker(self) -> list[float]:
        """Calls of Verify that each worker has answered, in the order of their numbers."""
        text = await probe(self.probes, "metrics")
        return [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "heyan_call_seconds_count" and sample.labels["method"] == "Verify"
        ]


async def probe(port: int, page: str) -> str:
    """What the gateway tells on a page of its probes."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/{page}") as response:
        return await response.text()


async def until_ready(port: int, workers: int) -> None:
    """Return once every worker wants work."""
    wanted = f"ready: {workers} of {workers} workers" if workers > 1 else "ready"
    async with asyncio.timeout(START_SECONDS):
        while not (await probe(port, "readyz")).startswith(wanted):  # noqa: ASYNC110 - other processes start
            await asyncio.sleep(0.1)


def beside(gateway: Process) -> Process:
    """The same gateway with two workers, and with a store, a published log and ports of its own."""
    folder, port = gateway.folder.with_name("gateway-of-two"), free_port_base(PORTS)
    folder.mkdir(mode=0o700)
    environment = {
        "HEYAN_LISTEN": address(port),
        "HEYAN_PROBES": address(port + 1),
        "HEYAN_LOG_LISTEN": address(port + 2),
        "HEYAN_STORE": str(folder / "store.db"),
        "HEYAN_PUBLISHED": str(folder / "published"),
        "HEYAN_REGISTRY__SEEN": str(folder / "registry.seen"),
    }
    words = (*gateway.words, "--workers", str(TWO))
    return replace(
        gateway, words=words, folder=folder, port=port, probes=port + 1, log_port=port + 2, environment=environment
    )


@asynccontextmanager
async def both(options: argparse.Namespace, makers: Executor) -> AsyncIterator[dict[int, Served]]:
    """A federation whose gateway runs twice, warm, by the number of workers."""
    async with AsyncExitStack() as stack:
        measured, _ = await stack.enter_async_context(canned_federation(options.population))
        (one,) = (process for process in measured.sandbox.processes() if process.name == GATEWAY)
        two = beside(one)
        supervisor = Supervisor((two,), print)
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        pids = {ONE: measured.supervisor.pid(GATEWAY), TWO: supervisor.pid(GATEWAY)}
        applying = await asking(measured.folder, measured.requester, APPLICATION, options.families)
        found = {}
        for workers, process in ((ONE, one), (TWO, two)):
            await until_ready(process.probes, workers)  # before connections are made: they stay where they are
            opened = open_calls(measured.folder, measured.requester, address(process.port), VERIFY_METHOD, CHANNELS)
            calls = await stack.enter_async_context(opened)
            found[workers] = Served(
                measured.folder, measured.requester, pids[workers], process.probes, applying, calls, makers
            )
            for concurrency in (FEW, options.concurrency):  # a gateway takes on as much as it has seen itself do
                await found[workers].run(WARM_UP, concurrency)
        yield found


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds; what is written."""
    rounds = []
    with ProcessPoolExecutor(MAKERS, mp_context=get_context("spawn")) as makers:
        async with both(options, makers) as served:
            for number in range(options.rounds):
                order = (ONE, TWO) if number % 2 == 0 else (TWO, ONE)
                rows = {str(each): await served[each].run(options.requests, options.concurrency) for each in order}
                rounds.append(rows)
    ratios = [each[str(TWO)]["gateway_cpu_us"] / each[str(ONE)]["gateway_cpu_us"] for each in rounds]
    return {"concurrency": options.concurrency, "targets": {"two_workers_cpu": spread(ratios)}, "rounds": rounds}


_COLUMNS = {
    "gateway_cpu_us": "gateway CPU us/application",
    "requests_per_second": "applications/s",
    "gateway_cores": "cores used",
    "busiest_worker_share": "busiest worker",
    "retries": "refused at first",
}


def report(results: dict[str, Any]) -> str:
    """The table: medians of the rounds, and the ratio."""
    rounds, ratio = results["rounds"], results["targets"]["two_workers_cpu"]
    rows = [(each, *(median(row[str(each)][column] for row in rounds) for column in _COLUMNS)) for each in (ONE, TWO)]
    right = sum(row[each]["requests"] for row in rounds for each in row)
    verified = sum(row[each]["receipts_verified"] for row in rounds for each in row)
    return "\n\n".join(
        (
            table(("workers", *_COLUMNS.values()), rows),
            f"CPU of two workers over one: {ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
            f"{len(rounds)} rounds, {right} applications, all answered right; {verified} receipts verified whole.",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--requests", type=count, default=2_500, help="of each run")
    parser.add_argument("--concurrency", type=count, default=64, help="applications under way")
    parser.add_argument("--families", type=count, default=24, help="that are asked about, in turn")
    parser.add_argument("--population", type=count, default=300, help="families in the registers")
    parser.add_argument("--quick", action="store_true", help="2 short rounds")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.requests, options.families, options.population = 2, 400, 8, 120
    try:
        results = uvloop.run(measure(options))
    except UnrightError as error:
        sys.exit(f"not answered right: {error}")
    print(report(results))
    write_results("workers", results, options.results)


if __name__ == "__main__":
    main()
