"""A requester's end of a `VerifyStream`, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from google.rpc import error_details_pb2, status_pb2

from gateway.party.service import Guard
from gateway.protocol.identities import Identity
from gateway.protocol.presentation import Submission, write_submission
from gateway.services import GatewayMethods
from gateway.verify_stream import Desk, VerifyStreams
from gateway.witnessing.witnesses import Witnesses
from heyan.v1 import gateway_service_pb2 as pb
from tests.gateway.conftest import PEER, Gateway


class BacklogWire:
    """What the gateway reads is put into `incoming` (None: our side is closed); what it writes stands in `answers`."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.answers: list[pb.VerifyStreamResponse] = []
        self.read_so_far = 0
        self.takes = asyncio.Event()
        """Cleared: the requester takes no answers."""
        self.takes.set()

    async def read(self) -> object:
        data = await self.incoming.get()
        self.read_so_far += data is not None
        return data

    async def write(self, message: bytes) -> None:
        await self.takes.wait()
        self.answers.append(pb.VerifyStreamResponse.FromString(message))

    def time_remaining(self) -> None:
        """A stream without a deadline."""

    def send(self, item: int, submission: Submission) -> None:
        self.incoming.put_nowait(item_of(item, submission))

    def close(self) -> None:
        self.incoming.put_nowait(None)

    def reasons(self) -> dict[int, str]:
        """How each answered item ended."""
        return {answer.item: reason_of(answer.error) if answer.HasField("error") else "OK" for answer in self.answers}


class Backlogs:
    """The streams of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.refused: list[tuple[str, str, bytes]] = []
        self.counted: list[str] = []
        methods = GatewayMethods(
            pipeline=gateway.pipeline,
            events=gateway.events,
            registry=lambda: gateway.federation.registry,
            rulebook=None,  # type: ignore[arg-type] # nobody asks for a plan
            applications=gateway.pipeline._applications,
            admission=gateway.admission,
            clock=gateway.clock,
            watch=gateway.watchers.watch,
            on_withdrawal=gateway.deferral.withdrawn,
            disputes=gateway.disputes,
            bring_under=Witnesses(log=gateway.log, store=gateway.store, watchers=gateway.watchers).bring_under,
        )

        async def record(_peer: Identity, method: str, error: Exception, message: bytes) -> None:
            self.refused.append((method, error.reason.value, message))  # type: ignore[attr-defined]

        guard = Guard(lambda: gateway.federation.registry, record)  # type: ignore[arg-type]
        self.streams = VerifyStreams(
            Desk(methods.carry, gateway.admission, guard, lambda reason, _seconds: self.counted.append(reason))
        )

    def open(
        self, peer: Identity = PEER, admit: Callable[[], object] = lambda: None
    ) -> tuple[BacklogWire, asyncio.Task[None]]:
        wire = BacklogWire()
        return wire, asyncio.create_task(self.streams.serve(wire, admit, peer))


def item_of(item: int, submission: Submission) -> bytes:
    return pb.VerifyStreamRequest(item=item, request=write_submission(submission)).SerializeToString()


def reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason
