"""The published log over HTTPS, as C2SP tlog-tiles says: checkpoint and hashes for all, entries for auditors.

    /<shard>/checkpoint                        text/plain, never from a cache
    /<shard>/tile/<L>/<N>[.p/<W>]              application/octet-stream, for ever
    /<shard>/tile/entries/<N>[.p/<W>]          the same, for a peer whose certificate the registry knows as an auditor's

- The target of a request is read as it came, by the strict parser of `gateway.protocol.tiles`, before any file is
  looked for: what it does not know is not there, whatever lies in the folder.
- Served is what the checkpoint that is shown stands for: not a tile that is written and not yet shown. A partial tile
  that was not published, or is deleted, is cut from a wider one: its content is the same.
- Files are read by two threads of its own and a bounded number of requests; connections are counted, and one that
  takes too long to ask or to take its answer is ended. The gateway's own work does not wait for any of it.

Nothing is asked of the database. Who reads what is not logged: hashes are public, and auditors read all.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
from aiohttp import web
from cryptography import x509

from gateway.party.addresses import split_address
from gateway.party.keyfiles import Watched
from gateway.party.process import place_of
from gateway.party.tls import UNREADABLE, TlsMaterial, certificate_identity, server_ssl_context
from gateway.party.tls_listener import TlsListener
from gateway.protocol.errors import HeyanError, MalformedError, NotFoundError, UnknownPeerError
from gateway.protocol.identities import PartyRole
from gateway.protocol.note import MAX_NOTE_BYTES
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.tiles import (
    CHECKPOINT_PATH,
    CHECKPOINT_TYPE,
    MAX_PATH_BYTES,
    TILE_TYPE,
    Bundle,
    exists_at,
    parse_path,
)
from gateway.static_log.folder import PublishedFolder
from gateway.static_log.tile_source import read_bounded, read_resource

MAX_CONNECTIONS = 512
"""Open at once, also those that have not shaken hands; one more is closed at its beginning."""
MAX_UNDER_WAY = 64
"""Requests that wait for a file; one more is told to come back (503)."""
ASK_SECONDS = 10.0
"""For which a connection may stand without a whole request."""
SEND_SECONDS = 60.0
"""For which a peer may take its answer, at most 16.8 MB."""
STOP_SECONDS = 2.0
"""For which answers under way are waited for at the end."""
_READERS = 2
_GZIP = 31
_FAST = 1
_MAX_TARGET = MAX_PATH_BYTES + 10
_TARGET = re.compile(r"/(?P<shard>0|[1-9][0-9]{0,5})/(?P<path>[\x21-\x7e]+)")

FOR_EVER = "max-age=31536000, immutable"
"""A path's content never changes."""
ENTRIES_REFUSED = (
    "Entry bundles of this log are for auditors. Come with the client certificate of a party that the federation's\n"
    "registry lists as an auditor; the operator enrols one: heyan registry enrol auditor NAME.\n"
    "日志条目仅供审计人员读取：请使用联邦登记册所列审计方的客户端证书。\n"
)

_log = structlog.get_logger(__name__)


class LogServer:
    """Serves the folder of published logs, one below it for each shard; one of `processes` that do on the same port."""

    def __init__(
        self,
        *,
        published: Path,
        listen: str,
        tls: Watched[TlsMaterial],
        registry: Callable[[], Registry],
        clock: Callable[[], float],
        processes: int = 1,
    ) -> None:
        self._processes = processes
        self._published = published
        self._listen = listen
        self._tls = tls
        self._registry = registry
        self._clock = clock
        self._server: web.Server | None = None
        self._listener: TlsListener | None = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="heyan-log-reader")
        self._under_way = 0
        self._sizes: dict[str, tuple[int, int, int]] = {}

    async def start(self) -> int:
        """Listen; the bound port."""
        host, port = split_address(self._listen)
        context = server_ssl_context(self._tls, ssl.CERT_OPTIONAL)
        # aiohttp ends a connection that has not brought a whole request by then, also the first one.
        self._server = server = web.Server(self._handle, access_log=None, keepalive_timeout=ASK_SECONDS)

        self._listener = TlsListener(
            server,
            context,
            established=lambda: len(server.connections),
            limit=lambda: -(-MAX_CONNECTIONS // self._processes),
            seconds=ASK_SECONDS,
            shares_port=self._processes > 1,
        )
        return await self._listener.start(host, port)

    async def stop(self) -> None:
        """Take no more requests, and end those under way soon."""
        if self._listener is not None:
            await self._listener.close()
        if self._server is not None:
            await self._server.shutdown(STOP_SECONDS)
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._answer(request)
        response.headers["Server"] = "heyan"
        response.headers["X-Content-Type-Options"] = "nosniff"
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="only GET and HEAD\n", headers={"Allow": "GET, HEAD"})
        if request.can_read_body:
            return web.Response(status=400, text="a request has no body\n", headers={"Connection": "close"})
        if self._under_way >= MAX_UNDER_WAY:
            return web.Response(status=503, text="busy: try again\n", headers={"Retry-After": "1"})
        self._under_way += 1
        try:
            return await self._serve(request)
        except Exception as error:  # noqa: BLE001 - nothing internal may leave
            return _failure(error)
        finally:
            self._under_way -= 1

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        target = request.raw_path
        found = _TARGET.fullmatch(target) if len(target) <= _MAX_TARGET else None
        if found is None:
            raise _absent()
        folder, path = self._published / found["shard"], found["path"]
        run = asyncio.get_running_loop().run_in_executor
        if path == CHECKPOINT_PATH:
            note = await run(self._readers, read_bounded, folder, CHECKPOINT_PATH, MAX_NOTE_BYTES)
            return _response(note, CHECKPOINT_TYPE, "no-cache")
        try:
            resource = parse_path(path)
        except MalformedError:
            raise _absent() from None
        is_bundle = isinstance(resource, Bundle)
        if is_bundle:
            self._require_auditor(request)
        zipped = is_bundle and "gzip" in request.headers.get("Accept-Encoding", "")

        def read() -> bytes:
            if not exists_at(resource, self._size(found["shard"])):
                raise _absent()
            data = read_resource(folder, resource)
            return _gzip(data) if zipped else data

        response = _response(await run(self._readers, read), TILE_TYPE, FOR_EVER)
        if is_bundle:
            response.headers["Cache-Control"] = f"private, {FOR_EVER}"
            response.headers["Vary"] = "Accept-Encoding"
            if zipped:
                response.headers["Content-Encoding"] = "gzip"
        return response

    def _size(self, shard: str) -> int:
        """Leaves that the shown checkpoint of a shard stands for; read anew when its file is another."""
        folder = PublishedFolder(self._published / shard)
        try:
            seen = (folder.folder / CHECKPOINT_PATH).stat()
        except FileNotFoundError:
            raise _absent() from None
        mark = (seen.st_ino, seen.st_mtime_ns)
        known = self._sizes.get(shard)
        if known is None or known[:2] != mark:
            shown = folder.read()
            known = (*mark, shown[0].size if shown is not None else 0)
            self._sizes[shard] = known
        return known[2]

    def _require_auditor(self, request: web.BaseRequest) -> None:
        """Refuse a peer whose certificate, which TLS has verified, is not of an auditor that the registry knows now.

        UnknownPeerError.
        """
        connection = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        encoded = connection.getpeercert(binary_form=True) if connection is not None else None
        if encoded is None:
            raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, "no certificate")
        try:
            certificate = x509.load_der_x509_certificate(encoded)
        except UNREADABLE:
            raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, "a certificate that cannot be read") from None
        if certificate.not_valid_after_utc.timestamp() < self._clock():  # a connection may outlive it
            raise UnknownPeerError(Reason.PEER_UNAUTHENTICATED, "an expired certificate")
        self._registry().party_in_role(certificate_identity(certificate).uri, PartyRole.AUDITOR)


def _failure(error: Exception) -> web.Response:
    if isinstance(error, UnknownPeerError):
        return web.Response(status=403, text=ENTRIES_REFUSED)
    if isinstance(error, NotFoundError):
        return web.Response(status=404, text="not in this log\n")
    if isinstance(error, HeyanError):
        _log.error("log_not_served", reason=error.reason.value, detail=error.detail)
    else:
        _log.error("log_not_served", kind=type(error).__name__, place=place_of(error))
    return web.Response(status=500, text="cannot be read now\n")


def _response(data: bytes, kind: str, caching: str) -> web.Response:
    return web.Response(body=data, headers={"Content-Type": kind, "Cache-Control": caching})


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
    return packer.compress(data) + packer.flush()


def _absent() -> NotFoundError:
    return NotFoundError(Reason.NOT_FOUND, "not in this log")
