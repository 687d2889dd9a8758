"""Calls that arrive within a few turns of the loop begin together; nobody waits for long, nor for whoever has gone."""

from __future__ import annotations

import asyncio

from gateway import arrivals
from gateway.arrivals import FULL, QUIET_TURNS, Arrivals


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_call_alone_goes_on_after_a_few_turns():
    task = asyncio.create_task(Arrivals().join())
    await turns(QUIET_TURNS)
    assert not task.done()
    await turns(4)
    assert task.done()


async def test_calls_that_come_one_by_one_begin_together():
    gate, began = Arrivals(), []

    async def call(number: int) -> None:
        await gate.join()
        began.append((number, len(tasks)))

    tasks: list[asyncio.Task[None]] = []
    for number in range(20):
        tasks.append(asyncio.create_task(call(number)))
        await turns(2)
        assert not began
    await asyncio.gather(*tasks)
    assert began == [(number, 20) for number in range(20)]


async def test_no_more_are_waited_for_than_make_a_full_batch():
    gate = Arrivals()
    tasks = [asyncio.create_task(gate.join()) for _ in range(FULL)]
    await turns(4)
    assert all(task.done() for task in tasks)


async def test_those_who_keep_coming_do_not_keep_the_first_waiting(monkeypatch):
    monkeypatch.setattr(arrivals, "LONGEST", 0.0)
    gate = Arrivals()
    first = asyncio.create_task(gate.join())
    for _ in range(3):
        asyncio.create_task(gate.join()).add_done_callback(lambda _: None)
        await turns(1)
    await turns(1)
    assert first.done()


async def test_a_caller_that_has_gone_keeps_nobody_back():
    gate = Arrivals()
    gone, other = asyncio.create_task(gate.join()), asyncio.create_task(gate.join())
    await turns(1)
    gone.cancel()
    await other
    assert gone.cancelled()
    await gate.join()  # and the next ones are let in as ever
