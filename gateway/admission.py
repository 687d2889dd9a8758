"""Letting requests in: bounded in number and size, fair among requesters, and told when to come back.

A bound is reached before memory grows: whoever comes next gets RESOURCE_EXHAUSTED with RetryInfo. How many places
one requester may hold follows from how many are free: no more than that. Alone it gets half of them; n that all want
more get an equal share each, and as much stays free for the next one who comes. This is the dynamic threshold of
Choudhury and Hahne (IEEE/ACM Transactions on Networking 6, 1998) with factor 1; it needs no list of who is there.

A stream can wait instead of being refused: `enter` gives a place as soon as one is free for its peer. Those who wait
come before those who only try, in their order, each peer by itself: none waits for another peer's share.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from types import TracebackType
from typing import Self

from gateway.protocol.errors import OverloadedError, UnreachableError
from gateway.protocol.identities import Identity
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.reasons import Reason

RETRY_AFTER = 0.5
"""Seconds after which a refused caller should come back: a few times an ordinary request."""

PLACE_BYTES = 64 << 10
"""Bytes of a request that one place holds: several ordinary ones; a larger request takes more places."""

LEAST_PLACES = 2 * (1 + MAX_MESSAGE // PLACE_BYTES)
"""With fewer, the largest message that is allowed would never find room: alone it may take half of all."""


class Place:
    """What a request holds until `release`; also a context manager. Releasing twice is releasing once."""

    def __init__(self, admission: Admission, peer: str, count: int) -> None:
        self._admission = admission
        self._peer = peer
        self.count = count

    def release(self) -> None:
        """Give it back once its work has ended, which may be after its caller has gone."""
        self._admission.give_back(self._peer, self.count)
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Admission:
    """Counts places that are taken, of `total`."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._closed = False
        self._waiting: OrderedDict[asyncio.Future[Place], tuple[str, int]] = OrderedDict()

    @property
    def taken(self) -> int:
        """Places taken."""
        return self._taken

    def close(self) -> None:
        """Let nobody in any more, and let nobody wait: the process is draining."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_draining())
        self._waiting.clear()

    def take(self, peer: Identity, size: int = 0) -> Place:
        """Places for a request of `size` bytes.

        OverloadedError if there are none for this peer, UnreachableError when draining.
        """
        if self._closed:
            raise _draining()
        count = 1 + size // PLACE_BYTES
        if not self._fits(peer.uri, count):
            raise OverloadedError(Reason.OVERLOADED, "places for requests", retry_after=RETRY_AFTER)
        return self._place(peer.uri, count)

    async def enter(self, peer: Identity, size: int = 0) -> Place:
        """Like `take`, waiting for places where there are none; UnreachableError when draining."""
        if self._closed:
            raise _draining()
        count = 1 + size // PLACE_BYTES
        if self._fits(peer.uri, count) and all(other != peer.uri for other, _ in self._waiting.values()):
            return self._place(peer.uri, count)
        waiter: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = (peer.uri, count)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().release()  # given at the very moment at which nobody wanted it any more
            raise

    def aside(self, peer: Identity) -> Place:
        """No place at all: for the gateway's own work on a peer's request, which is bounded where it begins."""
        return Place(self, peer.uri, 0)

    def give_back(self, peer: str, count: int) -> None:
        """For `Place`."""
        self._taken -= count
        self._held[peer] -= count
        if not self._held[peer]:
            del self._held[peer]
        self._let_in()

    def _fits(self, peer: str, count: int) -> bool:
        return self._held[peer] + count <= self._total - self._taken

    def _place(self, peer: str, count: int) -> Place:
        self._taken += count
        self._held[peer] += count
        return Place(self, peer, count)

    def _let_in(self) -> None:
        """Give what is free to those who wait; a peer's later ones wait for its earlier ones."""
        passed_over: set[str] = set()
        for waiter, (peer, count) in list(self._waiting.items()):
            if peer in passed_over:
                continue
            if not self._fits(peer, count):
                passed_over.add(peer)
                continue
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_result(self._place(peer, count))


def _draining() -> UnreachableError:
    return UnreachableError(Reason.SHUTTING_DOWN, "draining", retry_after=RETRY_AFTER)
