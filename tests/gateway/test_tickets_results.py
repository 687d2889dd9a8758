"""Results of tickets: signed by the requester's staff, for one ticket, now; recorded once, and only then confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE, OFFLINE_RESULT_LIFETIME
from gateway.protocol.offline import OfflineOutcome, OfflineReason, SignedResult, Subject, ticket_id_of
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_tickets import Ticket
from gateway.protocol.registry_terms import KeyUse
from tests import federation as fed
from tests.gateway.conftest import PEER, Gateway
from tests.gateway.offline_desk import OfflineDesk, OfflineDoor, last_refusal, told

HUKOU = Subject(check_id="c1")
INVALID, STALE = Reason.OFFLINE_RESULT_INVALID, Reason.OFFLINE_RESULT_NOT_CURRENT


@pytest.fixture
def desk(gateway: Gateway) -> OfflineDesk:
    return OfflineDesk(gateway)


@pytest.fixture
def door(desk: OfflineDesk) -> OfflineDoor:
    return OfflineDoor(desk)


@pytest.fixture
async def ticket(desk: OfflineDesk) -> Ticket:
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    return await desk.opened(request_id)


# -- what is recorded -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", OfflineReason)
async def test_result_is_recorded_and_shown_in_the_receipt(
    desk: OfflineDesk, ticket: Ticket, reason: OfflineReason
) -> None:
    signed = desk.result(ticket, reason=reason, outcome=reason.outcome)
    (resolved,) = (await desk.resolve(signed)).tickets
    assert resolved.resolution is not None
    assert (resolved.resolution.result.reason, resolved.resolution.key_id) == (reason, "staff-0042")
    (event,) = desk.events("offline_result")
    assert (event.requester, event.result_digest, event.region) == (fed.REQUESTER, signed.digest, fed.REGION)
    assert desk.events("offline_ticket")[0].ticket_tag == event.ticket_tag
    assert desk.tickets.listed(PEER, -1, 10) == []


async def test_log_does_not_tell_what_was_found(desk: OfflineDesk, ticket: Ticket) -> None:
    """Two leaves, accepted and rejected, differ in digests and time only."""
    await desk.resolve(desk.result(ticket))
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    rejected = {"reason": OfflineReason.NOT_PRESENTED, "outcome": OfflineOutcome.REJECTED}
    await desk.resolve(desk.result(await desk.opened(request_id), **rejected))
    one, other = desk.events("offline_result")
    assert one.result_digest != other.result_digest
    for event in (one, other):
        event.result_digest = event.ticket_tag = b""
    assert one == other


async def test_same_result_again_changes_nothing(desk: OfflineDesk, ticket: Ticket) -> None:
    signed = desk.result(ticket)
    first = await desk.resolve(signed)
    desk.gateway.clock.now += 30 * fed.DAY - 120  # whoever had no answer may come back late
    assert (await desk.resolve(signed)).tickets == first.tickets
    assert len(desk.events("offline_result")) == 1


async def test_result_signed_a_week_ago_without_network_is_recorded(desk: OfflineDesk, ticket: Ticket) -> None:
    signed = desk.result(ticket)
    desk.gateway.clock.now += OFFLINE_RESULT_LIFETIME
    assert (await desk.resolve(signed)).tickets[0].resolution is not None


# -- what is refused ------------------------------------------------------------------------------------------


async def test_second_different_result_is_a_conflict_and_the_first_stands(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket
) -> None:
    first = desk.result(ticket)
    await desk.resolve(first)
    second = desk.result(ticket, reason=OfflineReason.NOT_PRESENTED, outcome=OfflineOutcome.REJECTED)
    assert await told(door.resolve(second)) == Reason.OFFLINE_RESULT_CONFLICT
    assert (last_refusal(desk).reason, last_refusal(desk).region) == (Reason.OFFLINE_RESULT_CONFLICT, fed.REGION)
    resolution = (await desk.resolve(first)).tickets[0].resolution
    assert resolution is not None
    assert resolution.result.outcome is OfflineOutcome.ACCEPTED


async def test_two_results_at_once_are_one_and_a_conflict(desk: OfflineDesk, ticket: Ticket) -> None:
    results = [desk.result(ticket, nonce=bytes([number]) * 16) for number in range(2)]
    outcomes = await asyncio.gather(*(desk.resolve(signed) for signed in results), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [getattr(error, "reason", None) for error in refused] == [Reason.OFFLINE_RESULT_CONFLICT]
    assert len(desk.events("offline_result")) == 1


async def test_result_of_a_ticket_that_was_never_opened_is_refused(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket
) -> None:
    digest = ticket.opened.query_digest
    unopened = desk.result(ticket, subject=HUKOU, ticket_id=ticket_id_of(fed.REQUESTER, digest, HUKOU))
    assert await told(door.resolve(unopened)) == Reason.OFFLINE_TICKET_NOT_FOUND


@pytest.mark.parametrize(
    "changes",
    [
        {"query_digest": bytes(32)},
        {"subject": HUKOU},
        {"subject": Subject(material="birth_certificate")},
    ],
)
async def test_result_that_names_another_query_or_subject_is_refused(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket, changes: dict[str, Any]
) -> None:
    assert await told(door.resolve(desk.result(ticket, **changes))) == INVALID
    assert (last_refusal(desk).reason, last_refusal(desk).region) == (INVALID, fed.REGION)
    assert not desk.events("offline_result")


async def test_result_of_another_ticket_is_of_no_use_for_this_one(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket
) -> None:
    """The thief changes only the id: then query and subject do not fit, or the signature does not."""
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    other = await desk.opened(request_id)
    assert await told(door.resolve(desk.result(other, ticket_id=ticket.opened.ticket_id))) == INVALID
    genuine = desk.result(other)
    swapped = SignedResult(desk.result(ticket).result, genuine.key_id, genuine.signature)
    assert await told(door.resolve(swapped)) == INVALID


async def test_another_requester_resolves_nothing(desk: OfflineDesk, door: OfflineDoor, ticket: Ticket) -> None:
    """Neither with our staff's result, nor with one of its own."""
    assert await told(door.resolve(desk.result(ticket), fed.OTHER_REQUESTER)) == INVALID
    own = desk.result(ticket, desk.gateway.federation.staff_keys[fed.OTHER_REQUESTER], requester=fed.OTHER_REQUESTER)
    assert await told(door.resolve(own, fed.OTHER_REQUESTER)) == Reason.OFFLINE_TICKET_NOT_FOUND
    assert not desk.events("offline_result")


def stolen_name(federation: fed.Federation) -> Any:
    """A key of the thief's own under the id of a staff key."""
    stranger = fed.Federation.create(federation.now, seed="a stranger")
    return stranger.staff_keys[fed.REQUESTER]


@pytest.mark.parametrize(
    "key",
    [
        lambda federation: federation.staff_keys[fed.OTHER_REQUESTER],
        lambda federation: federation.signing_keys[fed.REQUESTER],
        lambda federation: federation.signing_keys[next(iter(fed.DEPARTMENTS.values()))],
        stolen_name,
    ],
    ids=[
        "another requester's staff",
        "the requester's query key",
        "a department's answer key",
        "the name of a staff key",
    ],
)
async def test_result_by_a_key_that_is_no_staff_key_of_the_requester_is_refused(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket, key: Callable[[fed.Federation], Any]
) -> None:
    assert await told(door.resolve(desk.result(ticket, key(desk.gateway.federation)))) == INVALID


async def test_unsigned_result_is_malformed(desk: OfflineDesk, door: OfflineDoor, ticket: Ticket) -> None:
    signed = desk.result(ticket)
    assert await told(door.resolve(SignedResult(signed.result, signed.key_id, b""))) == Reason.MESSAGE_MALFORMED


def with_staff_key(desk: OfflineDesk, **changes: int) -> None:
    """The registry's next version, in which the staff key's terms are changed."""
    federation = desk.gateway.federation

    def edit(document: Any) -> Any:
        party = next(party for party in document.parties if party.id == fed.REQUESTER)
        keys = tuple(msgspec.structs.replace(key, **changes) if key.use is KeyUse.STAFF else key for key in party.keys)
        return fed.edit_party(document, fed.REQUESTER, keys=keys)

    desk.gateway.federation = federation.changed(edit)


@pytest.mark.parametrize("term", ["compromised", "not_after"])
async def test_compromised_or_retired_staff_key_signs_nothing_more(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket, term: str
) -> None:
    signed = desk.result(ticket)  # before that time, as a thief would claim
    with_staff_key(desk, **{term: int(desk.gateway.clock.now) + 10})
    desk.gateway.clock.now += 11
    assert await told(door.resolve(signed)) == INVALID


async def test_what_a_staff_key_signed_before_it_leaked_or_ended_stays_good(desk: OfflineDesk, ticket: Ticket) -> None:
    await desk.resolve(desk.result(ticket))
    end = int(desk.gateway.clock.now) + 10
    with_staff_key(desk, compromised=end, not_after=end)
    desk.gateway.clock.now += fed.DAY
    request_id = next(iter(desk.gateway.store._reader.execute("SELECT request_id FROM tickets")))[0]
    assert (await desk.open(request_id)).tickets[0].resolution is not None


@pytest.mark.parametrize(
    ("issued", "recorded"),
    [
        (-EARLY_TOLERANCE - 1, 0.0),
        (EARLY_TOLERANCE + 1, 0.0),
        (0.0, OFFLINE_RESULT_LIFETIME + EXPIRY_TOLERANCE + 1),
    ],
    ids=["before its ticket", "in the future", "too long ago"],
)
async def test_result_of_another_time_is_refused(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket, issued: float, recorded: float
) -> None:
    now = desk.gateway.clock.now
    signed = desk.result(ticket, issue_time=now + issued)
    desk.gateway.clock.now = now + recorded
    assert await told(door.resolve(signed)) == STALE
    assert (last_refusal(desk).reason, last_refusal(desk).region) == (STALE, fed.REGION)


async def test_clock_set_back_records_nothing_before_the_ticket(desk: OfflineDesk, ticket: Ticket) -> None:
    signed = desk.result(ticket)
    desk.gateway.clock.now -= fed.DAY / 2
    resolution = (await desk.resolve(signed)).tickets[0].resolution
    assert resolution is not None
    assert resolution.log_time == ticket.opened.open_time


async def test_result_of_another_basis_than_its_finding_is_malformed(
    desk: OfflineDesk, door: OfflineDoor, ticket: Ticket
) -> None:
    signed = desk.result(ticket, reason=OfflineReason.NOT_PRESENTED, outcome=OfflineOutcome.ACCEPTED)
    assert await told(door.resolve(signed)) == Reason.MESSAGE_MALFORMED


# -- the log cannot record ------------------------------------------------------------------------------------


async def test_result_is_not_confirmed_when_the_log_cannot_record(desk: OfflineDesk, ticket: Ticket) -> None:
    signed = desk.result(ticket)
    desk.gateway.store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await desk.resolve(signed)
    desk.gateway.store.fail_before = False
    assert (await desk.resolve(signed)).tickets[0].resolution is not None
    assert len(desk.events("offline_result")) == 1


async def test_result_whose_commit_failed_though_durable_is_not_recorded_twice(
    desk: OfflineDesk, ticket: Ticket
) -> None:
    signed = desk.result(ticket)
    desk.gateway.store.fail_after = True
    with pytest.raises(LogUnavailableError):
        await desk.resolve(signed)
    desk.gateway.store.fail_after = False
    assert (await desk.resolve(signed)).tickets[0].resolution is not None
    assert len(desk.events("offline_result")) == 1
