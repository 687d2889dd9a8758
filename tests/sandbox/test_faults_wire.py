"""Each fault does on the wire what it says: what is written, how often, in which order, and what is never written."""

from __future__ import annotations

import asyncio

import pytest

from gateway.protocol.codec import encode, parse
from gateway.protocol.errors import MalformedError
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.faults.kinds import Kind
from tests.sandbox.asking import told
from tests.sandbox.faulting import FOREVER, Killed, settled

MAX_REPLY = 16 << 20

BENDING = tuple(kind for kind in Kind if kind not in (Kind.DOWN, Kind.DIES_ASKED, Kind.STALE_SNAPSHOT))


def read(message: bytes) -> pb.AnswerResponse:
    return pb.AnswerResponse.FromString(message)


async def test_without_a_fault_every_byte_passes(bench):
    right = await bench.reply(1, 2)
    wire, under = bench.open()
    async with wire:
        under.incoming.put_nowait(b"anything at all")
        assert await wire.read() == b"anything at all"
        await wire.write(right)
    assert under.written == [right]


async def test_lifted_fault_bends_nothing_more(bench):
    right = await bench.reply()
    bench.set("garbage")
    assert await bench.sent(right) != [right]
    bench.lift()
    assert await bench.sent(right) == [right]


@pytest.mark.parametrize("kind", [kind for kind in BENDING if kind not in (Kind.HANGS, Kind.SLOW, Kind.LATE)])
async def test_after_lets_so_many_messages_pass_and_then_bends(bench, kind):
    first, second, third = [await bench.reply(1, 2) for _ in range(3)]
    bench.set(kind.value, after=2)
    wire, under = bench.open()
    async with wire:
        await wire.write(first)
        await wire.write(second)
        assert under.written == [first, second]
        if kind is Kind.DIES_REPLYING:
            with pytest.raises(Killed):
                await wire.write(third)
        else:
            await wire.write(third)
    assert under.written[2:] != [third]


async def test_fault_set_anew_counts_anew(bench):
    right = await bench.reply()
    bench.set("twice", after=1)
    assert await bench.sent(right, right) == [right] * 3
    bench.lift()
    assert await bench.sent(right) == [right]
    bench.set("twice", after=1)
    assert await bench.sent(right) == [right]


@pytest.mark.parametrize("kind", [kind for kind in BENDING if kind is not Kind.HANGS])
async def test_what_is_sent_again_is_sent_as_it_was_journalled(bench, kind):
    again = await bench.owed(await bench.reply())
    bench.set(kind.value)
    assert await bench.sent(again) == [again]


@pytest.mark.parametrize(
    "kind", ["wrong-signature", "other-answer", "changed-outcome", "altered-outcome", "over-full", "over-claiming"]
)
async def test_reply_without_a_signature_cannot_be_forged_and_passes(bench, kind):
    unsigned = encode(pb.AnswerResponse(replies=[pb.Reply(ask_id=1, fault="LOG_UNAVAILABLE")]))
    bench.set(kind)
    assert await bench.sent(unsigned) == [unsigned]


# -- when ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"), [("slow", {"seconds": FOREVER}), ("late", {"seconds": FOREVER}), ("hangs", {})]
)
async def test_answer_is_held_until_the_fault_is_lifted_and_then_right(bench, kind, options):
    right = await bench.reply()
    bench.set(kind, **options)
    wire, under = bench.open()
    async with wire:
        writing = asyncio.create_task(wire.write(right))
        await settled()
        assert under.written == []
        under.incoming.put_nowait(encode(pb.AnswerRequest(asks=[pb.Ask(ask_id=9)])))
        assert await wire.read() is not None  # it still reads
        bench.lift()
        await asyncio.wait_for(writing, 10)
    assert under.written == [right]


@pytest.mark.parametrize("kind", ["slow", "late"])
async def test_held_answer_is_sent_when_its_time_has_come(bench, kind):
    right = await bench.reply()
    bench.set(kind, seconds=0.01)
    assert await asyncio.wait_for(bench.sent(right, right), 10) == [right, right]


async def test_lateness_counts_from_the_ask_and_not_from_the_answer(bench):
    """An ask that was read long ago is late already, whatever was held before it."""
    bench.set("late", seconds=FOREVER)
    wire, under = bench.open()
    under.incoming.put_nowait(encode(pb.AnswerRequest(asks=[pb.Ask(ask_id=1)])))
    await wire.read()
    wire._ask_times[1] -= FOREVER
    right = await bench.reply(1)
    await asyncio.wait_for(wire.write(right), 10)
    assert under.written == [right]


async def test_hanging_node_does_not_even_send_again_what_is_owed(bench):
    again = await bench.owed(await bench.reply())
    bench.set("hangs")
    wire, under = bench.open()
    async with wire:
        writing = asyncio.create_task(wire.write(again))
        await settled()
        assert under.written == []
        bench.lift()
        await asyncio.wait_for(writing, 10)
    assert under.written == [again]


async def test_each_reply_batch_is_sent_twice(bench):
    first, second = await bench.reply(1), await bench.reply(2)
    bench.set("twice")
    assert await bench.sent(first, second) == [first, first, second, second]


async def test_later_reply_overtakes_the_one_before_and_replies_inside_are_reversed(bench):
    first, second = await bench.reply(1, 2), await bench.reply(3, 4)
    bench.set("out-of-order", seconds=FOREVER)
    sent = [read(message) for message in await bench.sent(first, second)]
    assert [[reply.ask_id for reply in message.replies] for message in sent] == [[4, 3], [2, 1]]
    assert [said for message in sent for said in told(message, bench.world)] == [["YES", "YES"]] * 4


async def test_reply_that_nothing_overtakes_is_sent_after_its_time(bench):
    right = await bench.reply()
    bench.set("out-of-order", seconds=0.01)
    wire, under = bench.open()
    async with wire:
        await wire.write(right)
        assert under.written == []
        async with asyncio.timeout(10):
            while not under.written:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    assert under.written == [right]


async def test_reply_that_is_held_back_is_written_before_the_stream_ends_and_dropped_when_it_breaks(bench):
    right = await bench.reply()
    bench.set("out-of-order", seconds=FOREVER)
    assert await bench.sent(right) == [right]
    wire, under = bench.open()
    await wire.write(right)
    await wire.__aexit__(ConnectionError, ConnectionError(), None)
    assert under.written == []
    assert wire._releasing is not None
    assert wire._releasing.cancelled()


# -- that it dies -------------------------------------------------------------------------------------------


async def test_node_dies_of_asks_before_it_sees_them_and_not_of_acknowledgements(bench):
    bench.set("dies-asked")
    wire, under = bench.open()
    acknowledgement = encode(pb.AnswerRequest(acknowledgements=[pb.Acknowledgement(batch_digest=b"b")]))
    under.incoming.put_nowait(acknowledgement)
    assert await wire.read() == acknowledgement
    under.incoming.put_nowait(encode(pb.AnswerRequest(asks=[pb.Ask(ask_id=1)])))
    with pytest.raises(Killed):
        await wire.read()


async def test_node_dies_with_half_a_reply_written(bench):
    right = await bench.reply(1, 2)
    bench.set("dies-replying")
    wire, under = bench.open()
    with pytest.raises(Killed):
        async with wire:
            await wire.write(right)
    assert under.written == [right[: len(right) // 2]]


# -- bytes --------------------------------------------------------------------------------------------------


async def test_garbage_is_no_message_and_differs_each_time(bench):
    right = await bench.reply()
    bench.set("garbage")
    first, second = await bench.sent(right, right)
    assert first != second
    for message in (first, second):
        with pytest.raises(MalformedError):
            parse(pb.AnswerResponse, message, MAX_REPLY)


async def test_over_long_reply_is_right_but_longer_than_a_gateway_reads(bench):
    right = await bench.reply()
    bench.set("over-long")
    (message,) = await bench.sent(right)
    assert len(message) > MAX_REPLY
    bent = read(message)
    bent.DiscardUnknownFields()
    assert encode(bent) == right
    with pytest.raises(MalformedError):
        parse(pb.AnswerResponse, message, MAX_REPLY)
