"""Replies to a benchmark's requests are judged strictly, and its floor is real cryptography."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature

from benchmarks.applicants import Applicant
from benchmarks.core_work import KINDS, Asked, judge, status_of
from benchmarks.crypto_floor import floor_seconds, verifications_of
from benchmarks.load import OK
from gateway.asking import Envelope, Question, make_submission
from gateway.protocol.claims import claim_named
from gateway.protocol.errors import ForgedError
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.presentation import write_submission
from gateway.protocol.reasons import Reason
from heyan.v1 import attestation_pb2, check_pb2, log_pb2, receipt_pb2
from heyan.v1 import gateway_service_pb2 as pb
from tests.federation import GATEWAY, REGION, REQUESTER, Federation

NOW = 1_790_000_000.0
TRUTH = {"c0": "YES", "c1": "NO"}


@pytest.fixture(scope="module")
def federation():
    return Federation.create(NOW)


def message_of(federation, kind):
    parameters = {"insurance.paid_months@1": {"months": "12"}, "enrolment.of_school_age@1": None}
    claims = [claim for claim in kind.claims if parameters.get(claim, {}) is not None]
    questions = [Question(f"c{n}", claim, REGION, parameters.get(claim, {})) for n, claim in enumerate(claims)]
    envelope = Envelope(REQUESTER, GATEWAY, PURPOSE_ENROLMENT, NOW)
    key = federation.signing_keys[REQUESTER]
    submission = make_submission(
        questions, federation.issue(), envelope, federation.registry, key, federation.random.randbytes
    )
    return write_submission(submission).SerializeToString()


def receipt_of(outcomes):
    receipt = receipt_pb2.Receipt()
    for check_id, outcome in outcomes.items():
        check = check_pb2.Check(check_id=check_id)
        attestation = attestation_pb2.Attestation(check=check, outcome=check_pb2.Outcome.Value(f"OUTCOME_{outcome}"))
        statement = attestation_pb2.Statement(attestation=attestation).SerializeToString()
        receipt.statements.add(proof=attestation_pb2.StatementProof(statement=statement))
    return receipt


def reply_of(outcomes):
    return pb.VerifyResponse(receipt=receipt_of(outcomes)).SerializeToString()


class Checking:
    """A client that takes every receipt, or none; counts them."""

    def __init__(self, *, takes=True):
        self.takes = takes
        self.checked = 0

    def check(self, _submission, _receipt):
        self.checked += 1
        if not self.takes:
            raise ForgedError(Reason.RECEIPT_INVALID)


def asked(federation, count):
    applicant = Applicant("F000001", None, (), None, TRUTH)
    return [Asked(applicant, message_of(federation, KINDS["single"]))] * count


def test_every_kind_asks_what_its_name_says():
    departments = {name: {claim_named(claim).department for claim in kind.claims} for name, kind in KINDS.items()}
    assert {name: (len(kind.claims), len(departments[name]), kind.fresh) for name, kind in KINDS.items()} == {
        "single": (1, 1, True),
        "application": (5, 4, True),
        "single_repeated": (1, 1, False),
        "application_repeated": (5, 4, False),
    }


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ({"c0": "YES", "c1": "NO"}, OK),
        ({"c0": "YES", "c1": "YES"}, "WRONG"),
        ({"c0": "YES", "c1": "UNDETERMINED"}, "WRONG"),
        ({"c0": "YES"}, "WRONG"),
        ({}, "WRONG"),
    ],
)
def test_anything_but_the_whole_truth_is_wrong(outcomes, status):
    assert status_of(receipt_of(outcomes), TRUTH) == status


def test_an_unavailable_check_is_partial_and_a_refusal_refused():
    receipt = receipt_of({"c0": "YES"})
    receipt.unavailable.append(log_pb2.UnavailableCheck(check_id="c1"))
    assert status_of(receipt, TRUTH) == "PARTIAL"
    refused = receipt_of({"c0": "YES"})
    statement = attestation_pb2.Statement(refusal=attestation_pb2.Refusal()).SerializeToString()
    refused.statements.add(proof=attestation_pb2.StatementProof(statement=statement))
    assert status_of(refused, TRUTH) == "REFUSED"


def test_each_hundredth_receipt_is_verified_and_refusals_are_counted(federation):
    client = Checking()
    replies = [reply_of(TRUTH)] * 249 + [Reason.OVERLOADED]
    judgement = judge(client, asked(federation, 250), replies)
    assert judgement.statuses == {OK: 249, "OVERLOADED": 1}
    assert judgement.verified == client.checked == 3


def test_a_receipt_that_does_not_hold_is_not_ok(federation):
    judgement = judge(Checking(takes=False), asked(federation, 2), [reply_of(TRUTH)] * 2)
    assert judgement.statuses == {"RECEIPT_INVALID": 1, OK: 1}
    assert judgement.verified == 0


def test_the_floor_verifies_query_and_grant(federation):
    verifications = verifications_of(message_of(federation, KINDS["single"]), federation.registry)
    assert len(verifications) == 2
    assert floor_seconds([verifications], 0.0) > 0
    for bent in range(2):
        key, signature, covered = verifications[bent]
        with pytest.raises(InvalidSignature):
            floor_seconds([((key, signature, covered + b"x"),)], 0.0)
