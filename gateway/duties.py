"""What a gateway does besides answering, again and again: what each of its processes does, and what one does for all.

Whoever does the latter is the lead: the one process of a gateway without workers, else the worker that holds the lock
(`gateway.workers.lead`). It leads until it ends; then another does, which finds in the store whatever this one knew.
The lead publishes the log, has it witnessed, signs it anew, and remembers how far it has come; asks again for what was
deferred; brings disputes to departments; and ends evidence.
"""

from __future__ import annotations

import asyncio

from grpc_health.v1 import health_pb2

from gateway.log_marks import SEEN_EVERY
from gateway.parts import Parts
from gateway.party.process import cancel_all, repeat
from gateway.workers.membership import Membership

LOOK = 0.2
"""Seconds between looks for what other processes have committed: how long one who waits for news waits for theirs."""


class Duties:
    """Those of one process. `complaints` of the process go to its health service."""

    def __init__(self, parts: Parts, member: Membership) -> None:
        self._parts = parts
        self._member = member
        self._tasks: list[asyncio.Task[None]] = []
        self.leads = False
        """Whether this process does what one does for all."""

    def start(self) -> None:
        """Begin what every process does, and the rest as soon as this one leads."""
        parts = self._parts
        self._tasks = [
            *parts.evidence.start(),
            asyncio.create_task(parts.keeper.run()),
            asyncio.create_task(repeat(1.0, self._look_after, "look after keys and health")),
            asyncio.create_task(repeat(1.0, parts.follow_registry, "follow the registry")),
            asyncio.create_task(repeat(1.0, self.catch_up, "log what is owed")),
            asyncio.create_task(repeat(5.0, parts.refusals.flush, "summarise refusals")),
            asyncio.create_task(self._lead()),
        ]

    async def stop(self) -> None:
        """End all of it; what is under way is not waited for."""
        await cancel_all(self._tasks)

    async def _lead(self) -> None:
        await self._member.lead()
        self.leads = True
        parts = self._parts
        parts.publication.start()
        parts.witnesses.start()
        self._tasks += [
            parts.evidence.start_retention(),
            asyncio.create_task(repeat(SEEN_EVERY, parts.log_keeping.keep_seen, "remember how far the log has come")),
            asyncio.create_task(repeat(60.0, parts.deferral.load, "look for deferred requests")),
            asyncio.create_task(repeat(1.0, parts.deferral.run, "ask again for what was deferred")),
            asyncio.create_task(repeat(1.0, parts.relay.run_once, "bring disputes to departments")),
        ]

    async def _look_after(self) -> None:
        """What a second brings: renewed keys and certificates, health."""
        parts = self._parts
        parts.tls.refresh()
        parts.log_keeping.refresh_keys()
        parts.rulebook.refresh()
        status = health_pb2.HealthCheckResponse
        await parts.health.set("", status.NOT_SERVING if parts.complaints() else status.SERVING)
        if self.leads:
            await parts.log_keeping.sign_anew()

    async def catch_up(self) -> None:
        """After the log could not record: find out whether it can, and log what is owed."""
        await self._parts.log.probe()
        await self._parts.events.settle_owed()
