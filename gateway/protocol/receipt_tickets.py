"""What a receipt says of its offline tickets. Step 7 of `receipt`, which has verified query, answers and leaves.

For each ticket, in the order of the log:

1. its leaf is in the log, under the checkpoint of the receipt's other leaves there, recorded by the same gateway;
2. it is this query's: requester, query, check and ticket tags, department, claim and county;
3. its ground agrees with what the leaves before it say of the check: undetermined, or unavailable; for a material it
   is that the rules have it verified on paper only, which whoever has the rules checks (`gateway.verdicts`);
4. its result, if there is one, is signed by a staff key of the requester that counted when the log recorded it, for
   this very ticket, and the leaf that records it comes after the ticket's and names just this result.

So a ticket that the log lacks fails at 1, one of another query at 2, one for what was answered at 3, a forged or
swapped result at 4. A gateway that leaves a ticket out shows nothing here: whoever holds an earlier receipt, or reads
the log with the receipt's leaf key (`gateway.audit`), finds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.protocol.application import Application
from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import CheckStatus, Tags
from gateway.protocol.offline import OfflineGround, Result, Subject, read_signed_result, read_subject
from gateway.protocol.offline_rules import GROUND_OF_OUTCOME, OpenTicket, require_result
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import Check, OpenedPart, Query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_leaves import LoggedLeaf, Place, ReceiptLog
from gateway.protocol.receipt_rows import Answer
from gateway.protocol.registry import Registry
from heyan.v1 import log_pb2, receipt_pb2

MAX_TICKETS = 64
"""Tickets of one receipt: one for each check, and as many materials again."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a staff member found, by the id of the key that signed it, and when the log recorded it."""

    result: Result
    result_digest: bytes
    key_id: str
    log_time: float


@dataclass(frozen=True, slots=True)
class Ticket:
    """A verified ticket. `waited`: seconds from when the log first recorded the query until it was opened."""

    opened: OpenTicket
    ground: OfflineGround
    region: str
    department: str
    claim: str
    waited: float
    resolution: Resolution | None


@dataclass(frozen=True, slots=True)
class TicketContext:
    """What the steps before have verified of a receipt: its leaves in order, and the answers by check_id."""

    registry: Registry
    query: Query
    query_digest: bytes
    application: Application | None
    parts: Sequence[OpenedPart]
    tags: Tags
    settled: Sequence[LoggedLeaf]
    answers: Mapping[str, Answer]
    log: ReceiptLog


def verify_tickets(receipt: receipt_pb2.Receipt, context: TicketContext) -> tuple[Ticket, ...]:
    """Every ticket of the receipt, each subject once; ForgedError or MalformedError."""
    if not receipt.tickets:
        return ()
    if len(receipt.tickets) > MAX_TICKETS:
        raise _invalid(f"more than {MAX_TICKETS} tickets")
    tickets: dict[Subject, Ticket] = {}
    last: Place | None = None
    for item in receipt.tickets:
        subject, opened = read_subject(item.subject), context.log.open(item.opened)
        if subject in tickets or (last is not None and opened.place <= last):
            raise _invalid("a ticket twice, or tickets out of order")
        last = opened.place
        tickets[subject] = _ticket(item, subject, opened, context)
    return tuple(tickets.values())


def _ticket(
    item: receipt_pb2.ReceiptTicket,
    subject: Subject,
    logged: LoggedLeaf,
    context: TicketContext,
) -> Ticket:
    event, query = logged.leaf.offline_ticket, context.query
    opened = OpenTicket(query.requester, context.query_digest, subject, logged.time)
    expected = _expected_event(opened, context)
    expected.ground = event.ground
    if event != expected:
        raise _invalid("a ticket of another query or subject")
    earlier = [leaf for leaf in context.settled if leaf.place < logged.place]
    if not earlier or logged.time < earlier[-1].time:
        raise _invalid("a ticket before any online attempt, or backwards in time")
    ground = OfflineGround(int(event.ground))
    if ground is not _ground_by(earlier, event.check_tag, context.answers.get(subject.check_id)):
        raise _invalid("a ticket for what the log says was told online")
    resolution = _resolution(item, opened, logged, context)
    waited = logged.time - context.settled[0].time
    return Ticket(opened, ground, event.region, event.department, event.claim, waited, resolution)


def _expected_event(opened: OpenTicket, context: TicketContext) -> log_pb2.OfflineTicketEvent:
    """What the leaf of a ticket says, but for its ground."""
    tags, subject = context.tags, opened.subject
    event = log_pb2.OfflineTicketEvent(
        requester=opened.requester,
        query_tag=tags.query(opened.query_digest),
        ticket_tag=tags.ticket(opened.ticket_id),
    )
    if subject.material and context.application is not None:
        event.material, event.region = subject.material, context.application.region
        return event
    part, check = next((pair for pair in _checks(context.parts) if pair[1].check_id == subject.check_id), (None, None))
    if part is None or check is None:
        raise _invalid("a ticket for what was not asked")
    event.check_tag = tags.check(part.digest, check.check_id)
    event.department, event.claim, event.region = part.part.department, check.claim, check.region
    return event


def _checks(parts: Sequence[OpenedPart]) -> Iterator[tuple[OpenedPart, Check]]:
    return ((part, check) for part in parts for check in part.part.checks)


def _ground_by(earlier: Sequence[LoggedLeaf], check_tag: bytes, answer: Answer | None) -> OfflineGround | None:
    """The ground that the leaves before a ticket are, by the newest row of its check; None if they are none.

    The row of an answer names a statement, which the receipt holds: a settled check keeps its answer for ever. A
    material has no check.
    """
    if answer is None:
        return OfflineGround.OFFLINE_ONLY
    rows = [row for leaf in earlier for row in leaf.leaf.verification.checks if row.check_tag == check_tag]
    if not rows:
        return None
    status = CheckStatus(int(rows[-1].status))
    if status is CheckStatus.WITHHELD:
        return None
    return GROUND_OF_OUTCOME.get(answer.outcome if status.is_final else Outcome.UNAVAILABLE)


def _resolution(
    item: receipt_pb2.ReceiptTicket, opened: OpenTicket, logged: LoggedLeaf, context: TicketContext
) -> Resolution | None:
    if item.HasField("result") != item.HasField("resolved"):
        raise _invalid("a result without its leaf, or a leaf without its result")
    if not item.HasField("result"):
        return None
    signed, leaf = read_signed_result(item.result), context.log.open(item.resolved)
    expected = log_pb2.OfflineResultEvent(
        requester=opened.requester,
        ticket_tag=context.tags.ticket(opened.ticket_id),
        result_digest=signed.digest,
        region=logged.leaf.offline_ticket.region,
    )
    if leaf.leaf.offline_result != expected or leaf.place <= logged.place:
        raise _invalid("the log records another result, or none")
    result = require_result(signed, opened, context.registry, leaf.time)
    return Resolution(result, signed.digest, signed.key_id, leaf.time)


def _invalid(detail: str) -> ForgedError:
    return ForgedError(Reason.RECEIPT_INVALID, detail)
