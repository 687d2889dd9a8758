"""The profile of a rehearsal: every fault located, options before the file, and the sample is the defaults."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.season.assumptions import Assumptions
from gateway.season.goal import parse_goal
from gateway.season.profile import SAMPLE, Profile, Shape, make_profile, read_values


def places(caught) -> list[str]:
    assert caught.value.reason is Reason.CONFIGURATION_INVALID
    assert all(" / " in found.description for found in caught.value.violations)
    return [found.field for found in caught.value.violations]


def test_the_sample_holds_every_value_with_its_default() -> None:
    values = read_values(SAMPLE)
    assert set(values) == {item.name for item in dataclasses.fields(Profile)}
    made = make_profile(values)
    assert dataclasses.replace(made, goal="") == Profile()
    assert len(parse_goal(made.goal)) == 4


def test_the_opening_hour_is_that_of_the_simulation() -> None:
    assumed, profile = Assumptions(), Profile()
    assert (profile.burst_minutes, profile.burst_factor) == (assumed.burst_minutes, assumed.burst_factor)
    assert 1 + profile.again_percent / 100 == assumed.retry_factor


def test_an_option_goes_before_the_file() -> None:
    profile = make_profile({"applicants": 7, "seconds": 9, "shape": "steady"}, {"applicants": 8})
    assert (profile.applicants, profile.seconds, profile.shape) == (8, 9, Shape.STEADY)


def test_a_rate_is_another_way_to_tell_the_applicants() -> None:
    assert make_profile({"rate": 8.5, "seconds": 10}).applicants == 85
    assert make_profile({"rate": 8.5}, {"applicants": 3}).applicants == 3
    assert make_profile({"applicants": 3}, {"rate": 2, "seconds": 10}).applicants == 20


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("applicants = = 3", "line 1, column 14"),
        ("aplicants = 3", "aplicants"),
        ("applicants = 0", "applicants"),
        ("applicants = 20001", "applicants"),
        ("applicants = 2.5", "applicants"),
        ("applicants = true", "applicants"),
        ('seconds = "60"', "seconds"),
        ("seconds = nan", "seconds"),
        ("seconds = inf", "seconds"),
        ("rate = 3\napplicants = 3", "rate"),
        ("rate = nan", "rate"),
        ("rate = 0.02\nseconds = 1", "rate"),
        ("rate = 10000\nseconds = 3600", "rate"),
        ('shape = "peaky"', "shape"),
        ("shape = 3", "shape"),
        ("goal = 3", "goal"),
        ("in_flight = 0", "in_flight"),
        ("attempts = 0", "attempts"),
        ("attempts = 4\npatience = 10", "attempts"),
        ("burst_minutes = 30", "burst_factor"),
        ("[opening]\nseconds = 3", "opening"),
    ],
)
def test_each_fault_of_a_file_is_located(text: str, place: str) -> None:
    with pytest.raises(MalformedError) as caught:
        make_profile(read_values(text))
    assert place in places(caught)


def test_a_fault_of_an_option_is_located_there_and_all_are_told() -> None:
    with pytest.raises(MalformedError) as caught:
        make_profile({"pause": 99, "seconds": 0}, {"in_flight": 5000, "seconds": 99999})
    assert sorted(places(caught)) == ["--in-flight", "--seconds", "pause"]
