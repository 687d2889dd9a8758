"""Scripted nodes and streams to them, ended with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests import federation as fed
from tests.fakes_node import Linked, Script, ScriptedNode, stream_to


@pytest.fixture
def federation() -> fed.Federation:
    return fed.Federation.create(1_800_000_000.0)


@pytest.fixture
async def start(federation: fed.Federation) -> AsyncIterator[Callable[..., Awaitable[ScriptedNode]]]:
    nodes: list[ScriptedNode] = []

    async def build(script: Script, greeting: list[bytes] | None = None) -> ScriptedNode:
        nodes.append(ScriptedNode(federation, script, greeting or []))
        await nodes[-1].start()
        return nodes[-1]

    yield build
    for node in nodes:
        await node.stop()


@pytest.fixture
async def connect(
    start: Callable[..., Awaitable[ScriptedNode]],
) -> AsyncIterator[Callable[..., Awaitable[Linked]]]:
    tasks: list[asyncio.Task[None]] = []

    async def build(script: Script, greeting: list[bytes] | None = None) -> Linked:
        linked = stream_to(await start(script, greeting))
        tasks.append(asyncio.create_task(linked.stream.run()))
        await linked.connected()
        return linked

    yield build
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
