"""One measurement at a time: what is offered on a way, what came of it, and what each party used of the processor."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.clients import Clients
from benchmarks.load import OK, Tally, histogram, quantile
from benchmarks.peers.doors import HEYAN
from benchmarks.peers.place import forgive
from benchmarks.processes import AFTERMATH, cpu_seconds
from benchmarks.setting import Measured

CLIENT, GATEWAY, NODES, PROXY = "client", "gateway", "nodes", "proxy"
PARTIES = (CLIENT, GATEWAY, NODES, PROXY)
FIRST_GUESS = 300.0
"""Applications a second that are prepared for before a way was measured."""
_ROOM = 1.5
"""Of what is prepared, over what was seen: a run ends early if it is used up."""
MICRO = 1e6


@dataclass(frozen=True)
class Seen:
    """One run on one way."""

    way: str
    tally: Tally
    cpu: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Applications answered rightly, a second."""
        return len(self.tally.latencies()) / self.tally.seconds

    def latency(self, share: float) -> float:
        """The quantile of latency, in seconds."""
        return quantile(self.tally.latencies(), share)

    @property
    def cpu_per_application(self) -> dict[str, float]:
        """Microseconds of each party, and of all."""
        done = max(1, len(self.tally.latencies()))
        shares = {party: MICRO * used / done for party, used in self.cpu.items()}
        return {**shares, "all": sum(shares.values())}

    def figures(self) -> dict[str, Any]:
        """As they are written."""
        ordered = self.tally.latencies()
        return {
            "way": self.way,
            "applications": len(ordered),
            "seconds": self.tally.seconds,
            "applications_per_second": self.rate,
            "p50_ms": 1000 * self.latency(0.5),
            "p99_ms": 1000 * self.latency(0.99),
            "latency_ms": histogram(ordered),
            "cpu_us_per_application": self.cpu_per_application,
            "statuses": dict(self.tally.statuses()),
            "retries": self.tally.retries,
            "verified": self.tally.verified,
        }


class Measuring:
    """Runs one way after another, and keeps count of what was not answered rightly."""

    def __init__(self, measured: Measured, started: Clients, proxies: Mapping[str, Sequence[int]]) -> None:
        supervisor = measured.supervisor
        self._sandbox = measured.sandbox
        self._clients = started
        self._gateway = (supervisor.pid("gateway"),)
        self._nodes = tuple(supervisor.pid(node.name) for node in measured.sandbox.nodes.values())
        self._proxies = proxies
        self._rates: dict[str, float] = {}
        self.unexplained: list[str] = []

    async def saturation(self, way: str, concurrency: int, seconds: float) -> Seen:
        """A closed loop with so many applications under way."""
        most = self._rates.get(way, FIRST_GUESS) * _ROOM * seconds
        processes = None if concurrency > 1 else 1
        await self._clients.prepare(way, round(most) + 2 * concurrency, processes)
        before = await self._begin(way)
        seen = await self._end(way, before, await self._clients.closed_loop(way, concurrency, seconds))
        if concurrency > 1:
            self._rates[way] = seen.rate
        return seen

    async def offered(self, way: str, rate: float, seconds: float) -> Seen:
        """An open loop at a rate (applications a second)."""
        await self._clients.prepare(way, round(rate * seconds))
        before = await self._begin(way)
        return await self._end(way, before, await self._clients.open_loop(way, rate))

    async def _begin(self, way: str) -> dict[str, float]:
        if way != HEYAN:
            await asyncio.to_thread(forgive, self._sandbox)
        return self._used(way)

    async def _end(self, way: str, before: Mapping[str, float], tally: Tally) -> Seen:
        await asyncio.sleep(AFTERMATH)
        used = {party: seconds - before[party] for party, seconds in self._used(way).items()}
        statuses = tally.statuses()
        sys.stderr.write(f"{time.strftime('%X')} {way}: {Seen(way, tally, {}).rate:.0f}/s\n")
        if statuses.keys() != {OK}:
            self.unexplained.append(f"{way}: {dict(statuses)}")
        return Seen(way, tally, {CLIENT: tally.cpu_seconds, **used})

    def _used(self, way: str) -> dict[str, float]:
        proxy = self._proxies.get(way.partition(",")[0], ())
        groups = {GATEWAY: self._gateway, NODES: self._nodes, PROXY: proxy}
        return {party: sum(map(cpu_seconds, pids)) for party, pids in groups.items()}
