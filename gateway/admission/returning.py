"""When a refused caller should come back: spread over the time that the work takes, so that not all return at once.

Each caller that is told to come back is thought of as the next one of its peer's in a second line, outside: as many
of them as there is work for come back in a second. Peers share that alike, so that one which floods makes only its own
callers wait longer. Where one comes to stand in it is then stretched by chance, for the clients of several gateways.
"""

from __future__ import annotations

from collections.abc import Callable

LEAST_RETRY = 0.05
"""Seconds: below it a caller would be back before anything has changed."""

MOST_RETRY = 8.0
"""Seconds, before chance adds to them: a query is accepted for a minute, and its caller should try several times."""

_JITTER = 0.25
"""Share of the wait that chance adds, at most."""


class Returns:
    """Knows when the callers that were refused will be back. `random` gives numbers from 0 to 1."""

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._last: dict[str, float] = {}

    def after(self, peer: str, pace: float) -> float:
        """Seconds after which a caller of `peer` should come back, where a turn comes every `pace` seconds.

        In steps of about a hundredth, so that what is said of it can be kept.
        """
        now = self._clock()
        if self._last.get(peer, now) <= now:
            self._last = {other: until for other, until in self._last.items() if until > now}
        last = self._last.setdefault(peer, now)
        self._last[peer] = until = min(last + pace * len(self._last), now + MOST_RETRY)
        seconds = LEAST_RETRY + (until - now) * (1.0 + _JITTER * self._random())
        return round(seconds, 2 if seconds < 1.0 else 1)
