"""Letting requests in: bounded in number, fair among requesters, and told when to come back.

A bound is reached before memory grows: whoever comes next gets RESOURCE_EXHAUSTED with RetryInfo. One
requester can never take more than its share of the places.
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


class Admission:
    """Counts requests under way. `total` bounds all of them, `share` those of one requester."""

    def __init__(self, total: int, share: int) -> None:
        self._total = total
        self._share = share
        self._under_way: Counter[str] = Counter()
        self._count = 0
        self._closed = False

    @property
    def under_way(self) -> int:
        """Requests under way."""
        return self._count

    def close(self) -> None:
        """Let nobody in any more: the process is draining."""
        self._closed = True

    @contextmanager
    def place(self, peer: Identity) -> Iterator[None]:
        """Hold a place meanwhile; raises what `take` raises."""
        self.take(peer)
        try:
            yield
        finally:
            self.give_back(peer)

    def take(self, peer: Identity) -> None:
        """Take a place for work of `peer`; OverloadedError if there is none, UnreachableError when draining."""
        if self._closed:
            raise UnreachableError(Reason.SHUTTING_DOWN, "draining", retry_after=RETRY_AFTER)
        if self._count >= self._total or self._under_way[peer.uri] >= self._share:
            raise OverloadedError(Reason.OVERLOADED, "places for requests", retry_after=RETRY_AFTER)
        self._count += 1
        self._under_way[peer.uri] += 1

    def give_back(self, peer: Identity) -> None:
        """Give a place back once its work has ended, which may be after its caller has gone."""
        self._count -= 1
        self._under_way[peer.uri] -= 1
        if not self._under_way[peer.uri]:
            del self._under_way[peer.uri]
