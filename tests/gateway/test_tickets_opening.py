"""Opening a ticket for paper: only where the online attempt did not tell, and every other attempt is on record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError, NotCurrentError
from gateway.protocol.identities import parse_identity
from gateway.protocol.leaf import Tags
from gateway.protocol.offline import OfflineGround, Subject, ticket_id_of
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.stores.records import Committed, Entry, RequestKey
from heyan.v1 import offline_service_pb2 as pb
from tests import federation as fed
from tests.gateway.conftest import PEER, Gateway, department_of, open_gateway
from tests.gateway.offline_desk import (
    HOME,
    HOME_CLAIM,
    PATIENCE,
    OfflineDesk,
    OfflineDoor,
    last_refusal,
    told,
)

OTHER_PEER = parse_identity(fed.OTHER_REQUESTER)


@pytest.fixture
def desk(gateway: Gateway) -> OfflineDesk:
    return OfflineDesk(gateway)


@pytest.fixture
def door(desk: OfflineDesk) -> OfflineDoor:
    return OfflineDoor(desk)


# -- what is allowed ------------------------------------------------------------------------------------------


async def test_undetermined_check_gets_a_ticket_that_the_log_records(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    verified = await desk.open(request_id)
    (ticket,) = verified.tickets
    assert (ticket.opened.subject, ticket.ground, ticket.resolution) == (HOME, OfflineGround.UNDETERMINED, None)
    assert (ticket.claim, ticket.region) == (HOME_CLAIM, fed.REGION)
    (event,) = desk.events("offline_ticket")
    assert (event.requester, event.claim, event.region) == (fed.REQUESTER, HOME_CLAIM, fed.REGION)


async def test_log_names_neither_query_nor_ticket_so_that_a_department_could_match_them(desk: OfflineDesk) -> None:
    request_id, submission = await desk.asked(Outcome.UNDETERMINED)
    await desk.open(request_id)
    leaf = desk.gateway.store.leaves(0, 100)[-1]
    ticket_id = ticket_id_of(fed.REQUESTER, submission.signed.digest, HOME)
    for secret in (submission.signed.digest, ticket_id, request_id, HOME.check_id.encode()):
        assert secret not in leaf
    resumed = desk.gateway.requests.find(RequestKey(fed.REQUESTER, request_id))
    assert resumed is not None
    assert desk.events("offline_ticket")[0].ticket_tag == Tags(resumed.leaf_key).ticket(ticket_id)


async def test_contradicted_check_gets_a_ticket(desk: OfflineDesk) -> None:
    department = department_of(desk.gateway, HOME_CLAIM)
    answers = iter((Outcome.YES, Outcome.NO))
    department.copies = 2
    department.bend = lambda statement: replace(statement, outcome=next(answers))  # type: ignore[call-arg]
    submission = desk.gateway.submission()
    await desk.gateway.send(submission)
    verified = await desk.open(read_query(submission.signed.query).request_id)
    assert verified.answers[-1].reason is Reason.ANSWERS_CONTRADICT
    assert verified.tickets[0].ground is OfflineGround.UNDETERMINED


async def test_unavailable_for_long_enough_gets_a_ticket(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNAVAILABLE)
    desk.gateway.clock.now += PATIENCE
    ticket = await desk.opened(request_id)
    assert (ticket.ground, ticket.waited) == (OfflineGround.UNAVAILABLE, PATIENCE)


async def test_every_later_receipt_of_the_query_shows_the_ticket(desk: OfflineDesk) -> None:
    request_id, submission = await desk.asked(Outcome.UNDETERMINED)
    ticket = await desk.opened(request_id)
    assert desk.gateway.check(desk.gateway.pipeline.get(request_id, PEER)).tickets == (ticket,)
    assert (await desk.gateway.verify(submission)).tickets == (ticket,)


async def test_opening_twice_is_one_ticket_and_one_leaf(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    first = await desk.opened(request_id)
    desk.gateway.clock.now += 60
    assert await desk.opened(request_id) == first
    assert len(desk.events("offline_ticket")) == 1


async def test_ten_openings_at_once_are_one_ticket(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    found = await asyncio.gather(*(desk.opened(request_id) for _ in range(10)))
    assert len(set(found)) == 1
    assert len(desk.events("offline_ticket")) == 1


async def test_answer_that_comes_later_stands_beside_the_ticket(desk: OfflineDesk) -> None:
    gateway = desk.gateway
    request_id, submission = await desk.asked(Outcome.UNAVAILABLE, answer_until=gateway.clock.now + 2 * PATIENCE)
    gateway.clock.now += PATIENCE
    ticket = await desk.opened(request_id)
    department_of(gateway, HOME_CLAIM).failure = None
    verified = await gateway.verify(submission)
    assert verified.answers[-1].outcome is Outcome.YES
    assert verified.tickets == (ticket,)
    assert (await desk.open(request_id)).tickets == (ticket,)
    (listed,) = desk.tickets.listed(PEER, -1, 10)
    assert listed.outcome is Outcome.YES


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.YES, Reason.OFFLINE_ANSWERED),
        (Outcome.NO, Reason.OFFLINE_ANSWERED),
        (Outcome.REFUSED, Reason.OFFLINE_DEPARTMENT_REFUSED),
        (Outcome.UNAVAILABLE, Reason.OFFLINE_TOO_EARLY),
    ],
)
async def test_ticket_for_what_was_told_or_may_still_be_told_is_refused_and_logged_with_its_county(
    desk: OfflineDesk, door: OfflineDoor, outcome: Outcome, reason: Reason
) -> None:
    request_id, _ = await desk.asked(outcome)
    assert await told(door.open(request_id)) == reason
    assert not desk.events("offline_ticket")
    refusal = last_refusal(desk)
    assert (refusal.peer, refusal.reason, refusal.region) == (fed.REQUESTER, reason, fed.REGION)
    assert refusal.method == "/heyan.v1.OfflineService/OpenOfflineTicket"


async def test_refusal_of_paper_tells_the_log_nothing_of_whether_the_answer_was_yes_or_no(
    desk: OfflineDesk, door: OfflineDoor
) -> None:
    """In a county with one application on a day, whoever reads the log or counts reasons would know its answer."""
    refusals = []
    for outcome in (Outcome.YES, Outcome.NO):
        request_id, _ = await desk.asked(outcome)
        await told(door.open(request_id))
        refusal = last_refusal(desk)
        refusal.ClearField("message_digest")
        refusals.append(refusal)
    assert refusals[0] == refusals[1]


async def test_ticket_without_an_online_attempt_is_refused_and_logged(desk: OfflineDesk, door: OfflineDoor) -> None:
    assert await told(door.open(bytes(16))) == Reason.OFFLINE_NOT_ATTEMPTED
    assert (last_refusal(desk).reason, last_refusal(desk).region) == (Reason.OFFLINE_NOT_ATTEMPTED, "")


async def test_ticket_for_a_check_that_was_not_asked_is_refused_with_the_county(
    desk: OfflineDesk, door: OfflineDoor
) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    assert await told(door.open(request_id, Subject(check_id="c9"))) == Reason.OFFLINE_NOT_ATTEMPTED
    assert last_refusal(desk).region == fed.REGION


async def test_another_requesters_request_is_like_none(desk: OfflineDesk, door: OfflineDoor) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    assert await told(door.open(request_id, peer=fed.OTHER_REQUESTER)) == Reason.OFFLINE_NOT_ATTEMPTED
    await desk.open(request_id)
    assert await told(door.open(request_id, peer=fed.OTHER_REQUESTER)) == Reason.OFFLINE_NOT_ATTEMPTED
    assert desk.tickets.listed(OTHER_PEER, -1, 10) == []


@pytest.mark.parametrize("peer", [fed.AUDITOR, next(iter(fed.DEPARTMENTS.values())), fed.ISSUER])
async def test_nobody_but_a_requester_opens_a_ticket(desk: OfflineDesk, door: OfflineDoor, peer: str) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    assert await told(door.open(request_id, peer=peer)) == Reason.PEER_ROLE_NOT_ALLOWED


async def test_unavailable_one_second_too_young_is_told_when_to_come_back(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNAVAILABLE)
    desk.gateway.clock.now += PATIENCE - 1
    with pytest.raises(NotCurrentError) as caught:
        await desk.open(request_id)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.OFFLINE_TOO_EARLY, 1.0)


async def test_asking_again_in_vain_does_not_make_the_waiting_longer(desk: OfflineDesk) -> None:
    now = desk.gateway.clock.now
    request_id, submission = await desk.asked(Outcome.UNAVAILABLE, answer_until=now + 2 * PATIENCE)
    desk.gateway.clock.now += PATIENCE - 10
    await desk.gateway.send(submission)
    desk.gateway.clock.now += 10
    assert (await desk.opened(request_id)).waited == PATIENCE


async def test_clock_set_back_opens_nothing_early_and_writes_nothing_backwards(desk: OfflineDesk) -> None:
    clock = desk.gateway.clock
    unavailable, _ = await desk.asked(Outcome.UNAVAILABLE)
    undetermined, _ = await desk.asked(Outcome.UNDETERMINED)
    began = clock.now
    clock.now -= 2 * PATIENCE
    with pytest.raises(NotCurrentError) as caught:
        await desk.open(unavailable)
    assert caught.value.retry_after == PATIENCE
    assert (await desk.opened(undetermined)).opened.open_time == began  # the receipt holds, so it runs forward


async def test_deferred_check_waits_for_its_answer_and_gets_a_ticket_only_past_the_time(desk: OfflineDesk) -> None:
    clock = desk.gateway.clock
    request_id, _ = await desk.asked(Outcome.UNAVAILABLE, answer_until=clock.now + 2 * PATIENCE)
    with pytest.raises(NotCurrentError) as caught:
        await desk.open(request_id)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.OFFLINE_DEFERRED, PATIENCE)
    clock.now += PATIENCE
    verified = await desk.open(request_id)
    assert verified.answers[-1].next_step is NextStep.DEFERRED
    assert verified.tickets[0].ground is OfflineGround.UNAVAILABLE


async def test_answer_committed_while_the_ticket_is_judged_is_judged_anew(desk: OfflineDesk) -> None:
    """Otherwise the log would show a ticket after a yes, and no receipt of the query would ever hold again."""
    gateway = desk.gateway
    request_id, submission = await desk.asked(Outcome.UNAVAILABLE, answer_until=gateway.clock.now + 2 * PATIENCE)
    gateway.clock.now += PATIENCE
    department_of(gateway, HOME_CLAIM).failure = None
    append = gateway.log.append

    async def slip_in(entry: Entry) -> Committed:
        gateway.log.append = append  # type: ignore[method-assign]
        await gateway.send(submission)
        return await append(entry)

    gateway.log.append = slip_in  # type: ignore[method-assign]
    assert await told(desk.open(request_id)) == Reason.OFFLINE_ANSWERED
    assert not desk.events("offline_ticket")


async def test_expired_registry_stops_tickets(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    desk.gateway.clock.now = desk.gateway.federation.registry.document.expires + 60
    assert await told(desk.open(request_id)) == Reason.REGISTRY_EXPIRED


@pytest.mark.parametrize(
    "subject", [pb.OpenOfflineTicketRequest().subject, {"check_id": "C 3"}, {"material": "../x"}, {"material": ""}]
)
async def test_malformed_subject_is_refused_by_its_field(door: OfflineDoor, subject: object) -> None:
    request = pb.OpenOfflineTicketRequest(request_id=bytes(16), subject=subject)  # type: ignore[arg-type]
    assert await told(door.call("OpenOfflineTicket", request.SerializeToString())) == Reason.MESSAGE_MALFORMED


# -- the log cannot record, the process dies ------------------------------------------------------------------


async def test_no_ticket_when_the_log_cannot_record(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    desk.gateway.store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await desk.open(request_id)
    desk.gateway.store.fail_before = False
    assert desk.tickets.listed(PEER, -1, 10) == []


async def test_ticket_whose_commit_failed_though_durable_is_found_again(desk: OfflineDesk) -> None:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    desk.gateway.store.fail_after = True
    with pytest.raises(LogUnavailableError):
        await desk.open(request_id)
    desk.gateway.store.fail_after = False
    await desk.open(request_id)
    assert len(desk.events("offline_ticket")) == 1


async def test_ticket_outlives_the_process_and_nothing_of_it_is_readable_in_the_store(
    tmp_path: Path, federation: fed.Federation
) -> None:
    async with open_gateway(tmp_path, federation) as gateway:
        request_id, _ = await OfflineDesk(gateway).asked(Outcome.UNDETERMINED)
        ticket = await OfflineDesk(gateway).opened(request_id)
    async with open_gateway(tmp_path, federation) as gateway:
        assert await OfflineDesk(gateway).opened(request_id) == ticket
        (row,) = gateway.store._reader.execute("SELECT state FROM tickets").fetchall()
        assert HOME.check_id.encode() not in row[0]
