"""The table of divisions is whole, and every code finds its prefecture."""

from __future__ import annotations

import pytest

from gateway.protocol.divisions import COUNTIES, PREFECTURES, counties_of, is_county, prefecture_of
from gateway.protocol.errors import MalformedError


def test_hunan_has_14_prefectures_and_122_counties() -> None:
    assert (len(PREFECTURES), len(COUNTIES)) == (14, 122)
    assert list(COUNTIES) == sorted(COUNTIES)
    assert len(set(COUNTIES.values())) == 122


def test_the_prefectures_divide_the_counties() -> None:
    listed = [county for prefecture in PREFECTURES for county in counties_of(prefecture)]
    assert sorted(listed) == sorted(COUNTIES)
    assert all(prefecture_of(county) in PREFECTURES for county in COUNTIES)


def test_codes_are_known_by_name() -> None:
    assert (COUNTIES["430102"], COUNTIES["430302"], COUNTIES["433130"]) == ("芙蓉区", "雨湖区", "龙山县")
    assert prefecture_of("433130") == "4331"
    assert counties_of("4303") == ("430302", "430304", "430321", "430381", "430382")


@pytest.mark.parametrize("code", ["439900", "430100", "", "4301", "４３０１０２"])
def test_what_is_no_county_is_refused(code: str) -> None:
    assert not is_county(code)
    with pytest.raises(MalformedError):
        prefecture_of(code)


@pytest.mark.parametrize("code", ["43", "4399", "430100", ""])
def test_what_is_no_prefecture_is_refused(code: str) -> None:
    with pytest.raises(MalformedError):
        counties_of(code)
