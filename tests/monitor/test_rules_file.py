"""A monitor's rules as they are written: the example can be read, and every problem is told with its line."""

from __future__ import annotations

import pytest

from gateway.monitor.rules import QueryLimit, RefusalLimit, Rules
from gateway.monitor.rules_file import EXAMPLE, read_rules
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason


def problems(text: str) -> list[str]:
    with pytest.raises(MalformedError) as refused:
        read_rules("rules.toml", text.encode())
    assert refused.value.reason is Reason.CONFIGURATION_INVALID
    return [violation.field for violation in refused.value.violations]


def test_example_is_read_back_whole():
    rules = read_rules("example", EXAMPLE.encode())
    assert QueryLimit(2_000, "minute", "spiffe://heyan/requester/changsha-edu") in rules.queries
    assert RefusalLimit(5_000, "hour", (), each_peer=False) in rules.refusals
    assert rules.outside_windows


def test_empty_file_is_no_rules():
    assert read_rules("empty", b"") == Rules()


def test_switches_are_read():
    text = b"[windows]\noutside = false\n[notices]\nerasures = false\n"
    assert read_rules("x", text) == Rules(outside_windows=False, erasures=False)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[[queries]]\nat_most = -1\nper = 'hour'", ["rules.toml:2: queries[0].at_most"]),
        ("[[queries]]\nat_most = true\nper = 'hour'", ["rules.toml:2: queries[0].at_most"]),
        ("[[queries]]\nper = 'hour'", ["rules.toml:1: queries[0].at_most"]),
        ("[[queries]]\nat_most = 1\nper = 'week'", ["rules.toml:3: queries[0].per"]),
        ("[[queries]]\nat_most = 1\nper = 'day'\nrequester = 'edu'", ["rules.toml:4: queries[0].requester"]),
        ("[[refusals]]\nat_most = 1\nper = 'day'\nreasons = ['GRANT_LOST']", ["rules.toml:4: refusals[0].reasons[0]"]),
        ("[[refusals]]\nat_most = 1\nper = 'day'\nreasons = []", ["rules.toml:4: refusals[0].reasons"]),
        ("[[refusal]]\nat_most = 1", ["rules.toml:1: refusal"]),
        ("[windows]\ninside = true", ["rules.toml:2: windows.inside"]),
        ("windows = 0", ["rules.toml:1: windows"]),
        ("[[queries]]\nat_most = 1\nper = 'day'\n[[queries]]\nat_most = 1\nper = 'day'", ["rules.toml:1: queries"]),
        ("[[queries]\n", ["rules.toml:1"]),
    ],
)
def test_problem_is_told_with_its_line(text, where):
    assert problems(text) == where


def test_every_problem_is_told_at_once():
    text = "[[queries]]\nat_most = 'x'\nper = 1\n[notices]\nall = true\n"
    assert problems(text) == [
        "rules.toml:2: queries[0].at_most",
        "rules.toml:3: queries[0].per",
        "rules.toml:5: notices.all",
    ]
