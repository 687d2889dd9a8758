"""Targets: what meets one, by how much it is missed, and what counts as fallen."""

from __future__ import annotations

import pytest

from benchmarks.targets import TARGETS, Kind, Seen, Target, Verdict, spread


def target(kind: Kind, bound: float = 2.0, stretch: float | None = None, slack: float | None = 0.5) -> Target:
    return Target("t", "a thing", kind, bound, stretch, "measuring", slack=slack)


def seen(value: float) -> Seen:
    return Seen(value, value, value)


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [
        (Kind.AT_LEAST, 2.0, Verdict.MET),
        (Kind.AT_LEAST, 1.99, Verdict.MISSED),
        (Kind.AT_MOST, 2.0, Verdict.MET),
        (Kind.AT_MOST, 2.01, Verdict.MISSED),
        (Kind.BELOW, 1.99, Verdict.MET),
        (Kind.BELOW, 2.0, Verdict.MISSED),
    ],
)
def test_a_bound_is_met_on_its_right_side_only(kind: Kind, value: float, verdict: Verdict) -> None:
    assert target(kind).verdict(seen(value)) is verdict


def test_a_stretch_is_met_only_if_every_run_meets_it() -> None:
    ambitious = target(Kind.AT_MOST, 2.0, stretch=1.0)
    assert ambitious.verdict(seen(1.0)) is Verdict.STRETCH
    assert ambitious.verdict(seen(1.0), seen(1.5)) is Verdict.MET


def test_one_run_that_misses_makes_a_target_missed() -> None:
    assert target(Kind.AT_LEAST).verdict(seen(9.0), seen(1.0)) is Verdict.MISSED


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert target(Kind.AT_LEAST).verdict() is Verdict.OPEN


@pytest.mark.parametrize(
    ("kind", "now", "falls"),
    [
        (Kind.AT_LEAST, 2.1, False),
        (Kind.AT_LEAST, 1.9, True),
        (Kind.AT_LEAST, 100.0, False),
        (Kind.AT_MOST, 7.9, False),
        (Kind.AT_MOST, 8.1, True),
        (Kind.AT_MOST, 0.1, False),
    ],
)
def test_a_ratio_falls_only_beyond_its_slack_and_only_for_the_worse(kind: Kind, now: float, *, falls: bool) -> None:
    assert target(kind).fell(seen(4.0), seen(now)) is falls


def test_an_absolute_figure_never_falls() -> None:
    assert not target(Kind.AT_LEAST, slack=None).fell(seen(4.0), seen(0.0))


def test_median_lies_between_least_and_most() -> None:
    assert Seen.read(spread([3.0, 1.0, 2.0])) == Seen(2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="not from"):
        Seen.read({"value": 3.0, "low": 1.0, "high": 2.0})


def test_every_target_has_an_id_of_its_own_and_a_stretch_beyond_its_bound() -> None:
    assert len({each.id for each in TARGETS}) == len(TARGETS)
    for each in TARGETS:
        assert each.stretch is None or each.reaches(each.stretch, each.bound)
        assert each.stretch != each.bound
