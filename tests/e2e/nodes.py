"""The nodes of a running federation, as a test of their faults looks at them: listening, heard by the log, settled."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.operator.desk import Desk
from sandbox_departments.faults.kinds import make_fault
from sandbox_departments.faults.switch import FILE, lift_fault, set_fault
from tests.e2e.applicants import PATIENCE
from tests.e2e.books import owed
from tests.e2e.conftest import Running


def folder_of(running: Running, node: str) -> Path:
    return running.folder / "departments" / node


def channels_of(running: Running, node: str) -> int:
    """How many channels lead to a department."""
    registry = Desk.open(running.sandbox.desk_folder).published()
    assert registry is not None
    terms = registry.party(f"spiffe://heyan/department/{node}").department
    assert terms is not None
    return len(terms.channels)


def times_switched(running: Running, node: str) -> int:
    """How often the node has noticed a fault set or lifted, by its own log."""
    text = (folder_of(running, node) / "process.log").read_text()
    return text.count("fault_switched") + text.count("node_is_down")


async def listening(running: Running, node: str, *, expected: bool) -> None:
    """Wait until a node takes connections, or no more."""
    host, _, port = running.endpoints.departments[node].grpc.partition(":")
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                found = False
            else:
                writer.close()
                found = True
            if found is expected:
                return
            await asyncio.sleep(0.1)


async def reopen(running: Running, nodes: list[str]) -> None:
    """Have the streams to some nodes end, and open anew."""
    for node in nodes:
        set_fault(folder_of(running, node) / FILE, make_fault("down"))
    for node in nodes:
        await listening(running, node, expected=False)
        lift_fault(folder_of(running, node) / FILE)


async def settled(running: Running, nodes: list[str]) -> None:
    """Wait until the gateway owes some nodes nothing."""
    async with asyncio.timeout(PATIENCE):
        while any(owed(folder_of(running, node)) for node in nodes):  # noqa: ASYNC110 - the journal tells nobody
            await asyncio.sleep(0.2)
