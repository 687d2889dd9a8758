"""Receipts under checkpoints of witnesses: all leaves under one, waited for as asked, and never claimed without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.client import Client
from gateway.party.keyfiles import write_private
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError, OverloadedError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.note import SignerKey, sign_note
from gateway.protocol.outcomes import Outcome
from gateway.protocol.policy import Policy, parse_policy
from gateway.protocol.proof import parse_proof
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.receipt_file import receipt_to_json
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.services import GatewayMethods
from gateway.stores.records import Head
from gateway.witnessed_client import WitnessedClient
from gateway.witnessing.witnesses import Witnesses
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import receipt_pb2
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import PEER, Gateway
from tests.gateway.deferrals import deferrable
from tests.gateway.disputing import answered
from tests.gateway.offline_desk import OfflineDesk
from tests.gateway.shards import NEXT, goes_on
from tests.gateway.test_client import client_of
from tests.witness.signed_log import ORIGIN
from tests.witnessing.asked import Asked

LONG = 3_600.0


class Context:
    """A call with so much time left."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds

    def time_remaining(self) -> float | None:
        return self._seconds


class Served:
    """A gateway whose log is witnessed; `tick` lets the witnesses do their part."""

    def __init__(self, gateway: Gateway, asked: Asked) -> None:
        self.gateway = gateway
        self.asked = asked
        self.witnesses = Witnesses(
            log=gateway.log, store=gateway.store, watchers=gateway.watchers, make=lambda _: asked.witnessing
        )
        self.witnesses.load()
        nothing: Any = None
        self.methods = GatewayMethods(
            pipeline=gateway.pipeline,
            events=gateway.events,
            registry=lambda: gateway.federation.registry,
            rulebook=nothing,
            applications=gateway.pipeline._applications,
            admission=gateway.admission,
            clock=gateway.clock,
            watch=gateway.watchers.watch,
            on_withdrawal=gateway.deferral.withdrawn,
            disputes=gateway.disputes,
            bring_under=self.witnesses.bring_under,
        )

    @property
    def policy(self) -> Policy:
        return parse_policy(self.asked.policy_file.read_bytes())

    async def get(
        self, request_id: bytes, wait: float = 0.01, peer: str = fed.REQUESTER, left: float | None = None
    ) -> receipt_pb2.Receipt:
        request = pb.GetVerificationRequest(request_id=request_id)
        request.witness_wait.FromNanoseconds(int(wait * 1e9))
        context: Any = Context(left)
        data = await self.methods.get_verification(request.SerializeToString(), parse_identity(peer), context)
        return pb.GetVerificationResponse.FromString(data).receipt

    def check(self, receipt: receipt_pb2.Receipt) -> VerifiedReceipt:
        receipt.registry = self.gateway.federation.registry.token
        return verify_receipt(receipt, self.gateway.federation.operator.public_key(), policy=self.policy)


@asynccontextmanager
async def served_by(gateway: Gateway, folder: Path, count: int = 2, **settings: Any) -> AsyncIterator[Served]:
    folder.mkdir()  # noqa: ASYNC240 - once, in a test's own folder
    key = SignerKey.from_seed(
        ORIGIN,
        gateway.federation.signing_keys[fed.GATEWAY].private.private_bytes_raw(),  # type: ignore[union-attr]
    )
    asked = Asked(folder, count, gateway.log, keys=[key.verifier], **settings)
    asked.clock.now = gateway.clock.now
    yield Served(gateway, asked)
    await asked.witnessing.stop()
    asked.close()


@pytest.fixture
async def served(gateway: Gateway, tmp_path: Path) -> AsyncIterator[Served]:
    async with served_by(gateway, tmp_path / "witnesses") as made:
        yield made


def notes(receipt: receipt_pb2.Receipt) -> set[str]:
    return {parse_proof(item.proof.encode()).checkpoint for item in leaf_proofs(receipt)}


async def test_receipt_comes_under_a_witnessed_checkpoint_that_says_who_and_when(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    checked = served.check(await served.get(verified.query.request_id))
    assert checked.witnessed
    assert {(each.witness.name, each.time) for each in checked.cosigned} == {
        ("w1", int(served.asked.clock.now)),
        ("w2", int(served.asked.clock.now)),
    }
    assert checked.answers == verified.answers


async def test_leaves_of_answers_disputes_and_tickets_are_proven_under_the_one_checkpoint(served: Served) -> None:
    asked = await answered(served.gateway)
    await asked.resolved()
    desk = OfflineDesk(served.gateway)
    request_id, _ = await desk.asked(Outcome.UNDETERMINED)
    await desk.open(request_id)
    await served.asked.tick()
    await served.gateway.verify(served.gateway.submission())  # the log goes on: the witnessed tree is not the newest
    for wanted, leaves in ((asked.request_id, 3), (request_id, 2)):
        receipt = await served.get(wanted)
        assert len(list(leaf_proofs(receipt))) == leaves
        assert notes(receipt) == {served.asked.witnessing.witnessed().checkpoint}  # type: ignore[union-attr]
        assert served.check(receipt).witnessed


async def test_caller_waits_until_a_witnessed_tree_holds_all_leaves(served: Served) -> None:
    await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()  # a witnessed tree, too small for what comes now
    verified = await served.gateway.verify(served.gateway.submission())
    waiting = asyncio.create_task(served.get(verified.query.request_id, LONG))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await served.asked.tick()
    checked = served.check(await waiting)
    assert checked.witnessed
    assert checked.checkpoint.size == 2


async def test_who_does_not_ask_for_witnesses_gets_the_newest_checkpoint_at_once(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    context: Any = Context()
    data = await served.methods.get_verification(
        pb.GetVerificationRequest(request_id=verified.query.request_id).SerializeToString(), PEER, context
    )
    receipt = pb.GetVerificationResponse.FromString(data).receipt
    assert notes(receipt) == {served.gateway.log.head().checkpoint}
    assert not served.check(receipt).witnessed


async def test_without_a_quorum_in_time_the_newest_comes_with_what_cosignatures_it_has(served: Served) -> None:
    served.asked.witnesses["w2"].is_down = True
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    checked = served.check(await served.get(verified.query.request_id))
    assert not checked.witnessed
    assert [each.witness.name for each in checked.cosigned] == ["w1"]


async def test_all_witnesses_away_hold_up_no_answer(served: Served) -> None:
    for witness in served.asked.witnesses.values():
        witness.is_down = True
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    checked = served.check(await served.get(verified.query.request_id))
    assert not checked.witnessed
    assert checked.answers == verified.answers


async def test_slow_witnesses_hold_up_no_answer(served: Served) -> None:
    gate = asyncio.Event()
    for witness in served.asked.witnesses.values():
        witness.gate = gate
    await served.gateway.verify(served.gateway.submission())
    served.asked.steady.now += 1
    await served.asked.witnessing.run_once()
    async with asyncio.timeout(10):
        await served.gateway.verify(served.gateway.submission())
        await served.asked.until_asked("w1", 1)
    gate.set()


async def test_gateway_without_a_policy_answers_at_once_under_its_newest_checkpoint(gateway: Gateway) -> None:
    verified = await gateway.verify(gateway.submission())
    witnesses = Witnesses(log=gateway.log, store=gateway.store, watchers=gateway.watchers)
    receipt = gateway.pipeline.get(verified.query.request_id, PEER)
    request = pb.GetVerificationRequest(request_id=verified.query.request_id)
    request.witness_wait.FromSeconds(3600)
    async with asyncio.timeout(5):
        await witnesses.bring_under(receipt, request, PEER, None)
    assert gateway.check(receipt).answers == verified.answers
    assert witnesses.head(ORIGIN) is None  # it does not choose


async def test_published_head_is_the_witnessed_one(served: Served) -> None:
    await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    await served.gateway.verify(served.gateway.submission())
    assert served.witnesses.head(ORIGIN) == served.asked.witnessing.witnessed()


async def test_waiting_is_bounded_by_the_calls_deadline_and_by_places(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    for witness in served.asked.witnesses.values():
        witness.is_down = True
    async with asyncio.timeout(5):
        await served.get(verified.query.request_id, LONG, left=0.3)
    tasks = [asyncio.create_task(served.get(verified.query.request_id, LONG)) for _ in range(8)]
    done, waiting = await asyncio.wait(tasks, timeout=0.1)
    assert waiting
    assert all(isinstance(task.exception(), OverloadedError) for task in done)
    assert len(done) == 4  # one requester alone has half of the eight places
    await served.asked.witnessing.stop()
    for task in waiting:
        assert not served.check(await task).witnessed


async def test_draining_gateway_lets_nobody_begin_to_wait(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    served.gateway.watchers.close()
    with pytest.raises(UnreachableError):
        await served.get(verified.query.request_id, LONG)


async def test_another_requesters_request_is_not_waited_for(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    async with asyncio.timeout(5):
        with pytest.raises(NotFoundError):
            await served.get(verified.query.request_id, LONG, fed.OTHER_REQUESTER)


async def test_negative_wait_is_malformed(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    with pytest.raises(MalformedError):
        await served.get(verified.query.request_id, -1.0)


# -- what a receipt claims ----------------------------------------------------------------------------------


async def test_dishonest_gateway_cannot_make_a_receipt_witnessed(served: Served) -> None:
    """Cosignatures of strangers, of other checkpoints, or one witness's twice."""
    served.asked.witnesses["w2"].is_down = True
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    receipt = await served.get(verified.query.request_id)
    (note,) = notes(receipt)
    text = note.partition("\n\n")[0] + "\n"
    one = served.asked.witnesses["w1"].key
    stranger = CosignerKey.from_seed("witness.test/w2", bytes([99]) * 32)

    def line(*signers: Any, over: str = text) -> str:
        return "".join(each + "\n" for each in sign_note(over, signers).splitlines()[-len(signers) :])

    def with_note(changed: str) -> receipt_pb2.Receipt:
        bent = receipt_pb2.Receipt.FromString(receipt.SerializeToString())
        for item in leaf_proofs(bent):
            item.proof = replace(parse_proof(item.proof.encode()), checkpoint=changed).format()
        return bent

    for more in (line(stranger.at(1)), line(one.at(1_800_000_009))):
        checked = served.check(with_note(note + more))
        assert not checked.witnessed
        assert [each.witness.name for each in checked.cosigned] == ["w1"]
    other = f"{ORIGIN}\n9\n{'A' * 43}=\n"
    with pytest.raises(ForgedError) as refusal:
        served.check(with_note(note + line(served.asked.witnesses["w2"].key.at(1), over=other)))
    assert refusal.value.reason is Reason.SIGNATURE_INVALID


async def test_without_a_policy_nothing_is_called_witnessed(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    checked = served.gateway.check(await served.get(verified.query.request_id))
    assert not checked.witnessed
    assert checked.cosigned == ()


# -- the client ---------------------------------------------------------------------------------------------


def witnessed_client(served: Served, before: Callable[[], Any] = lambda: None) -> tuple[WitnessedClient, list[float]]:
    """A client, and for how many seconds each of its calls was ready to wait; `before` happens before each answer."""
    waits: list[float] = []

    async def answer(message: bytes) -> bytes:
        request = pb.GetVerificationRequest.FromString(message)
        waits.append(request.witness_wait.ToTimedelta().total_seconds())
        outcome = before()
        if outcome is not None:
            await outcome
        request.witness_wait.FromMilliseconds(1)
        context: Any = Context()
        return await served.methods.get_verification(request.SerializeToString(), PEER, context)

    plain: Client = client_of(served.gateway, answer)
    client = WitnessedClient(plain._settings, plain._registry, plain._clock, plain._refresh_registry)
    client._connection = plain._connection
    return client, waits


async def test_client_gets_a_witnessed_receipt(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    client, waits = witnessed_client(served)
    result = await client.witnessed(verified.query.request_id, served.policy, 60.0)
    assert result.verified.witnessed
    assert len(waits) == 1
    assert 0 < waits[0] <= 60.0


async def test_client_asks_again_while_there_is_time_and_takes_what_there_is_in_the_end(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    client, waits = witnessed_client(served)
    result = await client.witnessed(verified.query.request_id, served.policy, 0.5)
    assert not result.verified.witnessed
    assert len(waits) == 1
    ticks = iter((None, served.asked.tick))

    def then() -> Any:
        tick = next(ticks)
        return tick() if tick is not None else None

    client, waits = witnessed_client(served, then)
    result = await client.witnessed(verified.query.request_id, served.policy, 30.0)
    assert result.verified.witnessed
    assert len(waits) == 2


async def test_client_counts_by_its_own_policy_not_the_gateways(gateway: Gateway, tmp_path: Path) -> None:
    async with served_by(gateway, tmp_path / "witnesses", quorum="group q any w1 w2") as served:
        served.asked.witnesses["w2"].is_down = True
        verified = await gateway.verify(gateway.submission())
        await served.asked.tick()
        strict = parse_policy(served.asked.policy_file.read_bytes().replace(b" any ", b" all "))
        client, _ = witnessed_client(served)
        assert not (await client.witnessed(verified.query.request_id, strict, 0.1)).verified.witnessed
        assert (await client.witnessed(verified.query.request_id, served.policy, 0.1)).verified.witnessed


async def test_client_rides_out_a_gateway_that_is_not_there_for_a_while(served: Served) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    await served.asked.tick()
    faults = iter((True, True, False))

    def away() -> None:
        if next(faults):
            raise UnreachableError(Reason.SHUTTING_DOWN, retry_after=0.001)

    client, _ = witnessed_client(served, away)
    assert (await client.witnessed(verified.query.request_id, served.policy, 30.0)).verified.witnessed


# -- on the command line ------------------------------------------------------------------------------------


async def test_command_says_who_witnessed_and_ends_as_asked(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verified = await served.gateway.verify(served.gateway.submission())
    bare = await served.get(verified.query.request_id)
    await served.asked.tick()
    witnessed = await served.get(verified.query.request_id)
    for name, receipt in (("bare", bare), ("witnessed", witnessed)):
        receipt.registry = served.gateway.federation.registry.token
        write_private(tmp_path / name, receipt_to_json(receipt).encode())
    policy = str(served.asked.policy_file)

    def check(name: str, *options: str) -> tuple[object, str]:
        vkey = served.gateway.federation.operator_vkey
        with pytest.raises(SystemExit) as ended:
            main(["log", "verify-receipt", str(tmp_path / name), "--operator-vkey", vkey, *options])
        return ended.value.code, capsys.readouterr().out

    code, told = check("witnessed", "--policy", policy, "--require-witnessed", "--extract", str(tmp_path / "leaves"))
    assert code == 0
    assert "\nWITNESSED by w1 2027-01-15T" in told
    assert {file.name for file in (tmp_path / "leaves").iterdir()} == {"leaf-0.bin", "leaf-0.tlog-proof"}
    for file in (tmp_path / "leaves").iterdir():
        assert file.stat().st_mode & 0o077 == 0
    proof = parse_proof((tmp_path / "leaves" / "leaf-0.tlog-proof").read_bytes())
    leaf = (tmp_path / "leaves" / "leaf-0.bin").read_bytes()
    assert proof.verify(leaf, served.asked.keys, ORIGIN).size == 1
    code, told = check("witnessed", "--policy", policy, "--json")
    assert (code, json.loads(told)["witnessed"]) == (0, True)
    assert [each["name"] for each in json.loads(told)["witnesses"]] == ["w1", "w2"]
    assert check("witnessed")[0] == 0
    assert "UNWITNESSED: no policy" in check("witnessed")[1]
    assert check("bare", "--policy", policy)[0] == 0
    code, told = check("bare", "--policy", policy, "--require-witnessed")
    assert code == 1
    assert "UNWITNESSED: cosigned by nobody of the policy" in told
    assert check("bare", "--policy", policy, "--require-witnessed", "--json")[0] == 1
    (tmp_path / "wrong").write_text("quorum of nobody knows what\n")
    assert check("witnessed", "--policy", str(tmp_path / "wrong"))[0] == 2


async def test_query_that_waited_while_the_log_ended_is_shown_in_both_logs_also_to_who_waits_for_witnesses(
    served: Served, land: FakeDepartment, tmp_path: Path
) -> None:
    """Each leaf is proven where it stands, under the checkpoint of its own log."""
    gateway = served.gateway
    verified = await gateway.verify(deferrable(gateway))
    await served.asked.tick()
    goes_on(gateway, tmp_path)
    land.failure = None
    await gateway.tick()
    receipt = await served.get(verified.query.request_id)
    checked = served.check(receipt)
    assert [checkpoint.origin for checkpoint in checked.checkpoints] == [fed.LOG_ORIGIN, NEXT]
    assert checked.answers[2].outcome is Outcome.YES
    after = await gateway.verify(gateway.submission())
    again = served.check(await served.get(after.query.request_id))
    assert (again.checkpoint.origin, again.witnessed) == (NEXT, False), "these witnesses are the ended log's"


async def test_head_that_came_from_a_note_alone_proves_the_leaves_of_its_own_log(
    served: Served, tmp_path: Path
) -> None:
    """As one that was kept over a restart does."""
    gateway = served.gateway
    await gateway.verify(gateway.submission())
    goes_on(gateway, tmp_path)
    verified = await gateway.verify(gateway.submission())
    head = gateway.log.head()
    bare = Head(head.size, head.root, head.checkpoint)
    position = head.end - 1
    assert gateway.log.prove(position, bare) == gateway.log.prove(position, head)
    assert gateway.log.prove(0, bare) == gateway.log.prove(0, head)
    assert verified.checkpoint.origin == NEXT
