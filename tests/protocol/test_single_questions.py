"""One query asks one thing once: no value is bisected for the price of one use and one unit of a probing budget."""

import pytest

from gateway.protocol.errors import MalformedError
from gateway.protocol.query_rules import require_single_questions
from gateway.protocol.reasons import Reason
from tests.protocol.casework import make_check, refused


def checks_of(claim, *variants):
    return tuple(make_check(f"c{number}", claim, **variant) for number, variant in enumerate(variants))


@pytest.mark.parametrize(
    ("claim", "variants"),
    [
        ("insurance.paid_months@1", [{"parameters": (("months", value),)} for value in ("6", "36")]),
        ("hukou.child_registered@1", [{"region": "430102"}, {"region": "430103"}]),
        ("hukou.child_registered@1", [{}, {}]),
    ],
    ids=["thresholds", "regions", "the same"],
)
def test_value_cannot_be_bisected_within_one_query(claim, variants):
    """One query is one use and one unit of a probing budget, whatever it asks."""
    for variant in variants:
        require_single_questions(checks_of(claim, variant))
    with refused(MalformedError, Reason.ASKED_TWICE):
        require_single_questions(checks_of(claim, *variants))


def test_one_claim_may_be_asked_of_different_subjects():
    subjects = [(("guardian", bytes([number]) * 32),) for number in (1, 2)]
    checks = checks_of("identity.valid@1", *({"subjects": pair} for pair in subjects))
    require_single_questions(checks)


def test_fields_of_a_record_may_be_asked_each_once():
    fields = [{"parameters": (("field", value),)} for value in ("name", "address")]
    claim = "enrolment.field_on_file@1"
    require_single_questions(checks_of(claim, *fields))
    with refused(MalformedError, Reason.ASKED_TWICE):
        require_single_questions(checks_of(claim, *fields, fields[0]))
    elsewhere = {**fields[0], "region": "430103"}
    with refused(MalformedError, Reason.ASKED_TWICE):
        require_single_questions(checks_of(claim, fields[0], elsewhere))
