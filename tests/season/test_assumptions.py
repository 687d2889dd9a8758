"""Settings of the season: defaults for what is left out, every fault located."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.protocol.divisions import PREFECTURES, counties_of
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.season.assumptions import DEFAULT_CAPACITY, Setting, read_setting
from gateway.season.simulation import simulate
from gateway.season.windows import MAX_APPLICANTS, STAGES, text_of_minute
from tests.season.calendars import window


def test_what_is_left_out_has_its_default() -> None:
    assert read_setting("") == Setting()
    setting = read_setting("[capacity]\npolice = 50\n[prefecture.4301]\nland = 7.5\n[assumptions]\nretry_factor = 2")
    assert setting.capacities.of("4302", "police") == setting.capacities.of("4301", "police") == 50
    assert setting.capacities.of("4301", "land") == 7.5
    assert setting.capacities.of("4302", "land") == DEFAULT_CAPACITY
    assert setting.assumptions.retry_factor == 2
    assert setting.assumptions.burst_factor == 3


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[capacity]\npolice = = 3", "line 2, column 10"),
        ("[capacities]", "capacities"),
        ("capacity = 3", "capacity"),
        ("[capacity]\ntax = 3", "capacity.tax"),
        ("[capacity]\npolice = 0", "capacity.police"),
        ("[capacity]\npolice = 0.01", "capacity.police"),
        ("[capacity]\npolice = nan", "capacity.police"),
        ("[capacity]\npolice = " + "9" * 5000, "settings"),
        ("[capacity]\npolice = " + "[" * 5000, "settings"),
        ("[capacity]\npolice = true", "capacity.police"),
        ("[prefecture.4399]\npolice = 3", "prefecture.4399"),
        ('[prefecture.4301]\npolice = "3"', "prefecture.4301.police"),
        ("[assumptions]\nfirst_hour = 3", "assumptions.first_hour"),
        ("[assumptions]\nfirst_hour_percent = 100", "assumptions.first_hour_percent"),
        ("[assumptions]\nfirst_hour_percent = 2.5", "assumptions.first_hour_percent"),
        ("[assumptions]\nretry_factor = 0.5", "assumptions.retry_factor"),
        ("[assumptions]\nburst_minutes = 30", "assumptions.burst_factor"),
        ("[assumptions]\nday_starts = 20", "assumptions.day_ends"),
        ("[assumptions.share_percent]\npolice = 99", "assumptions.share_percent"),
        ("[assumptions.share_percent]\npolice = 110\nland = -10", "assumptions.share_percent"),
    ],
)
def test_each_fault_is_located(text: str, place: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read_setting(text)
    assert caught.value.reason is Reason.CONFIGURATION_INVALID
    assert place in [found.field for found in caught.value.violations]
    assert all(" / " in found.description for found in caught.value.violations)


def test_the_longest_queue_of_the_slowest_department_ends_before_the_calendar_does() -> None:
    """Every county of the largest prefecture at every bound at once, so that each time can be told."""
    text = "[capacity]\npolice = 0.1\n[assumptions]\nfirst_hour_percent = 99\nburst_factor = 1\n"
    text += "retry_factor = 10\nchecks_per_application = 50\n[assumptions.share_percent]\npolice = 100\n"
    largest = max(PREFECTURES, key=lambda code: len(counties_of(code)))
    worst = [window(county, MAX_APPLICANTS, stage=stage) for county in counties_of(largest) for stage in STAGES]
    (course,) = simulate(worst, read_setting(text))
    assert text_of_minute(int(course.busy[-1].ends)) < "9999"


def test_the_settings_of_the_documentation_are_the_defaults() -> None:
    page = (Path(__file__).parents[2] / "docs/season.md").read_text(encoding="utf-8")
    text = page.split("```toml\n")[1].split("```")[0]
    setting = read_setting(text)
    assert setting.assumptions == Setting().assumptions
    assert setting.capacities.default == Setting().capacities.default
    assert setting.capacities.of("4301", "police") == 60
