"""A node's wire with a fault switch beside it, and right replies of a real answerer to send over it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.codec import encode
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.faults.kinds import make_fault
from sandbox_departments.faults.switch import Switch, lift_fault, set_fault
from sandbox_departments.faults.wire import FaultyNode, FaultyWire
from tests.fakes_wire import FakeWire
from tests.sandbox.asking import Desk

FOREVER = 3_000.0


class Killed(BaseException):
    """What a process that is killed does in these tests: nothing more."""


class Bench:
    """A node with a switch: `set` and `lift` a fault, `open` wires, `reply` rightly."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self.world = desk.world
        self._file = folder / "fault.json"
        self.node = FaultyNode(Switch(self._file), key_named=self._key_named, die=self._die)

    def _key_named(self, kid: str):
        assert kid == self.world.answer_key.key_id
        return self.world.answer_key

    def _die(self) -> None:
        raise Killed

    def set(self, kind: str, **options) -> None:
        set_fault(self._file, make_fault(kind, **options))

    def lift(self) -> None:
        assert lift_fault(self._file)

    def open(self) -> tuple[FaultyWire, FakeWire]:
        under = FakeWire()
        return self.node.open(under), under

    async def reply(self, *ask_ids: int) -> bytes:
        """The bytes of the node's right reply batch to fresh asks."""
        (message,) = await self.desk.answer(*(self.world.ask(ask_id=ask_id) for ask_id in ask_ids or (1,)))
        return encode(message)

    async def owed(self, message: bytes) -> bytes:
        """A batch as the node sends it again."""
        digest = read_signed_batch(pb.AnswerResponse.FromString(message).batch).digest
        batch = await self.desk.answerer.owed_batch(digest)
        assert batch is not None
        return batch.message

    async def sent(self, *messages: bytes) -> list[bytes]:
        """What goes over a wire of its own when the node writes `messages`."""
        wire, under = self.open()
        async with wire:
            for message in messages:
                await wire.write(message)
        return under.written


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)
