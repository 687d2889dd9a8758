"""The statistic of the tests on time finds what is planted, and nothing where nothing is."""

from __future__ import annotations

from random import Random

from tests.timing import _tail, differing

GROUPS = ("a", "b", "c", "d", "e", "f")


def drawn(rng: Random, count: int, shift: float = 0.0) -> dict[str, list[float]]:
    """Times as a loaded machine makes them: a floor, and noise with a long tail; `shift` is added to group "a"."""
    return {
        name: [8.5 + rng.lognormvariate(1.0, 1.0) + (shift if name == "a" else 0.0) for _ in range(count)]
        for name in GROUPS
    }


def test_no_difference_is_found_where_none_is():
    """At a false alarm of 1 in 20 for each of 400 calls: as often as said, or less (the correction is strict)."""
    rng = Random(1)
    alarms = sum(bool(differing(drawn(rng, 60), false_alarm=0.05)) for _ in range(400))
    assert 0 < alarms <= 30


def test_a_shift_far_below_the_noise_is_found_in_the_group_that_has_it():
    """One unit, where the times spread over ten."""
    rng = Random(2)
    found = [differing(drawn(rng, 300, shift=1.0)) for _ in range(20)]
    assert all("a" in groups for groups in found)


def test_a_shift_of_the_fastest_alone_is_found():
    rng = Random(3)
    samples = drawn(rng, 300)
    samples["c"] = [max(time, 9.5) for time in samples["c"]]
    assert min(differing(samples), key=differing(samples).__getitem__) == "c"


def test_a_shift_counts_by_as_much_as_it_is_beyond_the_margin():
    """One unit, slower or faster, is within a margin of one, and found beyond a margin of a tenth."""
    rng = Random(4)
    for shift in (1.0, -1.0):
        found = [drawn(rng, 300, shift) for _ in range(5)]
        assert not any(differing(samples, margin=1.0) for samples in found)
        assert all("a" in differing(samples, margin=0.1) for samples in found)


def test_p_values_are_those_of_the_hypergeometric_distribution():
    """Four of ten lie below; three drawn, none of them below: 20 of 120 ways; all of them: 4 of 120."""
    pooled = [float(number) for number in range(10)]
    assert abs(_tail(pooled[7:], pooled[:7], 0.4, faster=False) - 20 / 120) < 1e-12
    assert abs(_tail(pooled[:3], pooled[3:], 0.4, faster=True) - 4 / 120) < 1e-12
    assert _tail([5.0] * 3, [5.0] * 7, 0.4, faster=True) == 1.0
    assert _tail([5.0] * 3, [5.0] * 7, 0.4, faster=False) == 1.0
