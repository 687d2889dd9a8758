"""The department node over real mTLS: who may ask, what a stream carries, and what survives its end."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import grpc
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.operator.authority import Authority
from gateway.operator.desk import Desk as OperatorDesk
from gateway.operator.enrolment import PartyFolder
from gateway.party.config import RegistryFiles
from gateway.party.keyfiles import write_private
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import check_server, open_channel, watch_tls
from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.errors import LogUnavailableError, MalformedError, UnknownPeerError
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import Coverage, DepartmentTerms, GatewayTerms, LocalName, Party
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.config import NodeConfig
from sandbox_departments.node import SERVICE
from sandbox_departments.serve import NodeProcess, serve
from tests.fakes_register import FakeRegister
from tests.sandbox.asking import GATEWAY, LAND, OTHER_GATEWAY, POLICE, REGISTERED, REQUESTER, told
from tests.sandbox.serving import AUDITOR, STRANGER, Served, until


@pytest.fixture
async def served(desk, tmp_path):
    made = Served(desk, tmp_path / "parties")
    await made.start()
    yield made
    await made.stop()


async def refusal_of(call) -> Reason:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value).reason


# -- who may ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["AnswerOne", "Describe", "Answer"])
@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (REQUESTER, Reason.PEER_ROLE_NOT_ALLOWED),
        (LAND, Reason.PEER_ROLE_NOT_ALLOWED),
        (AUDITOR, Reason.PEER_UNKNOWN),
        (STRANGER, Reason.PEER_UNKNOWN),
    ],
    ids=["a requester", "another department", "an unlisted auditor", "an unlisted gateway"],
)
async def test_a_peer_in_another_role_or_unknown_is_refused(served, method, identity, reason):
    if method == "Answer":
        async with served.stream(identity) as stream:
            assert await stream.end() is reason
    else:
        assert await refusal_of(served.call(method, pb.DescribeRequest(), identity)) is reason


async def test_a_certificate_of_another_ca_gets_no_connection(served):
    served.enrol(GATEWAY, Authority.create("impostor", time.time()))
    with pytest.raises(UnknownPeerError):
        await check_server(served.target, POLICE, served.tls[GATEWAY])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call("Describe", pb.DescribeRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_node_with_the_certificate_of_another_node_is_not_believed(desk, tmp_path):
    served = Served(desk, tmp_path / "parties")
    await served.start(certificate_of=LAND)
    with pytest.raises(UnknownPeerError):
        await check_server(served.target, POLICE, served.tls[GATEWAY])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call("AnswerOne", pb.AnswerOneRequest(ask=served.world.ask()))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert desk.register.asked == []
    await served.stop()


async def test_a_gateway_cannot_pass_on_what_was_asked_through_another(served):
    async with served.stream(OTHER_GATEWAY) as stream:
        await stream.ask(served.world.ask())
        assert told(await stream.read(), served.world) == [["QUERY_OTHER_GATEWAY"]]


async def test_a_gateway_that_leaves_the_registry_loses_its_open_stream(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        await stream.read()
        document = served.world.registry.document
        left = tuple(party for party in document.parties if party.id != GATEWAY.uri)
        served.world.registry = Registry(msgspec.structs.replace(document, parties=left), "left")
        await stream.ask(served.world.ask())
        assert await stream.end() is Reason.PEER_UNKNOWN
    assert len(served.desk.register.asked) == 1


# -- calls and streams --------------------------------------------------------------------------------------


async def test_one_part_is_answered_alone_and_owed_like_any_other(served):
    answer = pb.AnswerOneResponse.FromString(
        await served.call("AnswerOne", pb.AnswerOneRequest(ask=served.world.ask()))
    )
    message = pb.AnswerResponse(batch=answer.batch, replies=[pb.Reply(statements=answer.statements)])
    assert told(message, served.world) == [["YES", "YES"]]
    batch = read_signed_batch(answer.batch).digest
    assert served.desk.journal.unacknowledged(GATEWAY.uri) == (batch,)
    async with served.stream() as stream:
        again = await stream.read()
        assert again.recovered
        assert read_signed_batch(again.batch).digest == batch


async def test_a_fault_of_one_part_alone_is_an_error_to_retry(served):
    served.desk.journal._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await served.call("AnswerOne", pb.AnswerOneRequest(ask=served.world.ask()))
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert from_rpc_error(failed.value).reason is Reason.LOG_UNAVAILABLE
    assert from_rpc_error(failed.value).retry_after == 1.0


async def test_asks_of_a_stream_share_signed_batches_and_keep_their_ids(served):
    asks = [served.world.ask(ask_id=number) for number in range(3)]
    async with served.stream() as stream:
        await stream.ask(*asks)
        messages = await stream.read_until(3)
        assert await stream.end() is None
    assert [reply.ask_id for message in messages for reply in message.replies] == [0, 1, 2]
    assert [said for message in messages for said in told(message, served.world)] == [["YES", "YES"]] * 3


async def test_more_asks_than_allowed_in_one_message_or_an_unreadable_one_end_the_stream(served):
    async with served.stream() as stream:
        await stream.ask(*(pb.Ask(ask_id=number) for number in range(257)))
        assert await stream.end() is Reason.MESSAGE_MALFORMED
    async with served.stream() as stream:
        await stream.call.write(b"\xff\xff")
        assert await stream.end() is Reason.MESSAGE_MALFORMED
    assert served.desk.register.asked == []


async def test_a_thousand_asks_flow_through_a_bounded_queue(served):
    async with served.stream() as stream:
        asks = [pb.Ask(ask_id=number) for number in range(1000)]
        sending = asyncio.create_task(asyncio.wait_for(send(stream, asks), 20))
        messages = await stream.read_until(1000)
        await sending
    assert sorted(reply.ask_id for message in messages for reply in message.replies) == list(range(1000))
    assert all(len(message.replies) <= 256 for message in messages)


async def send(stream, asks):
    for start in range(0, len(asks), 100):
        await stream.ask(*asks[start : start + 100])


async def test_a_gateway_that_does_not_read_holds_up_no_other(served):
    consent = served.world.consent(gateway=OTHER_GATEWAY)
    async with served.stream() as stalled, served.stream(OTHER_GATEWAY) as other:
        flood = asyncio.create_task(send(stalled, [pb.Ask(ask_id=number) for number in range(5000)]))
        await until(lambda: served.desk.journal.debt(GATEWAY.uri).statements >= 256, served.desk.thread)
        await other.ask(served.world.ask(consent, gateway=OTHER_GATEWAY.uri))
        assert told(await other.read(), served.world) == [["YES", "YES"]]
        flood.cancel()
        stalled.call.cancel()


async def test_a_slow_status_list_holds_up_only_its_own_batch(served):
    slow = served.world.consent()
    release = asyncio.Event()
    standing = served.desk.standings.require_standing

    async def require_standing(grant):
        if grant.digest == slow.digest:
            await release.wait()
        await standing(grant)

    served.desk.standings.require_standing = require_standing
    served.desk.standings.at_hand = False
    async with served.stream() as stream:
        await stream.ask(served.world.ask(slow, ask_id=1))
        await asyncio.sleep(0.01)
        await stream.ask(served.world.ask(ask_id=2))
        first = await stream.read()
        assert [reply.ask_id for reply in first.replies] == [2]
        release.set()
        second = await stream.read()
    assert told(second, served.world) == [["YES", "YES"]]


async def test_the_node_describes_itself(served):
    description = pb.DescribeResponse.FromString(await served.call("Describe", pb.DescribeRequest()))
    assert description.department == POLICE.uri
    assert REGISTERED in description.claims
    assert list(description.regions) == ["4301"]
    assert description.snapshot_date == "2027-01-01"
    assert description.clock_time.seconds == int(served.world.now)
    assert description.registry_version == 7


# -- what is owed -------------------------------------------------------------------------------------------


async def test_what_was_not_acknowledged_is_sent_again_when_the_gateway_comes_back(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask(ask_id=5))
        (first,) = await stream.read_until(1)
        await stream.ask(served.world.ask(ask_id=6))
        (second,) = await stream.read_until(1)
        batch = read_signed_batch(first.batch).digest
        await stream.acknowledge(served.world.acknowledgement(batch, 2))
        await until(lambda: len(served.desk.journal.unacknowledged(GATEWAY.uri)) == 1, served.desk.thread)
    async with served.stream() as stream:
        await stream.ask(served.world.ask(ask_id=7))
        again, fresh = await stream.read(), await stream.read()
    assert again.recovered
    assert again.batch == second.batch
    assert [proof.statement for proof in again.replies[0].statements] == [
        proof.statement for proof in second.replies[0].statements
    ]
    assert not fresh.recovered
    assert fresh.replies[0].ask_id == 7


async def test_an_answer_whose_gateway_vanished_is_owed(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        await until(lambda: served.desk.register.asked)
        stream.call.cancel()
    await until(lambda: served.desk.journal.unacknowledged(GATEWAY.uri), served.desk.thread)
    async with served.stream() as stream:
        assert (await stream.read()).recovered


async def test_asks_of_a_vanished_gateway_are_dropped_before_their_turn(served):
    served.working.cancel()
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        await until(lambda: served.worker._queue.qsize() == 1)
        stream.call.cancel()
        await until(lambda: not served.node._streams)
    served.working = asyncio.create_task(served.worker.run())
    await served.worker.drain()
    assert served.desk.register.asked == []


async def test_an_acknowledgement_that_cannot_be_journalled_settles_nothing_and_the_stream_goes_on(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        batch = read_signed_batch((await stream.read()).batch).digest
        served.desk.journal._connection.execute("PRAGMA query_only = ON")
        await stream.acknowledge(served.world.acknowledgement(batch, 2))
        await stream.ask(served.world.ask())
        assert told(await stream.read(), served.world) == [["log_unavailable"]]
        served.desk.journal._connection.execute("PRAGMA query_only = OFF")
        assert await stream.end() is None
    assert served.desk.journal.unacknowledged(GATEWAY.uri) == (batch,)


async def test_a_gateway_that_owes_is_told_to_come_back(served):
    await served.call("AnswerOne", pb.AnswerOneRequest(ask=served.world.ask()))
    served.world.now += 86_401
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call("AnswerOne", pb.AnswerOneRequest(ask=served.world.ask()))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert from_rpc_error(refused.value).reason is Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS


async def test_what_another_open_stream_has_just_been_sent_is_not_sent_twice(served):
    async with served.stream() as first:
        await first.ask(served.world.ask())
        await first.read()
        async with served.stream() as second:
            await second.ask(served.world.ask(ask_id=9))
            assert not (await second.read()).recovered


async def test_a_gateway_learns_nothing_of_what_another_owes(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        await stream.read()
    async with served.stream(OTHER_GATEWAY) as stream:
        await stream.ask(pb.Ask(ask_id=3))
        assert not (await stream.read()).recovered


async def test_an_acknowledgement_with_a_foreign_checkpoint_ends_the_stream_and_settles_nothing(served):
    async with served.stream() as stream:
        await stream.ask(served.world.ask())
        batch = read_signed_batch((await stream.read()).batch).digest
        stranger = SigningKey("log-1", ed25519.Ed25519PrivateKey.generate())
        await stream.acknowledge(served.world.acknowledgement(batch, 2, signer=stranger))
        assert await stream.end() is Reason.KEY_UNKNOWN
    assert served.desk.journal.unacknowledged(GATEWAY.uri) == (batch,)


async def test_an_acknowledgement_of_a_batch_that_never_was_is_passed_over(served):
    async with served.stream() as stream:
        await stream.acknowledge(served.world.acknowledgement(b"?" * 32, 1))
        await stream.ask(served.world.ask())
        assert told(await stream.read(), served.world) == [["YES", "YES"]]
        assert await stream.end() is None


async def test_a_stopping_node_answers_what_was_asked_and_takes_nothing_new(served):
    async with served.stream() as stream:
        await stream.ask(*(served.world.ask(ask_id=number) for number in range(3)))
        await until(lambda: served.desk.register.asked)
        await served.node.stop()
        assert len(await stream.read_until(3)) >= 1
        assert await stream.end() is None
    late = served.call("AnswerOne", pb.AnswerOneRequest(ask=served.world.ask()))
    assert await refusal_of(late) is Reason.SHUTTING_DOWN


# -- the process --------------------------------------------------------------------------------------------


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def place(tmp_path):
    """The folder of a node in a federation that an operator set up, and its settings."""
    now = time.time()
    operator = OperatorDesk.create(tmp_path / "operator", "test", now)
    name = LocalName("某方", "someone")
    terms = DepartmentTerms(DepartmentKind.POLICE, (Coverage((REGISTERED,), ("4301",)),), (), ())
    node, gateway = (PartyFolder(tmp_path / "parties" / party.name) for party in (POLICE, GATEWAY))
    operator.enrol(Party(POLICE.uri, name, department=terms), node, now)
    operator.enrol(Party(GATEWAY.uri, name, gateway=GatewayTerms((), "log.example")), gateway, now)
    operator.sign(now)
    config = NodeConfig(
        spiffe_id=POLICE.uri,
        tls=node.tls,
        registry=RegistryFiles(
            source=operator.registry_file, operator_vkey=operator.vkey, seen=node.path / "registry.seen"
        ),
        register_file=node.path / "register.db",
        journal=node.path / "journal.db",
        answer_keys=node.keys,
        sealing_keys=node.sealing,
        secret=node.path / "secret",
    )
    return config, gateway


@asynccontextmanager
async def running(config, clock):
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    register = FakeRegister()
    process = asyncio.create_task(
        serve(config, stop, open_register=lambda _: register, clock=clock, on_ready=ready.set_result)
    )
    done, _ = await asyncio.wait({process, ready}, return_when=asyncio.FIRST_COMPLETED)
    if process in done:
        process.result()
    yield ready.result(), register
    stop.set()
    await asyncio.wait_for(process, 10)


async def test_the_process_serves_reports_its_health_and_destroys_ended_sealing_keys(place):
    config, gateway = place
    clock = Clock(time.time())
    async with running(config, clock) as (ports, register):
        channel = open_channel(f"127.0.0.1:{ports.grpc}", POLICE, watch_tls(gateway.tls), CLIENT_OPTIONS)
        health = health_pb2_grpc.HealthStub(channel)

        async def status() -> int:
            return (await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))).status

        async def becomes(wanted) -> None:
            async with asyncio.timeout(10):
                while await status() != wanted:  # noqa: ASYNC110 - asked over the wire
                    await asyncio.sleep(0.1)

        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        assert await status() == serving
        register.fault = RuntimeError("unplugged")
        await becomes(not_serving)
        register.fault = None
        await becomes(serving)
        assert len(list(config.sealing_keys.glob("*.key"))) == 1
        clock.now += 15 * 86_400
        await until(lambda: list(config.sealing_keys.glob("*.key")) == [])
        assert await status() == serving
        clock.now += 30 * 86_400
        await becomes(not_serving)
        await channel.close()


async def test_a_node_does_not_start_without_the_secret_of_its_journal(place):
    config, _ = place
    async with running(config, time.time):
        pass
    config.secret.unlink()
    with pytest.raises(MalformedError, match="was kept under it"):
        async with running(config, time.time):
            pass


@pytest.mark.parametrize("secret", [b"c2hvcnQ\n", b"not base64url!\n", b"\xff\xfe", b""])
async def test_a_secret_of_another_form_is_refused_by_its_file(place, secret):
    config, _ = place
    write_private(config.secret, secret)
    with pytest.raises(MalformedError, match="32 bytes") as refused:
        async with running(config, time.time):
            pass
    assert refused.value.reason is Reason.CONFIGURATION_INVALID
    assert refused.value.violations[0].field == str(config.secret)


async def test_a_part_that_will_not_stop_keeps_none_of_the_others_open(place, monkeypatch):
    config, _ = place
    process = NodeProcess(config, register=FakeRegister(), clock=time.time)
    ports = await process.start()

    def breaking(step):
        async def breaks():
            await step()
            raise OSError("in the way")

        return breaks

    for part, step in ((process._health, "enter_graceful_shutdown"), (process._probes, "stop")):
        monkeypatch.setattr(part, step, breaking(getattr(part, step)))
    with pytest.raises(OSError, match="in the way"):
        await process.stop()
    assert all(task.done() for task in process._tasks)
    with pytest.raises(OSError, match=str(ports.grpc)):
        await asyncio.open_connection("127.0.0.1", ports.grpc)
    with pytest.raises(LogUnavailableError):
        process._journal.probe()


async def test_only_a_department_runs_a_node(place):
    config, _ = place
    with pytest.raises(MalformedError, match="spiffe_id") as refused:
        async with running(config.model_copy(update={"spiffe_id": GATEWAY.uri}), time.time):
            pass
    assert refused.value.reason is Reason.CONFIGURATION_INVALID
