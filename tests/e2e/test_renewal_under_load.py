"""Certificates and keys are renewed, and parties restarted, while applications go on: nobody notices.

Renewal: not even one attempt of one call fails. Restart: no call fails whose client retries as documented.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from consent.consent_file import ConsentFile
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.protocol.note import parse_note
from gateway.protocol.proof import parse_proof
from tests.e2e.conftest import heyan
from tests.e2e.evidence import Findings, inspect, limits_of, same_again, settled
from tests.e2e.kills import Arena, arena
from tests.e2e.load import Ending, Load

AT_ONCE = 4
FAMILIES = 6
USES = 1_000
DELAY = 2
"""Seconds after which a new key begins: all parties look at the registry every second."""
GATEWAY_URI = "spiffe://heyan/gateway/main"
NODE_URI = "spiffe://heyan/department/police-4301"
ISSUER_URI = "spiffe://heyan/issuer/citizen-app"
REQUESTER_URI = "spiffe://heyan/requester/edu-4301"

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Traffic:
    """Applications without a pause: with consents that are there, and each now and then with a fresh one."""

    where: Arena
    load: Load
    random: Random = field(default_factory=lambda: Random(3))
    over: asyncio.Event = field(default_factory=asyncio.Event)
    consents: list[ConsentFile] = field(default_factory=list)

    async def apply(self) -> None:
        chosen = self.random.sample(self.where.families, FAMILIES)
        prepared = [(truth, await self.load.consent(truth, USES)) for truth in chosen]
        self.consents += [consent for _, consent in prepared]
        await asyncio.gather(*(self._steady(prepared) for _ in range(AT_ONCE)), self._fresh())

    async def _steady(self, prepared) -> None:
        while not self.over.is_set():
            await self.load.apply(*self.random.choice(prepared))

    async def _fresh(self) -> None:
        while not self.over.is_set():
            truth = self.random.choice(self.where.families)
            consent = await self.load.consent(truth, 1)
            self.consents.append(consent)
            await self.load.apply(truth, consent, "fresh")
            await asyncio.sleep(0.3)

    async def answers(self, count: int) -> None:
        """Wait until so many more answers have come."""
        wanted = self.load.answers + count
        async with asyncio.timeout(60):
            while self.load.answers < wanted:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)


@asynccontextmanager
async def traffic(folder: Path) -> AsyncIterator[Traffic]:
    """Traffic through a federation of its own; at the end, everything that was answered is looked at again."""
    findings = Findings()
    async with (
        arena(folder, 60) as where,
        open_client(where.folder, where.requester) as client,
        Guardians(where.folder) as guardians,
    ):
        made = Traffic(where, Load(client, guardians, where.requester))
        applying = asyncio.create_task(made.apply())
        await made.answers(10)
        try:
            yield made
        finally:
            made.over.set()
            await applying
        await settled(where)
        await same_again(client, made.load.calls, findings)
    await asyncio.to_thread(inspect, where, made.load.calls, limits_of(made.consents), findings)
    assert findings.violations == []
    assert [call.forged for call in made.load.calls if call.forged] == []
    assert made.load.endings().keys() == {Ending.ANSWERED.value}
    assert [call.wrong for call in made.load.calls if call.wrong] == []
    assert made.load.hung == []


async def rotate(where: Arena, what: str, party: str, folder: str, *more: str) -> set[str]:
    """Rotate as an operator would; the ids of the keys that are new."""
    place = where.folder / folder
    keys = place / ("sealing" if what == "sealing" else "keys")
    before = {path.stem for path in keys.iterdir()}
    desk = str(where.sandbox.desk_folder)
    words = ("registry", "rotate", what, party, "--folder", str(place), "--desk", desk, "--delay", str(DELAY), *more)
    done = await asyncio.to_thread(heyan, *words)
    assert done.returncode == 0, done.stderr
    return {path.stem for path in keys.iterdir()} - before


RENEWALS = (
    ("certificate", GATEWAY_URI, "gateway"),
    ("certificate", NODE_URI, "departments/police-4301"),
    ("certificate", REQUESTER_URI, "requesters/edu-4301"),
    ("certificate", ISSUER_URI, "consent"),
    ("log", GATEWAY_URI, "gateway", "--algorithm", "ML-DSA-44"),
    ("log", GATEWAY_URI, "gateway"),
    ("answer", NODE_URI, "departments/police-4301"),
    ("sealing", NODE_URI, "departments/police-4301"),
    ("grant", ISSUER_URI, "consent"),
    ("query", REQUESTER_URI, "requesters/edu-4301"),
)


async def test_renewed_certificates_and_keys_fail_no_attempt_of_any_call(tmp_path: Path) -> None:
    fresh: set[str] = set()
    async with traffic(tmp_path / "run") as made:
        for what, party, folder, *more in RENEWALS:
            fresh |= await rotate(made.where, what, party, folder, *more)
            await made.answers(5)
        await asyncio.sleep(DELAY + 2)  # the registry is looked at each second, then the last key begins
        await made.answers(20)
    receipts = [call.result.receipt for call in made.load.calls if call.result is not None]
    used = {receipt.query.signature.key_id for receipt in receipts}
    used |= {item.batch.signature.key_id for receipt in receipts for item in receipt.statements}
    assert made.where.restarts == 0
    assert made.load.faults() == {}
    assert made.load.retries == {}
    assert len(fresh) == 6
    assert len(fresh & used) == 2  # those for answers and queries; receipts do not name the others
    last = parse_note(parse_proof(receipts[-1].leaves[0].proof.encode()).checkpoint.encode())
    sizes = sorted(len(signature.value) for signature in last.unverified)
    assert sizes == [64, 64, 8 + 2420]  # the old log key and the new one, and the second beside them


async def test_parties_that_are_restarted_in_order_fail_no_call_of_a_client_that_retries(tmp_path: Path) -> None:
    async with traffic(tmp_path / "run") as made:
        for name in ("gateway", "police-4301", "consent", "gateway"):
            before, restarts = made.where.supervisor.pid(name), made.where.restarts
            os.kill(before, signal.SIGTERM)
            while made.where.restarts == restarts:  # noqa: ASYNC110 - it ends in its own time
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            await made.where.until_ready(name)
            assert made.where.supervisor.pid(name) != before
            await made.answers(20)
    assert made.where.restarts == 4
