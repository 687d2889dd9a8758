"""Verifying on paper what could not be told online, as a school or bureau does: open a ticket, sign and record its
result, list what is open. Beside `gateway.client`, whose rule holds here too: the receipt is believed, not the gateway.

    opened = await open_ticket(client, request_id, Subject(check_id="c3"))
    … the family shows the original …
    await resolve_ticket(client, opened, OfflineReason.ORIGINAL_SEEN, staff_key, now=time.time(), nonce=os.urandom(16))
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.client import Client, Verification
from gateway.protocol.codec import from_timestamp, parse
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError
from gateway.protocol.keys import SigningKey
from gateway.protocol.offline import (
    OfflineGround,
    OfflineReason,
    Result,
    SignedResult,
    Subject,
    read_subject,
    sign_result,
    write_signed_result,
    write_subject,
)
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT
from gateway.protocol.receipt_tickets import Ticket
from heyan.v1 import offline_service_pb2 as pb
from heyan.v1 import receipt_pb2

_SERVICE = "/heyan.v1.OfflineService/"


@dataclass(frozen=True, slots=True)
class Ticketed:
    """A verified receipt, and the ticket in it that was meant."""

    verification: Verification
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Open:
    """An open ticket as the gateway lists it; its proof is in the query's receipt. Digest and id are bytes."""

    ticket_id: bytes
    request_id: bytes
    subject: Subject
    ground: OfflineGround
    region: str
    claim: str
    open_time: float
    online: Outcome | None
    """What is known online of the check by now; None for a material."""


async def open_ticket(client: Client, request_id: bytes, subject: Subject) -> Ticketed:
    """Open a ticket for a check or material of an earlier query of ours, or find the one that is open.

    Raises the domain error that the gateway's status stands for, or ForgedError if the receipt does not hold.
    """
    request = pb.OpenOfflineTicketRequest(request_id=request_id, subject=write_subject(subject))
    data = await client.call("OpenOfflineTicket", request.SerializeToString(), _SERVICE)
    return await _ticketed(client, parse(pb.OpenOfflineTicketResponse, data, MAX_RECEIPT).receipt, request_id, subject)


async def find_ticket(client: Client, request_id: bytes, subject: Subject) -> Ticketed:
    """The ticket of an earlier query of ours, by its receipt; NotFoundError (OFFLINE_TICKET_NOT_FOUND)."""
    verification = await client.get(request_id)
    for ticket in verification.verified.tickets:
        if ticket.opened.subject == subject:
            return Ticketed(verification, ticket)
    raise NotFoundError(Reason.OFFLINE_TICKET_NOT_FOUND)


def make_result(ticket: Ticket, reason: OfflineReason, key: SigningKey, *, now: float, nonce: bytes) -> SignedResult:
    """A staff member's signed result of a ticket; `nonce` is 16 random bytes. May be recorded for a week."""
    opened = ticket.opened
    result = Result(
        ticket_id=opened.ticket_id,
        requester=opened.requester,
        query_digest=opened.query_digest,
        subject=opened.subject,
        outcome=reason.outcome,
        reason=reason,
        issue_time=now,
        nonce=nonce,
    )
    return sign_result(result, key)


async def resolve_ticket(
    client: Client, ticketed: Ticketed, reason: OfflineReason, key: SigningKey, *, now: float, nonce: bytes
) -> Ticketed:
    """Sign what a staff member found, and have it recorded; see `make_result` and `submit_result`.

    What the same key has recorded of it before, for the same reason, is not signed again.
    """
    found = ticketed.ticket.resolution
    if found is not None and (found.result.reason, found.key_id) == (reason, key.key_id):
        return ticketed
    return await submit_result(client, ticketed, make_result(ticketed.ticket, reason, key, now=now, nonce=nonce))


async def submit_result(client: Client, ticketed: Ticketed, signed: SignedResult) -> Ticketed:
    """Have a signed result recorded, for the first time or again; ForgedError if the receipt shows another one."""
    request = pb.ResolveOfflineTicketRequest(result=write_signed_result(signed))
    data = await client.call("ResolveOfflineTicket", request.SerializeToString(), _SERVICE)
    receipt = parse(pb.ResolveOfflineTicketResponse, data, MAX_RECEIPT).receipt
    request_id = ticketed.verification.verified.query.request_id
    resolved = await _ticketed(client, receipt, request_id, ticketed.ticket.opened.subject)
    found = resolved.ticket.resolution
    if found is None or found.result_digest != signed.digest:
        raise ForgedError(Reason.RECEIPT_INVALID, "a receipt without the result")
    return resolved


async def list_tickets(client: Client, page_size: int = 0) -> AsyncIterator[Open]:
    """Our tickets without a result, oldest first, a page at a time."""
    token = ""
    while True:
        request = pb.ListOfflineTicketsRequest(page_size=page_size, page_token=token)
        data = await client.call("ListOfflineTickets", request.SerializeToString(), _SERVICE)
        page = parse(pb.ListOfflineTicketsResponse, data, MAX_RECEIPT)
        for item in page.tickets:
            yield _listed(item)
        token = page.next_page_token
        if not token:
            return


def _listed(item: pb.OpenOfflineTicket) -> Open:
    try:
        ground = OfflineGround(int(item.ground))
        online = Outcome(int(item.online_outcome)) if item.online_outcome else None
    except ValueError:
        raise MalformedError.at("tickets", "must have grounds and outcomes of the contract") from None
    return Open(
        ticket_id=item.ticket_id,
        request_id=item.request_id,
        subject=read_subject(item.subject),
        ground=ground,
        region=item.region,
        claim=item.claim,
        open_time=from_timestamp(item, "open_time"),
        online=online,
    )


async def _ticketed(client: Client, receipt: receipt_pb2.Receipt, request_id: bytes, subject: Subject) -> Ticketed:
    await client.learn_rules(receipt)  # by which the ground of a material is judged
    verification = client.checked(receipt)
    if verification.verified.query.request_id != request_id:
        raise ForgedError(Reason.RECEIPT_INVALID, "a receipt of another request")
    for ticket in verification.verified.tickets:
        if ticket.opened.subject == subject:
            return Ticketed(verification, ticket)
    raise ForgedError(Reason.RECEIPT_INVALID, "a receipt without the ticket")
