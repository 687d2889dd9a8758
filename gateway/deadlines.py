"""How long the gateway works on a call: what its caller leaves, less a margin, and never for ever."""

from __future__ import annotations

from gateway.protocol.errors import MalformedError

DEADLINE_MARGIN = 0.25
"""Seconds of the caller's deadline kept back for commit and response."""

LEAST_DEADLINE = 0.5
"""Seconds below which no department could answer: asking would only fill the log."""

DEFAULT_DEADLINE = 10.0
"""Seconds for a caller that sets no deadline, and the most that any is given."""


def deadline_of(time_left: float | None, now: float) -> float:
    """Until when departments may answer a caller who has so many seconds left (None: no deadline); MalformedError.

    `now` and the result are seconds of the same clock.
    """
    budget = DEFAULT_DEADLINE if time_left is None else min(time_left, DEFAULT_DEADLINE)
    if budget <= LEAST_DEADLINE:
        raise MalformedError.at("deadline", f"must leave departments more than {LEAST_DEADLINE} s to answer")
    return now + budget - DEADLINE_MARGIN
