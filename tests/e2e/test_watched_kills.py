"""Two witnesses and a monitor beside a federation under load, while everything is killed now and then, the monitor too.

No false alarm; then a fork and a rollback, both signed with the log's own key, are planted, and caught by monitor and
witness alike. A longer campaign: `HEYAN_KILLS=50 pytest -m e2e tests/e2e/test_watched_kills.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import pytest

from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.monitor.store import read_seen
from gateway.party.keyfiles import load_signing_keys
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint, unverified_checkpoint
from gateway.protocol.note import SignerKey
from gateway.protocol.witness_wire import ADD_CHECKPOINT, AddCheckpoint, checkpoint_path
from tests.e2e.conftest import heyan
from tests.e2e.evidence import settled
from tests.e2e.kills import Arena, Killer, arena
from tests.e2e.load import Ending, Load

KILLS = int(os.environ.get("HEYAN_KILLS", "8"))
WITNESSES = ("witness-1", "witness-2")
AT_ONCE = 4
USES = 1_000

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180 + 15 * KILLS)]


@dataclass
class Monitoring:
    """A monitor that compares the log with both witnesses, started again whenever it is killed."""

    where: Arena
    state: Path
    over: asyncio.Event = field(default_factory=asyncio.Event)
    killed: int = 0

    @property
    def words(self) -> list[str]:
        endpoints = self.where.endpoints
        words = ["log", "monitor", "--dir", str(self.where.folder), "--state", str(self.state)]
        for name in WITNESSES:
            words += ["--witness", endpoints.witnesses[name].url]
        return words

    @property
    def told(self) -> str:
        """All alarms and notices that it ever raised; that a place could not be read for a moment is none."""
        return self.state.with_suffix(".out").read_text(encoding="utf-8")

    def size(self) -> int:
        origin = self.where.endpoints.gateway.log_vkey.partition("+")[0]
        seen = read_seen(self.state, origin) if self.state.exists() else None
        return unverified_checkpoint(seen).size if seen else 0

    async def run(self, random: Random) -> None:
        with self.state.with_suffix(".out").open("ab") as out:
            while not self.over.is_set():
                command = (sys.executable, "-m", "gateway.cli", *self.words, "--interval", "0.3", "--json")
                process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=asyncio.subprocess.DEVNULL)
                try:
                    await asyncio.wait_for(self.over.wait(), random.uniform(4.0, 9.0))
                except TimeoutError:
                    self.killed += 1
                finally:
                    process.kill()
                    await process.wait()

    def once(self, *place: str) -> tuple[int, list[str]]:
        """A look at the log, or at a copy of it; exit code and the kinds of its alarms."""
        done = heyan(*self.words[:2], *place, *self.words[2:], "--once", "--json")
        return done.returncode, [json.loads(line)["kind"] for line in done.stdout.splitlines()]


@asynccontextmanager
async def monitored(where: Arena, state: Path) -> AsyncIterator[Monitoring]:
    monitoring = Monitoring(where, state)
    running = asyncio.create_task(monitoring.run(Random(5)))
    try:
        yield monitoring
    finally:
        monitoring.over.set()
        await running


async def apply_under_kills(where: Arena) -> Killer:
    """Applications without a pause, until so many processes were killed; each must be answered in the end."""
    async with open_client(where.folder, where.requester) as client, Guardians(where.folder) as guardians:
        load = Load(client, guardians, where.requester)
        prepared = [(truth, await load.consent(truth, USES)) for truth in where.families[:6]]
        over, random = asyncio.Event(), Random(3)

        async def steady() -> None:
            while not over.is_set():
                await load.apply(*random.choice(prepared))

        applying = [asyncio.create_task(steady()) for _ in range(AT_ONCE)]
        killer = Killer(where, load, Random(4))
        try:
            await killer.run(KILLS)
        finally:
            over.set()
            await asyncio.gather(*applying)
    assert [call.forged for call in load.calls if call.forged] == []
    assert {call.ending for call in load.calls} <= {Ending.ANSWERED, Ending.UNAVAILABLE}
    return killer


async def fetch(url: str, body: bytes | None = None) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request("POST" if body else "GET", url, data=body) as answer:
        return answer.status, await answer.text()


def first_shown(file: Path) -> str:
    """The first checkpoint that is published, once both witnesses have cosigned it."""
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.1)
    return file.read_text(encoding="utf-8")


async def metrics_of(where: Arena, name: str) -> str:
    return (await fetch(f"http://127.0.0.1:{where.processes[name].probes}/metrics"))[1]


async def test_two_witnesses_and_a_monitor_under_load_and_kills_raise_no_false_alarm_and_catch_planted_lies(
    tmp_path: Path,
) -> None:
    async with arena(tmp_path / "run", 60, witnesses=2) as where:
        published = where.folder / "gateway/published/0"
        async with monitored(where, tmp_path / "monitor.db") as monitoring:
            first = await asyncio.to_thread(first_shown, published / "checkpoint")
            killer = await apply_under_kills(where)
            await where.until_ready()
            await settled(where)
        # no false alarm
        assert monitoring.killed >= 1
        assert {"gateway", *WITNESSES} <= set(where.processes)
        witnessed = await asyncio.to_thread(
            heyan, "verify", "--dir", str(where.folder), "--requester", where.requester,
            "--family", where.families[20].application.family, "--witnessed", "40", "--json",
        )  # fmt: skip
        assert json.loads(witnessed.stdout)["witnessed"] is True, witnessed.stderr
        assert await asyncio.to_thread(monitoring.once) == (0, [])
        assert monitoring.told == ""
        assert "heyan_log_contradictions_total 0.0" in await metrics_of(where, "gateway")
        for name in WITNESSES:
            assert "heyan_witness_forks_total 0.0" in await metrics_of(where, name)
        # a planted fork: another tree of the size that everybody has seen
        shown = unverified_checkpoint((published / "checkpoint").read_bytes())
        (key,) = load_signing_keys(where.folder / "gateway/keys")
        signer = SignerKey.from_seed(shown.origin, key.private.private_bytes_raw())
        fork = sign_checkpoint(Checkpoint(shown.origin, monitoring.size(), bytes(32)), [signer])
        copy = Path(shutil.copytree(published, tmp_path / "copy"))
        (copy / "checkpoint").write_text(fork, encoding="utf-8")
        code, kinds = await asyncio.to_thread(monitoring.once, str(copy))
        assert (code, "FORKED" in kinds) == (1, True)
        witness = where.endpoints.witnesses["witness-1"].url
        url = witness + ADD_CHECKPOINT
        size = unverified_checkpoint((await fetch(witness + checkpoint_path(shown.origin)))[1].encode()).size
        forged = sign_checkpoint(Checkpoint(shown.origin, size, bytes(32)), [signer])  # it may hold more than is shown
        assert (await fetch(url, AddCheckpoint(size, (), forged).format()))[0] == 422
        assert "heyan_witness_forks_total 1.0" in await metrics_of(where, "witness-1")
        # a planted rollback: what the log itself had shown before, shown again
        (copy / "checkpoint").write_text(first, encoding="utf-8")
        code, kinds = await asyncio.to_thread(monitoring.once, str(copy))
        assert (code, "ROLLED_BACK" in kinds) == (1, True)
        old = unverified_checkpoint(first.encode()).size
        status, held_size = await fetch(url, AddCheckpoint(old, (), first).format())
        assert (status, int(held_size) >= shown.size) == (409, True)
        # the log itself goes on as before
        assert (await asyncio.to_thread(monitoring.once))[0] == 0
    assert len(killer.kills) == KILLS
