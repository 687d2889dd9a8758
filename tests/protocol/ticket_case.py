"""A receipt with offline tickets, made in memory: the case's land check undetermined, social security unavailable.

A test changes what it likes; the gateway that lies records the rest under its own log key.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from gateway.protocol.codec import to_timestamp
from gateway.protocol.keys import SigningKey
from gateway.protocol.leaf import write_leaf
from gateway.protocol.offline import (
    OfflineGround,
    OfflineOutcome,
    OfflineReason,
    Result,
    SignedResult,
    Subject,
    sign_result,
    ticket_id_of,
    write_signed_result,
    write_subject,
)
from heyan.v1 import log_pb2, receipt_pb2
from tests.federation import GATEWAY, REGION, REQUESTER
from tests.protocol.casework import CLAIMS_ASKED, FEDERATION, LOGGED_AT, Case, Pieces, genuine

OPENED_AT = LOGGED_AT + 3600
RESOLVED_AT = OPENED_AT + 3600
HOME, MONTHS = Subject(check_id="home"), Subject(check_id="months")
STAFF = FEDERATION.staff_keys[REQUESTER]
_DEPARTMENTS = {
    check_id: (department, claim) for department, asked in CLAIMS_ASKED.items() for check_id, claim in asked.items()
}


@dataclass
class TicketPieces:
    """One ticket as a receipt shows it; `opened` and `resolved` are the events of its leaves."""

    case: Case
    subject: Subject
    opened: log_pb2.OfflineTicketEvent
    opened_at: float = OPENED_AT
    result: SignedResult | None = None
    resolved: log_pb2.OfflineResultEvent | None = None
    resolved_at: float = RESOLVED_AT
    frame: dict[str, Any] = field(default_factory=dict)
    """Changes to what the leaves say besides their events."""

    @property
    def leaves(self) -> list[bytes]:
        found = [self._leaf(self.opened_at, offline_ticket=self.opened)]
        if self.resolved is not None:
            found.append(self._leaf(self.resolved_at, offline_result=self.resolved))
        return found

    def _leaf(self, at: float, **event: Any) -> bytes:
        frame = {"gateway": GATEWAY, "registry_version": self.case.registry.version, **self.frame}
        return write_leaf(log_pb2.LogLeaf(log_time=to_timestamp(at), **frame, **event))


def ticket_of(
    subject: Subject = HOME,
    ground: OfflineGround = OfflineGround.UNDETERMINED,
    case: Case | None = None,
    **changes: Any,
) -> TicketPieces:
    """An open ticket for a check of the case; `changes` bend its leaf's event."""
    case = case or Case()
    department, claim = _DEPARTMENTS[subject.check_id]
    digest = case.signed.digest
    values: dict[str, Any] = {
        "requester": REQUESTER,
        "query_tag": case.tags.query(digest),
        "check_tag": case.tags.check(case.opened[department].digest, subject.check_id),
        "department": department,
        "claim": claim,
        "region": REGION,
        "ground": ground.value,
        "ticket_tag": case.tags.ticket(ticket_id_of(REQUESTER, digest, subject)),
    }
    return TicketPieces(case, subject, log_pb2.OfflineTicketEvent(**{**values, **changes}))


def result_of(ticket: TicketPieces, key: SigningKey = STAFF, **changes: Any) -> SignedResult:
    """What the requester's staff signed of it; `changes` bend what it says."""
    digest = ticket.case.signed.digest
    right = Result(
        ticket_id=ticket_id_of(REQUESTER, digest, ticket.subject),
        requester=REQUESTER,
        query_digest=digest,
        subject=ticket.subject,
        outcome=OfflineOutcome.ACCEPTED,
        reason=OfflineReason.ORIGINAL_SEEN,
        issue_time=RESOLVED_AT - 60,
        nonce=bytes(16),
    )
    return sign_result(replace(right, **changes), key)


def resolved(ticket: TicketPieces, signed: SignedResult | None = None, **changes: Any) -> TicketPieces:
    """The ticket with its result; `changes` bend the leaf that records it."""
    signed = signed or result_of(ticket)
    values: dict[str, Any] = {
        "requester": REQUESTER,
        "ticket_tag": ticket.opened.ticket_tag,
        "result_digest": signed.digest,
        "region": REGION,
    }
    return replace(ticket, result=signed, resolved=log_pb2.OfflineResultEvent(**{**values, **changes}))


def receipt_with(
    *tickets: TicketPieces, pieces: Pieces | None = None, before: tuple[bytes, ...] = ()
) -> receipt_pb2.Receipt:
    """The genuine receipt with these tickets, all recorded in one log; leaves `before` come before the answers'."""
    pieces = pieces or genuine()
    leaves = [*before, pieces.leaf(), *(leaf for ticket in tickets for leaf in ticket.leaves)]
    proofs = pieces.case.record(*leaves)
    del proofs[: len(before)]
    receipt = pieces.receipt(leaves=[proofs.pop(0)])
    for ticket in tickets:
        shown = receipt.tickets.add(subject=write_subject(ticket.subject), opened=proofs.pop(0))
        if ticket.result is not None:
            shown.result.CopyFrom(write_signed_result(ticket.result))
        if ticket.resolved is not None:
            shown.resolved.CopyFrom(proofs.pop(0))
    return receipt
