"""The stream to a node, against nodes that break, lie, or answer when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import pytest

from gateway.department_link import ANSWER_METHOD, DepartmentLink
from gateway.departments import Acknowledgement, Ask, Orphans
from gateway.protocol.attestation import StatementProof, sign_batch, write_proof, write_signed_batch
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.digests import Kind
from gateway.protocol.errors import BadDataError, UnreachableError
from gateway.protocol.keys import SigningKey
from gateway.protocol.presentation import PresentedPart
from gateway.protocol.query import SignedQuery
from gateway.protocol.reasons import Reason
from gateway.protocol.sealing import Sealed
from heyan.v1 import attestation_pb2
from heyan.v1 import department_service_pb2 as pb
from tests import federation as fed
from tests.fakes import Clock

POLICE = fed.DEPARTMENTS[DepartmentKind.POLICE]
LAND = fed.DEPARTMENTS[DepartmentKind.LAND]
ASK = Ask(SignedQuery(b"query", "key-1", bytes(64)), PresentedPart(b"part", Sealed(1, "seal-1", b"sealed")), ())
SERVICE, METHOD = ANSWER_METHOD.strip("/").split("/")

Script = Callable[["ScriptedNode", pb.AnswerRequest], Awaitable[list[bytes]]]


@dataclass
class ScriptedNode:
    """A node that answers each message as its script says."""

    federation: fed.Federation
    script: Script
    greeting: list[bytes] = field(default_factory=list)
    received: list[pb.AnswerRequest] = field(default_factory=list)

    async def answer(self, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:  # type: ignore[type-arg]
        await context.send_initial_metadata(())
        for greeting in self.greeting:
            yield greeting
        async for data in messages:
            message = pb.AnswerRequest.FromString(data)
            self.received.append(message)
            for reply in await self.script(self, message):
                yield reply

    def reply(self, ask_ids: list[int], *, key: SigningKey | None = None, recovered: bool = False) -> bytes:
        """A right reply batch: one statement for each ask."""
        signed, proofs = sign_batch(
            [b"statement %d" % ask_id for ask_id in ask_ids],
            POLICE,
            key or self.federation.signing_keys[POLICE],
            self.federation.now,
        )
        replies = [
            pb.Reply(ask_id=ask_id, statements=[write_proof(proof)])
            for ask_id, proof in zip(ask_ids, proofs, strict=True)
        ]
        response = pb.AnswerResponse(batch=write_signed_batch(signed), replies=replies, recovered=recovered)
        return response.SerializeToString()


@dataclass
class Linked:
    """A link, its node, and what the link handed on."""

    link: DepartmentLink
    node: ScriptedNode
    orphans: list[Orphans]
    batches: list[tuple[StatementProof, ...]]

    async def connected(self) -> None:
        while not self.link.connected:  # noqa: ASYNC110 - the link tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
def federation() -> fed.Federation:
    return fed.Federation.create(1_800_000_000.0)


@pytest.fixture
async def connect(federation: fed.Federation) -> AsyncIterator[Callable[..., Awaitable[Linked]]]:
    servers: list[grpc.aio.Server] = []
    tasks: list[asyncio.Task[None]] = []

    async def build(script: Script, greeting: list[bytes] | None = None) -> Linked:
        node = ScriptedNode(federation, script, greeting or [])
        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(node.answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)

        async def open_channel() -> grpc.aio.Channel:
            return grpc.aio.insecure_channel(f"127.0.0.1:{port}")

        orphans: list[Orphans] = []
        batches: list[tuple[StatementProof, ...]] = []

        async def take(found: Orphans) -> None:
            orphans.append(found)

        link = DepartmentLink(
            POLICE,
            open_channel,
            lambda: federation.registry,
            Clock(federation.now),
            lambda _department, _signed, proofs: batches.append(tuple(proofs)),
            take,
        )
        tasks.append(asyncio.create_task(link.run()))
        linked = Linked(link, node, orphans, batches)
        await linked.connected()
        return linked

    yield build
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for server in servers:
        await server.stop(None)


async def answer_rightly(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
    return [node.reply([ask.ask_id for ask in message.asks])] if message.asks else []


async def test_asks_are_answered_and_each_gets_its_own_statement(connect: Callable[..., Awaitable[Linked]]) -> None:
    linked = await connect(answer_rightly)
    replies = await asyncio.gather(*(linked.link.ask(ASK, 5) for _ in range(50)))
    assert len({reply.proofs[0].statement for reply in replies}) == 50
    assert linked.orphans == []
    assert len(linked.node.received) < 50
    assert sum(len(batch) for batch in linked.batches) == 50


async def test_fault_of_the_node_is_unreachable_and_never_an_answer(connect: Callable[..., Awaitable[Linked]]) -> None:
    async def fault(_node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        replies = [pb.Reply(ask_id=ask.ask_id, fault="LOG_UNAVAILABLE") for ask in message.asks]
        return [pb.AnswerResponse(replies=replies).SerializeToString()]

    linked = await connect(fault)
    with pytest.raises(UnreachableError) as caught:
        await linked.link.ask(ASK, 5)
    assert caught.value.reason is Reason.LOG_UNAVAILABLE


async def test_batch_signed_by_another_key_is_no_answer_and_is_not_logged(
    connect: Callable[..., Awaitable[Linked]], federation: fed.Federation
) -> None:
    async def forge(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        return [node.reply([ask.ask_id for ask in message.asks], key=federation.signing_keys[LAND])]

    linked = await connect(forge)
    with pytest.raises(BadDataError) as caught:
        await linked.link.ask(ASK, 5)
    assert caught.value.reason is Reason.ATTESTATION_INVALID
    assert (linked.orphans, linked.batches) == ([], [])


async def test_batch_that_keeps_a_statement_back_is_no_answer(connect: Callable[..., Awaitable[Linked]]) -> None:
    async def keep_back(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        response = pb.AnswerResponse.FromString(node.reply([message.asks[0].ask_id, 999]))
        del response.replies[1]
        return [response.SerializeToString()]

    linked = await connect(keep_back)
    with pytest.raises(BadDataError):
        await linked.link.ask(ASK, 5)


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
        await linked.link.ask(ASK, 5)
    assert linked.link.connected


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
    with pytest.raises(UnreachableError) as caught:
        await linked.link.ask(ASK, 0.05)
    assert caught.value.reason is Reason.DEPARTMENT_TIMED_OUT
    late.set()
    while not linked.orphans:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert linked.orphans[0].proofs[0].statement == b"statement 1"


async def test_answer_given_twice_counts_once(connect: Callable[..., Awaitable[Linked]]) -> None:
    async def twice(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        return [node.reply([ask.ask_id for ask in message.asks])] * 2 if message.asks else []

    linked = await connect(twice)
    reply = await linked.link.ask(ASK, 5)
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
    assert (await linked.link.ask(ASK, 5)).proofs


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
        await linked.link.ask(ASK, 30)
    assert caught.value.reason is Reason.DEPARTMENT_UNREACHABLE
    await linked.connected()
    assert (await linked.link.ask(ASK, 5)).proofs


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
        await linked.link.ask(ASK, 30)
    await linked.connected()
    assert (await linked.link.ask(ASK, 5)).proofs


async def test_acknowledgements_reach_the_node(connect: Callable[..., Awaitable[Linked]]) -> None:
    linked = await connect(answer_rightly)
    linked.link.acknowledge(Acknowledgement(b"d" * 32, (4, 5), "checkpoint"))
    while not linked.node.received:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    (acknowledgement,) = linked.node.received[0].acknowledgements
    assert (list(acknowledgement.leaf_indexes), acknowledgement.checkpoint) == ([4, 5], "checkpoint")


async def test_node_that_hangs_cannot_fill_the_gateways_memory(
    connect: Callable[..., Awaitable[Linked]], monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = await connect(answer_rightly)
    monkeypatch.setattr(linked.link, "_outgoing", asyncio.Queue(3))
    asks = [asyncio.create_task(linked.link.ask(ASK, 0.2)) for _ in range(10)]
    outcomes = await asyncio.gather(*asks, return_exceptions=True)
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, UnreachableError)]
    assert reasons.count(Reason.DEPARTMENT_UNREACHABLE) == 7
    linked.link.acknowledge(Acknowledgement(b"d" * 32, (), ""))
