"""The vocabulary: every claim that may be asked, in both languages, and nothing else.

A claim is a versioned name with allow-listed parameters only: no free threshold, no score, no value comes
back. Each says which record makes a person *known* to the register and which record is the *fact*:

- the person is known and unique, the fact holds: YES; it is absent or false: NO
  (for a negative claim such as "owns no home" the two are exchanged);
- the person is unknown, ambiguous, protected, stale, or the name does not match: UNDETERMINED, all alike.

Region is not a parameter: every check names one (a GB/T 2260 county code), which also routes it to a node.
Changing what a claim means makes a new version of its name; an old version is never redefined.

Source: annexes 1 and 2 of the notice 湘教通〔2024〕90号; which department holds what is our reading of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from types import MappingProxyType

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason, Text


@unique
class Role(StrEnum):
    """Who a person is in an application."""

    CHILD = "child"
    GUARDIAN = "guardian"
    CO_RESIDENT = "co_resident"


@unique
class DepartmentKind(StrEnum):
    """Which kind of department holds a record (a node is one department of one area)."""

    POLICE = "police"
    LAND = "land"
    HRSS = "hrss"
    HOUSING = "housing"
    EDUCATION = "education"


DEPARTMENT_NAMES: Mapping[DepartmentKind, Text] = MappingProxyType(
    {
        DepartmentKind.POLICE: Text("公安", "Police"),
        DepartmentKind.LAND: Text("自然资源（不动产登记）", "Natural resources (land registry)"),
        DepartmentKind.HRSS: Text("人力资源和社会保障", "Human resources and social security"),
        DepartmentKind.HOUSING: Text("住房和城乡建设", "Housing and construction"),
        DepartmentKind.EDUCATION: Text("教育（学籍）", "Education (student registry)"),
    }
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One question that a department can answer with yes or no.

    `roles` are the subjects that a check of it must name, no more and no fewer. `parameters` maps each
    parameter name, all required, to its allow-list. `known_by` and `fact` say which records decide. `itemised` claims
    have values that are facts of their own, and may be asked value by value at once; every other value is a threshold
    or a guess at one and the same fact.
    """

    name: str
    department: DepartmentKind
    roles: frozenset[Role]
    text: Text
    known_by: Text
    fact: Text
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    negative: bool = False
    itemised: bool = False


_PERSON = Text("常住或流动人口登记中的人员", "the person in the population register")
_LAND_PERSON = Text("不动产登记查询主体库中的人员", "the person in the land registry's list of persons")
_INSURED = Text("社会保险参保人员", "the insured person")
_HOUSING_PERSON = Text("住房管理人员库中的人员", "the person in the housing register")
_PUPIL = Text("学龄儿童数据库中的儿童", "the child in the school-age register")

_LEVELS = ("primary", "junior")
_YEARS = ("2026", "2027", "2028")
REGISTRY_FIELDS: Mapping[str, Text] = MappingProxyType(
    {
        "name": Text("姓名", "name"),
        "nationality": Text("国籍/地区", "nationality"),
        "birthplace": Text("出生地", "place of birth"),
        "native_place": Text("籍贯", "native place"),
        "address": Text("现住址", "address"),
        "guardian_phone": Text("监护人联系电话", "the guardian's telephone number"),
        "health": Text("健康状况", "health"),
    }
)
"""Fields of the student record that `FIELD_ON_FILE` may be asked of (差额共享)."""

FIELD_ON_FILE = "enrolment.field_on_file@1"

_ALL: tuple[Claim, ...] = (
    Claim(
        "identity.valid@1",
        DepartmentKind.POLICE,
        frozenset({Role.GUARDIAN}),
        Text("监护人身份证有效", "the guardian's identity card is valid"),
        _PERSON,
        Text("有效期内且未注销的身份证件", "an identity card in force, not cancelled"),
    ),
    Claim(
        "guardianship.guardian_of@1",
        DepartmentKind.POLICE,
        frozenset({Role.CHILD, Role.GUARDIAN}),
        Text("该监护人是该儿童的法定监护人", "the guardian is the child's legal guardian"),
        _PERSON,
        Text("监护关系登记", "a registered guardianship"),
    ),
    Claim(
        "hukou.child_registered@1",
        DepartmentKind.POLICE,
        frozenset({Role.CHILD}),
        Text("儿童户籍在该行政区", "the child's hukou is in the region"),
        _PERSON,
        Text("户口登记地址在该行政区", "a hukou entry with an address in the region"),
    ),
    Claim(
        "hukou.guardian_registered@1",
        DepartmentKind.POLICE,
        frozenset({Role.GUARDIAN}),
        Text("监护人户籍在该行政区", "the guardian's hukou is in the region"),
        _PERSON,
        Text("户口登记地址在该行政区", "a hukou entry with an address in the region"),
    ),
    Claim(
        "hukou.child_registered_elsewhere@1",
        DepartmentKind.POLICE,
        frozenset({Role.CHILD}),
        Text("儿童有户籍，且不在该行政区", "the child has a hukou, outside the region"),
        _PERSON,
        Text("户口登记地址不在该行政区", "a hukou entry with an address outside the region"),
    ),
    Claim(
        "kinship.same_household@1",
        DepartmentKind.POLICE,
        frozenset({Role.CHILD, Role.CO_RESIDENT}),
        Text("共同居住人与儿童同户", "the co-resident and the child are of one household"),
        _PERSON,
        Text("同一户口簿", "one household register"),
    ),
    Claim(
        "residence.permit_valid@1",
        DepartmentKind.POLICE,
        frozenset({Role.GUARDIAN}),
        Text("监护人持有该行政区有效居住证", "the guardian holds a valid residence permit of the region"),
        _PERSON,
        Text("该行政区签发、有效期内的居住证", "a residence permit of the region, in force"),
    ),
    Claim(
        "property.owns_home@1",
        DepartmentKind.LAND,
        frozenset({Role.GUARDIAN}),
        Text("监护人在该行政区有住宅", "the guardian owns a home in the region"),
        _LAND_PERSON,
        Text("该行政区现势的住宅不动产登记", "a current registration of a home in the region"),
    ),
    Claim(
        "property.owns_no_home@1",
        DepartmentKind.LAND,
        frozenset({Role.GUARDIAN}),
        Text("监护人在该行政区无住宅（无房证明）", "the guardian owns no home in the region"),
        _LAND_PERSON,
        Text("该行政区现势的住宅不动产登记", "a current registration of a home in the region"),
        negative=True,
    ),
    Claim(
        "property.co_resident_owns_home@1",
        DepartmentKind.LAND,
        frozenset({Role.CO_RESIDENT}),
        Text("共同居住人在该行政区有住宅", "the co-resident owns a home in the region"),
        _LAND_PERSON,
        Text("该行政区现势的住宅不动产登记", "a current registration of a home in the region"),
    ),
    Claim(
        "insurance.paid_months@1",
        DepartmentKind.HRSS,
        frozenset({Role.GUARDIAN}),
        Text("监护人在该行政区缴纳社会保险达到规定月数", "the guardian paid social insurance for the months asked"),
        _INSURED,
        Text("该行政区累计缴费月数不少于所问月数", "months paid in the region, at least as many as asked"),
        MappingProxyType({"months": ("6", "12", "24", "36")}),
    ),
    Claim(
        "housing.lease_on_file@1",
        DepartmentKind.HOUSING,
        frozenset({Role.GUARDIAN}),
        Text("监护人在该行政区有备案的租赁合同", "a lease of the guardian in the region is on file"),
        _HOUSING_PERSON,
        Text("该行政区有效的租赁备案", "a lease of the region on file, in force"),
    ),
    Claim(
        "housing.public_housing@1",
        DepartmentKind.HOUSING,
        frozenset({Role.GUARDIAN}),
        Text(
            "监护人在该行政区住直管公房、单位自管房或保障性住房",
            "the guardian lives in public, unit-managed or subsidised housing in the region",
        ),
        _HOUSING_PERSON,
        Text("该行政区有效的公房或保障房承租登记", "a current tenancy of such housing in the region"),
    ),
    Claim(
        "enrolment.of_school_age@1",
        DepartmentKind.EDUCATION,
        frozenset({Role.CHILD}),
        Text("儿童在该学年达到该学段入学年龄", "the child is of age for the level in the school year"),
        _PUPIL,
        Text("出生日期在该学年入学年龄段内", "a birth date within the level's age group of that year"),
        MappingProxyType({"level": _LEVELS, "year": _YEARS}),
    ),
    Claim(
        "enrolment.not_enrolled_elsewhere@1",
        DepartmentKind.EDUCATION,
        frozenset({Role.CHILD}),
        Text("儿童未在其他地区同一学段注册学籍", "the child is not enrolled at this level elsewhere"),
        _PUPIL,
        Text("该行政区以外同一学段的在籍记录", "a current enrolment at the level outside the region"),
        MappingProxyType({"level": _LEVELS}),
        negative=True,
    ),
    Claim(
        FIELD_ON_FILE,
        DepartmentKind.EDUCATION,
        frozenset({Role.CHILD}),
        Text("该学籍信息项已在库（差额共享）", "the field of the student record is already on file"),
        _PUPIL,
        Text("学籍库中该项非空", "a value of that field in the student registry"),
        MappingProxyType({"field": tuple(REGISTRY_FIELDS)}),
        itemised=True,
    ),
)

CLAIMS: Mapping[str, Claim] = MappingProxyType({claim.name: claim for claim in _ALL})


def claim_named(name: str) -> Claim:
    """The claim called `name`; MalformedError (CLAIM_UNKNOWN) if the vocabulary has none."""
    claim = CLAIMS.get(name)
    if claim is None:
        raise MalformedError.at("claim", "must be a claim of the vocabulary", Reason.CLAIM_UNKNOWN)
    return claim


def check_parameters(claim: Claim, parameters: Mapping[str, str]) -> None:
    """Hold `parameters` against the claim's allow-lists: all of them, none besides, each value listed.

    Raises MalformedError (CLAIM_UNKNOWN) naming the parameter.
    """
    for name in parameters:
        if name not in claim.parameters:
            raise MalformedError.at("parameters", "an unknown parameter of this claim", Reason.CLAIM_UNKNOWN)
    for name, allowed in claim.parameters.items():
        if parameters.get(name) not in allowed:
            expected = "must be one of " + ", ".join(allowed)
            raise MalformedError.at(f"parameters.{name}", expected, Reason.CLAIM_UNKNOWN)
