"""What a gateway does besides answering, again and again: what each of its processes does, and what one does for all.

Whoever does the latter is the lead: the one process of a gateway without workers, else the worker that holds the lock
(`gateway.workers.lead`). It leads until it ends; then another does, which finds in the store whatever this one knew.
The lead publishes the log, has it witnessed, signs it anew, and remembers how far it has come; asks again for what was
deferred; brings disputes to departments; and ends evidence.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from grpc_health.v1 import health_pb2

from gateway.log_marks import SEEN_EVERY
from gateway.parts import Parts
from gateway.party.process import cancel_all, close_all, repeat
from gateway.workers.membership import Membership

LOOK = 0.2
"""Seconds between looks for what other processes have committed: how long one who waits for news waits for theirs."""
MIRROR_EVERY = 1.0
MIRROR_ALONE = 60.0
"""Seconds between readings of what waits in the store; of a process that is alone, and so has seen it come."""
MIRROR_SHARE = 0.02
"""Of the time that is spent in reading it at most: a long list is read less often."""
FINISH_SECONDS = 3.0
"""For which an ending process waits for the one that leads to have ended; less than a supervisor gives it to end."""


_log = structlog.get_logger(__name__)


class Duties:
    """Those of one process. `complaints` of the process go to its health service."""

    def __init__(self, parts: Parts, member: Membership) -> None:
        self._parts = parts
        self._member = member
        self._tasks: list[asyncio.Task[None]] = []
        self._version = 0
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
            asyncio.create_task(repeat(self._mirror_every, self._mirror, "look for what waits in the store")),
            asyncio.create_task(self._lead()),
        ]
        parts.witnesses.start(lambda: self.leads)
        if not self._member.is_alone:
            self._tasks.append(asyncio.create_task(repeat(LOOK, self.look, "look for what others committed")))

    async def stop(self) -> None:
        """End all of it; what is under way is not waited for."""
        await cancel_all(self._tasks)

    async def _lead(self) -> None:
        await self._member.lead()
        self.leads = True
        parts = self._parts
        parts.publication.start()
        self._tasks += [
            parts.evidence.start_retention(),
            asyncio.create_task(repeat(SEEN_EVERY, parts.log_keeping.keep_seen, "remember how far the log has come")),
            asyncio.create_task(repeat(1.0, parts.deferral.run, "ask again for what was deferred")),
            asyncio.create_task(repeat(1.0, parts.relay.run_once, "bring disputes to departments")),
        ]

    async def finish(self) -> None:
        """Remember and publish what came last, once nothing is appended here any more, after whoever leads has.

        Left to the next start if that takes longer than FINISH_SECONDS.
        """
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._member.lead()
        except TimeoutError:
            _log.info("left_to_whoever_leads")
            return
        await close_all(self._parts.log_keeping.keep_seen, self._parts.publication.finish)

    async def look(self) -> None:
        """Tell those who wait for news what other processes have committed."""
        version = self._parts.store.version()
        if version != self._version:
            self._version = version
            self._parts.watchers.look()

    async def _mirror(self) -> None:
        """Know what waits in the store, whoever put it there."""
        began = time.monotonic()
        await self._parts.deferral.load()
        if self.leads:
            self._parts.relay.load()
        took = time.monotonic() - began
        await asyncio.sleep(min(MIRROR_ALONE, took / MIRROR_SHARE))

    @property
    def _mirror_every(self) -> float:
        return MIRROR_ALONE if self._member.is_alone else MIRROR_EVERY

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
