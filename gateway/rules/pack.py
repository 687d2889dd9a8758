"""What one rule pack states: the values of a file, checked each for itself. How packs combine is in `layering`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from types import MappingProxyType

from gateway.protocol.divisions import COUNTIES, PREFECTURES
from gateway.protocol.matrix import Group, School
from gateway.protocol.reasons import Text
from gateway.protocol.registry_terms import Assurance
from gateway.rules.reading import Source
from gateway.rules.requirements import Requirement
from gateway.rules.windows import Window

PROVINCE = "43"
"""The province's own code, the first two digits of every code below it."""

SOCIAL_INSURANCE = "social_insurance"
"""The material that the toggle adds; no row lists it."""

GUIDE_FIELDS: Mapping[str, Text] = MappingProxyType(
    {
        "online": Text("网上办理地址", "where to apply online"),
        "counter": Text("窗口办理地址", "where to apply in person"),
        "consult": Text("咨询方式", "whom to ask"),
        "complain": Text("投诉方式", "where to complain"),
        "deadline": Text("承诺办结时限", "time until the result"),
        "collect": Text("领取方式", "how the result arrives"),
        "special": Text("特殊注意事项", "what to mind besides"),
    }
)
"""What a guide (服务指南, annex 1 of the notice) tells that differs from place to place."""

SCHOOL_NAMES: Mapping[School, Text] = MappingProxyType(
    {
        School.PUBLIC_PRIMARY: Text("公办小学", "public primary school"),
        School.PUBLIC_JUNIOR: Text("公办初中", "public junior secondary school"),
        School.PRIVATE_PRIMARY: Text("民办小学", "private primary school"),
        School.PRIVATE_JUNIOR: Text("民办初中", "private junior secondary school"),
    }
)


@unique
class Exemption(StrEnum):
    """The three exemptions (三个免于提交): why a verified material need not be handed in."""

    GOVERNMENT_ISSUED = "government_issued"
    VERIFIED_BY_SHARING = "verified_by_sharing"
    E_CERTIFICATE = "e_certificate"


EXEMPTION_TEXTS: Mapping[Exemption, Text] = MappingProxyType(
    {
        Exemption.GOVERNMENT_ISSUED: Text("政府部门核发的材料免于提交", "issued by a government department"),
        Exemption.VERIFIED_BY_SHARING: Text(
            "能够通过数据共享核验的事项免于提交证明材料", "verifiable by sharing between departments"
        ),
        Exemption.E_CERTIFICATE: Text("能够提供电子证照的免于提交实体证照", "held as an e-certificate"),
    }
)


@dataclass(frozen=True, slots=True)
class Material:
    """One paper, what replaces it and why it is then exempt; without a requirement it is checked offline only.

    `assurance` is what the material itself asks of the consent; the pack's own level holds besides. A `condition`
    (受理条件) is checked like a material and is no paper.
    """

    key: str
    name: Text
    requirement: Requirement | None
    exemption: Exemption | None
    assurance: Assurance = Assurance.LOW
    condition: bool = False
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of annex 2: the materials, by key, that a group owes at some schools."""

    schools: tuple[School, ...]
    group: Group
    materials: tuple[str, ...]
    note: Text | None = None


@dataclass(frozen=True, slots=True)
class Insurance:
    """Whether some groups owe social insurance besides, and of how many months."""

    required: bool
    months: str = ""
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Pack:
    """One file. What it does not state (None, or absent from a mapping) comes from the pack above it."""

    region: str
    version: str
    school_year: str
    name: Text
    basis: Text
    assurance: Assurance | None
    materials: Mapping[str, Material]
    rows: tuple[Row, ...]
    insurance: Insurance | None
    windows: tuple[Window, ...] | None
    guide: Mapping[str, Text]
    fields: tuple[str, ...] | None
    """Fields of the student record to be collected unless they are on file (差额共享)."""
    source: Source = field(compare=False, repr=False)


def is_region(code: str) -> bool:
    """Whether rules can be written for `code`: the province, a prefecture or a county."""
    return code == PROVINCE or code in PREFECTURES or code in COUNTIES


def regions_above(code: str) -> tuple[str, ...]:
    """The regions whose packs count for `code`, from the province down to itself."""
    return tuple(code[:length] for length in (2, 4, 6) if length <= len(code))
