"""The pipeline when departments contradict themselves, the log fails under it, or a requester wears it out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import cycle

import msgspec
import pytest

from consent.revocation import Revocation
from gateway.asking import Question
from gateway.protocol.attestation import Attestation, Statement
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.errors import (
    ForgedError,
    LogUnavailableError,
    MalformedError,
    OverloadedError,
    UnreachableError,
)
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Coverage, Document
from heyan.v1 import check_pb2
from tests import federation as fed
from tests.gateway.conftest import QUESTIONS, Gateway, department_of

LAND = "property.owns_home@1"
EDUCATION = fed.DEPARTMENTS[DepartmentKind.EDUCATION]


def contradict(gateway: Gateway) -> None:
    """Have the land department state both YES and NO of each check, in one reply."""
    land = department_of(gateway, LAND)
    outcomes = cycle((Outcome.YES, Outcome.NO))
    land.copies = 2

    def bend(statement: Statement) -> Statement:
        assert isinstance(statement, Attestation)
        return replace(statement, outcome=next(outcomes))

    land.bend = bend


async def test_answers_that_contradict_each_other_become_undetermined_and_are_both_logged(gateway: Gateway) -> None:
    contradict(gateway)
    verified = await gateway.verify(gateway.submission())
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES, Outcome.YES, Outcome.UNDETERMINED]
    assert verified.answers[2].reason is Reason.ANSWERS_CONTRADICT
    assert verified.answers[2].next_step is NextStep.OFFLINE
    (row,) = [row for row in gateway.verification_rows() if row.claim == LAND]
    assert (row.status, row.reason) == (CheckStatus.CONTRADICTED, "ANSWERS_CONTRADICT")
    recovered = [leaf.recovery for leaf in gateway.leaves() if leaf.WhichOneof("event") == "recovery"]
    assert sum(len(event.statement_digests) for event in recovered) == 2
    assert department_of(gateway, LAND).acknowledged


async def test_contradiction_spends_the_use_and_is_final(gateway: Gateway) -> None:
    """Asked again, the department could only choose; so it is not asked again."""
    contradict(gateway)
    consent = gateway.federation.issue()
    submission = gateway.submission(consent, QUESTIONS[2:])
    await gateway.verify(submission)
    land = department_of(gateway, LAND)
    land.copies = 1
    verified = await gateway.verify(submission)
    assert [answer.outcome for answer in verified.answers] == [Outcome.UNDETERMINED]
    assert len(land.asks) == 1
    assert sum(gateway.used(consent)) == 1


async def test_same_answer_signed_twice_is_no_contradiction(gateway: Gateway) -> None:
    department_of(gateway, LAND).copies = 2
    verified = await gateway.verify(gateway.submission())
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 3


async def test_receipt_that_calls_a_contradiction_a_retry_is_refused(gateway: Gateway) -> None:
    contradict(gateway)
    receipt = await gateway.send(gateway.submission())
    receipt.unavailable[0].next_step = check_pb2.NEXT_STEP_RETRY
    with pytest.raises(ForgedError):
        gateway.check(receipt)


async def test_receipt_that_calls_a_fault_a_contradiction_is_refused(gateway: Gateway) -> None:
    department_of(gateway, LAND).failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    receipt = await gateway.send(gateway.submission())
    receipt.unavailable[0].reason = Reason.ANSWERS_CONTRADICT.value
    receipt.unavailable[0].next_step = check_pb2.NEXT_STEP_OFFLINE
    with pytest.raises(ForgedError):
        gateway.check(receipt)


async def test_answers_that_the_log_could_not_take_are_logged_when_it_can(gateway: Gateway) -> None:
    """Also if the client never comes back: what a department answered is always logged."""
    gateway.store.fail_before = True
    with pytest.raises(LogUnavailableError):
        await gateway.send(gateway.submission())
    with pytest.raises(LogUnavailableError):
        await gateway.events.settle_owed()
    gateway.store.fail_before = False
    await gateway.events.settle_owed()
    recovered = [leaf.recovery for leaf in gateway.leaves()]
    assert len({event.department for event in recovered}) == len(recovered) == 2
    assert sum(len(event.statement_digests) for event in recovered) == 3
    assert all(department_of(gateway, claim).acknowledged for claim in (LAND, "hukou.child_registered@1"))
    await gateway.events.settle_owed()
    assert len(gateway.leaves()) == len(recovered)


async def test_answers_that_were_durable_after_all_are_acknowledged_and_not_logged_again(gateway: Gateway) -> None:
    gateway.store.fail_after = True
    with pytest.raises(LogUnavailableError):
        await gateway.send(gateway.submission())
    gateway.store.fail_after = False
    assert not department_of(gateway, LAND).acknowledged
    await gateway.events.settle_owed()
    assert len(gateway.leaves()) == 1
    assert department_of(gateway, LAND).acknowledged


async def test_requester_whose_queries_nobody_answers_cannot_grow_the_log_at_will(gateway: Gateway) -> None:
    """Refused by departments, they spend no use: an allowance bounds them, and others go on."""
    for department in gateway.departments.values():
        department.refusal = Reason.COMMITMENT_MISMATCH
    for _ in range(20):
        await gateway.send(gateway.submission())
    logged = len(gateway.leaves())
    with pytest.raises(OverloadedError) as caught:
        await gateway.send(gateway.submission())
    assert caught.value.reason is Reason.TOO_MANY_UNANSWERED
    assert caught.value.retry_after
    assert len(gateway.leaves()) == logged
    for department in gateway.departments.values():
        department.refusal = None
    gateway.clock.now += 1
    verified = await gateway.verify(gateway.submission())
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 3


async def test_answered_queries_never_meet_the_allowance(gateway: Gateway) -> None:
    department_of(gateway, LAND).failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    for _ in range(25):
        await gateway.verify(gateway.submission())


async def test_retries_that_bring_nothing_cost_no_leaf_and_no_allowance(gateway: Gateway) -> None:
    for department in gateway.departments.values():
        department.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    submission = gateway.submission()
    for _ in range(25):
        await gateway.verify(submission)
    assert len(gateway.leaves()) == 1


async def test_one_withdrawal_reported_many_times_at_once_is_recorded_once(gateway: Gateway) -> None:
    grant = gateway.federation.issue().grants[0]
    revocation = Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
    times = await asyncio.gather(*(gateway.events.withdraw(revocation) for _ in range(20)))
    assert len(set(times)) == 1
    assert len(gateway.leaves()) == 1


async def test_counties_of_two_nodes_cannot_be_asked_side_by_side(gateway: Gateway) -> None:
    """Where somebody owns a home would be told county by county, for one use; each node sees only its own county."""

    def split(document: Document) -> Document:
        land = Coverage((LAND,), ("4301",))
        other = Coverage((LAND,), ("4302",))
        parties = {party.id: party.department for party in document.parties if party.department is not None}
        for uri, coverage in ((fed.DEPARTMENTS[DepartmentKind.LAND], land), (EDUCATION, other)):
            terms = msgspec.structs.replace(parties[uri], kind=DepartmentKind.LAND, coverage=(coverage,))
            document = fed.edit_party(document, uri, department=terms)
        return document

    gateway.federation = gateway.federation.changed(split)
    consent = gateway.federation.issue(regions=("43",))
    counties = (Question("c1", LAND, "430102", {}), Question("c2", LAND, "430202", {}))
    with pytest.raises(MalformedError) as caught:
        await gateway.send(gateway.submission(consent, counties))
    assert caught.value.reason is Reason.ASKED_TWICE
    verified = await gateway.verify(gateway.submission(consent, counties[1:]))
    assert [answer.department for answer in verified.answers] == [EDUCATION]


async def test_issuer_cannot_grow_the_log_at_will_with_withdrawals(gateway: Gateway) -> None:
    """Also at once; and what was recorded before may be reported again for nothing."""
    grants = [gateway.federation.issue().grants[0] for _ in range(8)]
    withdrawals = [
        Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
        for grant in grants
    ]
    outcomes = await asyncio.gather(*map(gateway.events.withdraw, withdrawals), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
    assert (len(refused), len(gateway.leaves())) == (3, 5)
    assert all(outcome.retry_after for outcome in refused)
    for withdrawal in withdrawals[:5]:
        await gateway.events.withdraw(withdrawal)
    gateway.clock.now += 3
    for withdrawal in withdrawals[5:]:
        await gateway.events.withdraw(withdrawal)


@pytest.mark.parametrize("step", [-30.0, 200.0])
async def test_clock_set_while_departments_answer_makes_no_receipt_that_would_never_hold(
    gateway: Gateway, step: float
) -> None:
    """The answers are owed and logged; the query is answered once the clock is right, and its use spent once."""
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    call = asyncio.create_task(gateway.send(submission))
    while not land.asks:  # noqa: ASYNC110 - the query is accepted, and on its way
        await asyncio.sleep(0)
    gateway.clock.now += step
    land.gate.set()
    with pytest.raises(LogUnavailableError) as caught:
        await call
    assert caught.value.retry_after
    gateway.clock.now -= step
    verified = await gateway.verify(submission)
    assert [answer.outcome for answer in verified.answers] == [Outcome.YES] * 3
    assert max(gateway.used(consent)) == 1
    await gateway.events.settle_owed()
    recorded = {digest for leaf in gateway.leaves() for digest in leaf.recovery.statement_digests}
    assert len(recorded) == 3


async def test_repeated_calls_hold_places_of_their_own_while_they_wait(gateway: Gateway) -> None:
    """Else one request repeated without end would hold as much memory as somebody likes to send."""
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    submission = gateway.submission()
    calls = []
    for _ in range(100):
        calls.append(asyncio.create_task(gateway.send(submission)))
        await asyncio.sleep(0)
        while gateway.admission.in_line:  # noqa: ASYNC110 - not so many at once that the line is full before places are
            await asyncio.sleep(0)
    assert gateway.admission.taken == 32
    land.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, OverloadedError) for outcome in outcomes) == 68
    assert len({id(outcome) for outcome in outcomes if not isinstance(outcome, OverloadedError)}) >= 1
    await gateway.pipeline.drain()
    await asyncio.sleep(0)
    assert gateway.admission.taken == 0
    assert len(land.asks) == 1


async def test_withdrawal_by_another_issuer_does_not_bear_the_grants_tag(gateway: Gateway) -> None:
    """It withdraws nothing; an auditor must not read it as if this grant had been withdrawn and used nevertheless."""
    consent = gateway.federation.issue()
    grant = consent.grants[0]
    await gateway.verify(gateway.submission(consent))
    (tag,) = gateway.leaves()[0].verification.grant_tags
    for issuer, same in ((fed.OTHER_ISSUER, False), (fed.ISSUER, True)):
        revocation = Revocation(issuer, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)
        await gateway.events.withdraw(revocation)
        assert (gateway.leaves()[-1].revocation.grant_tag == tag) is same
