"""The log of a running federation ends, and the gateway goes on, while everybody asks and departments answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli.correctness import is_right
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.cli.verify import ask
from gateway.client import Verification
from gateway.protocol.errors import UnknownPeerError, UnreachableError
from gateway.protocol.receipt_file import receipt_to_json
from gateway.protocol.statistics import DAY, beijing_day
from sandbox_departments.journal import Journal
from sandbox_departments.journal_entries import AcknowledgementRefused, BatchAcknowledged
from tests.e2e.conftest import Running, federation
from tests.e2e.nodes import settled

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GATEWAY_URI = "spiffe://heyan/gateway/main"
SECOND, THIRD = "log.sandbox.example/2", "log.sandbox.example/3"


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A federation of its own: what ends is not begun again."""
    with federation(tmp_path_factory.mktemp("frozen") / "run", 150) as started:
        yield started


async def answered(running: Running, number: int) -> Verification:
    truth = running.families[number]
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(truth.application, running.requester)
        result = await ask(client, truth.application, consent)
    assert is_right(result, truth)
    return result


async def answered_once_it_is_back(running: Running, number: int) -> Verification:
    async with asyncio.timeout(60):
        while True:
            try:
                return await answered(running, number)
            except (UnreachableError, UnknownPeerError):  # the latter while it begins to listen
                await asyncio.sleep(0.5)


def run(running: Running, *words: str, code: int = 0) -> str:
    done = running.heyan(*words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def freeze(running: Running, origin: str, *words: str, code: int = 0) -> str:
    settings = str(running.folder / "gateway" / "settings.toml")
    return run(running, "log", "freeze", "--config", settings, "--next-origin", origin, *words, code=code)


def announce(running: Running, origin: str) -> None:
    run(running, "registry", "next-log", GATEWAY_URI, origin, "--desk", str(running.sandbox.desk_folder))


def report(running: Running, *words: str) -> str:
    now = int(time.time())
    days = "--from", beijing_day(now - DAY), "--to", beijing_day(now + 2 * DAY)
    return run(running, "audit", "report", "--dir", str(running.folder), "--auditor", "auditor", *days, *words)


async def test_log_ends_under_way_and_nobody_notices(apart: Running, tmp_path: Path) -> None:
    first = (await answered(apart, 0)).verified.checkpoint.origin
    refused = await asyncio.to_thread(freeze, apart, SECOND, code=2)
    assert "heyan registry next-log" in refused
    results: list[Verification] = []
    process, frozen = apart.pid("gateway"), asyncio.Event()

    async def keep_asking() -> None:
        left = 3
        for number in range(1, 140):
            results.append(await answered(apart, number))
            await asyncio.sleep(0.2)  # there are only so many families
            left -= frozen.is_set()
            if not left:
                return

    asking = asyncio.create_task(keep_asking())
    await asyncio.to_thread(announce, apart, SECOND)
    said = json.loads(await asyncio.to_thread(freeze, apart, SECOND, "--json"))
    frozen.set()
    await asking
    assert (said["ended"]["origin"], said["begun"]["origin"], said["was_before"]) == (first, SECOND, False)
    assert apart.pid("gateway") == process
    assert [result.verified.checkpoint.origin for result in results[-2:]] == [SECOND] * 2
    async with open_client(apart.folder, apart.requester) as client:
        again = await client.get(results[0].verified.query.request_id)
    assert (again.verified.checkpoint.origin, again.verified.checkpoint.size) == (first, said["ended"]["size"])
    for name, result in (("old.json", again), ("new.json", results[-1])):
        (tmp_path / name).write_text(receipt_to_json(result.receipt))
        shown = run(apart, "log", "verify-receipt", str(tmp_path / name), "--dir", str(apart.folder))
        assert f"in {result.verified.checkpoint.origin}" in shown
    assert "had ended already" in await asyncio.to_thread(freeze, apart, SECOND)


async def test_gateway_that_starts_again_goes_on_with_the_log_that_grows(apart: Running) -> None:
    os.kill(apart.pid("gateway"), signal.SIGKILL)
    result = await answered_once_it_is_back(apart, 141)
    assert result.verified.checkpoint.origin == SECOND


async def test_auditor_reports_each_log_and_holds_one_against_the_other(apart: Running) -> None:
    newest = json.loads(await asyncio.to_thread(report, apart, "--json"))["report"]["log"]
    assert newest["origin"] == SECOND
    with closing(sqlite3.connect(apart.folder / "gateway" / "store.db")) as connection:
        ((first, size),) = connection.execute("SELECT origin, size FROM shards WHERE ended = 1").fetchall()
    shown = json.loads(await asyncio.to_thread(report, apart, "--json", "--origin", first))["report"]["log"]
    assert (shown["origin"], shown["size"]) == (first, size)
    for words in ((), ("--origin", first)):
        checked = await asyncio.to_thread(run, apart, "log", "fsck", "--dir", str(apart.folder), *words)
        assert (words[-1] if words else SECOND) in checked


async def test_auditor_reconciles_both_logs_with_every_journal_as_one(apart: Running) -> None:
    await settled(apart, list(apart.endpoints.departments))
    words = "audit", "reconcile", "--dir", str(apart.folder), "--allowed", "0", "--json"
    document = json.loads(await asyncio.to_thread(run, apart, *words))
    assert document["findings"] == []
    assert [(log["origin"] == SECOND, log["read"]) for log in document["logs"]] == [(False, True), (True, True)]
    assert (document["owed"], document["in_logs_not_read"], document["without_journal"]) == (0, 0, {})


async def test_departments_refused_no_acknowledgement_of_either_log(apart: Running) -> None:
    origins: set[str] = set()
    async with asyncio.timeout(60):
        while len(origins) < 2:
            origins = set()
            for name in apart.endpoints.departments:
                for path in (apart.folder / "departments" / name).glob("*journal*.db"):
                    journal = Journal(path)
                    entries = list(journal.entries())
                    journal.close()
                    assert not [entry for entry in entries if isinstance(entry, AcknowledgementRefused)]
                    told = (entry for entry in entries if isinstance(entry, BatchAcknowledged))
                    origins |= {entry.checkpoint.partition("\n")[0] for entry in told}
            await asyncio.sleep(0.5)
    assert SECOND in origins


async def test_log_ends_while_its_gateway_is_stopped(apart: Running) -> None:
    """The supervisor starts it again; the freeze comes first, or between: either way it goes on."""
    await asyncio.to_thread(announce, apart, THIRD)
    os.kill(apart.pid("gateway"), signal.SIGTERM)
    await asyncio.to_thread(freeze, apart, THIRD)
    result = await answered_once_it_is_back(apart, 142)
    assert result.verified.checkpoint.origin == THIRD
