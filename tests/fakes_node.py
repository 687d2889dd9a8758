"""A department node that answers each message as a script says, and one stream to it: for tests of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from prometheus_client import CollectorRegistry

from gateway.departments.port import Ask, Orphans, Reply
from gateway.departments.stream import ANSWER_METHOD, DepartmentStream
from gateway.departments.traffic import Traffic
from gateway.protocol.attestation import StatementProof, sign_batch, write_proof, write_signed_batch
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.keys import SigningKey
from gateway.protocol.presentation import PresentedPart
from gateway.protocol.query import SignedQuery
from gateway.protocol.sealing import Sealed
from heyan.v1 import department_service_pb2 as pb
from tests import federation as fed
from tests.fakes import Clock

POLICE = fed.DEPARTMENTS[DepartmentKind.POLICE]
LAND = fed.DEPARTMENTS[DepartmentKind.LAND]
ASK = Ask(SignedQuery(b"query", "key-1", bytes(64)), PresentedPart(b"part", Sealed(1, "seal-1", b"sealed")), ())
SERVICE, METHOD = ANSWER_METHOD.strip("/").split("/")

Script = Callable[["ScriptedNode", pb.AnswerRequest], Awaitable[list[bytes]]]


@dataclass
class ScriptedNode:
    """A node that answers each message as its script says."""

    federation: fed.Federation
    script: Script
    greeting: list[bytes] = field(default_factory=list)
    received: list[pb.AnswerRequest] = field(default_factory=list)
    streams: int = 0
    port: int = 0
    server: grpc.aio.Server | None = None

    async def answer(self, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:  # type: ignore[type-arg]
        self.streams += 1
        await context.send_initial_metadata(())
        for greeting in self.greeting:
            yield greeting
        async for data in messages:
            message = pb.AnswerRequest.FromString(data)
            self.received.append(message)
            for reply in await self.script(self, message):
                yield reply

    def reply(self, ask_ids: list[int], *, key: SigningKey | None = None, recovered: bool = False) -> bytes:
        """A right reply batch: one statement for each ask."""
        signed, proofs = sign_batch(
            [b"statement %d" % ask_id for ask_id in ask_ids],
            POLICE,
            key or self.federation.signing_keys[POLICE],
            self.federation.now,
        )
        replies = [
            pb.Reply(ask_id=ask_id, statements=[write_proof(proof)])
            for ask_id, proof in zip(ask_ids, proofs, strict=True)
        ]
        response = pb.AnswerResponse(batch=write_signed_batch(signed), replies=replies, recovered=recovered)
        return response.SerializeToString()

    async def start(self) -> None:
        """Listen on a port that the system chooses, or on the same one again."""
        self.server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self.answer)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def stop(self) -> None:
        """End at once, streams and all."""
        if self.server is not None:
            await self.server.stop(None)
            self.server = None


async def answer_rightly(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
    return [node.reply([ask.ask_id for ask in message.asks])] if message.asks else []


async def answer_with_fault(_node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
    replies = [pb.Reply(ask_id=ask.ask_id, fault="LOG_UNAVAILABLE") for ask in message.asks]
    return [pb.AnswerResponse(replies=replies).SerializeToString()]


@dataclass
class Linked:
    """A stream, its node, and what the stream handed on. While `logging` is cleared, orphans wait for the log."""

    stream: DepartmentStream
    node: ScriptedNode
    orphans: list[Orphans]
    batches: list[tuple[StatementProof, ...]]
    logging: asyncio.Event

    async def ask(self, seconds: float) -> Reply:
        """Send the ask, and wait for its reply so long."""
        async with asyncio.timeout(seconds):
            return await self.stream.send(ASK)

    async def connected(self) -> None:
        while not self.stream.connected:  # noqa: ASYNC110 - the stream tells nobody
            await asyncio.sleep(0.01)


def stream_to(node: ScriptedNode, traffic: Traffic | None = None) -> Linked:
    """A stream to a node that is started; `run` is the caller's."""

    async def open_channel() -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{node.port}", [("grpc.use_local_subchannel_pool", 1)])

    async def take(found: Orphans) -> None:
        linked.orphans.append(found)
        await linked.logging.wait()

    logging = asyncio.Event()
    logging.set()
    batches: list[tuple[StatementProof, ...]] = []
    stream = DepartmentStream(
        POLICE,
        open_channel,
        registry=lambda: node.federation.registry,
        clock=Clock(node.federation.now),
        on_batch=lambda _department, _signed, proofs: batches.append(tuple(proofs)),
        on_orphans=take,
        traffic=(traffic or Traffic(CollectorRegistry())).of(POLICE),
    )
    linked = Linked(stream, node, [], batches, logging)
    return linked
