"""Arrivals: exactly as many as the profile says, in its shape, clumped as a crowd is."""

from __future__ import annotations

from itertools import cycle, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.season.arrivals import Arrival, arrivals_of, by_second, phases_of
from gateway.season.profile import Profile, Shape


@given(
    shape=st.sampled_from(Shape),
    applicants=st.integers(1, 300),
    seconds=st.floats(1, 3600),
    again=st.integers(0, 100),
    seed=st.integers(0, 2**32),
)
def test_every_applicant_comes_once_and_the_impatient_twice(shape, applicants, seconds, again, seed) -> None:
    profile = Profile(shape=shape, applicants=applicants, seconds=seconds, again_percent=again)
    arrivals = arrivals_of(profile, Random(seed).random)
    twice = round(applicants * again / 100)
    assert len(arrivals) == applicants + twice
    assert all(one.due <= other.due for one, other in pairwise(arrivals))
    first: dict[int, float] = {}
    seconds_times = 0
    for arrival in arrivals:
        if arrival.applicant in first:
            assert arrival.due == pytest.approx(first[arrival.applicant] + profile.again_after)
            seconds_times += 1
        else:
            first[arrival.applicant] = arrival.due
            assert 0 <= arrival.due <= seconds
    assert (len(first), seconds_times) == (applicants, twice)
    assert sum(by_second(arrivals)) == len(arrivals)


def test_the_burst_brings_three_times_the_average_and_the_calm_the_rest() -> None:
    profile = Profile(applicants=12_000, seconds=60, again_percent=0)
    counts = by_second(arrivals_of(profile, Random(7).random))
    burst, calm = sum(counts[:10]), sum(counts[10:])
    assert [phase.share for phase in phases_of(profile)] == [0.5, 0.5]
    assert abs(burst - 6000) < 5 * 55  # five standard deviations of a binomial with an even chance
    assert calm == 12_000 - burst
    assert max(counts[10:]) < min(counts[:10])


def test_an_even_draw_gives_the_curve_itself() -> None:
    grid = cycle([(place + 0.5) / 600 for place in range(600)])
    counts = by_second(arrivals_of(Profile(applicants=600, seconds=60, again_percent=0), lambda: next(grid)))
    assert counts == (30,) * 10 + (6,) * 50


def test_a_steady_crowd_clumps_as_one_whose_members_come_for_themselves() -> None:
    profile = Profile(shape=Shape.STEADY, applicants=10_000, seconds=100, again_percent=0)
    counts = by_second(arrivals_of(profile, Random(3).random))
    variance = sum((count - 100) ** 2 for count in counts) / len(counts)
    assert 50 < variance < 200  # about the average, as Poisson's; evenly spaced arrivals have none


def test_the_same_seed_makes_the_same_morning_and_another_one_another() -> None:
    one, same, other = (arrivals_of(Profile(), Random(seed).random) for seed in (1, 1, 2))
    assert one == same != other


def test_nobody_is_due_in_no_second() -> None:
    assert by_second(()) == ()
    assert by_second((Arrival(0.0, 0), Arrival(2.5, 1))) == (1, 0, 1)
