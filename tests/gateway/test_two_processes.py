"""Two gateways on one store, as two workers are: what comes to both at once is done once, and news reach both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from consent.revocation import Revocation
from gateway.protocol.errors import OvertakenError
from gateway.protocol.presentation import Submission
from gateway.protocol.receipt import VerifiedReceipt
from tests import federation as fed
from tests.gateway.conftest import PEER, Gateway, department_of, open_gateway
from tests.gateway.deferrals import ANSWERED, DEFERRED, DOWN, LAND, deferrable, steps
from tests.gateway.disputing import answered
from tests.gateway.test_watching import asking, watching

Pair = tuple[Gateway, Gateway]


@pytest.fixture
async def pair(tmp_path: Path, federation: fed.Federation) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_gateway(tmp_path, federation))
        yield one, await stack.enter_async_context(open_gateway(tmp_path, federation))


async def at_once(pair: Pair, submission: Submission) -> list[VerifiedReceipt]:
    """Send a request to both, and let departments answer when both have asked."""
    gate = asyncio.Event()
    for gateway in pair:
        for department in gateway.departments.values():
            department.gate = gate
    sent = [asyncio.create_task(gateway.verify(submission)) for gateway in pair]
    async with asyncio.timeout(5):
        while not all(any(department.asks for department in each.departments.values()) for each in pair):  # noqa: ASYNC110
            await asyncio.sleep(0)
    gate.set()
    return await asyncio.gather(*sent)


async def test_same_request_at_two_processes_at_once_is_one_request(pair: Pair) -> None:
    consent = pair[0].federation.issue()
    first, second = await at_once(pair, pair[0].submission(consent))
    assert [answer.outcome for answer in first.answers] == [answer.outcome for answer in second.answers]
    assert {event.WhichOneof("event") for event in pair[0].leaves()} == {"verification"}
    assert len(pair[0].leaves()) == 1
    assert max(pair[1].used(consent)) == 1


async def test_what_the_slower_process_was_answered_is_logged_and_acknowledged_too(pair: Pair) -> None:
    await at_once(pair, pair[0].submission())
    for gateway in pair:
        await gateway.events.settle_owed()
        logged = {entry.batch_digest for each in gateway.departments.values() for entry in each.acknowledged}
        assert len(logged) == len([each for each in gateway.departments.values() if each.asks])


async def test_process_goes_on_from_what_the_other_could_not_have(pair: Pair) -> None:
    """One of them cannot reach a department, and records so first; the other one has its answer."""
    one, other = pair
    department_of(one, LAND).failure = DOWN
    submission, gate = one.submission(), asyncio.Event()
    department_of(other, LAND).gate = gate
    whole = asyncio.create_task(other.verify(submission))
    await one.verify(submission)
    gate.set()
    verified = await whole
    assert steps(verified) == [ANSWERED] * len(verified.answers)
    assert [leaf.WhichOneof("event") for leaf in one.leaves()] == ["verification", "verification"]


async def test_request_that_is_overtaken_for_ever_is_left_to_its_caller(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    submission = one.submission()
    await other.verify(submission)
    tries = []

    def forget(*_: object) -> None:
        tries.append(1)

    monkeypatch.setattr(one.requests, "find", forget)
    with pytest.raises(OvertakenError) as told:
        await one.send(submission)
    assert told.value.retry_after
    assert len(tries) == 4
    assert len(one.leaves()) == 1


async def test_watcher_hears_of_what_another_process_committed(pair: Pair) -> None:
    one, other = pair
    department_of(one, LAND).failure = DOWN
    verified = await one.verify(deferrable(one))
    assert DEFERRED in steps(verified)
    waiting = asyncio.create_task(one.watchers.watch(asking(verified), PEER, None))
    await watching(one.watchers, 1)
    one.watchers.look()
    await asyncio.sleep(0)
    assert not waiting.done()
    await other.deferral.load()
    await other.tick()
    one.watchers.look()
    await waiting
    assert one.watchers._known == {}


async def test_what_one_process_deferred_waits_in_the_other_until_it_is_answered(pair: Pair) -> None:
    one, other = pair
    department_of(one, LAND).failure = DOWN
    await one.verify(deferrable(one))
    assert (len(one.room), len(other.room)) == (1, 0)
    await other.deferral.load()
    assert len(other.room) == 1
    await other.tick()  # its department is there
    assert (len(one.room), len(other.room)) == (1, 0)
    await one.deferral.load()
    assert len(one.room) == 0


async def test_withdrawal_that_both_are_told_at_once_is_one_leaf(pair: Pair) -> None:
    grant = pair[0].federation.issue().grants[0]
    now = pair[0].clock.now
    revocation = Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(now), grant.claims.exp)
    pair[1].clock.now += 7
    times = await asyncio.gather(*(gateway.events.withdraw(revocation) for gateway in pair))
    assert len(set(times)) == 1
    assert len(pair[0].leaves()) == 1


async def test_registry_version_that_both_adopt_at_once_is_one_leaf(pair: Pair) -> None:
    await asyncio.gather(*(gateway.events.adopt(gateway.federation.registry) for gateway in pair))
    assert [leaf.WhichOneof("event") for leaf in pair[0].leaves()] == ["registry"]


async def test_dispute_that_another_process_took_is_brought_once(pair: Pair) -> None:
    one, other = pair
    await (await answered(one)).open()
    other.relay.load()
    await other.relay.run_once()
    assert len(other.brought.messages) == 1
    other.relay.load()
    assert other.relay.waiting == 0
