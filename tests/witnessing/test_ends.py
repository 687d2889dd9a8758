"""Witnesses of a log that ends: its final checkpoint is cosigned once, and receipts over the end need both logs'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.protocol.errors import HeyanError
from gateway.protocol.note import SignerKey, VerifierKey
from gateway.protocol.policy import parse_policy
from gateway.protocol.receipt import verify_receipt
from gateway.static_log.publishing_logs import LogsPublisher
from gateway.stores.records import Head
from gateway.witnessing.heads import Witnessing
from gateway.witnessing.link import LogIdentity
from gateway.witnessing.policy_file import watch_policy
from gateway.witnessing.rounds import Times
from gateway.witnessing.traffic import WitnessTraffic
from gateway.witnessing.witnesses import KEPT_FILE, Witnesses
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import receipt_pb2
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import PEER, Gateway
from tests.gateway.deferrals import deferrable
from tests.gateway.shards import NEXT, goes_on
from tests.witnessing.asked import Asked, FakeTransport


class Logs:
    """All logs of a gateway, among two witnesses that know them all."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self.asked = Asked(folder, 2, gateway.log, keys=self.keys(fed.LOG_ORIGIN))
        self.asked.clock.now = gateway.clock.now
        for witness in self.asked.witnesses.values():
            witness.honest.logs[NEXT] = self.keys(NEXT)
        lines = self.asked.policy_file.read_text().splitlines()
        # One key of two logs may not stand twice in a policy: it is known from elsewhere, here from the registry.
        self.asked.policy_file.write_text("".join(f"{line}\n" for line in lines if not line.startswith("log ")))
        self.contradictions: list[HeyanError] = []
        self.witnesses = self.opened()

    def keys(self, origin: str) -> list[VerifierKey]:
        key = self.gateway.federation.signing_keys[fed.GATEWAY].private
        return [SignerKey.from_seed(origin, key.private_bytes_raw()).verifier]  # type: ignore[union-attr]

    def opened(self) -> Witnesses:
        """As after a start."""
        policy = watch_policy(self.asked.policy_file)
        times = Times(clock=self.asked.clock, steady=self.asked.steady, interval=1.0, patience=30.0, alarm=300.0)

        def make(shard: Head) -> Witnessing:
            return Witnessing(
                tree=self.gateway.log.of(shard.origin),
                log=LogIdentity(shard.origin, lambda: self.keys(shard.origin)),
                policy=policy,
                transport=FakeTransport(self.asked.witnesses),
                file=self.folder / KEPT_FILE.format(shard.number),
                times=times,
                traffic=WitnessTraffic(CollectorRegistry()),
                on_contradiction=self.contradictions.append,
            )

        gateway = self.gateway
        made = Witnesses(log=gateway.log, store=gateway.store, watchers=gateway.watchers, make=make)
        made.load()
        return made

    async def tick(self, seconds: float = 1.0) -> None:
        self.asked.clock.now += seconds
        self.asked.steady.now += seconds
        await self.witnesses.run_once()
        for witnessing in self.witnesses._logs.values():
            await witnessing.settle()

    async def get(self, request_id: bytes) -> Any:
        """A receipt under witnessed checkpoints, verified."""
        receipt: receipt_pb2.Receipt = self.gateway.pipeline.get(request_id, PEER)
        request = pb.GetVerificationRequest(request_id=request_id)
        request.witness_wait.FromMilliseconds(10)
        await self.witnesses.bring_under(receipt, request, PEER, None)
        receipt.registry = self.gateway.federation.registry.token
        policy = parse_policy(self.asked.policy_file.read_bytes())
        return verify_receipt(receipt, self.gateway.federation.operator.public_key(), policy=policy)

    def close(self) -> None:
        self.asked.close()


async def test_receipt_over_the_end_of_a_log_is_witnessed_if_both_its_trees_are(
    gateway: Gateway, land: FakeDepartment, tmp_path: Path
) -> None:
    (tmp_path / "witnesses").mkdir()
    logs = Logs(gateway, tmp_path / "witnesses")
    verified = await gateway.verify(deferrable(gateway))
    await logs.tick()
    goes_on(gateway, tmp_path)
    land.failure = None
    await gateway.tick()
    request_id = verified.query.request_id
    half = await logs.get(request_id)  # the old log's tree was cosigned before, the next one's not yet
    assert not half.witnessed
    assert half.cosigned == ()
    await logs.tick()
    whole = await logs.get(request_id)
    assert [checkpoint.origin for checkpoint in whole.checkpoints] == [fed.LOG_ORIGIN, NEXT]
    assert whole.witnessed
    assert sorted(each.witness.name for each in whole.cosigned) == ["w1", "w2"]
    assert logs.contradictions == []
    logs.close()


async def test_final_checkpoint_is_cosigned_once_and_published_so(gateway: Gateway, tmp_path: Path) -> None:
    folder = tmp_path / "witnesses"
    folder.mkdir()
    logs = Logs(gateway, folder)
    await gateway.verify(gateway.submission())
    publisher = LogsPublisher(
        store=gateway.store,
        published=tmp_path / "published",
        origin=fed.LOG_ORIGIN,
        head=logs.witnesses.head,
        clock=logs.asked.clock,
    )
    publisher.resume()
    for witness in logs.asked.witnesses.values():
        witness.is_down = True
    await logs.tick()
    frozen = goes_on(gateway, tmp_path)
    publisher.publish()
    for witness in logs.asked.witnesses.values():
        witness.is_down = False
    for _ in range(30):
        await logs.tick()
        publisher.publish()
    policy = parse_policy(logs.asked.policy_file.read_bytes())
    for number, origin in enumerate((fed.LOG_ORIGIN, NEXT)):
        note = (tmp_path / "published" / str(number) / "checkpoint").read_bytes()
        assert note.startswith(f"{origin}\n".encode())
        assert policy.judge(note).is_witnessed
    assert (tmp_path / "published/0/checkpoint").read_text().startswith(frozen.ended.checkpoint)
    before = len(logs.asked.witnesses["w1"].asked)
    for _ in range(3):
        await logs.tick(100.0)  # the log that grows is cosigned again, the one that ended is not
    assert len(logs.asked.witnesses["w1"].asked) == before + 3
    again = logs.opened()
    ended = again.head(fed.LOG_ORIGIN)
    assert ended is not None
    assert ended.ended
    assert policy.judge(ended.checkpoint.encode()).is_witnessed
    logs.close()
