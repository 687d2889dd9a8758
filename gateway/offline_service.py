"""`heyan.v1.OfflineService`: decode, call `gateway.tickets`, encode."""

from __future__ import annotations

import asyncio

from gateway.admission import Admission
from gateway.party.service import Context, Method
from gateway.protocol.codec import parse, to_timestamp
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.offline import read_signed_result, read_subject, write_subject
from gateway.tickets import Listed, Tickets
from heyan.v1 import offline_service_pb2 as pb

REQUESTERS = frozenset({PartyRole.REQUESTER})
MAX_PAGE = 100
"""Tickets of one page: each is decrypted with its request."""
_MAX_TOKEN = 18
"""Digits of a page token: a leaf's index, which the store holds below 2^63."""


class OfflineMethods:
    """`heyan.v1.OfflineService`."""

    def __init__(self, tickets: Tickets, admission: Admission) -> None:
        self._tickets = tickets
        self._admission = admission

    def methods(self) -> tuple[Method, ...]:
        """Every method with the roles that may call it."""
        return (
            Method("OpenOfflineTicket", REQUESTERS, self.open_offline_ticket),
            Method("ResolveOfflineTicket", REQUESTERS, self.resolve_offline_ticket),
            Method("ListOfflineTickets", REQUESTERS, self.list_offline_tickets),
        )

    async def open_offline_ticket(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(pb.OpenOfflineTicketRequest, message, MAX_MESSAGE)
        subject = read_subject(request.subject)
        async with self._admission.admitted(peer):
            receipt = await self._tickets.open(request.request_id, subject, peer)
        return pb.OpenOfflineTicketResponse(receipt=receipt).SerializeToString()

    async def resolve_offline_ticket(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(pb.ResolveOfflineTicketRequest, message, MAX_MESSAGE)
        signed = read_signed_result(request.result)
        async with self._admission.admitted(peer):
            receipt = await self._tickets.resolve(signed, peer)
        return pb.ResolveOfflineTicketResponse(receipt=receipt).SerializeToString()

    async def list_offline_tickets(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        """See the contract."""
        request = parse(pb.ListOfflineTicketsRequest, message, MAX_MESSAGE)
        after = _leaf_of(request.page_token)
        count = min(request.page_size or MAX_PAGE, MAX_PAGE)
        async with self._admission.admitted(peer):
            # A page takes some tens of milliseconds to decrypt, for which nobody else shall wait.
            page = await asyncio.to_thread(self._tickets.listed, peer, after, count)
        response = pb.ListOfflineTicketsResponse(tickets=[_shown(listed) for listed in page])
        if len(page) == count:
            response.next_page_token = str(page[-1].record.stored.opened_leaf)
        return response.SerializeToString()


def _shown(listed: Listed) -> pb.OpenOfflineTicket:
    record, event = listed.record, listed.record.opened.offline_ticket
    return pb.OpenOfflineTicket(
        ticket_id=record.stored.key.ticket_id,
        request_id=record.stored.request_id,
        subject=write_subject(record.subject),
        ground=event.ground,
        region=event.region,
        claim=event.claim,
        open_time=to_timestamp(record.ticket.open_time),
        online_outcome=listed.outcome.value if listed.outcome is not None else 0,  # type: ignore[arg-type]
    )


def _leaf_of(page_token: str) -> int:
    """The leaf after which a page begins."""
    if not page_token:
        return -1
    if len(page_token) > _MAX_TOKEN or not (page_token.isascii() and page_token.isdigit()):
        raise MalformedError.at("page_token", "must be the next_page_token of another page")
    return int(page_token)
