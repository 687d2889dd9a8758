"""The vocabulary: both languages, closed parameters, and the contract's names."""

import re

import pytest

from gateway.protocol.claims import (
    CLAIMS,
    DEPARTMENT_NAMES,
    DepartmentKind,
    Role,
    check_parameters,
    claim_named,
)
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from tests.protocol.casework import refused

HAN = re.compile(r"[\u4e00-\u9fff]")

# Department and roles of every claim, written by hand: c child, g guardian, r co-resident; ~ negative.
VOCABULARY = """
identity.valid@1                    police     g
guardianship.guardian_of@1          police     cg
hukou.child_registered@1            police     c
hukou.guardian_registered@1         police     g
hukou.child_registered_elsewhere@1  police     c
kinship.same_household@1            police     cr
residence.permit_valid@1            police     g
property.owns_home@1                land       g
property.owns_no_home@1             land       g    ~
property.co_resident_owns_home@1    land       r
insurance.paid_months@1             hrss       g
housing.lease_on_file@1             housing    g
housing.public_housing@1            housing    g
enrolment.of_school_age@1           education  c
enrolment.not_enrolled_elsewhere@1  education  c    ~
enrolment.field_on_file@1           education  c
"""
ROWS = {line.split()[0]: line.split()[1:] for line in VOCABULARY.strip().splitlines()}
ROLES = {"c": Role.CHILD, "g": Role.GUARDIAN, "r": Role.CO_RESIDENT}


def test_vocabulary_is_the_listed_one():
    assert set(CLAIMS) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_claim_is_of_its_department_and_roles(name):
    department, roles, *negative = ROWS[name]
    claim = claim_named(name)
    assert claim.name == name
    assert claim.department == department
    assert claim.roles == {ROLES[letter] for letter in roles}
    assert claim.negative == (negative == ["~"])


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_every_text_of_a_claim_is_there_in_both_languages(claim):
    for text in (claim.text, claim.known_by, claim.fact):
        assert HAN.search(text.zh)
        assert text.en.isascii()
        assert len(text.en) > 10


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_name_is_versioned_and_parameters_are_closed_lists_of_words(claim):
    assert re.fullmatch(r"[a-z]+\.[a-z_]+@[1-9]", claim.name)
    for name, allowed in claim.parameters.items():
        assert re.fullmatch(r"[a-z]+", name)
        assert 1 < len(set(allowed)) == len(allowed) < 10
        assert all(re.fullmatch(r"[a-z0-9_]+", value) for value in allowed)


def test_departments_have_both_names():
    assert set(DEPARTMENT_NAMES) == set(DepartmentKind)
    assert all(HAN.search(text.zh) and text.en.isascii() for text in DEPARTMENT_NAMES.values())


def test_every_department_answers_something():
    assert {claim.department for claim in CLAIMS.values()} == set(DepartmentKind)


@pytest.mark.parametrize("name", ["", "hukou.child_registered", "hukou.child_registered@2", "HUKOU.CHILD_REGISTERED@1"])
def test_claim_outside_the_vocabulary_is_refused(name):
    with refused(MalformedError, Reason.CLAIM_UNKNOWN):
        claim_named(name)


@pytest.mark.parametrize("value", ["6", "12", "24", "36"])
def test_listed_parameter_is_accepted(value):
    check_parameters(claim_named("insurance.paid_months@1"), {"months": value})


@pytest.mark.parametrize(
    ("claim", "parameters"),
    [
        ("insurance.paid_months@1", {}),
        ("insurance.paid_months@1", {"months": "13"}),
        ("insurance.paid_months@1", {"months": "012"}),
        ("insurance.paid_months@1", {"months": "12", "amount": "1"}),
        ("insurance.paid_months@1", {"month": "12"}),
        ("hukou.child_registered@1", {"months": "12"}),
        ("enrolment.of_school_age@1", {"level": "primary"}),
        ("enrolment.of_school_age@1", {"level": "primary", "year": "2010"}),
        ("enrolment.field_on_file@1", {"field": "parents_income"}),
    ],
)
def test_free_missing_or_foreign_parameter_is_refused(claim, parameters):
    with refused(MalformedError, Reason.CLAIM_UNKNOWN):
        check_parameters(claim_named(claim), parameters)


def test_vocabulary_cannot_be_changed_at_run_time():
    with pytest.raises(TypeError):
        CLAIMS["free.text@1"] = claim_named("identity.valid@1")
