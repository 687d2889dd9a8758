"""Two workers on one port and one store, here in one process: who leads, whom a halt reaches, what the end leaves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.cli.sandbox import Asked, Sandbox, settle
from gateway.cli.sandbox_make import make
from gateway.cli.supervisor import free_port_base
from gateway.config import GatewayConfig
from gateway.parts import Parts
from gateway.protocol.reasons import Reason
from gateway.static_log.folder import PublishedFolder
from gateway.stores.sqlite import SqliteStore
from gateway.workers.wire import Ask, Begin, Halted, Line, Message, Serving, Told
from gateway.workers.worker import work

SECONDS = 30.0
HALT = Halted(Reason.LOG_FORKED.value, "another tree")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GatewayConfig:
    folder = tmp_path_factory.mktemp("made") / "run"
    make(Sandbox(folder, settle(folder, Asked(3, 5, ("4301",), free_port_base()))))
    return GatewayConfig.from_file(folder / "gateway/settings.toml")


@dataclass
class Worker:
    """A worker, and the supervisor's end of the line to it."""

    line: Line
    task: asyncio.Task[None]
    stop: asyncio.Event
    heard: list[Message] = field(default_factory=list)

    async def until(self, kind: type[Message]) -> Message:
        """What it says next of a kind."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.line.receive()
                assert message is not None
                self.heard.append(message)
                if isinstance(message, kind):
                    return message

    async def told(self) -> Told:
        self.line.send(Ask(1))
        told = await self.until(Told)
        assert isinstance(told, Told)
        return told

    async def until_it_leads(self) -> None:
        async with asyncio.timeout(SECONDS):
            while not (await self.told()).leads:  # noqa: ASYNC110 - it is told when it is asked
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, SECONDS)
        self.line.close()


@asynccontextmanager
async def working(config: GatewayConfig, begin: Begin) -> AsyncIterator[Worker]:
    """One of two workers, serving."""
    ours, theirs = socket.socketpair()
    stop = asyncio.Event()
    worker = Worker(await Line.over(ours), asyncio.create_task(work(config, 2, theirs, stop)), stop)
    worker.line.send(begin)
    try:
        await worker.until(Serving)
        yield worker
    finally:
        await worker.end()


async def test_one_of_two_leads_and_the_other_when_it_has_ended(config: GatewayConfig) -> None:
    async with working(config, Begin()) as first, working(config, Begin()) as second:
        await first.until_it_leads()
        assert not (await second.told()).leads
        await first.end()
        await second.until_it_leads()


async def test_all_is_published_at_the_end_whoever_ends_last(config: GatewayConfig) -> None:
    async with working(config, Begin()) as first, working(config, Begin()) as second:
        await first.until_it_leads()
        await asyncio.gather(first.end(), second.end())
    store = SqliteStore(config.store)
    head = store.head()
    store.close()
    assert config.published is not None
    published = PublishedFolder(config.published / "0").read()
    assert head is not None
    assert published is not None
    assert published[0].size == head.size > 0


async def test_worker_that_is_told_of_a_halt_records_nothing_more(config: GatewayConfig) -> None:
    async with working(config, Begin()) as worker:
        worker.line.send(HALT)
        complaints = (await worker.told()).complaints
        assert f"{Reason.LOG_FORKED.value}: another tree" in complaints


async def test_halt_for_a_reason_of_another_version_is_a_halt(config: GatewayConfig) -> None:
    async with working(config, Begin()) as worker:
        worker.line.send(Halted("OF_A_LATER_VERSION", "another tree"))
        assert f"{Reason.LOG_FORKED.value}: another tree" in (await worker.told()).complaints


async def test_worker_that_cannot_hear_its_supervisor_ends(
    config: GatewayConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_parts: Parts) -> list[str]:
        raise RuntimeError

    async with working(config, Begin()) as worker:
        with monkeypatch.context() as patched:
            patched.setattr(Parts, "complaints", failing)
            worker.line.send(Ask(1))
            await asyncio.wait_for(worker.stop.wait(), SECONDS)
        await asyncio.wait_for(worker.task, SECONDS)


async def test_worker_that_begins_when_the_log_is_halted_does_not_begin_to_sign(config: GatewayConfig) -> None:
    async with working(config, Begin(HALT)) as worker:
        assert f"{Reason.LOG_FORKED.value}: another tree" in (await worker.told()).complaints


async def test_worker_that_finds_a_rolled_back_log_tells_it(config: GatewayConfig, tmp_path: Path) -> None:
    async with working(config, Begin()) as worker:
        await worker.until_it_leads()
    elsewhere = config.model_copy(update={"store": tmp_path / "store.db"})  # which has nothing of what was published
    async with working(elsewhere, Begin()) as worker:
        told = next(message for message in worker.heard if isinstance(message, Halted))
        assert told.reason == Reason.LOG_ROLLED_BACK.value


async def test_worker_ends_with_its_supervisor(config: GatewayConfig) -> None:
    async with working(config, Begin()) as worker:
        worker.line.close()
        await asyncio.wait_for(worker.task, SECONDS)
