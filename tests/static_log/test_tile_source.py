"""Sources of tiles: what they bring is bounded, whole, and never from elsewhere than they were told."""

import gzip
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError, UnknownPeerError, UnreachableError
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import Tile
from gateway.static_log.tile_source import FolderSource, HttpSource
from tests.static_logs import leaves, note_of, write_log

DATA = leaves(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log"), DATA)


@asynccontextmanager
async def served(handler):
    """A server that answers every path with `handler`, and a source of it."""
    application = web.Application()
    application.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with HttpSource(f"http://127.0.0.1:{runner.addresses[0][1]}/0") as source:
            yield source
    finally:
        await runner.cleanup()


def files_of(folder):
    async def handler(request):
        path = folder / request.match_info["path"].removeprefix("0/")
        return web.Response(body=path.read_bytes()) if path.is_file() else web.Response(status=404)

    return handler


async def test_both_sources_bring_the_same(folder):
    async with FolderSource(folder) as near, served(files_of(folder)) as far:
        assert await near.checkpoint() == await far.checkpoint() == note_of(DATA)
        for place in ((0, 0, 256), (0, 1, 44), (1, 0, 1)):
            assert await near.tile(*place) == await far.tile(*place)
        assert await near.entries(0, 256) == await far.entries(0, 256) == DATA[:256]
        assert await near.entries(1, 44) == await far.entries(1, 44) == DATA[256:]


async def test_a_partial_tile_that_was_deleted_is_cut_from_the_full_one(folder):
    async with FolderSource(folder) as near, served(files_of(folder)) as far:
        for source in (near, far):
            assert await source.tile(0, 0, 3) == (await source.tile(0, 0, 256))[:96]
            assert await source.entries(0, 3) == DATA[:3]


async def test_a_partial_tile_between_two_published_ones_is_cut_from_the_wider(folder):
    async with FolderSource(folder) as source:
        assert await source.tile(0, 1, 5) == (await source.tile(0, 1, 44))[:160]
        assert await source.entries(1, 5) == DATA[256:261]
        with pytest.raises(NotFoundError):
            await source.tile(0, 1, 45)


async def test_what_is_not_there_is_not_found(folder, tmp_path):
    async with FolderSource(folder) as near, served(files_of(folder)) as far:
        for source in (near, far):
            for missing in (source.tile(0, 2, 256), source.tile(0, 2, 1), source.entries(2, 1), source.tile(1, 0, 256)):
                with pytest.raises(NotFoundError):
                    await missing
    async with FolderSource(tmp_path) as source:
        with pytest.raises(NotFoundError):
            await source.checkpoint()


async def test_a_tile_that_cannot_be_is_not_asked_for(folder):
    async with FolderSource(folder) as source:
        for attempt in (source.tile(64, 0, 1), source.tile(0, 0, 0), source.tile(0, -1, 1), source.entries(0, 257)):
            with pytest.raises(MalformedError):
                await attempt


async def test_no_folder_is_said_at_once(tmp_path):
    with pytest.raises(MalformedError, match="is no folder"):
        async with FolderSource(tmp_path / "nowhere"):
            pass


@pytest.mark.parametrize("length", [0, 1, 8191, 8193, 100_000])
async def test_a_tile_of_another_length_is_refused(tmp_path, length):
    path = tmp_path / Tile(0, 0).path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a" * length)
    async with FolderSource(tmp_path) as near, served(files_of(tmp_path)) as far:
        for source in (near, far):
            with pytest.raises(ForgedError) as caught:
                await source.tile(0, 0, 256)
            assert caught.value.reason is Reason.TILE_INVALID


async def test_a_note_without_end_is_refused(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"a" * 200_000)
    async with FolderSource(tmp_path) as near, served(files_of(tmp_path)) as far:
        for source in (near, far):
            with pytest.raises(ForgedError, match="larger"):
                await source.checkpoint()


async def test_a_redirect_is_not_followed():
    async def elsewhere(request):
        if "elsewhere" in request.path:
            return web.Response(body=b"a" * 8192)
        raise web.HTTPFound("/elsewhere")

    async with served(elsewhere) as source:
        with pytest.raises(UnreachableError, match="302"):
            await source.tile(0, 0, 256)


@pytest.mark.parametrize("status", [401, 403])
async def test_what_is_kept_back_is_said_to_be(status):
    async def refuse(_):
        return web.Response(status=status)

    async with served(refuse) as source:
        with pytest.raises(UnknownPeerError, match="auditor"):
            await source.entries(0, 1)


@pytest.mark.parametrize("status", [204, 206, 429, 500, 503])
async def test_a_fault_of_the_server_is_a_fault(status):
    async def fail(_):
        return web.Response(status=status, body=None if status == 204 else b"a" * 32)

    async with served(fail) as source:
        with pytest.raises(UnreachableError):
            await source.tile(0, 0, 1)


async def test_a_body_that_ends_early_is_a_fault():
    async def short(request):
        response = web.StreamResponse(headers={"Content-Length": "8192"})
        await response.prepare(request)
        await response.write(b"a" * 100)
        request.transport.close()
        return response

    async with served(short) as source:
        with pytest.raises(UnreachableError):
            await source.tile(0, 0, 256)


async def test_nobody_there_is_a_fault():
    async with HttpSource("http://127.0.0.1:1/0") as source:
        with pytest.raises(UnreachableError) as caught:
            await source.checkpoint()
        assert caught.value.reason is Reason.PEER_UNREACHABLE


async def test_a_source_that_is_not_open_says_so():
    with pytest.raises(UnreachableError, match="not open"):
        await HttpSource("http://127.0.0.1:1/0").checkpoint()


async def test_gzip_is_opened():
    async def packed(_):
        return web.Response(body=gzip.compress(b"a" * 8192), headers={"Content-Encoding": "gzip"})

    async with served(packed) as source:
        assert await source.tile(0, 0, 256) == b"a" * 8192


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(bytes(1 << 20)), "gzip"),  # a bomb
        (gzip.compress(b"a" * 8192)[:-9], "gzip"),
        (gzip.compress(b"a" * 8192) + b"more", "gzip"),
        (b"a" * 8192, "gzip"),
        (b"a" * 8192, "br"),
    ],
    ids=["bomb", "cut short", "continued", "plain", "unknown"],
)
async def test_compression_that_is_not_what_it_says_is_refused(body, encoding):
    async def packed(_):
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    async with served(packed) as source:
        with pytest.raises(ForgedError) as caught:
            await source.tile(0, 0, 256)
        assert caught.value.reason is Reason.TILE_INVALID
