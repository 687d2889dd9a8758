"""Places for requests: bounded in number and size, shared fairly, and closed when the process drains."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress

import pytest

from gateway.admission import LEAST_PLACES, PLACE_BYTES, Admission, Place
from gateway.protocol.errors import OverloadedError, UnreachableError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.reasons import Reason

ONE, OTHER = Identity(PartyRole.REQUESTER, "one"), Identity(PartyRole.REQUESTER, "other")


def take_all(admission: Admission, peer: Identity) -> int:
    """How many more places a peer gets that wants all."""
    taken = 0
    while True:
        try:
            taken += admission.take(peer).count
        except OverloadedError:
            return taken


def test_one_requester_cannot_take_all_places() -> None:
    admission = Admission(total=512)
    assert take_all(admission, ONE) == 256
    assert take_all(admission, OTHER) > 100


def test_many_requesters_that_flood_leave_room_for_one_more() -> None:
    admission = Admission(total=512)
    crowd = [Identity(PartyRole.REQUESTER, f"flood-{number}") for number in range(9)]
    for _ in range(512):  # in turn, as at once
        for peer in crowd:
            try:
                admission.take(peer)
            except OverloadedError:
                continue
    newcomer = take_all(admission, ONE)
    assert newcomer >= 512 // 20
    assert admission.taken <= 512


def test_requester_that_floods_gets_its_share_again_once_others_have_gone() -> None:
    admission = Admission(total=100)
    with ExitStack() as held:
        for _ in range(40):
            held.enter_context(admission.take(OTHER))
        assert take_all(admission, ONE) == 30
    assert take_all(admission, ONE) == 20


def test_full_house_tells_everybody_to_come_back() -> None:
    admission = Admission(total=1)
    with admission.take(ONE), pytest.raises(OverloadedError) as caught, admission.take(OTHER):
        pass
    assert caught.value.retry_after
    with admission.take(OTHER):
        assert admission.taken == 1


def test_large_request_takes_more_places_so_that_memory_is_bounded() -> None:
    admission = Admission(total=64)
    place = admission.admit(ONE, 16 * PLACE_BYTES)
    assert place.count == admission.taken == 17
    with pytest.raises(OverloadedError):
        admission.admit(ONE, 32 * PLACE_BYTES)
    place.release()
    place.release()
    assert admission.taken == 0


def test_smallest_gateway_still_takes_the_largest_message() -> None:
    assert Admission(LEAST_PLACES).admit(ONE, MAX_MESSAGE).count == LEAST_PLACES // 2


def test_place_is_given_back_when_a_request_fails() -> None:
    admission = Admission(total=1)
    with pytest.raises(ZeroDivisionError), admission.take(ONE):
        raise ZeroDivisionError
    assert admission.taken == 0


def test_draining_gateway_lets_nobody_in() -> None:
    admission = Admission(total=1)
    admission.close()
    with pytest.raises(UnreachableError) as caught, admission.take(ONE):
        pass
    assert caught.value.reason is Reason.SHUTTING_DOWN


def test_work_of_the_gateways_own_takes_no_place_even_in_a_full_house() -> None:
    admission = Admission(16)
    take_all(admission, ONE)
    taken = admission.taken
    with admission.aside(ONE):
        assert admission.taken == taken
    with admission.aside(OTHER):
        assert admission.taken == taken
    assert admission.taken == taken


# -- waiting ------------------------------------------------------------------------------------------------


async def test_who_waits_comes_in_by_turns_and_before_who_only_tries() -> None:
    admission = Admission(8)
    held = [admission.take(ONE) for _ in range(4)]
    order: list[int] = []

    async def enter(number: int) -> None:
        await admission.enter(ONE)
        order.append(number)

    waiting = [asyncio.create_task(enter(number)) for number in range(3)]
    await asyncio.sleep(0)
    held.pop().release()
    with pytest.raises(OverloadedError):
        admission.take(ONE)
    for place in held[:2]:
        place.release()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_large_request_that_waits_is_not_overtaken_by_its_peers_small_ones() -> None:
    admission = Admission(8)
    held = [admission.take(ONE) for _ in range(4)]
    large = asyncio.create_task(admission.enter(ONE, 2 * PLACE_BYTES))
    await asyncio.sleep(0)
    small = asyncio.create_task(admission.enter(ONE))
    await asyncio.sleep(0)
    held.pop().release()
    await asyncio.sleep(0)
    assert not small.done()
    other = await admission.enter(OTHER)
    other.release()
    for place in held:
        place.release()
    assert (await large).count == 3
    assert (await small).count == 1


@pytest.mark.parametrize("given", [False, True])
async def test_who_waits_no_longer_holds_nothing_and_keeps_nobody_out(given: bool) -> None:
    admission = Admission(2)
    held = admission.take(ONE)
    waiting = asyncio.create_task(admission.enter(ONE))
    await asyncio.sleep(0)
    if given:
        held.release()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    held.release()
    assert admission.taken == 0
    admission.take(ONE).release()
    (await admission.enter(ONE)).release()


async def test_nobody_waits_for_a_gateway_that_drains() -> None:
    admission = Admission(2)
    held = admission.take(ONE)
    waiting = asyncio.create_task(admission.enter(ONE))
    await asyncio.sleep(0)
    admission.close()
    for late in (waiting, admission.enter(ONE)):
        with pytest.raises(UnreachableError) as caught:
            await late
        assert caught.value.reason is Reason.SHUTTING_DOWN
    held.release()
    assert admission.taken == 0


# -- the line -----------------------------------------------------------------------------------------------


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def admit_all(admission: Admission, peer: Identity) -> list[Place]:
    """The places that a peer gets in the line that wants all."""
    held = []
    with suppress(OverloadedError):
        while True:
            held.append(admission.admit(peer))
    return held


def slow_down(admission: Admission, seconds: float) -> None:
    for _ in range(20):
        admission._pace.worked(seconds, 1)


def test_line_is_shared_fairly_and_is_shorter_when_the_gateway_is_slow() -> None:
    admission = Admission(512)
    flood = admit_all(admission, ONE)
    assert len(flood) == admission.bound // 2
    assert len(admit_all(admission, OTHER)) >= len(flood) // 3
    slowed = Admission(512)
    slow_down(slowed, 0.5)
    assert 1 <= len(admit_all(slowed, ONE)) < len(flood)


def test_flood_of_many_leaves_room_in_the_line_for_one_more() -> None:
    admission = Admission(512)
    slow_down(admission, 0.5)
    for number in range(40):
        assert admit_all(admission, Identity(PartyRole.REQUESTER, f"flood-{number}"))
    assert admit_all(admission, ONE)


async def test_requests_that_wait_for_a_hanging_department_shorten_the_line_for_nobody() -> None:
    admission = Admission(2048)
    before = admission.bound
    for _ in range(100):
        await admission.turn(admission.admit(ONE), None)  # begun: what it waits for now is not the gateway
    assert (admission.taken, admission.in_line, admission.bound) == (100, 0, before)
    assert len(admit_all(admission, OTHER)) == before // 2


async def test_call_whose_deadline_waiting_has_used_up_is_not_begun() -> None:
    clock, met = Clock(), list[str]()
    admission = Admission(512, clock=clock)
    admission.refused = met.append
    await admission.turn(admission.admit(OTHER), None)
    with admission.admit(ONE) as place:
        waiting = asyncio.create_task(admission.turn(place, 2.0))
        await asyncio.sleep(0)
        clock.now += 1.6
        with pytest.raises(OverloadedError) as caught:
            await waiting
    assert met == ["deadline"]
    assert caught.value.retry_after
    assert admission.in_line == 0


async def test_what_is_left_of_a_deadline_is_less_by_the_wait() -> None:
    clock = Clock()
    admission = Admission(512, clock=clock)
    await admission.turn(admission.admit(OTHER), None)
    waiting = asyncio.create_task(admission.turn(admission.admit(ONE), 5.0))
    await asyncio.sleep(0)
    clock.now += 1.0
    assert await waiting == pytest.approx(4.0)


async def test_cancelled_call_holds_neither_place_nor_line() -> None:
    admission = Admission(64)
    await admission.turn(admission.admit(OTHER), None)

    async def call() -> None:
        async with admission.admitted(ONE):
            raise AssertionError("it has gone before its turn")

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    assert admission.in_line == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (admission.in_line, admission.taken) == (0, 1)


async def test_stream_that_waits_comes_in_when_the_line_moves() -> None:
    admission = Admission(512)
    flood = admit_all(admission, ONE)
    entering = asyncio.create_task(admission.enter(ONE))
    await asyncio.sleep(0)
    assert not entering.done()
    await admission.turn(flood[0], None)
    assert (await entering).in_line


def test_refused_callers_are_told_different_times() -> None:
    admission = Admission(512, random=lambda: 0.0)
    slow_down(admission, 0.02)
    admit_all(admission, ONE)
    told = []
    for _ in range(20):
        with pytest.raises(OverloadedError) as caught:
            admission.admit(ONE)
        told.append(caught.value.retry_after)
    assert len(set(told)) >= 10
    assert told == sorted(told)


def test_bounds_that_were_met_are_counted_by_kind() -> None:
    met = list[str]()
    admission = Admission(512)
    slow_down(admission, 0.5)
    admission.refused = met.append
    admit_all(admission, ONE)
    with pytest.raises(OverloadedError):
        admission.admit(OTHER, 500 * PLACE_BYTES)
    assert met == ["line", "places"]


def test_gateway_is_busy_when_callers_hold_half_of_the_line() -> None:
    admission = Admission(512)
    assert not admission.busy
    held = admit_all(admission, ONE)
    assert admission.busy
    for place in held:
        place.release()
    assert not admission.busy


def test_work_that_never_ends_is_complained_of_and_work_that_ends_is_not() -> None:
    clock = Clock()
    admission = Admission(64, clock=clock)
    clock.now += 100.0  # an idle while is no standstill
    place = admission.admit(ONE)
    assert admission.complaint() is None
    clock.now += 14.0
    assert admission.complaint() is None
    clock.now += 2.0
    assert "has ended" in (admission.complaint() or "")
    place.release()
    assert admission.complaint()
    clock.now += 6.0
    assert admission.complaint() is None
