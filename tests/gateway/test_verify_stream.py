"""A backlog over one stream: what one item meets concerns no other, and nothing grows without a bound."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from gateway.party.statuses import to_status
from gateway.protocol.errors import HeyanError, LogUnavailableError, OverloadedError, UnknownPeerError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.limits import MAX_MESSAGE, TRANSPORT_MAX_MESSAGE
from gateway.protocol.reasons import Reason
from gateway.services import Metrics
from gateway.verify_stream import MAX_STREAMS, PATH, WINDOW
from heyan.v1 import gateway_service_pb2 as pb
from tests import federation as fed
from tests.backlog import Backlogs, item_of
from tests.gateway.conftest import PEER, QUESTIONS, Gateway, department_of

LAND = "property.owns_home@1"
OTHER_PEER = parse_identity(fed.OTHER_REQUESTER)


@pytest.fixture
def backlogs(gateway: Gateway) -> Backlogs:
    return Backlogs(gateway)


class Forgetful(list):  # type: ignore[type-arg]
    """Keeps nothing of what was refused."""

    def append(self, _refused: object) -> None:
        """Nothing."""


async def settle() -> None:
    """Let everything run that can run without a timer."""
    for _ in range(300):
        await asyncio.sleep(0)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def test_each_item_gets_the_receipt_of_its_own_query(gateway: Gateway, backlogs: Backlogs) -> None:
    wire, stream = backlogs.open()
    submissions = {item: gateway.submission() for item in (1, 7, 2**64 - 1)}
    for item, submission in submissions.items():
        wire.send(item, submission)
    wire.close()
    await stream
    found = {answer.item: gateway.check(answer.response.receipt).query_digest for answer in wire.answers}
    assert found == {item: submission.signed.digest for item, submission in submissions.items()}
    assert backlogs.counted == ["OK"] * 3
    assert gateway.admission.taken == 0


async def test_item_that_waits_for_a_department_does_not_hold_up_those_behind_it(
    gateway: Gateway, backlogs: Backlogs
) -> None:
    department_of(gateway, LAND).gate = asyncio.Event()
    wire, stream = backlogs.open()
    wire.send(1, gateway.submission())
    wire.send(2, gateway.submission(questions=QUESTIONS[:2]))
    wire.close()
    await until(lambda: wire.answers)
    assert wire.reasons() == {2: "OK"}
    department_of(gateway, LAND).gate.set()
    await stream
    assert [answer.item for answer in wire.answers] == [2, 1]


async def test_malformed_items_end_nothing_but_themselves_and_are_recorded(
    gateway: Gateway, backlogs: Backlogs
) -> None:
    wire, stream = backlogs.open()
    large = item_of(4, replace(gateway.submission(), grants=())) + b"\x7a\xff\xff\x3f" + bytes(MAX_MESSAGE - 1)
    bad = {
        b"\xff\xff": (0, "MESSAGE_MALFORMED"),
        item_of(0, gateway.submission()): (0, "MESSAGE_MALFORMED"),
        pb.VerifyStreamRequest(item=3).SerializeToString(): (3, "MESSAGE_MALFORMED"),
        large: (4, "MESSAGE_TOO_LARGE"),
    }
    for data in bad:
        wire.incoming.put_nowait(data)
    wire.send(5, gateway.submission())
    wire.close()
    await stream
    told = sorted((answer.item, reason) for answer in wire.answers if (reason := wire.reasons()[answer.item]))
    assert told == sorted([*bad.values(), (5, "OK")])
    assert sorted(backlogs.refused) == sorted((PATH, reason, data) for data, (_, reason) in bad.items())


async def test_refused_item_is_told_just_what_verify_would_tell(gateway: Gateway, backlogs: Backlogs) -> None:
    consent = gateway.federation.issue(requester=fed.OTHER_REQUESTER)
    submission = gateway.submission(consent)
    with pytest.raises(HeyanError) as caught:
        await gateway.send(submission)
    wire, stream = backlogs.open()
    wire.send(1, submission)
    wire.close()
    await stream
    assert wire.answers[0].error == to_status(caught.value)
    assert backlogs.refused == [(PATH, "GRANT_OTHER_REQUESTER", item_of(1, submission))]
    assert backlogs.counted == ["GRANT_OTHER_REQUESTER"]


async def test_refusal_that_cannot_be_recorded_is_told_as_that(gateway: Gateway, backlogs: Backlogs) -> None:
    async def fail(*_: object) -> None:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, retry_after=1.0)

    desk = backlogs.streams._desk
    backlogs.streams._desk = replace(desk, guard=replace(desk.guard, on_refusal=fail))
    wire, stream = backlogs.open()
    wire.send(1, gateway.submission(gateway.federation.issue(requester=fed.OTHER_REQUESTER)))
    wire.close()
    await stream
    assert wire.reasons() == {1: "LOG_UNAVAILABLE"}


async def test_fault_of_our_own_tells_nothing_of_itself(gateway: Gateway, backlogs: Backlogs) -> None:
    async def fail(_message: bytes, _peer: object, _time: object, place) -> pb.VerifyResponse:
        place.release()
        raise RuntimeError("张小明")

    backlogs.streams._desk = replace(backlogs.streams._desk, verify=fail)
    wire, stream = backlogs.open()
    wire.send(1, gateway.submission())
    wire.close()
    await stream
    assert wire.reasons() == {1: "INTERNAL"}
    assert "张小明".encode() not in wire.answers[0].SerializeToString()
    assert backlogs.refused == []


async def test_item_sent_twice_spends_one_use(gateway: Gateway, backlogs: Backlogs) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    wire, stream = backlogs.open()
    for item in (1, 2, 1):
        wire.send(item, submission)
    wire.close()
    await stream
    assert len(wire.answers) == 3
    assert max(gateway.used(consent)) == 1
    assert len(gateway.leaves()) == 1


async def test_items_are_counted_and_timed_by_reason(gateway: Gateway, backlogs: Backlogs) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, gateway.admission, SimpleNamespace(connected=lambda: 0))  # type: ignore[arg-type]
    backlogs.streams._desk = replace(backlogs.streams._desk, measure=metrics.item)
    wire, stream = backlogs.open()
    wire.send(1, gateway.submission())
    wire.send(2, gateway.submission(gateway.federation.issue(requester=fed.OTHER_REQUESTER)))
    wire.close()
    await stream
    counts = {
        reason: registry.get_sample_value("heyan_calls_total", {"method": "VerifyStream/item", "reason": reason})
        for reason in ("OK", "GRANT_OTHER_REQUESTER", "INTERNAL")
    }
    assert counts == {"OK": 1.0, "GRANT_OTHER_REQUESTER": 1.0, "INTERNAL": None}
    assert registry.get_sample_value("heyan_call_seconds_count", {"method": "VerifyStream/item"}) == 2.0


# -- bounds -------------------------------------------------------------------------------------------------


async def test_requester_that_reads_no_answers_is_not_read_from(gateway: Gateway, backlogs: Backlogs) -> None:
    wire, stream = backlogs.open()
    wire.takes.clear()
    submission = gateway.submission()
    for item in range(1, 3 * WINDOW):
        wire.send(item, submission)
    await until(lambda: wire.read_so_far == WINDOW)
    await asyncio.sleep(0.05)
    assert wire.read_so_far == WINDOW
    wire.takes.set()
    wire.close()
    await stream
    assert len(wire.answers) == 3 * WINDOW - 1


@pytest.mark.parametrize("kind", ["malformed", "refused"])
async def test_requester_that_reads_no_answers_cannot_have_its_largest_messages_held(
    gateway: Gateway, backlogs: Backlogs, kind: str
) -> None:
    """A window of them would be 128 MB on each of its streams."""
    size = TRANSPORT_MAX_MESSAGE if kind == "malformed" else MAX_MESSAGE - 200
    request = pb.VerifyStreamRequest(item=1)
    request.request.application = bytes(size - 100)
    wire, stream = backlogs.open()
    backlogs.refused = Forgetful()
    wire.takes.clear()

    async def read() -> bytes:
        wire.read_so_far += 1
        return b"\xff" + bytes(size - 1) if kind == "malformed" else request.SerializeToString()

    wire.read = read  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        await until(lambda: wire.read_so_far >= WINDOW)
        await until(lambda: len(backlogs.counted) == WINDOW)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    assert held < 8 * TRANSPORT_MAX_MESSAGE
    assert gateway.admission.taken == 0


async def test_full_gateway_makes_a_stream_wait_and_refuses_nothing(gateway: Gateway, backlogs: Backlogs) -> None:
    places = [gateway.admission.take(PEER) for _ in range(32)]
    with pytest.raises(OverloadedError):
        gateway.admission.take(PEER)
    wire, stream = backlogs.open()
    for item in range(1, 11):
        wire.send(item, gateway.submission())
    wire.close()
    await settle()
    assert (wire.read_so_far, wire.answers) == (1, [])
    for place in places:
        place.release()
    await stream
    assert set(wire.reasons().values()) == {"OK"}
    assert gateway.admission.taken == 0


async def test_backlog_of_one_requester_leaves_another_its_share(gateway: Gateway, backlogs: Backlogs) -> None:
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    greedy, first = backlogs.open()
    for item in range(1, WINDOW + 1):
        greedy.send(item, gateway.submission())
    greedy.close()
    await until(lambda: gateway.admission.taken == 32)
    modest, second = backlogs.open(OTHER_PEER)
    for item in range(1, 5):
        modest.send(
            item,
            gateway.submission(
                gateway.federation.issue(requester=fed.OTHER_REQUESTER), QUESTIONS[:2], requester=fed.OTHER_REQUESTER
            ),
        )
    modest.close()
    await second
    assert set(modest.reasons().values()) == {"OK"}
    land.gate.set()
    await first
    assert len(greedy.answers) == WINDOW


async def test_two_streams_of_one_requester_take_turns(gateway: Gateway, backlogs: Backlogs) -> None:
    places = [gateway.admission.take(PEER) for _ in range(32)]
    department_of(gateway, LAND).gate = asyncio.Event()
    wires, streams = zip(*(backlogs.open() for _ in range(2)), strict=True)
    for wire in wires:
        for item in range(1, 17):
            wire.send(item, gateway.submission())
        wire.close()
    await settle()
    for place in places[:20]:
        place.release()
        await settle()
    begun = [wire.read_so_far - 1 for wire in wires]  # one of each is read and waits
    assert begun == [10, 10]
    for place in places[20:]:
        place.release()
    department_of(gateway, LAND).gate.set()
    await asyncio.gather(*streams)


async def test_requester_cannot_open_streams_without_end(gateway: Gateway, backlogs: Backlogs) -> None:
    opened = [backlogs.open() for _ in range(MAX_STREAMS)]
    await settle()
    _, refused = backlogs.open()
    with pytest.raises(OverloadedError) as caught:
        await refused
    assert caught.value.retry_after
    other, stream = backlogs.open(OTHER_PEER)
    other.close()
    await stream
    opened[0][0].close()
    await opened[0][1]
    again, stream = backlogs.open()
    again.close()
    await stream
    for wire, task in opened[1:]:
        wire.close()
        await task


# -- how a stream ends --------------------------------------------------------------------------------------


async def test_cancelled_stream_leaves_no_task_and_its_work_goes_on_to_the_commit(
    gateway: Gateway, backlogs: Backlogs
) -> None:
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    before = asyncio.all_tasks()
    wire, stream = backlogs.open()
    consent = gateway.federation.issue()
    wire.send(1, gateway.submission(consent))
    await until(lambda: land.asks)
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}  # type: ignore[union-attr]
    assert not {name for name in left if "Stream" in name}
    assert gateway.admission.taken == 1
    land.gate.set()
    await gateway.pipeline.drain()
    await settle()
    assert gateway.admission.taken == 0
    assert max(gateway.used(consent)) == 1
    assert (len(gateway.leaves()), wire.answers) == (1, [])


@pytest.mark.parametrize("steps", range(12))
async def test_stream_cancelled_at_any_step_gives_every_place_back(
    gateway: Gateway, backlogs: Backlogs, steps: int
) -> None:
    wire, stream = backlogs.open()
    for item in range(1, 9):
        wire.send(item, gateway.submission())
    for _ in range(steps):
        await asyncio.sleep(0)
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    await gateway.pipeline.drain()
    await settle()
    assert gateway.admission.taken == 0


async def test_draining_gateway_answers_what_it_began_and_says_that_it_stops(
    gateway: Gateway, backlogs: Backlogs
) -> None:
    land = department_of(gateway, LAND)
    land.gate = asyncio.Event()
    wire, stream = backlogs.open()
    for item in range(1, 40):
        wire.send(item, gateway.submission())
    await until(lambda: gateway.admission.taken == 32)
    backlogs.streams.stop()
    gateway.admission.close()
    land.gate.set()
    with pytest.raises(UnreachableError) as caught:
        await stream
    assert caught.value.reason is Reason.SHUTTING_DOWN
    assert caught.value.retry_after
    assert list(wire.reasons().values()) == ["OK"] * 32
    _, late = backlogs.open()
    with pytest.raises(UnreachableError):
        await late


async def test_requester_that_leaves_the_registry_is_read_no_further(gateway: Gateway, backlogs: Backlogs) -> None:
    asked = iter(range(100))

    def admit() -> None:
        if next(asked) == 2:
            raise UnknownPeerError(Reason.PEER_UNKNOWN)

    wire, stream = backlogs.open(admit=admit)
    for item in range(1, 6):
        wire.send(item, gateway.submission())
    with pytest.raises(UnknownPeerError):
        await stream
    assert wire.reasons() == {1: "OK", 2: "OK"}


async def test_stream_whose_answers_cannot_be_written_ends(gateway: Gateway, backlogs: Backlogs) -> None:
    wire, stream = backlogs.open()

    async def fail(_message: bytes) -> None:
        raise ConnectionResetError

    wire.write = fail  # type: ignore[method-assign]
    wire.send(1, gateway.submission())
    with pytest.raises(ConnectionResetError):
        await stream
    assert gateway.admission.taken == 0
