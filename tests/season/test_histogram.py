"""Percentiles of the histogram against sorting everything: never smaller than the truth, and hardly larger."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.season.histogram import Histogram

ERROR = 1 / 128
MICRO = 1e-6

seconds = st.floats(0, 4000, allow_nan=False)


def naive(values: list[float], percent: float) -> float:
    return sorted(values)[max(1, math.ceil(percent / 100 * len(values))) - 1]


def of(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(st.lists(seconds, min_size=1, max_size=200), st.floats(0, 100))
def test_a_percentile_is_the_nearest_rank_rounded_up_by_less_than_a_bucket(values, percent) -> None:
    told, right = of(values).percentile(percent), naive(values, percent)
    assert told is not None
    assert right - 1e-12 <= told <= right * (1 + ERROR) + MICRO
    assert told <= max(values)


@given(st.lists(seconds, min_size=1, max_size=200))
def test_the_greatest_value_is_exact(values) -> None:
    made = of(values)
    assert made.max == made.percentile(100) == max(values)
    assert made.count == len(values)


def test_of_nothing_there_is_no_percentile() -> None:
    assert Histogram().percentile(99) is None


def test_a_negative_duration_of_two_clocks_counts_as_none() -> None:
    assert of([-0.5]).percentile(99) == 0


def test_one_slow_answer_of_a_hundred_is_no_p99_but_two_are() -> None:
    assert of([0.01] * 99 + [5.0]).percentile(99) == pytest.approx(0.01, rel=ERROR)
    assert of([0.01] * 98 + [5.0] * 2).percentile(99) == pytest.approx(5.0, rel=ERROR)


def test_a_million_values_stay_in_a_few_hundred_buckets() -> None:
    made = of([number / 100_000 for number in range(1, 1_000_000, 7)])
    assert len(made._buckets) < 3_000
