"""A federation to be killed, and the hand that kills: `kill -9` at seeded random moments, also two at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
from rich.console import Console

from gateway.cli.endpoints import Endpoints, read_endpoints
from gateway.cli.sandbox import Asked, Process, Sandbox
from gateway.cli.supervisor import Supervisor, free_port_base
from gateway.cli.up import open_sandbox
from sandbox_departments.truth import Truth, read_truth
from tests.e2e.load import Load

PREFECTURE = "4301"
RESTART_DELAY = 0.2
RECOVERY_SECONDS = 60.0
"""Within which a killed party must be ready again; a loaded machine takes about four."""
_BUDGET = "budget_requests = 1000000\n"
"""A node's budget for one subject, out of the way: few families ask very often here."""


@dataclass
class Arena:
    """A running federation of one prefecture."""

    folder: Path
    sandbox: Sandbox
    supervisor: Supervisor
    endpoints: Endpoints
    families: list[Truth]
    processes: dict[str, Process]
    restarts: int = 0
    """How often a process was started again."""

    @property
    def requester(self) -> str:
        return self.sandbox.requesters[0].name

    @property
    def nodes(self) -> list[str]:
        return [identity.name for identity in self.sandbox.nodes.values()]

    def kill(self, name: str) -> bool:
        """`kill -9` a party that the supervisor runs; False if it is dead at the moment."""
        child = self.supervisor._running[name]
        if child.returncode is not None:
            return False
        child.kill()
        return True

    async def until_ready(self, *names: str, wanted: bool = True) -> None:
        """Wait until parties want work (or none, if not `wanted`); TimeoutError after RECOVERY_SECONDS."""
        async with asyncio.timeout(RECOVERY_SECONDS), aiohttp.ClientSession() as session:
            for name in names or tuple(self.processes):
                while await self._is_ready(session, name) != wanted:  # noqa: ASYNC110 - another process gets ready
                    await asyncio.sleep(0.1)

    async def _is_ready(self, session: aiohttp.ClientSession, name: str) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"http://127.0.0.1:{self.processes[name].probes}/readyz") as response:
                return response.status == 200
        return False


@asynccontextmanager
async def arena(
    folder: Path, population: int, *, standbys: bool = False, witnesses: int = 0, workers: int = 1
) -> AsyncIterator[Arena]:
    """A federation of one prefecture, in which a process that dies is started again at once."""
    asked = Asked(
        population=population,
        prefectures=(PREFECTURE,),
        port_base=free_port_base(),
        standbys=standbys,
        witnesses=witnesses,
        gateway_workers=workers,
    )
    sandbox = await asyncio.to_thread(open_sandbox, folder, asked, Console(stderr=True))
    for node in sandbox.nodes.values():
        settings = sandbox.folder_of(node) / "settings.toml"
        settings.write_text(_BUDGET + settings.read_text())
    processes = tuple(sandbox.processes())
    made: list[Arena] = []

    def count(_line: str) -> None:
        for where in made:
            where.restarts += 1

    supervisor = Supervisor(processes, count, restart_delay=RESTART_DELAY)
    try:
        await supervisor.start()
        endpoints = read_endpoints(folder)
        families = list(read_truth(folder / endpoints.truth))
        by_name = {process.name: process for process in processes}
        made.append(Arena(folder, sandbox, supervisor, endpoints, families, by_name))
        yield made[0]
    finally:
        await supervisor.stop()


@dataclass
class Killer:
    """Kills as a seed says, while `load` is under way.

    `kills` names the processes that were killed, `at_work` the submissions that were then with the gateway, and
    `recoveries` the seconds until a killed party was ready again.
    """

    arena: Arena
    load: Load
    random: Random
    kills: list[str] = field(default_factory=list)
    at_work: list[int] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)

    async def run(self, count: int) -> None:
        """Kill `count` processes; most of them at work, some while another one is still starting."""
        while len(self.kills) < count:
            await self._until_at_work()
            await asyncio.sleep(self.random.uniform(0.0, 1.0))
            began = asyncio.get_running_loop().time()
            victims = self._kill(min(count - len(self.kills), self.random.choice((1, 1, 1, 2))))
            while len(self.kills) < count and self.random.random() < 0.2:
                await asyncio.sleep(self.random.uniform(0.0, 2.0))
                victims |= self._kill(1)
            await asyncio.sleep(2 * RESTART_DELAY)  # so that it is not the dead one that seems ready
            await self.arena.until_ready(*victims)
            self.recoveries.append(asyncio.get_running_loop().time() - began)

    async def _until_at_work(self) -> None:
        """Wait until answers come again, and some are under way."""
        before = self.load.answers
        async with asyncio.timeout(RECOVERY_SECONDS):
            while self.load.answers < before + 2 or not self.load.under_way:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    def _kill(self, count: int) -> set[str]:
        killed = {name for name in self._choose(count) if self.arena.kill(name)}
        self.kills += killed
        self.at_work += [self.load.under_way] * len(killed)
        return killed

    def _choose(self, count: int) -> list[str]:
        """Parties, each at most once: the gateway and the nodes alike often, the issuer now and then."""
        weights = {**dict.fromkeys(self.arena.processes, 1.0), "gateway": 5.0, "consent": 2.0}
        chosen: list[str] = []
        while len(chosen) < count:
            names = [name for name in weights if name not in chosen]
            chosen += self.random.choices(names, [weights[name] for name in names])
        return chosen
