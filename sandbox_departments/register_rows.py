"""What each department's register is made of: its tables, and the rows that a family puts into them.

A person who is missing in a department has no row there at all; one who is ambiguous has two rows under one
number. Facts are written with the dates and states that a real register would hold: that a lease has expired
stands nowhere, only its last day does. Dates are ISO 8601 text, which sorts as dates do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

from gateway.protocol.claims import DepartmentKind, Role, claim_named
from gateway.protocol.subjects import Subject
from sandbox_departments.people import KNOWN_ROLES, Family, Flaw, Holding, respell
from sandbox_departments.register import Standing

STALE_AFTER_DAYS = 365
"""A record confirmed longer than this before the snapshot is stale: the sandbox's figure for every department."""

_FIELDS = claim_named("enrolment.field_on_file@1").parameters["field"]

Row = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True)
class RegisterTable:
    """A table: its columns and their types, the columns it is looked up by, and its rows of one family.

    `rows` takes the department, the family and the snapshot date.
    """

    name: str
    columns: Mapping[str, type]
    key: tuple[str, ...]
    rows: Callable[[DepartmentKind, Family, date], Iterator[Row]]


def tables_of(department: DepartmentKind) -> Sequence[RegisterTable]:
    """The tables of a register of `department`: its persons first, then its facts."""
    return (_PERSONS, *_FACT_TABLES[department])


def _persons(department: DepartmentKind, family: Family, snapshot: date) -> Iterator[Row]:
    ordinal = int(family.application.family[1:])
    for role in KNOWN_ROLES[department]:
        subject = family.application.subjects.get(role)
        standing = family.standing_at(department, role)
        if subject is None or standing is Standing.UNKNOWN:
            continue
        name = respell(subject.name) if standing is Standing.MISMATCH else subject.name
        days = ordinal % (STALE_AFTER_DAYS + 1)
        if standing is Standing.STALE:
            days += STALE_AFTER_DAYS + 1
        confirmed = (snapshot - timedelta(days=days)).isoformat()
        yield (*_key(subject), name, int(standing is Standing.PROTECTED), confirmed)
        if standing is Standing.AMBIGUOUS:
            yield (*_key(subject), respell(name), 0, confirmed)


def _recorded(department: DepartmentKind, family: Family, role: Role) -> Subject | None:
    """The person of `role`, unless the family has none or the department misses them."""
    if family.standing_at(department, role) is Standing.UNKNOWN:
        return None
    return family.application.subjects.get(role)


def _cards(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    if guardian := _recorded(department, family, Role.GUARDIAN):
        card = family.situation.card
        yield (*_key(guardian), _last_day(card), int(card.flaw is Flaw.CANCELLED))


def _hukou(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    situation, home = family.situation, f"H{family.application.family[1:]}"
    if (child := _recorded(department, family, Role.CHILD)) and situation.child_hukou:
        yield (*_key(child), situation.child_hukou, home)
    if (guardian := _recorded(department, family, Role.GUARDIAN)) and situation.guardian_hukou:
        shares = situation.guardian_hukou == situation.child_hukou
        yield (*_key(guardian), situation.guardian_hukou, home if shares else f"{home}-G")
    if co_resident := _recorded(department, family, Role.CO_RESIDENT):
        shares = situation.same_household
        yield (*_key(co_resident), situation.child_hukou or family.application.region, home if shares else f"{home}-C")


def _guardianships(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    if child := _recorded(department, family, Role.CHILD):
        yield (*_key(child), *_key(family.situation.registered_guardian))


def _permits(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    if guardian := _recorded(department, family, Role.GUARDIAN):
        for permit in family.situation.permits:
            yield (*_key(guardian), permit.region, _last_day(permit))


def _homes(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    owned = ((Role.GUARDIAN, family.situation.homes), (Role.CO_RESIDENT, family.situation.co_resident_homes))
    for role, homes in owned:
        if owner := _recorded(department, family, role):
            for home in homes:
                use = "commercial" if home.flaw is Flaw.NOT_A_HOME else "residential"
                state = "cancelled" if home.flaw is Flaw.CANCELLED else "current"
                yield (*_key(owner), home.region, use, state)


def _contributions(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    """Each county's months in two spells, since people change employers."""
    if guardian := _recorded(department, family, Role.GUARDIAN):
        for region, months in family.situation.insured:
            yield (*_key(guardian), region, months // 3)
            yield (*_key(guardian), region, months - months // 3)


def _leases(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    if guardian := _recorded(department, family, Role.GUARDIAN):
        for lease in family.situation.leases:
            yield (*_key(guardian), lease.region, _last_day(lease))


def _tenancies(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    if guardian := _recorded(department, family, Role.GUARDIAN):
        for tenancy in family.situation.public_housing:
            yield (*_key(guardian), tenancy.region, _last_day(tenancy))


def _pupils(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    if child := _recorded(department, family, Role.CHILD):
        yield (*_key(child), family.situation.born_on.isoformat())


def _enrolments(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    if child := _recorded(department, family, Role.CHILD):
        for enrolment in family.situation.enrolments:
            state = "current" if enrolment.is_current else "left"
            yield (*_key(child), enrolment.region, enrolment.level, state)


def _student_fields(department: DepartmentKind, family: Family, _snapshot: date) -> Iterator[Row]:
    """A row for every field, blank where nothing is on file, as in a form."""
    if child := _recorded(department, family, Role.CHILD):
        on_file = family.situation.fields_on_file
        for field in _FIELDS:
            yield (*_key(child), field, "已登记" if field in on_file else "")


def _key(subject: Subject) -> tuple[str, str]:
    return subject.id_type.value, subject.id_number


def _last_day(holding: Holding) -> str | None:
    return None if holding.until is None else holding.until.isoformat()


_PERSON_KEY = ("id_type", "id_number")


def _table(name: str, rows: Callable[[DepartmentKind, Family, date], Iterator[Row]], /, **facts: type) -> RegisterTable:
    return RegisterTable(name, MappingProxyType({"id_type": str, "id_number": str, **facts}), _PERSON_KEY, rows)


_PERSONS = _table("persons", _persons, name=str, protected=int, confirmed_on=str)

_FACT_TABLES: Mapping[DepartmentKind, tuple[RegisterTable, ...]] = MappingProxyType(
    {
        DepartmentKind.POLICE: (
            _table("identity_cards", _cards, expires_on=str, cancelled=int),
            _table("hukou", _hukou, region=str, household=str),
            RegisterTable(
                "guardianships",
                MappingProxyType(
                    {"child_type": str, "child_number": str, "guardian_type": str, "guardian_number": str}
                ),
                ("child_type", "child_number"),
                _guardianships,
            ),
            _table("residence_permits", _permits, region=str, expires_on=str),
        ),
        DepartmentKind.LAND: (_table("homes", _homes, region=str, use=str, state=str),),
        DepartmentKind.HRSS: (_table("contributions", _contributions, region=str, months=int),),
        DepartmentKind.HOUSING: (
            _table("leases", _leases, region=str, ends_on=str),
            _table("tenancies", _tenancies, region=str, ends_on=str),
        ),
        DepartmentKind.EDUCATION: (
            _table("pupils", _pupils, born_on=str),
            _table("enrolments", _enrolments, region=str, level=str, state=str),
            _table("student_fields", _student_fields, field=str, value=str),
        ),
    }
)
