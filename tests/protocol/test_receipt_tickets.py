"""Offline tickets in receipts, and every attack on them: by who holds the receipt, and by a gateway that lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from google.protobuf.message import DecodeError

from gateway.protocol.errors import BadDataError, ForgedError, NotCurrentError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.limits import OFFLINE_RESULT_LIFETIME
from gateway.protocol.offline import OfflineGround, OfflineOutcome, OfflineReason, SignedResult, Subject
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.receipt_tickets import MAX_TICKETS
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import receipt_pb2
from tests.federation import OTHER_GATEWAY, OTHER_REQUESTER, REQUESTER, edit_party
from tests.protocol.casework import (
    FEDERATION,
    HRSS,
    LAND,
    LOGGED_AT,
    NOW,
    OPERATOR,
    POLICE,
    Case,
    flip,
    gap,
    genuine,
    make_query,
    refused,
    sign_query,
)
from tests.protocol.ticket_case import (
    HOME,
    MONTHS,
    OPENED_AT,
    RESOLVED_AT,
    STAFF,
    receipt_with,
    resolved,
    result_of,
    ticket_of,
)

INVALID = Reason.RECEIPT_INVALID
UNAVAILABLE = OfflineGround.UNAVAILABLE


def verify(receipt: receipt_pb2.Receipt) -> VerifiedReceipt:
    return verify_receipt(receipt, OPERATOR)


def refuse(receipt: receipt_pb2.Receipt, reason: Reason = INVALID) -> None:
    with refused(ForgedError, reason):
        verify(receipt)


# -- genuine --------------------------------------------------------------------------------------------------


def test_genuine_tickets_hold() -> None:
    home, months = verify(receipt_with(resolved(ticket_of()), ticket_of(MONTHS, UNAVAILABLE))).tickets
    assert (home.opened.subject, home.ground, home.department) == (HOME, OfflineGround.UNDETERMINED, LAND)
    assert (home.opened.open_time, home.waited) == (OPENED_AT, 3600.0)
    assert home.resolution is not None
    assert (home.resolution.key_id, home.resolution.log_time) == (STAFF.key_id, RESOLVED_AT)
    assert home.resolution.result.outcome is OfflineOutcome.ACCEPTED
    assert (months.ground, months.department, months.resolution) == (UNAVAILABLE, HRSS, None)


def test_receipt_without_tickets_has_none() -> None:
    assert verify(genuine().receipt()).tickets == ()


def answered_afterwards(status: CheckStatus, outcome: Outcome) -> receipt_pb2.Receipt:
    """Months unavailable, then a ticket, then an answer by its department."""
    case, first, later = Case(), genuine(), genuine()
    statement = case.attest(HRSS, "months", outcome)
    later.statements += case.batch(HRSS, statement)
    later.unavailable.clear()
    ticket = ticket_of(MONTHS, UNAVAILABLE)
    second = case.leaf([case.row(HRSS, "months", status, statement=statement)], at=LOGGED_AT + 30)
    proofs = case.record(first.leaf(), *ticket_at(ticket, LOGGED_AT + 20).leaves, second)
    receipt = later.receipt(leaves=[proofs[0], proofs[2]])
    receipt.tickets.add(subject={"check_id": "months"}, opened=proofs[1])
    return receipt


def ticket_at(ticket: Any, at: float) -> Any:
    return replace(ticket, opened_at=at)


@pytest.mark.parametrize("outcome", [Outcome.YES, Outcome.NO, Outcome.UNDETERMINED])
def test_ticket_stands_beside_an_answer_that_came_later(outcome: Outcome) -> None:
    verified = verify(answered_afterwards(CheckStatus.ANSWERED, outcome))
    assert verified.tickets[0].ground is UNAVAILABLE
    assert next(answer for answer in verified.answers if answer.check.check_id == "months").outcome is outcome


def test_contradicted_check_is_a_ground() -> None:
    pieces = genuine()
    contradicted = Reason.ANSWERS_CONTRADICT.value
    pieces.unavailable = [gap("months", HRSS, reason=contradicted, next_step=int(NextStep.OFFLINE))]
    pieces.rows[3] = pieces.case.row(HRSS, "months", CheckStatus.CONTRADICTED, reason=contradicted)
    assert verify(receipt_with(ticket_of(MONTHS), pieces=pieces)).tickets[0].ground is OfflineGround.UNDETERMINED


def test_deferred_check_is_a_ground() -> None:
    query = make_query(answer_until_time=NOW + 7200)
    pieces = genuine(Case(signed=sign_query(query), query=query))
    pieces.unavailable = [gap("months", HRSS, next_step=int(NextStep.DEFERRED))]
    pieces.rows[3] = pieces.case.row(HRSS, "months", CheckStatus.DEFERRED, reason=Reason.DEPARTMENT_TIMED_OUT.value)
    ticket = ticket_of(MONTHS, UNAVAILABLE, pieces.case)
    assert verify(receipt_with(ticket, pieces=pieces)).tickets[0].ground is UNAVAILABLE
    refuse(receipt_with(ticket_of(MONTHS, OfflineGround.UNDETERMINED, pieces.case), pieces=pieces))


# -- the ground -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check_id", ["hukou", "identity", "lease"], ids=["yes", "no", "refused"])
@pytest.mark.parametrize("ground", OfflineGround)
def test_ticket_for_what_was_told_online_is_caught(check_id: str, ground: OfflineGround) -> None:
    refuse(receipt_with(ticket_of(Subject(check_id=check_id), ground)))


@pytest.mark.parametrize(
    ("subject", "ground"),
    [
        (HOME, UNAVAILABLE),
        (HOME, OfflineGround.OFFLINE_ONLY),
        (MONTHS, OfflineGround.UNDETERMINED),
        (MONTHS, OfflineGround.OFFLINE_ONLY),
    ],
)
def test_ground_that_the_answer_is_not_is_caught(subject: Subject, ground: OfflineGround) -> None:
    refuse(receipt_with(ticket_of(subject, ground)))


def test_ticket_that_the_log_records_before_any_online_attempt_is_caught() -> None:
    ticket = ticket_of()
    proofs = genuine().case.record(*ticket.leaves, genuine().leaf())
    receipt = genuine().receipt(leaves=[proofs[1]])
    receipt.tickets.add(subject={"check_id": "home"}, opened=proofs[0])
    refuse(receipt)


def test_ticket_opened_after_the_answer_that_its_ground_passes_over_is_caught() -> None:
    """The log has unavailable, yes, ticket: the first row does not count any more."""
    case, later = Case(), genuine()
    statement = case.attest(HRSS, "months")
    later.statements += case.batch(HRSS, statement)
    later.unavailable.clear()
    second = case.leaf([case.row(HRSS, "months", CheckStatus.ANSWERED, statement=statement)], at=LOGGED_AT + 30)
    proofs = case.record(genuine().leaf(), second, *ticket_of(MONTHS, UNAVAILABLE).leaves)
    receipt = later.receipt(leaves=proofs[:2])
    receipt.tickets.add(subject={"check_id": "months"}, opened=proofs[2])
    refuse(receipt)


def test_ticket_that_runs_backwards_in_time_is_caught() -> None:
    refuse(receipt_with(ticket_at(ticket_of(), LOGGED_AT - 1)))


# -- whose ticket ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"requester": OTHER_REQUESTER},
        {"query_tag": bytes(32)},
        {"check_tag": bytes(32)},
        {"ticket_tag": bytes(32)},
        {"department": POLICE},
        {"claim": "identity.valid@1"},
        {"region": "430104"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_leaf_that_is_of_another_ticket_is_caught(changes: dict[str, Any]) -> None:
    refuse(receipt_with(ticket_of(**changes)))


def test_material_in_place_of_a_check_is_caught() -> None:
    ticket = ticket_of()
    ticket.opened.material = "birth_certificate"
    refuse(receipt_with(ticket))


def test_ticket_of_another_query_is_caught() -> None:
    other = make_query(request_id=b"another-query-id")
    case = Case(signed=sign_query(other), query=other)
    refuse(receipt_with(ticket_of(case=case)))


def test_ticket_for_what_was_not_asked_is_caught() -> None:
    receipt = receipt_with(ticket_of())
    receipt.tickets[0].subject.check_id = "nothing"
    refuse(receipt)


def test_ticket_shown_for_another_check_is_caught() -> None:
    receipt = receipt_with(ticket_of())
    receipt.tickets[0].subject.check_id = "months"
    refuse(receipt)


def test_ticket_shown_twice_is_caught() -> None:
    receipt = receipt_with(ticket_of())
    receipt.tickets.append(receipt.tickets[0])
    refuse(receipt)


def test_tickets_out_of_order_are_caught() -> None:
    receipt = receipt_with(ticket_of(), ticket_of(MONTHS, UNAVAILABLE))
    first, second = (receipt_pb2.ReceiptTicket.FromString(item.SerializeToString()) for item in receipt.tickets)
    del receipt.tickets[:]
    receipt.tickets.extend([second, first])
    refuse(receipt)


def test_more_tickets_than_a_query_can_have_are_refused_unread() -> None:
    receipt = genuine().receipt()
    receipt.tickets.extend([receipt_pb2.ReceiptTicket()] * (MAX_TICKETS + 1))
    refuse(receipt)


# -- the log --------------------------------------------------------------------------------------------------


def test_ticket_that_the_log_lacks_is_caught() -> None:
    """The gateway shows a proof of another leaf."""
    receipt = receipt_with(ticket_of())
    receipt.tickets[0].opened.proof = receipt.leaves[0].proof
    refuse(receipt, Reason.PROOF_INVALID)


def test_ticket_of_another_tree_is_caught() -> None:
    receipt, other = receipt_with(ticket_of()), receipt_with(ticket_of(), before=(b"x",))
    receipt.tickets[0].CopyFrom(other.tickets[0])
    refuse(receipt)


@pytest.mark.parametrize("frame", [{"gateway": OTHER_GATEWAY}, {"registry_version": 99}], ids=["gateway", "registry"])
def test_leaf_of_another_gateway_or_a_newer_registry_is_caught(frame: dict[str, Any]) -> None:
    refuse(receipt_with(replace(ticket_of(), frame=frame)))


def test_leaf_of_an_answer_in_place_of_a_tickets_is_caught() -> None:
    receipt = receipt_with(ticket_of())
    receipt.tickets[0].opened.CopyFrom(receipt.leaves[0])
    refuse(receipt)


# -- the result -----------------------------------------------------------------------------------------------


def test_results_swapped_between_two_tickets_are_caught() -> None:
    receipt = receipt_with(resolved(ticket_of()), resolved(ticket_of(MONTHS, UNAVAILABLE)))
    first, second = (receipt_pb2.ReceiptTicket.FromString(item.SerializeToString()) for item in receipt.tickets)
    for name in ("result", "resolved"):
        getattr(receipt.tickets[0], name).CopyFrom(getattr(second, name))
        getattr(receipt.tickets[1], name).CopyFrom(getattr(first, name))
    refuse(receipt)


def test_results_swapped_between_two_receipts_are_caught_also_when_the_gateway_logs_them_so() -> None:
    other = make_query(request_id=b"another-query-id")
    foreign = result_of(ticket_of(case=Case(signed=sign_query(other), query=other)))
    refuse(receipt_with(resolved(ticket_of(), foreign)), Reason.OFFLINE_RESULT_INVALID)


@pytest.mark.parametrize(
    "changes",
    [
        {"ticket_id": bytes(32)},
        {"requester": OTHER_REQUESTER},
        {"query_digest": bytes(32)},
        {"subject": MONTHS},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_result_of_another_ticket_is_caught(changes: dict[str, Any]) -> None:
    ticket = ticket_of()
    refuse(receipt_with(resolved(ticket, result_of(ticket, **changes))), Reason.OFFLINE_RESULT_INVALID)


@pytest.mark.parametrize(
    "key",
    [FEDERATION.staff_keys[OTHER_REQUESTER], FEDERATION.signing_keys[REQUESTER], FEDERATION.signing_keys[LAND]],
    ids=["other staff", "query key", "answer key"],
)
def test_result_by_no_staff_key_of_the_requester_is_caught(key: Any) -> None:
    ticket = ticket_of()
    refuse(receipt_with(resolved(ticket, result_of(ticket, key))), Reason.OFFLINE_RESULT_INVALID)


def test_gateway_that_turns_accepted_into_rejected_is_caught() -> None:
    ticket = ticket_of()
    signed = result_of(ticket)
    turned = result_of(ticket, outcome=OfflineOutcome.REJECTED, reason=OfflineReason.NOT_PRESENTED).result
    forged = SignedResult(turned, signed.key_id, signed.signature)
    refuse(receipt_with(resolved(ticket, forged)), Reason.OFFLINE_RESULT_INVALID)


def test_changed_signature_is_caught() -> None:
    ticket = ticket_of()
    signed = result_of(ticket)
    forged = replace(signed, signature=flip(signed.signature))
    refuse(receipt_with(resolved(ticket, forged)), Reason.OFFLINE_RESULT_INVALID)


@pytest.mark.parametrize("dropped", ["result", "resolved"])
def test_result_without_its_leaf_and_leaf_without_its_result_are_caught(dropped: str) -> None:
    receipt = receipt_with(resolved(ticket_of()))
    receipt.tickets[0].ClearField(dropped)  # type: ignore[arg-type]
    refuse(receipt)


@pytest.mark.parametrize(
    "changes",
    [
        {"requester": OTHER_REQUESTER},
        {"ticket_tag": bytes(32)},
        {"result_digest": bytes(32)},
        {"region": "430104"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_leaf_that_records_another_result_is_caught(changes: dict[str, Any]) -> None:
    refuse(receipt_with(resolved(ticket_of(), **changes)))


def test_result_that_the_log_records_before_its_ticket_is_caught() -> None:
    pieces, ticket = genuine(), resolved(ticket_of())
    opened, result = ticket.leaves
    proofs = pieces.case.record(pieces.leaf(), result, opened)
    receipt = receipt_with(ticket)
    receipt.leaves[0].CopyFrom(proofs[0])
    receipt.tickets[0].resolved.CopyFrom(proofs[1])
    receipt.tickets[0].opened.CopyFrom(proofs[2])
    refuse(receipt)


@pytest.mark.parametrize(
    "issue_time",
    [OPENED_AT - 11, RESOLVED_AT + 11, RESOLVED_AT - OFFLINE_RESULT_LIFETIME - 6],
    ids=["before its ticket", "after it was recorded", "too long before"],
)
def test_result_of_another_time_is_caught(issue_time: float) -> None:
    ticket = ticket_of()
    if issue_time < LOGGED_AT:  # a ticket that was opened at once, and resolved too late
        ticket = replace(ticket, opened_at=LOGGED_AT, resolved_at=LOGGED_AT + OFFLINE_RESULT_LIFETIME + 6)
        issue_time = LOGGED_AT
    with refused(NotCurrentError, Reason.OFFLINE_RESULT_NOT_CURRENT):
        verify(receipt_with(resolved(ticket, result_of(ticket, issue_time=issue_time))))


@pytest.mark.parametrize("at", [int(OPENED_AT), int(RESOLVED_AT) + 60], ids=["before", "after"])
@pytest.mark.parametrize("term", ["compromised", "not_after"])
def test_staff_key_is_judged_at_the_logged_time(term: str, at: int) -> None:
    party = FEDERATION.registry.party(REQUESTER)
    keys = tuple(msgspec.structs.replace(key, **{term: at}) if key.use is KeyUse.STAFF else key for key in party.keys)
    newer = FEDERATION.changed(lambda document: edit_party(document, REQUESTER, keys=keys))
    receipt = receipt_with(resolved(ticket_of()))
    receipt.registry = newer.registry.token
    if at < RESOLVED_AT:
        refuse(receipt, Reason.OFFLINE_RESULT_INVALID)
    else:
        assert verify(receipt).tickets[0].resolution is not None


def test_changed_byte_of_a_ticket_is_caught_or_changes_nothing() -> None:
    """Proofs may bear signatures of strangers, for one; the campaign of mutations tries them all."""
    receipt = receipt_with(resolved(ticket_of()))
    genuine_tickets = verify(receipt).tickets
    data = receipt.tickets[0].SerializeToString(deterministic=True)
    for index in range(0, len(data), 7):
        changed = receipt_pb2.Receipt()
        changed.CopyFrom(receipt)
        try:
            changed.tickets[0].CopyFrom(receipt_pb2.ReceiptTicket.FromString(flip(data, index)))
            found = verify(changed).tickets
        except (BadDataError, DecodeError):
            continue
        assert found == genuine_tickets, index


def test_gateway_that_leaves_a_ticket_out_shows_a_receipt_that_holds() -> None:
    """The limit of what a receipt can prove of itself: an earlier receipt, or the log, shows the ticket."""
    assert verify(receipt_with(ticket_of(MONTHS, UNAVAILABLE))).tickets != verify(genuine().receipt()).tickets
