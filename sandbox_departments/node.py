"""The department node as a gRPC service: `Answer`, `AnswerOne`, `OpenDispute` and `Describe`, for gateways only.

Handlers take raw bytes. Who calls is the certificate of the connection, held against the registry for every call and
for every message of a stream; whatever is said inside is then answered for that gateway and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from itertools import count

import grpc

from gateway.party.service import Context, Guard, Method, StreamMethod, stream_handlers, unary_handlers
from gateway.protocol.codec import encode, parse, to_timestamp
from gateway.protocol.errors import HeyanError, LogUnavailableError, OverloadedError, UnreachableError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2
from sandbox_departments.acknowledgements import Settlement
from sandbox_departments.answerer import Answerer
from sandbox_departments.disputes import DisputeDesk
from sandbox_departments.replies import Incoming, ReplyBatch
from sandbox_departments.streams import AnswerStream, Wire
from sandbox_departments.worker import Worker

SERVICE = "heyan.v1.DepartmentService"
GATEWAYS = frozenset({PartyRole.GATEWAY})

_RETRY = 1.0


OpenWire = Callable[[Context], AbstractAsyncContextManager[Wire]]
"""What a stream reads and writes through, for as long as it is served: gRPC's context itself (`nullcontext`)."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a node says of itself besides the registry."""

    department: str
    registry: Callable[[], Registry]
    clock: Callable[[], float]


class Node:
    """The handlers of one node, over its worker. `stop` lets what is under way end."""

    def __init__(
        self,
        description: Description,
        *,
        guard: Guard,
        worker: Worker,
        answerer: Answerer,
        disputes: DisputeDesk,
        open_wire: OpenWire = nullcontext,
    ) -> None:
        self._description = description
        self._guard = guard
        self._worker = worker
        self._answerer = answerer
        self._disputes = disputes
        self._open_wire = open_wire
        self._origins = count(1)
        self._streams: set[AnswerStream] = set()
        self._stopping = asyncio.Event()

    @property
    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:  # type: ignore[type-arg]
        """What a `grpc.aio.Server` serves."""
        methods = (
            Method("AnswerOne", GATEWAYS, self._answer_one),
            Method("Describe", GATEWAYS, self._describe),
            Method("OpenDispute", GATEWAYS, self._open_dispute),
        )
        streams = (StreamMethod("Answer", GATEWAYS, self._answer),)
        return unary_handlers(SERVICE, methods, self._guard), stream_handlers(SERVICE, streams, self._guard)

    @property
    def stopping(self) -> bool:
        """Whether the node takes nothing new."""
        return self._stopping.is_set()

    async def stop(self) -> None:
        """Take nothing new, and wait until everything that was asked is answered. Streams then end by themselves."""
        self._stopping.set()
        await self._worker.drain()

    async def _answer(self, peer: Identity, context: Context) -> None:
        if self.stopping:
            raise UnreachableError(Reason.SHUTTING_DOWN, retry_after=_RETRY)
        stream = AnswerStream(
            peer.uri,
            origin=next(self._origins),
            worker=self._worker,
            answerer=self._answerer,
            on_settled=self._forget_settled,
        )
        spare = frozenset[bytes]().union(*(other.sent for other in self._streams))
        self._streams.add(stream)
        try:
            async with self._open_wire(context) as wire:
                await stream.run(
                    wire, admit=lambda: self._guard.admit(context, GATEWAYS), stopping=self._stopping, spare=spare
                )
        finally:
            self._streams.discard(stream)

    def _forget_settled(self, settlement: Settlement) -> None:
        for stream in self._streams:
            stream.sent.difference_update(settlement.settled)

    async def _answer_one(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        if self.stopping:
            raise UnreachableError(Reason.SHUTTING_DOWN, retry_after=_RETRY)
        request = parse(department_service_pb2.AnswerOneRequest, message, MAX_MESSAGE)
        answered: asyncio.Future[ReplyBatch] = asyncio.get_running_loop().create_future()

        def deliver(batch: ReplyBatch) -> None:
            if not answered.done():  # cancelled if the gateway has gone
                answered.set_result(batch)

        await self._worker.ask(
            Incoming(next(self._origins), peer.uri, request.ask), deliver, lambda: not answered.done()
        )
        batch = await answered
        (reply,) = batch.message.replies
        if reply.fault:
            raise _fault(Reason(reply.fault))
        return encode(department_service_pb2.AnswerOneResponse(batch=batch.message.batch, statements=reply.statements))

    async def _open_dispute(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        if self.stopping:
            raise UnreachableError(Reason.SHUTTING_DOWN, retry_after=_RETRY)
        return encode(await self._disputes.receive(message, peer.uri))

    async def _describe(self, message: bytes, _peer: Identity, _context: Context) -> bytes:
        parse(department_service_pb2.DescribeRequest, message, MAX_MESSAGE)
        registry = self._description.registry()
        terms = registry.party_in_role(self._description.department, PartyRole.DEPARTMENT).department
        assert terms is not None  # noqa: S101 - the registry's check() ties terms to roles
        snapshot = await self._answerer.snapshot_date()
        return encode(
            department_service_pb2.DescribeResponse(
                department=self._description.department,
                claims=sorted({claim for coverage in terms.coverage for claim in coverage.claims}),
                regions=sorted({region for coverage in terms.coverage for region in coverage.regions}),
                snapshot_date=snapshot.isoformat(),
                clock_time=to_timestamp(self._description.clock()),
                registry_version=registry.version,
            )
        )


def _fault(reason: Reason) -> HeyanError:
    """A fault of a reply as the error of a unary call."""
    if reason is Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS:
        return OverloadedError(reason, retry_after=_RETRY)
    if reason is Reason.LOG_UNAVAILABLE:
        return LogUnavailableError(reason, retry_after=_RETRY)
    return UnreachableError(reason, retry_after=_RETRY)
