"""What came of a rehearsal, counted as it comes, and the verdict.

Latency counts from when an application was due, not from when it was sent: a gateway that holds up its callers, or a
generator that falls behind, cannot hide its delay by the requests that were never sent meanwhile (coordinated
omission). It covers what was answered, wholly or in part, and what was waited for in vain, with the time until it was
given up; what was refused or turned away is left out, since a fast refusal is no fast answer. Those have shares of
their own.

Nothing here names a person: departments, claims, reasons and counts.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.season.goal import LATENCIES, RATE, Term
from gateway.season.histogram import Histogram
from gateway.season.node_counters import NodeCounters
from gateway.season.profile import Profile

MAX_LAG = 0.25
"""Seconds by which the generator may be late, in one of a hundred cases: more, and its load was not the profile's."""
MOST_WRONG = 10
"""Wrong answers that are told one by one; all are counted."""
PATIENCE_RAN_OUT = "PATIENCE_RAN_OUT"
"""The reason of one who stopped waiting, beside the contract's reasons."""


class End(StrEnum):
    """How an application ended."""

    ANSWERED = "answered"
    """Every check answered by its department."""
    UNAVAILABLE = "unavailable"
    """Answered, but for checks that were unavailable until the last attempt."""
    REFUSED = "refused"
    """By the gateway (also as overloaded) or by a department."""
    UNANSWERED = "unanswered"
    """No answer came to any attempt."""
    WRONG = "wrong"
    """An answer that is not the truth, or a receipt that does not hold."""
    CUT_SHORT = "cut short"
    """Under way when the run was stopped."""


_MEASURED = frozenset({End.ANSWERED, End.UNAVAILABLE, End.UNANSWERED, End.WRONG})
"""Ends whose latency counts."""


@dataclass(slots=True)
class Department:
    """What the applications had of one department, in checks."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_open: int = 0
    """Unavailable until the last attempt."""
    unavailable: Counter[str] = field(default_factory=Counter)
    """Each time that a check was told unavailable, by reason; a later attempt may have had the answer."""

    @property
    def checks(self) -> int:
        """Checks that were settled one way or another."""
        return self.answered + self.refused.total() + self.left_open


@dataclass(slots=True)
class Second:
    """One second of the run: what was sent and ended in it, and the latency of what was due in it."""

    sent: int = 0
    answered: int = 0
    other: int = 0
    latency: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class Health:
    """How well the generator itself kept up."""

    late: Histogram = field(default_factory=Histogram)
    """From when an application was due, or had its place, until it was sent."""
    loop_lag: Histogram = field(default_factory=Histogram)
    """By how much its event loop woke too late."""
    cpu_seconds: float = 0.0
    machine_load: float = 0.0
    """Processes that wanted a core in the last minute of the run, for each core: above 1, somebody had to wait."""
    held_back: int = 0
    """Applications that found `in_flight` under way; that wait is the gateway's, and counts in the latency."""

    @property
    def lag(self) -> float:
        """Seconds by which it was late in one of a hundred cases, in sending or in noticing answers."""
        return max(seen.percentile(99) or 0.0 for seen in (self.late, self.loop_lag))

    @property
    def kept_up(self) -> bool:
        """Whether what it sent was the profile."""
        return self.lag <= MAX_LAG


class Tally:
    """Counts what happens; times are seconds after the start of the run."""

    def __init__(self) -> None:
        self.ends: Counter[End] = Counter()
        self.reasons: Counter[str] = Counter()
        """Why applications were refused or not answered, in the end."""
        self.retries: Counter[str] = Counter()
        """Why a request was sent again."""
        self.latency = Histogram()
        self.departments: defaultdict[str, Department] = defaultdict(Department)
        self.seconds: defaultdict[int, Second] = defaultdict(Second)
        self.health = Health()
        self.wrong: list[str] = []
        self.sent = self.settled = 0
        self.receipts_verified = 0
        self.under_way = self.most_under_way = 0
        self.last_end = 0.0

    @property
    def ended(self) -> int:
        """Applications that came to an end of their own."""
        return self.ends.total() - self.ends[End.CUT_SHORT]

    def start(self, now: float) -> None:
        """An application is sent for the first time."""
        self.sent += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.seconds[math.floor(now)].sent += 1

    def give_up(self, due: float, now: float, reason: str) -> None:
        """An application that was due at `due` found no place until all patience was over: it was never sent."""
        self.under_way += 1
        self.finish(due, now, End.UNANSWERED, reason)

    def finish(self, due: float, now: float, end: End, reason: str | None = None) -> None:
        """An application that was due at `due` ended."""
        self.under_way -= 1
        self.ends[end] += 1
        if end is End.CUT_SHORT:
            return
        self.last_end = max(self.last_end, now)
        if reason:
            self.reasons[reason] += 1
        second = self.seconds[math.floor(now)]
        if end is End.ANSWERED:
            second.answered += 1
        else:
            second.other += 1
        if end in _MEASURED:
            self.latency.add(now - due)
            self.seconds[math.floor(due)].latency.add(now - due)

    def tell_wrong(self, what: str) -> None:
        """Keep what was wrong of an application: a claim or a reason, and a request_id."""
        if len(self.wrong) < MOST_WRONG:
            self.wrong.append(what)

    def share(self, end: End) -> float | None:
        """Percent of the applications that ended; None if none did."""
        return 100 * self.ends[end] / self.ended if self.ended else None


class Verdict(StrEnum):
    """What is concluded."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    """The generator did not keep up, so that the figures may be its own."""
    INTERRUPTED = "interrupted"
    NO_GOAL = "no goal"


@dataclass(frozen=True, slots=True)
class Judged:
    """One term of the goal, the value that it met, and whether it holds."""

    term: Term
    value: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A run that has ended: what was wanted, what was seen, in `elapsed` seconds."""

    profile: Profile
    goal: tuple[Term, ...]
    planned: Sequence[int]
    """Applications due in each second."""
    tally: Tally
    elapsed: float
    verify_receipts: str
    connections: int
    interrupted: bool = False
    counters: Mapping[str, NodeCounters] = field(default_factory=dict)
    """Of each department, by how much the gateway's own counters grew meanwhile; empty if they were not read."""

    @property
    def rate(self) -> float:
        """Applications answered whole in a second: over the profile's time, or until the last one ended."""
        span = self.elapsed if self.interrupted else max(self.profile.seconds, self.tally.last_end)
        return self.tally.ends[End.ANSWERED] / span if span > 0 else 0.0

    def second(self, number: int) -> Second:
        """One second of the run, an empty one where nothing happened."""
        return self.tally.seconds.get(number, Second())

    @property
    def checks_per_application(self) -> float:
        """Of the applications that departments answered or refused, wholly or in part; 0 of none."""
        settled = self.tally.settled
        return sum(seen.checks for seen in self.tally.departments.values()) / settled if settled else 0.0

    @property
    def cpu_share(self) -> float:
        """Percent of one core that the generator used."""
        return 100 * self.tally.health.cpu_seconds / self.elapsed if self.elapsed > 0 else 0.0

    def value_of(self, measure: str) -> float | None:
        """The value of a measure of the goal's grammar; None if there is none."""
        tally = self.tally
        if measure == RATE:
            return self.rate
        if measure not in LATENCIES:
            return tally.share(End(measure))
        if measure == "max":
            return tally.latency.max if tally.latency.count else None
        return tally.latency.percentile(float(measure[1:]))

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Every term of the goal with its value."""
        values = [(term, self.value_of(term.measure)) for term in self.goal]
        return tuple(Judged(term, value, term.holds(value)) for term, value in values)

    @property
    def verdict(self) -> Verdict:
        """A wrong answer fails any run; a generator that did not keep up proves nothing else.

        A latency that would have reached its goal but for the generator's own lag, which is part of it, is no failure.
        """
        if self.tally.ends[End.WRONG]:
            return Verdict.FAILED
        if self.interrupted:
            return Verdict.INTERRUPTED
        if not self.tally.health.kept_up:
            return Verdict.INCONCLUSIVE
        if not self.goal:
            return Verdict.NO_GOAL
        failed = [item for item in self.judged if not item.holds]
        if not failed:
            return Verdict.PASSED
        return Verdict.INCONCLUSIVE if all(map(self._may_be_the_generators, failed)) else Verdict.FAILED

    def _may_be_the_generators(self, item: Judged) -> bool:
        late = item.term.measure in LATENCIES and item.value is not None
        return late and item.term.holds(max((item.value or 0.0) - self.tally.health.lag, 0.0))
