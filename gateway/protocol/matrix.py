"""The words of annex 2 of the notice (湘教通〔2024〕90号): kinds of school, groups of families, and a check of a plan.

Which materials a group owes and which checks replace them is a matter of rule packs (`gateway.rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from types import MappingProxyType

from gateway.protocol.reasons import Text

PURPOSE_ENROLMENT = "enrolment"
"""The purpose of every check of a plan (教育入学)."""


@unique
class School(StrEnum):
    """Kinds of school of annex 2, the private ones told apart by level because school age differs."""

    PUBLIC_PRIMARY = "public_primary"
    PUBLIC_JUNIOR = "public_junior"
    PRIVATE_PRIMARY = "private_primary"
    PRIVATE_JUNIOR = "private_junior"

    @property
    def level(self) -> str:
        """The level as `enrolment.of_school_age@1` names it: "primary" or "junior"."""
        return self.value.partition("_")[2]

    @property
    def is_public(self) -> bool:
        """Whether the five public groups apply; otherwise the private one does."""
        return self.value.startswith("public")


@unique
class Group(StrEnum):
    """Groups of annex 2 (入学群体分类)."""

    HOME_AND_HUKOU = "home_and_hukou"
    HUKOU_SHARED_HOME = "hukou_shared_home"
    HOME_WITHOUT_HUKOU = "home_without_hukou"
    HUKOU_WITH_LEASE = "hukou_with_lease"
    NEITHER = "neither"
    PRIVATE_URBAN = "private_urban"


GROUP_NAMES: Mapping[Group, Text] = MappingProxyType(
    {
        Group.HOME_AND_HUKOU: Text("有房有户", "home and hukou"),
        Group.HUKOU_SHARED_HOME: Text("有户无房（第一类）", "hukou, home of a co-resident or public housing"),
        Group.HOME_WITHOUT_HUKOU: Text("有房无户", "home without hukou"),
        Group.HUKOU_WITH_LEASE: Text("有户无房（第二类）", "hukou and lease"),
        Group.NEITHER: Text("无房无户", "neither home nor hukou"),
        Group.PRIVATE_URBAN: Text("民办 城区（县城）户籍或房产", "private school: urban hukou or home"),
    }
)


@dataclass(frozen=True, slots=True)
class PlannedCheck:
    """One check of a plan: claim, its parameters, and the keys of the materials it helps to replace."""

    claim: str
    parameters: Mapping[str, str]
    materials: tuple[str, ...]
