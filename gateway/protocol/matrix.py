"""Annex 2 of the notice as one table: which materials a group owes, and which checks replace each.

Until counties write rule packs, every plan comes from here. A material is replaced when any one of its
alternatives holds, an alternative when all of its claims do. `plan_checks` lists the checks to ask: every
claim of every alternative whose roles the family can fill (a family without a co-resident is not asked for
one), each once, in the order of the table.

Source: 湘教通〔2024〕90号 annex 2 (materials by group, the same for both public levels); annex 1 for school age
(受理条件: 适龄儿童). Which check replaces which material is our reading: the notice says 民办 "户籍或房产" and lists
both materials, so either suffices; 共同居住的产权证明 is read as the co-resident's property plus one household.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum, unique
from types import MappingProxyType

from gateway.protocol.claims import Role, claim_named
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Text

PURPOSE_ENROLMENT = "enrolment"
"""The purpose of every check of this table (教育入学)."""

SCHOOL_YEAR = "2027"
"""The school year that the built-in table plans for; a rule pack names its own."""


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
class Material:
    """One paper of annex 2 and what replaces it: any alternative, each all of its claims."""

    key: str
    text: Text
    alternatives: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class PlannedCheck:
    """One check of a plan: claim, its parameters, and the keys of the materials it helps to replace."""

    claim: str
    parameters: Mapping[str, str]
    materials: tuple[str, ...]


_AGE = Material("school_age", Text("适龄儿童（受理条件）", "of school age"), (("enrolment.of_school_age@1",),))
_IDENTITY = Material(
    "guardian_identity",
    Text("法定监护人身份证", "the legal guardian's identity card"),
    (("identity.valid@1", "guardianship.guardian_of@1"),),
)
_HUKOU = Material("hukou_book", Text("户口本信息", "hukou book"), (("hukou.child_registered@1",),))
_HUKOU_ELSEWHERE = Material("hukou_book", Text("户口本信息", "hukou book"), (("hukou.child_registered_elsewhere@1",),))
_HOME = Material("property_certificate", Text("房产证件", "property certificate"), (("property.owns_home@1",),))
_SHARED_HOME = Material(
    "shared_home_proof",
    Text(
        "共同居住的产权证明、单位自管产权房、直管公房或保障性住房等房产证明",
        "proof of a co-resident's property, or of unit-managed, public or subsidised housing",
    ),
    (
        ("property.co_resident_owns_home@1", "kinship.same_household@1"),
        ("housing.public_housing@1",),
    ),
)
_LEASE = Material("lease", Text("租房合同", "lease"), (("housing.lease_on_file@1",),))
_PERMIT = Material("residence_permit", Text("居住证", "residence permit"), (("residence.permit_valid@1",),))
_HUKOU_OR_HOME = Material(
    "urban_hukou_or_home",
    Text("城区（县城）户籍或房产：户口本信息、房产证件", "urban hukou or home: hukou book, property certificate"),
    (("hukou.child_registered@1",), ("property.owns_home@1",)),
)

MATRIX: Mapping[Group, tuple[Material, ...]] = MappingProxyType(
    {
        Group.HOME_AND_HUKOU: (_AGE, _HOME, _HUKOU, _IDENTITY),
        Group.HUKOU_SHARED_HOME: (_AGE, _HUKOU, _IDENTITY, _SHARED_HOME),
        Group.HOME_WITHOUT_HUKOU: (_AGE, _HOME, _HUKOU_ELSEWHERE, _IDENTITY),
        Group.HUKOU_WITH_LEASE: (_AGE, _HUKOU, _IDENTITY, _LEASE),
        Group.NEITHER: (_AGE, _HUKOU_ELSEWHERE, _IDENTITY, _PERMIT, _LEASE),
        Group.PRIVATE_URBAN: (_AGE, _IDENTITY, _HUKOU_OR_HOME),
    }
)


def materials_of(school: School, group: Group) -> tuple[Material, ...]:
    """The materials that `group` owes at `school`; MalformedError if annex 2 has no such row."""
    if school.is_public == (group is Group.PRIVATE_URBAN):
        raise MalformedError.at("group", "annex 2 has no such group for this kind of school")
    return MATRIX[group]


def plan_checks(school: School, group: Group, roles: Set[Role]) -> tuple[PlannedCheck, ...]:
    """The checks that a family with `roles` asks, each claim once, in the order of the table."""
    materials_by_claim: dict[str, list[str]] = {}
    for material, claim_name in _fillable_claims(materials_of(school, group), roles):
        materials_by_claim.setdefault(claim_name, []).append(material.key)
    return tuple(
        PlannedCheck(claim_name, _parameters_of(claim_name, school), tuple(keys))
        for claim_name, keys in materials_by_claim.items()
    )


def _fillable_claims(materials: tuple[Material, ...], roles: Set[Role]) -> Iterator[tuple[Material, str]]:
    for material in materials:
        for alternative in material.alternatives:
            if all(claim_named(claim_name).roles <= roles for claim_name in alternative):
                yield from ((material, claim_name) for claim_name in alternative)


def _parameters_of(claim_name: str, school: School) -> Mapping[str, str]:
    if claim_name == "enrolment.of_school_age@1":
        return MappingProxyType({"level": school.level, "year": SCHOOL_YEAR})
    return MappingProxyType({})
