"""Processes of the proxies: started with a configuration of ours, awaited until they listen, stopped at the end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.place import HOST
from gateway.party.config import TlsFiles

START_SECONDS = 20.0
STOP_SECONDS = 5.0
_LOOK = 0.05


@dataclass(frozen=True)
class Upstream:
    """A department behind a proxy: the name by which is routed, where it listens, and its certificate's DNS name."""

    name: str
    port: int
    dns_name: str


@dataclass(frozen=True)
class Setup:
    """What a proxy is set up with. It demands a client certificate, and shows its own to the departments."""

    port: int
    threads: int
    tls: TlsFiles
    upstreams: Mapping[str, Upstream]
    folder: Path


@asynccontextmanager
async def running(command: Sequence[str], setup: Setup) -> AsyncIterator[int]:
    """Run a proxy until it listens; its process id. RuntimeError with its last words if it does not."""
    log = setup.folder / "output.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=asyncio.subprocess.STDOUT
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not listens(setup.port):
            if process.returncode is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} does not listen: {log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(_LOOK)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()


def listens(port: int) -> bool:
    """Whether anybody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
