"""Letting requests in: bounded in number and size, fair among requesters, and told when to come back.

A bound is reached before memory grows: whoever comes next gets RESOURCE_EXHAUSTED with RetryInfo. How many places
one requester may hold follows from how many are free: no more than that. Alone it gets half of them; n that all want
more get an equal share each, and as much stays free for the next one who comes. This is the dynamic threshold of
Choudhury and Hahne (IEEE/ACM Transactions on Networking 6, 1998) with factor 1; it needs no list of who is there.
"""

from __future__ import annotations

from collections import Counter
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

    @property
    def taken(self) -> int:
        """Places taken."""
        return self._taken

    def close(self) -> None:
        """Let nobody in any more: the process is draining."""
        self._closed = True

    def take(self, peer: Identity, size: int = 0) -> Place:
        """Places for a request of `size` bytes.

        OverloadedError if there are none for this peer, UnreachableError when draining.
        """
        if self._closed:
            raise UnreachableError(Reason.SHUTTING_DOWN, "draining", retry_after=RETRY_AFTER)
        count = 1 + size // PLACE_BYTES
        if self._held[peer.uri] + count > self._total - self._taken:
            raise OverloadedError(Reason.OVERLOADED, "places for requests", retry_after=RETRY_AFTER)
        self._taken += count
        self._held[peer.uri] += count
        return Place(self, peer.uri, count)

    def aside(self, peer: Identity) -> Place:
        """No place at all: for the gateway's own work on a peer's request, which is bounded where it begins."""
        return Place(self, peer.uri, 0)

    def give_back(self, peer: str, count: int) -> None:
        """For `Place`."""
        self._taken -= count
        self._held[peer] -= count
        if not self._held[peer]:
            del self._held[peer]
