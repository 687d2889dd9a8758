"""One query asks one thing once: no value is bisected for the price of one use and one unit of a probing budget."""

import pytest

from gateway.protocol.claims import DepartmentKind
from gateway.protocol.errors import MalformedError
from gateway.protocol.query_rules import check_policy
from gateway.protocol.reasons import Reason
from tests.federation import DEPARTMENTS
from tests.protocol.casework import FEDERATION, HRSS, POLICE, make_check, make_part, make_query, refused

REGISTRY = FEDERATION.registry
EDUCATION = DEPARTMENTS[DepartmentKind.EDUCATION]


def checks_of(claim, *variants):
    return tuple(make_check(f"c{number}", claim, **variant) for number, variant in enumerate(variants))


@pytest.mark.parametrize(
    ("department", "claim", "variants"),
    [
        (HRSS, "insurance.paid_months@1", [{"parameters": (("months", value),)} for value in ("6", "36")]),
        (POLICE, "hukou.child_registered@1", [{"region": "430102"}, {"region": "430103"}]),
        (POLICE, "hukou.child_registered@1", [{}, {}]),
    ],
    ids=["thresholds", "regions", "the same"],
)
def test_value_cannot_be_bisected_within_one_query(department, claim, variants):
    """One query is one use and one unit of a probing budget, whatever it asks."""
    for variant in variants:
        check_policy(make_query(), make_part(department, checks_of(claim, variant)), REGISTRY)
    with refused(MalformedError, Reason.TOO_MANY_CHECKS):
        check_policy(make_query(), make_part(department, checks_of(claim, *variants)), REGISTRY)


def test_one_claim_may_be_asked_of_different_subjects():
    subjects = [(("guardian", bytes([number]) * 32),) for number in (1, 2)]
    checks = checks_of("identity.valid@1", *({"subjects": pair} for pair in subjects))
    check_policy(make_query(), make_part(POLICE, checks), REGISTRY)


def test_fields_of_a_record_may_be_asked_each_once():
    fields = [{"parameters": (("field", value),)} for value in ("name", "address")]
    claim = "enrolment.field_on_file@1"
    check_policy(make_query(), make_part(EDUCATION, checks_of(claim, *fields)), REGISTRY)
    with refused(MalformedError, Reason.TOO_MANY_CHECKS):
        check_policy(make_query(), make_part(EDUCATION, checks_of(claim, *fields, fields[0])), REGISTRY)
    elsewhere = {**fields[0], "region": "430103"}
    with refused(MalformedError, Reason.TOO_MANY_CHECKS):
        check_policy(make_query(), make_part(EDUCATION, checks_of(claim, fields[0], elsewhere)), REGISTRY)
