"""Annex 2 of 湘教通〔2024〕90号, row by row, written by hand: the group holds, and each single material fails."""

from __future__ import annotations

import pytest

from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.rules.requirements import Question
from gateway.rules.verdict import Standing, judge, judge_group, supported_groups
from tests.rules.packs import shipped

RULES = shipped("43")
HUKOU, ELSEWHERE = "hukou.child_registered@1", "hukou.child_registered_elsewhere@1"
VALID, GUARDIAN_OF, HOME = "identity.valid@1", "guardianship.guardian_of@1", "property.owns_home@1"
CO_HOME, HOUSEHOLD = "property.co_resident_owns_home@1", "kinship.same_household@1"
PUBLIC, LEASE, PERMIT = "housing.public_housing@1", "housing.lease_on_file@1", "residence.permit_valid@1"
AGE = "enrolment.of_school_age@1"
SHARED, ISSUED, E_CERTIFICATE = "verified_by_sharing", "government_issued", "e_certificate"

AGES = {"school_age": (SHARED, [AGE])}
PERSON = {"guardian_identity": (ISSUED, [VALID, GUARDIAN_OF])}
BOOK = {"hukou_book": (ISSUED, [HUKOU])}
BOOK_ELSEWHERE = {"hukou_book_elsewhere": (ISSUED, [ELSEWHERE])}
CERTIFICATE = {"property_certificate": (E_CERTIFICATE, [HOME])}
CONTRACT = {"lease": (SHARED, [LEASE])}
PERMITS = {"residence_permit": (ISSUED, [PERMIT])}

# A family for which the group holds: each material with the exemption, and the claims of which any NO makes it owed.
PUBLIC_ROWS = [
    ("home_and_hukou", AGES | CERTIFICATE | BOOK | PERSON),
    ("hukou_shared_home", AGES | BOOK | PERSON | {"shared_home_proof": (SHARED, [CO_HOME, HOUSEHOLD])}),
    ("hukou_shared_home", AGES | BOOK | PERSON | {"shared_home_proof": (SHARED, [PUBLIC])}),
    ("home_without_hukou", AGES | CERTIFICATE | BOOK_ELSEWHERE | PERSON),
    ("hukou_with_lease", AGES | BOOK | PERSON | CONTRACT),
    ("neither", AGES | BOOK_ELSEWHERE | PERSON | PERMITS | CONTRACT),
]
PRIVATE_ROWS = [
    ("private_urban", AGES | PERSON | {"urban_hukou_or_home": (ISSUED, [HUKOU])}),
    ("private_urban", AGES | PERSON | {"urban_hukou_or_home": (ISSUED, [HOME])}),
]
ROWS = [
    (School(f"{kind}_{level}"), Group(group), row)
    for kind, rows in (("public", PUBLIC_ROWS), ("private", PRIVATE_ROWS))
    for group, row in rows
    for level in ("primary", "junior")
]
FAILING = [
    (school, group, row, key, claim)
    for school, group, row in ROWS
    for key, (_, claims) in row.items()
    for claim in claims
]


def answers_of(school, row, **others):
    """YES to what the family has, NO to everything else that the school's groups ask."""
    claims = {claim for _, listed in row.values() for claim in listed}
    everything = {HUKOU, ELSEWHERE, VALID, GUARDIAN_OF, HOME, CO_HOME, HOUSEHOLD, PUBLIC, LEASE, PERMIT, AGE}
    level = school.value.partition("_")[2]
    return {
        Question(claim, (("level", level), ("year", "2027")) if claim == AGE else ()): (
            others.get("but", {}).get(claim) or (Outcome.YES if claim in claims else Outcome.NO)
        )
        for claim in everything
    }


def standings(verdict):
    return {each.material.key: each.standing for each in verdict.materials}


@pytest.mark.parametrize(("school", "group", "row"), ROWS)
def test_family_of_the_group_is_supported_with_its_exemptions(school, group, row):
    answers = answers_of(school, row)
    verdict = judge_group(RULES, school, group, answers)
    assert verdict.supported
    assert {each.material.key: each.exemption for each in verdict.materials} == {
        key: exemption for key, (exemption, _) in row.items()
    }
    assert {each.material.key: {question.claim for question in each.grounds} for each in verdict.materials} == {
        key: set(claims) for key, (_, claims) in row.items()
    }
    assert supported_groups(judge(RULES, school, answers)) == (group,)


@pytest.mark.parametrize(("school", "group", "row", "key", "claim"), FAILING)
@pytest.mark.parametrize(
    ("outcome", "standing"),
    [
        (Outcome.NO, Standing.OWED),
        (Outcome.UNDETERMINED, Standing.OFFLINE),
        (Outcome.UNAVAILABLE, Standing.OPEN),
        (Outcome.REFUSED, Standing.OPEN),
    ],
)
def test_single_failing_material_alone_fails_the_group(school, group, row, key, claim, outcome, standing):
    answers = answers_of(school, row, but={claim: outcome})
    verdict = judge_group(RULES, school, group, answers)
    assert verdict.standing is standing
    assert standings(verdict) == dict.fromkeys(row, Standing.EXEMPT) | {key: standing}
    failed = next(each for each in verdict.materials if each.material.key == key)
    assert failed.exemption is None
    assert claim in {question.claim for question in failed.grounds}
    assert group not in supported_groups(judge(RULES, school, answers))


def test_family_with_a_home_may_be_supported_in_two_groups():
    row = AGES | CERTIFICATE | BOOK | PERSON | CONTRACT
    verdicts = judge(RULES, School.PUBLIC_PRIMARY, answers_of(School.PUBLIC_PRIMARY, row))
    assert supported_groups(verdicts) == (Group.HOME_AND_HUKOU, Group.HUKOU_WITH_LEASE)


def test_answers_for_another_level_or_year_support_nothing():
    answers = answers_of(School.PUBLIC_PRIMARY, AGES | CERTIFICATE | BOOK | PERSON)
    verdict = judge_group(RULES, School.PUBLIC_JUNIOR, Group.HOME_AND_HUKOU, answers)
    assert standings(verdict)["school_age"] is Standing.OWED


def test_who_was_not_asked_about_a_co_resident_owes_by_public_housing_alone():
    row = AGES | BOOK | PERSON | {"shared_home_proof": (SHARED, [PUBLIC])}
    for outcome, standing in ((Outcome.NO, Standing.OWED), (Outcome.UNDETERMINED, Standing.OFFLINE)):
        answers = answers_of(School.PUBLIC_PRIMARY, row, but={PUBLIC: outcome})
        for claim in (CO_HOME, HOUSEHOLD):
            del answers[Question(claim)]
        verdict = judge_group(RULES, School.PUBLIC_PRIMARY, Group.HUKOU_SHARED_HOME, answers)
        assert standings(verdict)["shared_home_proof"] is standing
