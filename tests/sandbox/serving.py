"""A node that serves over real mTLS, and the gateway's end of its stream."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from gateway.operator.authority import Authority
from gateway.operator.enrolment import PartyFolder, enrol_certificate
from gateway.party.service import CLIENT_OPTIONS, SERVER_OPTIONS, Guard
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import open_channel, server_credentials, watch_tls
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.node import SERVICE, Description, Node
from sandbox_departments.worker import Worker
from tests.sandbox.asking import GATEWAY, LAND, OTHER_GATEWAY, POLICE, REQUESTER

AUDITOR = Identity(PartyRole.AUDITOR, "discipline")
STRANGER = Identity(PartyRole.GATEWAY, "unheard-of")


class Served:
    """A node that serves `desk`, and the certificates of everybody who might call it."""

    def __init__(self, desk, folder: Path) -> None:
        self.desk, self.world = desk, desk.world
        self._folder = folder
        self._authority = Authority.create("test", time.time())
        self.tls = {}
        for identity in (POLICE, LAND, GATEWAY, OTHER_GATEWAY, REQUESTER, AUDITOR, STRANGER):
            self.enrol(identity, self._authority)

    def enrol(self, identity: Identity, authority: Authority) -> None:
        place = PartyFolder(self._folder / identity.role.value / identity.name)
        enrol_certificate(authority, identity, place, time.time())
        self.tls[identity] = watch_tls(place.tls)

    async def start(self, certificate_of: Identity = POLICE) -> None:
        self.worker = Worker(self.desk.answerer)
        self.node = Node(
            Description(POLICE.uri, lambda: self.world.registry, self.world.clock),
            guard=Guard(lambda: self.world.registry),
            worker=self.worker,
            answerer=self.desk.answerer,
            disputes=self.desk.disputes,
        )
        self.server = grpc.aio.server(options=SERVER_OPTIONS)
        self.server.add_generic_rpc_handlers(self.node.handlers)
        port = self.server.add_secure_port("127.0.0.1:0", server_credentials(self.tls[certificate_of]))
        self.target = f"127.0.0.1:{port}"
        await self.server.start()
        self.working = asyncio.create_task(self.worker.run())

    async def stop(self) -> None:
        await self.node.stop()
        await self.server.stop(1)
        self.working.cancel()
        await asyncio.gather(self.working, return_exceptions=True)

    @asynccontextmanager
    async def channel(self, identity: Identity = GATEWAY):
        channel = open_channel(self.target, POLICE, self.tls[identity], CLIENT_OPTIONS)
        yield channel
        await channel.close()

    @asynccontextmanager
    async def stream(self, identity: Identity = GATEWAY):
        async with self.channel(identity) as channel:
            yield Stream(channel.stream_stream(f"/{SERVICE}/Answer")(timeout=20))

    async def call(self, method: str, request, identity: Identity = GATEWAY) -> bytes:
        async with self.channel(identity) as channel:
            return await channel.unary_unary(f"/{SERVICE}/{method}")(request.SerializeToString(), timeout=20)


class Stream:
    """The gateway's end of an `Answer` stream."""

    def __init__(self, call) -> None:
        self.call = call

    async def ask(self, *asks: pb.Ask) -> None:
        await self.call.write(pb.AnswerRequest(asks=asks).SerializeToString())

    async def acknowledge(self, *items: pb.Acknowledgement) -> None:
        await self.call.write(pb.AnswerRequest(acknowledgements=items).SerializeToString())

    async def read(self) -> pb.AnswerResponse:
        data = await self.call.read()
        assert isinstance(data, bytes), "the stream ended"
        return pb.AnswerResponse.FromString(data)

    async def read_until(self, replies: int) -> list[pb.AnswerResponse]:
        messages = []
        while sum(len(message.replies) for message in messages) < replies:
            messages.append(await self.read())
        return messages

    async def end(self) -> Reason | None:
        """Close our side; why the node ended the stream, None if it simply did."""
        try:
            await self.call.done_writing()
            while isinstance(await self.call.read(), bytes):
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return await self.failure()
        return await self.failure()

    async def failure(self) -> Reason | None:
        if await self.call.code() is grpc.StatusCode.OK:
            return None
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await self.call.read()
        return from_rpc_error(ended.value).reason


async def until(condition, thread=None) -> None:
    """Wait for a condition, told on `thread`: what is the journal's only on the one on which the node uses it."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while not (condition() if thread is None else await loop.run_in_executor(thread, condition)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
