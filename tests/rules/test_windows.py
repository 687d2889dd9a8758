"""A window opens and closes at its second, and whoever comes outside it learns the next, in both languages."""

from __future__ import annotations

from datetime import datetime

import pytest

from gateway.rules.windows import closed_text, next_window, window_at
from tests.rules.packs import shipped

WINDOWS = shipped("430102").windows


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("moment", "open_now", "following"),
    [
        ("2027-06-07T08:59:59+08:00", None, "public schools"),
        ("2027-06-07T09:00:00+08:00", "public schools", "late applications"),
        ("2027-06-07T01:00:00+00:00", "public schools", "late applications"),
        ("2027-06-12T17:59:59+08:00", "public schools", "late applications"),
        ("2027-06-12T18:00:00+08:00", None, "late applications"),
        ("2027-08-16T09:00:00+08:00", "late applications", None),
        ("2027-08-18T18:00:00+08:00", None, None),
    ],
)
def test_window_is_open_from_its_first_to_before_its_last_second(moment, open_now, following):
    window, later = window_at(WINDOWS, at(moment)), next_window(WINDOWS, at(moment))
    assert (window and window.name.en) == open_now
    assert (later and later.name.en) == following


def test_closed_text_names_the_next_window_in_both_languages():
    text = closed_text(WINDOWS, at("2027-05-01T00:00:00+08:00"))
    assert "公办学校报名：2027年6月7日09:00至2027年6月12日18:00" in text.zh
    assert "public schools: 2027-06-07 09:00 to 2027-06-12 18:00 (Beijing time)" in text.en


def test_closed_text_without_a_next_window_says_so():
    text = closed_text(WINDOWS, at("2027-09-01T00:00:00+08:00"))
    assert "公告" in text.zh
    assert "announce" in text.en
    assert text == closed_text((), 0)
