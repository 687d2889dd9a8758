"""A backlog over gRPC itself: flow control, the transport's own limit, and how the two ends part."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from gateway.party.service import CLIENT_OPTIONS, SERVER_OPTIONS, Guard, StreamMethod, stream_handlers
from gateway.party.statuses import from_rpc_error
from gateway.protocol.identities import PartyRole
from gateway.protocol.limits import MAX_MESSAGE, TRANSPORT_MAX_MESSAGE
from gateway.protocol.reasons import Reason
from gateway.verify_stream import WINDOW
from heyan.v1 import gateway_service_pb2 as pb
from tests.backlog import Backlogs, item_of
from tests.gateway.conftest import PEER, Gateway

PATH = "/heyan.v1.GatewayService/VerifyStream"


@asynccontextmanager
async def served(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Backlogs, grpc.aio.Channel]]:
    """A gateway's streams behind a real server, without TLS: everybody is PEER."""
    backlogs = Backlogs(gateway)
    monkeypatch.setattr("gateway.party.service.peer_identity", lambda _context: PEER)
    method = StreamMethod(
        "VerifyStream",
        frozenset({PartyRole.REQUESTER}),
        lambda peer, context: backlogs.streams.serve(context, lambda: None, peer),
    )
    server = grpc.aio.server(options=SERVER_OPTIONS)
    guard = Guard(lambda: gateway.federation.registry)  # type: ignore[arg-type]
    server.add_generic_rpc_handlers((stream_handlers("heyan.v1.GatewayService", [method], guard),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = {**dict(CLIENT_OPTIONS), "grpc.max_send_message_length": 2 * TRANSPORT_MAX_MESSAGE}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=tuple(options.items())) as channel:
        yield backlogs, channel
    await server.stop(1)


async def failure(call: grpc.aio.StreamStreamCall) -> Reason:
    try:
        while isinstance(await call.read(), bytes):
            pass
    except grpc.aio.AioRpcError as ended:
        return from_rpc_error(ended).reason
    raise AssertionError("it ended well")


async def test_closing_one_side_brings_all_answers_and_a_good_end(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(gateway, monkeypatch) as (_, channel):
        call = channel.stream_stream(PATH)()
        for item in range(1, 101):
            await call.write(item_of(item, gateway.submission()))
        await call.done_writing()
        answers = [pb.VerifyStreamResponse.FromString(data) async for data in call]
        assert sorted(answer.item for answer in answers) == list(range(1, 101))
        assert all(answer.HasField("response") for answer in answers)
        assert await call.code() is grpc.StatusCode.OK


async def test_answers_that_nobody_reads_stop_the_gateway_from_reading(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What HTTP/2 holds for the requester is bounded by its windows; beyond it, the stream's own window is full."""
    async with served(gateway, monkeypatch) as (backlogs, channel):
        answer = pb.VerifyResponse()
        answer.receipt.leaf_key = bytes(256 << 10)  # large, so that HTTP/2's windows are full soon

        async def verify(_message: bytes, _peer: object, _time: object, place) -> pb.VerifyResponse:
            place.release()
            return answer

        carried: list[str] = []
        desk = backlogs.streams._desk
        object.__setattr__(desk, "verify", verify)
        object.__setattr__(desk, "measure", lambda reason, _seconds: carried.append(reason))
        call = channel.stream_stream(PATH)()
        data = item_of(1, gateway.submission())

        async def write() -> None:
            for _ in range(600):
                await call.write(data)
            await call.done_writing()

        writing = asyncio.create_task(write())
        seen = -1
        while seen != len(carried):
            seen = len(carried)
            await asyncio.sleep(0.5)
        assert WINDOW <= seen < 2 * WINDOW
        assert sum([1 async for _ in call]) == 600
        await writing


async def test_message_over_the_transports_limit_ends_the_stream_and_one_below_it_only_itself(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(gateway, monkeypatch) as (backlogs, channel):
        call = channel.stream_stream(PATH)()
        await call.write(item_of(1, gateway.submission()) + b"\x7a\xff\xff\x3f" + bytes(MAX_MESSAGE - 1))
        first = pb.VerifyStreamResponse.FromString(await call.read())
        assert (first.item, first.HasField("error"), backlogs.refused[0][1]) == (1, True, "MESSAGE_TOO_LARGE")
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call.write(bytes(TRANSPORT_MAX_MESSAGE + 1))
        assert await failure(call) is Reason.MESSAGE_TOO_LARGE


async def test_requester_that_hangs_up_leaves_nothing_behind(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(gateway, monkeypatch) as (backlogs, channel):
        call = channel.stream_stream(PATH)()
        consent = gateway.federation.issue()
        await call.write(item_of(1, gateway.submission(consent)))
        await call.read()
        call.cancel()
        async with asyncio.timeout(10):
            while backlogs.streams._open:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert gateway.admission.taken == 0
        assert max(gateway.used(consent)) == 1


async def test_gateway_that_drains_says_so_over_the_wire(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(gateway, monkeypatch) as (backlogs, channel):
        call = channel.stream_stream(PATH)()
        await call.write(item_of(1, gateway.submission()))
        await call.read()
        backlogs.streams.stop()
        assert await failure(call) is Reason.SHUTTING_DOWN
