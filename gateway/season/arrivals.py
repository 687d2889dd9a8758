"""When applicants come: independent arrivals under a profile's curve, exactly as many as it says.

An open loop: the schedule is made before the run and does not wait for answers, as real applicants do not. Each
arrival is drawn for itself, so that they clump as a crowd does (given their number, the arrivals of a Poisson process
are independent draws from its curve); a generator that spaced them evenly would be kinder than the morning.
Randomness is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.season.profile import Profile, Shape

Draw = Callable[[], float]
"""A number from 0 (included) to 1 (not), each as likely as the others: `random.Random(seed).random`."""
_HOUR = 60


@dataclass(frozen=True, slots=True)
class Arrival:
    """One application: seconds after the start at which it is due, by which applicant (0 the first)."""

    due: float
    applicant: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run, in seconds, with the share of the applicants who come in it, evenly."""

    starts: float
    ends: float
    share: float


def phases_of(profile: Profile) -> tuple[Phase, ...]:
    """The curve of `profile`: stretches without a gap, whose shares add up to one."""
    if profile.shape is Shape.STEADY:
        return (Phase(0.0, profile.seconds, 1.0),)
    calm = profile.seconds * profile.burst_minutes / _HOUR
    burst = profile.burst_minutes * profile.burst_factor / _HOUR
    return Phase(0.0, calm, burst), Phase(calm, profile.seconds, 1.0 - burst)


def arrivals_of(profile: Profile, draw: Draw) -> tuple[Arrival, ...]:
    """Every application of the run, in the order in which they are due.

    Each applicant comes once within `profile.seconds`; `again_percent` of them, rounded, come a second time
    `again_after` seconds later.
    """
    phases = phases_of(profile)
    first = sorted(_at(phases, draw()) for _ in range(profile.applicants))
    arrivals = [Arrival(due, applicant) for applicant, due in enumerate(first)]
    twice = round(profile.applicants * profile.again_percent / 100)
    chosen = sorted(range(profile.applicants), key=lambda _: draw())[:twice]
    arrivals += [Arrival(first[applicant] + profile.again_after, applicant) for applicant in chosen]
    return tuple(sorted(arrivals, key=lambda arrival: (arrival.due, arrival.applicant)))


def by_second(arrivals: Sequence[Arrival]) -> tuple[int, ...]:
    """How many are due in each second of the run, from its start to its last arrival."""
    counts = [0] * (math.floor(max(arrival.due for arrival in arrivals)) + 1 if arrivals else 0)
    for arrival in arrivals:
        counts[math.floor(arrival.due)] += 1
    return tuple(counts)


def _at(phases: Sequence[Phase], place: float) -> float:
    """The time by which `place` (0 to 1) of all applicants have come."""
    for phase in phases[:-1]:
        if place < phase.share:
            return phase.starts + place / phase.share * (phase.ends - phase.starts)
        place -= phase.share
    last = phases[-1]
    return last.starts + (min(place / last.share, 1.0) if last.share > 0 else 0.0) * (last.ends - last.starts)
