"""Annex 2 of 湘教通〔2024〕90号, row by row, written by hand: what a family is asked, and what replaces which paper."""

import re

import pytest

from gateway.protocol.claims import Role, claim_named
from gateway.protocol.errors import MalformedError
from gateway.protocol.limits import MAX_CHECKS_PER_PART
from gateway.protocol.matrix import (
    GROUP_NAMES,
    MATRIX,
    SCHOOL_YEAR,
    Group,
    School,
    materials_of,
    plan_checks,
)
from gateway.protocol.reasons import Reason
from tests.protocol.casework import refused

HAN = re.compile(r"[\u4e00-\u9fff]")
FAMILY = frozenset({Role.CHILD, Role.GUARDIAN})
BIG_FAMILY = FAMILY | {Role.CO_RESIDENT}

AGE = "enrolment.of_school_age@1"
VALID, GUARDIAN_OF = "identity.valid@1", "guardianship.guardian_of@1"
HUKOU, HUKOU_ELSEWHERE = "hukou.child_registered@1", "hukou.child_registered_elsewhere@1"
HOME, CO_HOME, HOUSEHOLD = "property.owns_home@1", "property.co_resident_owns_home@1", "kinship.same_household@1"
PUBLIC, LEASE, PERMIT = "housing.public_housing@1", "housing.lease_on_file@1", "residence.permit_valid@1"

# (kind of school, group): what a family of child and guardian is asked, and what a co-resident adds.
TABLE = {
    ("public", "home_and_hukou"): ({AGE, HOME, HUKOU, VALID, GUARDIAN_OF}, set()),
    ("public", "hukou_shared_home"): ({AGE, HUKOU, VALID, GUARDIAN_OF, PUBLIC}, {CO_HOME, HOUSEHOLD}),
    ("public", "home_without_hukou"): ({AGE, HOME, HUKOU_ELSEWHERE, VALID, GUARDIAN_OF}, set()),
    ("public", "hukou_with_lease"): ({AGE, HUKOU, VALID, GUARDIAN_OF, LEASE}, set()),
    ("public", "neither"): ({AGE, HUKOU_ELSEWHERE, VALID, GUARDIAN_OF, PERMIT, LEASE}, set()),
    ("private", "private_urban"): ({AGE, VALID, GUARDIAN_OF, HUKOU, HOME}, set()),
}
ROWS = [(f"{kind}_{level}", group, *asked) for (kind, group), asked in TABLE.items() for level in ("primary", "junior")]

# What of the paper each group owes, by key.
PAPERS = {
    "home_and_hukou": {"school_age", "property_certificate", "hukou_book", "guardian_identity"},
    "hukou_shared_home": {"school_age", "hukou_book", "guardian_identity", "shared_home_proof"},
    "home_without_hukou": {"school_age", "property_certificate", "hukou_book", "guardian_identity"},
    "hukou_with_lease": {"school_age", "hukou_book", "guardian_identity", "lease"},
    "neither": {"school_age", "hukou_book", "guardian_identity", "residence_permit", "lease"},
    "private_urban": {"school_age", "guardian_identity", "urban_hukou_or_home"},
}


@pytest.mark.parametrize(("school", "group", "asked", "more"), ROWS)
def test_family_is_asked_what_its_row_says(school, group, asked, more):
    plan = plan_checks(School(school), Group(group), FAMILY)
    assert {check.claim for check in plan} == asked
    assert len(plan) == len(asked)


@pytest.mark.parametrize(("school", "group", "asked", "more"), ROWS)
def test_co_resident_adds_what_the_row_says(school, group, asked, more):
    plan = plan_checks(School(school), Group(group), BIG_FAMILY)
    assert {check.claim for check in plan} == asked | more
    assert len(plan) == len(asked | more)


@pytest.mark.parametrize(("school", "group", "asked", "more"), ROWS)
def test_nobody_is_asked_about_a_person_who_is_not_there(school, group, asked, more):
    for roles in (frozenset(), {Role.CHILD}, {Role.GUARDIAN}, FAMILY, {Role.CHILD, Role.CO_RESIDENT}):
        for check in plan_checks(School(school), Group(group), roles):
            assert claim_named(check.claim).roles <= roles


@pytest.mark.parametrize("school", School)
def test_every_school_but_no_group_of_the_other_kind(school):
    for group in Group:
        if (group is Group.PRIVATE_URBAN) == (not school.is_public):
            assert plan_checks(school, group, FAMILY)
        else:
            with refused(MalformedError, Reason.MESSAGE_MALFORMED):
                plan_checks(school, group, FAMILY)


def test_table_has_every_row():
    assert {(school.value, group.value) for school in School for group in Group} - {
        (school, group) for school, group, *_ in ROWS
    } == {
        (school.value, group.value)
        for school in School
        for group in Group
        if school.is_public == (group is Group.PRIVATE_URBAN)
    }


@pytest.mark.parametrize(("school", "level"), [(school, school.value.split("_")[1]) for school in School])
def test_only_age_has_parameters_and_they_are_the_schools(school, level):
    group = Group.NEITHER if school.is_public else Group.PRIVATE_URBAN
    for check in plan_checks(school, group, BIG_FAMILY):
        expected = {"level": level, "year": SCHOOL_YEAR} if check.claim == AGE else {}
        assert dict(check.parameters) == expected


@pytest.mark.parametrize("group", Group)
def test_group_owes_its_papers(group):
    assert {material.key for material in MATRIX[group]} == PAPERS[group.value]


def test_papers_are_replaced_by_these_claims():
    alternatives = {
        (group.value, material.key): {frozenset(claims) for claims in material.alternatives}
        for group, materials in MATRIX.items()
        for material in materials
    }
    hukou, elsewhere = {frozenset({HUKOU})}, {frozenset({HUKOU_ELSEWHERE})}
    identity = {frozenset({VALID, GUARDIAN_OF})}
    for group, keys in PAPERS.items():
        for key in keys:
            expected = {
                "school_age": {frozenset({AGE})},
                "guardian_identity": identity,
                "hukou_book": elsewhere if group in {"home_without_hukou", "neither"} else hukou,
                "property_certificate": {frozenset({HOME})},
                "shared_home_proof": {frozenset({CO_HOME, HOUSEHOLD}), frozenset({PUBLIC})},
                "lease": {frozenset({LEASE})},
                "residence_permit": {frozenset({PERMIT})},
                "urban_hukou_or_home": {frozenset({HUKOU}), frozenset({HOME})},
            }[key]
            assert alternatives[group, key] == expected


@pytest.mark.parametrize("group", Group)
def test_every_check_says_which_papers_it_helps_to_replace(group):
    school = School.PRIVATE_JUNIOR if group is Group.PRIVATE_URBAN else School.PUBLIC_JUNIOR
    for check in plan_checks(school, group, BIG_FAMILY):
        expected = {
            material.key
            for material in materials_of(school, group)
            if any(check.claim in claims for claims in material.alternatives)
        }
        assert set(check.materials) == expected
        assert len(check.materials) == len(expected) > 0


@pytest.mark.parametrize("group", Group)
def test_groups_and_papers_are_named_in_both_languages(group):
    for text in (GROUP_NAMES[group], *(material.text for material in MATRIX[group])):
        assert HAN.search(text.zh)
        assert text.en.isascii()


def test_largest_plan_has_seven_checks():
    sizes = [len(plan_checks(School(school), Group(group), BIG_FAMILY)) for school, group, *_ in ROWS]
    assert max(sizes) == 7 <= MAX_CHECKS_PER_PART
