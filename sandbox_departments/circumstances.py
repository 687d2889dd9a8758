"""The rows of annex 2 as families live them, and what each circumstance changes in a family's situation.

A `HouseholdKind` is a row of annex 2 together with what the family rests on (a hukou, a home, a lease …):
where a material has alternatives, there is a kind for each. A circumstance applies where the county's plan asks what
it spoils and the family rests on that, and spoils one material of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
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


def applicable_circumstances(kind: HouseholdKind, asked: Set[str]) -> tuple[Circumstance, ...]:
    """The circumstances that spoil a plan of the claims `asked` for `kind`, in the order of the enum."""
    relied_on = {claim for claim in asked if _BASIS_OF.get(claim) in {None, *kind.bases}}
    return tuple(
        circumstance
        for circumstance in Circumstance
        if circumstance in RECORD_TROUBLES or relied_on & _SPOILS[circumstance]
    )


def alter_situation(situation: Situation, circumstance: Circumstance, scene: Scene) -> Situation:
    """`situation` with the one fact changed that `circumstance` is about.

    Unchanged for record troubles, which are blemishes, and for WRONG_AGE, which the child is born with.
    """
    change = _CHANGES.get(circumstance)
    return situation if change is None else change(situation, scene)


_BASIS_OF: Mapping[str, Basis] = MappingProxyType(
    {
        "hukou.child_registered@1": Basis.HUKOU,
        "property.owns_home@1": Basis.HOME,
        "property.co_resident_owns_home@1": Basis.SHARED_HOME,
        "kinship.same_household@1": Basis.SHARED_HOME,
        "housing.public_housing@1": Basis.PUBLIC_HOUSING,
        "housing.lease_on_file@1": Basis.LEASE,
        "residence.permit_valid@1": Basis.PERMIT,
    }
)
"""What a family rests on for whom a claim holds; every other claim that is asked holds for every family in order."""

_HOME = frozenset({"property.owns_home@1"})
_LEASE = frozenset({"housing.lease_on_file@1"})
_PERMIT = frozenset({"residence.permit_valid@1"})
_CARD = frozenset({"identity.valid@1"})

_SPOILS: Mapping[Circumstance, frozenset[str]] = MappingProxyType(
    {
        Circumstance.HUKOU_ELSEWHERE: frozenset({"hukou.child_registered@1"}),
        Circumstance.HUKOU_INSIDE: frozenset({"hukou.child_registered_elsewhere@1"}),
        Circumstance.NO_HUKOU: frozenset({"hukou.child_registered@1", "hukou.child_registered_elsewhere@1"}),
        Circumstance.NO_HOME: _HOME,
        Circumstance.HOME_ELSEWHERE: _HOME,
        Circumstance.HOME_SOLD: _HOME,
        Circumstance.HOME_IS_A_SHOP: _HOME,
        Circumstance.CO_RESIDENT_OWNS_NONE: frozenset({"property.co_resident_owns_home@1"}),
        Circumstance.OTHER_HOUSEHOLD: frozenset({"kinship.same_household@1"}),
        Circumstance.PUBLIC_HOUSING_ENDED: frozenset({"housing.public_housing@1"}),
        Circumstance.LEASE_EXPIRED: _LEASE,
        Circumstance.LEASE_ELSEWHERE: _LEASE,
        Circumstance.NO_LEASE: _LEASE,
        Circumstance.PERMIT_EXPIRED: _PERMIT,
        Circumstance.PERMIT_ELSEWHERE: _PERMIT,
        Circumstance.INSURED_TOO_BRIEFLY: frozenset({"insurance.paid_months@1"}),
        Circumstance.OWNS_A_HOME: frozenset({"property.owns_no_home@1"}),
        Circumstance.CARD_CANCELLED: _CARD,
        Circumstance.CARD_EXPIRED: _CARD,
        Circumstance.NOT_GUARDIAN: frozenset({"guardianship.guardian_of@1"}),
        Circumstance.WRONG_AGE: frozenset({"enrolment.of_school_age@1"}),
    }
)
"""The claims of which a circumstance turns a YES into a NO; record troubles make any of them UNDETERMINED."""


def _expired(scene: Scene) -> Holding:
    return Holding(scene.region, scene.last_day_past(), Flaw.EXPIRED)


def _elsewhere(scene: Scene) -> Holding:
    return Holding(scene.elsewhere, scene.last_day_ahead())


def _without_permit(situation: Situation, scene: Scene, permit: Holding) -> Situation:
    """Only `permit`, which does not count; and no hukou of the guardian's own here, which would do as well."""
    hukou = situation.guardian_hukou
    return replace(situation, permits=(permit,), guardian_hukou=scene.elsewhere if hukou == scene.region else hukou)


def _insured_too_briefly(situation: Situation, scene: Scene) -> Situation:
    """Fewer months here than any county may ask, and enough of them elsewhere."""
    months = scene.rng.choice((1, 3, 5))
    return replace(situation, insured=((scene.region, months), (scene.elsewhere, 80)))


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
        Circumstance.PERMIT_EXPIRED: lambda it, scene: _without_permit(it, scene, _expired(scene)),
        Circumstance.PERMIT_ELSEWHERE: lambda it, scene: _without_permit(it, scene, _elsewhere(scene)),
        Circumstance.INSURED_TOO_BRIEFLY: _insured_too_briefly,
        Circumstance.OWNS_A_HOME: lambda it, scene: replace(it, homes=(*it.homes, Holding(scene.region))),
        Circumstance.CARD_CANCELLED: lambda it, _: replace(it, card=replace(it.card, flaw=Flaw.CANCELLED)),
        Circumstance.CARD_EXPIRED: lambda it, scene: replace(it, card=_expired(scene)),
        Circumstance.NOT_GUARDIAN: lambda it, scene: replace(
            it, registered_guardian=scene.persons.draw(*_adult(scene))[0]
        ),
    }
)
