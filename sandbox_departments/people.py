"""The model of a simulated family: what it states in its application, and what is true of it.

An `Application` is what an applicant knows and a requester sends. A `Situation` is what the departments' records
shall say; a `Blemish` is a record that one department holds wrongly, twice, under protection, too old or not at
all. The registers are written from a family (`register_rows`), and the correct answers are computed from it
(`truth`), apart from each other: the registers turn a situation into rows with dates and states, the truth reads
what was meant.

Everybody is fictional: every ID number is of area 439900, which is no real division, and names are drawn from a
small table. Families live in real counties, since a county routes a question to a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum, unique
from random import Random
from types import MappingProxyType

from gateway.protocol.claims import DepartmentKind, Role
from gateway.protocol.identifiers import MAX_SEQUENCE, resident_id
from gateway.protocol.matrix import Group, School
from gateway.protocol.subjects import IdType, Subject
from sandbox_departments.register import Standing

FICTIONAL_AREA = "439900"
"""No division has this code, so that no simulated number can be a real person's."""

KNOWN_ROLES: Mapping[DepartmentKind, tuple[Role, ...]] = MappingProxyType(
    {
        DepartmentKind.POLICE: (Role.CHILD, Role.GUARDIAN, Role.CO_RESIDENT),
        DepartmentKind.LAND: (Role.GUARDIAN, Role.CO_RESIDENT),
        DepartmentKind.HRSS: (Role.GUARDIAN,),
        DepartmentKind.HOUSING: (Role.GUARDIAN,),
        DepartmentKind.EDUCATION: (Role.CHILD,),
    }
)
"""Whom a department knows, with or without a fact about them."""

_SCHOOL_STARTS_AT: Mapping[str, int] = MappingProxyType({"primary": 6, "junior": 12})

_SURNAMES = "王李张刘陈杨黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏"
_GIVEN_NAMES = (
    "芳 敏 静 丽 娟 艳 玲 桂英 玉兰 秀珍 雨桐 欣怡 梓涵 诗琪 思颖 佳慧 晓燕 海霞 若溪 婉清",
    "伟 强 磊 军 勇 杰 涛 建国 志强 国华 浩然 子轩 宇航 俊熙 明哲 文博 立新 永康 景行 承泽",
)
"""Given names by the parity of the sequence: even female, odd male."""


@unique
class Circumstance(StrEnum):
    """What makes a family fail for its group: one record or fact, everything else holds."""

    HUKOU_ELSEWHERE = "hukou_elsewhere"
    HUKOU_INSIDE = "hukou_inside"
    NO_HUKOU = "no_hukou"
    NO_HOME = "no_home"
    HOME_ELSEWHERE = "home_elsewhere"
    HOME_SOLD = "home_sold"
    HOME_IS_A_SHOP = "home_is_a_shop"
    CO_RESIDENT_OWNS_NONE = "co_resident_owns_none"
    OTHER_HOUSEHOLD = "other_household"
    PUBLIC_HOUSING_ENDED = "public_housing_ended"
    LEASE_EXPIRED = "lease_expired"
    LEASE_ELSEWHERE = "lease_elsewhere"
    NO_LEASE = "no_lease"
    PERMIT_EXPIRED = "permit_expired"
    PERMIT_ELSEWHERE = "permit_elsewhere"
    INSURED_TOO_BRIEFLY = "insured_too_briefly"
    OWNS_A_HOME = "owns_a_home"
    CARD_CANCELLED = "card_cancelled"
    CARD_EXPIRED = "card_expired"
    NOT_GUARDIAN = "not_guardian"
    WRONG_AGE = "wrong_age"
    RECORD_MISSING = "record_missing"
    RECORD_AMBIGUOUS = "record_ambiguous"
    NAME_MISMATCH = "name_mismatch"
    RECORD_PROTECTED = "record_protected"
    RECORD_STALE = "record_stale"


@unique
class Flaw(StrEnum):
    """Why a record that exists does not count."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    NOT_A_HOME = "not_a_home"


@dataclass(frozen=True, slots=True)
class Holding:
    """A card, permit, home, lease or tenancy: its county, its last day (None: no end), and why it does not count."""

    region: str
    until: date | None = None
    flaw: Flaw | None = None

    def holds_in(self, region: str) -> bool:
        """Whether it counts in the county `region`."""
        return self.flaw is None and self.region == region


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A pupil's enrolment at a level ("primary", "junior") in a county; not current: the pupil has left."""

    region: str
    level: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Blemish:
    """One department cannot speak of one person: `standing` (never KNOWN) says why."""

    department: DepartmentKind
    role: Role
    standing: Standing


@dataclass(frozen=True, slots=True)
class Case:
    """What rules need to know of an application: where, for what, and which roles the family can fill."""

    region: str
    school: School
    group: Group
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Application:
    """What an applicant knows: the family's id ("F000001"), school, group, county, and the persons by role."""

    family: str
    school: School
    group: Group
    region: str
    subjects: Mapping[Role, Subject]

    @property
    def case(self) -> Case:
        """The application as rules see it."""
        return Case(self.region, self.school, self.group, frozenset(self.subjects))


@dataclass(frozen=True, slots=True)
class Situation:
    """What is true of a family. Hukou are county codes, None where a person has none.

    `same_household` is of child and co-resident; `age_cohort` is the (level, school year) that the child is of
    age for; `insured` lists months paid by the guardian per county.
    """

    child_hukou: str | None
    guardian_hukou: str | None
    same_household: bool
    registered_guardian: Subject
    card: Holding
    age_cohort: tuple[str, int]
    born_on: date
    permits: tuple[Holding, ...] = ()
    homes: tuple[Holding, ...] = ()
    co_resident_homes: tuple[Holding, ...] = ()
    leases: tuple[Holding, ...] = ()
    public_housing: tuple[Holding, ...] = ()
    insured: tuple[tuple[str, int], ...] = ()
    enrolments: tuple[Enrolment, ...] = ()
    fields_on_file: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One simulated family. `circumstances` is empty where everything holds that its group's plan asks of it."""

    application: Application
    situation: Situation
    circumstances: tuple[Circumstance, ...] = ()
    blemishes: tuple[Blemish, ...] = ()

    def standing_at(self, department: DepartmentKind, role: Role) -> Standing:
        """How the person of `role` stands in the register of `department`, among the family's own county's nodes."""
        for blemish in self.blemishes:
            if (blemish.department, blemish.role) == (department, role):
                return blemish.standing
        return Standing.KNOWN


def birth_window(level: str, year: int) -> tuple[date, date]:
    """First and last birth date of the children who are of age for `level` in the school year `year`.

    Our reading of 义务教育法 art. 11 (six full years) with the usual cut-off of 31 August: primary school takes those
    who turned six in the twelve months up to it, junior secondary school those who turned twelve. Allowances are
    not modelled: where conditions require it children start at seven, and deferred or repeated years shift a
    child's cohort; such a child gets a NO here, and its county decides.
    """
    age = _SCHOOL_STARTS_AT[level]
    return date(year - age - 1, 9, 1), date(year - age, 8, 31)


class PersonSource:
    """Draws fictional persons, no ID number twice. Holds the `Random` it was given and what it has handed out."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._given_names = tuple(names.split() for names in _GIVEN_NAMES)
        self._handed_out: dict[tuple[date, int], int] = {}

    def draw(self, earliest: date, latest: date, surname: str | None = None) -> tuple[Subject, date]:
        """A new person born from `earliest` to `latest` and their birth date; any surname unless one is given.

        A day has 999 numbers: the caller bounds how many it draws from a window.
        """
        while True:
            born_on = earliest + timedelta(days=self._rng.randrange((latest - earliest).days + 1))
            parity = self._rng.randrange(2)
            sequence = self._handed_out.get((born_on, parity), -parity) + 2
            if sequence <= MAX_SEQUENCE:
                break
        self._handed_out[born_on, parity] = sequence
        given = self._rng.choice(self._given_names[parity])
        name = (surname or self._rng.choice(_SURNAMES)) + given
        return Subject(IdType.RESIDENT_ID, resident_id(FICTIONAL_AREA, born_on, sequence), name), born_on


def respell(name: str) -> str:
    """Another plausible name with the same surname: a clerk's slip, or another person under the same number."""
    return name[0] + ("志明" if name[1:] != "志明" else "志敏")
