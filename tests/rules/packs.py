"""Packs for tests: the shipped ones, and small ones written over them."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.reasons import Reason
from gateway.rules.layering import rules_of
from gateway.rules.pack import Pack
from gateway.rules.pack_file import read_pack
from gateway.rules.region_rules import RegionRules
from gateway.rules.shelf import SHIPPED, open_shelf

HEAD = """format = 1
region = "{region}"
version = "2027.1"
school_year = "{year}"
name = {{ zh = "某地", en = "somewhere" }}
basis = {{ zh = "测试", en = "a test" }}
"""


def head(region: str = "430102", year: str = "2027") -> str:
    """The first six lines of a pack."""
    return HEAD.format(region=region, year=year)


def pack(body: str = "", region: str = "430102", year: str = "2027", name: str = "x.toml") -> Pack:
    """A pack with a sound head: its body begins at line 7."""
    return read_pack(name, (head(region, year) + body).encode())


def laid(*packs: Pack, region: str = "430102") -> RegionRules:
    """The rules of `region` from the shipped province and `packs`."""
    return rules_of(region, {"43": open_shelf()["43"], **{each.region: each for each in packs}})


def problems(error: pytest.ExceptionInfo[MalformedError]) -> list[FieldViolation]:
    """What an error says is wrong."""
    assert error.value.reason is Reason.RULES_INVALID
    return list(error.value.violations)


def places(error: pytest.ExceptionInfo[MalformedError]) -> set[str]:
    """Where an error says that something is wrong."""
    return {each.field for each in problems(error)}


def shipped(region: str) -> RegionRules:
    """The rules of a region from the packs that come with Heyan."""
    return rules_of(region, open_shelf())


def text_of(region: str) -> str:
    """The text of a shipped pack."""
    return (SHIPPED / f"{region}.toml").read_text(encoding="utf-8")
