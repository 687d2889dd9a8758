"""The witnesses of one gateway: what it publishes, and receipts under checkpoints that they cosigned.

Wires `gateway.witnessing` to the gateway's settings and log; without a policy in the settings nobody is asked, what is
published is the newest head, and whoever wants to wait for witnesses is told at once what there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.deadlines import DEADLINE_MARGIN
from gateway.log import Log
from gateway.party.process import Clock, repeat
from gateway.policy_file import watch_policy
from gateway.protocol.errors import HeyanError, MalformedError
from gateway.protocol.identities import Identity
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.proof import parse_proof
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.protocol.registry import Registry
from gateway.stores.port import Head, Store
from gateway.watching import LONGEST_WATCH, Watchers
from gateway.witness_link import HttpTransport, LogIdentity
from gateway.witness_traffic import WitnessTraffic
from gateway.witnessing import Times, Witnessing
from heyan.v1 import gateway_service_pb2, receipt_pb2

STEP_SECONDS = 0.2
"""Between looks for a new head or a new policy: a few microseconds each."""


class Witnesses:
    """Everything on one event loop, but for `head`, which any thread may call."""

    def __init__(
        self,
        *,
        log: Log,
        store: Store,
        watchers: Watchers,
        witnessing: Witnessing | None = None,
        transport: HttpTransport | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._watchers = watchers
        self._witnessing = witnessing
        self._transport = transport
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(
        cls,
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
        """As the settings say; MalformedError (CONFIGURATION_INVALID) for a policy that cannot be read."""
        if config.witness_policy is None:
            return cls(log=log, store=store, watchers=watchers)
        transport = HttpTransport()
        witnessing = Witnessing(
            tree=log,
            log=LogIdentity(log.origin, lambda: proof_verifiers(registry(), config.spiffe_id, log.origin, 0.0)),
            policy=watch_policy(config.witness_policy),
            transport=transport,
            folder=config.store.parent,
            times=Times(
                clock=clock,
                steady=time.monotonic,
                interval=config.witness_interval,
                patience=config.witness_patience,
                alarm=config.witness_max_age,
            ),
            traffic=WitnessTraffic(metrics),
            on_contradiction=on_contradiction,
        )
        return cls(log=log, store=store, watchers=watchers, witnessing=witnessing, transport=transport)

    def head(self) -> Head | None:
        """The head to publish (`Witnessing.served`); None in a new store."""
        newest = self._store.head()
        return newest if newest is None or self._witnessing is None else self._witnessing.served()

    def load(self) -> None:
        """Take up what was witnessed before, and hold the log against it: before it signs anything."""
        if self._witnessing is not None:
            self._witnessing.load(self._store.head())

    def start(self) -> None:
        """Have heads cosigned from now on."""
        if self._witnessing is not None:
            self._task = asyncio.create_task(repeat(STEP_SECONDS, self._witnessing.run_once, "have heads cosigned"))

    async def stop(self) -> None:
        """Ask nobody any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._witnessing is not None:
            await self._witnessing.stop()
        if self._transport is not None:
            await self._transport.close()

    async def bring_under(
        self,
        receipt: receipt_pb2.Receipt,
        request: gateway_service_pb2.GetVerificationRequest,
        peer: Identity,
        time_left: float | None,
    ) -> None:
        """Prove all leaves of a receipt under one checkpoint that a quorum cosigned, waiting as the request says.

        If none covers them in time, under the newest, with what cosignatures it has. MalformedError for a time that is
        none, OverloadedError if the peer has too many waiting, UnreachableError when draining.
        """
        wait = request.witness_wait
        seconds = wait.seconds + wait.nanos / 1e9
        if seconds < 0:
            raise MalformedError.at("witness_wait", "must not be negative")
        if time_left is not None:
            seconds = min(seconds, time_left - DEADLINE_MARGIN)
        proofs = list(leaf_proofs(receipt))
        indexes = [parse_proof(item.proof.encode()).index for item in proofs]
        head = await self._covering(1 + max(indexes), min(seconds, LONGEST_WATCH), peer)
        for item, index in zip(proofs, indexes, strict=True):
            item.proof = self._log.prove(index, head)

    async def _covering(self, size: int, seconds: float, peer: Identity) -> Head:
        """The newest witnessed head of so many leaves, or the newest head."""
        if self._witnessing is None:
            return self._log.head()
        with self._watchers.place(peer):
            head = await self._witnessing.covering(size, seconds)
        return head if head is not None else self._witnessing.dressed(self._log.head())
