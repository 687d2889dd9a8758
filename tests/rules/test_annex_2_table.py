"""Every row of annex 2 against tables written by hand (`annex_2`): the group holds, and each single material fails.

Once with answers made up for the table, and once with what the simulated departments' registers answer about families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random

import pytest

from gateway.protocol.claims import DepartmentKind, Role, claim_named
from gateway.protocol.divisions import counties_of
from gateway.protocol.matrix import Group, PlannedCheck, School
from gateway.protocol.outcomes import Outcome
from gateway.rules.region_rules import plan_checks
from gateway.rules.requirements import Question
from gateway.rules.verdict import GroupVerdict, judge, supported_groups
from sandbox_departments import register
from sandbox_departments.circumstances import (
    HOUSEHOLD_KINDS,
    RECORD_TROUBLES,
    Basis,
    HouseholdKind,
    Scene,
    alter_situation,
    applicable_circumstances,
)
from sandbox_departments.people import Blemish, Circumstance, Family, PersonSource, birth_window
from sandbox_departments.population import claims_of, generate_families
from sandbox_departments.registers import SqliteRegister, build_registers
from tests.county_rules import SHIPPED_RULES
from tests.rules.annex_2 import Section, circumstances, records, sections
from tests.rules.packs import shipped

RULES = shipped("43")
SECTIONS = sections()
every_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)

AGE = "enrolment.of_school_age@1"
CLAIMS_OF_ANNEX_2 = {line.claim for section in SECTIONS for line in section.lines}
WITHOUT_CO_RESIDENT = CLAIMS_OF_ANNEX_2 - {"property.co_resident_owns_home@1", "kinship.same_household@1"}


def question(claim: str, school: str) -> Question:
    """The question of a claim at a school, for the school year of the packs."""
    level = {"level": school.partition("_")[2], "year": "2027"}
    return Question(claim, tuple(level.items()) if claim == AGE else ())


def answered(section: Section, but: dict[str, Outcome] | None = None) -> dict[Question, Outcome]:
    """YES to what the family has, NO to everything else of annex 2, `but` what is said otherwise."""
    said = {claim: Outcome.YES if claim in section.yes else Outcome.NO for claim in CLAIMS_OF_ANNEX_2} | (but or {})
    return {question(claim, section.school): outcome for claim, outcome in said.items()}


def judged(section: Section, answers: dict[Question, Outcome]) -> tuple[GroupVerdict, list[str]]:
    """The verdict of the section's group, and the groups of its school that are supported."""
    verdicts = judge(RULES, School(section.school), answers)
    own = next(verdict for verdict in verdicts if verdict.group == section.group)
    return own, [group.value for group in supported_groups(verdicts)]


def standings(verdict: GroupVerdict) -> dict[str, str]:
    return {each.material.key: each.standing.name.lower() for each in verdict.materials}


def exemptions(verdict: GroupVerdict) -> dict[str, str | None]:
    return {each.material.key: each.exemption and each.exemption.value for each in verdict.materials}


def test_table_has_every_row_of_annex_2():
    public = {"home_and_hukou", "hukou_shared_home", "home_without_hukou", "hukou_with_lease", "neither"}
    rows = {(school, group) for school in ("public_primary", "public_junior") for group in public}
    rows |= {(school, "private_urban") for school in ("private_primary", "private_junior")}
    assert {(section.school, section.group) for section in SECTIONS} == rows
    assert {(school.value, group.value) for school, group in RULES.rows} == rows


@every_section
def test_family_of_the_row_hands_nothing_in(section):
    verdict, supported = judged(section, answered(section))
    assert standings(verdict) == dict.fromkeys((line.material for line in section.lines), "exempt")
    assert exemptions(verdict) == {line.material: line.exemption for line in section.lines}
    assert verdict.supported
    assert supported == section.supported


@pytest.mark.parametrize(
    ("outcome", "column"),
    [
        (Outcome.NO, "NO"),
        (Outcome.UNDETERMINED, "UNDETERMINED"),
        (Outcome.UNAVAILABLE, "UNAVAILABLE"),
        (Outcome.REFUSED, "UNAVAILABLE"),
    ],
)
@every_section
def test_one_answer_that_fails_touches_its_material_alone(section, outcome, column):
    for line in section.lines:
        verdict, supported = judged(section, answered(section, {line.claim: outcome}))
        stands = line.standings[column]
        exempt = {each.material: each.exemption for each in section.lines}
        assert standings(verdict) == dict.fromkeys(exempt, "exempt") | {line.material: stands}, line
        assert exemptions(verdict) == exempt | ({} if stands == "exempt" else {line.material: None}), line
        assert supported == line.supported, line
        assert verdict.supported == (section.group in line.supported)
        (touched,) = (each for each in verdict.materials if each.material.key == line.material)
        assert (question(line.claim, section.school) in touched.grounds) == (stands != "exempt"), line


@every_section
def test_no_answer_at_all_is_worth_nothing(section):
    verdict, supported = judged(section, {})
    assert set(standings(verdict).values()) == {"owed"}
    assert supported == []


@every_section
def test_answers_about_another_level_are_worth_nothing(section):
    kind, _, level = section.school.partition("_")
    other = {"primary": "junior", "junior": "primary"}[level]
    answers = answered(replace(section, school=f"{kind}_{other}"))
    verdict, supported = judged(section, answers)
    assert standings(verdict)["school_age"] == "owed"
    assert supported == []


@pytest.mark.parametrize(
    ("outcome", "standing"), [(Outcome.YES, "exempt"), (Outcome.NO, "owed"), (Outcome.UNDETERMINED, "offline")]
)
def test_family_without_a_co_resident_is_judged_by_public_housing_alone(outcome, standing):
    section = next(each for each in SECTIONS if each.bases == "hukou public_housing")
    answers = answered(section, {"housing.public_housing@1": outcome})
    for claim in CLAIMS_OF_ANNEX_2 - WITHOUT_CO_RESIDENT:
        del answers[question(claim, section.school)]
    verdict, _ = judged(section, answers)
    assert standings(verdict)["shared_home_proof"] == standing


def test_family_without_a_co_resident_is_asked_of_nobody_who_is_not_there():
    for section in SECTIONS:
        roles = frozenset({Role.CHILD, Role.GUARDIAN})
        school, group = School(section.school), Group(section.group)
        asked = {check.claim for check in plan_checks(RULES, school, (group,), roles)}
        whole = {check.claim for check in plan_checks(RULES, school, RULES.groups_of(school), roles)}
        expected = {line.claim for line in section.lines} & WITHOUT_CO_RESIDENT
        assert expected <= asked <= whole <= WITHOUT_CO_RESIDENT


# -- simulated families, of a prefecture where the province's rules hold ------------------------------------

PREFECTURE = "4302"
TODAY = date(2027, 6, 1)
MADE = generate_families(Random(7), len(HOUSEHOLD_KINDS), today=TODAY, rules=SHIPPED_RULES, prefectures=(PREFECTURE,))


def plain(kind: HouseholdKind, family: Family) -> Family:
    """The family without what it does not rest on and is drawn for some: a permit, a troubled record."""
    situation = family.situation if Basis.PERMIT in kind.bases else replace(family.situation, permits=())
    return replace(family, situation=situation, blemishes=())


def bases_of(kind: HouseholdKind) -> str:
    """What a kind rests on, as the tables write it."""
    return " ".join(basis.value for basis in Basis if basis in kind.bases)


FAMILIES = [(kind, plain(kind, family)) for kind, family in zip(HOUSEHOLD_KINDS, MADE, strict=True)]
"""One of each kind of household, in order."""


def families_of(group: str, bases: str) -> list[Family]:
    """The families of a row: one for each level."""
    return [family for kind, family in FAMILIES if (kind.group, bases_of(kind)) == (group, bases)]


def section_of(family: Family, bases: str) -> Section:
    case = family.application.case
    return next(each for each in SECTIONS if (each.school, each.group, each.bases) == (case.school, case.group, bases))


def befallen(family: Family, circumstance: Circumstance) -> Family:
    """The family after what happens to it."""
    region = family.application.region
    if circumstance is Circumstance.WRONG_AGE:
        level, year = family.situation.age_cohort
        born_on, _ = birth_window(level, year + 1)
        return replace(family, situation=replace(family.situation, age_cohort=(level, year + 1), born_on=born_on))
    elsewhere = next(county for county in counties_of(PREFECTURE) if county != region)
    rng = Random(3)
    scene = Scene(region, elsewhere, TODAY, rng, PersonSource(rng))
    return replace(family, situation=alter_situation(family.situation, circumstance, scene))


def judged_by_registers(families: Sequence[Family], folder: Path) -> list[tuple[GroupVerdict, list[str]]]:
    """What the departments' registers answer about each family, and what that comes to."""
    folders = {(kind, PREFECTURE): folder / kind.value for kind in DepartmentKind}
    built = build_registers(families, folders, snapshot_date=TODAY)
    registers = {kind: SqliteRegister(path) for (kind, _), path in built.items()}
    found = []
    for family in families:
        case = family.application.case
        checks = SHIPPED_RULES.asked(case).plan
        verdicts = SHIPPED_RULES.verdicts(case, [outcome_of(registers, family, check) for check in checks])
        own = next(verdict for verdict in verdicts if verdict.group is case.group)
        found.append((own, [group.value for group in supported_groups(verdicts)]))
    for opened in registers.values():
        opened.close()
    return found


def outcome_of(registers: Mapping[DepartmentKind, SqliteRegister], family: Family, check: PlannedCheck) -> Outcome:
    claim, application = claim_named(check.claim), family.application
    about = {role: application.subjects[role] for role in claim.roles}
    asked = register.Question(check.claim, application.region, check.parameters, about)
    (finding,) = registers[claim.department].find([asked])
    if finding.standing is not register.Standing.KNOWN:
        return Outcome.UNDETERMINED
    return Outcome.YES if finding.fact != claim.negative else Outcome.NO


def test_simulated_families_of_each_row_hand_nothing_in(tmp_path):
    verdicts = judged_by_registers([family for _, family in FAMILIES], tmp_path)
    assert len(verdicts) == 16
    for (kind, family), (verdict, supported) in zip(FAMILIES, verdicts, strict=True):
        section = section_of(family, bases_of(kind))
        assert exemptions(verdict) == {line.material: line.exemption for line in section.lines}
        assert supported == section.supported == [kind.group.value]


def test_table_has_everything_that_may_happen_to_a_family():
    happens = {
        (kind.group.value, bases_of(kind), circumstance.value)
        for kind, family in FAMILIES
        for circumstance in applicable_circumstances(kind, claims_of(SHIPPED_RULES.asked(family.application.case)))
        if circumstance not in RECORD_TROUBLES
    }
    assert happens == {(group, bases, circumstance) for group, bases, circumstance, *_ in circumstances()}
    assert len(circumstances()) == len(happens)


@pytest.mark.parametrize("circumstance", sorted({row[2] for row in circumstances()}))
def test_what_happens_to_a_family_costs_it_the_materials_of_the_table(circumstance, tmp_path):
    rows = [(*row, family) for row in circumstances() if row[2] == circumstance for family in families_of(*row[:2])]
    families = [befallen(family, Circumstance(circumstance)) for *_, family in rows]
    verdicts = judged_by_registers(families, tmp_path)
    for (group, bases, _, owed, groups, family), (verdict, supported) in zip(rows, verdicts, strict=True):
        section = section_of(family, bases)
        stand = {line.material: line.standings["NO"] for line in section.lines}
        expected = {material: stand[material] if material in owed else "exempt" for material in stand}
        assert standings(verdict) == expected, (group, bases)
        assert supported == groups, (group, bases)


def test_table_has_every_record_that_a_plan_rests_on():
    listed = {(group, bases, department, role) for group, bases, department, role, _ in records()}
    for kind, family in FAMILIES:
        for check in SHIPPED_RULES.asked(family.application.case).own:
            claim = claim_named(check.claim)
            for role in claim.roles:
                assert (kind.group.value, bases_of(kind), claim.department.value, role.value) in listed
    assert len(listed) == len(records())


@pytest.mark.parametrize("standing", [each for each in register.Standing if each is not register.Standing.KNOWN])
@pytest.mark.parametrize(
    ("department", "role"), sorted({(department, role) for _, _, department, role, _ in records()})
)
def test_record_that_tells_nothing_leaves_the_materials_of_the_table_to_staff(department, role, standing, tmp_path):
    listed = [row for row in records() if row[2:4] == (department, role)]
    rows = [(*row, family) for row in listed for family in families_of(*row[:2])]
    blemish = Blemish(DepartmentKind(department), Role(role), standing)
    verdicts = judged_by_registers([replace(family, blemishes=(blemish,)) for *_, family in rows], tmp_path)
    for (group, bases, _, _, offline, family), (verdict, supported) in zip(rows, verdicts, strict=True):
        section = section_of(family, bases)
        stand = {line.material: line.standings["UNDETERMINED"] for line in section.lines}
        expected = {material: stand[material] if material in offline else "exempt" for material in stand}
        assert standings(verdict) == expected, (group, bases)
        assert supported == ([] if offline else [group]), (group, bases)
