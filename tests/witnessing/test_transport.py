"""How a gateway speaks HTTP with witnesses that it does not trust: bounded, in time, nowhere else than it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.policy import PolicyWitness
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import MAX_ANSWER_BYTES, read_answer
from gateway.witness.server import WitnessServer
from gateway.witnessing.link import HttpTransport, LogIdentity, WitnessLink
from tests.fakes import Clock
from tests.witness.conftest import NOW
from tests.witness.signed_log import ORIGIN, SIGNER, SignedLog
from tests.witness.test_server import settle

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything so; its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    made = HttpTransport(timeout=1.0)
    yield made
    await made.close()


async def test_link_and_server_understand_each_other(transport: HttpTransport, tmp_path: Path) -> None:
    server = WitnessServer(settle(tmp_path), Clock(NOW))
    port = await server.start()
    key = server._cosigning._keys[0].verifier
    log = SignedLog.of(5)
    link = WitnessLink(
        PolicyWitness("w", key, f"http://127.0.0.1:{port}/"),
        tree=log,
        log=LogIdentity(ORIGIN, lambda: [SIGNER.verifier]),
        transport=transport,
        clock=Clock(NOW),
        held=3,  # wrong: it is told better
    )
    for _ in range(3):
        assert await link.cosign(log.head()) is not None
        log.grow(4)
    await server.stop()


async def test_redirect_is_not_followed(transport: HttpTransport) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with answering(handler) as url:
        reply = await transport.exchange(f"{url}/add-checkpoint", b"body")
    assert reply.status == 307
    assert asked == ["/add-checkpoint"]


async def test_answer_without_end_is_cut_off_and_refused(transport: HttpTransport) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    async with answering(handler) as url:
        reply = await transport.exchange(f"{url}/add-checkpoint", b"body")
    assert len(reply.body) == MAX_ANSWER_BYTES + 1
    with pytest.raises(MalformedError):
        read_answer(reply.status, reply.headers, reply.body)


async def test_answer_that_does_not_come_in_time_is_none(transport: HttpTransport) -> None:
    never = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with answering(handler) as url:
        with pytest.raises(UnreachableError) as fault:
            await transport.exchange(f"{url}/add-checkpoint", b"body")
    assert fault.value.reason is Reason.WITNESS_UNREACHABLE


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/add-checkpoint", "nonsense", "ftp://w/", "http://[::1/", "http:///x", "\udcff://w"]
)
async def test_url_that_leads_nowhere_is_a_fault_and_no_exception(transport: HttpTransport, url: str) -> None:
    with pytest.raises(UnreachableError):
        await transport.exchange(url, b"body")
