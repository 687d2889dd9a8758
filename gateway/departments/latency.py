"""What a node's answers have taken of late: when to hedge, and when silence means that it has stopped."""

from __future__ import annotations

from collections import deque

WINDOW = 256
"""Answers that are remembered."""
ENOUGH = 20
"""Answers before a percentile of them means anything."""
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
