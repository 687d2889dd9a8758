"""What a gateway never acknowledged is sent again while its stream stays open, and not only when it opens anew."""

from __future__ import annotations

import grpc
import pytest

from gateway.party.statuses import from_rpc_error
from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import read_resolution
from heyan.v1 import dispute_pb2
from sandbox_departments import streams
from tests.sandbox.asking import GATEWAY, OTHER_GATEWAY, REQUESTER, told
from tests.sandbox.disputing import answered
from tests.sandbox.serving import Served, until


@pytest.fixture
async def served(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "REMIND_INTERVAL", 0.02)
    made = Served(desk, tmp_path / "parties")
    await made.start()
    yield made
    await made.stop()


async def test_batch_that_is_owed_for_long_is_sent_again_on_the_open_stream(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask(ask_id=5))
        first = await stream.read()
        served.world.now += streams.REMIND_AGE - 1
        await stream.ask(served.world.ask(ask_id=6))
        fresh = await stream.read()
        assert not fresh.recovered  # the first is not overdue yet, and this one came by itself
        served.world.now += 2
        again = await stream.read()
        assert again.recovered
        assert again.batch == first.batch
        await stream.acknowledge(served.world.acknowledgement(read_signed_batch(again.batch).digest, 2))
        await until(lambda: len(served.desk.journal.unacknowledged(GATEWAY.uri)) == 1, served.desk.thread)


async def test_reminder_is_repeated_only_after_another_while(served, monkeypatch):
    async with served.stream() as stream:
        await stream.ask(served.world.ask(ask_id=5))
        await stream.read()
        served.world.now += streams.REMIND_AGE + 1
        assert (await stream.read()).recovered
        looks = []
        overdue = served.desk.answerer.overdue

        async def counted(gateway, age):
            looks.append(gateway)
            return await overdue(gateway, age)

        monkeypatch.setattr(served.desk.answerer, "overdue", counted)
        await until(lambda: len(looks) > 3)
        await stream.ask(served.world.ask(ask_id=6))
        assert not (await stream.read()).recovered
        monkeypatch.setattr(streams, "REMIND_AGE", 0.1)
        assert (await stream.read()).recovered


async def test_acknowledgement_lost_by_a_failing_journal_is_asked_for_again(served):
    """Else a day later the node would serve its gateway no more, though the log has everything."""
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        batch = read_signed_batch((await stream.read()).batch).digest
        served.desk.journal._connection.execute("PRAGMA query_only = ON")
        await stream.acknowledge(served.world.acknowledgement(batch, 2))
        await stream.ask(served.world.ask())
        assert told(await stream.read(), served.world) == [["log_unavailable"]]  # and the acknowledgement is lost
        served.desk.journal._connection.execute("PRAGMA query_only = OFF")
        served.world.now += streams.REMIND_AGE + 1
        again = await stream.read()
        assert (again.recovered, read_signed_batch(again.batch).digest) == (True, batch)
        await stream.acknowledge(served.world.acknowledgement(batch, 2))
        await until(lambda: served.desk.journal.unacknowledged(GATEWAY.uri) == (), served.desk.thread)


async def test_gateway_that_owes_nothing_is_not_reminded(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        batch = read_signed_batch((await stream.read()).batch).digest
        await stream.acknowledge(served.world.acknowledgement(batch, 2))
        await until(lambda: served.desk.journal.unacknowledged(GATEWAY.uri) == (), served.desk.thread)
        served.world.now += streams.REMIND_AGE + 1
        await stream.ask(served.world.ask(ask_id=8))
        assert not (await stream.read()).recovered


async def test_resolution_that_nobody_asked_for_is_sent_on_the_open_stream(served):
    case = await answered(served.desk)
    async with served.stream() as stream:
        owed = await stream.read()  # the answer of before
        await stream.acknowledge(served.world.acknowledgement(read_signed_batch(owed.batch).digest, 2))
        await case.resolve()
        sent = await stream.read()
        assert sent.recovered
        (reply,) = sent.replies
        assert read_resolution(reply.statements[0].statement).statement_digest == case.dispute_id
        await stream.acknowledge(served.world.acknowledgement(read_signed_batch(sent.batch).digest, 1, first=2))
        await until(lambda: served.desk.journal.unacknowledged(GATEWAY.uri) == (), served.desk.thread)


async def test_resolution_that_was_not_acknowledged_is_sent_again_when_the_stream_opens_anew(served):
    case = await answered(served.desk)
    await case.resolve()
    for _ in range(2):
        async with served.stream() as stream:
            sent = [await stream.read() for _ in range(2)]
            assert all(message.recovered for message in sent)


async def test_dispute_is_brought_by_gateways_only_and_over_mutual_tls(served):
    case = await answered(served.desk)
    request = dispute_pb2.OpenDisputeRequest.FromString(case.signed())
    response = dispute_pb2.OpenDisputeResponse.FromString(await served.call("OpenDispute", request))
    assert response.receive_time.seconds == served.world.now
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call("OpenDispute", request, OTHER_GATEWAY)
    assert from_rpc_error(refused.value).reason is Reason.DISPUTE_INVALID
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call("OpenDispute", request, REQUESTER)
    assert from_rpc_error(refused.value).reason is Reason.PEER_ROLE_NOT_ALLOWED
