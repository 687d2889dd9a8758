"""A wrong record, through real processes: NO, disputed, corrected by the department's staff, and YES without a use."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from consent.consent_file import read_consent_file
from gateway.cli.endpoints import open_client
from gateway.client import Verification
from gateway.protocol.identities import parse_identity
from gateway.protocol.outcomes import Outcome
from gateway.protocol.receipt_file import receipt_to_json
from sandbox_departments.truth import Truth
from tests.e2e.conftest import Running, federation

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PATIENCE = 40.0
"""Seconds for what passes through several processes that look once a second, or that start again."""
POPULATION = 200
_taken: set[str] = set()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A federation of its own: what is corrected here is no longer what the truth of the others says."""
    with federation(tmp_path_factory.mktemp("disputes") / "run", POPULATION) as started:
        yield started


class Wronged:
    """A family of which a department says NO (or `outcome`), and what it and its school do about it."""

    def __init__(self, running: Running, truth: Truth, folder: Path, outcome: Outcome = Outcome.NO) -> None:
        self.running = running
        self.family = truth.application.family
        self.consent = folder / "consent.json"
        self.receipt = folder / "receipt.json"
        self._truth = truth
        family, requester = ("--family", self.family), ("--requester", running.requester)
        self.must("consent", "issue", *family, *requester, "--out", str(self.consent))
        asked = asyncio.run(self._ask())
        self.receipt.write_text(receipt_to_json(asked.receipt))
        answer = next(answer for answer in asked.verified.answers if answer.outcome is outcome)
        self.check, self.node = answer.check.check_id, parse_identity(answer.department).name
        self.request_id = asked.verified.query.request_id.hex()
        self.query = ("--requester", running.requester, "--request-id", self.request_id)

    async def _ask(self) -> Verification:
        application, consent = self._truth.application, read_consent_file(self.consent)
        async with open_client(self.running.folder, self.running.requester) as client:
            plan = await client.plan(application.region, application.school, application.group)
            return await client.verify(plan.questions(consent.roles), consent, plan)

    def run(self, *words: str) -> tuple[int, str]:
        done = self.running.heyan(*words, "--dir", str(self.running.folder))
        return done.returncode, done.stdout + done.stderr

    def must(self, *words: str) -> str:
        code, output = self.run(*words)
        assert code == 0, output
        return output

    def disputes(self) -> list[dict[str, Any]]:
        """What the school sees, verified."""
        found: list[dict[str, Any]] = json.loads(self.must("dispute", "show", *self.query, "--json"))
        return found

    def listed(self) -> list[dict[str, Any]]:
        """What the department's staff see of it."""
        rows: list[dict[str, Any]] = json.loads(self.must("department", "dispute", "list", self.node, "--json"))
        return rows

    def reverify(self) -> tuple[int, str]:
        words = ("dispute", "reverify", *self.query, "--check", self.check, "--consent", str(self.consent), "--json")
        return self.run(*words)

    def uses(self) -> dict[str, list[int]]:
        """Uses of the grant, as the gateway and the department count them, and probes of the budget."""
        digest = read_consent_file(self.consent).grants[0].digest
        folder = self.running.folder
        counts = {
            "gateway": (folder / "gateway/store.db", "SELECT spent FROM uses WHERE grant_digest = ?", (digest,)),
            "node": (self._journal, "SELECT count(*) FROM uses WHERE grant_digest = ?", (digest,)),
            "probes": (self._journal, "SELECT count(*) FROM probes", ()),
        }
        found = {}
        for name, (file, query, values) in counts.items():
            with closing(sqlite3.connect(file)) as connection:
                found[name] = sorted(count for (count,) in connection.execute(query, values))
        return found

    @property
    def _journal(self) -> Path:
        return self.running.folder / "departments" / self.node / "journal.db"


def until(condition: Callable[[], Any]) -> Any:
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < PATIENCE, "not in time"
        time.sleep(0.3)
    return found


@pytest.fixture
def wronged(running: Running, tmp_path: Path) -> Wronged:
    """The next family with an answer of NO, which no other test takes."""
    truth = next(
        truth
        for truth in reversed(running.families)  # others begin at the front
        if truth.application.family not in _taken and any(answer.outcome is Outcome.NO for answer in truth.answers)
    )
    _taken.add(truth.application.family)
    return Wronged(running, truth, tmp_path)


def test_wrong_record_is_disputed_corrected_and_asked_again_without_a_use(wronged: Wronged, tmp_path: Path) -> None:
    opening = ("dispute", "open", *wronged.query, "--check", wronged.check, "--ground", "record-outdated", "--json")
    dispute = json.loads(wronged.must(*opening))["dispute"]
    assert json.loads(wronged.must(*opening))["dispute"] == dispute, "the same answer again is the same dispute"
    code, output = wronged.reverify()
    assert (code, "DISPUTE_NOT_CORRECTED" in output) == (1, True)
    row = until(lambda: next((row for row in wronged.listed() if row["dispute"] == dispute), None))
    assert (row["answer"], row["ground"], row["overdue"]) == ("NO", "RECORD_OUTDATED", False)
    before = wronged.uses()
    resolve = ("department", "dispute", "resolve", wronged.node, dispute[:12], "--reason", "record-updated")
    assert wronged.run(*resolve)[0] == 2  # the right answer must be said
    wronged.must(*resolve, "--answer", "yes")
    until(lambda: wronged.disputes()[0]["outcome"] == "CORRECTED")
    again = json.loads(wronged.reverify()[1])
    assert [answer["outcome"] for answer in again["answers"]] == ["YES"]
    assert wronged.uses() == before
    code, output = wronged.reverify()
    assert (code, "DISPUTE_SPENT" in output) == (1, True)
    file = tmp_path / "with-disputes.json"
    wronged.must("dispute", "show", *wronged.query, "--receipt", str(file))
    wronged.must("log", "verify-receipt", str(file))
    assert not [row for row in wronged.listed() if row["dispute"] == dispute]


def test_guardian_disputes_while_gateway_and_department_are_down_and_it_is_upheld(wronged: Wronged) -> None:
    """Issuer, gateway and node each keep the dispute until the next has it."""
    for name in ("gateway", wronged.node):
        os.kill(wronged.running.pid(name), signal.SIGKILL)  # the supervisor starts both again
    words = ("consent", "dispute", "--family", wronged.family, "--receipt", str(wronged.receipt))
    wronged.must(*words, "--check", wronged.check, "--ground", "record-wrong")
    row = until(lambda: next(iter(_quietly(wronged.listed)), None))
    assert row["opener"] == "citizen-app"
    wronged.must("department", "dispute", "resolve", wronged.node, row["dispute"], "--reason", "record-confirmed")
    os.kill(wronged.running.pid(wronged.node), signal.SIGKILL)  # decided, perhaps not signed, surely not acknowledged
    shown = until(lambda: next((row for row in _quietly(wronged.disputes) if row["outcome"]), None))
    assert (shown["outcome"], shown["opener"]) == ("UPHELD", "spiffe://heyan/issuer/citizen-app")
    code, output = wronged.reverify()
    assert (code, "DISPUTE_NOT_CORRECTED" in output) == (1, True)


def test_another_family_cannot_dispute_the_answer(running: Running, tmp_path: Path) -> None:
    *_, truth, other = running.families
    family = Wronged(running, truth, tmp_path, Outcome.YES)
    words = ("consent", "dispute", "--receipt", str(family.receipt), "--check", family.check)
    code, output = family.run(*words, "--family", other.application.family, "--ground", "record-wrong")
    assert (code, "EVIDENCE_INVALID" in output) == (1, True)


def _quietly(look: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What is seen, nothing while a process starts again."""
    try:
        return look()
    except AssertionError:
        return []
