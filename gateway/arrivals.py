"""Calls that arrive together begin together, so that what they ask and record is batched.

The server of `grpc.aio` takes up one call in about two turns of the event loop. Where the turns are long, because calls
that were taken up before are being worked on, those behind them wait outside, unseen: of 128 callers four or five are
under way, and each pays for messages, signatures and commits of its own. So a call waits here until a few turns have
brought no other, which are short because nobody works meanwhile: about 0.1 ms where it is alone.
"""

from __future__ import annotations

import asyncio

QUIET_TURNS = 4
"""Turns of the event loop without a new call, after which no more is waited for; one call takes two."""
FULL = 256
"""Calls that begin without waiting for more."""
LONGEST = 0.005
"""Seconds that the first of them waits at most, however many go on coming."""


class Arrivals:
    """Where calls wait for each other, on the running event loop."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._seen = 0
        self._quiet = 0
        self._until = 0.0

    async def join(self) -> None:
        """Return once those who arrive with this call are here too."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._seen = self._quiet = 0
            self._until = loop.time() + LONGEST
            loop.call_soon(self._look, loop)
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look once in each turn whether somebody came."""
        count = len(self._waiting)
        self._quiet = self._quiet + 1 if count == self._seen else 0
        self._seen = count
        if self._quiet < QUIET_TURNS and count < FULL and loop.time() < self._until:
            loop.call_soon(self._look, loop)
            return
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():  # its caller may have gone
                waiter.set_result(None)
