"""The link to a node over several channels: failover, hedging, the breaker, and changing channels under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from gateway.departments import latency
from gateway.departments.breaker import FAILURES
from gateway.departments.latency import Latencies
from gateway.departments.link import DepartmentLink
from gateway.departments.port import Acknowledgement
from gateway.departments.stream import DepartmentStream
from gateway.departments.traffic import Traffic
from gateway.protocol.errors import UnreachableError
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2 as pb
from tests.fakes_node import ASK, POLICE, Linked, ScriptedNode, answer_rightly, answer_with_fault, stream_to

BURST = int(latency.BURST)
Start = Callable[..., Awaitable[ScriptedNode]]


class Channels:
    """A link over scripted nodes, with all that it opened."""

    def __init__(self) -> None:
        self.metrics = CollectorRegistry()
        self.traffic = Traffic(self.metrics)
        self.nodes: dict[str, ScriptedNode] = {}
        self.opened: list[Linked] = []
        self.link = DepartmentLink(POLICE, self._open, self.traffic.of(POLICE))

    async def join(self, *nodes: ScriptedNode, generation: int = 0) -> None:
        """Have the link use the nodes, in this order, and wait until it is connected to all."""
        self.nodes |= {str(node.port): node for node in nodes}
        self.link.reconcile([str(node.port) for node in nodes], generation)
        while not all(linked.stream.connected for linked in self.opened):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def count(self, name: str) -> float:
        value = self.metrics.get_sample_value(f"heyan_department_{name}_total", {"department": "police"})
        assert value is not None
        return value

    def _open(self, address: str) -> DepartmentStream:
        self.opened.append(stream_to(self.nodes[address], self.traffic))
        return self.opened[-1].stream


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    channels = Channels()
    yield channels
    await channels.link.close()


async def say_nothing(_node: ScriptedNode, _message: pb.AnswerRequest) -> list[bytes]:
    return []


async def break_off(_node: ScriptedNode, _message: pb.AnswerRequest) -> list[bytes]:
    raise RuntimeError


async def test_primary_is_asked_while_it_answers(channels: Channels, start: Start) -> None:
    primary, standby = await start(answer_rightly), await start(answer_rightly)
    await channels.join(primary, standby)
    for _ in range(10):
        assert len(await channels.link.ask(ASK, 5)) == 1
    assert (len(primary.received), len(standby.received)) == (10, 0)


async def test_ask_goes_to_the_standby_at_once_when_the_primary_breaks(channels: Channels, start: Start) -> None:
    primary, standby = await start(break_off), await start(answer_rightly)
    await channels.join(primary, standby)
    (reply,) = await channels.link.ask(ASK, 5)
    assert reply.proofs
    assert channels.count("failovers") == 1


async def test_ask_goes_to_the_standby_when_the_primary_is_gone(channels: Channels, start: Start) -> None:
    primary, standby = await start(answer_rightly), await start(answer_rightly)
    await channels.join(primary, standby)
    await primary.stop()
    assert [len(await channels.link.ask(ASK, 5)) for _ in range(5)] == [1] * 5


async def test_fault_at_the_primary_is_answered_by_the_standby(channels: Channels, start: Start) -> None:
    await channels.join(await start(answer_with_fault), await start(answer_rightly))
    assert len(await channels.link.ask(ASK, 5)) == 1


async def test_slow_primary_is_hedged_and_its_late_answer_is_logged(channels: Channels, start: Start) -> None:
    late = asyncio.Event()

    async def dawdle(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        await late.wait()
        return await answer_rightly(node, message)

    primary, standby = await start(dawdle), await start(answer_rightly)
    await channels.join(primary, standby)
    assert len(await channels.link.ask(ASK, 5)) == 1
    assert (channels.count("hedges"), channels.count("failovers")) == (1, 0)
    late.set()
    while not channels.opened[0].orphans:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_hedges_are_budgeted(channels: Channels, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "FIRST_DELAY", 0.0)
    primary, standby = await start(answer_rightly), await start(answer_rightly)
    await channels.join(primary, standby)
    for _ in range(BURST + 5):
        channels.link._latencies = Latencies()  # answers are too few for a percentile, so that every ask is hedged
        await channels.link.ask(ASK, 5)
    assert channels.count("hedges") == BURST + 1  # and a tenth of one for each ask


async def test_without_a_channel_an_ask_fails_at_once(channels: Channels) -> None:
    channels.link.reconcile([], 0)
    with pytest.raises(UnreachableError) as caught:
        await channels.link.ask(ASK, 30)
    assert caught.value.reason is Reason.DEPARTMENT_UNREACHABLE


async def test_ask_that_nobody_answers_times_out(channels: Channels, start: Start) -> None:
    await channels.join(await start(say_nothing), await start(say_nothing))
    with pytest.raises(UnreachableError) as caught:
        await channels.link.ask(ASK, 0.1)
    assert caught.value.reason is Reason.DEPARTMENT_TIMED_OUT


async def test_node_that_times_out_again_and_again_is_left_alone_and_found_again(
    channels: Channels, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = True

    async def answer(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        return [] if silent else await answer_rightly(node, message)

    node = await start(answer)
    await channels.join(node)
    monkeypatch.setattr(latency, "LEAST_SILENCE", 0.05)
    for _ in range(FAILURES):
        with pytest.raises(UnreachableError):
            await channels.link.ask(ASK, 0.06)
    asked = len(node.received)
    with pytest.raises(UnreachableError) as caught:
        await channels.link.ask(ASK, 30)  # would hang for half a minute
    assert caught.value.reason is Reason.DEPARTMENT_UNREACHABLE
    assert len(node.received) == asked
    assert channels.count("trips") == 1
    silent = False
    channels.opened[0].stream.breaker._open_until = 0.0  # its pause is over
    assert len(await channels.link.ask(ASK, 5)) == 1
    assert len(await channels.link.ask(ASK, 5)) == 1


async def test_link_is_ready_when_an_ask_would_be_sent_and_looking_costs_no_probe(
    channels: Channels, start: Start
) -> None:
    assert not channels.link.ready  # it has no channel yet
    await channels.join(await start(answer_rightly), await start(answer_rightly))
    primary, standby = (linked.stream.breaker for linked in channels.opened)
    now = asyncio.get_running_loop().time()
    primary.trip(now)
    assert channels.link.ready  # by the standby
    standby.trip(now)
    assert not channels.link.ready
    primary._open_until = 0.0  # its pause is over
    for _ in range(3):
        assert channels.link.ready
    assert len(await channels.link.ask(ASK, 5)) == 1
    assert channels.link.ready
    await channels.link.close()
    assert not channels.link.ready


async def test_node_that_falls_silent_is_left_alone_before_the_first_ask_has_timed_out(
    channels: Channels, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "LEAST_SILENCE", 0.1)
    await channels.join(await start(say_nothing))
    hanging = asyncio.create_task(channels.link.ask(ASK, 30))
    await asyncio.sleep(0.15)
    with pytest.raises(UnreachableError) as caught:
        await channels.link.ask(ASK, 30)
    assert caught.value.reason is Reason.DEPARTMENT_UNREACHABLE
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_silent_primary_is_passed_over_for_the_standby(
    channels: Channels, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "LEAST_SILENCE", 0.1)
    primary, standby = await start(say_nothing), await start(answer_rightly)
    await channels.join(primary, standby)
    first = asyncio.create_task(channels.link.ask(ASK, 30))
    await asyncio.sleep(0.15)
    assert len(await channels.link.ask(ASK, 5)) == 1
    assert len(primary.received) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_renewed_certificate_is_used_by_a_new_stream_and_no_ask_fails(channels: Channels, start: Start) -> None:
    held = asyncio.Event()

    async def answer_later(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        await held.wait()
        return await answer_rightly(node, message)

    node = await start(answer_later)
    await channels.join(node)
    under_way = asyncio.create_task(channels.link.ask(ASK, 30))
    await asyncio.sleep(0.02)
    await channels.join(node, generation=1)
    assert len(channels.opened) == 2
    channels.link.reconcile([str(node.port)], 1)  # now the new stream replaces the old one
    held.set()
    after = await channels.link.ask(ASK, 30)
    assert len(await under_way) == len(after) == 1
    while channels.opened[0].stream.connected:  # noqa: ASYNC110 - the old stream ends by itself
        await asyncio.sleep(0.01)
    assert channels.link.connected
    assert node.streams == 2


async def test_channels_follow_the_registry(channels: Channels, start: Start) -> None:
    first, second = await start(answer_rightly), await start(answer_rightly)
    await channels.join(first)
    await channels.join(second, first)
    await channels.link.ask(ASK, 5)
    assert (len(first.received), len(second.received)) == (0, 1)
    channels.link.reconcile([str(first.port)], 0)
    await channels.link.ask(ASK, 5)
    assert len(first.received) == 1


async def test_acknowledgements_that_wait_are_sent_before_the_link_closes(channels: Channels, start: Start) -> None:
    node = await start(answer_rightly)
    await channels.join(node)
    channels.link.acknowledge(Acknowledgement(b"d" * 32, (1,), "checkpoint"))
    await channels.link.close()
    assert [len(message.acknowledgements) for message in node.received] == [1]
    assert not channels.link.connected


async def test_callers_in_a_hurry_do_not_open_the_breaker_of_a_node_that_is_merely_slow(
    channels: Channels, start: Start
) -> None:
    """Else one requester's short deadlines would cost everybody a department."""

    async def slowly(node: ScriptedNode, message: pb.AnswerRequest) -> list[bytes]:
        await asyncio.sleep(0.1)
        return await answer_rightly(node, message)

    await channels.join(await start(slowly))
    for _ in range(2 * FAILURES):
        with pytest.raises(UnreachableError):
            await channels.link.ask(ASK, 0.02)
    assert len(await channels.link.ask(ASK, 5)) == 1
    assert channels.count("trips") == 0


async def test_node_that_sends_anything_but_answers_counts_as_silent(
    channels: Channels, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chatter(_node: ScriptedNode, _message: pb.AnswerRequest) -> list[bytes]:
        return [pb.AnswerResponse().SerializeToString()] * 3

    monkeypatch.setattr(latency, "LEAST_SILENCE", 0.05)
    await channels.join(await start(chatter))
    for _ in range(2 * FAILURES):
        with pytest.raises(UnreachableError):
            await channels.link.ask(ASK, 0.06)
    assert channels.count("trips") == 1
