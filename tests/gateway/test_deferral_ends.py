"""How deferrals end without an answer: on the record, for a reason, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from consent.revocation import Revocation
from gateway.protocol.errors import (
    HeyanError,
    NotGrantedError,
)
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt
from gateway.protocol.registry_terms import Document
from gateway.stores.records import RequestKey
from gateway.waiting_room import AFTER_THE_END
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import Gateway, department_of, open_gateway
from tests.gateway.deferrals import (
    ANSWERED,
    DEFERRED,
    DOWN,
    HOUR,
    LAND,
    POLICE,
    RETRY,
    deferrable,
    fetched,
    reasons,
    steps,
)


async def require_ended(gateway: Gateway, verified: VerifiedReceipt, reason: Reason) -> None:
    """It ended once, for that reason, on the record, and nothing is kept or asked any more."""
    last = fetched(gateway, verified)
    assert steps(last) == [ANSWERED, ANSWERED, RETRY]
    assert last.answers[2].reason is reason
    row = gateway.verification_rows()[-1]
    assert (row.status, row.reason) == (CheckStatus.UNAVAILABLE, reason.value)
    assert (gateway.kept(), len(gateway.room), gateway.gone) == ([], 0, [reason])
    leaves, asked = len(gateway.leaves()), len(department_of(gateway, LAND).asks)
    department_of(gateway, LAND).failure = None
    await gateway.tick()
    assert (len(gateway.leaves()), len(department_of(gateway, LAND).asks)) == (leaves, asked)


@pytest.mark.parametrize("late", [AFTER_THE_END, 5 * 86_400])
async def test_deferral_ends_when_its_time_is_over_however_late_that_is_noticed(
    gateway: Gateway, land: FakeDepartment, late: float
) -> None:
    verified = await gateway.verify(deferrable(gateway))
    gateway.away.add(land.department)
    gateway.clock.now += HOUR + late
    await gateway.tick()
    await require_ended(gateway, verified, Reason.QUERY_EXPIRED)


async def test_deferral_whose_gateway_was_down_when_its_time_was_over_ends_at_its_start(
    tmp_path: Path, federation: fed.Federation
) -> None:
    async with open_gateway(tmp_path, federation) as gateway:
        department_of(gateway, LAND).failure = DOWN
        verified = await gateway.verify(deferrable(gateway))
    async with open_gateway(tmp_path, federation) as gateway:
        gateway.clock.now += 2 * HOUR
        await gateway.tick()
        await require_ended(gateway, verified, Reason.QUERY_EXPIRED)


async def test_withdrawal_that_is_reported_ends_the_deferral_at_once(gateway: Gateway, land: FakeDepartment) -> None:
    consent = gateway.federation.issue()
    verified = await gateway.verify(deferrable(gateway, consent=consent))
    other = await gateway.verify(deferrable(gateway))
    gateway.away.add(land.department)
    grant = consent.grants[0]
    await gateway.events.withdraw(
        Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
    )
    gateway.deferral.withdrawn(grant.digest)
    await gateway.tick(0.0)
    assert fetched(gateway, verified).answers[2].reason is Reason.GRANT_REVOKED
    assert gateway.gone == [Reason.GRANT_REVOKED]
    assert steps(fetched(gateway, other))[2] == DEFERRED
    assert len(land.asks) == 2


async def test_withdrawal_by_the_status_list_ends_the_deferral(gateway: Gateway, land: FakeDepartment) -> None:
    consent = gateway.federation.issue()
    verified = await gateway.verify(deferrable(gateway, consent=consent))
    gateway.standings.revoked.add(consent.grants[0].digest)
    await gateway.tick()
    await require_ended(gateway, verified, Reason.GRANT_REVOKED)


async def test_withdrawal_while_the_department_answers_keeps_the_answer_back_and_ends_the_deferral(
    gateway: Gateway, land: FakeDepartment
) -> None:
    verified = await gateway.verify(deferrable(gateway))
    land.failure = None
    gateway.standings.revoke_after = gateway.standings.asked + 1  # before it is asked it stands, afterwards no longer
    await gateway.tick()
    withheld, end = gateway.verification_rows()[-2:]
    assert (withheld.status, withheld.reason) == (CheckStatus.WITHHELD, Reason.GRANT_REVOKED.value)
    assert (end.status, end.reason) == (CheckStatus.UNAVAILABLE, Reason.GRANT_REVOKED.value)
    assert fetched(gateway, verified).answers[2].reason is Reason.GRANT_REVOKED
    assert gateway.kept() == []


async def test_grant_used_up_meanwhile_ends_a_deferral_that_had_no_answer_yet(
    gateway: Gateway, land: FakeDepartment
) -> None:
    consent = gateway.federation.issue(max_uses=1)
    police = department_of(gateway, POLICE)
    police.failure = DOWN
    verified = await gateway.verify(deferrable(gateway, consent=consent))
    police.failure = land.failure = None
    assert steps(await gateway.verify(gateway.submission(consent))) == [ANSWERED] * 3
    asked = len(land.asks)
    await gateway.tick()
    last = fetched(gateway, verified)
    assert steps(last) == [RETRY] * 3
    assert reasons(last) == {Reason.GRANT_USED_UP}
    assert (len(land.asks), gateway.kept(), max(gateway.used(consent))) == (asked, [], 1)


async def test_requester_whose_terms_changed_is_not_asked_for_any_more(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    gateway.federation = gateway.federation.changed(without_claim(gateway, LAND))
    await gateway.tick()
    await require_ended(gateway, verified, Reason.CLAIM_NOT_ALLOWED)


def without_claim(gateway: Gateway, claim: str) -> object:
    terms = gateway.federation.registry.party(fed.REQUESTER).requester
    assert terms is not None
    kept = tuple(one for one in terms.claims if one != claim)

    def narrower(document: Document) -> Document:
        return fed.edit_party(document, fed.REQUESTER, requester=msgspec.structs.replace(terms, claims=kept))

    return narrower


async def test_expired_registry_and_a_clock_set_back_only_delay(gateway: Gateway, land: FakeDepartment) -> None:
    """They are no fault of the requester's."""
    verified = await gateway.verify(deferrable(gateway))
    for moved in (-2 * HOUR, 2 * HOUR):
        gateway.clock.now += moved
        await gateway.tick()
    assert gateway.gone == []
    land.failure = None
    await gateway.tick()
    assert steps(fetched(gateway, verified)) == [ANSWERED] * 3


async def test_end_that_the_log_cannot_record_is_recorded_once_it_can(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    gateway.clock.now += HOUR + AFTER_THE_END
    gateway.store.fail_before = True
    await gateway.tick()
    assert (len(gateway.kept()), gateway.gone) == (1, [])
    gateway.store.fail_before = False
    await gateway.tick()
    await require_ended(gateway, verified, Reason.QUERY_EXPIRED)


async def test_refused_caller_ends_nobodys_deferral(gateway: Gateway, land: FakeDepartment) -> None:
    """A requester's bad retry is its own matter: what it sent rightly before is still asked."""
    submission = deferrable(gateway)
    verified = await gateway.verify(submission)
    other = gateway.submission()
    with pytest.raises(HeyanError):
        await gateway.send(replace(submission, grants=other.grants))
    assert (len(gateway.kept()), gateway.gone) == (1, [])
    land.failure = None
    await gateway.tick()
    assert steps(fetched(gateway, verified)) == [ANSWERED] * 3


async def test_request_of_which_nothing_is_kept_any_more_is_not_asked(gateway: Gateway, land: FakeDepartment) -> None:
    """Another gateway of the same store has seen to it."""
    verified = await gateway.verify(deferrable(gateway))
    gateway.store._writer.execute("DELETE FROM deferrals")
    asked = len(land.asks)
    await gateway.tick()
    assert (len(land.asks), len(gateway.room), gateway.gone) == (asked, 0, [])
    assert RequestKey(fed.REQUESTER, verified.query.request_id) not in gateway.room._places


async def test_query_refused_at_first_is_not_kept(gateway: Gateway, land: FakeDepartment) -> None:
    consent = gateway.federation.issue()
    gateway.standings.revoked.add(consent.grants[0].digest)
    with pytest.raises(NotGrantedError):
        await gateway.send(deferrable(gateway, consent=consent))
    assert gateway.kept() == []
    assert gateway.room.reserve(RequestKey(fed.REQUESTER, bytes(16)), 7_999_999)  # no room is held for it
