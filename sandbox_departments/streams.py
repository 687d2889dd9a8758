"""One `Answer` stream of a gateway: asks and acknowledgements in, signed reply batches out.

- On opening, what the gateway never acknowledged is sent again (recovered = true) before anything new, one batch a
  message; what another open stream of it has just been sent is not owed yet.
- A resolution of a dispute, which nobody asked for, is sent in the same way as soon as it is signed.
- What stays unacknowledged for REMIND_AGE is sent again on the open stream too: an acknowledgement may be lost, or the
  gateway's log may have failed, while both streams stay up for weeks.
- Whatever is read takes one of IN_FLIGHT places until its reply is written, so that a gateway that does not read
  stops being read, and holds up nobody else.
- The stream ends when the gateway closes it, when its party leaves the registry, when it acknowledges with a forged,
  forked or rolled-back checkpoint, or when the node stops: what was asked is answered first, where that is possible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from gateway.party.process import repeat
from gateway.protocol.codec import encode, parse
from gateway.protocol.errors import MalformedError, NotFoundError
from gateway.protocol.limits import MAX_ASKS_PER_BATCH, TRANSPORT_MAX_MESSAGE
from heyan.v1 import department_service_pb2
from sandbox_departments.acknowledgements import Settlement, read_acknowledgement
from sandbox_departments.answerer import Answerer
from sandbox_departments.replies import Incoming, ReplyBatch
from sandbox_departments.worker import Worker

IN_FLIGHT = 2 * MAX_ASKS_PER_BATCH
"""Asks (and messages of acknowledgements) that are read and not yet done with: a batch worked on, one waiting."""

REMIND_AGE = 30.0
"""Seconds after which an unacknowledged batch is sent again; well past the deadline of the call that it answered."""

REMIND_INTERVAL = 5.0
"""Seconds between looks for such batches."""

REMIND_AT_ONCE = 32
"""Batches that one look sends again, the oldest first."""

_log = structlog.get_logger(__name__)


class Wire(Protocol):
    """The bytes of one stream, as gRPC's context reads and writes them."""

    async def read(self) -> object:
        """The next message; what is no bytes is the end of the gateway's side."""
        ...

    async def write(self, message: bytes) -> None:
        """Send a message, waiting until the gateway can take it."""
        ...


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of so many jobs: a message to write, none for acknowledgements."""

    message: bytes | None
    jobs: int


class AnswerStream:
    """One open stream. `sent` are the signed batches that it carried and that are not acknowledged yet."""

    def __init__(
        self,
        gateway: str,
        *,
        origin: int,
        worker: Worker,
        answerer: Answerer,
        on_settled: Callable[[Settlement], None],
    ) -> None:
        self.gateway = gateway
        self.sent: set[bytes] = set()
        self._origin = origin
        self._worker = worker
        self._answerer = answerer
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._under_way = 0
        self._open = True
        self._done: asyncio.Queue[_Done | None] = asyncio.Queue()
        self._lied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_settled = on_settled
        self._reminded: dict[bytes, float] = {}

    async def run(
        self, wire: Wire, *, admit: Callable[[], object], stopping: asyncio.Event, spare: frozenset[bytes]
    ) -> None:
        """Serve the stream until it ends; raises the HeyanError that ended it.

        `admit` refuses a peer that the registry knows no more; `spare` are batches not to send again.
        """
        reading = asyncio.create_task(self._read(wire, admit))
        writing = asyncio.create_task(self._write(wire, spare))
        reminding = asyncio.create_task(repeat(REMIND_INTERVAL, self._remind, "send again what is owed"))
        stop = asyncio.create_task(stopping.wait())
        ends: list[asyncio.Future[Any]] = [reading, writing, stop, self._lied, reminding]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                await asyncio.wait({reading})
            self._done.put_nowait(None)
            await writing
            if self._lied.done():
                self._lied.result()
            if not reading.cancelled():
                reading.result()
        finally:
            self._open = False
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    def _is_open(self) -> bool:
        return self._open

    async def _read(self, wire: Wire, admit: Callable[[], object]) -> None:
        while isinstance(data := await wire.read(), bytes):  # else EOF: the gateway closed its side
            admit()
            request = parse(department_service_pb2.AnswerRequest, data, TRANSPORT_MAX_MESSAGE)
            if len(request.asks) > MAX_ASKS_PER_BATCH:
                raise MalformedError.at("asks", f"must be at most {MAX_ASKS_PER_BATCH}")
            if request.acknowledgements:
                items = [read_acknowledgement(item) for item in request.acknowledgements]
                await self._places.acquire()
                await self._worker.acknowledge(self.gateway, items, self._settled)
                self._under_way += 1  # counted without waiting in between: nothing queued is uncounted
            for ask in request.asks:
                await self._places.acquire()
                await self._worker.ask(Incoming(self._origin, self.gateway, ask), self._deliver, self._is_open)
                self._under_way += 1

    async def _write(self, wire: Wire, spare: frozenset[bytes]) -> None:
        for batch in await self._answerer.unacknowledged(self.gateway):
            owed = None if batch in spare or batch in self.sent else await self._answerer.owed_batch(batch)
            if owed is not None:
                self.sent.add(batch)
                await wire.write(owed.message)
        closing = False
        while not closing or self._under_way:
            done = await self._done.get()
            if done is None:
                closing = True
                continue
            if done.message is not None:
                await wire.write(done.message)
            self._under_way -= done.jobs
            for _ in range(done.jobs):
                self._places.release()

    async def _remind(self) -> None:
        """Queue again what is owed for too long, unless the gateway does not even read what it was sent."""
        if not self._done.empty():
            return
        now = asyncio.get_running_loop().time()
        for batch in await self._answerer.unasked(self.gateway):
            owed = None if batch in self.sent else await self._answerer.owed_batch(batch)
            if owed is not None:
                self.sent.add(batch)
                self._done.put_nowait(_Done(owed.message, 0))
        overdue = await self._answerer.overdue(self.gateway, REMIND_AGE)
        self._reminded = {batch: time for batch, time in self._reminded.items() if batch in set(overdue)}
        waiting = [batch for batch in overdue if now - self._reminded.get(batch, -REMIND_AGE) >= REMIND_AGE]
        for batch in waiting[:REMIND_AT_ONCE]:
            owed = await self._answerer.owed_batch(batch)
            if owed is not None:
                self._reminded[batch] = now
                self._done.put_nowait(_Done(owed.message, 0))

    def _deliver(self, batch: ReplyBatch) -> None:
        if batch.digest is not None:
            self.sent.add(batch.digest)
        self._done.put_nowait(_Done(encode(batch.message), len(batch.message.replies)))

    def _settled(self, settlement: Settlement) -> None:
        self._on_settled(settlement)
        for error in settlement.refused:
            _log.warning("acknowledgement_refused", gateway=self.gateway, reason=error.reason.value)
            if not isinstance(error, NotFoundError) and not self._lied.done():
                self._lied.set_exception(error)
        self._done.put_nowait(_Done(None, 1))
