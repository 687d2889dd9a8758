"""The calendar as a file: read strictly, every fault at its line and column, in both languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.divisions import COUNTIES
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.season.sample import TOTAL, make_sample, sample_text
from gateway.season.windows import MAX_FAULTS, order_of, read_calendar, write_calendar

HEADER = "county,name,stage,opens,closes,applicants,after"
PRIMARY = "430102,芙蓉区,primary,2027-06-21 09:00,2027-06-30 17:00,5210,"
JUNIOR = "430102,芙蓉区,junior,2027-07-12 09:00,2027-07-21 17:00,4260,430102/primary"


def faults(*lines: str) -> list[str]:
    with pytest.raises(MalformedError) as caught:
        read_calendar("\n".join(lines))
    assert caught.value.reason is Reason.CONFIGURATION_INVALID
    assert all(" / " in found.description for found in caught.value.violations)
    return [found.field for found in caught.value.violations]


def test_a_calendar_is_read_and_written_again() -> None:
    text = "\n".join((HEADER, PRIMARY, JUNIOR, ""))
    calendar = read_calendar("\ufeff" + text)
    assert [window.key for window in calendar] == [("430102", "primary"), ("430102", "junior")]
    assert write_calendar(calendar) == text


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("430102", "439900", "line 2, county"),
        ("芙蓉区", "天心区", "line 2, name"),
        ("primary", "senior", "line 2, stage"),
        ("2027-06-21 09:00", "21/06/2027", "line 2, opens"),
        ("2027-06-21 09:00", "2027-6-21 9:00", "line 2, opens"),
        ("2027-06-21 09:00", "2027-03-31 09:00", "line 2, opens"),
        ("2027-06-30 17:00", "2027-06-31 17:00", "line 2, closes"),
        ("2027-06-30 17:00", "2027-06-21 10:59", "line 2, closes"),
        ("2027-06-30 17:00", "2027-09-01 00:01", "line 2, closes"),
        ("5210", "-1", "line 2, applicants"),
        ("5210", "５２１０", "line 2, applicants"),
        ("5210", "1000001", "line 2, applicants"),
        ("5210", "9" * 5000, "line 2, applicants"),
        ("5210,", "5210,430103/primary", "line 2, after"),
        ("5210,", "5210,/", "line 2, after"),
        ("5210,", "5210,430102/primary", "line 2, after"),
        ("5210,", "5210", "line 2"),
    ],
)
def test_each_fault_is_named_at_its_line_and_column(old: str, new: str, place: str) -> None:
    read_calendar(f"{HEADER}\n{PRIMARY}")
    assert faults(HEADER, PRIMARY.replace(old, new)) == [place]


def test_faults_of_the_whole_file_are_named() -> None:
    assert faults("county;name") == ["line 1"]
    assert faults(HEADER) == ["line 2"]
    assert faults(HEADER, PRIMARY, PRIMARY) == ["line 3, stage"]
    assert faults(HEADER, PRIMARY, JUNIOR.replace("2027-07-12", "2027-06-29")) == ["line 3, after"]
    assert faults(HEADER, PRIMARY, JUNIOR.replace("2027", "2028")) == ["line 3, opens", "line 3, closes"]
    assert faults(HEADER, '"' + PRIMARY)[0].startswith("line 2")
    assert len(faults(HEADER, *["x,x,x,x,x,x,x"] * 30)) == MAX_FAULTS


def test_order_comes_from_after_and_from_a_countys_own_windows() -> None:
    own = read_calendar("\n".join((HEADER, PRIMARY, JUNIOR.replace("430102/primary", ""))))
    assert order_of(own) == ((("430102", "primary"), ("430102", "junior")),)
    other = JUNIOR.replace("430102,芙蓉区", "430103,天心区")
    assert order_of(read_calendar("\n".join((HEADER, PRIMARY, other)))) == (
        (("430102", "primary"), ("430103", "junior")),
    )


def test_the_sample_is_what_its_formula_makes_and_covers_every_county() -> None:
    assert sample_text() == make_sample()
    calendar = read_calendar(sample_text())
    assert {window.county for window in calendar} == set(COUNTIES)
    assert len(calendar) == 2 * len(COUNTIES) == 244
    assert TOTAL * 0.99 < sum(window.applicants for window in calendar) <= TOTAL < 1_750_000


cells = st.lists(st.text(max_size=20) | st.sampled_from(PRIMARY.split(",")), min_size=1, max_size=8)


@given(st.lists(cells.map(",".join), max_size=4))
def test_arbitrary_lines_are_refused_or_read_to_the_same_calendar(lines: list[str]) -> None:
    try:
        calendar = read_calendar("\n".join((HEADER, *lines)))
    except MalformedError:
        return
    assert read_calendar(write_calendar(calendar)) == calendar
