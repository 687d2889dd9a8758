"""Disputes at a node: which word it takes, that none is lost or doubled, and what it signs of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.protocol.attestation import open_batch, read_proof, read_signed_batch
from gateway.protocol.beijing import BEIJING
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.errors import (
    ConflictError,
    ForgedError,
    LogUnavailableError,
    MalformedError,
    NotFoundError,
    NotGrantedError,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import ResolutionReason, open_resolution
from heyan.v1 import department_service_pb2 as pb
from heyan.v1 import dispute_pb2
from sandbox_departments.acknowledgements import read_acknowledgement
from sandbox_departments.disputes import decide, listed
from sandbox_departments.journal_entries import BatchSigned, DisputeDecided, DisputeReceived, Resolved
from sandbox_departments.working_days import Calendar
from tests.protocol.casework import refused
from tests.sandbox.asking import (
    DAY,
    GATEWAY,
    ISSUER,
    LAND,
    NOW,
    OTHER_GATEWAY,
    OTHER_REQUESTER,
    PEOPLE,
    REGISTERED,
    Desk,
)
from tests.sandbox.disputing import Case, answered


@pytest.fixture
async def case(desk: Desk) -> Case:
    return await answered(desk)


# -- whose word ---------------------------------------------------------------------------------------------


async def test_dispute_of_the_requester_stands_on_the_list(case: Case) -> None:
    assert await case.receive() == NOW
    (dispute,) = listed(case.desk.journal)
    assert (dispute.dispute_id, dispute.claim, dispute.ground) == (
        case.dispute_id,
        REGISTERED,
        DisputeGround.RECORD_WRONG,
    )
    *_, entry = case.desk.journal.entries()
    assert isinstance(entry, DisputeReceived)
    case.desk.journal.verify_chain()


async def test_dispute_of_the_guardian_stands_on_the_list(case: Case) -> None:
    await case.receive(case.reported())
    (dispute,) = listed(case.desk.journal)
    assert dispute.opener == ISSUER.uri


async def test_dispute_forged_by_the_gateway_is_refused(case: Case) -> None:
    for message in (
        case.signed(key=case.desk.world.log_key),
        case.signed(key=case.desk.world.other_query_key),
        case.reported(key=case.desk.world.query_key),
        case.reported(opener=GATEWAY.uri),
        dispute_pb2.OpenDisputeRequest(statement=case.statements[0]).SerializeToString(),
        b"\xff",
    ):
        with pytest.raises((ForgedError, MalformedError)):
            await case.receive(message)
    assert not listed(case.desk.journal)


async def test_dispute_of_another_requesters_answer_is_refused(case: Case) -> None:
    theirs = {"opener": OTHER_REQUESTER.uri, "requester": OTHER_REQUESTER.uri}
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await case.receive(case.signed(key=case.desk.world.other_query_key, **theirs))


async def test_dispute_by_an_issuer_of_another_grant_is_refused(case: Case) -> None:
    other = await answered(case.desk)
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await case.receive(case.reported(grant_digest=other.consent.digest))


@pytest.mark.parametrize("change", [{"department": LAND.uri}, {"gateway": OTHER_GATEWAY.uri}])
async def test_dispute_for_another_department_or_gateway_is_refused(case: Case, change: dict[str, Any]) -> None:
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        await case.receive(case.signed(**change))


async def test_dispute_of_an_answer_never_given_is_refused(case: Case) -> None:
    invented = case.statements[0][:-16] + bytes(16)  # the same answer under another nonce
    named = digest(Kind.STATEMENT, invented)
    for message in (
        case.signed(statement=invented, statement_digest=named),
        case.signed(statement=invented),
        case.signed(statement=case.statements[1]),
        case.signed(statement=b""),
        case.signed(request_id=bytes(16)),
    ):
        with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
            await case.receive(message)
    assert not listed(case.desk.journal)


async def test_refusal_cannot_be_disputed(desk: Desk) -> None:
    case = await answered(desk)
    (message,) = await desk.answer(desk.world.ask(case.consent))  # the one use is spent
    refusal = message.replies[0].statements[0].statement
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        await case.receive(case.signed(statement=refusal, statement_digest=digest(Kind.STATEMENT, refusal)))


async def test_answer_is_disputed_after_its_statements_are_forgotten(case: Case) -> None:
    case.desk.world.now += DAY / 2
    await case.desk.answerer.purge()
    await case.receive()
    assert len(listed(case.desk.journal)) == 1


# -- once, and for good -------------------------------------------------------------------------------------


async def test_dispute_brought_twice_is_one_with_the_time_of_the_first(case: Case) -> None:
    first = await case.receive()
    case.desk.world.now += 3 * 3_600
    assert await case.receive() == first
    assert await case.receive(case.reported(ground=DisputeGround.OTHER_PERSON)) == first
    assert len(listed(case.desk.journal)) == 1
    assert sum(isinstance(entry, DisputeReceived) for entry in case.desk.journal.entries()) == 1


async def test_node_killed_between_receipt_and_confirmation_has_the_dispute_once(case: Case) -> None:
    desk = case.desk
    first = await case.receive()  # the confirmation is lost with the process
    again = Desk(desk.world, desk.path)
    assert await replace(case, desk=again).receive() == first
    assert len(listed(again.journal)) == 1
    again.close()


async def test_dispute_that_the_journal_cannot_take_is_not_confirmed(case: Case, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE)

    with monkeypatch.context() as planted:
        planted.setattr("sandbox_departments.ledger.Ledger.append", full)
        with pytest.raises(LogUnavailableError):
            await case.receive()
    assert not listed(case.desk.journal)
    await case.receive()


async def test_overdue_disputes_are_counted_by_the_working_day(case: Case) -> None:
    await case.receive()
    calendar = Calendar()
    assert await case.desk.disputes.count(calendar) == (1, 0)
    case.desk.world.now += 20 * DAY
    assert await case.desk.disputes.count(calendar) == (1, 1)
    first = datetime.fromtimestamp(NOW, BEIJING).date()
    month = Calendar(frozenset(first + timedelta(days=day) for day in range(30)))
    assert await case.desk.disputes.count(month) == (1, 0)
    decide(case.desk.journal, case.dispute_id, ResolutionReason.RECORD_CONFIRMED, case.desk.world.now)
    assert await case.desk.disputes.count(calendar) == (0, 0)


# -- resolutions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ResolutionReason)
async def test_decision_is_signed_journalled_and_owed(case: Case, reason: ResolutionReason) -> None:
    await case.resolve(reason)
    (batch,) = case.desk.journal.unasked(GATEWAY.uri)
    owed = case.desk.journal.owed_batch(batch)
    assert owed is not None
    message = pb.AnswerResponse.FromString(owed.message)
    assert message.recovered
    opened = open_batch(read_signed_batch(message.batch), case.desk.world.registry, NOW)
    ((proof,),) = (reply.statements for reply in message.replies)
    resolution = open_resolution(read_proof(proof), opened)
    assert (resolution.statement_digest, resolution.reason) == (case.dispute_id, reason)
    decided, signed = list(case.desk.journal.entries())[-2:]
    assert isinstance(decided, DisputeDecided)
    assert isinstance(signed, BatchSigned)
    (part,) = signed.parts
    assert isinstance(part, Resolved)
    assert part.dispute == case.dispute_id
    case.desk.journal.verify_chain()


async def test_decision_is_signed_once(case: Case) -> None:
    await case.resolve()
    assert await case.desk.disputes.sign_decided() == 0
    again = Desk(case.desk.world, case.desk.path)  # a standby, or the node after a restart
    assert await again.disputes.sign_decided() == 0
    assert len(again.journal.unasked(GATEWAY.uri)) == 1
    again.close()


async def test_node_killed_between_decision_and_signature_signs_after_its_restart(case: Case) -> None:
    await case.receive()
    decide(case.desk.journal, case.dispute_id, ResolutionReason.RECORD_ADDED, NOW)
    again = Desk(case.desk.world, case.desk.path)
    assert await again.disputes.sign_decided() == 1
    again.close()


async def test_resolution_is_owed_until_it_is_acknowledged(case: Case) -> None:
    await case.resolve()
    (batch,) = case.desk.journal.unasked(GATEWAY.uri)
    assert batch in await case.desk.answerer.unacknowledged(GATEWAY.uri)
    acknowledgement = case.desk.world.acknowledgement(batch, 1)
    settlement = await case.desk.answerer.acknowledge(GATEWAY.uri, [read_acknowledgement(acknowledgement)])
    assert settlement.settled == (batch,)
    assert not case.desk.journal.unasked(GATEWAY.uri)


async def test_decision_cannot_be_changed(case: Case) -> None:
    await case.receive()
    decide(case.desk.journal, case.dispute_id, ResolutionReason.RECORD_CONFIRMED, NOW)
    decide(case.desk.journal, case.dispute_id, ResolutionReason.RECORD_CONFIRMED, NOW + 1)  # the same again
    with refused(ConflictError, Reason.DISPUTE_RESOLVED):
        decide(case.desk.journal, case.dispute_id, ResolutionReason.RECORD_UPDATED, NOW)
    assert sum(isinstance(entry, DisputeDecided) for entry in case.desk.journal.entries()) == 1


async def test_decision_of_no_dispute_is_refused(case: Case) -> None:
    with refused(NotFoundError, Reason.DISPUTE_UNKNOWN):
        decide(case.desk.journal, case.dispute_id, ResolutionReason.RECORD_UPDATED, NOW)


async def test_what_is_kept_of_a_dispute_names_nobody(case: Case) -> None:
    await case.resolve()
    kept = b"".join(file.read_bytes() for file in case.desk.path.parent.glob("journal.db*"))
    for subject in PEOPLE.values():
        assert subject.id_number.encode() not in kept
        assert subject.name.encode() not in kept
