"""Makes simulated families: every row of annex 2 in every county, most of them in order, the rest not.

The structure is fixed and the details are drawn. Families take the household kinds in turn and the counties in
turn, so that few of them already cover every row; three in ten, none of the first turn, carry one circumstance
that spoils their plan: first those not seen yet, then each kind takes its own in turn. A family without one has
whatever the plan of its county asks of it; only a material that no department can verify may keep its group from being
supported, and none of the first turn owes such a material. Whatever does not bear on the plan (insurance that is not
asked, other homes, records that the plan does not ask) is drawn as well, so that every claim of the vocabulary has
every outcome.

The same `Random` state and arguments give the same families; more families begin with the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from datetime import date, timedelta
from itertools import count, islice
from random import Random
from types import MappingProxyType

from gateway.protocol.claims import DepartmentKind, Role, claim_named
from gateway.protocol.divisions import COUNTIES, counties_of
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import Subject
from sandbox_departments.circumstances import (
    HOUSEHOLD_KINDS,
    RECORD_TROUBLES,
    Basis,
    HouseholdKind,
    Scene,
    alter_situation,
    applicable_circumstances,
)
from sandbox_departments.county_rules import Asked, CountyRules
from sandbox_departments.people import (
    KNOWN_ROLES,
    Application,
    Blemish,
    Case,
    Circumstance,
    Enrolment,
    Family,
    Flaw,
    Holding,
    PersonSource,
    Situation,
    birth_window,
)

DEFAULT_PREFECTURES = ("4301", "4303")
"""Changsha and Xiangtan: 14 counties."""

MAX_POPULATION = 200_000
"""Families: a birth date of area 439900 has 999 ID numbers, and most children are of two school years."""

FAILING_TENTHS = 3
"""Families with a circumstance, in tenths of all but the first turn."""

_HALF = 0.5
_SHARE_WITH_UNASKED_TROUBLE = 0.04
_SHARE_OF_FORMER_HOLDINGS = 0.1
_SHARE_OF_OTHER_ENROLMENTS = 0.15
_SHARE_OF_FIELDS_ON_FILE = 0.6

_Record = tuple[DepartmentKind, Role]

_FIELDS = claim_named("enrolment.field_on_file@1").parameters["field"]
_GUARDIANS_HUKOU = "hukou.guardian_registered@1"
_INSURANCE = "insurance.paid_months@1"
_MONTHS = (3, 6, 11, 12, 23, 24, 35, 36, 80)


def generate_families(
    rng: Random,
    population: int,
    *,
    today: date,
    rules: CountyRules,
    prefectures: Sequence[str] = DEFAULT_PREFECTURES,
    closed: Set[str] = frozenset(),
) -> tuple[Family, ...]:
    """`population` families of the counties of `prefectures`, as `rules` would have them, none of a `closed` county.

    Validity dates lie around `today`. Raises MalformedError (CONFIGURATION_INVALID) for a population out of bounds, no
    prefectures or no open county, and MalformedError for a prefecture that is not in Hunan.
    """
    if not 1 <= population <= MAX_POPULATION:
        raise MalformedError.at("population", f"must be from 1 to {MAX_POPULATION}", Reason.CONFIGURATION_INVALID)
    if not prefectures or len(set(prefectures)) != len(prefectures):
        raise MalformedError.at("prefectures", "must name some, each once", Reason.CONFIGURATION_INVALID)
    counties = tuple(county for county in _counties_in_turn(prefectures) if county not in closed)
    if not counties:
        raise MalformedError.at("closed", "must leave a county open", Reason.CONFIGURATION_INVALID)
    return tuple(islice(_families(rng, today, counties, rules), population))


def _counties_in_turn(prefectures: Sequence[str]) -> tuple[str, ...]:
    """All counties, each prefecture's first one before any one's second."""
    ranked = [
        (rank, place, county) for place, p in enumerate(prefectures) for rank, county in enumerate(counties_of(p))
    ]
    return tuple(county for _, _, county in sorted(ranked))


class _Rota:
    """Whose turn it is: among counties, circumstances and records, in turn or those seen least first."""

    def __init__(self, counties: Sequence[str], rules: CountyRules) -> None:
        self._counties = counties
        self._rules = rules
        self._breadth = Counter(
            circumstance for county in counties for kind in HOUSEHOLD_KINDS for circumstance in self._of(kind, county)
        )
        self._seen: Counter[Circumstance] = Counter()
        self._seen_of_kind: Counter[tuple[HouseholdKind, Circumstance]] = Counter()
        self._troubled: Counter[_Record] = Counter()

    def county(self, kind: HouseholdKind, turn: int, place: int) -> str:
        """Where the family of that turn and place lives: a kind moves on by one county at each turn, and meets all.

        In the first turn, a county whose plan for the kind is verified online altogether, if there is any.
        """
        start = (turn + place) % len(self._counties)
        if turn > 0:
            return self._counties[start]
        in_turn = (*self._counties[start:], *self._counties[:start])
        online = (county for county in in_turn if not self._rules.asked(case_of(kind, county)).offline)
        return next(online, in_turn[0])

    def next_circumstance(self, kind: HouseholdKind, county: str) -> Circumstance:
        """One that applies to `kind` there: unseen ones first, and of these the one that the fewest rows can have."""
        chosen = min(
            self._of(kind, county),
            key=lambda c: (self._seen[c] > 0, self._seen_of_kind[kind, c], self._seen[c], self._breadth[c]),
        )
        self._seen[chosen] += 1
        self._seen_of_kind[kind, chosen] += 1
        return chosen

    def next_record(self, candidates: Sequence[_Record]) -> _Record:
        """The candidate that was in trouble least often."""
        chosen = min(candidates, key=lambda record: self._troubled[record])
        self._troubled[chosen] += 1
        return chosen

    def _of(self, kind: HouseholdKind, county: str) -> tuple[Circumstance, ...]:
        return applicable_circumstances(kind, claims_of(self._rules.asked(case_of(kind, county))))


def case_of(kind: HouseholdKind, county: str) -> Case:
    """What rules need to know of a family of `kind` in `county`."""
    co_resident = {Role.CO_RESIDENT} if Basis.SHARED_HOME in kind.bases else set()
    return Case(county, kind.school, kind.group, frozenset({Role.CHILD, Role.GUARDIAN} | co_resident))


def claims_of(asked: Asked) -> frozenset[str]:
    """The claims that the group's plan asks."""
    return frozenset(check.claim for check in asked.own)


def _families(rng: Random, today: date, counties: Sequence[str], rules: CountyRules) -> Iterator[Family]:
    persons, rota = PersonSource(rng), _Rota(counties, rules)
    for number in count():
        turn, place = divmod(number, len(HOUSEHOLD_KINDS))
        kind = HOUSEHOLD_KINDS[place]
        fails = turn > 0 and (3 * turn + place) % 10 < FAILING_TENTHS
        region = rota.county(kind, turn, place)
        asked = rules.asked(case_of(kind, region))
        scene = Scene(region, _another_county(rng, region), today, rng, persons)
        circumstance = rota.next_circumstance(kind, region) if fails else None
        yield _family(f"F{number + 1:06}", kind, asked, circumstance, scene, rota)


def _another_county(rng: Random, region: str) -> str:
    """A county besides `region`: half of them neighbours in its prefecture."""
    candidates = counties_of(region[:4]) if rng.random() < _HALF else tuple(COUNTIES)
    return rng.choice([county for county in candidates if county != region])


def _family(
    family_id: str,
    kind: HouseholdKind,
    asked: Asked,
    circumstance: Circumstance | None,
    scene: Scene,
    rota: _Rota,
) -> Family:
    rng, persons = scene.rng, scene.persons
    year = asked.school_year
    if circumstance is Circumstance.WRONG_AGE:
        year += rng.choice((-2, -1, 1, 2))
    level = kind.school.level
    child, born_on = persons.draw(*birth_window(level, year))
    guardian, _ = persons.draw(*_years_before(born_on, 40, 22), surname=child.name[0])
    subjects = {Role.CHILD: child, Role.GUARDIAN: guardian}
    if Basis.SHARED_HOME in kind.bases:
        subjects[Role.CO_RESIDENT], _ = persons.draw(*_years_before(born_on, 70, 50))
    application = Application(family_id, kind.school, kind.group, scene.region, MappingProxyType(subjects))
    situation = _situation(kind, asked, scene, guardian, (level, year), born_on)
    blemishes = []
    unasked = _unasked_records(application, asked)
    if unasked and rng.random() < _SHARE_WITH_UNASKED_TROUBLE:
        blemishes.append(Blemish(*rota.next_record(unasked), rng.choice(tuple(RECORD_TROUBLES.values()))))
    if circumstance is None:
        return Family(application, situation, (), tuple(blemishes))
    if circumstance in RECORD_TROUBLES:
        blemishes.append(Blemish(*rota.next_record(_asked_records(asked)), RECORD_TROUBLES[circumstance]))
    return Family(application, alter_situation(situation, circumstance, scene), (circumstance,), tuple(blemishes))


def _situation(
    kind: HouseholdKind, asked: Asked, scene: Scene, guardian: Subject, age_cohort: tuple[str, int], born_on: date
) -> Situation:
    """Everything that `kind` rests on and the plan asks holds in the scene's county; the rest is drawn."""
    rng, region = scene.rng, scene.region
    child_hukou = region if Basis.HUKOU in kind.bases else scene.elsewhere
    guardian_hukou = rng.choice((child_hukou, child_hukou, child_hukou, child_hukou, scene.elsewhere, None))
    if Basis.PERMIT in kind.bases and _GUARDIANS_HUKOU in claims_of(asked) and rng.random() < _HALF:
        guardian_hukou = region  # counts like a permit there, and whoever has it needs none
    return Situation(
        child_hukou=child_hukou,
        guardian_hukou=guardian_hukou,
        same_household=Basis.SHARED_HOME in kind.bases,
        registered_guardian=guardian,
        card=Holding(region, rng.choice((scene.last_day_ahead(), None))),
        age_cohort=age_cohort,
        born_on=born_on,
        permits=_permits(kind, scene, guardian_hukou),
        homes=_with_former(Basis.HOME in kind.bases, scene, Flaw.CANCELLED, None),
        co_resident_homes=_with_former(Basis.SHARED_HOME in kind.bases, scene, Flaw.NOT_A_HOME, None),
        leases=_with_former(Basis.LEASE in kind.bases, scene, Flaw.EXPIRED, scene.last_day_past()),
        public_housing=_with_former(Basis.PUBLIC_HOUSING in kind.bases, scene, Flaw.EXPIRED, scene.last_day_past()),
        insured=_insured(asked, scene),
        enrolments=_enrolments(age_cohort[0], scene),
        fields_on_file=tuple(name for name in _FIELDS if rng.random() < _SHARE_OF_FIELDS_ON_FILE),
    )


def _permits(kind: HouseholdKind, scene: Scene, guardian_hukou: str | None) -> tuple[Holding, ...]:
    """A permit where the family rests on it, and for half of the other guardians whose hukou is not here."""
    if guardian_hukou != scene.region and (Basis.PERMIT in kind.bases or scene.rng.random() < _HALF):
        return (Holding(scene.region, scene.last_day_ahead()),)
    return ()


def _insured(asked: Asked, scene: Scene) -> tuple[tuple[str, int], ...]:
    """As many months here as the plan asks, or more; where it asks none, any months or no insurance at all."""
    rng = scene.rng
    least = asked.parameter(_INSURANCE, "months")
    here = (scene.region, rng.choice([months for months in _MONTHS if months >= int(least or 0)]))
    elsewhere = (scene.elsewhere, rng.choice(_MONTHS))
    return rng.choice(((here,), (here, elsewhere), *(() if least else ((),))))


def _with_former(holds: bool, scene: Scene, flaw: Flaw, until: date | None) -> tuple[Holding, ...]:
    """The holding itself if it `holds`; and in some families a flawed one before it and one elsewhere after it."""
    has_former, has_other = (scene.rng.random() < _SHARE_OF_FORMER_HOLDINGS for _ in range(2))
    before = (Holding(scene.region, until, flaw),) if has_former else ()
    # Homes have no last day, and no last day is drawn for them.
    own = (Holding(scene.region, scene.last_day_ahead() if until else None),) if holds else ()
    after = (Holding(scene.elsewhere, scene.last_day_ahead() if until else None),) if has_other else ()
    return before + own + after


def _enrolments(level: str, scene: Scene) -> tuple[Enrolment, ...]:
    """What the student registry holds: pupils of the level below, and now and then an earlier or rival enrolment."""
    rng = scene.rng
    enrolments = []
    if level == "junior":
        enrolments.append(Enrolment(rng.choice((scene.region, scene.region, scene.elsewhere)), "primary", True))
    if rng.random() < _SHARE_OF_OTHER_ENROLMENTS:
        is_current = rng.random() < _HALF
        enrolments.append(Enrolment(rng.choice((scene.region, scene.elsewhere)), level, is_current))
    return tuple(enrolments)


def _asked_records(asked: Asked) -> tuple[_Record, ...]:
    """The records that the group's plan asks, each once, in the order of the plan."""
    claims = [claim_named(check.claim) for check in asked.own]
    records = [(claim.department, role) for claim in claims for role in Role if role in claim.roles]
    return tuple(dict.fromkeys(records))


def _unasked_records(application: Application, asked: Asked) -> tuple[_Record, ...]:
    """The family's other records."""
    among = _asked_records(asked)
    held = [(department, role) for department, roles in KNOWN_ROLES.items() for role in roles]
    return tuple(record for record in held if record[1] in application.subjects and record not in among)


def _years_before(day: date, most: int, least: int) -> tuple[date, date]:
    return day - timedelta(days=round(most * 365.25)), day - timedelta(days=round(least * 365.25))
