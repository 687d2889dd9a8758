"""Whether a balancer should send work here: no question of how much is refused, but of whether anything is served.

A gateway that is offered more than it can do, and does what it can, is fit: were it taken out, the others would get
its share as well, and fall in turn. It is unfit once nobody can be served within a caller's patience: who is in the
line has waited for longer than PATIENCE, or work is under way and none has ended for STANDSTILL. It is fit again only
after a while without either, so that a balancer is not sent back and forth.
"""

from __future__ import annotations

from gateway.deadlines import DEFAULT_DEADLINE

PATIENCE = DEFAULT_DEADLINE / 2
"""Seconds of waiting after which too little of a caller's deadline is left."""

STANDSTILL = DEFAULT_DEADLINE + 5.0
"""Seconds: whatever departments do, a request ends within its deadline; its commit should not take much longer."""

RECOVERY = 5.0
"""Seconds without a complaint after which the last one is dropped."""


class Fitness:
    """Judges by what it is told, at times of a clock that counts seconds and never steps back."""

    def __init__(self) -> None:
        self._complaint: str | None = None
        self._since = 0.0

    def look(self, now: float, longest_wait: float, standstill: float) -> str | None:
        """The complaint that stands now, if any. Told how long the first in line has waited, and how long work has
        been under way of which none ended.
        """
        found = None
        if longest_wait > PATIENCE:
            found = f"overloaded: nobody had a turn for {PATIENCE:.0f} s"
        elif standstill > STANDSTILL:
            found = f"nothing that is under way has ended for {STANDSTILL:.0f} s"
        if found is not None:
            self._complaint, self._since = found, now
        elif self._complaint is not None and now - self._since >= RECOVERY:
            self._complaint = None
        return self._complaint
