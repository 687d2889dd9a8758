"""Charts show what the results say: every bar in its place, and nothing beyond the picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.charts import charts_of, write_charts
from benchmarks.core_report import KINDS_SHOWN
from benchmarks.panels import GOOD, WIDTH, Bar, Panel, draw, number
from gateway.season.chart import Box, Label

ROW = {
    "function": "leaf_read",
    "us": 20.0,
    "quartile_1_us": 18.0,
    "quartile_3_us": 24.0,
    "items": 2,
    "us_per_item": 10.0,
}
GROWN = {
    "size": 1_000,
    "leaves_per_second": 50_000.0,
    "least": 40_000.0,
    "most": 60_000.0,
    "start_ms": 3.0,
    "start_least_ms": 2.0,
    "start_most_ms": 4.0,
}


def boxes(panel: Panel, fill: str) -> list[Box]:
    return [shape for shape in draw([panel]).shapes if isinstance(shape, Box) and shape.fill == fill]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_bars_grow_with_their_values_and_stay_in_the_picture(*, logarithmic: bool) -> None:
    values = (1.0, 3.0, 900.0)
    bars = tuple(Bar("x", value, value / 2, value * 2, number(value), GOOD) for value in values)
    drawn = boxes(Panel("t", "a", bars, logarithmic), GOOD)
    assert [box.width for box in drawn] == sorted(box.width for box in drawn)
    assert drawn[0].width < drawn[2].width
    chart = draw([Panel("t", "a", bars, logarithmic)])
    for shape in chart.shapes:
        right = shape.x + (shape.width if isinstance(shape, Box) else 0)
        assert 0 <= shape.x <= right <= WIDTH
        assert shape.y <= chart.height


def test_a_panel_says_what_it_shows_and_in_which_unit() -> None:
    labels = [
        shape.text
        for shape in draw([Panel("A title", "seconds", (Bar("x", 1, 1, 1, "1"),))]).shapes
        if isinstance(shape, Label)
    ]
    assert {"A title", "seconds", "x", "1", "0"} <= set(labels)


def test_there_is_a_chart_for_each_kind_of_results_and_none_without() -> None:
    found: dict[str, Any] = {
        "functions": {"rows": [ROW]},
        "appending": {"rows": [GROWN], "targets": {"append_rate": {"value": 60_000, "low": 50_000, "high": 70_000}}},
    }
    assert charts_of({}) == {}
    assert set(charts_of(found)) == {"targets", "functions", "growth"}


def test_the_system_stands_out_beside_its_peers() -> None:
    figure = {"value": 2.0, "low": 1.0, "high": 3.0}
    row = {"applications_per_second": figure, "p99_ms": figure, "all_cpu_us": figure}
    way = {"heyan": row, "envoy": row}
    chart = charts_of({"peers": {"medians": {"saturation": way, "offered": way}}})["peers"]
    texts = [shape.text for shape in chart.shapes if isinstance(shape, Label)]
    assert texts.count("envoy") == texts.count("heyan") == 3
    assert sum(shape.fill == GOOD for shape in chart.shapes) == 3


def test_the_core_is_drawn_as_the_median_of_its_rounds() -> None:
    rounds = [{kind: {"server_cpu_us": us} for kind in KINDS_SHOWN} for us in (100.0, 300.0, 200.0)]
    chart = charts_of({"gateway_core": {"rounds": rounds}})["core"]
    texts = [shape.text for shape in chart.shapes if isinstance(shape, Label)]
    assert {*KINDS_SHOWN.values(), "200"} <= set(texts)


def test_a_target_that_is_missed_is_drawn_in_another_colour() -> None:
    def fills(rate: float) -> set[str]:
        entry = {"append_rate": {"value": rate, "low": rate, "high": rate}}
        return {
            shape.fill
            for shape in charts_of({"fsck": {"targets": {}}, "appending": {"rows": [GROWN], "targets": entry}})[
                "targets"
            ].shapes
        }

    assert GOOD in fills(60_000)
    assert GOOD not in fills(40_000)


def test_pictures_are_written_beside_the_results(tmp_path: Path) -> None:
    (tmp_path / "functions.json").write_text(
        '{"rows": [{"function": "f", "us": 1, "quartile_1_us": 1, "quartile_3_us": 2, "items": 1, "us_per_item": 1}]}'
    )
    (file,) = write_charts(tmp_path)
    assert Image.open(io.BytesIO(file.read_bytes())).size[0] == WIDTH
