"""Who is let in: bounded in memory and in time, fair among requesters, and told when to come back.

Two bounds, and a request needs room within both; each is shared by the same rule (`shares`):

- places, of PLACE_BYTES each and a fixed number, for as long as a request is under way: memory is bounded before it
  grows, also while a department lets its callers wait;
- the line before the gateway's own work (`line`), as long as can be worked off in a moment at the measured pace
  (`pace`). Who has begun has left it, so that a slow department shortens it for nobody.

Whoever comes next gets RESOURCE_EXHAUSTED with RetryInfo (`returning`), before anything is done for it.

A stream can wait instead of being refused: `enter` gives a place as soon as one is free for its peer. Those who wait
come before those who only try, in their order, each peer by itself: none waits for another peer's share.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import SystemRandom
from types import TracebackType
from typing import Self

from gateway.admission.fitness import Fitness
from gateway.admission.line import Line
from gateway.admission.pace import Pace
from gateway.admission.returning import Returns
from gateway.admission.shares import Shares
from gateway.deadlines import LEAST_DEADLINE
from gateway.protocol.errors import OverloadedError, UnreachableError
from gateway.protocol.identities import Identity
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.reasons import Reason

DRAINING_RETRY = 0.5
"""Seconds after which who met a process that ends should try another."""

PLACE_BYTES = 64 << 10
"""Bytes of a request that one place holds: several ordinary ones; a larger request takes more places."""

LEAST_PLACES = 2 * (1 + MAX_MESSAGE // PLACE_BYTES)
"""With fewer, the largest message that is allowed would never find room: alone it may take half of all."""

PLACES, LINE, DEADLINE = "places", "line", "deadline"
"""What a request may be refused for: memory, the gateway's pace, or its caller's own deadline."""

_random = SystemRandom().random

Told = Callable[[str], None]
Waited = Callable[[float], None]


class Place:
    """What a request holds until `release`; also a context manager. Releasing twice is releasing once."""

    def __init__(self, admission: Admission, peer: str, count: int) -> None:
        self._admission = admission
        self.peer = peer
        self.count = count
        self.in_line = False

    def release(self) -> None:
        """Give it back once its work has ended, which may be after its caller has gone."""
        self._admission.give_back(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Admission:
    """Lets requests in, at most `total` places of them.

    `clock` counts seconds and never steps back; `random` gives numbers from 0 to 1. `refused` is told of each bound
    that somebody met, `waited` of the seconds that each turn was waited for.
    """

    def __init__(
        self,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random,
    ) -> None:
        self._total = total
        self._clock = clock
        self._places = Shares()
        self._in_line = Shares()
        self._pace = Pace()
        self._line = Line(clock, self._pace.together, self._pace.worked)
        self._returns = Returns(clock, random)
        self._fitness = Fitness()
        self._moved = clock()
        """When last a place was given back, or taken while there was none."""
        self._closed = False
        self._waiting: OrderedDict[asyncio.Future[Place], tuple[str, int]] = OrderedDict()
        self.refused: Told = _ignore
        self.waited: Waited = _ignore

    @property
    def taken(self) -> int:
        """Places taken."""
        return self._places.taken

    @property
    def in_line(self) -> int:
        """Requests that are let in, and whose work has not begun."""
        return self._in_line.taken

    @property
    def bound(self) -> int:
        """How many may be in line just now."""
        return self._pace.bound(self._total)

    @property
    def busy(self) -> bool:
        """Whether callers hold half of what there is, so that the gateway's own work should rest."""
        return 2 * self._places.taken >= self._total or 2 * self._in_line.taken >= self.bound

    def complaint(self) -> str | None:
        """Why no work should be sent here, if so; see `fitness`."""
        now = self._clock()
        standstill = now - self._moved if self._places.taken else 0.0
        return self._fitness.look(now, self._line.longest_wait, standstill)

    def close(self) -> None:
        """Let nobody in any more, and let nobody wait for a place: the process is draining."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_draining())
        self._waiting.clear()

    def take(self, peer: Identity) -> Place:
        """A place for what only waits, and so stands in no line; raises what `admit` raises."""
        if self._closed:
            raise _draining()
        if not self._places.fits(peer.uri, 1, self._total):
            raise self._refusal(peer.uri, PLACES)
        return self._place(peer.uri, 1)

    def admit(self, peer: Identity, size: int = 0) -> Place:
        """Places for a request of `size` bytes, and one in the line: its work begins after `turn`.

        OverloadedError if there is no room for this peer, UnreachableError when draining.
        """
        if self._closed:
            raise _draining()
        self._line.arrived()
        count = 1 + size // PLACE_BYTES
        full = self._full_for(peer.uri, count)
        if full is not None:
            raise self._refusal(peer.uri, full)
        return self._place_in_line(peer.uri, count)

    @asynccontextmanager
    async def admitted(self, peer: Identity) -> AsyncIterator[None]:
        """What is done meanwhile has been admitted, and has had its turn; raises what `admit` raises."""
        with self.admit(peer) as place:
            await self.turn(place, None)
            yield

    async def enter(self, peer: Identity, size: int = 0) -> Place:
        """Like `admit`, waiting for room where there is none; UnreachableError when draining."""
        if self._closed:
            raise _draining()
        self._line.arrived()
        count = 1 + size // PLACE_BYTES
        if self._full_for(peer.uri, count) is None and all(other != peer.uri for other, _ in self._waiting.values()):
            return self._place_in_line(peer.uri, count)
        waiter: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = (peer.uri, count)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().release()  # given at the very moment at which nobody wanted it any more
            raise

    async def turn(self, place: Place, time_left: float | None) -> float | None:
        """Return when the work for which `place` was taken may begin: what is left of its caller's `time_left` then.

        OverloadedError if waiting has left too little for departments to answer: nothing is begun that is in vain.
        """
        if not place.in_line:
            return time_left
        try:
            waited = await self._line.turn(place.peer, place.count)
        finally:
            self._leave_line(place)
            self._let_in()
        self.waited(waited)
        if time_left is None:
            return None
        left = time_left - waited
        if left <= LEAST_DEADLINE < time_left:
            raise self._refusal(place.peer, DEADLINE)
        return left

    def aside(self, peer: Identity) -> Place:
        """No place at all: for the gateway's own work on a peer's request, which is bounded where it begins."""
        return Place(self, peer.uri, 0)

    def give_back(self, place: Place) -> None:
        """For `Place`."""
        count, place.count = place.count, 0
        if not count:
            return
        self._moved = self._clock()
        self._places.remove(place.peer, count)
        self._leave_line(place)
        self._let_in()

    def _leave_line(self, place: Place) -> None:
        if place.in_line:
            place.in_line = False
            self._in_line.remove(place.peer, 1)

    def _full_for(self, peer: str, count: int) -> str | None:
        """The bound within which there is no room for this peer, if there is none."""
        if not self._places.fits(peer, count, self._total):
            return PLACES
        if self._in_line.of(peer) == 0 or self._in_line.fits(peer, 1, self.bound):
            return None  # a peer that has nobody in line may always have one: no crowd of others keeps it out
        return LINE

    def _place(self, peer: str, count: int) -> Place:
        if not self._places.taken:
            self._moved = self._clock()
        self._places.add(peer, count)
        return Place(self, peer, count)

    def _place_in_line(self, peer: str, count: int) -> Place:
        place = self._place(peer, count)
        place.in_line = True
        self._in_line.add(peer, 1)
        return place

    def _refusal(self, peer: str, bound: str) -> OverloadedError:
        self.refused(bound)
        return OverloadedError(Reason.OVERLOADED, bound, retry_after=self._returns.after(peer, self._pace.seconds))

    def _let_in(self) -> None:
        """Give what is free to those who wait; a peer's later ones wait for its earlier ones."""
        passed_over: set[str] = set()
        for waiter, (peer, count) in list(self._waiting.items()):
            if peer in passed_over:
                continue
            if self._full_for(peer, count) is not None:
                passed_over.add(peer)
                continue
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_result(self._place_in_line(peer, count))


def _ignore(_told: object) -> None:
    """For what nobody wants to know."""


def _draining() -> UnreachableError:
    return UnreachableError(Reason.SHUTTING_DOWN, "draining", retry_after=DRAINING_RETRY)
