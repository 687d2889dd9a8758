"""What a caller makes of refusals that gRPC itself gives, without a word of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.party.statuses import DETAILS_KEY, RETRY_AFTER, from_rpc_error, to_status
from gateway.protocol.errors import (
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotGrantedError,
    OverloadedError,
    UnreachableError,
)
from gateway.protocol.reasons import Reason


class Stay(grpc.GenericRpcHandler):
    """A method that ends when it is told to."""

    def __init__(self) -> None:
        self.reached, self.end = asyncio.Event(), asyncio.Event()

    def service(self, handler_call_details: Any) -> Any:
        async def call(request: bytes, context: Any) -> bytes:
            self.reached.set()
            await self.end.wait()
            return request

        return grpc.unary_unary_rpc_method_handler(call)


@asynccontextmanager
async def served(handler: Stay, **limits: Any) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(**limits)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def failure(call: Any) -> HeyanError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_call_beyond_what_the_transport_takes_is_overload_to_come_back_from() -> None:
    stay = Stay()
    async with served(stay, maximum_concurrent_rpcs=1) as channel:
        method = channel.unary_unary("/test/Stay")
        first = asyncio.ensure_future(method(b"first", timeout=30))
        await stay.reached.wait()
        error = await failure(method(b"second", timeout=30))
        assert type(error) is OverloadedError
        assert (error.reason, error.retry_after) == (Reason.OVERLOADED, RETRY_AFTER)
        stay.end.set()
        assert await first == b"first"
        assert await method(b"again", timeout=30) == b"again"


@pytest.mark.parametrize(
    ("limit", "size"),
    [(100, 200), (-1, 5 << 20)],
    ids=["request over the server's limit", "answer over the client's 4 MiB"],
)
async def test_message_over_the_transports_limit_is_no_overload_to_come_back_from(limit: int, size: int) -> None:
    stay = Stay()
    stay.end.set()
    async with served(stay, options=[("grpc.max_receive_message_length", limit)]) as channel:
        error = await failure(channel.unary_unary("/test/Stay")(bytes(size), timeout=30))
    assert type(error) is MalformedError
    assert (error.reason, error.retry_after) == (Reason.MESSAGE_TOO_LARGE, None)


def refused(error: HeyanError, *, with_retry: bool = True) -> grpc.aio.AioRpcError:
    """What a client sees of an error, perhaps without its RetryInfo."""
    status = to_status(error)
    if not with_retry:
        kept = [detail for detail in status.details if not detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
        status = status_pb2.Status(code=status.code, message=status.message, details=kept)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    trailing = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, status.message)


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError(Reason.OVERLOADED, retry_after=7.0),
        UnreachableError(Reason.SHUTTING_DOWN, retry_after=7.0),
        LogUnavailableError(Reason.LOG_UNAVAILABLE, retry_after=7.0),
    ],
)
def test_peer_that_does_not_say_when_is_come_back_to_after_a_while(error: HeyanError) -> None:
    told = from_rpc_error(refused(error))
    assert (type(told), told.reason, told.retry_after) == (type(error), error.reason, 7.0)
    told = from_rpc_error(refused(error, with_retry=False))
    assert (type(told), told.reason, told.retry_after) == (type(error), error.reason, RETRY_AFTER)


def test_what_is_refused_for_good_names_no_time_to_come_back() -> None:
    told = from_rpc_error(refused(NotGrantedError(Reason.GRANT_REVOKED)))
    assert (told.reason, told.retry_after) == (Reason.GRANT_REVOKED, None)
