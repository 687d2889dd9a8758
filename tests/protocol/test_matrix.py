"""The words of annex 2: kinds of school with their levels, groups with their names."""

from __future__ import annotations

import re

import pytest

from gateway.protocol.claims import claim_named
from gateway.protocol.matrix import GROUP_NAMES, Group, School

HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize(
    ("school", "level", "is_public"),
    [
        ("public_primary", "primary", True),
        ("public_junior", "junior", True),
        ("private_primary", "primary", False),
        ("private_junior", "junior", False),
    ],
)
def test_school_has_its_level_and_kind(school: str, level: str, is_public: bool) -> None:
    assert (School(school).level, School(school).is_public) == (level, is_public)
    assert level in claim_named("enrolment.of_school_age@1").parameters["level"]


def test_every_group_is_named_in_both_languages() -> None:
    assert set(GROUP_NAMES) == set(Group)
    assert all(HAN.search(text.zh) and text.en.isascii() for text in GROUP_NAMES.values())
