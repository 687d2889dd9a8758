"""The rows of annex 2 as families live them, and what each circumstance changes in a family's situation.

A `HouseholdKind` is a row of the matrix together with what the family rests on (a hukou, a home, a lease …):
where a material has alternatives, there is a kind for each. A circumstance applies to the kinds whose plan it
spoils, and spoils one fact or record of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum, unique
from random import Random
from types import MappingProxyType

from gateway.protocol.matrix import Group, School
from sandbox_departments.people import Circumstance, Flaw, Holding, PersonSource, Situation
from sandbox_departments.register import Standing


@unique
class Basis(StrEnum):
    """What a family's right to the county's schools rests on."""

    HUKOU = "hukou"
    HOME = "home"
    SHARED_HOME = "shared_home"
    PUBLIC_HOUSING = "public_housing"
    LEASE = "lease"
    PERMIT = "permit"


@dataclass(frozen=True, slots=True)
class HouseholdKind:
    """A (school, group) row of annex 2, and what a family of it rests on."""

    school: School
    group: Group
    bases: frozenset[Basis]


_BASES: tuple[tuple[Group, tuple[Basis, ...]], ...] = (
    (Group.HOME_AND_HUKOU, (Basis.HUKOU, Basis.HOME)),
    (Group.HUKOU_SHARED_HOME, (Basis.HUKOU, Basis.SHARED_HOME)),
    (Group.HUKOU_SHARED_HOME, (Basis.HUKOU, Basis.PUBLIC_HOUSING)),
    (Group.HOME_WITHOUT_HUKOU, (Basis.HOME,)),
    (Group.HUKOU_WITH_LEASE, (Basis.HUKOU, Basis.LEASE)),
    (Group.NEITHER, (Basis.PERMIT, Basis.LEASE)),
    (Group.PRIVATE_URBAN, (Basis.HUKOU,)),
    (Group.PRIVATE_URBAN, (Basis.HOME,)),
)

HOUSEHOLD_KINDS: tuple[HouseholdKind, ...] = tuple(
    HouseholdKind(school, group, frozenset(bases))
    for school in School
    for group, bases in _BASES
    if school.is_public != (group is Group.PRIVATE_URBAN)
)
"""Every row of annex 2, both kinds of shared home and both alternatives of private schools: 16."""

RECORD_TROUBLES: Mapping[Circumstance, Standing] = MappingProxyType(
    {
        Circumstance.RECORD_MISSING: Standing.UNKNOWN,
        Circumstance.RECORD_AMBIGUOUS: Standing.AMBIGUOUS,
        Circumstance.NAME_MISMATCH: Standing.MISMATCH,
        Circumstance.RECORD_PROTECTED: Standing.PROTECTED,
        Circumstance.RECORD_STALE: Standing.STALE,
    }
)
"""Circumstances of one department's record of one person, whatever the facts are."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where and when a family is made: its county, another one, the reference date, and the sources of chance."""

    region: str
    elsewhere: str
    today: date
    rng: Random
    persons: PersonSource

    def last_day_ahead(self) -> date:
        """A last day of validity not yet past; today itself still counts."""
        return self.today + timedelta(days=self.rng.choice((0, 1, 30, 400, 2000)))

    def last_day_past(self) -> date:
        """A last day of validity that is over, by one day at least."""
        return self.today - timedelta(days=self.rng.choice((1, 7, 90, 800)))


def applicable_circumstances(kind: HouseholdKind) -> tuple[Circumstance, ...]:
    """The circumstances that spoil the plan of `kind`, in the order of the enum."""
    return tuple(circumstance for circumstance in Circumstance if _applies(circumstance, kind))


def alter_situation(situation: Situation, circumstance: Circumstance, scene: Scene) -> Situation:
    """`situation` with the one fact changed that `circumstance` is about.

    Unchanged for record troubles, which are blemishes, and for WRONG_AGE, which the child is born with.
    """
    change = _CHANGES.get(circumstance)
    return situation if change is None else change(situation, scene)


def _applies(circumstance: Circumstance, kind: HouseholdKind) -> bool:
    basis = _NEEDS_BASIS.get(circumstance)
    if basis is not None:
        return basis in kind.bases
    if circumstance is Circumstance.HUKOU_INSIDE:
        return kind.group in _GROUPS_WITH_HUKOU_ELSEWHERE
    if circumstance is Circumstance.NO_HUKOU:
        return Basis.HUKOU in kind.bases or kind.group in _GROUPS_WITH_HUKOU_ELSEWHERE
    return True


_GROUPS_WITH_HUKOU_ELSEWHERE = (Group.HOME_WITHOUT_HUKOU, Group.NEITHER)

_NEEDS_BASIS: Mapping[Circumstance, Basis] = MappingProxyType(
    {
        Circumstance.HUKOU_ELSEWHERE: Basis.HUKOU,
        Circumstance.NO_HOME: Basis.HOME,
        Circumstance.HOME_ELSEWHERE: Basis.HOME,
        Circumstance.HOME_SOLD: Basis.HOME,
        Circumstance.HOME_IS_A_SHOP: Basis.HOME,
        Circumstance.CO_RESIDENT_OWNS_NONE: Basis.SHARED_HOME,
        Circumstance.OTHER_HOUSEHOLD: Basis.SHARED_HOME,
        Circumstance.PUBLIC_HOUSING_ENDED: Basis.PUBLIC_HOUSING,
        Circumstance.LEASE_EXPIRED: Basis.LEASE,
        Circumstance.LEASE_ELSEWHERE: Basis.LEASE,
        Circumstance.NO_LEASE: Basis.LEASE,
        Circumstance.PERMIT_EXPIRED: Basis.PERMIT,
        Circumstance.PERMIT_ELSEWHERE: Basis.PERMIT,
    }
)


def _expired(scene: Scene) -> Holding:
    return Holding(scene.region, scene.last_day_past(), Flaw.EXPIRED)


def _elsewhere(scene: Scene) -> Holding:
    return Holding(scene.elsewhere, scene.last_day_ahead())


def _adult(scene: Scene) -> tuple[date, date]:
    return scene.today - timedelta(days=18_000), scene.today - timedelta(days=11_000)


_CHANGES: Mapping[Circumstance, Callable[[Situation, Scene], Situation]] = MappingProxyType(
    {
        Circumstance.HUKOU_ELSEWHERE: lambda it, scene: replace(it, child_hukou=scene.elsewhere),
        Circumstance.HUKOU_INSIDE: lambda it, scene: replace(it, child_hukou=scene.region),
        Circumstance.NO_HUKOU: lambda it, _: replace(it, child_hukou=None, same_household=False),
        Circumstance.NO_HOME: lambda it, _: replace(it, homes=()),
        Circumstance.HOME_ELSEWHERE: lambda it, scene: replace(it, homes=(Holding(scene.elsewhere),)),
        Circumstance.HOME_SOLD: lambda it, scene: replace(it, homes=(Holding(scene.region, flaw=Flaw.CANCELLED),)),
        Circumstance.HOME_IS_A_SHOP: lambda it, scene: replace(
            it, homes=(Holding(scene.region, flaw=Flaw.NOT_A_HOME),)
        ),
        Circumstance.CO_RESIDENT_OWNS_NONE: lambda it, _: replace(it, co_resident_homes=()),
        Circumstance.OTHER_HOUSEHOLD: lambda it, _: replace(it, same_household=False),
        Circumstance.PUBLIC_HOUSING_ENDED: lambda it, scene: replace(it, public_housing=(_expired(scene),)),
        Circumstance.LEASE_EXPIRED: lambda it, scene: replace(it, leases=(_expired(scene),)),
        Circumstance.LEASE_ELSEWHERE: lambda it, scene: replace(it, leases=(_elsewhere(scene),)),
        Circumstance.NO_LEASE: lambda it, _: replace(it, leases=()),
        Circumstance.PERMIT_EXPIRED: lambda it, scene: replace(it, permits=(_expired(scene),)),
        Circumstance.PERMIT_ELSEWHERE: lambda it, scene: replace(it, permits=(_elsewhere(scene),)),
        Circumstance.CARD_CANCELLED: lambda it, _: replace(it, card=replace(it.card, flaw=Flaw.CANCELLED)),
        Circumstance.CARD_EXPIRED: lambda it, scene: replace(it, card=_expired(scene)),
        Circumstance.NOT_GUARDIAN: lambda it, scene: replace(
            it, registered_guardian=scene.persons.draw(*_adult(scene))[0]
        ),
    }
)
