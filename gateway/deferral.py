"""Asking again for what was deferred: the gateway presents a kept request to itself, through the pipeline.

So no rule is written twice: whatever would refuse the requester now refuses the gateway's retry, and ends the deferral
on the record. A request is tried when a department that it waits for can be asked again, or when it must end.

Interactive queries go first. At most `at_once` requests are tried together, one at a time while callers hold half of
the gateway's places, and of each department as many as its window allows: one after a failure, twice as many after
each success. So a department that returns meets a trickle that grows, and one that is gone is probed, not stormed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.deferring import is_for_good
from gateway.party.process import Clock, cancel_all, place_of
from gateway.protocol.errors import BadDataError, UnreachableError
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.reasons import Reason
from gateway.requests import Requests
from gateway.stores.records import RequestKey, Waiting
from gateway.waiting_room import WaitingRoom

_log = structlog.get_logger(__name__)

TICK = 0.25
"""Seconds between looks at departments and clocks; what ends or is withdrawn is seen to at once."""
PAGE = 500
"""Requests that are read from the store at once: about 100 kB."""
LARGEST_WINDOW = 16
"""Requests that one department is tried with together, at most."""


class DeferralTraffic:
    """What is counted of deferrals: no label says whose."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting = Gauge("heyan_deferrals_waiting", "Requests that wait for departments", registry=registry)
        self.retries = Counter("heyan_deferral_retries", "Deferred requests tried again", registry=registry)
        self._answered = Counter("heyan_deferrals_answered", "Deferred requests answered whole", registry=registry)
        self._ended = Counter("heyan_deferrals_ended", "Deferrals ended, by reason", ["reason"], registry=registry)

    def gone(self, ended: Reason | None) -> None:
        """A request waits no longer: why, or None if it was answered."""
        if ended is None:
            self._answered.inc()
        else:
            self._ended.labels(ended.value).inc()
            _log.info("deferral_ended", reason=ended.value)


class Presents(Protocol):
    """The pipeline, as far as it is used here."""

    async def resume(self, message: bytes, peer: Identity) -> object:
        """Present a kept request again."""
        ...


@dataclass(slots=True)
class _Window:
    """How many requests a department is tried with together, and how many are under way."""

    size: int = 1
    under_way: int = 0

    def end(self, *, well: bool) -> None:
        """One try has ended."""
        self.under_way -= 1
        self.size = min(2 * self.size, LARGEST_WINDOW) if well else 1


class DeferralWorker:
    """Tries what waits. `load` before the first request is let in, `run` until cancelled, `stop` when draining."""

    def __init__(
        self,
        *,
        room: WaitingRoom,
        requests: Requests,
        pipeline: Presents,
        ready: Callable[[str], bool],
        busy: Callable[[], bool],
        clock: Clock,
        traffic: DeferralTraffic,
        at_once: int,
    ) -> None:
        self._room = room
        self._requests = requests
        self._pipeline = pipeline
        self._ready = ready
        self._busy = busy
        self._clock = clock
        self._traffic = traffic
        self._at_once = at_once
        self._windows: dict[str, _Window] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._stopped = False
        self._told: set[bytes] = set()
        """Grants that were withdrawn since the store was last read, on which others may have deferred before that."""

    async def load(self) -> None:
        """Learn from the store what waits in it, page by page, and what no longer does; UnreachableError.

        Again now and then: a commit that seemed to fail may have been durable, and other processes may share the store.
        """
        known, found, told = self._room.keys(), set[RequestKey](), frozenset(self._told)
        after: RequestKey | None = None
        while page := await asyncio.to_thread(self._requests.waiting, after, PAGE):
            for waiting in page:
                self._room.found(waiting)
                found.add(waiting.key)
            after = page[-1].key
        for key in known - found:  # what came to the room in between is not among them
            self._room.lost(key)
        for grant_digest in told:
            self._end(grant_digest)
        self._told -= told

    async def run(self) -> None:
        """Try what is due, for ever."""
        while True:
            self.start_due()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), TICK)
            self._news.clear()

    def withdrawn(self, grant_digest: bytes) -> None:
        """A grant was withdrawn: what rests on it ends now, or once it is known here that it waits."""
        self._told.add(grant_digest)
        self._end(grant_digest)

    def _end(self, grant_digest: bytes) -> None:
        if self._room.withdrawn(grant_digest):
            self._news.set()

    def start_due(self) -> None:
        """Begin to try whatever is due and may be tried now."""
        while self._may_start() and (waiting := self._room.next_due(self._clock())) is not None:
            self._start(waiting, None)
        # The department with the fewest under way first, so that none is kept waiting by another's backlog.
        for department in sorted(self._room.departments, key=lambda name: self._window(name).under_way):
            window = self._window(department)
            while self._may_start() and window.under_way < window.size and self._ready(department):
                waiting = self._room.next_for(department)
                if waiting is None:
                    break
                window.under_way += 1
                self._start(waiting, department)

    async def stop(self) -> None:
        """Begin nothing more, and let go of what is under way: it goes on in the pipeline."""
        self._stopped = True
        await cancel_all(self._tasks)

    def _may_start(self) -> bool:
        return not self._stopped and len(self._tasks) < (1 if self._busy() else self._at_once)

    def _window(self, department: str) -> _Window:
        return self._windows.setdefault(department, _Window())

    def _start(self, waiting: Waiting, department: str | None) -> None:
        task = asyncio.create_task(self._try(waiting, department))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._news.set()

    async def _try(self, waiting: Waiting, department: str | None) -> None:
        refused = False
        try:
            refused = await self._present(waiting)
        finally:
            self._room.done(waiting.key, refused=refused)
            if department is not None:
                self._window(department).end(well=not self._room.waits_for(waiting.key, department))

    async def _present(self, waiting: Waiting) -> bool:
        """Present one request; whether it was refused for good."""
        try:
            message = self._requests.deferred_message(waiting)
            if message is None:
                self._room.lost(waiting.key)
                return False
            self._traffic.retries.inc()
            await self._pipeline.resume(message, parse_identity(waiting.key.requester))
        except BadDataError as refusal:
            return is_for_good(refusal)
        except UnreachableError as fault:
            _log.info("deferral_rests", reason=fault.reason.value)
        except Exception as error:  # noqa: BLE001 - one request must not end the worker; its text may quote a message
            _log.error("deferral_failed", kind=type(error).__name__, place=place_of(error))
        return False
