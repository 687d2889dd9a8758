"""The picture: the same shapes in SVG and PNG, and a page that loads nothing."""

from __future__ import annotations

import builtins
import io
import re
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from gateway.protocol.errors import MalformedError
from gateway.season.chart import LEVELS, Box, Label, draw, level_of, waits_by_day
from gateway.season.page import html_of, svg_of
from gateway.season.picture import png_of
from gateway.season.proposal import Limits
from gateway.season.report import make_plan
from gateway.season.windows import DAY
from tests.season.calendars import MONDAY, police_only, window


@pytest.fixture(scope="module")
def plan():
    calendar = (window(applicants=8000), window("430103", 7000), window("430202", 9000))
    return make_plan(calendar, police_only(capacity=5.0), Limits())


def test_every_level_is_told_by_a_sign_as_well_as_a_shade() -> None:
    assert len({level[1] for level in LEVELS}) == len({level[2] for level in LEVELS}) == len(LEVELS)
    assert [level_of(wait)[3] for wait in (0, 1, 60, 61, 3600, 3601)] == [
        "no wait",
        "up to 1 minute",
        "up to 1 minute",
        "up to 5 minutes",
        "up to 1 hour",
        "longer",
    ]


def test_a_wait_of_a_day_is_a_cell_of_its_shade(plan) -> None:
    chart = draw(plan)
    fills = [shape.fill for shape in chart.shapes if isinstance(shape, Box)]
    expected = [level_of(wait)[1] for side in (plan.before, plan.after) for wait in waits_by_day(side).values()]
    for level in LEVELS[1:]:
        assert fills.count(level[1]) == expected.count(level[1]) + 1  # and the legend's
    assert all(label.text.isascii() for label in chart.shapes if isinstance(label, Label))
    assert all(shape.x >= 0 and shape.x < chart.width and shape.y < chart.height for shape in chart.shapes)


def test_the_svg_is_well_formed_and_holds_every_shape(plan) -> None:
    chart = draw(plan)
    root = ET.fromstring(svg_of(chart))  # noqa: S314 - ours
    assert len(root) == len(chart.shapes)


def test_the_page_loads_nothing_and_tells_the_effect(plan) -> None:
    page = html_of(plan, draw(plan))
    assert "<script" not in page
    assert not re.findall(r"(?:src|href|url|@import)\s*[=(]", page)
    assert set(re.findall(r"https?://[^\"']+", page)) == {"http://www.w3.org/2000/svg"}
    assert f"{plan.before.backlog:,.0f}" in page
    assert f"{plan.after.backlog:,.0f}" in page
    assert "430102 芙蓉区" in page


def test_the_png_shows_the_shades_where_the_chart_has_them(plan) -> None:
    chart = draw(plan)
    with Image.open(io.BytesIO(png_of(chart))) as image:
        assert (image.format, image.size) == ("PNG", (chart.width, chart.height))
        cells = [shape for shape in chart.shapes if isinstance(shape, Box) and shape.fill == level_of(800.0)[1]]
        assert len(cells) > 1
        for cell in cells:
            assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((cell.x + 1, cell.y + 1))) == cell.fill


def test_a_backlog_is_on_its_day(plan) -> None:
    assert {key for key, wait in waits_by_day(plan.before).items() if wait} == {
        ("4301", MONDAY // DAY),
        ("4302", MONDAY // DAY),
    }


def test_without_the_drawing_library_the_option_is_named(plan, monkeypatch) -> None:
    genuine = builtins.__import__

    def without(name, *rest, **options):
        if name.startswith("PIL"):
            raise ImportError(name)
        return genuine(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MalformedError) as caught:
        png_of(draw(plan))
    assert caught.value.violations[0].field == "--png"
