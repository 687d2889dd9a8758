"""The truth file repeats byte for byte, reads back, and states what each circumstance means."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from gateway.protocol.claims import CLAIMS, Role, claim_named
from gateway.protocol.divisions import COUNTIES
from gateway.protocol.errors import MalformedError, NotFoundError
from gateway.protocol.limits import MAX_CHECKS, MAX_CHECKS_PER_PART
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.rules.region_rules import plan_checks
from sandbox_departments.people import Case, Circumstance, Family
from sandbox_departments.population import generate_families
from sandbox_departments.truth import (
    Truth,
    answer_of,
    asking,
    find_truth,
    places_in_truth,
    read_truth,
    truth_at,
    truth_of,
    write_truth,
)
from tests.county_rules import SHIPPED_RULES

TODAY = date(2027, 6, 1)

FAILED_CHECKS = {
    Circumstance.HUKOU_ELSEWHERE: {"hukou.child_registered@1"},
    Circumstance.HUKOU_INSIDE: {"hukou.child_registered_elsewhere@1"},
    Circumstance.NO_HUKOU: {
        "hukou.child_registered@1",
        "hukou.child_registered_elsewhere@1",
        "kinship.same_household@1",
    },
    Circumstance.NO_HOME: {"property.owns_home@1"},
    Circumstance.HOME_ELSEWHERE: {"property.owns_home@1"},
    Circumstance.HOME_SOLD: {"property.owns_home@1"},
    Circumstance.HOME_IS_A_SHOP: {"property.owns_home@1"},
    Circumstance.CO_RESIDENT_OWNS_NONE: {"property.co_resident_owns_home@1"},
    Circumstance.OTHER_HOUSEHOLD: {"kinship.same_household@1"},
    Circumstance.PUBLIC_HOUSING_ENDED: {"housing.public_housing@1"},
    Circumstance.LEASE_EXPIRED: {"housing.lease_on_file@1"},
    Circumstance.LEASE_ELSEWHERE: {"housing.lease_on_file@1"},
    Circumstance.NO_LEASE: {"housing.lease_on_file@1"},
    Circumstance.PERMIT_EXPIRED: {"residence.permit_valid@1"},
    Circumstance.PERMIT_ELSEWHERE: {"residence.permit_valid@1"},
    Circumstance.INSURED_TOO_BRIEFLY: {"insurance.paid_months@1"},
    Circumstance.OWNS_A_HOME: {"property.owns_no_home@1"},
    Circumstance.CARD_CANCELLED: {"identity.valid@1"},
    Circumstance.CARD_EXPIRED: {"identity.valid@1"},
    Circumstance.NOT_GUARDIAN: {"guardianship.guardian_of@1"},
    Circumstance.WRONG_AGE: {"enrolment.of_school_age@1"},
}
"""Which checks of a plan a circumstance turns into a NO, stated apart from the code that turns them."""

NOT_RELIED_ON = {
    "housing.public_housing@1",
    "property.owns_home@1",
    "hukou.child_registered@1",
    "hukou.guardian_registered@1",
    "residence.permit_valid@1",
}
"""Checks of alternatives that a family need not rest on: NO without any circumstance."""

FIELD = "enrolment.field_on_file@1"
FIELDS = ["name", "nationality", "birthplace", "native_place", "address", "guardian_phone", "health"]


@pytest.fixture(scope="module")
def families() -> tuple[Family, ...]:
    return families_of(7)


def families_of(seed: int) -> tuple[Family, ...]:
    return generate_families(Random(seed), 1500, today=TODAY, rules=SHIPPED_RULES)


@pytest.fixture
def file(families: tuple[Family, ...], tmp_path: Path) -> Path:
    assert write_truth(tmp_path / "truth.jsonl", families, SHIPPED_RULES) == 1500
    return tmp_path / "truth.jsonl"


def true_of(family: Family) -> Truth:
    return truth_of(family, SHIPPED_RULES)


def outcomes_of(family: Family) -> dict[str, Outcome]:
    """What the plan of the family's group is answered."""
    return {answer.claim: answer.outcome for answer in true_of(family).answers if answer.claim != FIELD}


def test_the_same_seed_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    write_truth(tmp_path / "again.jsonl", families_of(7), SHIPPED_RULES)
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()
    write_truth(tmp_path / "other.jsonl", families_of(8), SHIPPED_RULES)
    assert (tmp_path / "other.jsonl").read_bytes() != file.read_bytes()


def test_what_was_written_reads_back(file: Path, families: tuple[Family, ...]) -> None:
    assert list(read_truth(file)) == [true_of(family) for family in families]
    assert [truth.application for truth in read_truth(file)] == [family.application for family in families]


def test_a_line_has_the_agreed_shape(file: Path) -> None:
    line = json.loads(file.read_text(encoding="utf-8").splitlines()[1])
    people = ["child", "guardian", "co_resident"]
    assert list(line) == [
        *("family", "group", "school", "region", *people, "answers", "others", "supported", "materials")
    ]
    assert (line["family"], line["group"], line["school"]) == ("F000002", "hukou_shared_home", "public_primary")
    assert list(line["co_resident"]) == ["id_type", "id_number", "name"]
    assert line["answers"][0] == {
        "claim": "enrolment.of_school_age@1",
        "region": line["region"],
        "parameters": {"level": "primary", "year": "2027"},
        "outcome": "YES",
    }
    assert line["supported"] == ["hukou_shared_home"]
    assert line["materials"] == dict.fromkeys(
        ["school_age", "hukou_book", "guardian_identity", "shared_home_proof"], "EXEMPT"
    )
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[0])["co_resident"] is None


def test_answers_are_the_plan_in_its_order_and_then_every_field(families: tuple[Family, ...]) -> None:
    for family in families:
        application, truth = family.application, true_of(family)
        rules = SHIPPED_RULES.rules_of(application.region)
        plan = plan_checks(rules, application.school, [application.group], application.subjects.keys())
        expected = [(check.claim, check.parameters) for check in plan] + [(FIELD, {"field": name}) for name in FIELDS]
        assert [(a.claim, a.parameters) for a in truth.answers] == expected
        assert {answer.region for answer in truth.answers + truth.others} == {application.region}
        assert all(
            answer_of(family, a.claim, a.region, a.parameters) is a.outcome for a in truth.answers + truth.others
        )


def test_truth_has_every_answer_that_a_family_with_an_open_group_is_given(families: tuple[Family, ...]) -> None:
    for family in families:
        application, truth = family.application, true_of(family)
        rules = SHIPPED_RULES.rules_of(application.region)
        groups = rules.groups_of(application.school)
        plan = plan_checks(rules, application.school, groups, application.subjects.keys())
        asked = {asking(check.claim, application.region, check.parameters) for check in plan}
        fields = {asking(FIELD, application.region, {"field": name}) for name in FIELDS}
        assert truth.outcomes.keys() == asked | fields
        assert len(truth.outcomes) == len(truth.answers) + len(truth.others) <= MAX_CHECKS


def test_a_query_for_everything_stays_within_the_bounds_of_every_department() -> None:
    for county in COUNTIES:
        for school in School:
            for group in SHIPPED_RULES.rules_of(county).groups_of(school):
                asked = SHIPPED_RULES.asked(Case(county, school, group, frozenset(Role)))
                whole = asked.plan + asked.fields
                parts = Counter(claim_named(check.claim).department for check in whole)
                assert max(parts.values()) <= MAX_CHECKS_PER_PART
                assert len(whole) == parts.total() <= MAX_CHECKS


def test_families_are_supported_in_other_groups_where_their_facts_say_so(families: tuple[Family, ...]) -> None:
    """Who owns a home where tenants may own none is of those with home and hukou, whatever they applied for."""
    owners = [family for family in families if family.circumstances == (Circumstance.OWNS_A_HOME,)]
    assert owners
    for family in owners:
        truth = true_of(family)
        assert truth.supported == (Group.HOME_AND_HUKOU,)
        assert truth.materials["no_home_proof"] == "OWED"
        assert {standing for key, standing in truth.materials.items() if key != "no_home_proof"} == {"EXEMPT"}


def test_insured_too_briefly_owes_the_record_of_insurance_alone(families: tuple[Family, ...]) -> None:
    brief = [family for family in families if family.circumstances == (Circumstance.INSURED_TOO_BRIEFLY,)]
    assert {family.application.group for family in brief} == {Group.NEITHER}
    for family in brief:
        owed = {key for key, standing in true_of(family).materials.items() if standing != "EXEMPT"}
        assert owed == {"social_insurance"}


def test_a_family_is_found_by_its_id(file: Path, families: tuple[Family, ...]) -> None:
    assert find_truth(file, "F001234") == true_of(families[1233])
    with pytest.raises(NotFoundError):
        find_truth(file, "F009999")
    with pytest.raises(NotFoundError):
        find_truth(file, "F00123")


@pytest.mark.parametrize("change", [{"supported": ["rich"]}, {"materials": []}, {"others": None}, {"answers": 1}])
def test_a_line_with_one_wrong_value_is_refused(change: dict[str, object], file: Path) -> None:
    line = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    file.write_text(json.dumps({**line, **change}) + "\n", encoding="utf-8")
    with pytest.raises(MalformedError):
        next(read_truth(file))


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"family":"F000001"}', "null"])
def test_a_bad_line_is_named(line: str, file: Path) -> None:
    good = file.read_text(encoding="utf-8").splitlines()[0]
    file.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(MalformedError) as caught:
        list(read_truth(file))
    assert caught.value.violations[0].field == "line 2"


def test_an_outcome_that_is_none_is_refused(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace('"YES"', '"MAYBE"'), encoding="utf-8")
    with pytest.raises(MalformedError):
        next(read_truth(file))


@pytest.mark.parametrize("circumstance", FAILED_CHECKS)
def test_a_circumstance_turns_its_checks_into_a_no(circumstance: Circumstance, families: tuple[Family, ...]) -> None:
    affected = [family for family in families if family.circumstances == (circumstance,)]
    assert affected
    for family in affected:
        noes = {claim for claim, outcome in outcomes_of(family).items() if outcome is Outcome.NO}
        asked = FAILED_CHECKS[circumstance] & outcomes_of(family).keys()
        assert asked <= noes <= asked | NOT_RELIED_ON


def test_only_troubled_records_leave_a_plan_undetermined(families: tuple[Family, ...]) -> None:
    for family in families:
        undetermined = {claim for claim, outcome in outcomes_of(family).items() if outcome is Outcome.UNDETERMINED}
        troubled = any(circumstance not in FAILED_CHECKS for circumstance in family.circumstances)
        assert bool(undetermined) == troubled
        places = {(blemish.department, blemish.role) for blemish in family.blemishes}
        for claim in map(claim_named, undetermined):
            assert any((claim.department, role) in places for role in claim.roles)


def test_claims_of_a_hukou_inside_and_outside_exclude_each_other(families: tuple[Family, ...]) -> None:
    for family in families:
        region = family.application.region
        inside = answer_of(family, "hukou.child_registered@1", region, {})
        outside = answer_of(family, "hukou.child_registered_elsewhere@1", region, {})
        assert not (inside is Outcome.YES and outside is Outcome.YES)
        assert (inside is Outcome.UNDETERMINED) == (outside is Outcome.UNDETERMINED)


def test_a_negative_claim_inverts_and_stays_undetermined(families: tuple[Family, ...]) -> None:
    inverted = {Outcome.YES: Outcome.NO, Outcome.NO: Outcome.YES, Outcome.UNDETERMINED: Outcome.UNDETERMINED}
    for family in families:
        region = family.application.region
        owns = answer_of(family, "property.owns_home@1", region, {})
        assert answer_of(family, "property.owns_no_home@1", region, {}) is inverted[owns]


def test_every_claim_has_every_outcome(families: tuple[Family, ...]) -> None:
    for claim in CLAIMS.values():
        parameters = {name: values[1] for name, values in claim.parameters.items()}
        outcomes = {
            answer_of(family, claim.name, family.application.region, parameters)
            for family in families
            if claim.roles <= family.application.subjects.keys()
        }
        assert outcomes == {Outcome.YES, Outcome.NO, Outcome.UNDETERMINED}, claim.name


@pytest.mark.parametrize(
    ("claim", "region", "parameters"),
    [
        ("identity.valid@2", "430102", {}),
        ("identity.valid@1", "439900", {}),
        ("identity.valid@1", "430102", {"months": "6"}),
        ("insurance.paid_months@1", "430102", {"months": "7"}),
        ("kinship.same_household@1", "430102", {}),
    ],
)
def test_what_no_node_would_be_asked_has_no_answer(
    claim: str, region: str, parameters: dict[str, str], families: tuple[Family, ...]
) -> None:
    assert Role.CO_RESIDENT not in families[0].application.subjects
    with pytest.raises(MalformedError):
        answer_of(families[0], claim, region, parameters)


def test_family_is_read_at_its_place_as_it_is_in_the_whole_file(file: Path) -> None:
    places = dict(places_in_truth(file))
    assert len(places) == 1500
    for truth in islice(read_truth(file), 0, None, 100):
        assert truth_at(file, places[truth.application.family]) == truth
    for nowhere in (1, places["F000003"] - 1, file.stat().st_size):
        with pytest.raises(MalformedError):
            truth_at(file, nowhere)
