"""Ratios of the gateway's core are of CPU time, and by the clock beside them."""

from __future__ import annotations

import pytest

from benchmarks.core_report import report, spread, summary

KINDS = ("echo", "single", "application", "single_repeated", "application_repeated")


def round_of(floor, **cpu):
    shares = {"server_core_share": 1.0, "generator_core_share": 0.5, "departments_core_share": 0.1}
    rest = {"requests": 100, "p50_ms": 1.0, "p99_ms": 2.0, "retries": 0, **shares}
    rows = {kind: {"server_cpu_us": cpu[kind], "requests_per_second": 5e5 / cpu[kind], **rest} for kind in KINDS}
    rows["single"]["receipts_verified"] = 2
    return {**rows, "floor": {"cpu_us": floor}}


def rounds():
    cpu = {"single": 400.0, "application": 1000.0, "single_repeated": 320.0, "application_repeated": 800.0}
    return [round_of(100.0, echo=echo, **cpu) for echo in (200.0, 160.0, 240.0)]


def test_targets_are_medians_with_least_and_most():
    targets = summary(rounds())["targets"]
    assert targets["single_over_echo"] == pytest.approx({"value": 0.5, "low": 0.4, "high": 0.6})
    assert targets["checks_per_echo"] == pytest.approx({"value": 1.0, "low": 0.8, "high": 1.2})
    assert targets["floor_share"] == pytest.approx({"value": 0.25, "low": 0.25, "high": 0.25})


def test_ratios_by_the_clock_are_of_rates():
    ratios = summary(rounds())["ratios"]
    assert ratios["single_over_echo_by_clock"]["value"] == pytest.approx(0.5)
    assert ratios["checks_per_echo_by_clock"]["value"] == pytest.approx(1.0)
    assert ratios["checks_per_echo_repeated"]["value"] == pytest.approx(1.25)
    assert ratios["single_repeated_over_echo"]["value"] == pytest.approx(200 / 320)


def test_spread_of_an_even_number_lies_between_the_middle_two():
    assert spread([1.0, 2.0, 4.0, 8.0]) == {"value": 3.0, "low": 1.0, "high": 8.0}


def test_the_report_shows_every_kind_and_ratio():
    text = report({**summary(rounds()), "rounds": rounds()})
    assert "| bare echo | 200 |" in text
    assert "| 5 checks at 4 departments | 1000 |" in text
    assert "| single_over_echo | 0.5 | 0.4 | 0.6 |" in text
    assert "3 rounds, 1500 requests, all answered right; 6 receipts verified whole." in text
