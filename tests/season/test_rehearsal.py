"""What is counted of a rehearsal, its verdict, and its report in text, JSON and HTML."""

from __future__ import annotations

import json
import math
import re
from xml.etree import ElementTree as ET

import pytest

from gateway.protocol.errors import MalformedError
from gateway.season.chart import Box, Label
from gateway.season.goal import parse_goal
from gateway.season.node_counters import NodeCounters, growth, read_counters
from gateway.season.page import svg_of
from gateway.season.profile import Profile
from gateway.season.rehearsal import MOST_WRONG, End, Rehearsal, Tally, Verdict
from gateway.season.rehearsal_page import draw_run, rehearsal_html
from gateway.season.rehearsal_report import departments, generator, goals, length_of, measures, reasons, to_json

GOAL = "p99<2s, refused<10%, rate>=1"


def small(goal: str = GOAL, **changes) -> Rehearsal:
    """Ten due in the first two seconds: eight answered at once, one after three seconds, one refused."""
    tally = Tally()
    for number in range(10):
        due = number / 5
        tally.start(due)
        tally.health.late.add(0.001)
        if number == 9:
            tally.finish(due, due + 0.01, End.REFUSED, "OVERLOADED")
        else:
            tally.finish(due, due + (3.0 if number == 4 else 0.05), End.ANSWERED)
    police, land = tally.departments["police-4301"], tally.departments["land-4301"]
    police.answered, land.answered, land.left_open = 27, 8, 1
    land.unavailable["DEPARTMENT_TIMED_OUT"] += 3
    tally.health.cpu_seconds, tally.settled = 0.4, 9
    values = {
        "profile": Profile(applicants=10, seconds=2.0, again_percent=0),
        "goal": parse_goal(goal),
        "planned": (5, 5),
        "tally": tally,
        "elapsed": 4.0,
        "verify_receipts": "sample",
        "connections": 4,
        "counters": {"police-4301": NodeCounters(asks=9, hedges=1, within={0.01: 8, 0.5: 9, math.inf: 9})},
    }
    return Rehearsal(**{**values, **changes})


def test_measures_are_those_of_what_was_counted() -> None:
    run = small()
    assert run.rate == pytest.approx(9 / 3.8)  # the last one ended then
    assert run.value_of("p50") == pytest.approx(0.05, rel=0.01)
    assert run.value_of("p99") == run.value_of("max") == pytest.approx(3.0)
    assert (run.value_of("answered"), run.value_of("refused"), run.value_of("unanswered")) == (90, 10, 0)
    assert [item.holds for item in run.judged] == [False, False, True]
    assert run.cpu_share == pytest.approx(10)


def test_a_fast_refusal_makes_no_percentile_better() -> None:
    run = small()
    before = run.value_of("p50")
    for _ in range(1000):
        run.tally.start(1.0)
        run.tally.finish(1.0, 1.0001, End.REFUSED, "OVERLOADED")
    assert run.value_of("p50") == before


def test_the_verdict_is_of_the_worst_that_is_known() -> None:
    assert small("rate>=1").verdict is Verdict.PASSED
    assert small().verdict is Verdict.FAILED
    assert small("").verdict is Verdict.NO_GOAL
    assert small("rate>=1", interrupted=True).verdict is Verdict.INTERRUPTED
    slow = small("rate>=1")
    slow.tally.health.loop_lag.add(1.0)
    assert slow.verdict is Verdict.INCONCLUSIVE
    slow.tally.finish(0.0, 1.0, End.WRONG)
    assert slow.verdict is Verdict.FAILED


def test_a_run_in_which_nothing_came_reaches_no_goal_but_shares_of_nothing() -> None:
    empty = small("p99<9s, answered>0%, rate>0, max<9s, refused<100%", tally=Tally(), elapsed=0.0)
    assert [item.holds for item in empty.judged] == [False] * 5
    assert to_json(empty)["latency_seconds"] == {"count": 0, **dict.fromkeys(("p50", "p90", "p95", "p99", "max"))}
    assert "<svg" in rehearsal_html(empty)


def test_the_report_tells_what_was_counted() -> None:
    run = small()
    rows = dict(measures(run))
    assert rows["latency p99 时延"] == "3.00 s"
    assert rows["checks of an application 每份申请的核验项"] == "4.0"
    assert rows["answered 答复"] == "9 (90.00 %)"
    assert list(goals(run))[1] == ("refused<10%", "10.00 %", "FAILS 未达到")
    land, police = departments(run)
    assert land[:7] == ("land-4301", "9", "25.0 %", "8", "0", "1", "3")
    assert police[-3:] == ("≤ 10.0 ms", "≤ 500.0 ms", "1 / 0")
    assert list(reasons(run)) == [("application 申请", "OVERLOADED", "1"), ("land-4301", "DEPARTMENT_TIMED_OUT", "3")]
    assert dict(generator(run))["applications sent 发出"] == "10 of 10"


def test_json_is_the_same_report_and_strict() -> None:
    run = small()
    read = json.loads(json.dumps(to_json(run), allow_nan=False))
    assert read["verdict"] == "failed"
    assert read["applications"] == {
        "answered": 9,
        "unavailable": 0,
        "refused": 1,
        "unanswered": 0,
        "wrong": 0,
        "cut_short": 0,
    }
    assert read["departments"]["police-4301"]["share_percent"] == 75
    assert read["departments"]["police-4301"]["gateway"]["p99_seconds"] == 0.5
    assert read["departments"]["land-4301"]["gateway"] is None
    assert [second["planned"] for second in read["seconds"]] == [5, 5, 0, 0]
    assert [second["answered"] for second in read["seconds"]] == [4, 4, 0, 1]
    assert read["seconds"][0]["p99_seconds"] == 3.0  # of what was due then


def test_the_page_loads_nothing_and_its_chart_is_well_formed() -> None:
    run = small()
    run.tally.tell_wrong("<script>alert(1)</script>")
    page = rehearsal_html(run)
    assert not re.search(r"<script|<link|<img|src=|href=|url\(|@import", page)
    assert "&lt;script&gt;" in page
    chart = draw_run(run)
    ET.fromstring(svg_of(chart, "a & b"))  # noqa: S314 - our own
    assert all(shape.x >= 0 and 0 <= shape.y <= chart.height for shape in chart.shapes)
    assert all(shape.text.isascii() for shape in chart.shapes if isinstance(shape, Label))
    assert all(shape.x + shape.width <= chart.width for shape in chart.shapes if isinstance(shape, Box))


@pytest.mark.parametrize("seconds", [1, 60, 401, 3600])
def test_a_run_of_any_length_fits_the_chart(seconds) -> None:
    run = small(planned=(3,) * seconds)
    assert all(s.x + s.width <= 900 for s in draw_run(run).shapes if isinstance(s, Box))
    assert length_of(run) == max(seconds, 4)  # drawing adds nothing to it


def test_wrong_answers_are_told_up_to_a_bound() -> None:
    tally = Tally()
    for number in range(100):
        tally.tell_wrong(str(number))
    assert len(tally.wrong) == MOST_WRONG


TEXT = """\
# TYPE heyan_department_asks counter
heyan_department_asks_total{department="police-4301"} %d
# TYPE heyan_department_seconds histogram
heyan_department_seconds_bucket{department="police-4301",le="0.01"} %d
heyan_department_seconds_bucket{department="police-4301",le="0.1"} %d
heyan_department_seconds_bucket{department="police-4301",le="+Inf"} %d
heyan_department_seconds_count{department="police-4301"} 0
heyan_department_seconds_sum{department="police-4301"} 0
# TYPE heyan_places_taken gauge
heyan_places_taken 3
"""


def test_a_departments_percentiles_are_of_what_was_answered_meanwhile() -> None:
    before, after = read_counters(TEXT % (50, 50, 50, 50)), read_counters(TEXT % (150, 140, 149, 150))
    grown = growth(before, after)["police-4301"]
    assert grown.asks == 100
    assert [grown.percentile(percent) for percent in (50, 90, 91, 99, 100)] == [0.01, 0.01, 0.1, 0.1, math.inf]
    assert growth(after, after)["police-4301"].percentile(99) is None


def test_a_gateway_that_was_started_anew_counts_from_zero() -> None:
    grown = growth(read_counters(TEXT % (150, 140, 149, 150)), read_counters(TEXT % (10, 9, 10, 10)))["police-4301"]
    assert (grown.asks, grown.percentile(50)) == (10, 0.01)


def test_another_page_is_no_metrics() -> None:
    with pytest.raises(MalformedError):
        read_counters("<html>not found</html>")
