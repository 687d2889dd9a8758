"""What we publish holds for readers that were not written here, and they find what is tampered with, as ours do."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.errors import HeyanError
from gateway.protocol.note import SignerKey
from gateway.protocol.tiles import bundles_at, tiles_at
from gateway.static_log.exporting import export
from gateway.static_log.folder import PublishedFolder
from gateway.static_log.server import LogServer
from gateway.static_log.tile_proofs import prove_consistency, read_leaves
from gateway.static_log.tile_source import FolderSource, HttpSource
from tests.party.conftest import AUDITOR, GATEWAY, federation  # noqa: F401 - a fixture
from tests.readers.foreign import Client, DoesNotHoldError, build_go_reader, read_with_go, read_with_scales
from tests.static_log.publications import World, append
from tests.static_logs import ORIGIN, SIGNER, leaves, note_of

SIZE, OLD = 1_300, 700
DATA = leaves(SIZE)
EVERY = range(SIZE)
SOME = (0, 1, 255, 256, 699, 700, 1_279, 1_280, SIZE - 1)
VKEY = SIGNER.verifier.format()
FILES = ["checkpoint", *(item.path for item in (*tiles_at(SIZE), *bundles_at(SIZE)))]


@pytest.fixture(scope="session")
def go_reader(tmp_path_factory):
    return partial(read_with_go, build_go_reader(tmp_path_factory.mktemp("go")))


@pytest.fixture(params=["go", "tlog-scales"])
def read(request):
    """A foreign reader."""
    return request.getfixturevalue("go_reader") if request.param == "go" else read_with_scales


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A log as the gateway publishes it, in three steps, the last one smaller than a tile."""
    world = World(tmp_path_factory.mktemp("world"))
    publisher, done = world.start(), 0
    for size in (10, OLD, SIZE):
        append(world.store, DATA[done:size])
        publisher.publish()
        done = size
        (world.folder.parent / f"checkpoint-{size}").write_bytes((world.folder / "checkpoint").read_bytes())
    world.store.close()
    return world.folder


def older(published: Path) -> Path:
    return published.parent / f"checkpoint-{OLD}"


def test_a_published_folder_holds_for_every_reader(published, read):
    assert read(str(published), VKEY, leaves=EVERY, old=older(published)) == SIZE


async def test_an_exported_folder_holds_for_every_reader(published, tmp_path, read):
    async with FolderSource(published) as source:
        note = await source.checkpoint()
        checkpoint = open_checkpoint(note, [SIGNER.verifier], ORIGIN)
        await export(source, checkpoint, note, PublishedFolder(tmp_path / "copy"), entries=True, now=time.time())
        await export(source, checkpoint, note, PublishedFolder(tmp_path / "hashes"), entries=False, now=time.time())
    assert read(str(tmp_path / "copy"), VKEY, leaves=EVERY, old=older(published)) == SIZE
    assert read(str(tmp_path / "hashes"), VKEY, leaves=SOME, old=older(published), entries=False) == SIZE


async def test_a_served_log_holds_for_every_reader(published, federation, read):  # noqa: F811
    keeper = RegistryKeeper(federation.registry_files(GATEWAY), federation.clock)
    server = LogServer(
        published=published.parent,
        listen="127.0.0.1:0",
        tls=federation.watch(GATEWAY),
        registry=keeper.current,
        clock=federation.clock,
    )
    url = f"https://localhost:{await server.start()}/0"
    files = federation.folder(AUDITOR).tls
    auditor, anyone = Client(files.ca, files.certificate, files.key), Client(files.ca)
    try:
        reading = partial(read, url, VKEY, leaves=SOME, old=older(published))
        assert await asyncio.to_thread(reading, client=auditor) == SIZE
        assert await asyncio.to_thread(reading, client=anyone, entries=False) == SIZE
        with pytest.raises(DoesNotHoldError):
            await asyncio.to_thread(reading, client=anyone)
    finally:
        await server.stop()


class Quiet(SimpleHTTPRequestHandler):
    """A web server that knows nothing of logs."""

    def log_message(self, *_):
        pass


async def test_an_exported_folder_holds_behind_any_web_server(published, tmp_path, read):
    async with FolderSource(published) as source:
        note = await source.checkpoint()
        checkpoint = open_checkpoint(note, [SIGNER.verifier], ORIGIN)
        await export(source, checkpoint, note, PublishedFolder(tmp_path / "0"), entries=True, now=time.time())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/0"
        try:
            reading = partial(read, url, VKEY, leaves=SOME, old=older(published))
            assert await asyncio.to_thread(reading) == SIZE
            async with HttpSource(url) as far:
                assert [leaf async for _, leaf in read_leaves(far, 0, SIZE, checkpoint)] == DATA
                assert await far.entries(0, 7) == DATA[:7]  # of a partial bundle that is not there any more
        finally:
            await asyncio.to_thread(server.shutdown)


@pytest.mark.parametrize("path", FILES)
async def test_a_flipped_byte_is_found_by_every_reader_and_by_ours(published, tmp_path, read, path):
    broken = shutil.copytree(published, tmp_path / "broken")
    data = bytearray((broken / path).read_bytes())
    data[len(data) // 2] ^= 0x01
    (broken / path).write_bytes(bytes(data))
    with pytest.raises(DoesNotHoldError):
        read(str(broken), VKEY, leaves=EVERY, old=older(published))
    with pytest.raises(HeyanError):
        await read_with_ours(broken, older(published).read_bytes())


@pytest.mark.parametrize("path", FILES)
async def test_a_missing_file_is_found_by_every_reader_and_by_ours(published, tmp_path, read, path):
    broken = shutil.copytree(published, tmp_path / "broken")
    (broken / path).unlink()
    with pytest.raises(DoesNotHoldError):
        read(str(broken), VKEY, leaves=EVERY, old=older(published))
    with pytest.raises(HeyanError):
        await read_with_ours(broken, older(published).read_bytes())


async def test_a_fork_is_found_by_every_reader_and_by_ours(published, tmp_path, read):
    forked = tmp_path / "forked"
    forked.write_bytes(note_of([b"another", *DATA[1:OLD]]))
    with pytest.raises(DoesNotHoldError):
        read(str(published), VKEY, leaves=SOME, old=forked)
    with pytest.raises(HeyanError):
        await read_with_ours(published, note_of([b"another", *DATA[1:OLD]]))


def test_a_log_of_another_key_is_believed_by_no_reader(published, read):
    other = SignerKey.from_seed(ORIGIN, bytes(32)).verifier.format()
    with pytest.raises(DoesNotHoldError):
        read(str(published), other, leaves=SOME)


async def read_with_ours(folder: Path, old: bytes) -> None:
    async with FolderSource(folder) as source:
        checkpoint = open_checkpoint(await source.checkpoint(), [SIGNER.verifier], ORIGIN)
        before = open_checkpoint(old, [SIGNER.verifier], ORIGIN)
        await prove_consistency(source, before, checkpoint)
        assert [leaf async for _, leaf in read_leaves(source, 0, checkpoint.size, checkpoint)] == DATA
