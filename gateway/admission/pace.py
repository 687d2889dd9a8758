"""How fast the gateway works, as measured: seconds for each turn, until the loop has come to rest or begins more.

Whatever the gateway does between two turns is in it: work that was begun, what comes back from departments, commits,
refusals, and the lag of its event loop. What it only waits for is not: a department that hangs makes a request last
long, and delays nobody's turn. Time in which the loop rests is not in it, so an idle hour changes nothing either.

The bound of the line follows from it (Little's law): as many may wait as have their turn within LONGEST_WAIT.
"""

from __future__ import annotations

LONGEST_WAIT = 1.0
"""Seconds in the line, at most, at the measured pace: a tenth of what a call has. A requester alone has half of it."""

LEAST_BOUND = 64
"""Requests that may wait however slow the gateway is: what a handful of ordinary callers send at once."""

TOGETHER = 0.2
"""Seconds of work that begin at once: enough to fill messages and commits, little enough to see soon who comes."""

_WINDOW = 0.25
"""Seconds of work that one measurement covers: many turns, among them those after a large batch came back."""

_FIRST = 0.002
"""Seconds that a turn is taken to last before any was measured."""

_WEIGHT = 0.5


class Pace:
    """The measured pace: `worked` is told of each stretch of work."""

    def __init__(self) -> None:
        self.seconds = _FIRST
        self._time = 0.0
        self._turns = 0

    def worked(self, seconds: float, turns: int) -> None:
        """The work of so many turns took so many seconds."""
        self._time += seconds
        self._turns += turns
        if self._time >= _WINDOW:
            self.seconds += _WEIGHT * (self._time / self._turns - self.seconds)
            self._time, self._turns = 0.0, 0

    def together(self) -> int:
        """How many turns are given at once."""
        return max(1, int(TOGETHER / self.seconds))

    def bound(self, most: int) -> int:
        """How many may be in the line, at most `most`."""
        return min(most, max(LEAST_BOUND, int(LONGEST_WAIT / self.seconds)))
