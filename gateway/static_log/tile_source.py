"""Where tiles of a log are read: a folder, or a web server. Nothing is believed of what comes but its size.

Both sources ask for exactly what is named, and where a partial tile is not there (any more), for a wider one, of
which it is the beginning: a web server for the full one, as C2SP has it, a folder also for another partial one.

Errors, of every source:

- ForgedError (TILE_INVALID): what came cannot be that tile or bundle, whatever the log is;
- NotFoundError: there is no such file;
- UnknownPeerError (PEER_ROLE_NOT_ALLOWED): the log keeps it from this reader;
- UnreachableError (PEER_UNREACHABLE): a fault; try again.

Whether hashes and entries are those of a checkpoint is for `gateway.static_log.tile_proofs` to say.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import zlib
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from aiohttp import ClientResponse, ClientTimeout, TCPConnector

from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError, UnknownPeerError, UnreachableError
from gateway.protocol.note import MAX_NOTE_BYTES
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import CHECKPOINT_PATH, TILE_WIDTH, Bundle, Resource, Tile, decode_entries

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
"""Without a byte."""
TOTAL_SECONDS = 60.0
"""For the largest bundle, 16.8 MB."""
CONNECTIONS = 8
"""At once, to one server: what a reader who looks ahead makes use of."""
_CHUNK = 65_536
_GZIP = 31
"""zlib's number for a gzip stream."""

_ABSENT = frozenset({404, 410})
_KEPT_BACK = frozenset({401, 403})


class TileSource(Protocol):
    """A static log to read from. Calls may be under way at once; the errors are in the module's text."""

    async def checkpoint(self) -> bytes:
        """The newest checkpoint, a signed note, unverified."""
        ...

    async def tile(self, level: int, index: int, width: int) -> bytes:
        """`width` hashes, 32 bytes each, of tile (level, index), unverified."""
        ...

    async def entries(self, index: int, width: int) -> list[bytes]:
        """The first `width` entries of bundle `index`, unverified."""
        ...


class _FileSource(ABC):
    """What both sources have in common: a port's calls are files, each with a bound."""

    async def checkpoint(self) -> bytes:
        """See the port."""
        return await self._read(CHECKPOINT_PATH, MAX_NOTE_BYTES)

    async def tile(self, level: int, index: int, width: int) -> bytes:
        """See the port."""
        return await self.fetch(Tile(level, index, width))

    async def entries(self, index: int, width: int) -> list[bytes]:
        """See the port."""
        bundle = Bundle(index, width)
        return decode_entries(bundle, await self.fetch(bundle))

    @abstractmethod
    async def fetch(self, resource: Resource) -> bytes:
        """The bytes of a tile or bundle, as many as it must have, as they lie in its file or begin a wider one's."""

    @abstractmethod
    async def _read(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes of a file."""


class FolderSource(_FileSource):
    """A static log in a folder: `checkpoint` and `tile/…` below it. Use as an asynchronous context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __aenter__(self) -> Self:
        """Look whether the folder is there; MalformedError (CONFIGURATION_INVALID)."""
        if not await asyncio.to_thread(self._folder.is_dir):
            raise MalformedError.at(str(self._folder), "is no folder", Reason.CONFIGURATION_INVALID)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""

    async def fetch(self, resource: Resource) -> bytes:
        """See the base."""
        return await asyncio.to_thread(read_resource, self._folder, resource)

    async def _read(self, path: str, limit: int) -> bytes:
        return await asyncio.to_thread(read_bounded, self._folder, path, limit)


def read_resource(folder: Path, resource: Resource) -> bytes:
    """A tile or bundle of a log's folder; of a partial one that was not published, the beginning of a wider one.

    So every size has its partial tiles, as long as the log is that large: also one between two that were published.
    """
    try:
        return resource.check(read_bounded(folder, resource.path, resource.max_bytes))
    except NotFoundError:
        if resource.is_full:
            raise
    # The full one last: partial ones are deleted only when it is there, so that one of them is always found.
    for wider in (*_wider(folder, resource), resource.full):
        try:
            return resource.cut(read_bounded(folder, wider.path, wider.max_bytes))
        except NotFoundError:
            continue
    raise _absent(resource.path)


def _wider(folder: Path, resource: Resource) -> list[Resource]:
    """The partial tiles of this place that are wider than `resource`, the narrowest first."""
    try:
        names = [each.name for each in (folder / resource.path).parent.iterdir()]
    except OSError:
        return []
    widths = sorted(int(name) for name in names if name.isascii() and name.isdecimal())
    return [replace(resource, width=width) for width in widths if resource.width < width < TILE_WIDTH]


def read_bounded(folder: Path, path: str, limit: int) -> bytes:
    """The file `path` of a log's folder, at most `limit` bytes; the module's errors."""
    try:
        with (folder / path).open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise _absent(path) from None
        detail = f"{folder / path} cannot be read: {error.strerror}"
        raise UnreachableError(Reason.PEER_UNREACHABLE, detail) from error
    return _bounded(path, data, limit)


class HttpSource(_FileSource):
    """A static log below a URL, over HTTPS. Use as an asynchronous context manager.

    `ssl_context` says whom to trust, and with what to show who reads; without one, the system's authorities are
    trusted. `server_name` is the name that the server's certificate must have, where it is not the URL's. No redirect
    is followed: a log is where the auditor was told.
    """

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None = None, *, server_name: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._ssl = ssl_context
        self._server_name = server_name
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make ready; connects when first read."""
        connector = TCPConnector(ssl=self._ssl if self._ssl is not None else True, limit=CONNECTIONS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what is compressed is bounded when it is opened
            headers={"Accept-Encoding": "gzip, identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch(self, resource: Resource) -> bytes:
        """See the base."""
        try:
            return resource.check(await self._read(resource.path, resource.max_bytes))
        except NotFoundError:
            if resource.is_full:
                raise
        try:
            return resource.cut(await self._read(resource.full.path, resource.full.max_bytes))
        except NotFoundError:
            raise _absent(resource.path) from None

    async def _read(self, path: str, limit: int) -> bytes:
        if self._session is None:
            raise UnreachableError(Reason.INTERNAL, "the source is not open")
        try:
            async with self._session.get(
                f"{self._url}/{path}", allow_redirects=False, server_hostname=self._server_name
            ) as response:
                _judge(path, response)
                return await _body(path, response, limit)
        except aiohttp.ClientConnectorCertificateError as error:
            detail = f"{self._url}/{path}: its certificate is of no authority that is trusted here, or of another name"
            raise UnreachableError(Reason.PEER_UNREACHABLE, f"{detail}; --ca names the authority") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            detail = f"{self._url}/{path}: {type(error).__name__}"
            raise UnreachableError(Reason.PEER_UNREACHABLE, detail) from error


def _judge(path: str, response: ClientResponse) -> None:
    if response.status in _ABSENT:
        raise _absent(path)
    if response.status in _KEPT_BACK:
        detail = f"{path} is kept from this reader: entries need the certificate of an auditor"
        raise UnknownPeerError(Reason.PEER_ROLE_NOT_ALLOWED, detail)
    if response.status != 200:  # noqa: PLR2004 - OK
        raise UnreachableError(Reason.PEER_UNREACHABLE, f"{path}: HTTP {response.status}")


async def _body(path: str, response: ClientResponse, limit: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    received = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        received += chunk
        if len(received) > limit:  # also compressed: what grows by compression is no bundle
            return _bounded(path, bytes(received), limit)
    if encoding == "identity":
        return bytes(received)
    if encoding not in ("gzip", "x-gzip"):
        raise ForgedError(Reason.TILE_INVALID, f"{path} comes in an encoding that was not asked for")
    return _bounded(path, _opened(path, bytes(received), limit), limit)


def _opened(path: str, data: bytes, limit: int) -> bytes:
    """What a gzip stream holds, no more than is needed to know that it is too much."""
    stream = zlib.decompressobj(_GZIP)
    try:
        opened = stream.decompress(data, limit + 1)
    except zlib.error:
        raise ForgedError(Reason.TILE_INVALID, f"{path} is not the gzip stream that it is said to be") from None
    if len(opened) <= limit and (not stream.eof or stream.unused_data):
        raise ForgedError(Reason.TILE_INVALID, f"{path} is not one whole gzip stream")
    return opened


def _bounded(path: str, data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise ForgedError(Reason.TILE_INVALID, f"{path} is larger than {limit} bytes")
    return data


def _absent(path: str) -> NotFoundError:
    return NotFoundError(Reason.NOT_FOUND, f"the log has no {path}")
