"""Waiting for news of a request: woken by its commits and by nothing else, bounded, and never in a caller's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.admission import Admission
from gateway.client import Client, Verification
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError, OverloadedError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt
from gateway.services import GatewayMethods
from gateway.watching import Watchers
from gateway.witnessing.witnesses import Witnesses
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import receipt_pb2
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import PEER, Gateway, department_of
from tests.gateway.deferrals import ANSWERED, DEFERRED, POLICE, deferrable, steps
from tests.gateway.test_client import client_of

OTHER_PEER = parse_identity(fed.OTHER_REQUESTER)
LONG = 3_600.0


def asking(verified: VerifiedReceipt, known: int = 1, wait: float = LONG) -> pb.GetVerificationRequest:
    request = pb.GetVerificationRequest(request_id=verified.query.request_id, known_leaves=known)
    request.wait.FromNanoseconds(int(wait * 1e9))
    return request


async def watching(watchers: Watchers, count: int) -> None:
    """Until so many wait."""
    async with asyncio.timeout(5):
        while watchers._places.taken != count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def test_watcher_is_woken_by_the_answer(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    waiting = asyncio.create_task(gateway.watchers.watch(asking(verified), PEER, None))
    await watching(gateway.watchers, 1)
    await gateway.verify(deferrable(gateway))  # another request's news are none
    await gateway.tick()  # and neither is a try that changed nothing
    assert not waiting.done()
    land.failure = None
    await gateway.tick()
    await waiting
    assert gateway.watchers._waiting == {}


@pytest.mark.parametrize(
    ("known", "wait"), [(0, LONG), (1, 0.0), (1, 0.01)], ids=["more is known", "no patience", "time is up"]
)
async def test_watcher_does_not_wait(gateway: Gateway, land: FakeDepartment, known: int, wait: float) -> None:
    verified = await gateway.verify(deferrable(gateway))
    async with asyncio.timeout(5):
        await gateway.watchers.watch(asking(verified, known, wait), PEER, None)


async def test_watcher_waits_no_longer_than_its_calls_deadline(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    async with asyncio.timeout(5):
        await gateway.watchers.watch(asking(verified), PEER, 0.3)


async def test_watcher_of_another_requesters_request_learns_nothing_not_even_by_waiting(
    gateway: Gateway, land: FakeDepartment
) -> None:
    """Theirs and none at all are told apart by nothing: neither is waited for."""
    verified = await gateway.verify(deferrable(gateway))
    for request in (asking(verified), pb.GetVerificationRequest(request_id=bytes(16))):
        async with asyncio.timeout(5):
            await gateway.watchers.watch(request, OTHER_PEER, None)
        with pytest.raises(NotFoundError):
            gateway.pipeline.get(request.request_id, OTHER_PEER)


@pytest.mark.parametrize(("seconds", "nanos"), [(-1, 0), (0, -1)])
async def test_time_that_is_none_is_refused(gateway: Gateway, seconds: int, nanos: int) -> None:
    request = pb.GetVerificationRequest(request_id=bytes(16))
    request.wait.seconds, request.wait.nanos = seconds, nanos
    with pytest.raises(MalformedError):
        await gateway.watchers.watch(request, PEER, None)


async def test_requester_with_many_watchers_takes_no_place_of_a_verifying_call_nor_of_others(
    gateway: Gateway, land: FakeDepartment
) -> None:
    verified = await gateway.verify(deferrable(gateway))
    waiting = [asyncio.create_task(gateway.watchers.watch(asking(verified), PEER, None)) for _ in range(4)]
    await watching(gateway.watchers, 4)
    with pytest.raises(OverloadedError):
        await gateway.watchers.watch(asking(verified), PEER, None)
    assert gateway.admission.taken == 0
    theirs = asyncio.create_task(gateway.watchers.news(gateway.kept()[0].key, 1, OTHER_PEER, LONG))
    await watching(gateway.watchers, 5)
    land.failure = None
    await gateway.tick()
    await asyncio.gather(*waiting, theirs)
    assert gateway.watchers._places.taken == 0


async def test_watcher_who_hangs_up_leaves_nothing_behind(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    waiting = asyncio.create_task(gateway.watchers.watch(asking(verified), PEER, None))
    await watching(gateway.watchers, 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (gateway.watchers._waiting, gateway.watchers._places.taken) == ({}, 0)


async def test_draining_gateway_lets_watchers_go(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    waiting = asyncio.create_task(gateway.watchers.watch(asking(verified), PEER, None))
    await watching(gateway.watchers, 1)
    gateway.watchers.close()
    for watcher in (waiting, asyncio.create_task(gateway.watchers.watch(asking(verified), PEER, None))):
        with pytest.raises(UnreachableError) as caught:
            await watcher
        assert caught.value.reason is Reason.SHUTTING_DOWN


# -- the client ---------------------------------------------------------------------------------------------

BendReceipt = Callable[[receipt_pb2.Receipt], object]


class Served:
    """The gateway's GetVerification, as a client reaches it; `between` happens before each answer."""

    def __init__(self, gateway: Gateway, *between: Callable[[], Awaitable[object] | None]) -> None:
        self._gateway = gateway
        self._between = list(between)
        self.bend: BendReceipt = lambda _: None
        self.calls: list[pb.GetVerificationRequest] = []

    async def __call__(self, message: bytes) -> bytes:
        self.calls.append(pb.GetVerificationRequest.FromString(message))
        if self._between:
            done = self._between.pop(0)()
            if done is not None:
                await done
        receipt = self._gateway.pipeline.get(self.calls[-1].request_id, PEER)
        self.bend(receipt)
        return pb.GetVerificationResponse(receipt=receipt).SerializeToString()


async def seen_by(client: Client, verified: VerifiedReceipt, within: float = 60.0) -> list[Verification]:
    return [result async for result in client.watch(verified.query.request_id, within)]


async def test_client_sees_what_is_known_and_then_the_answer(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))

    def returns() -> Awaitable[object]:
        land.failure = None
        return gateway.tick()

    served = Served(gateway, lambda: None, returns)
    results = await seen_by(client_of(gateway, served), verified)
    assert [steps(result.verified)[2] for result in results] == [DEFERRED, ANSWERED]
    assert [len(result.deferred) for result in results] == [1, 0]
    assert [call.known_leaves for call in served.calls] == [0, 1]


async def test_client_that_has_no_more_time_ends_with_what_is_known(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    (result,) = await seen_by(client_of(gateway, Served(gateway)), verified, 0.0)
    assert result.deferred


async def test_client_rides_out_a_gateway_that_is_not_there_for_a_while(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    land.failure = None
    await gateway.tick()

    def away() -> None:
        raise UnreachableError(Reason.SHUTTING_DOWN, retry_after=0.001)

    (result,) = await seen_by(client_of(gateway, Served(gateway, away, away)), verified)
    assert not result.deferred
    with pytest.raises(UnreachableError):
        await seen_by(client_of(gateway, Served(gateway, *[away] * 10)), verified, 0.0)


async def test_client_believes_no_gateway_that_takes_back_what_it_had_logged(
    gateway: Gateway, land: FakeDepartment
) -> None:
    """Each receipt holds by itself; the second one is what it said before the first."""
    police = department_of(gateway, POLICE)
    police.failure = land.failure
    verified = await gateway.verify(deferrable(gateway))
    before = gateway.pipeline.get(verified.query.request_id, PEER)
    police.failure = None
    await gateway.tick()
    served = Served(gateway)
    served.bend = lambda receipt: receipt.CopyFrom(before) if len(served.calls) > 1 else None
    with pytest.raises(ForgedError):
        await seen_by(client_of(gateway, served), verified)
    assert len(served.calls) == 2


async def test_request_of_the_wire_is_waited_for_and_answered(gateway: Gateway, land: FakeDepartment) -> None:
    """Through the handler itself, with a deadline as gRPC tells it."""
    verified = await gateway.verify(deferrable(gateway))
    methods = methods_of(gateway)

    class Context:
        def time_remaining(self) -> float:
            return 30.0

    message = asking(verified).SerializeToString()
    waiting = asyncio.create_task(methods.get_verification(message, PEER, Context()))  # type: ignore[arg-type]
    await watching(gateway.watchers, 1)
    land.failure = None
    await gateway.tick()
    response = pb.GetVerificationResponse.FromString(await waiting)
    assert steps(gateway.check(response.receipt)) == [ANSWERED] * 3


def methods_of(gateway: Gateway) -> GatewayMethods:
    nothing: Any = None
    return GatewayMethods(
        pipeline=gateway.pipeline,
        events=gateway.events,
        registry=lambda: gateway.federation.registry,
        rulebook=nothing,
        applications=gateway.pipeline._applications,
        admission=Admission(8),
        clock=gateway.clock,
        watch=gateway.watchers.watch,
        on_withdrawal=gateway.deferral.withdrawn,
        disputes=gateway.disputes,
        bring_under=Witnesses(log=gateway.log, store=gateway.store, watchers=gateway.watchers).bring_under,
    )
