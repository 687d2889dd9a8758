"""A gateway that publishes its log: from its start to its end, on a full disk, and with a database that went back."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from gateway.cli.endpoints import read_endpoints
from gateway.cli.log_sources import LogOptions, open_log
from gateway.cli.sandbox import Asked, Sandbox, settle
from gateway.cli.sandbox_make import make
from gateway.cli.supervisor import free_port_base
from gateway.config import GatewayConfig
from gateway.log import Log
from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.protocol.leaf import read_leaf
from gateway.protocol.note import SignerKey
from gateway.protocol.reasons import Reason
from gateway.serve import GatewayProcess, Ports
from gateway.static_log import publication
from gateway.static_log.folder import Disk
from gateway.static_log.publication import Publication
from gateway.static_log.tile_proofs import read_leaves
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from tests.static_log.publications import append, published_leaves
from tests.static_logs import ORIGIN, SIGNER, leaves


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    asked = Asked(seed=3, population=5, prefectures=("4301",), port_base=free_port_base())
    make(Sandbox(folder, settle(folder, asked)))
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


@asynccontextmanager
async def gateway(folder: Path):
    """The gateway of a sandbox, alone: its departments are not there."""
    process = GatewayProcess(GatewayConfig.from_file(folder / "gateway/settings.toml"), time.time)
    try:
        yield process, await process.start()
    finally:
        await process.drain()


async def readiness(ports: Ports) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{ports.probes}/readyz") as response:
        return await response.text()


async def until(condition) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("never came")


async def test_a_gateway_publishes_what_it_logs_and_its_auditor_reads_it(folder: Path) -> None:
    async with gateway(folder) as (process, ports):
        assert ports.log == Sandbox(folder, settle(folder, Asked())).log_port
        await until((folder / "gateway/published/0/checkpoint").exists)
        log = open_log(None, LogOptions(folder=folder))
        assert log.place == read_endpoints(folder).gateway.log_url
        async with log.source as source:
            checkpoint = log.open(await source.checkpoint())
            found = [read_leaf(leaf) async for _, leaf in read_leaves(source, 0, checkpoint.size, checkpoint)]
        assert found[0].HasField("registry")
        assert process.parts.log.head().size >= checkpoint.size


async def test_what_is_logged_last_is_published_at_the_end(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(publication, "PUBLISH_SECONDS", 3_600.0)
    async with gateway(folder) as (process, _):
        await process.parts.log.append(Entry(b"the last leaf"))
        size = process.parts.log.head().size
        assert not (folder / "gateway/published/0/checkpoint").exists()
    assert f"\n{size}\n" in (folder / "gateway/published/0/checkpoint").read_text()


def database(folder: Path) -> list[Path]:
    return sorted((folder / "gateway").glob("store.db*"))


@pytest.mark.parametrize("reason", [Reason.LOG_ROLLED_BACK, Reason.LOG_FORKED])
async def test_a_database_that_went_back_is_neither_signed_nor_appended_to(folder: Path, reason) -> None:
    """An older copy of the file, and a new history in its place: whoever read the published log would see a fork."""
    async with gateway(folder) as (process, _):
        await process.parts.log.append(Entry(b"a leaf that somebody was shown"))
        origin = process.parts.log.origin
    before = (folder / "gateway/published/0/checkpoint").read_bytes()
    for path in database(folder):
        path.unlink()
    if reason is Reason.LOG_FORKED:
        store = SqliteStore(folder / "gateway/store.db")
        append(store, leaves(9), SignerKey.from_seed(origin, bytes(32)))
        store.close()
    async with gateway(folder) as (process, ports):
        head = process.parts.store.head()
        signed: list[int] = []
        process.parts.log._sign = lambda *_: signed.append(1)
        assert reason.value in await readiness(ports)
        with pytest.raises(LogUnavailableError) as caught:
            await process.parts.log.append(Entry(b"another history"))
        assert caught.value.reason is reason
        with pytest.raises(LogUnavailableError):
            await process.parts.follow_registry()
        await process.duties.catch_up()
        assert process.parts.store.head() == head
        async with open_log(None, LogOptions(folder=folder)).source as source:
            assert await source.checkpoint() == before  # what was published is served on
    store = SqliteStore(folder / "gateway/store.db")
    assert store.head() == head
    store.close()
    assert not signed
    assert (folder / "gateway/published/0/checkpoint").read_bytes() == before


async def test_a_published_folder_of_another_log_stops_the_start(folder: Path) -> None:
    shard = folder / "gateway/published/0"
    shard.mkdir(parents=True)
    store = SqliteStore(folder / "other.db")
    append(store, [b"x"])
    (shard / "checkpoint").write_text(store.head().checkpoint)
    store.close()
    with pytest.raises(MalformedError, match="name another folder") as caught:
        async with gateway(folder):
            pass
    assert caught.value.reason is Reason.CONFIGURATION_INVALID
    store = SqliteStore(folder / "gateway/store.db")
    assert store.head() is None
    store.close()


async def test_a_gateway_without_a_folder_for_it_publishes_nothing(folder: Path) -> None:
    settings = folder / "gateway/settings.toml"
    lines = [line for line in settings.read_text().splitlines() if not line.startswith(("published", "log_listen"))]
    settings.write_text("\n".join(lines))
    async with gateway(folder) as (process, ports):
        assert ports.log is None
        assert (await process.parts.log.append(Entry(b"x"))).head.size
    assert not (folder / "gateway/published").exists()


# -- the parts alone --------------------------------------------------------------------------------------------


class Parts:
    """A log and its publication, without the rest of a gateway."""

    def __init__(self, tmp_path: Path, monkeypatch, disk: Disk) -> None:
        monkeypatch.setattr(publication, "PUBLISH_SECONDS", 0.02)
        monkeypatch.setattr(publication, "RETRY_SECONDS", 0.02)
        self.metrics = CollectorRegistry()
        self.store = SqliteStore(tmp_path / "store.db")
        self.log = Log(self.store, ORIGIN, SIGNER)
        self.folder = tmp_path / "published/0"
        config = GatewayConfig.model_construct(published=tmp_path / "published", log_listen="127.0.0.1:0")
        self.publication = Publication(
            config=config,
            store=self.store,
            log=self.log,
            tls=None,
            registry=None,
            clock=time.time,
            metrics=self.metrics,
        )
        self.publication._publisher.disk = disk

    def metric(self, name: str) -> float:
        return self.metrics.get_sample_value(f"heyan_log_{name}")


@pytest.fixture
async def parts_on(tmp_path, monkeypatch):
    """Starts them on a disk, without the server."""
    started = []

    async def start(disk: Disk) -> Parts:
        made = Parts(tmp_path, monkeypatch, disk)
        started.append(made)
        assert await made.publication.check()
        made.log.start()
        made.publication._thread.start()
        return made

    yield start
    for made in started:
        await made.log.stop()
        await made.publication.finish()
        made.store.close()


class FullDisk(Disk):
    full = False

    def write(self, path, data):
        if self.full:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(path, data)


async def test_a_full_disk_stops_publishing_and_not_the_log_and_the_metrics_say_so(parts_on) -> None:
    disk = FullDisk()
    parts = await parts_on(disk)
    await parts.log.append(Entry(b"first"))
    await until(lambda: parts.metric("published_size") == 1)
    assert (parts.metric("publication_failing"), parts.metric("published_behind_seconds")) == (0, 0)
    disk.full = True
    await parts.log.append(Entry(b"second"))
    await until(lambda: parts.metric("publication_failing") == 1)
    assert (await parts.log.append(Entry(b"third"))).leaf_index == 2
    assert parts.log.complaint is None
    assert parts.metric("published_behind_seconds") > 0
    assert await published_leaves(parts.folder) == [b"first"]
    disk.full = False
    await until(lambda: parts.metric("published_size") == 3)
    await until(lambda: parts.metric("publication_failing") == 0)
    assert await published_leaves(parts.folder) == [b"first", b"second", b"third"]


async def test_a_log_that_forks_while_it_is_published_is_halted(parts_on) -> None:
    parts = await parts_on(Disk())
    await parts.log.append(Entry(b"first"))
    await until(lambda: parts.metric("published_size") == 1)
    parts.store._writer.execute("UPDATE nodes SET hash = zeroblob(32)")
    await until(lambda: parts.log.is_halted)
    with pytest.raises(LogUnavailableError) as caught:
        await parts.log.append(Entry(b"second"))
    assert caught.value.reason is Reason.LOG_FORKED
    assert await published_leaves(parts.folder) == [b"first"]
    assert parts.metric("publication_failing") == 1


async def test_an_unexpected_fault_is_told_and_publishing_goes_on(parts_on) -> None:
    class Odd(Disk):
        odd = True

        def rename(self, source, target):
            if self.odd:
                raise ZeroDivisionError
            super().rename(source, target)

    disk = Odd()
    parts = await parts_on(disk)
    await parts.log.append(Entry(b"first"))
    await until(lambda: parts.metric("publication_failing") == 1)
    disk.odd = False
    await until(lambda: parts.metric("published_size") == 1)


async def test_a_head_that_is_handed_over_is_published_instead_of_the_stores_newest(parts_on) -> None:
    parts = await parts_on(Disk())
    parts.publication._loop = asyncio.get_running_loop()
    loops, heads = [], []

    def hand_over(_origin):
        loops.append(asyncio.get_running_loop())
        if not heads:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE)
        return heads[-1]

    parts.publication.publish_from(hand_over)
    first = (await parts.log.append(Entry(b"first"))).head
    await parts.log.append(Entry(b"second"))
    await until(lambda: len(loops) > 2)
    assert not (parts.folder / "checkpoint").exists()
    assert parts.metric("publication_failing") == 0
    heads.append(first)
    await until(lambda: parts.metric("published_size") == 1)
    assert (parts.folder / "checkpoint").read_text() == first.checkpoint
    assert parts.metric("published_behind_seconds") > 0
    assert set(loops) == {asyncio.get_running_loop()}


def test_the_settings_of_the_log_are_apart_from_the_others(folder: Path) -> None:
    path = folder / "gateway/settings.toml"
    config = GatewayConfig.from_file(path)
    assert config.published == folder / "gateway/published"
    path.write_text(path.read_text().replace(config.log_listen, config.probes))
    with pytest.raises(MalformedError, match="must differ"):
        GatewayConfig.from_file(path)


def test_a_busy_port_of_the_log_is_told_before_the_start(folder: Path) -> None:
    config = GatewayConfig.from_file(folder / "gateway/settings.toml")
    port = int(config.log_listen.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(MalformedError, match="log_listen"):
        config.require_free()
