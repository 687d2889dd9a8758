"""The offline desk's client: it believes receipts, and lists what is open a page at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.client import Client, ClientSettings
from gateway.offline_client import find_ticket, list_tickets, make_result, open_ticket, resolve_ticket, submit_result
from gateway.offline_service import MAX_PAGE
from gateway.protocol.codec import encode
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError
from gateway.protocol.leaf import read_leaf
from gateway.protocol.offline import OfflineGround, OfflineReason, write_subject
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, StoredTicket, TicketKey, TicketWrite
from heyan.v1 import gateway_service_pb2, receipt_pb2
from heyan.v1 import offline_service_pb2 as pb
from tests import federation as fed
from tests.fakes import sign
from tests.gateway.conftest import PEER, Gateway
from tests.gateway.offline_desk import HOME, OfflineDesk, OfflineDoor, told

NONCE = bytes(16)
Bend = Callable[[str, bytes], bytes]


class Line:
    """A connection to the gateway's front door; `bend` is the gateway that lies, told the method."""

    def __init__(self, desk: OfflineDesk, bend: Bend) -> None:
        self._door = OfflineDoor(desk)
        self._desk = desk
        self._bend = bend

    def renew(self) -> None:
        """Nothing to renew."""

    @property
    def channel(self) -> Line:
        return self

    def unary_unary(self, path: str) -> Any:
        method = path.rpartition("/")[2]

        async def call(message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
            return self._bend(method, await self._answer(method, message))

        return call

    async def _answer(self, method: str, message: bytes) -> bytes:
        if method == "GetVerification":
            request = gateway_service_pb2.GetVerificationRequest.FromString(message)
            receipt = self._desk.gateway.pipeline.get(request.request_id, PEER)
            return gateway_service_pb2.GetVerificationResponse(receipt=receipt).SerializeToString()
        return await self._door.call(method, message)


def client_of(desk: OfflineDesk, bend: Bend = lambda _method, answer: answer) -> Client:
    federation = desk.gateway.federation
    settings = ClientSettings(
        requester=fed.REQUESTER,
        gateway=fed.GATEWAY,
        target="127.0.0.1:1",
        tls=None,  # type: ignore[arg-type] # no connection is made
        signing_key=lambda: federation.signing_keys[fed.REQUESTER],
        operator=federation.operator.public_key(),
    )
    client = Client(settings, lambda: desk.gateway.federation.registry, desk.gateway.clock, lambda: False)
    client._connection = Line(desk, bend)  # type: ignore[assignment]
    client.learn_rules = _no_rules  # type: ignore[method-assign]
    return client


async def _no_rules(_receipt: receipt_pb2.Receipt) -> None:
    """The applications of this suite are of rules that nobody has."""


@pytest.fixture
def desk(gateway: Gateway) -> OfflineDesk:
    return OfflineDesk(gateway)


async def test_ticket_is_opened_found_and_resolved(desk: OfflineDesk) -> None:
    client = client_of(desk)
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    opened = await open_ticket(client, request_id, HOME)
    assert (await find_ticket(client, request_id, HOME)).ticket == opened.ticket
    now = desk.gateway.clock.now
    done = await resolve_ticket(client, opened, OfflineReason.ISSUER_CONFIRMED, desk.key, now=now, nonce=NONCE)
    assert done.ticket.resolution is not None
    assert done.ticket.resolution.result.reason is OfflineReason.ISSUER_CONFIRMED


async def test_resolving_again_on_the_same_basis_is_done_and_on_another_is_a_conflict(desk: OfflineDesk) -> None:
    """Whoever had no answer types the command again, and another nonce is drawn."""
    client, now = client_of(desk), desk.gateway.clock.now
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    await open_ticket(client, request_id, HOME)
    for number in range(2):
        found = await find_ticket(client, request_id, HOME)
        await resolve_ticket(client, found, OfflineReason.ORIGINAL_SEEN, desk.key, now=now, nonce=bytes([number]) * 16)
    assert len(desk.events("offline_result")) == 1
    found = await find_ticket(client, request_id, HOME)
    other = resolve_ticket(client, found, OfflineReason.NOT_PRESENTED, desk.key, now=now, nonce=NONCE)
    assert await told(other) == Reason.OFFLINE_RESULT_CONFLICT


async def test_ticket_that_was_not_opened_is_not_found(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    with pytest.raises(NotFoundError) as caught:
        await find_ticket(client_of(desk), request_id, HOME)
    assert caught.value.reason is Reason.OFFLINE_TICKET_NOT_FOUND


# -- a gateway that lies --------------------------------------------------------------------------------------


def bent(change: Callable[[receipt_pb2.Receipt], None]) -> Bend:
    """The receipt of an opening or a result, changed on its way."""

    def bend(method: str, answer: bytes) -> bytes:
        kind = pb.OpenOfflineTicketResponse if method == "OpenOfflineTicket" else pb.ResolveOfflineTicketResponse
        response = kind.FromString(answer)
        change(response.receipt)
        return response.SerializeToString()

    return bend


async def test_gateway_that_says_opened_and_shows_no_ticket_is_caught(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    lying = client_of(desk, bent(lambda receipt: receipt.ClearField("tickets")))
    with pytest.raises(ForgedError):
        await open_ticket(lying, request_id, HOME)


async def test_gateway_that_shows_a_ticket_that_its_log_lacks_is_caught(desk: OfflineDesk) -> None:
    """The answer was yes; it makes up a ticket from the leaf of another query."""
    other_id, _ = await desk.asked(Outcome.UNDETERMINED)
    other = await desk.tickets.open(other_id, HOME, PEER)
    request_id, _ = await desk.asked(Outcome.YES)
    receipt = desk.gateway.pipeline.get(request_id, PEER)
    receipt.tickets.append(other.tickets[0])
    forged = pb.OpenOfflineTicketResponse(receipt=receipt).SerializeToString()
    client = client_of(desk)
    client._connection.channel._answer = lambda *_: _later(forged)  # type: ignore[union-attr]
    with pytest.raises(ForgedError) as caught:
        await open_ticket(client, request_id, HOME)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def _later(answer: bytes) -> bytes:
    return answer


async def test_receipt_of_another_request_in_place_of_ours_is_caught(desk: OfflineDesk) -> None:
    other_id, _ = await desk.asked(Outcome.UNDETERMINED)
    other = await desk.tickets.open(other_id, HOME, PEER)
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    lying = client_of(desk, bent(lambda receipt: receipt.CopyFrom(other)))
    with pytest.raises(ForgedError) as caught:
        await open_ticket(lying, request_id, HOME)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_results_swapped_between_two_receipts_are_caught(desk: OfflineDesk) -> None:
    shown = []
    for reason in (OfflineReason.ORIGINAL_SEEN, OfflineReason.NOT_PRESENTED):
        request_id, _ = await desk.asked(Outcome.UNDETERMINED)
        ticket = await desk.opened(request_id)
        signed = desk.result(ticket, reason=reason, outcome=reason.outcome)
        shown.append((request_id, await desk.tickets.resolve(signed, PEER)))
    (request_id, mine), (_, other) = shown
    mine.tickets[0].result.CopyFrom(other.tickets[0].result)
    mine.tickets[0].resolved.CopyFrom(other.tickets[0].resolved)
    lying = client_of(desk, bent(lambda receipt: receipt.CopyFrom(mine)))
    with pytest.raises(ForgedError):
        await open_ticket(lying, request_id, HOME)


async def test_gateway_that_confirms_a_result_and_shows_none_is_caught(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    opened = await open_ticket(client_of(desk), request_id, HOME)
    signed = make_result(opened.ticket, OfflineReason.VISITED, desk.key, now=desk.gateway.clock.now, nonce=NONCE)
    earlier = opened.verification.receipt
    lying = client_of(desk, bent(lambda receipt: receipt.CopyFrom(earlier)))
    with pytest.raises(ForgedError) as caught:
        await submit_result(lying, opened, signed)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_listing_of_what_no_contract_has_is_malformed(desk: OfflineDesk) -> None:
    await desk.open((await desk.asked(Outcome.UNDETERMINED))[0])

    def bend(_method: str, answer: bytes) -> bytes:
        response = pb.ListOfflineTicketsResponse.FromString(answer)
        response.tickets[0].ClearField("ground")
        return response.SerializeToString()

    with pytest.raises(MalformedError):
        [_ async for _ in list_tickets(client_of(desk, bend))]


# -- listing --------------------------------------------------------------------------------------------------


async def test_list_shows_what_is_open_and_what_became_known_since(desk: OfflineDesk) -> None:
    request_ids = []
    for _ in range(3):
        request_id, _ = await desk.asked(Outcome.UNDETERMINED)
        request_ids.append(request_id)
        ticket = await desk.opened(request_id)
    await desk.resolve(desk.result(ticket))
    listed = [item async for item in list_tickets(client_of(desk), page_size=1)]
    assert [item.request_id for item in listed] == request_ids[:2]
    assert {(item.ground, item.online, item.region) for item in listed} == {
        (OfflineGround.UNDETERMINED, Outcome.UNDETERMINED, fed.REGION)
    }


@pytest.mark.parametrize("token", ["-1", "x", "1.5", "٣", "9" * 19])
async def test_page_token_that_was_not_given_out_is_refused(desk: OfflineDesk, token: str) -> None:
    request = pb.ListOfflineTicketsRequest(page_token=token).SerializeToString()
    assert await told(OfflineDoor(desk).call("ListOfflineTickets", request)) == Reason.MESSAGE_MALFORMED


@pytest.mark.slow
async def test_ten_thousand_open_tickets_are_listed_in_bounded_memory(desk: OfflineDesk) -> None:
    count = 10_000
    await fill(desk, count)
    pages = []

    def note(_method: str, answer: bytes) -> bytes:
        page = pb.ListOfflineTicketsResponse.FromString(answer)
        pages.append((len(page.tickets), len(answer), page.next_page_token))
        return answer

    client = client_of(desk, note)
    seen = {item.ticket_id async for item in list_tickets(client, page_size=5_000)}  # more than a page may hold
    assert len(seen) == count
    assert max(tickets for tickets, _, _ in pages) == MAX_PAGE
    assert max(size for _, size, _ in pages) < 32 << 10
    middle = int(pages[len(pages) // 2][2])
    tracemalloc.start()
    try:
        page = desk.tickets.listed(PEER, middle, MAX_PAGE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(page) == MAX_PAGE
    assert peak < 2 << 20


async def fill(desk: OfflineDesk, count: int) -> None:
    """So many open tickets of one request, as the store has them."""
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    await desk.open(request_id)
    gateway, records = desk.gateway, desk.gateway.requests.tickets
    (first,) = gateway.store.open_tickets(fed.REQUESTER, -1, 1)
    leaf = read_leaf(gateway.store.leaf(first.opened_leaf))
    state = receipt_pb2.ReceiptTicket(subject=write_subject(HOME))
    judged_by = first.opened_leaf - 1
    for start in range(1, count, 500):
        entries = []
        for number in range(start, min(start + 500, count)):
            stored = StoredTicket(
                TicketKey(fed.REQUESTER, number.to_bytes(32, "big")),
                request_id,
                first.query_digest,
                first.grant_digest,
                b"",
            )
            written = replace(stored, state=records._sealed(stored, state))
            entries.append(Entry(encode(leaf), ticket=TicketWrite(written, judged_by)))
        gateway.store.commit(entries, sign)
