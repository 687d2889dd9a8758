"""What a monitor is told to raise alarms about, beyond what must hold of every log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.rules.windows import Window

PERIODS = {"minute": 60.0, "hour": 3_600.0, "day": 86_400.0}
"""Seconds of the windows in which is counted."""

WindowsOf = Callable[[str], tuple[Window, ...]]
"""The enrolment windows of a county, none if it has no rules."""


@dataclass(frozen=True, slots=True)
class QueryLimit:
    """At most `at_most` logged verifications of one requester within `per`; of each that has no limit of its own."""

    at_most: int
    per: str
    requester: str = ""

    @property
    def name(self) -> str:
        """What its counts are kept under."""
        return f"queries/{self.per}/{self.at_most}/{self.requester}"


@dataclass(frozen=True, slots=True)
class RefusalLimit:
    """At most `at_most` refusals of the named reasons (any, if none is named) within `per`, of one peer or of all."""

    at_most: int
    per: str
    reasons: tuple[str, ...] = ()
    each_peer: bool = True

    @property
    def name(self) -> str:
        """What its counts are kept under."""
        reasons = ",".join(self.reasons)
        return f"refusals/{self.per}/{self.at_most}/{'peer' if self.each_peer else 'all'}/{reasons}"


@dataclass(frozen=True, slots=True)
class Rules:
    """Every rule. Without any, only what must hold of every log is watched, and all notices are told."""

    queries: tuple[QueryLimit, ...] = ()
    refusals: tuple[RefusalLimit, ...] = ()
    outside_windows: bool = True
    evidence_accesses: bool = True
    erasures: bool = True
    restores: bool = True

    def limits_of(self, requester: str) -> list[QueryLimit]:
        """The limits that hold for a requester: its own and, of each period without one, the general ones."""
        own = [limit for limit in self.queries if limit.requester == requester]
        periods = {limit.per for limit in own}
        return own + [limit for limit in self.queries if not limit.requester and limit.per not in periods]

    @property
    def names(self) -> list[str]:
        """Those of all limits."""
        return [limit.name for limit in self.queries] + [limit.name for limit in self.refusals]

    def period_of(self, name: str) -> float | None:
        """The seconds in which a limit counts; None if there is no limit of that name."""
        periods = {limit.name: limit.per for limit in self.queries} | {limit.name: limit.per for limit in self.refusals}
        return PERIODS[periods[name]] if name in periods else None


NO_RULES = Rules()
