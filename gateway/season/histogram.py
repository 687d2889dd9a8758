"""Latencies in bounded memory, as HdrHistogram keeps them: buckets that grow with the value.

Values are kept to the microsecond below 256 µs, and above in 128 equal buckets for each doubling; a percentile is the
upper end of its bucket. So a percentile is never told smaller than it is, and less than 0.8 % larger. The greatest
value is kept exactly, and no percentile exceeds it.
"""

from __future__ import annotations

import math
from collections import Counter

_MICRO = 1_000_000
_EXACT_BITS = 8
"""Values of so many bits, in microseconds, have a bucket each."""


class Histogram:
    """Counts seconds. `add` what was measured, ask for percentiles."""

    __slots__ = ("_buckets", "count", "max")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        """How many values."""
        self.max = 0.0
        """The greatest value, exactly; 0 of none."""

    def add(self, seconds: float) -> None:
        """Count one value; a negative one, which two clocks may make, as zero."""
        seconds = max(seconds, 0.0)
        self._buckets[_upper_end(math.ceil(seconds * _MICRO))] += 1
        self.count += 1
        self.max = max(self.max, seconds)

    def percentile(self, percent: float) -> float | None:
        """By the nearest rank: the smallest value that at least `percent` of all do not exceed; None of none."""
        if not self.count:
            return None
        rank = max(1, math.ceil(percent / 100 * self.count))
        seen = 0
        for end in sorted(self._buckets):
            seen += self._buckets[end]
            if seen >= rank:
                return min(end / _MICRO, self.max)
        return self.max


def _upper_end(micros: int) -> int:
    """The greatest value of the bucket in which `micros` lies."""
    shift = max(0, micros.bit_length() - _EXACT_BITS)
    return (((micros >> shift) + 1) << shift) - 1
