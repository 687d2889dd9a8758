"""Waiting for news of requests: a caller of GetVerification may stay until more is known.

A watcher takes no place of a verifying call. Watchers have places of their own, shared among requesters as those are
(`gateway.admission`), so that all of them together leave the transport's calls to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.admission import Admission, Place
from gateway.deadlines import DEADLINE_MARGIN
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity
from gateway.protocol.reasons import Reason
from gateway.stores.records import RequestKey, Waiting
from heyan.v1 import gateway_service_pb2

LONGEST_WATCH = 60.0
"""Seconds after which a watcher is sent home, to ask again: so that a dead connection is noticed."""


class Watchers:
    """Those who wait, at most `total` at once; `leaves_of` says how many leaves a request's receipt has."""

    def __init__(self, total: int, leaves_of: Callable[[RequestKey], int]) -> None:
        self._leaves_of = leaves_of
        self._places = Admission(total)
        self._waiting: dict[RequestKey, set[asyncio.Future[None]]] = {}
        self._known: dict[RequestKey, int] = {}
        """How many leaves each request that is waited for had."""

    async def watch(
        self, request: gateway_service_pb2.GetVerificationRequest, peer: Identity, time_left: float | None
    ) -> None:
        """Return once the receipt has more leaves than the peer knows of, or when the peer wants no more waiting.

        At once where there is no such request. MalformedError for a time that is none, and what `news` raises.
        """
        seconds = request.wait.seconds + request.wait.nanos / 1e9
        if seconds < 0:
            raise MalformedError.at("wait", "must not be negative")
        key = RequestKey(peer.uri, request.request_id)
        time = asyncio.get_running_loop().time
        if time_left is not None:
            seconds = min(seconds, time_left - DEADLINE_MARGIN)
        until = time() + min(seconds, LONGEST_WATCH)
        while 0 < (leaves := self._leaves_of(key)) <= request.known_leaves and time() < until:
            if not await self.news(key, leaves, peer, until - time()):
                return

    def place(self, peer: Identity) -> Place:
        """A place among those who wait, for somebody who waits for something else; raises what `news` raises."""
        return self._places.take(peer)

    def close(self) -> None:
        """Let everybody go, and nobody in: the process is draining."""
        self._places.close()
        for key in self._waiting:
            self.committed(key)

    def committed(self, key: RequestKey, _waiting: Waiting | None = None, _ended: Reason | None = None) -> None:
        """More is known of a request."""
        for future in self._waiting.get(key, ()):
            if not future.done():
                future.set_result(None)

    def look(self) -> None:
        """Wake those who wait for what another process has committed; called when the store has changed."""
        for key, known in self._known.items():
            if self._leaves_of(key) != known:
                self.committed(key)  # whoever still waits then begins anew

    async def news(self, key: RequestKey, leaves: int, peer: Identity, seconds: float) -> bool:
        """Return once a peer's request has more than `leaves`, or after so many seconds; whether there were news.

        OverloadedError if the peer has too many waiting, UnreachableError when draining.
        """
        with self._places.take(peer):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(key, set()).add(future)
            self._known.setdefault(key, leaves)
            try:
                await asyncio.wait_for(future, seconds)
            except TimeoutError:
                return False
            finally:
                self._waiting[key].discard(future)
                if not self._waiting[key]:
                    del self._waiting[key], self._known[key]
        return True
