"""A department is down for a whole run: its checks are deferred, and answered when it returns; nothing is lost.

The gateway is killed and restarted in between. A small run by default; a larger one:
`HEYAN_DEFERRALS=200 pytest -m e2e tests/e2e/test_deferral.py -s`, which tells figures.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import pytest
from rich.console import Console

from consent.consent_file import ConsentFile
from consent.disclosures import group_details
from gateway.cli.deferred import fetch
from gateway.cli.endpoints import open_client, read_endpoints
from gateway.cli.guardians import Guardians
from gateway.cli.sandbox import Asked
from gateway.cli.supervisor import free_port_base
from gateway.cli.up import open_sandbox, start
from gateway.client import Client, Verification
from gateway.party.registry_keeper import operator_key
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from sandbox_departments.faults.kinds import make_fault
from sandbox_departments.faults.switch import FILE, lift_fault, set_fault
from sandbox_departments.truth import Truth, read_truth
from tests.e2e.applicants import right_of, said
from tests.e2e.conftest import Running, heyan
from tests.e2e.nodes import folder_of, settled
from tests.e2e.test_truth import needles_in

APPLICATIONS = int(os.environ.get("HEYAN_DEFERRALS", "12"))
NODE = "police-4301"
AT_ONCE = 8
DEFERRAL = 3 * 86_400.0
PATIENCE = 60.0 + APPLICATIONS

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240 + 4 * APPLICATIONS)]


@dataclass
class Applied:
    """One family's application, sent while the department was down."""

    truth: Truth
    consent: ConsentFile
    first: Verification
    last: Verification | None = None
    seen: list[int] = field(default_factory=list)
    """How many checks were still deferred, each time that its requester heard something."""

    @property
    def request_id(self) -> bytes:
        return self.first.verified.query.request_id


@pytest.fixture
async def federation(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    """A federation in which one node is at fault before it starts: down, if nothing else is said."""
    console = Console(stderr=True)
    asked = Asked(population=APPLICATIONS + 40, prefectures=("4301",), port_base=free_port_base())
    sandbox = await asyncio.to_thread(open_sandbox, tmp_path / "run", asked, console)
    set_fault(sandbox.folder / "departments" / NODE / FILE, make_fault(getattr(request, "param", "down")))
    supervisor = await start(sandbox, console)
    try:
        endpoints = read_endpoints(sandbox.folder)
        families = list(read_truth(sandbox.folder / endpoints.truth))
        yield Running(sandbox.folder, sandbox, supervisor, endpoints, families)
    finally:
        await supervisor.stop()


@pytest.mark.parametrize("federation", ["down", "hangs"], indirect=True)
async def test_department_that_is_down_for_a_whole_run_answers_everything_when_it_returns(
    federation: Running, record_property: pytest.RecordProperty
) -> None:
    began = time.monotonic()
    chosen = [truth for truth in federation.families if any(node == NODE for node, _ in right_of(truth))]
    chosen = Random(1).sample(chosen, APPLICATIONS)
    async with (
        open_client(federation.folder, federation.requester) as client,
        Guardians(federation.folder) as guardians,
    ):
        applied = await apply_all(federation, client, guardians, chosen)
        sent = time.monotonic()
        for one in applied:
            require_deferred(one)
        require_kept(federation, len(applied))
        require_unreadable(federation, applied)

        half = applied[: len(applied) // 2]
        watching = [asyncio.create_task(watch(client, one)) for one in half]
        while not all(one.seen for one in half):  # noqa: ASYNC110 - they wait for news by then
            await asyncio.sleep(0.1)
        await end_gateway(federation, signal.SIGKILL)
        require_kept(federation, len(applied))
        await end_gateway(federation, signal.SIGTERM)
        require_kept(federation, len(applied))

        back = time.monotonic()
        lift_fault(folder_of(federation, NODE) / FILE)
        await asyncio.gather(*watching, *(watch(client, one) for one in applied[len(applied) // 2 :]))
        answered = time.monotonic()
        again = await asyncio.gather(*(client.get(one.request_id) for one in applied))
    await settled(federation, [NODE])
    told = {
        "applications": len(applied),
        "deferred checks": sum(len(one.first.deferred) for one in applied),
        "seconds to send": round(sent - began, 1),
        "seconds from the department's return to the last answer": round(answered - back, 1),
        "wakes of watchers": sum(len(one.seen) for one in applied),
        "metrics": {name: value for name, value in (await metrics_of(federation)).items() if "deferral" in name},
    }
    record_property("deferral", told)
    print(told)  # noqa: T201 - shown with -s: what a run came to
    for one, fetched in zip(applied, again, strict=True):
        require_answered(federation, one)
        assert fetched.verified.answers == one.last.verified.answers  # type: ignore[union-attr]
    require_kept(federation, 0)
    require_spent_once(federation, applied)


async def test_command_defers_and_fetches(federation: Running) -> None:
    truth = next(truth for truth in federation.families if any(node == NODE for node, _ in right_of(truth)))
    common = ("verify", "--dir", str(federation.folder), "--requester", federation.requester)
    first = await asyncio.to_thread(heyan, *common, "--family", truth.application.family, "--defer", "600")
    assert first.returncode == 3, first.stderr
    assert f"deferred until {NODE} can be asked" in first.stdout
    command = first.stdout.rstrip().splitlines()[-1].split()
    assert command[0] == "heyan"
    lift_fault(folder_of(federation, NODE) / FILE)
    last = await asyncio.to_thread(heyan, *command[1:])
    assert last.returncode == 0, last.stderr
    assert "deferred" not in last.stdout
    request_id = bytes.fromhex(command[command.index("--request-id") + 1])
    result = await fetch(federation.folder, federation.requester, request_id, 0.0)
    assert right_of(truth).items() <= said(result).items()  # which also tells what of the student record is on file


async def apply_all(federation: Running, client: Client, guardians: Guardians, chosen: list[Truth]) -> list[Applied]:
    places = asyncio.Semaphore(AT_ONCE)

    async def apply(truth: Truth) -> Applied:
        application = truth.application
        roles = tuple(application.subjects)
        async with places:
            plan = await client.plan(application.region, application.school, application.group, roles)
            details = group_details(plan.claims, (application.region,), 1)
            consent = await guardians.consent_to(application, federation.requester, details)
            submission = client.prepare(plan.questions(consent.roles), consent, plan, time.time() + DEFERRAL)
            return Applied(truth, consent, await client.send(submission))

    return list(await asyncio.gather(*map(apply, chosen)))


async def watch(client: Client, one: Applied) -> None:
    """As its requester does, through the gateway's restarts."""
    async for result in client.watch(one.request_id, PATIENCE):
        one.last = result
        one.seen.append(len(result.deferred))


async def end_gateway(federation: Running, number: signal.Signals) -> None:
    """End the gateway's process, and wait until the next one wants work."""
    pid = federation.pid("gateway")
    os.kill(pid, number)
    async with asyncio.timeout(60):
        while federation.pid("gateway") == pid or not await is_ready(federation):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.2)


async def is_ready(federation: Running) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{probes_of(federation)}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def metrics_of(federation: Running) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"{probes_of(federation)}/metrics") as response:
        lines = [line.rpartition(" ") for line in (await response.text()).splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


def probes_of(federation: Running) -> str:
    (process,) = [process for process in federation.sandbox.processes() if process.name == "gateway"]
    return f"http://127.0.0.1:{process.probes}"


def require_deferred(one: Applied) -> None:
    """Everything but the department's checks is answered rightly, and those are deferred."""
    right = right_of(one.truth)
    for answer in one.first.verified.answers:
        if answer.department.endswith(f"/{NODE}"):
            assert (answer.outcome, answer.next_step) == (Outcome.UNAVAILABLE, NextStep.DEFERRED)
    assert {key: outcome for key, outcome in said(one.first).items() if key[0] != NODE} == {
        key: outcome for key, outcome in right.items() if key[0] != NODE
    }
    assert one.first.deferred


def require_answered(federation: Running, one: Applied) -> None:
    """Rightly, and its receipt holds offline."""
    assert one.last is not None
    assert said(one.last) == right_of(one.truth)
    receipt = receipt_from_json(receipt_to_json(one.last.receipt))
    verified = verify_receipt(receipt, operator_key(federation.endpoints.operator_vkey))
    assert verified.answers == one.last.verified.answers
    assert len(verified.log_times) >= 2


def require_kept(federation: Running, count: int) -> None:
    with closing(sqlite3.connect(federation.folder / "gateway" / "store.db")) as connection:
        assert connection.execute("SELECT count(*) FROM deferrals").fetchone()[0] == count


def require_unreadable(federation: Running, applied: list[Applied]) -> None:
    """Nobody's number or name stands in the gateway's files, nor any grant, while requests wait there."""
    stored = b"".join(path.read_bytes() for path in (federation.folder / "gateway").glob("store.db*"))
    people = [subject for one in applied for subject in one.truth.application.subjects.values()]
    assert list(needles_in(stored, people)) == []
    for one in applied:
        for grant in one.consent.grants:
            assert grant.presentation.grant.encode()[-86:] not in stored
            assert all(text.encode() not in stored for text in grant.presentation.disclosures)


def require_spent_once(federation: Running, applied: list[Applied]) -> None:
    """Each consent allowed one use: the gateway counts it once, and so does every node that answered."""
    grants = {grant.digest for one in applied for grant in one.consent.grants}
    with closing(sqlite3.connect(federation.folder / "gateway" / "store.db")) as connection:
        spent = connection.execute("SELECT grant_digest, spent FROM uses").fetchall()
    assert {count for _, count in spent} == {1}
    assert {grant for grant, _ in spent} == grants
    for node in federation.sandbox.nodes.values():
        journal = federation.folder / "departments" / node.name / "journal.db"
        with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as connection:
            counts = connection.execute("SELECT count(*) FROM uses GROUP BY grant_digest, authorization").fetchall()
        assert {count for (count,) in counts} <= {1}
