"""How long a batch waits for more: one adaptive rule, for the streams to departments and for the log alike.

Each message and each commit has a cost of its own, however little it carries, so that fewer and larger ones carry
more; but a lone request must not wait for company that never comes. Hence, as in RFC 896: while nothing is in
flight, nothing waits; while something is, what comes next waits until that is back, the batch is full, or its
patience ends. Patience follows the load by itself: it is a share of the time that an exchange takes just now.
"""

from __future__ import annotations

from dataclasses import dataclass

_SMOOTHING = 0.125
"""Weight of the newest exchange, as TCP smooths its round trip (RFC 6298, section 2)."""


@dataclass(frozen=True, slots=True)
class Batching:
    """`full` is the most that a batch carries, `longest` the most seconds that its oldest item waits."""

    full: int
    longest: float
    share: float = 0.25
    """Part of an exchange's usual time that may be added to it by waiting."""

    def patience(self, *, waiting: int, in_flight: int, exchange: float) -> float:
        """Seconds that the oldest of `waiting` items may have waited before the batch goes, in any case.

        `exchange` is the usual time, in seconds, of the exchanges of which `in_flight` are under way.
        """
        if in_flight == 0 or waiting >= self.full:
            return 0.0
        return min(self.longest, self.share * exchange)


def smooth(usual: float, newest: float) -> float:
    """The usual time of an exchange after one more of them; the first one counts in full."""
    return newest if usual == 0.0 else usual + _SMOOTHING * (newest - usual)
