"""The benchmark of a node's CPU answers, judges and counts; figures are not looked at."""

from __future__ import annotations

import argparse
import time

import pytest

from benchmarks import answering
from benchmarks.answering_steps import COMMIT, OTHER, STEPS, Meter
from sandbox_departments import answerer


def test_a_meter_gives_each_step_its_own_time_and_no_more():
    meter = Meter()
    meter.begin()
    began = time.thread_time()
    with meter.step("outer"):
        burn(0.02)
        with meter.step("inner"):
            burn(0.02)
    meter.end()
    spent = time.thread_time() - began
    assert meter.seconds["outer"] >= 0.02
    assert meter.seconds["inner"] >= 0.02
    assert sum(meter.seconds.values()) == pytest.approx(spent, abs=0.01)


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_steps_are_wrapped_only_while_measured():
    original = answerer.read_ask
    with Meter().wrapped():
        assert answerer.read_ask is not original
    assert answerer.read_ask is original


@pytest.mark.slow
async def test_every_part_is_answered_right_and_every_step_is_seen(tmp_path):
    results = await answering.measure(argparse.Namespace(rounds=1, parts=100), tmp_path)
    asked = 100 * (2 * len(answering.SIZES) + 1)
    assert results["statuses"]["OK"] == asked + max(answering.SIZES)
    assert results["statuses"]["verified"] >= asked // 100
    assert set(results["steps_us"]["32"]) == {*STEPS, OTHER, COMMIT}
    assert all(figures["us"] > 0 for figures in results["served"].values())
    assert "AnswerOne" in answering.report(results)
