"""Disputes at the gateway: who may open one, that none is lost or doubled, and whose word resolves it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.departments.port import Orphans
from gateway.protocol.attestation import sign_batch, write_statement
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.errors import (
    ForgedError,
    LogUnavailableError,
    NotGrantedError,
    OverloadedError,
    UnknownPeerError,
    UnreachableError,
)
from gateway.protocol.identities import parse_identity
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import ResolutionOutcome, ResolutionReason
from tests import federation as fed
from tests.gateway.conftest import NOW, PEER, QUESTIONS, Gateway, department_of, open_gateway
from tests.gateway.disputing import HUKOU, ISSUER, answered
from tests.protocol.casework import refused

OTHER_PEER = parse_identity(fed.OTHER_REQUESTER)
OTHER_ISSUER = parse_identity(fed.OTHER_ISSUER)


def events(gateway: Gateway, kind: str) -> list[Any]:
    return [getattr(leaf, kind) for leaf in gateway.leaves() if leaf.HasField(kind)]  # type: ignore[arg-type]


async def test_dispute_is_logged_under_the_leaf_key_and_names_nobody(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.open()
    (event,) = events(gateway, "dispute")
    assert (event.opener, event.department) == (fed.REQUESTER, department_of(gateway, HUKOU).department)
    assert event.statement_digest == dispute_id
    assert asked.consent.grants[0].digest not in gateway.store.leaf(1)
    (dispute,) = asked.attached().disputes
    assert (dispute.check_id, dispute.ground, dispute.resolution) == ("c1", DisputeGround.RECORD_OUTDATED, None)


async def test_guardian_disputes_through_the_issuer_of_the_grant(gateway: Gateway) -> None:
    asked = await answered(gateway)
    await asked.open(asked.reported(), ISSUER)
    (dispute,) = asked.attached().disputes
    assert dispute.opener == fed.ISSUER


async def test_the_same_answer_disputed_again_is_one_dispute_whoever_disputes_it(gateway: Gateway) -> None:
    asked = await answered(gateway)
    first = await gateway.disputes.open(asked.signed(), PEER)
    gateway.clock.now += 60
    for message, peer in ((asked.signed(ground=DisputeGround.RECORD_WRONG), PEER), (asked.reported(), ISSUER)):
        assert await gateway.disputes.open(message, peer) == first
    assert len(events(gateway, "dispute")) == 1


async def test_the_same_answer_disputed_at_once_is_one_dispute(gateway: Gateway) -> None:
    asked = await answered(gateway)
    calls = [(asked.signed(), PEER)] * 5 + [(asked.reported(), ISSUER)] * 5
    opened = await asyncio.gather(*(gateway.disputes.open(message, peer) for message, peer in calls))
    assert len({item.dispute_id for item in opened}) == len(events(gateway, "dispute")) == 1


@pytest.mark.parametrize(
    "change",
    [{"request_id": bytes(16)}, {"statement_digest": bytes(32)}, {"department": fed.DEPARTMENTS[DepartmentKind.LAND]}],
    ids=["no such request", "an answer never given", "by another department"],
)
async def test_dispute_of_what_was_not_answered_is_refused(gateway: Gateway, change: dict[str, Any]) -> None:
    asked = await answered(gateway)
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await asked.open(asked.signed(**change))
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await asked.open(asked.reported(**change), ISSUER)
    assert not events(gateway, "dispute")


async def test_dispute_of_another_requesters_answer_is_refused(gateway: Gateway) -> None:
    asked = await answered(gateway)
    theirs = {"opener": fed.OTHER_REQUESTER, "requester": fed.OTHER_REQUESTER}
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await asked.open(asked.signed(by=fed.OTHER_REQUESTER, **theirs), OTHER_PEER)
    with refused(NotGrantedError, Reason.PEER_IDENTITY_MISMATCH):
        await asked.open(asked.signed(), OTHER_PEER)
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        await asked.open(asked.signed(by=fed.OTHER_REQUESTER), PEER)


async def test_dispute_by_an_issuer_of_another_grant_is_refused(gateway: Gateway) -> None:
    asked = await answered(gateway)
    other = await answered(gateway)
    elsewhere = await answered(gateway, gateway.federation.issue(issuer=fed.OTHER_ISSUER))
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await asked.open(asked.reported(by=fed.OTHER_ISSUER), OTHER_ISSUER)  # a grant that is not its own
    for consent in (other.consent, elsewhere.consent):
        with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
            await asked.open(asked.reported(grant_digest=consent.grants[0].digest), ISSUER)
    with refused(NotGrantedError, Reason.PEER_IDENTITY_MISMATCH):
        await asked.open(asked.reported(), OTHER_ISSUER)


async def test_requester_cannot_pass_for_an_issuer(gateway: Gateway) -> None:
    asked = await answered(gateway)
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        await asked.open(asked.reported(by=fed.REQUESTER), PEER)
    with refused(UnknownPeerError, Reason.PEER_ROLE_NOT_ALLOWED):
        await asked.open(asked.signed(by=fed.ISSUER, requester=fed.ISSUER), ISSUER)


async def test_dispute_for_another_gateway_is_refused(gateway: Gateway) -> None:
    asked = await answered(gateway)
    with refused(NotGrantedError, Reason.QUERY_OTHER_GATEWAY):
        await asked.open(asked.signed(gateway=fed.OTHER_GATEWAY))


async def test_fault_and_refusal_cannot_be_disputed(gateway: Gateway) -> None:
    land, police = department_of(gateway, "property.owns_home@1"), department_of(gateway, HUKOU)
    land.failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT)
    asked = await answered(gateway)
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        asked.dispute("c3")
    police.refusal = Reason.BUDGET_EXHAUSTED
    receipt = await gateway.send(gateway.submission(asked.consent, QUESTIONS[:1]))
    refusal = digest(Kind.STATEMENT, receipt.statements[0].proof.statement)
    request_id = gateway.check(receipt).query.request_id
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await asked.open(asked.signed(request_id=request_id, statement_digest=refusal))


async def test_flood_of_disputes_meets_the_requesters_allowance(gateway: Gateway) -> None:
    several = [await answered(gateway) for _ in range(3)]
    messages = [asked.signed(check) for asked in several for check in ("c1", "c2")]
    for message in messages[:5]:
        await gateway.disputes.open(message, PEER)
    with refused(OverloadedError, Reason.TOO_MANY_DISPUTES):
        await gateway.disputes.open(messages[5], PEER)
    assert (await gateway.disputes.open(messages[0], PEER)).dispute_id  # known: it costs nothing
    assert len(events(gateway, "dispute")) == 5
    gateway.clock.now += 10
    await gateway.disputes.open(messages[5], PEER)


async def test_dispute_that_the_log_cannot_record_is_not_accepted(gateway: Gateway) -> None:
    asked = await answered(gateway)
    gateway.store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await asked.open()
    await gateway.relay.run_once()
    assert not gateway.brought.messages
    gateway.store.fail_before = False
    await asked.open()
    assert len(events(gateway, "dispute")) == 1


async def test_clock_set_back_after_an_answer_does_not_make_its_dispute_void_the_receipt(gateway: Gateway) -> None:
    asked = await answered(gateway)
    gateway.clock.now -= 3
    await asked.open()
    (dispute,) = asked.attached().disputes
    assert dispute.opened == NOW


# -- resolutions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ResolutionReason)
async def test_resolution_is_logged_acknowledged_and_proven(gateway: Gateway, reason: ResolutionReason) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.resolved(reason)
    (event,) = events(gateway, "resolution")
    assert (event.dispute_id, event.department) == (dispute_id, department_of(gateway, HUKOU).department)
    (dispute,) = asked.attached().disputes
    assert dispute.resolution is not None
    assert (dispute.resolution.reason, dispute.resolution.outcome) == (reason, reason.outcome)
    assert department_of(gateway, HUKOU).acknowledged[-1].leaf_indexes == (2,)


async def test_resolution_that_comes_again_is_acknowledged_again_and_logged_once(gateway: Gateway) -> None:
    asked = await answered(gateway)
    orphans = asked.resolution(await asked.open())
    for _ in range(3):
        department_of(gateway, HUKOU).on_batch(orphans.department, orphans.signed, orphans.proofs)
        await gateway.disputes.take_orphans(orphans)
    assert len(events(gateway, "resolution")) == 1
    assert not events(gateway, "recovery")
    assert [item.leaf_indexes for item in department_of(gateway, HUKOU).acknowledged[-3:]] == [(2,)] * 3


async def test_second_resolution_of_a_dispute_is_logged_and_changes_nothing(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.resolved(ResolutionReason.RECORD_CONFIRMED)
    await gateway.disputes.take_orphans(asked.resolution(dispute_id, ResolutionReason.RECORD_UPDATED))
    (dispute,) = asked.attached().disputes
    assert dispute.resolution is not None
    assert dispute.resolution.outcome is ResolutionOutcome.UPHELD
    assert len(events(gateway, "recovery")) == 1


async def test_two_resolutions_at_once_are_one_and_the_other_is_logged_as_recovered(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.open()
    both = [asked.resolution(dispute_id, reason) for reason in list(ResolutionReason)[:2]]
    await asyncio.gather(*map(gateway.disputes.take_orphans, both))
    (event,) = events(gateway, "resolution")
    (recovery,) = events(gateway, "recovery")
    named = {event.statement_digest, *recovery.statement_digests}
    assert named == {proof.digest for orphans in both for proof in orphans.proofs}, "nothing goes unrecorded"
    assert len(asked.attached().disputes) == 1


async def test_one_resolution_over_two_channels_at_once_is_logged_once(gateway: Gateway) -> None:
    asked = await answered(gateway)
    orphans = asked.resolution(await asked.open())
    await asyncio.gather(*(gateway.disputes.take_orphans(orphans) for _ in range(3)))
    assert len(events(gateway, "resolution")) == 1
    assert not events(gateway, "recovery")


async def test_dispute_recorded_by_two_gateways_on_one_store_is_one(tmp_path: Path, federation: fed.Federation) -> None:
    async with open_gateway(tmp_path, federation) as one, open_gateway(tmp_path, federation) as other:
        asked = await answered(one)
        message = asked.signed()
        opened = await asyncio.gather(*(each.disputes.open(message, PEER) for each in (one, other)))
        assert opened[0] == opened[1]
        assert len(events(one, "dispute")) == 1


async def test_resolution_of_another_department_counts_for_nothing(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.open()
    land = department_of(gateway, "property.owns_home@1")
    police = department_of(gateway, HUKOU)
    for orphans in (
        asked.resolution(dispute_id, department=land.department, key=land.key),
        _lying(asked.resolution(dispute_id, key=land.key), land.department),
        _lying(asked.resolution(dispute_id), land.department),
    ):
        await gateway.disputes.take_orphans(orphans)
    assert not events(gateway, "resolution")
    assert gateway.store.open_disputes() == {dispute_id: police.department}


def _lying(orphans: Orphans, department: str) -> Orphans:
    """The same statements over the stream of another department."""
    return Orphans(department, orphans.proofs, orphans.signed)


async def test_resolution_of_no_dispute_is_logged_as_recovered(gateway: Gateway) -> None:
    asked = await answered(gateway)
    await asked.open()
    await gateway.disputes.take_orphans(asked.resolution(b"n" * 32))
    assert len(events(gateway, "recovery")) == 1
    assert not events(gateway, "resolution")


async def test_statements_beside_a_resolution_are_recovered(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.open()
    police = department_of(gateway, HUKOU)
    (resolution,) = (proof.statement for proof in asked.resolution(dispute_id).proofs)
    signed, proofs = sign_batch([resolution, b"late"], police.department, police.key, NOW)
    await gateway.disputes.take_orphans(Orphans(police.department, proofs, signed))
    assert [list(event.statement_digests) for event in events(gateway, "recovery")] == [[proofs[1].digest]]
    assert len(events(gateway, "resolution")) == 1
    assert asked.attached().disputes[0].resolution is not None


async def test_resolution_that_the_log_cannot_record_is_not_acknowledged(gateway: Gateway) -> None:
    asked = await answered(gateway)
    orphans = asked.resolution(await asked.open())
    acknowledged = len(department_of(gateway, HUKOU).acknowledged)
    gateway.store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await gateway.disputes.take_orphans(orphans)
    assert len(department_of(gateway, HUKOU).acknowledged) == acknowledged
    gateway.store.fail_before = False
    await gateway.disputes.take_orphans(orphans)
    assert len(department_of(gateway, HUKOU).acknowledged) == acknowledged + 1


async def test_resolution_is_no_answer_to_a_query(gateway: Gateway) -> None:
    """A department that answers an ask with a resolution has not answered it."""
    asked = await answered(gateway)
    (proof,) = asked.resolution(await asked.open()).proofs
    department_of(gateway, HUKOU).encode = lambda _statement: proof.statement
    again = await gateway.verify(gateway.submission(asked.consent, QUESTIONS[:1]))
    assert [answer.outcome.name for answer in again.answers] == ["UNAVAILABLE"]
    department_of(gateway, HUKOU).encode = write_statement
