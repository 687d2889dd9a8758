"""`VerifyStream`: a requester's backlog over one stream, each item carried like a `Verify` of its own.

- What is read takes one of WINDOW places of its stream until its answer is written, and then places of the gateway's
  admission, for which the stream waits, also for what will be refused: so a requester that does not read its answers is
  not read from, a full gateway makes the stream wait, and no stream takes more than its requester's fair share. One
  message at most waits for admission on a stream, none is held while its answer waits to be written, and a requester
  has at most MAX_STREAMS of them: memory is bounded before it grows.
- An item that is refused ends nothing but itself: its status is what `Verify` would fail with, and the refusal is
  recorded before it is sent. Nothing is tried again here; what is worth it says so with RetryInfo, and the requester
  knows best whether it still wants an answer.
- Answers are written in the order in which they are ready.
- The stream ends when the requester has closed its side and all is answered; when its party leaves the registry; when
  the transport meets a message over its limit; and when the gateway drains: what is under way is answered first, then
  it ends with SHUTTING_DOWN. When the requester has gone, nobody waits on any longer, but work that was begun goes on
  to its commit, as `Verify`'s does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gateway.admission import Admission, Place
from gateway.party.service import Context, Guard, StreamMethod, internal_error
from gateway.party.statuses import to_status
from gateway.protocol.codec import encode, parse
from gateway.protocol.errors import HeyanError, MalformedError, OverloadedError, UnreachableError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.limits import MAX_MESSAGE, TRANSPORT_MAX_MESSAGE
from gateway.protocol.reasons import Reason
from heyan.v1 import gateway_service_pb2 as pb

WINDOW = 64
"""Items of one stream that are read and not yet answered: as many as keep the departments' batches full."""

MAX_STREAMS = 8
"""Open streams of one requester: a few processes, and those that a broken network has not yet given up."""

RETRY_AFTER = 1.0
"""Seconds after which to open another stream."""

PATH = "/heyan.v1.GatewayService/VerifyStream"

Verify = Callable[[bytes, Identity, float | None, Place], Awaitable[pb.VerifyResponse]]
"""Carries one serialized VerifyRequest through; takes the place over, and gives it back when its work has ended."""

Measure = Callable[[str, float], None]
"""Told of each item: its reason (OK if none) and its seconds, from when it was read."""


class Wire(Protocol):
    """The bytes of one stream, as gRPC's context reads and writes them."""

    async def read(self) -> object:
        """The next message; what is no bytes is the end of the requester's side."""
        ...

    async def write(self, message: bytes) -> None:
        """Send a message, waiting until the requester can take it."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the stream's own deadline, if it has one."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What every stream works with."""

    verify: Verify
    admission: Admission
    guard: Guard
    measure: Measure


class VerifyStreams:
    """All open streams of a gateway. `stop` has each answer what it has begun, and end."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: Counter[str] = Counter()
        self._stopping = asyncio.Event()

    def method(self, roles: frozenset[PartyRole]) -> StreamMethod:
        """The method, for peers in these roles."""

        async def serve(peer: Identity, context: Context) -> None:
            await self.serve(context, lambda: self._desk.guard.admit(context, roles), peer)

        return StreamMethod("VerifyStream", roles, serve)

    def stop(self) -> None:
        """Read nothing more, on any stream."""
        self._stopping.set()

    async def serve(self, wire: Wire, admit: Callable[[], object], peer: Identity) -> None:
        """Serve one stream of `peer` until it ends; raises the HeyanError that ended it.

        `admit` refuses a peer that the registry knows no more; it is asked for each item.
        """
        with self._counted(peer):
            await _Stream(self._desk, wire, peer).run(admit, self._stopping)

    @contextmanager
    def _counted(self, peer: Identity) -> Iterator[None]:
        if self._stopping.is_set():
            raise _shutting_down()
        if self._open[peer.uri] >= MAX_STREAMS:
            raise OverloadedError(Reason.OVERLOADED, "streams of one requester", retry_after=RETRY_AFTER)
        self._open[peer.uri] += 1
        try:
            yield
        finally:
            self._open[peer.uri] -= 1
            if not self._open[peer.uri]:
                del self._open[peer.uri]


@dataclass(slots=True)
class _Item:
    """One message as it was read. `place` is held for it until whoever carries it takes it over, or it is let go."""

    number: int
    data: bytes
    request: bytes
    began: float
    place: Place | None = None

    def hand_over(self) -> Place:
        place, self.place = self.place, None
        assert place is not None  # noqa: S101 - only what was admitted is carried
        return place

    def let_go(self) -> None:
        """Nobody works on it any more: what is left to do is to write its answer, for which the requester has time."""
        self.data = self.request = b""
        if self.place is not None:
            self.hand_over().release()


class _Stream:
    def __init__(self, desk: Desk, wire: Wire, peer: Identity) -> None:
        self._desk = desk
        self._wire = wire
        self._peer = peer
        self._window = asyncio.Semaphore(WINDOW)
        self._writing = asyncio.Lock()
        self._items: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, admit: Callable[[], object], stopping: asyncio.Event) -> None:
        reading = asyncio.create_task(self._read(admit))
        stop = asyncio.create_task(stopping.wait())
        ends: list[asyncio.Future[Any]] = [reading, stop, self._broken]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                await asyncio.wait({reading})
            while self._items and not self._broken.done():
                await asyncio.wait({*self._items, self._broken}, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                self._broken.result()
            if not reading.cancelled():
                reading.result()
            elif stop.done():
                raise _shutting_down()
        finally:
            ends += self._items
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _read(self, admit: Callable[[], object]) -> None:
        while True:
            await self._window.acquire()
            data = await self._wire.read()
            if not isinstance(data, bytes):
                return  # the requester closed its side
            began = time.perf_counter()
            admit()
            number, request, error = open_item(data)
            item = _Item(number, data, request, began)
            item.place = await self._desk.admission.enter(self._peer, min(len(data), MAX_MESSAGE))
            del data, request  # the item's alone now, until it is let go
            task = asyncio.create_task(self._carry(item) if error is None else self._refuse(item, error))
            self._items.add(task)
            task.add_done_callback(partial(self._ended, item))

    def _ended(self, item: _Item, task: asyncio.Task[None]) -> None:
        self._items.discard(task)
        self._window.release()
        item.let_go()  # the stream may have ended before anybody began to carry it
        if not task.cancelled() and (error := task.exception()) is not None and not self._broken.done():
            self._broken.set_exception(error)  # it could not be written: there is nobody to answer

    async def _carry(self, item: _Item) -> None:
        time_left = self._wire.time_remaining()
        try:
            response = await self._desk.verify(item.request, self._peer, time_left, item.hand_over())
        except HeyanError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the last line before the peer: nothing internal may leave
            failure = internal_error(PATH, error)
        else:
            await self._write(item, pb.VerifyStreamResponse(item=item.number, response=response), "OK")
            return
        await self._refuse(item, failure)

    async def _refuse(self, item: _Item, error: HeyanError) -> None:
        told = await self._desk.guard.record(self._peer, PATH, error, item.data)
        for each in (error, told):
            _forget_frames(each)
        await self._write(item, pb.VerifyStreamResponse(item=item.number, error=to_status(told)), told.reason.value)

    async def _write(self, item: _Item, response: pb.VerifyStreamResponse, reason: str) -> None:
        item.let_go()
        self._desk.measure(reason, time.perf_counter() - item.began)
        message = encode(response)
        async with self._writing:
            await self._wire.write(message)


def open_item(data: bytes) -> tuple[int, bytes, HeyanError | None]:
    """An item's number (0 if it cannot be read), its VerifyRequest, and why that is refused at once, if so."""
    try:
        message = parse(pb.VerifyStreamRequest, data, TRANSPORT_MAX_MESSAGE)
    except MalformedError as error:
        return 0, b"", error
    if not message.item:
        return 0, b"", MalformedError.at("item", "must be 1 or more")
    if len(data) > MAX_MESSAGE:
        return message.item, b"", MalformedError(Reason.MESSAGE_TOO_LARGE, f"{len(data)} bytes")
    return message.item, message.request.SerializeToString(), None


def _forget_frames(error: BaseException) -> None:
    """Have an error that is recorded no longer hold the frames that it went through, and the message in them."""
    found: BaseException | None = error
    while found is not None:
        found.__traceback__ = None
        found = found.__cause__ or found.__context__


def _shutting_down() -> UnreachableError:
    return UnreachableError(Reason.SHUTTING_DOWN, "draining", retry_after=RETRY_AFTER)
