"""What a node's answers have taken of late, and what follows: when to hedge, and when silence means that it stopped.

After Dean and Barroso, "The Tail at Scale" (2013): what takes longer than all but one in twenty is asked a second
time. Hedges have a budget, so that they never double the load of a node that is merely busy. Durations in seconds.
"""

from __future__ import annotations

from collections import deque

WINDOW = 256
"""Answers that are remembered."""
ENOUGH = 20
"""Answers before a percentile of them means anything."""
LEAST_DELAY = 0.02
"""Seconds before which nothing is hedged: a scheduler's hiccup is no reason."""
FIRST_DELAY = 0.5
"""Seconds while too few answers are known."""
SHARE = 0.1
"""Hedges for each ask, in the long run: what a busy node may get on top."""
BURST = 10.0
LEAST_SILENCE = 2.0
MOST_SILENCE = 8.0
"""Seconds, between which lies the silence of an asked node that counts as having stopped: four times what all but
one in twenty of its answers take."""
_FRESH = 32
"""Answers after which the percentile is taken anew: sorting for each would cost more than it tells."""


class Latencies:
    """The last WINDOW durations, in seconds."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._p95: float | None = None
        self._added = 0

    def add(self, seconds: float) -> None:
        """One more answer took so long."""
        self._recent.append(seconds)
        self._added += 1
        if self._added == ENOUGH or self._added % _FRESH == 0:
            ordered = sorted(self._recent)
            self._p95 = ordered[int(0.95 * len(ordered))]

    @property
    def p95(self) -> float | None:
        """The 95th percentile, or None before ENOUGH answers."""
        return self._p95

    @property
    def longest_silence(self) -> float:
        """Seconds of silence, while asked, after which the node counts as having stopped."""
        return min(MOST_SILENCE, max(LEAST_SILENCE, 4 * (self._p95 or 0.0)))

    @property
    def hedge_delay(self) -> float:
        """Seconds after which an ask goes to a second channel as well."""
        return FIRST_DELAY if self._p95 is None else max(LEAST_DELAY, self._p95)


class HedgeBudget:
    """SHARE of a hedge for each ask, of which BURST may be saved up."""

    def __init__(self) -> None:
        self._left = BURST

    def ask(self) -> None:
        """One more ask was sent."""
        self._left = min(BURST, self._left + SHARE)

    @property
    def allows(self) -> bool:
        """Whether there is a hedge left."""
        return self._left >= 1

    def spend(self) -> None:
        """An ask was hedged."""
        self._left -= 1
