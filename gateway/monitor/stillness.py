"""When a log stands still for too long. An idle log may be still: nobody asks at night, and a checkpoint bears no time.

So stillness is only what somebody can show: other places saw more of the log than it shows itself (`max_lag`, also for
a log that cannot be read), no witness cosigned of late what it shows (`max_age`), or its operator promised that it
grows (`max_idle`).

Time is counted while the monitor looks, by the clock of the day and by one that never jumps, whichever says less: a
clock that is set forward makes nothing late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.monitor.findings import Findings
from gateway.monitor.state import MonitorState
from gateway.protocol.cosignature import cosigned_at
from gateway.protocol.note import ED25519, VerifierKey, open_note


@dataclass(frozen=True, slots=True)
class Limits:
    """For how many seconds things may stand still; None: for ever. Each is told as STALLED."""

    max_lag: float | None = 300.0
    max_idle: float | None = None
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` is in seconds since the epoch and may jump; `steady` counts seconds of this process and does not."""

    now: Callable[[], float]
    steady: Callable[[], float]


class Passing:
    """Seconds since the log was last reached."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reached: float | None = None

    def since(self, looked: float) -> float:
        """Since `looked`, when it was last reached by the clock of the day; 0.0 if it never was."""
        passed = max(0.0, self._clock.now() - looked) if looked else 0.0
        return passed if self._reached is None else min(passed, self._clock.steady() - self._reached)

    def reach(self) -> None:
        """The log is reached now."""
        self._reached = self._clock.steady()


def judge_stillness(state: MonitorState, limits: Limits, verifiers: tuple[VerifierKey, ...], found: Findings) -> None:
    """Whether what the log shows is too old."""
    size = state.frontier.size
    if limits.max_idle is not None and state.idle > limits.max_idle:
        found.stalled("idle", str(size), {"size": size, "seconds": int(state.idle)})
    if limits.max_age is not None:
        cosigned = _cosigned(state, verifiers)
        if cosigned is None or found.now - cosigned > limits.max_age:
            ago = int(found.now - cosigned) if cosigned is not None else "never"
            found.stalled("unwitnessed", f"{size} {cosigned or 0}", {"size": size, "cosigned_seconds_ago": ago})


def judge_absence(state: MonitorState, limits: Limits, away: float, found: Findings) -> None:
    """Whether a log that was read before cannot be read for too long."""
    if limits.max_lag is not None and away > limits.max_lag:
        found.stalled("unreachable", str(int(state.looked)), {"seconds": int(away)})


def _cosigned(state: MonitorState, verifiers: tuple[VerifierKey, ...]) -> int | None:
    """When one of the known witnesses last cosigned what the log shows."""
    note = open_note(state.seen.encode(), verifiers)
    known = {(key.name, key.key_id): key for key in verifiers}
    times = [
        cosigned_at(signature)
        for signature in note.verified
        if signature.name != state.origin and known[signature.name, signature.key_id].algorithm != ED25519
    ]
    return max(times, default=None)
