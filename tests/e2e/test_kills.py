"""`kill -9` of gateway, department nodes and issuer at random moments under load: nothing that was told is lost.

A small campaign by default; the long one: `HEYAN_KILLS=100 pytest -m e2e tests/e2e/test_kills.py`. Another seed:
`HEYAN_SEED=2`. With a standby of each node, which are killed too: `HEYAN_STANDBYS=1`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from consent.consent_file import ConsentFile
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.protocol.reasons import Reason
from sandbox_departments.truth import Truth
from tests.e2e.evidence import Findings, inspect, limits_of, same_again, settled
from tests.e2e.kills import Killer, arena
from tests.e2e.load import Call, Ending, Load
from tests.e2e.reconciling import Auditing, plant, reconcile_honestly

KILLS = int(os.environ.get("HEYAN_KILLS", "6"))
SEED = int(os.environ.get("HEYAN_SEED", "1"))
STANDBYS = os.environ.get("HEYAN_STANDBYS", "0") == "1"
POPULATION = 120
STEADY_FAMILIES = 12
STEADY_AT_ONCE = 8
MANY_USES = 1_000
FEW_USES = 3
CONTENDERS = 6
"""Queries at once that want the last uses of one grant."""
PLANTED = {
    "an entry is lost on the way": ("UNVERIFIED",),
    "a statement is dropped": ("UNKNOWN", "SHORTENED"),
    "a requester is changed": ("REWRITTEN", "MISREPORTED"),
    "the end is cut off": ("SHORTENED", "UNKNOWN", "UNACKNOWLEDGED"),
    "the log is forged": ("FORKED", "UNLOGGED", "WRONG_LEAF", "BACKWARDS"),
    "a witness was shown another log": ("FORKED",),
}
"""What the auditor's command must find of each lie, and what may follow from it."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120 + 15 * KILLS)]


@dataclass
class Campaign:
    """The loads of one campaign, until `over` is set."""

    load: Load
    random: Random
    families: list[Truth]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    consents: list[ConsentFile] = field(default_factory=list)
    withdrawn: list[tuple[Truth, ConsentFile]] = field(default_factory=list)

    async def consent(self, truth: Truth, uses: int) -> ConsentFile:
        made = await self.load.consent(truth, uses)
        self.consents.append(made)
        return made

    async def steady(self, prepared: list[tuple[Truth, ConsentFile]]) -> None:
        """Applications one after another."""
        while not self.over.is_set():
            await self.load.apply(*self.random.choice(prepared))

    async def contend(self) -> None:
        """Grants driven to their limit by queries at once, each of which is sent again once it was refused."""
        while not self.over.is_set():
            truth = self.random.choice(self.families)
            consent = await self.consent(truth, FEW_USES)
            calls = [await self.load.prepare(truth, consent, "contender") for _ in range(CONTENDERS)]
            await asyncio.gather(*(self.load.send(truth, call) for call in calls))
            await asyncio.sleep(0.5)

    async def withdraw(self) -> None:
        """Grants that are used and then withdrawn."""
        while not self.over.is_set():
            truth = self.random.choice(self.families)
            consent = await self.consent(truth, FEW_USES)
            await self.load.apply(truth, consent, "before withdrawal")
            await self.load.withdraw(truth, consent)
            self.withdrawn.append((truth, consent))
            await asyncio.sleep(1.0)


async def test_kills_under_load_lose_nothing_and_overspend_nothing(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    findings, random, began = Findings(), Random(SEED), time.monotonic()
    async with (
        arena(tmp_path / "run", POPULATION, standbys=STANDBYS) as where,
        open_client(where.folder, where.requester) as client,
        Guardians(where.folder) as guardians,
    ):
        campaign = Campaign(Load(client, guardians, where.requester), random, where.families)
        load, killer = campaign.load, Killer(where, campaign.load, Random(SEED + 1))
        await fight(campaign, killer)
        await where.until_ready()
        quiet = await settled(where)
        await same_again(client, load.calls, findings)
        late = [await load.apply(truth, consent, "after withdrawal") for truth, consent in campaign.withdrawn]
        await settled(where)
        auditing = Auditing(where, tmp_path / "audit")
        held = [call.result for call in load.calls if call.result is not None]
        reconciled = await asyncio.to_thread(reconcile_honestly, auditing, held)
        planted = await asyncio.to_thread(plant, auditing, "police-4301")
    await asyncio.to_thread(inspect, where, load.calls, limits_of(campaign.consents), findings)
    told = {
        "seconds": round(time.monotonic() - began),
        "kills": dict(Counter(killer.kills)),
        "submissions under way at a kill": round(sum(killer.at_work) / len(killer.at_work), 1),
        "slowest recovery": round(max(killer.recoveries), 1),
        "settled after": round(quiet, 1),
        "endings": dict(load.endings()),
        "repeated for": dict(load.faults()),
        "consents": load.consents,
        "withdrawals": len(campaign.withdrawn),
        **{name: getattr(findings, name) for name in ("receipts", "statements", "recovered", "leaves", "checkpoints")},
    }
    record_property("campaign", told)
    print(told)  # noqa: T201 - shown with -s: what a campaign came to
    assert findings.violations == []
    assert reconciled["recovered"] == findings.recovered
    for lie, (kind, *others) in PLANTED.items():
        assert kind in planted[lie], (lie, planted[lie])
        assert planted[lie] <= {kind, *others}, (lie, planted[lie])
    assert [call.ending for call in load.calls if call.ending is Ending.HUNG] == []
    assert load.hung == []
    assert [call.forged for call in load.calls if call.forged] == []
    assert [call.wrong for call in load.calls if call.wrong] == []
    assert {call.reason for call in late} <= {Reason.GRANT_REVOKED}
    assert unexpected(load.calls) == []
    assert len(killer.kills) == KILLS


async def fight(campaign: Campaign, killer: Killer) -> None:
    """Load and kills together; returns when all loads have come to their end."""
    chosen = campaign.random.sample(campaign.families, STEADY_FAMILIES)
    prepared = [(truth, await campaign.consent(truth, MANY_USES)) for truth in chosen]
    loads = [asyncio.create_task(campaign.steady(prepared)) for _ in range(STEADY_AT_ONCE)]
    loads += [asyncio.create_task(campaign.contend()), asyncio.create_task(campaign.withdraw())]
    try:
        await killer.run(KILLS)
    finally:
        campaign.over.set()
        await asyncio.gather(*loads)


def unexpected(calls: list[Call]) -> list[str]:
    """Refusals that nobody should have met: only contenders meet a spent grant, only the withdrawn are refused."""
    allowed = {"contender": {Reason.GRANT_USED_UP}, "after withdrawal": {Reason.GRANT_REVOKED}}
    return [
        f"{call.kind}: {call.reason}"
        for call in calls
        if call.ending is Ending.REFUSED and call.reason not in allowed.get(call.kind, set())
    ]
