"""What every party's gRPC service and client share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import grpc
import pytest

from gateway.party.service import CLIENT_OPTIONS
from tests.party.conftest import Echo

OUTAGE = 10.0
"""Seconds after which gRPC's own next attempt is about six seconds away."""


@pytest.mark.slow
async def test_peer_that_was_away_is_found_again_within_seconds(free_port: Callable[[], int]) -> None:
    """The delay between attempts does not grow with the outage: gRPC's default goes to two minutes."""
    target = f"127.0.0.1:{free_port()}"
    longest = dict(CLIENT_OPTIONS)["grpc.max_reconnect_backoff_ms"] / 1000
    async with grpc.aio.insecure_channel(target, CLIENT_OPTIONS) as channel:
        call = channel.unary_unary("/test/Echo")

        async def reached(seconds: float) -> bool:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await call(b"", timeout=1.0)
                    return True
                await asyncio.sleep(0.1)
            return False

        assert not await reached(OUTAGE)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Echo(lambda _context: "here"),))
        server.add_insecure_port(target)
        await server.start()
        assert await reached(longest * 1.2 + 0.5)  # gRPC varies each delay by a fifth
        await server.stop(None)
