"""A gateway that lies about deferrals: what it promises must stand in the log, and what it hides in a journal.

It may keep a deferrable query back, and show it to a department late: the requester allowed as much, by signing
answer_until_time. It can do so once, no later, and the statement bears the time at which it was made.
"""

from __future__ import annotations

import pytest

from gateway.audit.findings import Disagreement
from gateway.client import Verification
from gateway.protocol.errors import ForgedError
from gateway.protocol.limits import EXPIRY_TOLERANCE
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.reasons import Reason
from gateway.waiting_room import Limits
from heyan.v1 import check_pb2, log_pb2, receipt_pb2
from tests.attacks.test_dishonest_gateway_answers import stated_by
from tests.dishonest_gateway import POLICE, DishonestGateway, disclosure_of
from tests.gateway.conftest import PEER, PLAN, QUESTIONS

HOUR = 3_600.0


def deferrable(liar: DishonestGateway, seconds: float = HOUR, max_uses: int = 3) -> Submission:
    consent = liar.gateway.federation.issue(max_uses=max_uses)
    return liar.client().prepare(QUESTIONS, consent, PLAN, answer_until=liar.gateway.clock.now + seconds)


async def ask(liar: DishonestGateway) -> Verification:
    return await liar.client().send(deferrable(liar))


def promise(receipt: receipt_pb2.Receipt) -> None:
    for gap in receipt.unavailable:
        gap.next_step = check_pb2.NEXT_STEP_DEFERRED


def break_off(receipt: receipt_pb2.Receipt) -> None:
    for gap in receipt.unavailable:
        gap.next_step = check_pb2.NEXT_STEP_RETRY


def defer_rows(leaf: log_pb2.LogLeaf) -> None:
    for row in leaf.verification.checks:
        if row.status == log_pb2.CHECK_STATUS_UNAVAILABLE:
            row.status = log_pb2.CHECK_STATUS_DEFERRED


async def test_deferral_that_is_promised_and_not_logged_is_refused_by_the_client(liar: DishonestGateway) -> None:
    """A gateway without room says RETRY; one that says DEFERRED all the same would leave its requester waiting."""
    liar.gateway.room._limits = Limits(0, 0, 0, 0)
    liar.police.hides = True
    assert not (await ask(liar)).deferred
    liar.bend_receipt = promise
    with pytest.raises(ForgedError) as caught:
        await ask(liar)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_deferral_that_is_logged_and_not_told_is_refused_by_the_client(liar: DishonestGateway) -> None:
    liar.police.hides = True
    liar.bend_receipt = break_off
    with pytest.raises(ForgedError) as caught:
        await ask(liar)
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_deferral_that_its_requester_did_not_allow_is_refused_even_if_it_is_logged(
    liar: DishonestGateway,
) -> None:
    liar.police.hides = True
    forged = liar.forgery()

    def record(receipt: receipt_pb2.Receipt) -> None:
        promise(receipt)
        forged.record(receipt, defer_rows)

    liar.bend_receipt = record
    with pytest.raises(ForgedError) as caught:
        await liar.verify()
    assert caught.value.reason is Reason.RECEIPT_INVALID


async def test_answer_that_the_gateway_sits_on_and_calls_deferred_is_told_by_the_journal(
    liar: DishonestGateway,
) -> None:
    """Its client waits in vain; whoever audits finds what the department had said by then."""
    liar.police.hides = True
    result = await ask(liar)
    assert [answer.next_step for answer in result.deferred] == [NextStep.DEFERRED] * 2
    await liar.settle()
    audited = liar.audit(disclosures=[disclosure_of(result)])
    suppressed = [finding for finding in audited.findings if finding.kind is Disagreement.SUPPRESSED]
    assert [(finding.holder, finding.index) for finding in suppressed] == [(POLICE, 0), (POLICE, 0)]
    unlogged = {finding.digest for finding in audited.findings if finding.kind is Disagreement.UNLOGGED}
    assert unlogged == set(stated_by(liar.police.node))


async def test_honest_deferral_leaves_an_auditor_nothing_to_find(liar: DishonestGateway) -> None:
    """A department that fails, is asked again and answers: the first leaf's gap is no suppression."""
    honest, liar.gateway.departments[POLICE] = liar.gateway.departments[POLICE], None  # type: ignore[assignment]
    result = await ask(liar)
    assert len(result.deferred) == 2
    liar.gateway.departments[POLICE] = honest
    liar.gateway.clock.now += 600
    await liar.gateway.tick()
    await liar.settle()
    last = liar.gateway.check(liar.gateway.pipeline.get(result.verified.query.request_id, PEER))
    assert {answer.outcome for answer in last.answers} == {Outcome.YES}
    assert liar.found(disclosures=[disclosure_of(result)]) == []


# -- a query that is shown late -----------------------------------------------------------------------------


async def test_deferred_query_that_a_node_first_sees_before_its_end_is_answered_at_the_time_of_the_answer(
    liar: DishonestGateway,
) -> None:
    submission = deferrable(liar)
    liar.gateway.clock.now += HOUR
    assert await liar.told(POLICE, liar.asks_for(submission)[POLICE]) == ["YES", "YES"]


async def test_deferred_query_that_a_node_first_sees_after_its_end_is_refused(liar: DishonestGateway) -> None:
    submission = deferrable(liar)
    liar.gateway.clock.now += HOUR + EXPIRY_TOLERANCE + 1
    assert await liar.told(POLICE, liar.asks_for(submission)[POLICE]) == [Reason.QUERY_EXPIRED.value]


async def test_query_without_deferral_that_a_gateway_keeps_back_is_refused_by_the_node(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue()
    submission = liar.client().prepare(QUESTIONS, consent, PLAN)
    liar.gateway.clock.now += 60 + EXPIRY_TOLERANCE + 1
    assert await liar.told(POLICE, liar.asks_for(submission)[POLICE]) == [Reason.QUERY_EXPIRED.value]


async def test_deferred_query_that_is_shown_again_and_again_is_answered_once_and_spends_one_use(
    liar: DishonestGateway,
) -> None:
    """A replay within the deferral gets the stored statements: the same to the byte, and no second look."""
    ask_ = liar.asks_for(deferrable(liar, max_uses=1))[POLICE]
    for _ in range(4):
        assert await liar.told(POLICE, ask_) == ["YES", "YES"]
        liar.gateway.clock.now += 600
    assert len(set(stated_by(liar.police.node))) == 2
    assert len(liar.police.node.register.asked) == 1


async def test_deferred_query_is_not_answered_for_a_grant_withdrawn_meanwhile(liar: DishonestGateway) -> None:
    """The gateway may not know, or not want to: the node asks for itself."""
    consent = liar.gateway.federation.issue()
    client = liar.client()
    submission = client.prepare(QUESTIONS, consent, PLAN, answer_until=liar.gateway.clock.now + HOUR)
    liar.police.node.standings.revoked.add(consent.grants[0].digest)
    liar.gateway.clock.now += 1_800
    assert await liar.told(POLICE, liar.asks_for(submission)[POLICE]) == [Reason.GRANT_REVOKED.value]
