"""The assessment of a running federation: it agrees with what was sent, and tells when the store was changed."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Verification
from gateway.protocol.outcomes import Outcome
from gateway.protocol.statistics import DAY, beijing_day
from sandbox_departments.faults.kinds import Kind, make_fault
from sandbox_departments.faults.switch import FILE, lift_fault, set_fault
from tests.e2e.applicants import Applicant, applicant
from tests.e2e.conftest import Running
from tests.e2e.nodes import folder_of, listening

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NODE = "land-4303"
NUMBERED = ("verified_online", "undetermined", "unanswered", "availability")
Numbers = Counter[tuple[str, str, int]]
"""Numerators (0) and denominators (1) by county and figure."""


def report(running: Running, *words: str, code: int = 0) -> str:
    now = int(time.time())
    days = beijing_day(now - DAY), beijing_day(now + 2 * DAY)
    done = running.heyan(
        *("audit", "report", "--dir", str(running.folder), "--auditor", "auditor", "--from", days[0], "--to", days[1]),
        *words,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def numbers(made: dict[str, Any]) -> Numbers:
    return Counter(
        {
            (line["code"], name, side): line["figures"][name][word]
            for line in made["groups"]
            for name in NUMBERED
            for side, word in enumerate(("numerator", "denominator"))
        }
    )


def sent(region: str, first: Verification, last: Verification) -> Numbers:
    """What one application adds that was answered in part at first and in full when it was sent again."""
    silent = sum(answer.outcome is Outcome.UNAVAILABLE for answer in first.verified.answers)
    outcomes = Counter(answer.outcome for answer in last.verified.answers)
    asked = outcomes.total()
    told = {
        "verified_online": (outcomes[Outcome.YES] + outcomes[Outcome.NO], asked),
        "undetermined": (outcomes[Outcome.UNDETERMINED], asked),
        "unanswered": (0, asked),
        "availability": (asked, asked + silent),
    }
    return Counter({(region, name, side): told[name][side] for name in NUMBERED for side in (0, 1)})


async def send_all(running: Running, families: Iterable[Applicant]) -> Numbers:
    total: Numbers = Counter()
    for family in families:
        submission = family.prepare()
        first = await family.client.send(submission)
        lift_fault(folder_of(running, NODE) / FILE)
        last = await family.until_answered(submission)
        total += sent(family.truth.application.region, first, last)
    return total


async def test_report_agrees_with_what_was_sent_though_a_department_was_down(running: Running) -> None:
    before = numbers(json.loads(report(running, "--json")))
    async with AsyncExitStack() as stack:
        families = [await stack.enter_async_context(applicant(running, NODE)) for _ in range(3)]
        set_fault(folder_of(running, NODE) / FILE, make_fault(Kind.DOWN.value))
        await listening(running, NODE, expected=False)
        expected = await send_all(running, families)
    after = numbers(json.loads(report(running, "--json")))
    assert +(after - before) == +expected
    asked, heard = (sum(expected[county, "availability", side] for county in counties_of(expected)) for side in (1, 0))
    assert asked > heard  # somebody did meet the department down


def counties_of(made: Numbers) -> set[str]:
    return {county for county, _, _ in made}


def test_every_form_is_written_and_names_nobody(running: Running, tmp_path: Path) -> None:
    csv, html, note = tmp_path / "report.csv", tmp_path / "report.html", tmp_path / "checkpoint"
    shown = report(running, "--csv", str(csv), "--html", str(html), "--checkpoint", str(note))
    assert "agree row by row" in shown
    assert note.read_text().startswith(running.endpoints.gateway.log_vkey.split("+")[0])
    texts = [shown, csv.read_text(), html.read_text()]
    assert all("线上核验率" in text for text in texts)
    people = [subject for truth in running.families for subject in truth.application.subjects.values()]
    assert not any(person.id_number in text or person.name in text for person in people for text in texts)
    report(running, "--checkpoint", str(note))


@pytest.mark.parametrize("by", ["prefecture", "province", "department", "requester"])
def test_every_grouping_is_reported_and_for_publication(running: Running, by: str) -> None:
    made = json.loads(report(running, "--by", by, "--publish", "--json"))
    assert made["groups"]
    assert made["report"]["published"]


def test_count_that_was_changed_in_the_store_is_named(running: Running) -> None:
    change = "UPDATE statistics SET count = count {} 1000 WHERE claim = 'hukou.child_registered@1' AND verified"
    with closing(sqlite3.connect(running.folder / "gateway" / "store.db", timeout=10)) as store:
        with store:
            assert store.execute(change.format("+")).rowcount
        try:
            shown = report(running, code=1)
        finally:
            with store:
                store.execute(change.format("-"))
    assert "disagree" in shown
    assert "hukou.child_registered@1 ANSWERED" in shown
    report(running)


def test_checkpoint_that_the_gateway_did_not_sign_is_not_believed(running: Running, tmp_path: Path) -> None:
    note = tmp_path / "checkpoint"
    report(running, "--checkpoint", str(note))
    lines = note.read_text().split("\n")
    lines[1] = str(int(lines[1]) - 1)
    note.write_text("\n".join(lines))
    assert "--checkpoint" in report(running, "--checkpoint", str(note), code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "2027-6-1"), "--from"),
        (("--to", "2020-01-01"), "--to"),
        (("--auditor", "nobody"), "--auditor"),
        (("--html", "/nowhere/report.html"), "--html"),
    ],
)
def test_what_cannot_be_reported_is_said_on_one_line(running: Running, words: tuple[str, str], said: str) -> None:
    arguments = {"--from": "2027-06-01", "--to": "2027-06-02", "--auditor": "auditor", **dict([words])}
    done = running.heyan(
        "audit", "report", "--dir", str(running.folder), *(word for pair in arguments.items() for word in pair)
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
