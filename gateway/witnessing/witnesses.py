"""The witnesses of one gateway: what it publishes, and receipts under checkpoints that they cosigned.

Wires `heads` to the gateway's settings and logs; without a policy in the settings nobody is asked, what is
published is the newest head, and whoever wants to wait for witnesses is told at once what there is. Each log of the
store is witnessed by itself: the one that grows for ever, one that ended until a quorum has cosigned its final head.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.deadlines import DEADLINE_MARGIN
from gateway.log import Log
from gateway.party.keyfiles import Watched
from gateway.party.process import Clock, repeat
from gateway.protocol.checkpoint import origin_of
from gateway.protocol.errors import HeyanError, MalformedError
from gateway.protocol.identities import Identity
from gateway.protocol.log_keys import UNKNOWN_TIME, proof_verifiers
from gateway.protocol.policy import Policy
from gateway.protocol.proof import InclusionProof, parse_proof
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.protocol.registry import Registry
from gateway.stores.port import Store
from gateway.stores.records import Head
from gateway.watching import LONGEST_WATCH, Watchers
from gateway.witnessing.heads import Witnessing
from gateway.witnessing.link import HttpTransport, LogIdentity
from gateway.witnessing.policy_file import watch_policy
from gateway.witnessing.rounds import Times
from gateway.witnessing.traffic import WitnessTraffic
from heyan.v1 import gateway_service_pb2, receipt_pb2

STEP_SECONDS = 0.2
"""Between looks for a new head or a new policy: a few microseconds each."""
KEPT_FILE = "witnessed-{}.checkpoint"
"""The newest witnessed head of each log by its number, beside the store."""

MakeWitnessing = Callable[[Head], Witnessing]
"""Makes the witnessing of the log of a head."""


class Witnesses:
    """Everything on one event loop, but for `head`, which any thread may call."""

    def __init__(
        self,
        *,
        log: Log,
        store: Store,
        watchers: Watchers,
        make: MakeWitnessing | None = None,
        transport: HttpTransport | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._watchers = watchers
        self._make = make
        self._transport = transport
        self._logs: Mapping[str, Witnessing] = {}
        self._task: asyncio.Task[None] | None = None
        self._leads: Callable[[], bool] = lambda: True

    def head(self, origin: str) -> Head | None:
        """The head to publish of a log (`Witnessing.served`); None for its newest."""
        witnessing = self._logs.get(origin)
        return witnessing.served() if witnessing is not None else None

    def load(self) -> None:
        """Take up what was witnessed before, and hold the logs against it: before they sign anything."""
        if self._make is None:
            return
        for shard in self._store.shards() or [Head(0, b"", "", self._log.origin)]:
            if shard.origin not in self._logs:
                witnessing = self._make(shard)
                witnessing.load(partial(self._newest, shard.number))
                self._logs = {**self._logs, shard.origin: witnessing}  # another thread may look meanwhile

    def _newest(self, number: int) -> Head | None:
        """The newest head of a log, by its number; None before its first leaf."""
        return next((head for head in self._store.shards() if head.number == number and head.size), None)

    def start(self, leads: Callable[[], bool] = lambda: True) -> None:
        """Have heads cosigned from now on; as long as not `leads()`, follow the process that has."""
        self._leads = leads
        if self._make is not None:
            self._task = asyncio.create_task(repeat(STEP_SECONDS, self.run_once, "have heads cosigned"))

    async def run_once(self) -> None:
        """What an instant brings, of every log that a quorum has not cosigned to its end."""
        newest = self._store.head()
        if newest is not None and newest.origin not in self._logs:
            self.load()
        for number, witnessing in enumerate(self._logs.values()):
            if not self._leads():
                witnessing.follow(partial(self._newest, number))
            elif not witnessing.is_done:
                await witnessing.run_once()

    async def stop(self) -> None:
        """Ask nobody any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for witnessing in self._logs.values():
            await witnessing.stop()
        if self._transport is not None:
            await self._transport.close()

    async def bring_under(
        self,
        receipt: receipt_pb2.Receipt,
        request: gateway_service_pb2.GetVerificationRequest,
        peer: Identity,
        time_left: float | None,
    ) -> None:
        """Prove all leaves of a receipt, those of each log under one checkpoint that a quorum cosigned.

        Waits for that as the request says. If none covers them in time, the newest, with what cosignatures it has.
        MalformedError for a time that is none, OverloadedError if the peer has too many waiting, UnreachableError when
        draining.
        """
        wait = request.witness_wait
        seconds = wait.seconds + wait.nanos / 1e9
        if seconds < 0:
            raise MalformedError.at("witness_wait", "must not be negative")
        if time_left is not None:
            seconds = min(seconds, time_left - DEADLINE_MARGIN)
        items = [(item, parse_proof(item.proof.encode())) for item in leaf_proofs(receipt)]
        sizes: dict[str, int] = {}
        for _, proof in items:
            origin = origin_of(proof.checkpoint)
            sizes[origin] = max(sizes.get(origin, 0), proof.index + 1)
        heads = await self._covering(sizes, min(seconds, LONGEST_WATCH), peer)
        for item, proof in items:
            origin = origin_of(proof.checkpoint)
            head = heads[origin]
            path = self._log.inclusion(proof.index, head.size, origin)
            item.proof = InclusionProof(proof.index, path, head.checkpoint).format()

    async def _covering(self, sizes: Mapping[str, int], seconds: float, peer: Identity) -> Mapping[str, Head]:
        """Of each log the newest witnessed head of so many leaves, or the newest head."""
        if not self._logs:
            return {origin: self._log.head(origin) for origin in sizes}
        until, heads = time.monotonic() + seconds, dict[str, Head]()
        with self._watchers.place(peer):
            for origin, size in sizes.items():
                witnessing = self._logs.get(origin)
                head = await witnessing.covering(size, until - time.monotonic()) if witnessing is not None else None
                newest = self._log.head(origin)
                heads[origin] = head or (witnessing.dressed(newest) if witnessing is not None else newest)
        return heads


def witnesses_of(
    config: GatewayConfig,
    *,
    log: Log,
    store: Store,
    watchers: Watchers,
    registry: Callable[[], Registry],
    clock: Clock,
    metrics: CollectorRegistry,
    on_contradiction: Callable[[HeyanError], None],
) -> Witnesses:
    """The witnesses that settings name; MalformedError (CONFIGURATION_INVALID) for a policy that cannot be read."""
    if config.witness_policy is None:
        return Witnesses(log=log, store=store, watchers=watchers)
    policy: Watched[Policy] = watch_policy(config.witness_policy)
    traffic, transport = WitnessTraffic(metrics), HttpTransport()
    times = Times(
        clock=clock,
        steady=time.monotonic,
        interval=config.witness_interval,
        patience=config.witness_patience,
        alarm=config.witness_max_age,
    )

    def make(shard: Head) -> Witnessing:
        origin = shard.origin
        return Witnessing(
            tree=log.of(origin),
            log=LogIdentity(origin, lambda: proof_verifiers(registry(), config.spiffe_id, origin, UNKNOWN_TIME)),
            policy=policy,
            transport=transport,
            file=config.store.with_name(KEPT_FILE.format(shard.number)),
            times=times,
            traffic=traffic,
            on_contradiction=on_contradiction,
        )

    return Witnesses(log=log, store=store, watchers=watchers, make=make, transport=transport)
