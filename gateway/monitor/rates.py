"""Counting what happens within a sliding window of log time, in constant memory for each thing that is counted.

A window is counted in sixtieths: the sum covers between 59 and 60 of them, never more than the window, so that a limit
is never said to be passed that was not. Once passed, it stays quiet for a window. Times are those of leaves: neither
the monitor's clock nor how fast it reads counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PARTS = 60
"""Of a window."""
MAX_KEYS = 10_000
"""Things that one rule counts apart; there are fewer parties in a registry. Beyond it they are counted together."""
OTHERS = "*"


@dataclass(slots=True)
class _Count:
    parts: dict[int, int] = field(default_factory=dict)
    quiet_until: float = 0.0


@dataclass(slots=True)
class SlidingCounts:
    """Counts by key within `window` seconds."""

    window: float
    counts: dict[str, _Count] = field(default_factory=dict)

    def add(self, key: str, time: float, amount: int, limit: int) -> int | None:
        """Count `amount` at `time`; the count in the window if it passes `limit` and was not told within a window."""
        count = self._count_of(key, time)
        part = int(time * PARTS / self.window)
        count.parts[part] = count.parts.get(part, 0) + amount
        newest = max(count.parts)
        for old in [each for each in count.parts if each <= newest - PARTS]:
            del count.parts[old]
        total = sum(count.parts.values())
        if total <= limit or time < count.quiet_until:
            return None
        count.quiet_until = time + self.window
        return total

    def _count_of(self, key: str, time: float) -> _Count:
        if key not in self.counts and len(self.counts) >= MAX_KEYS:
            oldest = int(time * PARTS / self.window) - PARTS
            self.counts = {
                name: count
                for name, count in self.counts.items()
                if count.quiet_until > time or max(count.parts, default=oldest) > oldest
            }
            if len(self.counts) >= MAX_KEYS:
                key = OTHERS
        return self.counts.setdefault(key, _Count())

    def document(self) -> dict[str, Any]:
        """The counts as values of JSON."""
        return {
            key: [count.quiet_until, {str(part): amount for part, amount in count.parts.items()}]
            for key, count in self.counts.items()
        }

    @classmethod
    def read(cls, window: float, document: Mapping[str, Any]) -> SlidingCounts:
        """What `document` gave; raises ValueError, TypeError or AttributeError for anything else."""
        counts = {
            str(key): _Count({int(part): int(amount) for part, amount in parts.items()}, float(quiet))
            for key, (quiet, parts) in document.items()
        }
        return cls(window, counts)
