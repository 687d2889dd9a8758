"""A gateway backed up under load, rolled back, lost and restored: real processes, real files, real departments."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from consent.consent_file import ConsentFile
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.cli.sandbox import Process
from gateway.cli.supervisor import Supervisor
from gateway.log_marks import SEEN_EVERY
from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.reasons import Reason
from gateway.stores.sqlite import SqliteStore
from gateway.witnessing.witnesses import KEPT_FILE
from tests.e2e.conftest import heyan
from tests.e2e.evidence import Findings, inspect, limits_of, settled
from tests.e2e.kills import Arena, arena
from tests.e2e.load import Call, Ending, Load

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

POPULATION = 60


@dataclass
class Gateway:
    """The gateway of an arena, started and ended by the test and by nobody else."""

    process: Process
    supervisor: Supervisor | None = None

    @property
    def folder(self) -> Path:
        return self.process.folder

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    async def start(self) -> None:
        self.supervisor = Supervisor([self.process], lambda _line: None, restart_delay=60.0)
        await self.supervisor.start()

    async def end(self, *, kill: bool = False) -> None:
        assert self.supervisor is not None
        if kill:
            self.supervisor._running["gateway"].kill()
        await self.supervisor.stop()

    async def complaint(self) -> str:
        """Start it, and what it complains of instead of getting ready; then it is ended."""
        starting = asyncio.create_task(self.start())
        text = ""
        async with aiohttp.ClientSession() as session:
            while "LOG_" not in text:
                await asyncio.sleep(0.1)
                assert not starting.done()
                try:
                    async with session.get(f"http://127.0.0.1:{self.process.probes}/readyz") as response:
                        text = await response.text()
                except aiohttp.ClientError:
                    continue
        await asyncio.sleep(2.0)  # in which it would adopt the registry, follow departments and publish
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await self.end()
        return text

    def published(self) -> Checkpoint:
        return unverified_checkpoint((self.folder / "published" / "0" / "checkpoint").read_bytes())

    def size(self) -> int:
        store = SqliteStore(self.store)
        head = store.head()
        store.close()
        return head.size if head is not None else 0

    async def until_witnessed(self) -> None:
        """Wait until a witness has cosigned the log as it is."""
        async with asyncio.timeout(30):
            while _size(self.store.with_name(KEPT_FILE.format(0))) < self.size():  # noqa: ASYNC110 - another process cosigns
                await asyncio.sleep(0.2)

    async def until_published(self) -> None:
        async with asyncio.timeout(30):
            while self.published().size < self.size():  # noqa: ASYNC110 - another process publishes
                await asyncio.sleep(0.2)


@asynccontextmanager
async def taken_over(where: Arena) -> AsyncIterator[Gateway]:
    """The arena's gateway, started anew in the test's own hands."""
    gateway = Gateway(where.processes["gateway"])
    keepers = where.supervisor._keepers
    keepers.pop(list(where.processes).index("gateway")).cancel()
    child = where.supervisor._running.pop("gateway")
    child.terminate()
    await child.wait()
    await gateway.start()
    yield gateway
    if gateway.supervisor is not None:
        await gateway.supervisor.stop()


@dataclass
class Story:
    """What is done to one gateway, in this order."""

    where: Arena
    gateway: Gateway
    load: Load
    backup: Path
    often: ConsentFile
    once: ConsentFile
    gone: ConsentFile
    erased: Call
    """On what is erased after the backup."""
    spent: Call | None = None
    erasures: int = 0
    backup_size: int = 0

    @property
    def settings(self) -> tuple[str, str]:
        return "--config", str(self.gateway.folder / "settings.toml")

    async def back_up_under_load(self) -> None:
        """A backup while applications are under way; then a consent is used up, and more is asked."""
        over = asyncio.Event()
        truth, other, *_ = self.where.families

        async def steady() -> None:
            while not over.is_set():
                await self.load.apply(truth, self.often)

        loads = [asyncio.create_task(steady()) for _ in range(4)]
        command = ("gateway", "backup", *self.settings, "--out", str(self.backup), "--verify", "--json")
        made = await asyncio.to_thread(heyan, *command)
        assert made.returncode == 0, made.stderr
        self.backup_size = json.loads(made.stdout)["size"]
        self.spent = await self.load.apply(other, self.once, "once")
        assert self.spent.ending is Ending.ANSWERED
        request = ("--request", self.where.requester, self.erased.request_id.hex())
        erased = await asyncio.to_thread(heyan, "gateway", "erase", *self.settings, *request, "--yes", "--json")
        assert erased.returncode == 0, erased.stderr
        self.erasures = len(self.gone.grants)
        await asyncio.sleep(SEEN_EVERY + 1)
        over.set()
        await asyncio.gather(*loads)

    async def try_rolled_back(self) -> None:
        """An older file in the store's place: found by what was published, and by the gateway's own mark."""
        _remove(self.gateway.store)
        shutil.copy(self.backup / "store.db", self.gateway.store)
        assert Reason.LOG_ROLLED_BACK in await self.gateway.complaint()
        assert self.gateway.size() == self.backup_size, "nothing was appended"
        published = self.gateway.folder / "published"
        published.rename(self.gateway.folder / "elsewhere")
        assert Reason.LOG_ROLLED_BACK in await self.gateway.complaint()
        assert self.gateway.size() == self.backup_size
        shutil.rmtree(published, ignore_errors=True)
        (self.gateway.folder / "elsewhere").rename(published)

    async def restore(self, seen: Checkpoint) -> None:
        """Restored, it goes on where it was seen; not unasked, and not over a gateway that runs."""
        command = ("gateway", "restore", str(self.backup), *self.settings, "--json")
        refused = await asyncio.to_thread(heyan, *command)
        assert refused.returncode == 2, "it replaces no store unasked"
        journals = await asyncio.to_thread(self.exported)
        restored = await asyncio.to_thread(heyan, *command, "--replace", "--journal", str(journals))
        assert restored.returncode == 0, restored.stderr
        told = json.loads(restored.stdout)
        assert (told["backup_size"], told["restored_size"]) == (self.backup_size, seen.size)
        assert told["erasures"] == self.erasures, "what was erased since is erased again"
        await self.gateway.start()
        running = await asyncio.to_thread(heyan, *command, "--replace")
        assert running.returncode == 3, "not over a gateway that runs"

    def exported(self) -> Path:
        """The journals of all departments, which run on."""
        journals = self.backup.with_name("journals")
        journals.mkdir()
        for node in self.where.nodes:
            config, out = self.where.folder / "departments" / node / "settings.toml", journals / f"{node}.journal"
            made = heyan("department", "journal", "export", "--config", str(config), "--out", str(out))
            assert made.returncode == 0, made.stderr
        return journals

    async def go_on(self) -> tuple[Call, Call]:
        """The used-up consent is refused, the request that used it up answered as before; that of a new request."""
        truth, other, *_ = self.where.families
        assert self.spent is not None
        again = await self.load.send(other, self.spent)
        assert again.ending is Ending.ANSWERED
        twice = await self.load.apply(other, self.once, "twice")
        assert (twice.ending, twice.reason) == (Ending.REFUSED, Reason.GRANT_USED_UP)
        erased = await self.load.apply(self.where.families[2], self.gone, "erased")
        assert (erased.ending, erased.reason) == (Ending.REFUSED, Reason.EVIDENCE_ERASED)
        after = await self.load.apply(truth, self.often, "after")
        assert after.ending is Ending.ANSWERED
        await settled(self.where)  # departments accept acknowledgements
        await self.gateway.until_witnessed()
        await self.gateway.until_published()
        return twice, erased


async def test_restored_gateway_loses_nothing_published_spends_nothing_twice_and_forks_nothing(tmp_path: Path) -> None:
    findings = Findings()
    async with (
        arena(tmp_path / "run", POPULATION, witnesses=1) as where,
        taken_over(where) as gateway,
        open_client(where.folder, where.requester) as client,
        Guardians(where.folder) as guardians,
    ):
        load = Load(client, guardians, where.requester)
        truth, other, third, *_ = where.families
        often, once, gone = [await load.consent(*each) for each in ((truth, 1_000), (other, 1), (third, 5))]
        await load.apply(truth, often, "before")
        erased = await load.apply(third, gone, "before")
        story = Story(where, gateway, load, tmp_path / "backup", often, once, gone, erased)
        await story.back_up_under_load()
        await gateway.until_published()
        await gateway.end(kill=True)
        seen = gateway.published()
        assert seen.size > story.backup_size
        await story.try_rolled_back()
        assert gateway.published() == seen
        await story.restore(seen)
        refused = await story.go_on()
        await gateway.end()
    calls = [call for call in load.calls if call not in refused]
    await asyncio.to_thread(inspect, where, calls, limits_of([often, once, gone]), findings)
    assert findings.violations == []
    assert [call.wrong for call in load.calls if call.wrong] == []
    checked = heyan("log", "fsck", str(gateway.folder / "published" / "0"), "--dir", str(where.folder))
    assert checked.returncode == 0, checked.stderr


def _size(checkpoint: Path) -> int:
    return unverified_checkpoint(checkpoint.read_bytes()).size


def _remove(store: Path) -> None:
    for file in store.parent.glob(f"{store.name}*"):
        if not file.name.endswith(".lock"):
            file.unlink()
