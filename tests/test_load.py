"""The load generator counts what it is answered, and holds answers against the truth. Nothing here judges a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.load import OK, VERIFY_EVERY, Generator, Sample, Tally, histogram
from benchmarks.ways import judge
from gateway.protocol.errors import ForgedError, OverloadedError
from gateway.protocol.reasons import Reason
from heyan.v1 import attestation_pb2, check_pb2


class Counting:
    """A way whose answers are told; its applications are their numbers."""

    def __init__(self, answer: Callable[[int], Awaitable[str]]) -> None:
        self._answer = answer
        self._made = 0
        self.asked: list[int] = []
        self.verified = 0

    def prepare(self, _who: object) -> int:
        self._made += 1
        return self._made

    async def ask(self, prepared: int, *, verify: bool) -> str:
        self.asked.append(prepared)
        self.verified += verify
        return await self._answer(prepared)


async def fine(_number: int) -> str:
    return OK


async def test_open_loop_sends_each_once_and_counts_every_status() -> None:
    async def answer(number: int) -> str:
        if number == 2:
            raise OverloadedError(Reason.OVERLOADED, retry_after=0.0)
        if number == 3:
            raise ForgedError(Reason.RECEIPT_INVALID)
        return "WRONG" if number == 4 else OK

    way, tally = Counting(answer), Tally()
    generator = Generator(way)
    await generator.open_loop("kind", generator.prepare([None], 6), 1e6, tally)
    assert sorted(way.asked) == [1, 2, 3, 4, 5, 6]
    assert tally.statuses("kind") == {OK: 3, "OVERLOADED": 1, "RECEIPT_INVALID": 1, "WRONG": 1}
    assert len(tally.latencies()) == 3


async def test_open_loop_does_not_wait_for_what_is_held_up() -> None:
    """Coordinated omission: the others are sent although the first has no answer."""
    others = asyncio.Event()

    async def answer(number: int) -> str:
        if number == 3:
            others.set()
        elif number == 1:
            await others.wait()
        return OK

    generator = Generator(Counting(answer))
    tally = Tally()
    await asyncio.wait_for(generator.open_loop("kind", generator.prepare([None], 3), 1e6, tally), 30)
    assert tally.statuses() == {OK: 3}


async def test_closed_loop_keeps_so_many_under_way_and_ends_when_nothing_is_left() -> None:
    under_way = most = 0

    async def answer(_number: int) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return OK

    way = Counting(answer)
    generator = Generator(way)
    tally = await generator.closed_loop("kind", generator.prepare([None], 20), 4, 3600)
    assert most == 4
    assert sorted(way.asked) == list(range(1, 21))
    assert tally.statuses() == {OK: 20}
    assert tally.seconds > 0


async def test_closed_loop_sends_again_what_was_refused_for_now() -> None:
    refused = iter((True, False))

    async def answer(_number: int) -> str:
        if next(refused):
            raise OverloadedError(Reason.OVERLOADED, retry_after=0.0)
        return OK

    way = Counting(answer)
    generator = Generator(way)
    tally = await generator.closed_loop("kind", generator.prepare([None], 1), 1, 3600)
    assert way.asked == [1, 1]
    assert (tally.retries, tally.statuses()) == (1, {OK: 1})


async def test_at_least_one_in_a_hundred_is_verified() -> None:
    way = Counting(fine)
    generator = Generator(way)
    tally = await generator.closed_loop("kind", generator.prepare([None], 1000), 8, 3600)
    assert tally.verified == way.verified == 1000 // VERIFY_EVERY >= 10


def test_tallies_of_several_processes_are_one() -> None:
    one = Tally([Sample("a", 0.0, 0.5, OK)], verified=1, retries=2, seconds=3.0, cpu_seconds=1.0)
    one.add(Tally([Sample("b", 0.0, 0.25, "WRONG")], verified=1, retries=0, seconds=4.0, cpu_seconds=0.5))
    assert one.statuses() == {OK: 1, "WRONG": 1}
    assert (one.verified, one.retries, one.seconds, one.cpu_seconds) == (2, 2, 4.0, 1.5)
    assert one.latencies() == [0.5]


def test_histogram_counts_each_latency_once() -> None:
    counted = histogram([0.001, 0.0011, 0.1, 0.1, 2.0])
    assert sum(counted.values()) == 5
    assert counted["1"] == 1
    assert all(float(end) > 0 for end in counted)


def statement(check_id: str, outcome: check_pb2.Outcome) -> bytes:
    attestation = attestation_pb2.Attestation(check=check_pb2.Check(check_id=check_id), outcome=outcome)
    return attestation_pb2.Statement(attestation=attestation).SerializeToString()


@pytest.mark.parametrize(
    ("statements", "status"),
    [
        ([statement("c0", check_pb2.OUTCOME_YES), statement("c1", check_pb2.OUTCOME_NO)], "OK"),
        ([statement("c0", check_pb2.OUTCOME_YES), statement("c1", check_pb2.OUTCOME_YES)], "WRONG"),
        ([statement("c0", check_pb2.OUTCOME_YES)], "WRONG"),
        ([attestation_pb2.Statement(refusal=attestation_pb2.Refusal()).SerializeToString()], "REFUSED"),
        ([], "WRONG"),
    ],
)
def test_answers_are_held_against_the_truth(statements: list[bytes], status: str) -> None:
    assert judge(iter(statements), {"c0": "YES", "c1": "NO"}) == status
