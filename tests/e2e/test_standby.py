"""A node's second channel: a standby process with the same journal takes over, and contradicts nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from gateway.cli.correctness import is_right
from gateway.cli.endpoints import open_client, read_endpoints
from gateway.cli.guardians import Guardians
from gateway.cli.sandbox import Asked, Sandbox
from gateway.cli.supervisor import Supervisor, free_port_base
from gateway.cli.up import open_sandbox, start
from gateway.cli.verify import ask
from gateway.client import Client
from sandbox_departments.journal import Journal
from sandbox_departments.truth import Truth, read_truth

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


class Doubled:
    """A federation of one prefecture whose nodes have a standby each."""

    def __init__(self, folder: Path, sandbox: Sandbox, supervisor: Supervisor) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.supervisor = supervisor
        self.families = list(read_truth(folder / read_endpoints(folder).truth))

    @property
    def requester(self) -> str:
        return self.sandbox.requesters[0].name

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[tuple[Client, Guardians]]:
        async with open_client(self.folder, self.requester) as client, Guardians(self.folder) as guardians:
            yield client, guardians

    async def failovers_and_hedges(self) -> float:
        """How often asks went through a second channel."""
        (gateway,) = (process for process in self.sandbox.processes() if process.name == "gateway")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{gateway.probes}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        names = ("heyan_department_failovers_total", "heyan_department_hedges_total")
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doubled]:
    folder = tmp_path_factory.mktemp("doubled") / "run"
    console = Console(stderr=True)
    asked = Asked(population=200, prefectures=("4301",), port_base=free_port_base(), standbys=True)
    sandbox = open_sandbox(folder, asked, console)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    supervisor = asyncio.run_coroutine_threadsafe(start(sandbox, console), loop).result(90)
    yield Doubled(folder, sandbox, supervisor)
    asyncio.run_coroutine_threadsafe(supervisor.stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def answered_rightly(client: Client, guardians: Guardians, doubled: Doubled, truth: Truth) -> None:
    """One application, every check of which is answered as the truth says."""
    consent = await guardians.consent(truth.application, doubled.requester)
    result = await ask(client, truth.application, consent)
    assert is_right(result, truth)


async def test_standby_is_asked_when_the_primary_hangs(doubled: Doubled) -> None:
    families = iter(doubled.families[40:])
    before = await doubled.failovers_and_hedges()
    hanging = doubled.supervisor.pid("police-4301")
    async with doubled.asking() as (client, guardians):
        os.kill(hanging, signal.SIGSTOP)
        try:
            for _ in range(5):
                await answered_rightly(client, guardians, doubled, next(families))
        finally:
            os.kill(hanging, signal.SIGCONT)
        for _ in range(5):
            await answered_rightly(client, guardians, doubled, next(families))
    assert await doubled.failovers_and_hedges() > before


async def test_standbys_answer_while_the_primaries_are_killed(doubled: Doubled) -> None:
    families = iter(doubled.families)
    async with doubled.asking() as (client, guardians):
        await answered_rightly(client, guardians, doubled, next(families))
        for node in ("police-4301", "land-4301", "education-4301"):
            os.kill(doubled.supervisor.pid(node), signal.SIGKILL)
            for _ in range(5):  # while it is down, comes up, and is back
                await answered_rightly(client, guardians, doubled, next(families))
                await asyncio.sleep(0.2)


async def test_both_processes_keep_one_journal_and_everything_is_acknowledged(doubled: Doubled) -> None:
    """What primaries and standbys signed is one chain each, and the gateway's log has all of it."""
    families = iter(doubled.families[60:])
    hanging = doubled.supervisor.pid("land-4301")
    async with doubled.asking() as (client, guardians):
        await answered_rightly(client, guardians, doubled, next(families))
        os.kill(hanging, signal.SIGSTOP)
        try:
            for _ in range(2):
                await answered_rightly(client, guardians, doubled, next(families))
        finally:
            os.kill(hanging, signal.SIGCONT)
        await answered_rightly(client, guardians, doubled, next(families))
    entries = 0
    for node in doubled.sandbox.nodes.values():
        began = time.monotonic()
        while (found := _read(doubled, node.name))[1] and time.monotonic() - began < 20:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.5)
        assert found[1] == ()
        entries += found[0]
    assert entries > 0


def _read(doubled: Doubled, node: str) -> tuple[int, tuple[bytes, ...]]:
    """How many entries the node's chain has, and the batches that its gateway owes."""
    journal = Journal(doubled.folder / "departments" / node / "journal.db")
    try:
        return journal.verify_chain().sequence, journal.unacknowledged("spiffe://heyan/gateway/main")
    finally:
        journal.close()
