"""The line before the gateway's own work: measured, fair by turns, and not hidden in the transport.

gRPC's Python server takes one call at a time off its core, about one in two rounds of the event loop. Whatever handlers
do in these rounds delays the next call: with hundreds of calls waiting in the core, handlers would still see only three
or four, nobody could measure, refuse or order the rest, and each would pay for messages and commits of its own. Hence
no work begins where its call comes in. It waits here for its turn, and turns are given once the loop has gone some
rounds without a new call: those who come are let in, or refused, before more is begun. Then several begin together, so
that what they ask and record is batched.

Turns go round among peers, and within a peer in the order of arrival. A request that is as large as several costs as
many turns (deficit round robin: Shreedhar and Varghese, IEEE/ACM Transactions on Networking 4, 1996). Who does not
wait any more, because its call has ended, has left the line.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

QUIET_ROUNDS = 12
"""Rounds of the event loop without a new call, after which none is taken to wait in the transport: a call takes about
ten from the core to its handler, of a few microseconds each where nothing else is to be done."""

FIRST_ROUNDS = 4
"""Rounds for which one waits that finds nobody: time for those who came with it, two rounds apart."""

MOST_NEWCOMERS = 16
"""Calls that may come in for each turn that was given, and keep back the next: a flood must not stop all work."""


@dataclass(slots=True)
class _Waiter:
    turn: asyncio.Future[None]
    cost: int
    came: float


@dataclass(slots=True)
class _Peer:
    waiting: deque[_Waiter] = field(default_factory=deque)
    credit: int = 0


class Line:
    """Gives turns, one after the other. Used on one event loop.

    `clock` counts seconds and never steps back. `together` says how many begin at once. `worked` is told, each time the
    loop has come to rest or may begin more, how many seconds that took since how many turns were given.
    """

    def __init__(
        self, clock: Callable[[], float], together: Callable[[], int], worked: Callable[[float, int], None]
    ) -> None:
        self._clock = clock
        self._together = together
        self._worked = worked
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._began = 0.0
        self._turns = 0
        """When work last began, and how many began then."""
        self._newcomers = 0
        self._seen = 0
        """Calls that came in since then, and how many of them by the round before."""
        self._quiet = 0
        """Rounds, up to this one, in which none came in."""
        self._running = False

    def arrived(self) -> None:
        """A call has come in, whatever becomes of it."""
        self._newcomers += 1

    @property
    def longest_wait(self) -> float:
        """Seconds for which the one has waited who has waited longest; 0 if nobody waits."""
        oldest = min((peer.waiting[0].came for peer in self._peers.values()), default=None)
        return self._clock() - oldest if oldest is not None else 0.0

    async def turn(self, peer: str, cost: int = 1) -> float:
        """Return when it is the caller's turn to begin; the seconds that it waited."""
        loop = asyncio.get_running_loop()
        now = self._clock()
        waiter = _Waiter(loop.create_future(), cost, now)
        self._peers.setdefault(peer, _Peer()).waiting.append(waiter)
        if not self._running:
            self._running = True
            self._begin(now, 0)
            self._quiet = QUIET_ROUNDS - FIRST_ROUNDS
            loop.call_soon(self._round, loop)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            self._leave(peer, waiter)
            raise
        return self._clock() - now

    def _leave(self, name: str, waiter: _Waiter) -> None:
        peer = self._peers.get(name)
        if peer is not None and waiter in peer.waiting:
            peer.waiting.remove(waiter)
            if not peer.waiting:
                del self._peers[name]

    def _begin(self, now: float, turns: int) -> None:
        self._began = now
        self._turns = turns
        self._newcomers = self._seen = self._quiet = 0

    def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        """What each round of the loop does, as long as turns are waited for or some were just given."""
        self._quiet = self._quiet + 1 if self._newcomers == self._seen else 0
        self._seen = self._newcomers
        if self._quiet >= QUIET_ROUNDS or self._newcomers >= MOST_NEWCOMERS * (self._turns or self._together()):
            now = self._clock()
            if self._turns:
                self._worked(now - self._began, self._turns)
            if not self._peers:
                self._running = False
                return
            self._give(now)
        loop.call_soon(self._round, loop)

    def _give(self, now: float) -> None:
        """Give turns to as many as begin together."""
        turns, most = 0, self._together()
        while self._peers and turns < most:
            waiter = self._next()
            if not waiter.turn.done():  # else its call ended in this very round
                waiter.turn.set_result(None)
                turns += 1
        self._begin(now, turns)

    def _next(self) -> _Waiter:
        """Take whose turn it is off the line."""
        while True:
            name, peer = next(iter(self._peers.items()))
            waiter = peer.waiting[0]
            peer.credit += 1
            if peer.credit < waiter.cost:
                self._peers.move_to_end(name)
                continue
            peer.credit = 0
            peer.waiting.popleft()
            if peer.waiting:
                self._peers.move_to_end(name)
            else:
                del self._peers[name]
            return waiter
