"""The gateway asks again: when a department is back, a few at a time, through its own pipeline, over restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.protocol.errors import (
    LogUnavailableError,
)
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import PEER, Gateway, department_of, open_gateway
from tests.gateway.deferrals import (
    ANSWERED,
    DEFERRED,
    DOWN,
    LAND,
    POLICE,
    deferrable,
    fetched,
    steps,
)


async def test_nothing_is_asked_while_no_department_that_is_waited_for_is_ready(
    gateway: Gateway, land: FakeDepartment
) -> None:
    await gateway.verify(deferrable(gateway))
    asked = len(land.asks)
    gateway.away.add(land.department)
    await gateway.tick()
    assert len(land.asks) == asked
    gateway.away.clear()
    await gateway.tick()
    assert len(land.asks) == asked + 1


async def test_retry_that_changes_nothing_logs_nothing(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    for _ in range(5):
        await gateway.tick()
    assert len(land.asks) == 6
    assert len(gateway.leaves()) == 1
    assert fetched(gateway, verified) == verified


async def test_departments_that_return_one_after_another_are_each_logged_once(
    gateway: Gateway, land: FakeDepartment
) -> None:
    police = department_of(gateway, POLICE)
    police.failure = DOWN
    consent = gateway.federation.issue(max_uses=1)
    verified = await gateway.verify(deferrable(gateway, consent=consent))
    assert steps(verified) == [DEFERRED] * 3
    assert max(gateway.used(consent)) == 0
    police.failure = None
    await gateway.tick()
    assert steps(fetched(gateway, verified)) == [ANSWERED, ANSWERED, DEFERRED]
    assert [waiting.departments for waiting in gateway.kept()] == [(land.department,)]
    land.failure = None
    await gateway.tick()
    last = fetched(gateway, verified)
    assert steps(last) == [ANSWERED] * 3
    assert len(last.log_times) == 3
    assert (max(gateway.used(consent)), len(police.asks)) == (1, 2)


async def test_refusal_of_the_department_settles_what_was_deferred(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    land.failure, land.refusal = None, Reason.BUDGET_EXHAUSTED
    await gateway.tick()
    assert fetched(gateway, verified).answers[2].outcome is Outcome.REFUSED
    assert gateway.kept() == []


async def test_requester_who_asks_again_gets_the_answer_and_the_gateway_asks_no_more(
    gateway: Gateway, land: FakeDepartment
) -> None:
    submission = deferrable(gateway)
    await gateway.verify(submission)
    land.failure = None
    assert steps(await gateway.verify(submission)) == [ANSWERED] * 3
    asked = len(land.asks)
    await gateway.tick()
    assert (len(land.asks), gateway.kept()) == (asked, [])


async def test_requester_and_gateway_asking_at_once_are_one_piece_of_work(
    gateway: Gateway, land: FakeDepartment
) -> None:
    submission = deferrable(gateway)
    await gateway.verify(submission)
    land.failure, land.gate = None, asyncio.Event()
    gateway.steady.now += 10
    gateway.deferral.start_due()
    asked = asyncio.create_task(gateway.verify(submission))
    await asyncio.sleep(0.01)
    land.gate.set()
    assert steps(await asked) == [ANSWERED] * 3
    await gateway.tick()
    assert (len(land.asks), len(gateway.leaves())) == (2, 2)


async def test_retry_takes_no_place_of_a_caller(gateway: Gateway, land: FakeDepartment) -> None:
    await gateway.verify(deferrable(gateway))
    land.failure, land.gate = None, asyncio.Event()
    gateway.steady.now += 10
    gateway.deferral.start_due()
    await asyncio.sleep(0.01)
    assert (len(land.asks), gateway.admission.taken) == (2, 0)
    land.gate.set()


async def test_department_that_returns_meets_a_trickle_that_grows_and_failure_makes_it_one_again(
    gateway: Gateway, land: FakeDepartment
) -> None:
    for _ in range(12):
        await gateway.verify(deferrable(gateway))
    land.failure, land.gate = None, asyncio.Event()
    asked, seen = len(land.asks), []
    gateway.steady.now += 10
    while gateway.room:
        gateway.deferral.start_due()
        await asyncio.sleep(0)
        gateway.deferral.start_due()  # no more than that, however often
        await asyncio.sleep(0.01)
        seen.append(len(land.asks) - asked)
        asked = len(land.asks)
        land.gate.set()
        await asyncio.gather(*gateway.deferral._tasks)
        land.gate.clear()
    assert seen == [1, 2, 4, 4, 1]  # four is all that are tried at once
    land.failure = DOWN
    land.gate.set()
    for _ in range(3):
        await gateway.verify(deferrable(gateway))
    asked = len(land.asks)
    gateway.steady.now += 10
    gateway.deferral.start_due()
    assert len(gateway.deferral._tasks) == 3
    await asyncio.gather(*gateway.deferral._tasks)
    gateway.steady.now += 10
    gateway.deferral.start_due()
    assert len(gateway.deferral._tasks) == 1


async def test_interactive_queries_go_first(gateway: Gateway, land: FakeDepartment) -> None:
    for _ in range(6):
        await gateway.verify(deferrable(gateway))
    land.failure = None
    await gateway.tick(2.0)  # the window is open wide
    land.failure = DOWN
    for _ in range(6):
        await gateway.verify(deferrable(gateway))
    land.failure, land.gate = None, asyncio.Event()
    places = [gateway.admission.take(PEER) for _ in range(32)]
    gateway.steady.now += 10
    gateway.deferral.start_due()
    assert len(gateway.deferral._tasks) == 1
    for place in places:
        place.release()
    gateway.deferral.start_due()
    assert len(gateway.deferral._tasks) == 4
    land.gate.set()


async def test_restarted_gateway_goes_on_asking(tmp_path: Path, federation: fed.Federation) -> None:
    consent = federation.issue(max_uses=1)
    async with open_gateway(tmp_path, federation) as gateway:
        department_of(gateway, LAND).failure = DOWN
        verified = await gateway.verify(deferrable(gateway, consent=consent))
    async with open_gateway(tmp_path, federation) as gateway:
        assert len(gateway.room) == 1
        await gateway.tick()
        assert steps(fetched(gateway, verified)) == [ANSWERED] * 3
        assert (gateway.kept(), max(gateway.used(consent))) == ([], 1)


async def test_deferral_whose_commit_seemed_to_fail_is_found_again(gateway: Gateway, land: FakeDepartment) -> None:
    gateway.store.fail_after = True
    with pytest.raises(LogUnavailableError):
        await gateway.verify(deferrable(gateway))
    gateway.store.fail_after = False
    assert (len(gateway.room), len(gateway.kept())) == (0, 1)
    await gateway.deferral.load()
    land.failure = None
    await gateway.tick()
    assert (len(gateway.room), gateway.kept()) == (0, [])


async def test_log_that_cannot_record_only_delays(gateway: Gateway, land: FakeDepartment) -> None:
    verified = await gateway.verify(deferrable(gateway))
    land.failure, gateway.store.fail_before = None, True
    for _ in range(3):
        await gateway.tick()
    assert (steps(fetched(gateway, verified))[2], gateway.gone) == (DEFERRED, [])
    gateway.store.fail_before = False
    await gateway.tick()
    assert steps(fetched(gateway, verified))[2] == ANSWERED


async def test_two_gateways_of_one_store_ask_again_at_once_and_every_receipt_still_holds(
    tmp_path: Path, federation: fed.Federation
) -> None:
    """Each knows the request as it was before the other's leaf: one of the two is recorded, and nothing twice."""
    consent = federation.issue(max_uses=1)
    async with open_gateway(tmp_path, federation) as one:
        department_of(one, LAND).failure = DOWN
        verified = await one.verify(deferrable(one, consent=consent))
        department_of(one, LAND).failure = None
        async with open_gateway(tmp_path, federation) as other:
            gates = [asyncio.Event() for _ in range(2)]
            for gateway, gate in zip((one, other), gates, strict=True):
                department_of(gateway, LAND).gate = gate
                gateway.steady.now += 10
                gateway.deferral.start_due()
            await asyncio.sleep(0.01)
            for gate in gates:
                gate.set()
            await asyncio.gather(*one.deferral._tasks, *other.deferral._tasks)
            for gateway in (one, other):
                await gateway.tick()
                assert (len(gateway.room), gateway.kept()) == (0, [])
                assert steps(fetched(gateway, verified)) == [ANSWERED] * 3
            assert sum(leaf.HasField("verification") for leaf in one.leaves()) == 2
            assert max(one.used(consent)) == 1
