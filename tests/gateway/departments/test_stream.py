"""The stream to a node, against nodes that break, lie, or answer when nobody waits any more."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import grpc
import pytest

from gateway.departments.outbox import ASK_LIMIT
from gateway.departments.port import Acknowledgement
from gateway.departments.stream import ORPHANS_AT_ONCE
from gateway.protocol.attestation import sign_batch, write_proof, write_signed_batch
from gateway.protocol.digests import Kind
from gateway.protocol.errors import BadDataError, UnreachableError
from gateway.protocol.limits import MAX_ASKS_PER_BATCH, MAX_CHECKS_PER_PART
from gateway.protocol.reasons import Reason
from heyan.v1 import attestation_pb2
from heyan.v1 import department_service_pb2 as pb
from tests import federation as fed
from tests.fakes_node import ASK, LAND, POLICE, Linked, ScriptedNode, answer_rightly, answer_with_fault, stream_to


async def test_asks_are_answered_and_each_gets_its_own_statement(connect: Callable[..., Awaitable[Linked]]) -> None:
    linked = await connect(answer_rightly)
    replies = await asyncio.gather(*(linked.ask(5) for _ in range(50)))
    assert len({reply.proofs[0].statement for reply in replies}) == 50
    assert linked.orphans == []
    assert len(linked.node.received) < 50
    assert sum(len(batch) for batch in linked.batches) == 50


async def test_fault_of_the_node_is_unreachable_and_never_an_answer(connect: Callable[..., Awaitable[Linked]]) -> None:
    linked = await connect(answer_with_fault)
    with pytest.raises(UnreachableError) as caught:
        await linked.ask(5)
    assert caught.value.reason is Reason.LOG_UNAVAILABLE


async def test_batch_signed_by_another_key_is_no_answer_and_is_not_logged(
    connect: Callable[..., Awaitable[Linked]], federation: fed.Federation
) -> None:
    async def forge(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        return [node.reply([ask.ask_id for ask in message.asks], key=federation.signing_keys[LAND])]

    linked = await connect(forge)
    with pytest.raises(BadDataError) as caught:
        await linked.ask(5)
    assert caught.value.reason is Reason.ATTESTATION_INVALID
    assert (linked.orphans, linked.batches) == ([], [])


async def test_batch_that_keeps_a_statement_back_is_no_answer(connect: Callable[..., Awaitable[Linked]]) -> None:
    async def keep_back(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        response = pb.AnswerResponse.FromString(node.reply([message.asks[0].ask_id, 999]))
        del response.replies[1]
        return [response.SerializeToString()]

    linked = await connect(keep_back)
    with pytest.raises(BadDataError):
        await linked.ask(5)


@pytest.mark.parametrize("size", [5 * 10**7, 2**62, 2**64 - 1])
async def test_size_that_a_node_makes_up_costs_nothing(
    connect: Callable[..., Awaitable[Linked]], federation: fed.Federation, size: int
) -> None:
    async def boast(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        response = pb.AnswerResponse.FromString(node.reply([ask.ask_id for ask in message.asks]))
        batch = attestation_pb2.StatementBatch.FromString(response.batch.batch)
        batch.size = size
        response.batch.batch = batch.SerializeToString()
        key = federation.signing_keys[POLICE]
        response.batch.signature.value = key.sign(Kind.STATEMENT_BATCH, response.batch.batch)
        return [response.SerializeToString()]

    linked = await connect(boast)
    with pytest.raises(BadDataError):
        await linked.ask(5)
    await linked.connected()


async def test_recovered_batch_whose_ask_ids_repeat_is_whole(
    connect: Callable[..., Awaitable[Linked]], federation: fed.Federation
) -> None:
    response = pb.AnswerResponse.FromString(ScriptedNode(federation, answer_rightly).reply([1, 2, 3], recovered=True))
    for reply in response.replies:
        reply.ask_id = 0
    linked = await connect(answer_rightly, [response.SerializeToString()])
    while not linked.orphans:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert len(linked.orphans[0].proofs) == 3


async def test_late_answer_is_handed_over_to_be_logged(connect: Callable[..., Awaitable[Linked]]) -> None:
    late = asyncio.Event()

    async def dawdle(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        await late.wait()
        return [node.reply([ask.ask_id for ask in message.asks])]

    linked = await connect(dawdle)
    with pytest.raises(TimeoutError):
        await linked.ask(0.05)
    late.set()
    while not linked.orphans:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert linked.orphans[0].proofs[0].statement == b"statement 1"


async def test_answer_given_twice_counts_once(connect: Callable[..., Awaitable[Linked]]) -> None:
    async def twice(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        return [node.reply([ask.ask_id for ask in message.asks])] * 2 if message.asks else []

    linked = await connect(twice)
    reply = await linked.ask(5)
    while not linked.orphans:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert linked.orphans[0].proofs == reply.proofs


async def test_what_a_node_sends_again_is_handed_over(
    connect: Callable[..., Awaitable[Linked]], federation: fed.Federation
) -> None:
    greeting = ScriptedNode(federation, answer_rightly).reply([1, 2], recovered=True)
    linked = await connect(answer_rightly, [greeting])
    while not linked.orphans:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert len(linked.orphans[0].proofs) == 2
    assert (await linked.ask(5)).proofs


async def test_broken_stream_fails_its_asks_at_once_and_is_opened_again(
    connect: Callable[..., Awaitable[Linked]],
) -> None:
    broken = False

    async def break_once(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        nonlocal broken
        if not broken:
            broken = True
            raise RuntimeError
        return await answer_rightly(node, message)

    linked = await connect(break_once)
    with pytest.raises(UnreachableError) as caught:
        await linked.ask(30)
    assert caught.value.reason is Reason.DEPARTMENT_UNREACHABLE
    await linked.connected()
    assert (await linked.ask(5)).proofs


async def test_garbage_ends_the_stream_and_not_the_gateway(connect: Callable[..., Awaitable[Linked]]) -> None:
    garbage = True

    async def answer(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        nonlocal garbage
        if garbage:
            garbage = False
            return [b"\xff\xff\xff"]
        return await answer_rightly(node, message)

    linked = await connect(answer)
    with pytest.raises(UnreachableError):
        await linked.ask(30)
    await linked.connected()
    assert (await linked.ask(5)).proofs


async def test_acknowledgements_reach_the_node(connect: Callable[..., Awaitable[Linked]]) -> None:
    linked = await connect(answer_rightly)
    linked.stream.acknowledge(Acknowledgement(b"d" * 32, (4, 5), "checkpoint"))
    while not linked.node.received:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    (acknowledgement,) = linked.node.received[0].acknowledgements
    assert (list(acknowledgement.leaf_indexes), acknowledgement.checkpoint) == ([4, 5], "checkpoint")


async def test_node_that_does_not_read_cannot_fill_the_gateways_memory(
    connect: Callable[..., Awaitable[Linked]],
) -> None:
    linked = await connect(answer_rightly)
    sent = [linked.stream.send(ASK) for _ in range(ASK_LIMIT)]  # nothing leaves before the loop turns
    with pytest.raises(UnreachableError) as caught:
        linked.stream.send(ASK)
    assert caught.value.retry_after
    assert len(await asyncio.gather(*sent)) == ASK_LIMIT


async def test_node_that_floods_the_gateway_with_what_nobody_asked_is_read_no_faster_than_it_is_logged(
    start: Callable[..., Awaitable[ScriptedNode]], federation: fed.Federation
) -> None:
    flooding = ScriptedNode(federation, answer_rightly)
    flood = [flooding.reply([number], recovered=True) for number in range(ORPHANS_AT_ONCE + 50)]
    linked = stream_to(await start(answer_rightly, flood))
    linked.logging.clear()
    running = asyncio.create_task(linked.stream.run())
    while len(linked.orphans) < ORPHANS_AT_ONCE:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(linked.orphans) == ORPHANS_AT_ONCE
    linked.logging.set()
    while len(linked.orphans) < len(flood):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nothing_is_left_of_streams_that_broke_again_and_again(connect: Callable[..., Awaitable[Linked]]) -> None:
    async def break_off(_node: ScriptedNode, _message: pb.AnswerRequest) -> list[bytes]:
        raise RuntimeError

    linked = await connect(break_off)
    tasks = set()
    for _ in range(5):
        await linked.connected()
        with pytest.raises(UnreachableError):
            await linked.ask(30)
        tasks.add(len(asyncio.all_tasks()))
    assert linked.stream.idle
    assert max(tasks) <= min(tasks) + 2
    gc.collect()
    assert sum(isinstance(item, grpc.aio.StreamStreamCall) for item in gc.get_objects()) <= 2


async def test_batch_stuffed_with_more_statements_than_a_part_has_checks_is_refused_and_not_logged(
    connect: Callable[..., Awaitable[Linked]],
) -> None:
    """A node cannot grow the gateway's log by signing what nobody asked for."""

    async def stuff(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        statements = [b"stray %d" % number for number in range(MAX_CHECKS_PER_PART + 1)]
        signed, proofs = sign_batch(statements, POLICE, node.federation.signing_keys[POLICE], node.federation.now)
        reply = pb.Reply(ask_id=message.asks[0].ask_id, statements=map(write_proof, proofs))
        return [pb.AnswerResponse(batch=write_signed_batch(signed), replies=[reply]).SerializeToString()]

    linked = await connect(stuff)
    with pytest.raises(BadDataError):
        await linked.ask(5)
    assert linked.batches == linked.orphans == []


async def test_owed_batch_that_nobody_can_verify_does_not_cost_the_department_its_stream(
    connect: Callable[..., Awaitable[Linked]], federation: fed.Federation
) -> None:
    """Its key was declared compromised meanwhile, say: it comes again at each opening, and everything else goes on."""
    owed = ScriptedNode(federation, answer_rightly).reply([1], key=federation.signing_keys[LAND], recovered=True)
    linked = await connect(answer_rightly, [owed])
    for _ in range(5):
        assert (await linked.ask(5)).proofs
    assert linked.node.streams == 1
    assert linked.orphans == []


async def test_flood_of_replies_in_one_message_is_refused_unread(connect: Callable[..., Awaitable[Linked]]) -> None:
    flood = True

    async def answer(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        nonlocal flood
        if flood:
            flood = False
            replies = [pb.Reply(ask_id=message.asks[0].ask_id, fault="x")] * (MAX_ASKS_PER_BATCH + 1)
            return [pb.AnswerResponse(replies=replies).SerializeToString()]
        return await answer_rightly(node, message)

    linked = await connect(answer)
    with pytest.raises(UnreachableError) as caught:
        await linked.ask(5)
    assert caught.value.detail == "the stream ended"
    await linked.connected()
    assert (await linked.ask(5)).proofs
