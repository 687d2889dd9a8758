"""The circuit breaker of one channel: a node that fails or has stopped is left alone, but for a probe now and then.

    closed ── FAILURES in a row, or `trip` ──► open ── its pause ends ──► one probe, and a pause twice as long
       ▲                                                                       │
       └────────────────────────────── any success ────────────────────────────┘

While it is open, asks fail at once: they take no place in the gateway, and nobody waits for a node that is not
there. Times are seconds of any steady clock, given by the caller.
"""

from __future__ import annotations

from collections.abc import Callable

FAILURES = 5
"""Failures in a row that open it: fewer may be chance, more keep callers waiting."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
"""Seconds between probes, doubling: a node that is back is found within the longest."""


class Breaker:
    """Closed, until it is told of failures; `on_open` is called each time that it opens."""

    def __init__(self, on_open: Callable[[], None] = lambda: None) -> None:
        self._on_open = on_open
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether asks are kept away, but for probes."""
        return self._open_until is not None

    def admits(self, now: float) -> bool:
        """Whether an ask may go now. While open, a True is the one probe of its pause: the caller must send it."""
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._open_until = now + self._pause
        return True

    def would_admit(self, now: float) -> bool:
        """Whether an ask may go now; only looks, so that a probe is not used up."""
        return self._open_until is None or now >= self._open_until

    def succeed(self) -> None:
        """The node answered."""
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until = None

    def fail(self, now: float) -> None:
        """The node did not answer, or wrongly. While open that is no news: pauses grow with probes, not with these."""
        self._failures += 1
        if self._failures >= FAILURES:
            self.trip(now)

    def trip(self, now: float) -> None:
        """Open at once, unless it is open."""
        if self._open_until is None:
            self._open_until = now + self._pause
            self._on_open()
