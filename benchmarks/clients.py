"""Load generators in processes of their own, which prepare and send at a word from here.

Each process holds every way that is measured, connected, with families of its own, so that a run begins at once and
all runs are sent by the same code in the same processes. What is said over the pipe: a `Command` there, a `Tally` (or
None, of a preparation) back; an exception ends both sides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from benchmarks.applicants import Applicant
from benchmarks.load import Generator, Tally

KIND = "application"
_LEAD = 0.1
"""Seconds between the word and the run's begin, which is the same for all processes."""


@dataclass(frozen=True)
class Held:
    """A generator, and whom it sends for."""

    generator: Generator[Any]
    applicants: Sequence[Applicant]


Open = Callable[[int, int], AbstractAsyncContextManager[Mapping[str, Held]]]
"""Connects process `number` of `of`: what it sends by, each way under its name. Must be picklable."""


@dataclass(frozen=True)
class Command:
    """Prepare `count` applications; or send what was prepared, open loop at `rate`; or closed loop."""

    way: str
    count: int = 0
    concurrency: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    begin: float = 0.0


class Clients:
    """The processes. `cpu_seconds` of a tally are those of all of them."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections
        self._threads = ThreadPoolExecutor(len(connections))

    async def prepare(self, way: str, count: int, processes: int | None = None) -> None:
        """Have `count` applications ready, shared out among so many processes (all, unless said otherwise)."""
        using = len(self._connections) if processes is None else min(processes, len(self._connections))
        await self._tell([Command(way, count=share) for share in _shares(count, using)])

    async def closed_loop(self, way: str, concurrency: int, seconds: float) -> Tally:
        """Keep `concurrency` under way in all, for `seconds` or as long as any are ready."""
        shares = _shares(concurrency, min(concurrency, len(self._connections)))
        return await self._tell([Command(way, concurrency=share, seconds=seconds) for share in shares])

    async def open_loop(self, way: str, rate: float, processes: int | None = None) -> Tally:
        """Send what is ready, `rate` applications a second in all; done when all is answered."""
        processes = processes or len(self._connections)
        return await self._tell([Command(way, rate=rate / processes)] * processes)

    async def ready(self) -> None:
        """Wait until all are connected."""
        await asyncio.gather(*map(self._receive, self._connections))

    async def _tell(self, commands: Sequence[Command]) -> Tally:
        begin = time.time() + _LEAD
        told = list(zip(self._connections, commands, strict=False))
        for connection, command in told:
            connection.send(replace(command, begin=begin))
        tally = Tally()
        for seen in await asyncio.gather(*(self._receive(connection) for connection, _ in told)):
            tally.add(seen)
        return tally

    async def _receive(self, connection: Connection) -> Tally:
        try:
            said = await asyncio.get_running_loop().run_in_executor(self._threads, connection.recv)
        except EOFError:
            raise RuntimeError("a client process ended; what it said of it is above") from None
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, Tally)
        return said


def _shares(whole: int, of: int) -> list[int]:
    return [whole // of + (number < whole % of) for number in range(of)]


@asynccontextmanager
async def clients(open_ways: Open, processes: int) -> AsyncIterator[Clients]:
    """Start the processes, and stop them at the end."""
    spawn = get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(processes)]
    running = [
        spawn.Process(target=_run, args=(theirs, open_ways, number, processes), daemon=True)
        for number, (_, theirs) in enumerate(pipes)
    ]
    for process, (_, theirs) in zip(running, pipes, strict=True):
        process.start()
        theirs.close()
    ours = [connection for connection, _ in pipes]
    try:
        started = Clients(ours)
        await started.ready()
        yield started
    finally:
        for connection in ours:
            connection.close()
        for process in running:
            process.join(10)
            if process.is_alive():
                process.kill()


def _run(connection: Connection, open_ways: Open, number: int, of: int) -> None:
    """What a process does, until its pipe is closed."""
    try:
        uvloop.run(_serve(connection, open_ways, number, of))
    except EOFError:
        return
    except Exception as error:
        connection.send(error)
        raise


async def _serve(connection: Connection, open_ways: Open, number: int, of: int) -> None:
    loop = asyncio.get_running_loop()
    prepared: list[Any] = []
    async with open_ways(number, of) as held:
        connection.send(Tally())
        while True:
            command: Command = await loop.run_in_executor(None, connection.recv)
            mine = held[command.way]
            tally = Tally()
            if command.count:
                prepared = mine.generator.prepare(mine.applicants, command.count)
            else:
                await asyncio.sleep(max(0.0, command.begin - time.time()))
                if command.rate:
                    await mine.generator.open_loop(KIND, prepared, command.rate, tally)
                else:
                    tally = await mine.generator.closed_loop(KIND, prepared, command.concurrency, command.seconds)
            connection.send(tally)
