"""Turns before the gateway's own work: newcomers first, round among peers, and nothing for who has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.admission.line import FIRST_ROUNDS, MOST_NEWCOMERS, QUIET_ROUNDS, Line


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def make(worked: Callable[[float, int], None] = lambda *_: None, clock: Clock | None = None, together: int = 1) -> Line:
    return Line(clock or Clock(), lambda: together, worked)


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def queue(line: Line, order: list[str], *who: str, cost: int = 1) -> list[asyncio.Task[None]]:
    """Have each come to wait, in order; each writes down when it has its turn."""

    async def wait(peer: str) -> None:
        await line.turn(peer[0], cost)
        order.append(peer)

    tasks = [asyncio.create_task(wait(peer)) for peer in who]
    await asyncio.sleep(0)
    return tasks


async def test_who_finds_nobody_has_a_turn_after_a_few_rounds() -> None:
    task = asyncio.create_task(make().turn("a"))
    await rounds(FIRST_ROUNDS)
    assert not task.done()
    await rounds(3)
    assert task.done()


async def test_those_who_come_one_by_one_begin_together() -> None:
    line, order = make(together=64), list[str]()
    tasks = []
    for number in range(20):
        line.arrived()
        tasks += await queue(line, order, f"a{number}")
        await rounds(2)
        assert order == []
    await asyncio.gather(*tasks)
    assert order == [f"a{number}" for number in range(20)]


async def test_no_more_begin_together_than_were_said() -> None:
    line, order = make(together=3), list[str]()
    tasks = await queue(line, order, "a1", "a2", "a3", "a4", "b1")
    while not order:  # noqa: ASYNC110 - a turn comes after so many rounds
        await asyncio.sleep(0)
    assert order == ["a1", "b1", "a2"]
    await asyncio.gather(*tasks)


async def test_turns_go_round_among_peers_and_in_order_within_one() -> None:
    line, order = make(), list[str]()
    await line.turn("first")
    await asyncio.gather(*await queue(line, order, "a1", "a2", "a3", "a4", "b1", "b2", "c1"))
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_flood_does_not_starve_a_modest_peer() -> None:
    line, order = make(), list[str]()
    await line.turn("first")
    flood = [f"f{number}" for number in range(200)]
    await asyncio.gather(*await queue(line, order, *flood, "m1"))
    assert order.index("m1") <= 2


async def test_large_request_costs_its_peer_as_many_turns() -> None:
    line, order = make(), list[str]()
    await line.turn("first")
    large = await queue(line, order, "x1", "x2", cost=4)
    small = await queue(line, order, *(f"s{number}" for number in range(8)))
    await asyncio.gather(*large, *small)
    assert order.index("x1") == 3
    assert order.index("x2") == 8
    assert len(order) == 10


async def test_no_turn_is_given_while_calls_come_in() -> None:
    line, order = make(), list[str]()
    await line.turn("first")
    (task,) = await queue(line, order, "a")
    for _ in range(MOST_NEWCOMERS - 1):
        line.arrived()
        await rounds(QUIET_ROUNDS - 2)
    assert order == []
    await rounds(2 * QUIET_ROUNDS)
    assert order == ["a"]
    await task


async def test_flood_of_calls_does_not_keep_back_turns_for_ever() -> None:
    line, order = make(), list[str]()
    await line.turn("first")
    tasks = await queue(line, order, "a1", "a2", "a3")
    for _ in range(4 * MOST_NEWCOMERS):
        line.arrived()
        await rounds(1)
    assert order == ["a1", "a2", "a3"]
    await asyncio.gather(*tasks)


async def test_who_has_gone_has_no_turn_and_keeps_nobody_back() -> None:
    line, order = make(), list[str]()
    await line.turn("first")
    tasks = await queue(line, order, "a1", "a2", "b1")
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a2"]
    assert line.longest_wait == 0.0


async def test_who_goes_at_the_moment_of_its_turn_leaves_the_next_one_its_own() -> None:
    line, order = make(), list[str]()
    await line.turn("first")
    tasks = await queue(line, order, "a1", "a2")
    while not order:
        tasks[0].cancel()
        await asyncio.sleep(0)
    assert order == ["a2"]
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_line_rests_when_nobody_waits_and_begins_again() -> None:
    line = make()
    await line.turn("a")
    await rounds(2 * QUIET_ROUNDS)
    assert not line._running
    assert await line.turn("a") == 0.0


async def test_work_is_timed_and_rest_is_not() -> None:
    seen, clock, order = list[tuple[float, int]](), Clock(), list[str]()
    line = make(lambda seconds, turns: seen.append((seconds, turns)), clock)
    await line.turn("first")
    await rounds(2 * QUIET_ROUNDS)
    clock.now += 7.0  # at rest
    tasks = await queue(line, order, "a1", "a2", "a3")
    for expected in (1, 2, 3):
        while len(order) < expected:  # noqa: ASYNC110 - a turn comes after so many rounds
            await asyncio.sleep(0)
        clock.now += 0.5
    await asyncio.gather(*tasks)
    await rounds(2 * QUIET_ROUNDS)
    assert seen == [(0.0, 1), (0.5, 1), (0.5, 1), (0.5, 1)]


async def test_wait_of_the_first_in_line_is_told() -> None:
    clock, order = Clock(), list[str]()
    line = make(clock=clock)
    await line.turn("first")
    tasks = await queue(line, order, "a", "b")
    clock.now += 2.0
    assert line.longest_wait == 2.0
    await asyncio.gather(*tasks)
    assert line.longest_wait == 0.0
