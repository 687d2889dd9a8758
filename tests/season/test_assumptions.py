"""Settings of the season: defaults for what is left out, every fault located."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.season.assumptions import DEFAULT_CAPACITY, Setting, read_setting


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


def test_the_settings_of_the_documentation_are_the_defaults() -> None:
    page = (Path(__file__).parents[2] / "docs/season.md").read_text(encoding="utf-8")
    text = page.split("```toml\n")[1].split("```")[0]
    setting = read_setting(text)
    assert setting.assumptions == Setting().assumptions
    assert setting.capacities.default == Setting().capacities.default
    assert setting.capacities.of("4301", "police") == 60
