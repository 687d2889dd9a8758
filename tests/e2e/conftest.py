"""A whole federation for the tests of this folder: real processes, real mTLS, real files, started once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.cli.endpoints import Endpoints, read_endpoints
from gateway.cli.sandbox import Asked, Sandbox
from gateway.cli.supervisor import Supervisor, free_port_base
from gateway.cli.up import open_sandbox, start
from sandbox_departments.truth import Truth, read_truth

POPULATION = 700


@dataclass
class Running:
    """A running federation."""

    folder: Path
    sandbox: Sandbox
    supervisor: Supervisor
    endpoints: Endpoints
    families: list[Truth]

    @property
    def requester(self) -> str:
        return self.sandbox.requesters[0].name

    def pid(self, name: str) -> int:
        """The process of a party."""
        return self.supervisor.pid(name)

    def heyan(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a person would."""
        return heyan(*words)


def heyan(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@contextmanager
def federation(folder: Path, population: int, **asked: Any) -> Iterator[Running]:
    """A federation in `folder`, made as asked and running."""
    console = Console(stderr=True)
    sandbox = open_sandbox(folder, Asked(population=population, port_base=free_port_base(), **asked), console)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    supervisor = asyncio.run_coroutine_threadsafe(start(sandbox, console), loop).result(90)
    endpoints = read_endpoints(folder)
    families = list(read_truth(folder / endpoints.truth))
    yield Running(folder, sandbox, supervisor, endpoints, families)
    asyncio.run_coroutine_threadsafe(supervisor.stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with federation(tmp_path_factory.mktemp("federation") / "run", POPULATION) as started:
        yield started
