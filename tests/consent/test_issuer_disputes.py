"""Guardians' disputes at the issuer: only by the passkey of the grant, durable, and reported until they are taken."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from consent.dispute import challenge_of, open_report
from consent.issuer import dispute_reports, disputes
from consent.issuer.dispute_reports import DisputeReporter
from consent.issuer.disputes import GuardianDisputes
from consent.issuer.requests import DisputeBody
from consent.issuer.store import IssuerStore, StoredReport
from consent.passkey import assertion_to_json
from gateway.protocol.codec import b64url
from gateway.protocol.disputes import Dispute, DisputeGround
from gateway.protocol.errors import NotGrantedError, UnreachableError
from gateway.protocol.reasons import Reason
from tests.consent.issuers import OTHER_CHILD, Issuer
from tests.federation import DEPARTMENTS, GATEWAY, ISSUER, ORIGIN, OTHER_GATEWAY, REQUESTER, RP_ID

POLICE = next(iter(DEPARTMENTS.values()))


class Desk:
    """An issuer that takes disputes, and a mother with a grant."""

    def __init__(self, federation, path, now):
        self.issuer = Issuer(federation, path, now)
        self.grant = self.issuer.issue()
        self.disputes = GuardianDisputes(
            self.issuer.service,
            spiffe_id=ISSUER,
            store=self.issuer.store,
            signing_key=lambda: federation.signing_keys[ISSUER],
            clock=lambda: self.issuer.now,
            random_bytes=Random(2).randbytes,
        )

    def dispute(self, **changes):
        right = Dispute(
            "", REQUESTER, bytes(16), GATEWAY, POLICE, b"s" * 32, DisputeGround.RECORD_WRONG, 0.0, self.grant.digest
        )
        return replace(right, **changes)

    def body(self, dispute=None, who="mother", **changes):
        said = dispute or self.dispute()
        assertion = self.issuer.passkeys[who].approve(challenge_of(said), rp_id=RP_ID, origin=ORIGIN)
        values = {
            "grant": b64url(said.grant_digest),
            "request_id": b64url(said.request_id),
            "department": said.department,
            "statement": b64url(said.statement_digest),
            "ground": said.ground.name,
            "assertion": assertion_to_json(assertion),
            **changes,
        }
        return DisputeBody(**values)


@pytest.fixture
def desk(federation, tmp_path, now):
    return Desk(federation, tmp_path / "issuer.db", now)


def test_report_says_what_the_guardian_approved(desk, federation, now):
    opened = open_report(desk.disputes.dispute(desk.body()), federation.registry, now)
    assert opened == desk.dispute(opener=ISSUER, issue_time=float(now))


def test_dispute_by_anybody_elses_passkey_is_refused(desk, refused):
    for who in ("grandpa", "other"):
        with refused(Reason.EVIDENCE_INVALID):
            desk.disputes.dispute(desk.body(who=who))
    assert not desk.issuer.store.unreported(9)


def test_dispute_of_no_grant_looks_like_one_of_anothers(desk, refused):
    with refused(Reason.EVIDENCE_INVALID):
        desk.disputes.dispute(desk.body(desk.dispute(grant_digest=bytes(32))))


def test_whether_there_is_a_grant_does_not_show_by_what_else_is_wrong(desk, refused):
    for grant in (desk.grant.digest, bytes(32)):
        with refused(Reason.MESSAGE_MALFORMED):
            desk.disputes.dispute(desk.body(grant=b64url(grant), request_id=b64url(bytes(40))))


@pytest.mark.parametrize(
    "change",
    [
        {"statement": b64url(bytes(32))},
        {"ground": "RECORD_MISSING"},
        {"department": "spiffe://heyan/department/land"},
        {"request_id": b64url(bytes(17))},
    ],
)
def test_dispute_that_was_changed_after_its_approval_is_refused(desk, change, refused):
    with refused(Reason.EVIDENCE_INVALID):
        desk.disputes.dispute(desk.body(**change))


def test_approval_of_a_withdrawal_is_none_of_a_dispute(desk, refused):
    approval = assertion_to_json(desk.issuer.withdrawal(desk.grant))
    with refused(Reason.EVIDENCE_INVALID):
        desk.disputes.dispute(desk.body(assertion=approval))


def test_free_text_is_no_ground(desk, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        desk.disputes.dispute(desk.body(ground="户口上的名字写错了"))


def test_disputing_again_gives_the_same_report_also_after_a_restart(desk, federation, tmp_path):
    first = desk.disputes.dispute(desk.body())
    desk.issuer.now += 60
    assert desk.disputes.dispute(desk.body(desk.dispute(ground=DisputeGround.RECORD_MISSING))) == first
    again = IssuerStore(tmp_path / "issuer.db")
    assert [report.report for report in again.unreported(9)] == [first]


def test_family_that_disputes_anothers_answer_first_does_not_keep_that_family_from_disputing(desk, federation, now):
    """The digest of a statement stands in the log: whoever reads it there must not be able to take its dispute."""
    others = desk.issuer.issue(account="mother", child=OTHER_CHILD.id_number)
    foreign = desk.disputes.dispute(desk.body(desk.dispute(grant_digest=others.digest)))
    own = desk.disputes.dispute(desk.body())
    assert own != foreign, "nor is the first one's report given to the second"
    assert open_report(own, federation.registry, now).grant_digest == desk.grant.digest
    assert {report.report for report in desk.issuer.store.unreported(9)} == {foreign, own}


def test_dispute_that_named_the_wrong_department_is_followed_by_one_that_names_the_right_one(desk, federation, now):
    mistaken = desk.disputes.dispute(desk.body(desk.dispute(department=list(DEPARTMENTS.values())[1])))
    (report,) = desk.issuer.store.unreported(9)
    desk.issuer.store.end_report(report.said, desk.issuer.now, Reason.ANSWER_NOT_DISPUTABLE)
    assert desk.disputes.dispute(desk.body(desk.dispute(department=list(DEPARTMENTS.values())[1]))) == mistaken
    again = desk.disputes.dispute(desk.body())
    assert open_report(again, federation.registry, now).department == POLICE
    assert [report.report for report in desk.issuer.store.unreported(9)] == [again]


def test_flood_of_disputes_of_one_grant_is_bounded(desk, refused, monkeypatch):
    monkeypatch.setattr(disputes, "MAX_DISPUTES_OF_A_GRANT", 3)
    for number in range(3):
        desk.disputes.dispute(desk.body(desk.dispute(statement_digest=bytes([number]) * 32)))
    with refused(Reason.TOO_MANY_DISPUTES):
        desk.disputes.dispute(desk.body(desk.dispute(statement_digest=b"x" * 32)))


def test_report_is_forgotten_with_its_grant_once_it_was_taken(desk):
    desk.disputes.dispute(desk.body())
    (report,) = desk.issuer.store.unreported(9)
    desk.issuer.now += 400 * 86_400
    desk.issuer.service.purge()
    assert desk.issuer.store.unreported(9) == (report,), "not taken yet"
    desk.issuer.store.end_report(report.said, desk.issuer.now, None)
    desk.issuer.service.purge()
    assert desk.issuer.store.report_of(report.said) is None


# -- reported until it is taken -----------------------------------------------------------------------------


class Reporter(DisputeReporter):
    """Reports to a gateway that says what a test wants."""

    def __init__(self, desk, clock):
        super().__init__(desk.issuer.store, registry=lambda: desk.issuer.federation.registry, tls=None, clock=clock)
        self.answer = None
        self.reported: list[StoredReport] = []

    async def _report(self, report):
        self.reported.append(report)
        if self.answer is not None:
            raise self.answer


@pytest.fixture
def reporter(desk, now, monkeypatch):
    monkeypatch.setattr(dispute_reports, "FIRST_DELAY", 0.02)
    return Reporter(desk, lambda: now)


async def test_report_is_brought_once_it_can_be(desk, reporter):
    desk.disputes.dispute(desk.body())
    reporter.answer = UnreachableError(Reason.PEER_UNREACHABLE)
    await reporter.run_once()
    await reporter.run_once()  # pausing
    assert len(reporter.reported) == 1
    assert len(desk.issuer.store.unreported(9)) == 1
    reporter.answer = None
    await asyncio.sleep(0.05)
    for _ in range(2):
        await reporter.run_once()
    assert len(reporter.reported) == 2
    assert not desk.issuer.store.unreported(9)


async def test_report_that_is_refused_for_good_is_not_brought_again(desk, reporter):
    desk.disputes.dispute(desk.body())
    reporter.answer = NotGrantedError(Reason.ANSWER_NOT_DISPUTABLE)
    await reporter.run_once()
    assert not desk.issuer.store.unreported(9)


async def test_refusal_that_a_newer_registry_may_mend_is_not_for_good(desk, reporter):
    desk.disputes.dispute(desk.body())
    reporter.answer = NotGrantedError(Reason.DISPUTE_INVALID)
    await reporter.run_once()
    assert len(desk.issuer.store.unreported(9)) == 1


async def test_gateway_that_is_away_keeps_no_report_from_another_gateway(desk, reporter, monkeypatch):
    monkeypatch.setattr(dispute_reports, "AT_ONCE", 2)
    for number in range(3):
        desk.disputes.dispute(desk.body(desk.dispute(statement_digest=bytes([number]) * 32)))
    desk.issuer.store.put_report(StoredReport(b"s" * 32, desk.grant.claims.jti, OTHER_GATEWAY, "report"), 2e9)
    reporter.answer = UnreachableError(Reason.PEER_UNREACHABLE)
    for _ in range(2):
        await reporter.run_once()
    assert [report.gateway for report in reporter.reported] == [GATEWAY, OTHER_GATEWAY]
