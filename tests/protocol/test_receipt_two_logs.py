"""Receipts over two logs: one ended while a query was open, and the next went on with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from gateway.protocol.checkpoint import origin_of
from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.note import SignerKey
from gateway.protocol.offline import write_signed_result, write_subject
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.proof import parse_proof
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.registry_terms import Document
from heyan.v1 import receipt_pb2
from tests.federation import GATEWAY, LOG_ORIGIN, OTHER_GATEWAY, Federation, edit_party
from tests.protocol.casework import (
    FEDERATION,
    HRSS,
    LOGGED_AT,
    NOW,
    OPERATOR,
    Case,
    Pieces,
    gap,
    genuine,
    make_query,
    sign_query,
    signer_of,
)
from tests.protocol.test_receipt_disputes import attested, record
from tests.protocol.test_receipt_tickets import UNAVAILABLE
from tests.protocol.ticket_case import MONTHS, resolved, ticket_of

NEXT = "heyan.test/log/2"
DEFERRING = make_query(answer_until_time=NOW + 3_600)
LATER = LOGGED_AT + 100
TIMED_OUT = "DEPARTMENT_TIMED_OUT"


def listing(log_origin: str, *ended: str, gateway: str = GATEWAY) -> Callable[[Document], Document]:
    """The gateway's terms with these logs."""

    def edit(document: Document) -> Document:
        terms = next(party.gateway for party in document.parties if party.id == gateway)
        changed = msgspec.structs.replace(terms, log_origin=log_origin, ended_origins=ended)
        return edit_party(document, gateway, gateway=changed)

    return edit


WENT_ON = FEDERATION.changed(listing(NEXT, LOG_ORIGIN))


def signer(origin: str) -> SignerKey:
    return signer_of(FEDERATION.signing_keys[GATEWAY], origin)


def deferred(federation: Federation = WENT_ON) -> tuple[Pieces, bytes, bytes]:
    """A receipt whose check waited: the leaf that says so, and the one that answers."""
    case = Case(federation=federation, query=DEFERRING, signed=sign_query(DEFERRING))
    made = genuine(case)
    made.rows[3] = case.row(HRSS, "months", CheckStatus.DEFERRED, reason=TIMED_OUT)
    waits = made.leaf(registry_version=FEDERATION.registry.version)
    statement = case.attest(HRSS, "months")
    answers = case.leaf([case.row(HRSS, "months", CheckStatus.ANSWERED, statement=statement)], LATER)
    made.unavailable = []
    made.statements += case.batch(HRSS, statement)
    return made, waits, answers


def over_two(federation: Federation = WENT_ON, first: str = LOG_ORIGIN, second: str = NEXT) -> receipt_pb2.Receipt:
    made, waits, answers = deferred(federation)
    leaves = [*made.case.record(waits, signer=signer(first)), *made.case.record(answers, signer=signer(second))]
    return made.receipt(leaves=leaves)


def verify(receipt: receipt_pb2.Receipt) -> VerifiedReceipt:
    return verify_receipt(receipt, OPERATOR)


def refuse(receipt: receipt_pb2.Receipt) -> None:
    with pytest.raises(ForgedError):
        verify(receipt)


def test_query_that_waited_while_the_log_ended_is_proven_in_both() -> None:
    verified = verify(over_two())
    assert verified.answers[3].outcome is Outcome.YES
    assert [checkpoint.origin for checkpoint in verified.checkpoints] == [LOG_ORIGIN, NEXT]
    assert verified.checkpoint == verified.checkpoints[1]
    assert [origin_of(note) for note in verified.notes] == [LOG_ORIGIN, NEXT]


def test_leaves_of_two_logs_may_have_one_index() -> None:
    """Both are the second leaf of their trees: which comes first is the registry's word."""
    receipt = over_two()
    assert [parse_proof(item.proof.encode()).index for item in receipt.leaves] == [1, 1]
    verify(receipt)


def test_receipt_of_the_ended_log_alone_still_holds() -> None:
    made = genuine(Case(federation=WENT_ON))
    verified = verify(made.receipt(leaves=made.case.record(made.leaf())))
    assert verified.checkpoint.origin == LOG_ORIGIN


def test_receipt_of_before_the_end_holds_with_the_registry_of_before() -> None:
    assert verify(genuine().receipt()).checkpoints[-1].origin == LOG_ORIGIN


# -- what must not be ----------------------------------------------------------------------------------------


def test_log_that_the_registry_does_not_name_yet_proves_nothing() -> None:
    """The gateway went on before the operator said so, or somebody made a second log of its key."""
    refuse(over_two(FEDERATION))
    refuse(over_two(second="heyan.test/log/other"))
    made = genuine(Case(federation=FEDERATION))
    refuse(made.receipt(leaves=made.case.record(made.leaf(), signer=signer(NEXT))))


def test_log_of_another_gateway_proves_nothing() -> None:
    refuse(over_two(FEDERATION.changed(listing(NEXT, LOG_ORIGIN, gateway=OTHER_GATEWAY))))


def test_leaves_against_the_order_of_the_logs_are_refused() -> None:
    refuse(over_two(first=NEXT, second=LOG_ORIGIN))
    refuse(over_two(FEDERATION.changed(listing(LOG_ORIGIN, NEXT))))


def test_listed_leaves_in_reverse_are_refused() -> None:
    receipt = over_two()
    first, second = receipt.leaves
    swapped = receipt_pb2.Receipt()
    swapped.CopyFrom(receipt)
    del swapped.leaves[:]
    swapped.leaves.extend([second, first])
    refuse(swapped)


def test_leaf_of_the_ended_log_under_the_checkpoint_of_the_next_is_refused() -> None:
    receipt = over_two()
    old, new = (parse_proof(item.proof.encode()) for item in receipt.leaves)
    receipt.leaves[0].proof = replace(old, checkpoint=new.checkpoint).format()
    refuse(receipt)


def test_leaf_of_the_next_log_under_the_checkpoint_of_the_ended_one_is_refused() -> None:
    receipt = over_two()
    old, new = (parse_proof(item.proof.encode()) for item in receipt.leaves)
    receipt.leaves[1].proof = replace(new, checkpoint=old.checkpoint).format()
    refuse(receipt)


def test_two_trees_of_the_ended_log_are_refused_also_beside_the_next() -> None:
    made, waits, answers = deferred()
    middle = made.case.leaf([made.case.row(HRSS, "months", CheckStatus.DEFERRED, reason=TIMED_OUT)], LOGGED_AT + 50)
    small = made.case.record(waits)
    _, large = made.case.record(waits, middle)
    new = made.case.record(answers, signer=signer(NEXT))
    refuse(made.receipt(leaves=[*small, large, *new]))
    both = made.case.record(waits, middle)
    verify(made.receipt(leaves=[*both, *new]))


def test_checkpoint_of_the_next_log_signed_as_the_ended_one_is_refused() -> None:
    """The same key under the other name: another key to a reader of notes."""
    receipt = over_two()
    proof = parse_proof(receipt.leaves[1].proof.encode())
    text, _, _ = proof.checkpoint.partition("\n\n")
    _, _, signatures = parse_proof(receipt.leaves[0].proof.encode()).checkpoint.partition("\n\n")
    receipt.leaves[1].proof = replace(proof, checkpoint=f"{text}\n\n{signatures}").format()
    refuse(receipt)


def test_answer_does_not_run_backwards_in_time_from_log_to_log() -> None:
    made, waits, _ = deferred()
    statement = made.case.attest(HRSS, "months")
    early = made.case.leaf([made.case.row(HRSS, "months", CheckStatus.ANSWERED, statement=statement)], LOGGED_AT - 0.5)
    leaves = [*made.case.record(waits), *made.case.record(early, signer=signer(NEXT))]
    refuse(made.receipt(leaves=leaves))


# -- tickets and disputes ------------------------------------------------------------------------------------


def with_ticket(opened_in: str, resolved_in: str) -> receipt_pb2.Receipt:
    """The genuine receipt of the ended log, with a resolved ticket in these logs."""
    ticket = resolved(ticket_of(MONTHS, UNAVAILABLE))
    made = genuine(Case(federation=WENT_ON))
    opening, result = ticket.leaves
    groups: dict[str, list[bytes]] = {LOG_ORIGIN: [made.leaf()], NEXT: []}
    groups[opened_in].append(opening)
    groups[resolved_in].append(result)
    proven = {
        item.leaf: item
        for origin, leaves in groups.items()
        for item in made.case.record(*leaves, signer=signer(origin))
    }
    receipt = made.receipt(leaves=[proven[groups[LOG_ORIGIN][0]]])
    shown = receipt.tickets.add(subject=write_subject(ticket.subject), opened=proven[opening])
    assert ticket.result is not None
    shown.result.CopyFrom(write_signed_result(ticket.result))
    shown.resolved.CopyFrom(proven[result])
    return receipt


@pytest.mark.parametrize(("opened", "resolved_in"), [(LOG_ORIGIN, LOG_ORIGIN), (LOG_ORIGIN, NEXT), (NEXT, NEXT)])
def test_ticket_is_believed_in_whichever_log_it_went_on(opened: str, resolved_in: str) -> None:
    verified = verify(with_ticket(opened, resolved_in))
    assert verified.tickets[0].resolution is not None
    assert verified.checkpoint.origin == resolved_in


def test_result_in_the_log_before_its_ticket_is_refused() -> None:
    refuse(with_ticket(NEXT, LOG_ORIGIN))


def with_dispute(opened_in: str, resolved_in: str) -> receipt_pb2.Receipt:
    """The genuine receipt of the ended log, with a resolved dispute in these logs."""
    made, shown = genuine(Case(federation=WENT_ON)), record(resolution=attested())
    groups: dict[str, list[bytes]] = {LOG_ORIGIN: [made.leaf()], NEXT: []}
    groups[opened_in].append(shown.leaf.leaf)
    groups[resolved_in].append(shown.resolution_leaf.leaf)
    proven = {
        item.leaf: item
        for origin, leaves in groups.items()
        for item in made.case.record(*leaves, signer=signer(origin))
    }
    shown.leaf.CopyFrom(proven[shown.leaf.leaf])
    shown.resolution_leaf.CopyFrom(proven[shown.resolution_leaf.leaf])
    return made.receipt(leaves=[proven[groups[LOG_ORIGIN][0]]], disputes=[shown])


@pytest.mark.parametrize(("opened", "resolved_in"), [(LOG_ORIGIN, LOG_ORIGIN), (LOG_ORIGIN, NEXT), (NEXT, NEXT)])
def test_dispute_is_believed_in_whichever_log_it_went_on(opened: str, resolved_in: str) -> None:
    verified = verify(with_dispute(opened, resolved_in))
    assert verified.disputes[0].resolution is not None
    assert verified.checkpoint.origin == resolved_in


def test_resolution_in_the_log_before_its_dispute_is_refused() -> None:
    refuse(with_dispute(NEXT, LOG_ORIGIN))


def test_checkpoint_that_proves_nothing_is_not_told_as_verified() -> None:
    """Of a dispute without a resolution, a leaf of one is not looked at: nor may its log be believed."""
    made, shown = genuine(Case(federation=WENT_ON)), record()
    own, leaf = made.case.record(made.leaf(), shown.leaf.leaf)
    shown.leaf.CopyFrom(leaf)
    (beside,) = made.case.record(b"anything", signer=signer_of(FEDERATION.signing_keys[GATEWAY], NEXT))
    shown.resolution_leaf.CopyFrom(beside)
    receipt = made.receipt(leaves=[own], disputes=[shown])
    assert [checkpoint.origin for checkpoint in verify(receipt).checkpoints] == [LOG_ORIGIN]


def test_deferred_check_in_the_next_log_says_what_the_newest_leaf_says() -> None:
    """The end of the old log settles nothing: a gateway that hides the next one's leaf shows what waits."""
    made, waits, _ = deferred()
    made.statements.pop()
    made.unavailable = [gap("months", HRSS, next_step=int(NextStep.DEFERRED))]
    assert verify(made.receipt(leaves=made.case.record(waits))).answers[3].next_step is NextStep.DEFERRED
