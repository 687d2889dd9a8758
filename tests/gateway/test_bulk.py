"""The client of a backlog believes no answer that is not proven for its item, and loses none to a broken stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from gateway import bulk
from gateway.bulk import Pace, verify_stream
from gateway.client import Verification
from gateway.party.statuses import to_status
from gateway.protocol.errors import (
    ForgedError,
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotGrantedError,
    OverloadedError,
    UnreachableError,
)
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Presentation, Submission
from gateway.protocol.reasons import Reason
from heyan.v1 import gateway_service_pb2 as pb
from tests import federation as fed
from tests.gateway.conftest import Gateway, department_of
from tests.stream_gateway import StreamCall, StreamGateway

QUICK = Pace(in_flight=8, patience=20.0, least_pause=0.001, most_pause=0.002, retry=0.001)
IMPATIENT = replace(QUICK, patience=1.5)


async def source(submissions: Sequence[Submission]) -> AsyncIterator[Submission]:
    for submission in submissions:
        yield submission


async def ask(
    served: StreamGateway, submissions: Sequence[Submission], pace: Pace = QUICK
) -> list[Verification | HeyanError]:
    """What became of each, in the order in which they were sent."""
    found: dict[bytes, list[Verification | HeyanError]] = {}
    async with aclosing(verify_stream(served.client(), source(submissions), pace)) as results:
        async for submission, result in results:
            found.setdefault(submission.signed.digest, []).append(result)
    await served.close()
    assert all(len(results) == 1 for results in found.values()), "a result twice"
    return [found[submission.signed.digest][0] for submission in submissions]


def reasons(results: Sequence[Verification | HeyanError]) -> list[str]:
    return [result.reason.value if isinstance(result, HeyanError) else "OK" for result in results]


async def test_backlog_larger_than_the_window_is_answered_each_by_its_own_receipt(gateway: Gateway) -> None:
    served = StreamGateway(gateway)
    served._scripts = [served.honest]
    submissions = [gateway.submission() for _ in range(30)]
    results = await ask(served, submissions)
    for submission, result in zip(submissions, results, strict=True):
        assert isinstance(result, Verification)
        assert result.verified.query_digest == submission.signed.digest
    assert len(served.calls) == 1


async def test_empty_backlog_ends(gateway: Gateway) -> None:
    served = StreamGateway(gateway)
    served._scripts = [served.honest]
    assert await ask(served, []) == []


# -- a gateway that lies ------------------------------------------------------------------------------------


async def test_gateway_that_swaps_answers_between_items_is_caught_at_both(gateway: Gateway) -> None:
    async def swap(call: StreamCall) -> None:
        first, second = await served.take(call), await served.take(call)
        assert first is not None
        assert second is not None
        for asked, told in ((first, second), (second, first)):
            answer = await served.answered(asked)
            answer.item = told.item
            call.answer(answer)
        await served.honest(call)

    served = StreamGateway(gateway, swap)
    results = await ask(served, [gateway.submission() for _ in range(3)])
    assert reasons(results) == ["RECEIPT_INVALID", "RECEIPT_INVALID", "OK"]
    assert all(isinstance(result, ForgedError) for result in results[:2])


async def test_gateway_that_turns_an_answer_is_caught_at_that_item_alone(gateway: Gateway) -> None:
    async def bend(call: StreamCall) -> None:
        while (request := await served.take(call)) is not None:
            answer = await served.answered(request)
            if request.item == 2:
                del answer.response.receipt.statements[0]
            call.answer(answer)

    served = StreamGateway(gateway, bend)
    assert reasons(await ask(served, [gateway.submission() for _ in range(3)])) == ["OK", "RECEIPT_INVALID", "OK"]


async def test_answer_given_twice_counts_once(gateway: Gateway) -> None:
    async def twice(call: StreamCall) -> None:
        while (request := await served.take(call)) is not None:
            answer = await served.answered(request)
            call.answer(answer)
            call.answer(answer)
            call.answer(pb.VerifyStreamResponse(item=request.item, error=to_status(NotGrantedError(Reason.INTERNAL))))

    served = StreamGateway(gateway, twice)
    assert reasons(await ask(served, [gateway.submission() for _ in range(20)])) == ["OK"] * 20


async def test_answers_to_items_that_nobody_sent_count_for_nothing(gateway: Gateway) -> None:
    async def invent(call: StreamCall) -> None:
        for item in (0, 99, 2**63):
            call.answer(pb.VerifyStreamResponse(item=item, error=to_status(NotGrantedError(Reason.GRANT_REVOKED))))
        await served.honest(call)

    served = StreamGateway(gateway, invent)
    assert reasons(await ask(served, [gateway.submission() for _ in range(3)])) == ["OK"] * 3


async def test_item_that_is_never_answered_ends_as_unreachable_and_holds_up_no_other(gateway: Gateway) -> None:
    async def forget(call: StreamCall) -> None:
        while (request := await served.take(call)) is not None:
            if request.item != 2:
                call.answer(await served.answered(request))

    served = StreamGateway(gateway, forget)
    results = await ask(served, [gateway.submission() for _ in range(3)], IMPATIENT)
    assert reasons(results) == ["OK", "PEER_UNREACHABLE", "OK"]
    assert isinstance(results[1], UnreachableError)


async def test_answer_without_a_result_is_no_answer(gateway: Gateway) -> None:
    async def empty(call: StreamCall) -> None:
        while (request := await served.take(call)) is not None:
            call.answer(pb.VerifyStreamResponse(item=request.item))

    served = StreamGateway(gateway, empty)
    assert reasons(await ask(served, [gateway.submission()])) == ["RECEIPT_INVALID"]


async def test_answer_that_cannot_be_read_ends_the_backlog(gateway: Gateway) -> None:
    async def garbage(call: StreamCall) -> None:
        call.send(b"\xff\xff")
        await served.honest(call)

    served = StreamGateway(gateway, garbage)
    with pytest.raises(ForgedError):
        await ask(served, [gateway.submission()])
    await served.close()


# -- a stream that ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [None, Reason.SHUTTING_DOWN, Reason.OVERLOADED], ids=str)
async def test_stream_that_ends_early_is_resumed_with_the_same_bytes_and_no_use_twice(
    gateway: Gateway, how: Reason | None
) -> None:
    async def end_early(call: StreamCall) -> None:
        """Answers one, swallows the answer to another that it did carry, and leaves the rest unread."""
        first, second = await served.take(call), await served.take(call)
        assert first is not None
        assert second is not None
        call.answer(await served.answered(first))
        await served.answered(second)
        if how is not None:
            raise UnreachableError(how, retry_after=0.001)

    served = StreamGateway(gateway)
    served._scripts = [end_early, end_early, served.honest]
    consents = [gateway.federation.issue() for _ in range(6)]
    submissions = [gateway.submission(consent) for consent in consents]
    assert reasons(await ask(served, submissions)) == ["OK"] * 6
    assert len(served.calls) == 3
    assert len(served.received) == 6
    assert [max(gateway.used(consent)) for consent in consents] == [1] * 6


async def test_stream_whose_channel_is_renewed_under_it_is_resumed(gateway: Gateway) -> None:
    async def renewed(call: StreamCall) -> None:
        first = await served.take(call)
        assert first is not None
        call.answer(await served.answered(first))
        call.close_channel()
        await asyncio.Event().wait()

    served = StreamGateway(gateway)
    served._scripts = [renewed, served.honest]
    assert reasons(await ask(served, [gateway.submission() for _ in range(5)])) == ["OK"] * 5
    assert len(served.calls) == 2


async def test_gateway_that_is_gone_for_good_ends_each_item_and_not_the_program(gateway: Gateway) -> None:
    async def gone(_call: StreamCall) -> None:
        raise UnreachableError(Reason.SHUTTING_DOWN, retry_after=0.001)

    served = StreamGateway(gateway, gone)
    assert reasons(await ask(served, [gateway.submission() for _ in range(3)], IMPATIENT)) == ["SHUTTING_DOWN"] * 3


async def test_gateway_that_never_ends_its_side_is_hung_up_on(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "LAST_WORD", 0.01)

    async def linger(call: StreamCall) -> None:
        await served.honest(call)
        await asyncio.Event().wait()

    served = StreamGateway(gateway, linger)
    assert reasons(await ask(served, [gateway.submission()])) == ["OK"]
    assert served.calls[0].cancelled


async def test_requester_that_the_gateway_does_not_know_is_told_at_once(gateway: Gateway) -> None:
    async def refuse(_call: StreamCall) -> None:
        raise NotGrantedError(Reason.PEER_UNKNOWN)

    served = StreamGateway(gateway, refuse)
    with pytest.raises(NotGrantedError) as caught:
        await ask(served, [gateway.submission()])
    assert caught.value.reason is Reason.PEER_UNKNOWN
    await served.close()


# -- items --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError(Reason.TOO_MANY_UNANSWERED, retry_after=0.001),
        LogUnavailableError(Reason.LOG_UNAVAILABLE, retry_after=0.001),
        UnreachableError(Reason.STATUS_UNAVAILABLE),
    ],
    ids=str,
)
async def test_item_that_may_be_tried_again_is(gateway: Gateway, error: HeyanError) -> None:
    async def later(call: StreamCall) -> None:
        while (request := await served.take(call)) is not None:
            if served.received[request.request.SerializeToString()] < 3:
                call.answer(pb.VerifyStreamResponse(item=request.item, error=to_status(error)))
            else:
                call.answer(await served.answered(request))

    served = StreamGateway(gateway, later)
    assert reasons(await ask(served, [gateway.submission() for _ in range(10)])) == ["OK"] * 10
    assert set(served.received.values()) == {3}


async def test_item_that_stays_overloaded_ends_with_that_and_is_not_refused(gateway: Gateway) -> None:
    async def never(call: StreamCall) -> None:
        while (request := await served.take(call)) is not None:
            error = OverloadedError(Reason.TOO_MANY_UNANSWERED, retry_after=0.05)
            call.answer(pb.VerifyStreamResponse(item=request.item, error=to_status(error)))

    served = StreamGateway(gateway, never)
    (result,) = await ask(served, [gateway.submission()], IMPATIENT)
    assert isinstance(result, OverloadedError)
    assert result.reason is Reason.TOO_MANY_UNANSWERED


async def test_refused_item_is_not_sent_again(gateway: Gateway) -> None:
    served = StreamGateway(gateway)
    served._scripts = [served.honest]
    refused = gateway.submission(gateway.federation.issue(requester=fed.OTHER_REQUESTER))
    results = await ask(served, [gateway.submission(), refused, gateway.submission()])
    assert reasons(results) == ["OK", "GRANT_OTHER_REQUESTER", "OK"]
    assert set(served.received.values()) == {1}


async def test_answer_with_a_check_unavailable_is_an_answer(gateway: Gateway) -> None:
    department_of(gateway, "property.owns_home@1").failure = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
    served = StreamGateway(gateway)
    served._scripts = [served.honest]
    (result,) = await ask(served, [gateway.submission()])
    assert isinstance(result, Verification)
    assert [answer.outcome for answer in result.verified.answers] == [Outcome.YES, Outcome.YES, Outcome.UNAVAILABLE]


async def test_submission_too_large_for_any_gateway_is_never_sent(gateway: Gateway) -> None:
    served = StreamGateway(gateway)
    served._scripts = [served.honest]
    large = replace(gateway.submission(), grants=(Presentation("x" * MAX_MESSAGE, ()),))
    results = await ask(served, [large, gateway.submission()])
    assert reasons(results) == ["MESSAGE_TOO_LARGE", "OK"]
    assert isinstance(results[0], MalformedError)
    assert len(served.received) == 1


# -- source and consumer ------------------------------------------------------------------------------------


async def test_consumer_that_takes_its_time_is_waited_for(gateway: Gateway) -> None:
    served = StreamGateway(gateway)
    served._scripts = [served.honest]
    asked: list[int] = []

    async def endless() -> AsyncIterator[Submission]:
        for number in range(1_000):
            asked.append(number)
            yield gateway.submission()

    async with aclosing(verify_stream(served.client(), endless(), QUICK)) as results:
        await anext(results)
        await asyncio.sleep(0.3)
        assert len(asked) <= QUICK.in_flight + 1
        for _ in range(10):
            await anext(results)
        await asyncio.sleep(0.3)
        assert len(asked) <= QUICK.in_flight + 11
    await served.close()


async def test_consumer_that_leaves_leaves_nothing_running(gateway: Gateway) -> None:
    served = StreamGateway(gateway)
    served._scripts = [served.honest]
    before = asyncio.all_tasks()
    submissions = [gateway.submission() for _ in range(20)]
    async with aclosing(verify_stream(served.client(), source(submissions), QUICK)) as results:
        await anext(results)
    await served.close()
    await gateway.pipeline.drain()
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() <= before
    assert served.calls[0].cancelled


async def test_source_that_fails_fails_the_backlog(gateway: Gateway) -> None:
    served = StreamGateway(gateway)
    served._scripts = [served.honest]

    async def failing() -> AsyncIterator[Submission]:
        yield gateway.submission()
        raise MalformedError.at("line 2", "is wrong")

    with pytest.raises(MalformedError):
        async for _ in verify_stream(served.client(), failing(), QUICK):
            pass
    await served.close()
