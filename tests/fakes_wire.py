"""A stream's wire in memory, for tests of what is written over it."""

from __future__ import annotations

import asyncio


class FakeWire:
    """What a node reads is put into `incoming`; what it writes stands in `written`. None is the gateway's end."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.written: list[bytes] = []

    async def read(self) -> object:
        return await self.incoming.get()

    async def write(self, message: bytes) -> None:
        await asyncio.sleep(0)  # as any wire, it may let others go first
        self.written.append(message)
