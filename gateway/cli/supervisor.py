"""Running the parties of a sandbox, each as a process of its own, with its output in its own folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable

import aiohttp

from gateway.cli.sandbox import Process
from gateway.party.process import SUPERVISOR
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.reasons import Reason

READY_SECONDS = 60.0
"""How long a party may take to be ready; a loaded machine of two cores starts a dozen in about ten."""
STOP_SECONDS = 20.0
"""How long a party may take to stop before it is killed; longer than any of them drains."""
RESTART_DELAY = 1.0
_FIRST_PORT, _LAST_PORT = 18_400, 32_000

Say = Callable[[str], None]


class Supervisor:
    """Starts processes, starts again those that die, stops all. Only processes that it started itself.

    A process of which `absent` says so is kept from serving on purpose: it is started, but nobody waits for it.
    """

    def __init__(
        self,
        processes: Iterable[Process],
        say: Say,
        absent: Callable[[Process], bool] = lambda _process: False,
        *,
        restart_delay: float = RESTART_DELAY,
    ) -> None:
        self._processes = tuple(processes)
        self._say = say
        self._absent = absent
        self._restart_delay = restart_delay
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, on_ready: Callable[[str], None] = lambda _name: None) -> None:
        """Start all and wait for each that is not absent to be ready.

        Raises MalformedError for a busy port, UnreachableError if one fails.
        """
        for process in self._processes:
            require_free(process)
        for wave in sorted({process.wave for process in self._processes}):
            starting = [process for process in self._processes if process.wave == wave]
            for process in starting:
                self._running[process.name] = await _spawn(process)
            await asyncio.gather(*(self._until_ready(process, on_ready) for process in starting))
        self._keepers = [asyncio.create_task(self._keep(process)) for process in self._processes]

    def pid(self, name: str) -> int:
        """The process id of a party; KeyError if there is none of that name."""
        return self._running[name].pid

    async def stop(self) -> None:
        """Stop the last started, which is connected to the others, then all the others."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        running = list(self._running.values())
        if running:
            await _stop(running.pop())  # its connections to the others end in order
        await asyncio.gather(*(_stop(process) for process in running))

    async def _keep(self, process: Process) -> None:
        while True:
            code = await self._running[process.name].wait()
            self._say(f"{process.name} ended with {code} and is started again; see {process.log}")
            await asyncio.sleep(self._restart_delay)
            self._running[process.name] = await _spawn(process)

    async def _until_ready(self, process: Process, on_ready: Callable[[str], None]) -> None:
        child = self._running[process.name]
        url = f"http://127.0.0.1:{process.probes}/readyz"
        log = process.log
        try:
            async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as session:
                while child.returncode is None:
                    if self._absent(process):
                        self._say(f"{process.name} is not there: it is kept down; the others go on without it")
                        on_ready(process.name)
                        return
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(url) as response:
                            if response.status == 200:  # noqa: PLR2004 - HTTP
                                on_ready(process.name)
                                return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise UnreachableError(Reason.INTERNAL, f"{process.name} is not ready in time; see {log}") from None
        raise UnreachableError(Reason.INTERNAL, f"{process.name} ended with {child.returncode}; see {log}")


def require_free(process: Process) -> None:
    """MalformedError naming the port that something else listens on."""
    for port in (process.port, process.probes, process.log_port):
        if port is not None and not _is_free(port):
            raise MalformedError.at(
                f"port {port}",
                f"({process.name}) is busy: is this federation up already? Else stop what listens there (see ss -ltnp)",
                Reason.CONFIGURATION_INVALID,
            )


def free_port_base(count: int = 64) -> int:
    """The first of `count` free ports in a row, below the range that the system hands out by itself.

    Where the search begins depends on the process, so that two that start at once do not race for the same ports.
    """
    bases = [_FIRST_PORT + count * place for place in range((_LAST_PORT - _FIRST_PORT) // count)]
    start = os.getpid() % len(bases)
    for base in bases[start:] + bases[:start]:
        if all(_is_free(port) for port in range(base, base + count)):
            return base
    raise UnreachableError(Reason.INTERNAL, f"no {count} free ports in a row from {_FIRST_PORT} to {_LAST_PORT}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def _spawn(process: Process) -> asyncio.subprocess.Process:
    descriptor = os.open(process.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # A group of its own: Ctrl-C reaches the supervisor only, which then stops the parties in order.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.cli",
            *process.words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            env={**os.environ, **process.environment, SUPERVISOR: str(os.getpid())},
        )
    finally:
        os.close(descriptor)


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
