"""The process of a witness: `add-checkpoint` and its newest checkpoints over HTTP, until told to stop.

    POST /add-checkpoint                             for the logs that it was told of
    GET  /<hex SHA-256 of the origin>/checkpoint     for monitors

One thread decides and writes, so that requests come one after another; the loop only reads and answers. Every body is
bounded and must come in time; where all places are taken, the one that has been waited for longest gives its
place up. Nothing is authenticated but the logs' signatures.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from math import ceil
from typing import TypeVar

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.allowance import Allowance
from gateway.party.addresses import split_address
from gateway.party.keyfiles import Watched, unusable
from gateway.party.probes import Probes
from gateway.party.process import Clock, cancel_all, close_all, repeat
from gateway.protocol.errors import (
    ForgedError,
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotFoundError,
    OverloadedError,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import ADD_CHECKPOINT, MAX_REQUEST_BYTES, SIZE_TYPE
from gateway.witness.config import ServerTls, WitnessConfig
from gateway.witness.cosigning import Cosigning, OtherSizeError
from gateway.witness.files import read_keys, read_logs
from gateway.witness.store import WitnessStore

T = TypeVar("T")

BODY_SECONDS = 10.0
"""For which a request's body is waited for."""
STOP_SECONDS = 5.0
"""For which requests under way are waited for at the end."""
CACHE_SECONDS = 5
"""For which a cache in front may keep the newest checkpoint; the specification allows an hour."""
NOTE_TYPE = "text/plain"

_log = structlog.get_logger(__name__)


class WitnessServer:
    """One running witness. `start` returns the bound port, which is the configured one unless that is 0."""

    def __init__(self, config: WitnessConfig, clock: Clock = time.time) -> None:
        self._config = config
        self._logs = Watched([config.logs], lambda: read_logs(config.logs))
        self._store = WitnessStore(config.store)
        keys = read_keys(config.key)
        self.name = keys[0].verifier.name
        self._cosigning = Cosigning(
            keys=keys,
            logs=lambda: self._logs.value,
            store=self._store,
            clock=clock,
            allowance=Allowance(config.advances_burst, config.advances_per_second, Reason.OVERLOADED),
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="heyan-witness")
        self._under_way = 0
        self._reading: dict[asyncio.Timeout, None] = {}
        """Bodies that are waited for, the earliest first."""
        self._complaint: str | None = None
        metrics = CollectorRegistry()
        self._answers = Counter(
            "heyan_witness_answers", "Answers to add-checkpoint by HTTP status", ["status"], registry=metrics
        )
        self._sizes = Gauge("heyan_witness_log_size", "Size of the newest cosigned tree", ["log"], registry=metrics)
        self._forks = Counter("heyan_witness_forks", "Checkpoints with another root of a size held", registry=metrics)
        self._probes = Probes(config.probes, lambda: [self._complaint] if self._complaint else [], metrics)
        self._tls = Watched([config.tls.certificate, config.tls.key], _loader(config.tls)) if config.tls else None
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Listen on the configured address; the bound port."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post(ADD_CHECKPOINT, self._add_checkpoint)
        app.router.add_get("/{digest:[0-9a-f]{64}}/checkpoint", self._checkpoint)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=STOP_SECONDS, handle_signals=False, keepalive_timeout=60.0
        )
        await self._runner.setup()
        host, port = split_address(self._config.listen)
        await web.TCPSite(self._runner, host, port, ssl_context=self._tls.value if self._tls else None).start()
        probes = await self._probes.start()
        for origin, size in (await self._apart(self._cosigning.sizes)).items():
            self._sizes.labels(origin).set(size)
        self._tasks = [asyncio.create_task(repeat(1.0, self._look, "look at files and store"))]
        bound: int = self._runner.addresses[0][1]
        _log.info("witness_serves", name=self.name, port=bound, probes=probes, logs=sorted(self._logs.value))
        return bound

    async def stop(self) -> None:
        """Take no new requests, end those under way, close the store."""
        await close_all(
            self._stop_listening,
            self._probes.stop,
            lambda: cancel_all(self._tasks),
            lambda: asyncio.to_thread(self._thread.shutdown),
            self._store.close,
        )

    async def _stop_listening(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _look(self) -> None:
        """What a second brings: another list of logs, a renewed certificate; whether a store that failed is back."""
        self._logs.refresh()
        if self._tls is not None:
            self._tls.refresh()
        if self._complaint is not None:
            await self._apart(self._store.probe)
            self._complaint = None

    async def _add_checkpoint(self, request: web.Request) -> web.Response:
        response = await self._answer(request)
        self._answers.labels(str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        if self._under_way >= self._config.max_requests and not self._give_up_slowest():
            return _told(HTTPStatus.SERVICE_UNAVAILABLE, "busy", retry_after=1.0)
        self._under_way += 1
        try:
            body = await self._body(request)
        except web.HTTPRequestEntityTooLarge:
            return _told(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_REQUEST_BYTES} bytes")
        except TimeoutError:
            return _told(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time")
        else:
            return await self._decide(body)
        finally:
            self._under_way -= 1

    async def _body(self, request: web.Request) -> bytes:
        """The body of a request; TimeoutError if it does not come in time, or must give its place up."""
        async with asyncio.timeout(BODY_SECONDS) as waiting:
            self._reading[waiting] = None
            try:
                return await request.read()
            finally:
                self._reading.pop(waiting, None)

    def _give_up_slowest(self) -> bool:
        """End the request whose body was waited for longest: a log's own comes at once. False if none is waited for."""
        slowest = next(iter(self._reading), None)
        if slowest is None:
            return False
        del self._reading[slowest]
        slowest.reschedule(asyncio.get_running_loop().time())
        return True

    async def _decide(self, body: bytes) -> web.Response:
        try:
            lines, sizes = await self._apart(lambda: (self._cosigning.add_checkpoint(body), self._cosigning.sizes()))
        except OtherSizeError as error:
            return web.Response(status=HTTPStatus.CONFLICT, body=f"{error.size}\n".encode(), content_type=SIZE_TYPE)
        except HeyanError as error:
            if isinstance(error, LogUnavailableError):
                self._complaint = str(error)
                _log.error("witness_cannot_remember", detail=error.detail)
            if error.reason is Reason.LOG_FORKED:
                self._forks.inc()
            return _told(_status_of(error), error.detail or error.reason.value, error.retry_after)
        for origin, size in sizes.items():
            self._sizes.labels(origin).set(size)
        return web.Response(text=lines, content_type=NOTE_TYPE, charset="utf-8")

    async def _checkpoint(self, request: web.Request) -> web.Response:
        digest = request.match_info["digest"]
        try:
            note = await self._apart(lambda: self._cosigning.checkpoint(digest))
        except HeyanError as error:
            return _told(_status_of(error), error.reason.value, error.retry_after)
        headers = {"Cache-Control": f"max-age={CACHE_SECONDS}"}
        return web.Response(text=note, content_type=NOTE_TYPE, charset="utf-8", headers=headers)

    async def _apart(self, work: Callable[[], T]) -> T:
        """Do work on the one thread that decides. Once begun it ends, also where whoever asked has gone."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))


def _status_of(error: HeyanError) -> HTTPStatus:
    match error:
        case MalformedError():
            return HTTPStatus.BAD_REQUEST
        case NotFoundError():
            return HTTPStatus.NOT_FOUND
        case ForgedError() if error.reason in (Reason.SIGNATURE_INVALID, Reason.KEY_UNKNOWN):
            return HTTPStatus.FORBIDDEN
        case ForgedError():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case OverloadedError():
            return HTTPStatus.TOO_MANY_REQUESTS
        case _:
            return HTTPStatus.SERVICE_UNAVAILABLE


def _told(status: HTTPStatus, text: str, retry_after: float | None = None) -> web.Response:
    headers = {"Retry-After": str(ceil(retry_after))} if retry_after is not None else {}
    return web.Response(status=status, text=text + "\n", headers=headers)


def _loader(files: ServerTls) -> Callable[[], ssl.SSLContext]:
    """Loads the certificate into one context, which new handshakes use from then on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    def load() -> ssl.SSLContext:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
            context.load_cert_chain(files.certificate, files.key)
        except (OSError, ssl.SSLError) as error:
            raise unusable(files.certificate, f"with {files.key}: no certificate and key ({error})") from error
        return context

    return load


async def serve(
    config: WitnessConfig, stop: asyncio.Event, clock: Clock = time.time, on_start: Callable[[int], None] | None = None
) -> None:
    """Serve until `stop` is set; `on_start` is told the bound port."""
    server = WitnessServer(config, clock)
    try:
        port = await server.start()
        if on_start is not None:
            on_start(port)
        await stop.wait()
    finally:
        await server.stop()
