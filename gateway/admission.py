"""Letting requests in: bounded in number and size, fair among requesters, and told when to come back.

A bound is reached before memory grows: whoever comes next gets RESOURCE_EXHAUSTED with RetryInfo. How many places
one requester may hold follows from how many are free: no more than that. Alone it gets half of them; n that all want
more get an equal share each, and as much stays free for the next one who comes. This is the dynamic threshold of
Choudhury and Hahne (IEEE/ACM Transactions on Networking 6, 1998) with factor 1; it needs no list of who is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.protocol.errors import OverloadedError, UnreachableError
from gateway.protocol.identities import Identity
from gateway.protocol.reasons import Reason

RETRY_AFTER = 0.5
"""Seconds after which a refused caller should come back: a few times an ordinary request."""

PLACE_BYTES = 64 << 10
"""Bytes of a request that one place holds: several ordinary ones; a larger request takes more places."""


class Admission:
    """Counts places that are taken, of `total`."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._closed = False

    @property
    def taken(self) -> int:
        """Places taken."""
        return self._taken

    def close(self) -> None:
        """Let nobody in any more: the process is draining."""
        self._closed = True

    @contextmanager
    def place(self, peer: Identity, size: int = 0) -> Iterator[None]:
        """Hold places meanwhile; raises what `take` raises."""
        taken = self.take(peer, size)
        try:
            yield
        finally:
            self.give_back(peer, taken)

    def take(self, peer: Identity, size: int = 0) -> int:
        """Take places for a request of `size` bytes; how many, for `give_back`.

        OverloadedError if there are none for this peer, UnreachableError when draining.
        """
        if self._closed:
            raise UnreachableError(Reason.SHUTTING_DOWN, "draining", retry_after=RETRY_AFTER)
        held, places = self._held[peer.uri], 1 + size // PLACE_BYTES
        if held + places > self._total - self._taken:
            raise OverloadedError(Reason.OVERLOADED, "places for requests", retry_after=RETRY_AFTER)
        self._taken += places
        self._held[peer.uri] += places
        return places

    def give_back(self, peer: Identity, places: int) -> None:
        """Give places back once their work has ended, which may be after its caller has gone."""
        self._taken -= places
        self._held[peer.uri] -= places
        if not self._held[peer.uri]:
            del self._held[peer.uri]
