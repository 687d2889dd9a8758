"""The evidence of a gateway process: wires retention, erasure and the auditors' desk, and tries the keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Gauge

from gateway.allowance import Allowance
from gateway.config import GatewayConfig
from gateway.disputes import Disputes
from gateway.ending import Endings
from gateway.evidence.desk import EvidenceDesk
from gateway.evidence.erasing import Eraser
from gateway.evidence.retention import EVERY, Retention
from gateway.evidence.vault import Vault
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.party.process import Clock, repeat
from gateway.party.service import Method
from gateway.requests import Requests
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_keeping import SqliteKeeping

KEYS_TRIED_EVERY = 5.0
"""Seconds between two looks whether the key-encryption keys can be used: how long a lost token goes unnoticed."""


class EvidenceKeeping:
    """What keeps evidence, and ends it. `complaints` says why evidence cannot be kept now."""

    def __init__(  # noqa: PLR0913 - what is wired, by keyword
        self,
        *,
        config: GatewayConfig,
        clock: Clock,
        store: SqliteStore,
        log: Log,
        requests: Requests,
        disputes: Disputes,
        stamp: LeafStamp,
        vault: Vault,
        allowance: Allowance,
        clock_complaint: Callable[[], str | None],
        metrics: CollectorRegistry,
    ) -> None:
        self._vault = vault
        self._desk = EvidenceDesk(
            store=store, log=log, requests=requests, disputes=disputes, stamp=stamp, allowance=allowance
        )
        keeping = SqliteKeeping(store)
        eraser = Eraser(
            store=store,
            keeping=keeping,
            log=log,
            requests=requests,
            stamp=stamp,
            endings=Endings(config.identity, clock, requests),
            forget=vault.forget,
        )
        self._retention = Retention(
            store=store,
            keeping=keeping,
            log=log,
            eraser=eraser,
            clock=clock,
            days=config.retention_days,
            complaint=lambda: clock_complaint() or next(iter(self.complaints), None),
        )
        self._tried = asyncio.Event()
        behind = Gauge("heyan_retention_behind_seconds", "Seconds the clock is ahead of retention", registry=metrics)
        behind.set_function(lambda: self._retention.behind)
        unreadable = Gauge("heyan_retention_unreadable", "Grants overdue whose keys do not open", registry=metrics)
        unreadable.set_function(lambda: self._retention.unreadable)
        self.complaints: list[str] = []

    def methods(self) -> Sequence[Method]:
        """The methods of `heyan.v1.LogService` that are of evidence."""
        return self._desk.methods()

    def start(self) -> list[asyncio.Task[None]]:
        """Begin what recurs in every process; the caller cancels it."""
        return [
            asyncio.create_task(repeat(KEYS_TRIED_EVERY, self._try_keys, "try the key-encryption keys")),
            asyncio.create_task(repeat(1.0, self._sweep, "forget evidence keys")),
        ]

    def start_retention(self) -> asyncio.Task[None]:
        """Begin to end evidence, which one process does for all; the caller cancels it."""
        return asyncio.create_task(repeat(EVERY, self._retain, "destroy what was kept for long enough"))

    async def _try_keys(self) -> None:
        """A token is asked in a thread of its own."""
        self.complaints = await asyncio.to_thread(self._vault.keks.complaints)
        self._tried.set()

    async def _retain(self) -> None:
        """Not before it is known whether keys can be unwrapped: a token that is away is not asked for each grant."""
        await self._tried.wait()
        await self._retention.run()

    async def _sweep(self) -> None:
        self._vault.sweep()
