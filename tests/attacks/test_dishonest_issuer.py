"""An issuer that invents approvals, floods, or plays with withdrawals: departments refuse, and the log shows it.

What an issuer is trusted with (who its account holders are, and which passkey is whose) no department can check. All
else here is held against evidence: the passkey's signature over this very grant, and lists that only ever add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consent.authenticator import derive_authenticator
from consent.consent_file import ConsentFile, GrantConsent
from consent.disclosures import group_details
from consent.grant import challenge_of, sign_grant
from consent.passkey import PasskeyEvidence, read_evidence, write_evidence
from gateway.protocol.claims import CLAIMS, Role
from gateway.protocol.leaf import CheckStatus, read_leaf
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2
from sandbox_departments.answering import Budget
from tests import federation as fed
from tests.attacks.front_door import FrontDoor, RefusedError
from tests.attacks.submissions import resting_on
from tests.consent.tokens import segments
from tests.dishonest_gateway import LAND, POLICE, DishonestGateway, dishonest
from tests.gateway.conftest import QUESTIONS, Gateway

BUDGET = 3


@pytest.fixture
def parties(gateway: Gateway, tmp_path: Path) -> Iterator[DishonestGateway]:
    with dishonest(gateway, tmp_path, budget=Budget(BUDGET, float(fed.DAY))) as made:
        yield made


def last_rows(parties: DishonestGateway) -> dict[str, tuple[str, str]]:
    """Status and reason of each department in the newest leaf."""
    rows = parties.gateway.leaves()[-1].verification.checks
    return {row.department: (CheckStatus(int(row.status)).name, row.reason) for row in rows}


# -- consents without a guardian ----------------------------------------------------------------------------


def with_evidence(federation: fed.Federation, grant: GrantConsent, evidence: bytes) -> GrantConsent:
    """The same payload with other evidence, signed anew by its issuer."""
    token = sign_grant(segments(grant.token)[1], evidence, federation.signing_keys[fed.ISSUER])
    return GrantConsent(token, grant.disclosures, grant.salts, evidence, grant.subjects)


def no_evidence(federation: fed.Federation, grant: GrantConsent) -> GrantConsent:
    """Signed without an approval: the header names the digest of nothing."""
    return with_evidence(federation, grant, b"")


def evidence_left_out(_federation: fed.Federation, grant: GrantConsent) -> GrantConsent:
    """There is an approval, it says, and does not show it."""
    return GrantConsent(grant.token, grant.disclosures, grant.salts, b"not shown", grant.subjects)


def another_passkey(federation: fed.Federation, grant: GrantConsent) -> GrantConsent:
    """A real assertion over this very payload, by a passkey of the issuer's own."""
    own = derive_authenticator(b"the issuer's own secret, 32 bytes", "issuer")
    assertion = own.approve(challenge_of(segments(grant.token)[1]), rp_id=fed.RP_ID, origin=fed.ORIGIN)
    salt = read_evidence(grant.evidence).key_salt
    return with_evidence(federation, grant, write_evidence(PasskeyEvidence(salt, own.public_key, assertion)))


def another_approval(federation: fed.Federation, grant: GrantConsent) -> GrantConsent:
    """The guardian's real assertion, over another grant that the guardian did approve."""
    other = read_evidence(federation.issue().grants[0].evidence)
    salted = PasskeyEvidence(read_evidence(grant.evidence).key_salt, other.public_key, other.assertion)
    return with_evidence(federation, grant, write_evidence(salted))


def without_verification(federation: fed.Federation, _grant: GrantConsent) -> GrantConsent:
    """The guardian's authenticator was touched, and did not look who it was."""
    return federation.issue(user_verified=False).grants[0]


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (no_evidence, Reason.EVIDENCE_INVALID),
        (evidence_left_out, Reason.EVIDENCE_MISSING),
        (another_passkey, Reason.EVIDENCE_INVALID),
        (another_approval, Reason.EVIDENCE_INVALID),
        (without_verification, Reason.EVIDENCE_INVALID),
    ],
)
async def test_consent_that_no_guardian_approved_is_refused_by_every_department(
    parties: DishonestGateway, forge: Callable[[fed.Federation, GrantConsent], GrantConsent], reason: Reason
) -> None:
    """The gateway cannot see evidence; each department does, and says so to the requester, the log and its journal."""
    federation = parties.gateway.federation
    consent = ConsentFile((forge(federation, federation.issue().grants[0]),))
    result = await parties.verify(consent)
    assert {(answer.outcome, answer.reason) for answer in result.verified.answers} == {(Outcome.REFUSED, reason)}
    assert last_rows(parties) == dict.fromkeys((POLICE, LAND), ("REFUSED", reason.value))
    for node in parties.nodes.values():
        assert node.refused() == [(fed.REQUESTER, reason)]
        assert node.register.asked == []
    await parties.settle()
    assert parties.audit().findings == ()


async def test_co_resident_in_the_guardians_place_is_refused_by_gateway_and_departments(
    parties: DishonestGateway,
) -> None:
    """A co-resident's own grant, genuine and approved, on the same child: it alone should allow to ask about that."""
    federation = parties.gateway.federation
    (guardians,) = federation.issue().grants
    alone = federation.issue_one(
        fed.BIG_FAMILY,
        group_details(CLAIMS, (fed.REGION,), 3),
        actor=Role.CO_RESIDENT,
        companion=fed.companion_of(guardians),
    )
    assert alone.claims.commitments[Role.CHILD] == guardians.claims.commitments[Role.CHILD]
    submission = parties.gateway.submission(ConsentFile((guardians,)), QUESTIONS[:1])
    bent = resting_on(federation, replace(submission, grants=(alone.presentation,)), alone.digest)
    with pytest.raises(RefusedError) as caught:
        await FrontDoor(parties.gateway).verify(bent)
    assert caught.value.reason == "GRANT_SUBJECT_MISSING"
    assert parties.gateway.leaves()[-1].refusal.reason == "GRANT_SUBJECT_MISSING"
    assert await parties.told(POLICE, parties.asks_for(bent)[POLICE]) == ["GRANT_SUBJECT_MISSING"]
    assert parties.nodes[POLICE].refused() == [(fed.REQUESTER, Reason.GRANT_SUBJECT_MISSING)]


# -- many consents ------------------------------------------------------------------------------------------


async def test_thousand_grants_of_one_person_buy_a_friend_no_more_than_the_budget(parties: DishonestGateway) -> None:
    """Each grant is new, approved and good for three; each department counts the person, not the grants."""
    issued, answered = 12, 0
    for _ in range(issued):
        await parties.verify(parties.gateway.federation.issue())
        answered += last_rows(parties)[LAND] == ("ANSWERED", "")
    assert answered == BUDGET
    assert last_rows(parties)[LAND] == ("REFUSED", "BUDGET_EXHAUSTED")
    for node in parties.nodes.values():
        assert node.refused() == [(fed.REQUESTER, Reason.BUDGET_EXHAUSTED)] * (issued - BUDGET)
        assert len(node.register.asked) == BUDGET


# -- withdrawals --------------------------------------------------------------------------------------------


async def test_list_that_is_shown_differently_to_two_departments_shows_in_one_leaf(parties: DishonestGateway) -> None:
    """Withdrawn for the police, standing for the land office and the gateway: the rows contradict each other."""
    consent = parties.gateway.federation.issue()
    parties.nodes[POLICE].standings.revoked.add(consent.grants[0].digest)
    await parties.verify(consent)
    assert last_rows(parties) == {POLICE: ("REFUSED", "GRANT_REVOKED"), LAND: ("ANSWERED", "")}


async def test_list_that_is_shown_differently_to_the_gateway_withholds_what_departments_answered(
    parties: DishonestGateway,
) -> None:
    """Standing for departments and withdrawn for the gateway, once they have answered: their answers are logged."""
    consent = parties.gateway.federation.issue()
    parties.gateway.standings.revoke_after = parties.gateway.standings.asked + 1
    with pytest.raises(RefusedError) as caught:
        await FrontDoor(parties.gateway).verify(parties.gateway.submission(consent))
    assert caught.value.reason == "GRANT_REVOKED"
    verification, refusal = parties.gateway.leaves()
    statuses = {(CheckStatus(int(row.status)).name, row.reason) for row in verification.verification.checks}
    assert statuses == {("WITHHELD", "GRANT_REVOKED")}
    assert refusal.refusal.reason == "GRANT_REVOKED"
    await parties.settle()
    assert parties.audit().findings == ()


async def test_withdrawal_that_is_taken_back_is_told_by_the_auditor(parties: DishonestGateway) -> None:
    """A node that was started anew knows only the list as it is now; refusal and answer stand under one grant tag."""
    consent = parties.gateway.federation.issue()
    node = parties.nodes[LAND]
    node.standings.revoked.add(consent.grants[0].digest)
    refused = await parties.verify(consent)
    parties.gateway.clock.now += 300
    node.standings.revoked.clear()
    answered = await parties.verify(consent)
    await parties.settle()
    assert grant_tags(refused.receipt.leaves[0].leaf) == grant_tags(answered.receipt.leaves[0].leaf)
    assert parties.found() == [("REINSTATED", LAND)]


def grant_tags(leaf: bytes) -> list[bytes]:
    event: log_pb2.VerificationEvent = read_leaf(leaf).verification
    return list(event.grant_tags)
