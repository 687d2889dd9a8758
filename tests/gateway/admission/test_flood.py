"""A flood over gRPC itself: its queue stands in the line and not in the transport, and a modest requester is served."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest

from gateway.admission import Admission
from gateway.party.service import SERVER_OPTIONS, Context, Guard, Method, unary_handlers
from gateway.party.statuses import from_rpc_error
from gateway.protocol.errors import OverloadedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.reasons import Reason

FLOOD, MODEST = Identity(PartyRole.REQUESTER, "flood"), Identity(PartyRole.REQUESTER, "modest")
ROUNDS_OF_WORK = 20_000


class Desk:
    """A method whose work keeps the loop, as verifying a signature does."""

    def __init__(self) -> None:
        self.admission = Admission(512)
        self.admission._pace.worked(60.0, 1)  # so slow that the line is as short as it may be
        self.most_in_line = 0
        self.begun = Counter[str]()

    async def work(self, _message: bytes, peer: Identity, _context: Context) -> bytes:
        async with self.admission.admitted(peer):
            self.most_in_line = max(self.most_in_line, self.admission.in_line)
            self.begun[peer.name] += 1
            sum(range(ROUNDS_OF_WORK))
        return b"done"


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Desk, int]]:
    made = Desk()
    monkeypatch.setattr(Guard, "admit", lambda _guard, context, _roles: who(context))
    server = grpc.aio.server(options=SERVER_OPTIONS)
    method = Method("Work", frozenset({PartyRole.REQUESTER}), made.work)
    server.add_generic_rpc_handlers((unary_handlers("test.Desk", [method], Guard(lambda: None)),))  # type: ignore[arg-type, return-value]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made, port
    await server.stop(1)


def who(context: Context) -> Identity:
    """Who calls, as the call says: there is no TLS here."""
    return Identity(PartyRole.REQUESTER, str(dict(context.invocation_metadata() or ())["who"]))


async def call(channel: grpc.aio.Channel, peer: Identity) -> Reason | None:
    """Why a call was refused, if it was; refused with a time to come back."""
    method = channel.unary_unary("/test.Desk/Work")  # type: ignore[call-arg]
    try:
        await method(b"x" * 1000, metadata=(("who", peer.name),), timeout=60)
    except grpc.aio.AioRpcError as failure:
        error = from_rpc_error(failure)
        assert isinstance(error, OverloadedError)
        assert error.retry_after
        return error.reason
    return None


async def test_flood_is_refused_where_it_can_be_seen_and_the_modest_are_served(desk: tuple[Desk, int]) -> None:
    made, port = desk
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as flooding,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as modest,
    ):
        flood = [asyncio.create_task(call(flooding, FLOOD)) for _ in range(400)]
        while not made.begun["flood"]:  # noqa: ASYNC110 - the flood is there now
            await asyncio.sleep(0.001)
        said = [await call(modest, MODEST) for _ in range(10)]
        floods = Counter(await asyncio.gather(*flood))
    assert said == [None] * 10
    assert floods[None] + floods[Reason.OVERLOADED] == 400
    assert floods[Reason.OVERLOADED] > 0
    assert floods[None] > 0
    assert made.most_in_line > 8  # without a line, three or four would have been seen
    assert (made.admission.taken, made.admission.in_line) == (0, 0)
