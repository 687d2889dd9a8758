"""Disk full, database locked or read-only, clock set: nothing is answered unrecorded, and the end of it heals it."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import LogUnavailableError, NotCurrentError, UnreachableError
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from tests.fakes_sqlite import TROUBLES, Trouble, grow_with, use_free_pages
from tests.gateway.conftest import PEER, QUESTIONS, Gateway, department_of

DAY = 86_400


each_jump = pytest.mark.parametrize("step", [-120.0, 120.0, -0.9 * DAY, 3.0 * DAY])
each_trouble = pytest.mark.parametrize("trouble", TROUBLES)


@each_trouble
async def test_nothing_is_answered_while_the_store_cannot_record_and_everything_after_it(
    gateway: Gateway, trouble: Trouble
) -> None:
    earlier = gateway.submission()
    await gateway.verify(earlier)
    grow_with(gateway.store._writer, "leaves")
    consents = [gateway.federation.issue(max_uses=1) for _ in range(3)]
    submissions = [gateway.submission(consent) for consent in consents]
    size = gateway.log.head().size
    with trouble(gateway.store._writer):
        for submission in submissions:
            with pytest.raises(LogUnavailableError) as refused:
                await gateway.send(submission)
            assert refused.value.reason is Reason.LOG_UNAVAILABLE
            assert refused.value.retry_after
        assert gateway.log.complaint
        assert gateway.log.head().size == size
        assert {max(gateway.used(consent)) for consent in consents} == {0}
        again = gateway.check(gateway.pipeline.get(read_query(earlier.signed.query).request_id, PEER))
        assert len(again.answers) == len(QUESTIONS)  # what is recorded can still be read
    for submission in submissions:
        verified = await gateway.verify(submission)
        assert {answer.outcome for answer in verified.answers} == {Outcome.YES}
    assert gateway.log.complaint is None
    assert {max(gateway.used(consent)) for consent in consents} == {1}


@each_trouble
async def test_statements_that_nobody_waits_for_are_logged_when_they_come_again(
    gateway: Gateway, trouble: Trouble
) -> None:
    """The node sends again what was not acknowledged; nothing was acknowledged that is not recorded."""
    await gateway.verify(gateway.submission())
    use_free_pages(gateway.store._writer)
    node, digests = department_of(gateway, QUESTIONS[0].claim), tuple(bytes([number]) * 32 for number in range(250))
    acknowledged = len(node.acknowledged)
    with trouble(gateway.store._writer), pytest.raises(LogUnavailableError):
        await gateway.events.recover(node.department, digests)
    assert gateway.requests.logged_statements(digests) == {}
    assert len(node.acknowledged) == acknowledged
    await gateway.events.recover(node.department, digests)
    assert gateway.requests.logged_statements(digests).keys() == set(digests)


@each_jump
async def test_clock_that_jumps_refuses_by_the_right_reason_and_the_same_query_is_answered_once_it_is_right(
    gateway: Gateway, step: float
) -> None:
    consent = gateway.federation.issue(max_uses=1)
    submission = gateway.submission(consent)
    gateway.clock.now += step
    with pytest.raises(NotCurrentError) as refused:
        await gateway.send(submission)
    expected = {Reason.QUERY_NOT_YET_VALID} if step < 0 else {Reason.QUERY_EXPIRED, Reason.REGISTRY_EXPIRED}
    assert refused.value.reason in expected
    assert max(gateway.used(consent)) == 0
    gateway.clock.now -= step
    verified = await gateway.verify(submission)
    assert {answer.outcome for answer in verified.answers} == {Outcome.YES}


@each_jump
async def test_answer_that_was_recorded_is_given_again_whatever_the_clock_says(gateway: Gateway, step: float) -> None:
    """Or, where it says that the query is still to be made, none is given until it is right."""
    submission = gateway.submission()
    before = await gateway.verify(submission)
    gateway.clock.now += step
    if step < 0:
        with pytest.raises(NotCurrentError) as refused:
            await gateway.verify(submission)
        assert refused.value.reason is Reason.QUERY_NOT_YET_VALID
        gateway.clock.now -= step
    assert (await gateway.verify(submission)).answers == before.answers


@pytest.mark.parametrize("step", [0.5, 4.0])
async def test_receipt_of_a_query_that_was_resumed_after_the_clock_was_set_back_still_holds(
    gateway: Gateway, step: float
) -> None:
    """A time server sets a clock back by seconds now and then; a leaf must not bear a time before the earlier one's."""
    slow = department_of(gateway, QUESTIONS[0].claim)
    slow.failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    submission = gateway.submission()
    gateway.clock.now += 5
    await gateway.verify(submission)
    slow.failure = None
    gateway.clock.now -= step
    verified = await gateway.verify(submission)
    assert {answer.outcome for answer in verified.answers} == {Outcome.YES}
