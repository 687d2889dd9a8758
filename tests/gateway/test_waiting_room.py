"""Whose turn it is, and how much may wait: by an injected clock, without departments."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from gateway.protocol.reasons import Reason
from gateway.stores.records import RequestKey, Waiting
from gateway.waiting_room import AFTER_THE_END, FIRST_REST, LONGEST_REST, MOST_STALE, Limits, WaitingRoom
from tests.fakes import Clock

EDU, OTHER = "spiffe://heyan/requester/edu", "spiffe://heyan/requester/other"
LAND, POLICE = "spiffe://heyan/department/land", "spiffe://heyan/department/police"
GRANT, OTHER_GRANT = bytes([1]) * 32, bytes([2]) * 32
END = 1_000.0
PLENTY = Limits(requests=10_000, size=1 << 30, requests_each=10_000, size_each=1 << 30)


def key(number: int = 0, requester: str = EDU) -> RequestKey:
    return RequestKey(requester, number.to_bytes(16, "big"))


def waiting(number: int = 0, *departments: str, **changes: object) -> Waiting:
    made = Waiting(key(number), departments or (LAND,), (GRANT,), END, 10)
    return replace(made, **changes)


class Room:
    """A room, its clock, and what was told of those who left."""

    def __init__(self, limits: Limits = PLENTY) -> None:
        self.steady = Clock(0.0)
        self.gone: list[Reason | None] = []
        self.room = WaitingRoom(limits, self.steady, lambda: 1.0, self.gone.append)

    def enter(self, *arrivals: Waiting) -> None:
        for one in arrivals:
            self.room.committed(one.key, one)

    def rested(self, department: str = LAND) -> Waiting | None:
        """Whose turn it is once everybody has rested."""
        self.steady.now += LONGEST_REST
        return self.room.next_for(department)


# -- turns --------------------------------------------------------------------------------------------------


def test_request_rests_before_its_first_turn_and_has_one_turn_at_a_time() -> None:
    made = Room()
    made.enter(waiting())
    assert made.room.next_for(LAND) is None
    made.steady.now = FIRST_REST
    assert made.room.next_for(LAND) == waiting()
    assert made.rested() is None


def test_rest_doubles_with_each_try_that_changes_nothing_up_to_the_longest() -> None:
    made = Room()
    made.enter(waiting())
    rests = []
    made.steady.now = FIRST_REST
    for _ in range(10):
        assert made.room.next_for(LAND) is not None
        made.room.done(key())
        began = made.steady.now
        while made.room.next_for(LAND) is None:
            made.steady.now += 1.0
        rests.append(made.steady.now - began)
        made.room.done(key())
        made.steady.now += LONGEST_REST
    assert rests[:4] == [FIRST_REST * 4**tries for tries in range(4)]  # two tries in each round
    assert rests[-1] == LONGEST_REST


def test_rest_is_short_again_after_a_try_that_brought_something() -> None:
    made = Room()
    made.enter(waiting(0, LAND, POLICE))
    for _ in range(5):
        assert made.rested() is not None
        made.room.done(key())
    assert made.rested() is not None
    made.room.committed(key(), waiting(0, LAND))
    made.room.done(key())
    made.steady.now += FIRST_REST
    assert made.room.next_for(LAND) == waiting(0, LAND)


def test_request_of_two_departments_is_tried_for_one_of_them_at_a_time() -> None:
    made = Room()
    made.enter(waiting(0, LAND, POLICE))
    assert made.rested(LAND) is not None
    assert made.room.next_for(POLICE) is None
    made.room.committed(key(), waiting(0, POLICE))  # land has answered
    made.room.done(key())
    assert made.rested(LAND) is None
    assert made.room.next_for(POLICE) == waiting(0, POLICE)
    assert not made.room.waits_for(key(), LAND)


def test_turns_come_in_the_order_in_which_requests_rested() -> None:
    made = Room()
    for number in range(5):
        made.enter(waiting(number))
        made.steady.now += 0.1
    made.steady.now = LONGEST_REST
    assert [made.room.next_for(LAND) for _ in range(5)] == [waiting(number) for number in range(5)]


def test_request_past_its_end_is_due_though_no_department_is_ready() -> None:
    made = Room()
    made.enter(waiting())
    assert made.room.next_due(END + AFTER_THE_END - 0.1) is None
    assert made.room.next_due(END + AFTER_THE_END) == waiting()
    assert made.room.next_due(END + AFTER_THE_END) is None  # under way
    made.room.done(key())  # the log could not record its end
    assert made.room.next_due(END + AFTER_THE_END) is None  # it rests
    made.steady.now += FIRST_REST
    assert made.room.next_due(END + AFTER_THE_END) == waiting()
    assert made.rested() is None  # and takes no department's turn meanwhile


def test_withdrawal_makes_what_rests_on_the_grant_due_at_once_and_nothing_else() -> None:
    made = Room()
    made.enter(waiting(1), waiting(2, grants=(OTHER_GRANT,)), waiting(3, grants=(OTHER_GRANT, GRANT)))
    assert made.room.withdrawn(GRANT)
    assert {made.room.next_due(0.0), made.room.next_due(0.0)} == {waiting(1), waiting(3, grants=(OTHER_GRANT, GRANT))}
    assert made.room.next_due(0.0) is None
    assert made.rested() == waiting(2, grants=(OTHER_GRANT,))
    assert not made.room.withdrawn(bytes(32))


def test_withdrawal_during_a_try_is_seen_to_after_it() -> None:
    made = Room()
    made.enter(waiting())
    assert made.rested() is not None
    made.room.withdrawn(GRANT)
    assert made.room.next_due(0.0) is None
    made.room.done(key())
    made.steady.now += FIRST_REST
    assert made.room.next_due(0.0) == waiting()


def test_refused_request_is_due_until_its_end_is_recorded() -> None:
    made = Room()
    made.enter(waiting())
    assert made.rested() is not None
    made.room.done(key(), refused=True)
    made.steady.now += FIRST_REST
    assert made.room.next_for(LAND) is None
    assert made.room.next_due(0.0) == waiting()
    made.room.committed(key(), None, Reason.GRANT_REVOKED)
    made.room.done(key(), refused=True)
    assert (len(made.room), made.gone) == (0, [Reason.GRANT_REVOKED])
    made.steady.now += LONGEST_REST
    assert made.room.next_due(END * 2) is None


def test_answered_request_has_no_turn_any_more() -> None:
    made = Room()
    made.enter(waiting())
    made.room.committed(key(), None)
    assert made.gone == [None]
    assert made.rested() is None
    assert made.room.next_due(END * 2) is None


def test_request_that_another_process_saw_to_is_forgotten_without_being_counted() -> None:
    made = Room()
    made.enter(waiting())
    made.room.lost(key())
    assert (len(made.room), made.gone) == (0, [])


def test_turns_that_are_no_more_are_swept_out() -> None:
    """A request may wait for a department for a week, while another one answers it again and again with a fault."""
    made = Room()
    made.enter(waiting(0, LAND, POLICE))
    for _ in range(3 * MOST_STALE):
        assert made.rested(POLICE) is not None
        made.room.done(key())
    assert len(made.room._queues[LAND]) <= MOST_STALE + 2
    assert made.rested(LAND) is not None


def test_ends_of_requests_that_have_left_are_swept_out_long_before_they_come() -> None:
    """A department that comes and goes defers and answers thousands of requests, each with its end days away."""
    made = Room()
    made.enter(waiting(0))
    for number in range(1, 3 * MOST_STALE):
        made.enter(waiting(number))
        made.room.committed(key(number), None)
    assert len(made.room._ends) <= MOST_STALE + 4
    assert made.room.next_due(END + AFTER_THE_END) == waiting(0)
    assert made.room.next_due(END + AFTER_THE_END) is None


def test_turns_of_withdrawn_grants_do_not_pile_up_where_another_process_takes_them() -> None:
    made = Room()
    made.enter(waiting(0))
    for _ in range(3 * MOST_STALE):  # as often as its issuer reports it
        assert made.room.withdrawn(GRANT)
    assert len(made.room._must_end) <= MOST_STALE + 2
    assert made.room.next_due(0.0) == waiting(0)


# -- room ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        replace(PLENTY, requests=2),
        replace(PLENTY, requests_each=2),
        replace(PLENTY, size=25),
        replace(PLENTY, size_each=25),
    ],
)
def test_no_more_is_kept_than_the_limits_say(limits: Limits) -> None:
    made = Room(limits)
    assert made.room.reserve(key(0), 10)
    made.enter(waiting(1))
    assert not made.room.reserve(key(2), 10)
    made.room.release(key(0))
    assert made.room.reserve(key(2), 10)
    made.room.committed(key(1), None)
    assert made.room.reserve(key(3), 10)


def test_one_requester_leaves_room_for_others() -> None:
    made = Room(Limits(requests=4, size=100, requests_each=2, size_each=100))
    assert [made.room.reserve(key(number), 10) for number in range(3)] == [True, True, False]
    assert made.room.reserve(key(0, OTHER), 10)


def test_request_that_waits_already_needs_no_more_room() -> None:
    made = Room(replace(PLENTY, requests=1))
    made.enter(waiting())
    assert made.room.reserve(key(), 10)
    made.room.release(key())
    assert len(made.room) == 1
    assert not made.room.reserve(key(1), 10)


def test_room_is_counted_right_whatever_comes_and_goes() -> None:
    """Against a plain recount, over many random steps."""
    random, made = Random(3), Room(Limits(requests=12, size=150, requests_each=8, size_each=90))
    kept: dict[RequestKey, int] = {}
    reserved: dict[RequestKey, int] = {}
    for _ in range(5_000):
        who = key(random.randrange(20), random.choice((EDU, OTHER)))
        step, size = random.randrange(6), random.randrange(5, 20)
        if step in (0, 1):
            mine = [held for one, held in (*kept.items(), *reserved.items()) if one.requester == who.requester]
            everything = [*kept.values(), *reserved.values()]
            fits = len(everything) < 12 and sum(everything) + size <= 150 and len(mine) < 8 and sum(mine) + size <= 90
            known = who in kept or who in reserved
            assert made.room.reserve(who, size) is (known or fits)
            if fits and not known:
                reserved[who] = size
        elif step == 2:
            made.room.release(who)
            reserved.pop(who, None)
        elif step == 3 and (who in reserved or who in kept):
            made.room.committed(who, waiting(key=who, size=size))
            reserved.pop(who, None)
            kept[who] = size
        elif step == 4:
            made.room.committed(who, None)
            kept.pop(who, None)
        elif step == 5:
            made.room.found(waiting(key=who, size=size))
            reserved.pop(who, None) if who not in kept else None
            kept.setdefault(who, size)
        assert len(made.room) == len(kept)
