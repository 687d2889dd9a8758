"""What a request costs the gateway's own core, against a bare echo and against the cryptography that nobody can omit.

    python -m benchmarks.gateway_core [--quick] [--results DIR]
    python -m benchmarks.gateway_core --profile SECONDS [--kind single]     keeps a gateway under load, for a profiler

In each round, one after the other: the echo (`benchmarks.echo`); single checks; applications of 5 checks at 4
departments; both again with grants that the gateway has seen before. Gateway and echo server have one core for
themselves; the generator, the consent issuer and the canned departments (`benchmarks.canned`) share the other one.

The ratios are of requests for each second of the server's core: its process's CPU time (/proc/PID/stat), so that
neither a generator that cannot keep it busy nor a neighbour on the machine counts. Ratios by the clock stand beside
them. Every status is counted, every answer held against the truth, and every 100th receipt verified whole; anything
but right answers ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.applicants import Applicant
from benchmarks.bounds import amount, count
from benchmarks.canned import canned_federation
from benchmarks.closed_loop import Call, Run, closed_loop, open_calls
from benchmarks.core_report import report, summary
from benchmarks.core_work import (
    APPLICATION,
    KINDS,
    MAKERS,
    SINGLE,
    Asked,
    Kind,
    Share,
    UnrightError,
    asking,
    judge,
    make,
    require_right,
)
from benchmarks.crypto_floor import floor_seconds, registry_of, verifications_of
from benchmarks.echo import METHOD as ECHO_METHOD
from benchmarks.echo import echo_server, reply_of
from benchmarks.load import OK, quantile
from benchmarks.processes import AFTERMATH, cores, cpu_seconds, on_core
from benchmarks.setting import RESULTS, write_results
from gateway.cli.endpoints import open_client, read_endpoints
from gateway.client import Client
from gateway.party.process import configure_logging

VERIFY_METHOD = "/heyan.v1.GatewayService/Verify"
ECHO = "echo"
FLOOR_SECONDS = 0.5
FLOOR_SAMPLE = 50


@dataclass
class Bench:
    """A running federation with an echo beside it, and what is known of both."""

    folder: Path
    requester: str
    client: Client
    makers: Executor
    applicants: dict[str, list[Applicant]]
    pids: dict[str, int]
    """Process ids by what runs: gateway, echo, departments."""
    calls: list[Call]
    echo_calls: list[Call]
    sizes: dict[str, list[int]]
    """Bytes of a request and a reply, by kind."""
    rates: dict[str, float] = field(default_factory=dict)
    """Requests a second of the last run, by kind: how many to make for the next."""

    async def made(self, kind: Kind, count: int) -> list[Asked]:
        """So many fresh requests."""
        share = Share(self.folder, self.requester, tuple(self.applicants[kind.name]), kind.fresh, count)
        return await make(self.makers, share)

    async def run(self, kind: Kind, requests: int, concurrency: int) -> dict[str, Any]:
        """One run of a kind: its row."""
        asked = await self.made(kind, requests)
        run, row = await self._measured(kind.name, "gateway", self.calls, [each.message for each in asked], concurrency)
        judgement = judge(self.client, asked, run.replies)
        require_right(judgement, kind.name)
        return {**row, "statuses": dict(judgement.statuses), "receipts_verified": judgement.verified}

    async def run_echo(self, requests: int, concurrency: int) -> dict[str, Any]:
        """One run of the echo: its row. Every reply must be the right one."""
        request_bytes, reply_bytes = self.sizes[SINGLE.name]
        run, row = await self._measured(
            ECHO, ECHO, self.echo_calls, [os.urandom(request_bytes)] * requests, concurrency
        )
        expected = reply_of(reply_bytes)
        wrong = sum(reply != expected for reply in run.replies)
        if wrong:
            raise UnrightError(f"{wrong} of {requests} echoes are not what was expected")
        return {**row, "statuses": {OK: requests}}

    async def _measured(
        self, name: str, server: str, calls: Sequence[Call], messages: Sequence[bytes], concurrency: int
    ) -> tuple[Run, dict[str, Any]]:
        before = {each: cpu_seconds(pid) for each, pid in self.pids.items()}
        run = await closed_loop(calls, messages, concurrency)
        self.rates[name] = len(messages) / run.seconds
        await asyncio.sleep(AFTERMATH)
        used = {each: cpu_seconds(pid) - before[each] for each, pid in self.pids.items()}
        ordered = sorted(run.latencies)
        return run, {
            "requests": len(messages),
            "requests_per_second": len(messages) / run.seconds,
            "server_cpu_us": used[server] / len(messages) * 1e6,
            "server_core_share": used[server] / run.seconds,
            "generator_core_share": run.cpu_seconds / run.seconds,
            "departments_core_share": used["departments"] / run.seconds,
            "p50_ms": 1000 * quantile(ordered, 0.5),
            "p99_ms": 1000 * quantile(ordered, 0.99),
            "retries": run.retries,
        }


@asynccontextmanager
async def bench(options: argparse.Namespace, kinds: Sequence[Kind]) -> AsyncIterator[Bench]:
    """Everything started, warm, and on its core."""
    own, others = cores()
    everywhere = os.sched_getaffinity(0)
    with ProcessPoolExecutor(
        MAKERS, mp_context=get_context("spawn"), initializer=os.sched_setaffinity, initargs=(0, everywhere)
    ) as makers:
        async with AsyncExitStack() as stack:
            stack.enter_context(on_core(others))  # before gRPC starts threads here
            measured, departments = await stack.enter_async_context(
                canned_federation(options.population, gateway_core=own, other_core=others)
            )
            folder, requester = measured.folder, measured.requester
            target = read_endpoints(folder).gateway.grpc
            calls = await stack.enter_async_context(open_calls(folder, requester, target, VERIFY_METHOD))
            applying = {kind.name: await asking(folder, requester, kind, options.families) for kind in kinds}
            found = Bench(
                folder,
                requester,
                open_client(folder, requester),
                makers,
                applying,
                {"gateway": measured.supervisor.pid("gateway"), "departments": departments},
                calls,
                [],
                {},
            )
            for kind in kinds:
                await _warm_up(found, kind, options)
            if SINGLE.name in found.sizes:
                echo = await stack.enter_async_context(echo_server(folder, found.sizes[SINGLE.name][1], own))
                found.pids[ECHO] = echo.pid
                found.echo_calls = await stack.enter_async_context(
                    open_calls(folder, requester, echo.target, ECHO_METHOD)
                )
                await found.run_echo(options.warm_up, options.concurrency)
            yield found


async def _warm_up(found: Bench, kind: Kind, options: argparse.Namespace) -> None:
    asked = await found.made(kind, options.warm_up)
    run = await closed_loop(found.calls, [each.message for each in asked], options.concurrency)
    require_right(judge(found.client, asked, run.replies), kind.name)
    found.rates[kind.name] = len(asked) / run.seconds
    found.sizes[kind.name] = [
        sum(len(each.message) for each in asked) // len(asked),
        sum(len(reply) for reply in run.replies if isinstance(reply, bytes)) // len(asked),
    ]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds; what is written."""
    kinds = tuple(KINDS.values())
    async with bench(options, kinds) as found:
        registry = registry_of(found.folder)
        rounds = []
        for _ in range(options.rounds):
            row: dict[str, Any] = {}
            requests = round(options.seconds * found.rates[ECHO])
            row[ECHO] = await found.run_echo(requests, options.concurrency)
            for kind in kinds:
                requests = round(options.seconds * found.rates[kind.name])
                row[kind.name] = await found.run(kind, requests, options.concurrency)
            sample = await found.made(SINGLE, FLOOR_SAMPLE)
            verifications = [verifications_of(each.message, registry) for each in sample]
            with on_core(cores()[0]):
                row["floor"] = {"cpu_us": floor_seconds(verifications, FLOOR_SECONDS) * 1e6}
            rounds.append(row)
        return {"bytes": found.sizes, "checks": len(APPLICATION.claims), **summary(rounds), "rounds": rounds}


async def keep_under_load(options: argparse.Namespace) -> None:
    """Load a gateway for so many seconds, for a profiler to look at; pauses while requests are made."""
    kind = KINDS[options.kind]
    async with bench(options, (kind,)) as found:
        print(f"gateway {found.pids['gateway']}  departments {found.pids['departments']}", flush=True)
        loaded = 0.0
        while loaded < options.profile:
            row = await found.run(kind, round(options.seconds * found.rates[kind.name]), options.concurrency)
            loaded += row["requests"] / row["requests_per_second"]
            print(
                f"{row['requests_per_second']:.0f} requests/s, gateway {row['server_cpu_us']:.0f} us of CPU each, "
                f"its core {row['server_core_share']:.0%}, generator {row['generator_core_share']:.0%}, "
                f"departments {row['departments_core_share']:.0%}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--seconds", type=amount, default=5.0, help="of each run, about")
    parser.add_argument("--concurrency", type=count, default=64, help="requests under way")
    parser.add_argument("--warm-up", type=count, default=400, help="requests of each kind before anything is measured")
    parser.add_argument("--families", type=count, default=24, help="that are asked about, in turn")
    parser.add_argument("--population", type=count, default=400, help="families in the registers")
    parser.add_argument("--quick", action="store_true", help="2 rounds of about a second")
    parser.add_argument("--profile", type=amount, metavar="SECONDS", help="only keep a gateway under load")
    parser.add_argument("--kind", choices=KINDS, default=APPLICATION.name, help="with --profile: of what kind")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.families, options.warm_up = 2, 1.0, 8, 100
    configure_logging("warning")
    try:
        if options.profile:
            uvloop.run(keep_under_load(options))
            return
        results = uvloop.run(measure(options))
    except UnrightError as error:
        sys.exit(f"not answered right: {error}")
    print(report(results))
    write_results("gateway_core", results, options.results)


if __name__ == "__main__":
    main()
