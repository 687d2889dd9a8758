"""A gateway of several workers under load, while they are killed: whoever was answered stays answered, others retry.

A small campaign by default; the long one: `HEYAN_KILLS=50 pytest -m e2e tests/e2e/test_workers.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from consent.consent_file import ConsentFile
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.cli.settings_files import PUBLISHED
from gateway.static_log.folder import FIRST_SHARD
from gateway.workers.lead import SUFFIX as LEAD
from sandbox_departments.truth import Truth
from tests.e2e.conftest import heyan
from tests.e2e.evidence import Findings, inspect, limits_of, same_again, settled
from tests.e2e.kills import RECOVERY_SECONDS, Arena, arena
from tests.e2e.load import Call, Ending, Load

WORKERS = 3
KILLS = int(os.environ.get("HEYAN_KILLS", "4"))
APPLICANTS = 8
MANY_USES = 1_000
"""Connections, which the system spreads over the workers."""
POPULATION = 60
TWINS = 5
"""Requests that come to several workers at once."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240 + 20 * KILLS)]


class Workers:
    """The workers of an arena's gateway, as the system and the probes tell of them."""

    def __init__(self, where: Arena) -> None:
        self.supervisor = where.supervisor.pid("gateway")
        self._probes = where.processes["gateway"].probes
        self._store = where.folder / "gateway" / "store.db"

    @staticmethod
    def pids_of(parent: int) -> set[int]:
        """The children of a process; none of one that has ended."""
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
        except FileNotFoundError:
            return set()
        return set(map(int, children.split()))

    async def pid_of_lead(self) -> int:
        """The process that holds the lead's lock, as the system lists it."""
        lock = self._store.with_name(self._store.name + LEAD)
        inode = lock.stat().st_ino
        async with asyncio.timeout(RECOVERY_SECONDS):
            while True:
                if (holder := holder_of(inode)) is not None:
                    return holder
                await asyncio.sleep(0.05)

    async def until_all_serve(self) -> None:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not (await self._page("readyz")).startswith(f"ready: {WORKERS} of {WORKERS} workers"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def samples(self, name: str, **labels: str) -> dict[str, float]:
        """The samples of a metric by worker."""
        families = text_string_to_metric_families(await self._page("metrics"))
        return {
            sample.labels["worker"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    async def lead(self) -> str:
        """The worker that leads, once one does."""
        async with asyncio.timeout(RECOVERY_SECONDS):
            while True:
                leading = [number for number, leads in (await self.samples("heyan_worker_leads")).items() if leads]
                assert len(leading) <= 1
                if leading:
                    return leading[0]
                await asyncio.sleep(0.05)

    async def _page(self, page: str) -> str:
        url = f"http://127.0.0.1:{self._probes}/{page}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.text()


@dataclass
class Applicant:
    """A family that applies over a connection of its own, again and again on the strength of one consent."""

    load: Load
    truth: Truth
    consent: ConsentFile

    async def apply_until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.load.apply(self.truth, self.consent)


async def test_workers_killed_under_load_lose_nothing_and_spend_one_use_for_one_request(tmp_path: Path) -> None:
    findings, random, over = Findings(), Random(7), asyncio.Event()
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(arena(tmp_path / "run", POPULATION, workers=WORKERS))
        workers = Workers(where)
        await workers.until_all_serve()
        guardians = await stack.enter_async_context(Guardians(where.folder))
        applicants = []
        for truth in random.sample(where.families, APPLICANTS):
            client = await stack.enter_async_context(open_client(where.folder, where.requester))
            load = Load(client, guardians, where.requester)
            applicants.append(Applicant(load, truth, await load.consent(truth, MANY_USES)))

        twins = await sent_to_several(applicants)
        answered = await workers.samples("heyan_call_seconds_count", method="Verify")
        assert sum(map(bool, answered.values())) > 1, "the system gave every connection to one worker"

        steadies = [asyncio.create_task(each.apply_until(over)) for each in applicants]
        try:
            for kill in range(KILLS):
                await answers_come(applicants)
                await kill_one(workers, random, lead=kill % 2 == 0)
            await answers_come(applicants)
        finally:
            over.set()
            await asyncio.gather(*steadies)
        calls = [call for each in applicants for call in each.load.calls]
        await settled(where)
        await same_again(applicants[0].load.client, calls, findings)

        assert workers.supervisor == where.supervisor.pid("gateway")  # only workers died so far
        late = [asyncio.create_task(each.load.apply(each.truth, each.consent)) for each in applicants]
        await answers_come(applicants, more=1)
        os.kill(workers.supervisor, signal.SIGTERM)  # all of them drain; then the gateway is started again
        calls += await asyncio.gather(*late)
        await where.until_ready("gateway")
        assert workers.pids_of(workers.supervisor) == set()
        await settled(where)
    limits = limits_of([each.consent for each in applicants])
    await asyncio.to_thread(inspect, where, calls, limits, findings)
    assert findings.violations == []
    assert {call.ending for call in calls} == {Ending.ANSWERED}
    assert [call.wrong or call.forged for call in calls if call.wrong or call.forged] == []
    assert findings.receipts == len(calls)
    for alike in twins:
        assert len({call.result.receipt.query.query for call in alike if call.result is not None}) == 1
        assert len({leaves_of(call) for call in alike}) == 1
    requests = {(call.grants[0], call.request_id) for call in calls}  # however often each of them came
    assert spent_of_grants(where.folder / "gateway" / "store.db") == Counter(grant for grant, _ in requests)
    published = where.folder / "gateway" / PUBLISHED / FIRST_SHARD
    checked = await asyncio.to_thread(heyan, "log", "fsck", str(published), "--dir", str(where.folder), "--leaves")
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def sent_to_several(applicants: list[Applicant]) -> list[list[Call]]:
    """Some requests, each sent over all connections at once, to whatever workers they lead."""
    sent = []
    for who in applicants[:TWINS]:
        call = await who.load.prepare(who.truth, who.consent)
        alike = [Call(call.kind, call.grants, call.submission) for _ in applicants]
        await asyncio.gather(*(each.load.send(who.truth, one) for each, one in zip(applicants, alike, strict=True)))
        sent.append(alike)
    return sent


async def answers_come(applicants: list[Applicant], more: int = 5) -> None:
    """Wait for so many more answers."""
    before = sum(each.load.answers for each in applicants)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while sum(each.load.answers for each in applicants) < before + more:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def kill_one(workers: Workers, random: Random, *, lead: bool) -> None:
    """`kill -9` a worker, the one that leads or any, and wait until there are as many again and one leads."""
    before = workers.pids_of(workers.supervisor)
    victim = await workers.pid_of_lead() if lead else random.choice(sorted(before))
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while victim in (now := workers.pids_of(workers.supervisor)) or len(now) < WORKERS:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await workers.until_all_serve()
    await workers.lead()


def holder_of(inode: int) -> int | None:
    """The process that holds a lock on the file of that number."""
    held = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines() if "->" not in line]
    return next((int(words[4]) for words in held if words[5].rpartition(":")[2] == str(inode)), None)


def leaves_of(call: Call) -> tuple[bytes, ...]:
    assert call.result is not None
    return tuple(item.leaf for item in call.result.receipt.leaves)


def spent_of_grants(store: Path) -> dict[bytes, int]:
    """How often each grant is spent; every element of it alike, because each application rests on all of them."""
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT grant_digest, min(spent), max(spent) FROM uses GROUP BY 1").fetchall()
    assert all(least == most for _, least, most in rows)
    return {grant: most for grant, _, most in rows}
