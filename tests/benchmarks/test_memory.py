"""Growth is what was seen over a million checks; of fewer, what the second half says, whatever the first one did."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.core_work import Judgement
from benchmarks.memory import MILLION, SETTLED, Reading, growth, shown, slope, summary


def climbing(checks: int, start: float, per_million: float, steps: int = 12) -> list[Reading]:
    counts = [place * checks // steps for place in range(steps + 1)]
    return [Reading(count, start + per_million * count / MILLION) for count in counts]


def test_growth_over_a_million_checks_is_the_difference_that_was_seen() -> None:
    readings = [Reading(0, 100.0), Reading(500_000, 180.0), Reading(MILLION, 130.0)]
    assert growth(readings) == {"value": 30.0, "low": 30.0, "high": 30.0}


def test_growth_of_a_short_run_leaves_out_what_fills_up_first() -> None:
    filling = [Reading(place * 10_000, 100.0 + 12 * place) for place in range(6)]
    settled = [Reading(SETTLED + 5_000 * place, 171.0 + 0.1 * place) for place in range(9)]
    found = growth([*filling, *settled])
    assert found is not None
    assert found["value"] == pytest.approx(20.0)
    assert found["low"] <= found["value"] <= found["high"]


def test_a_run_that_ends_while_memories_fill_tells_no_growth() -> None:
    readings = climbing(SETTLED, 100.0, per_million=1_000.0)
    assert growth(readings) is None
    told = summary(readings, Judgement(Counter({"OK": 1}), 1))
    assert told["targets"].keys() == {"rss_start_mib"}
    assert "over 1,000,000" not in shown(told)


def test_one_jump_does_not_make_a_slope() -> None:
    readings = climbing(100_000, 100.0, per_million=10.0)
    readings[6] = Reading(readings[6].checks, 500.0)
    assert slope(readings) * MILLION == pytest.approx(10.0)


def test_a_leak_is_told() -> None:
    found = growth(climbing(200_000, 100.0, per_million=400.0))
    assert found is not None
    assert found["value"] == pytest.approx(400.0)


def test_summary_says_whether_growth_was_seen_or_extrapolated() -> None:
    judged = Judgement(Counter({"OK": 20_000}), 200)
    short = summary(climbing(200_000, 100.0, per_million=40.0), judged)
    assert short["growth_is_extrapolated"]
    assert "by the slope from 60,000 on" in shown(short)
    assert short["targets"]["rss_start_mib"]["value"] == 100.0
    assert short["growth_seen_mib"] == pytest.approx(8.0)
    whole = summary(climbing(MILLION, 100.0, per_million=40.0), judged)
    assert not whole["growth_is_extrapolated"]
    assert "as it was" in shown(whole)
