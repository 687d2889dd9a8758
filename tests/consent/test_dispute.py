"""Attacks on the issuer's report of a guardian's dispute."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from consent.dispute import MAX_REPORT, TYP, challenge_of, open_proof, open_report, sign_report
from gateway.protocol.codec import b64url
from gateway.protocol.disputes import Dispute, DisputeGround
from gateway.protocol.jws import sign_jws
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import dispute_pb2
from tests.federation import DEPARTMENTS, GATEWAY, ISSUER, OTHER_ISSUER, REQUESTER, edit_party, key_terms

JTI = "jti-of-the-dispute"
POLICE, LAND = list(DEPARTMENTS.values())[:2]


@pytest.fixture
def dispute(now):
    return Dispute(
        opener=ISSUER,
        requester=REQUESTER,
        request_id=bytes(16),
        gateway=GATEWAY,
        department=POLICE,
        statement_digest=b"s" * 32,
        ground=DisputeGround.OTHER_PERSON,
        issue_time=float(now),
        grant_digest=b"g" * 32,
    )


def test_report_is_read_as_it_was_signed(federation, dispute, now):
    report = sign_report(dispute, JTI, federation.signing_keys[ISSUER])
    assert open_report(report, federation.registry, now) == dispute
    assert open_proof(dispute_pb2.DisputeProof(report=report), federation.registry, now) == dispute
    assert len(report) < MAX_REPORT


def test_report_signed_by_anybody_else_is_refused(federation, dispute, now, refused):
    for signer in (OTHER_ISSUER, REQUESTER, POLICE):
        with refused(Reason.DISPUTE_INVALID):
            open_report(sign_report(dispute, JTI, federation.signing_keys[signer]), federation.registry, now)


def test_party_that_is_no_issuer_cannot_report(federation, dispute, now, refused):
    for name in (REQUESTER, GATEWAY, "spiffe://heyan/issuer/nobody", "x"):
        with refused(Reason.DISPUTE_INVALID):
            report = sign_report(replace(dispute, opener=name), JTI, federation.signing_keys[REQUESTER])
            open_report(report, federation.registry, now)


def test_report_dated_before_a_compromise_and_received_after_it_is_refused(federation, dispute, now, refused):
    report = sign_report(dispute, JTI, federation.signing_keys[ISSUER])
    key = key_terms(federation.signing_keys[ISSUER], KeyUse.GRANT, now, compromised=int(now) + 60)
    later = federation.changed(lambda document: edit_party(document, ISSUER, keys=(key,)))
    assert open_report(report, later.registry, now + 30)
    with refused(Reason.DISPUTE_INVALID):
        open_report(report, later.registry, now + 61)


def test_report_from_the_future_is_refused(federation, dispute, now, refused):
    report = sign_report(replace(dispute, issue_time=now + 11), JTI, federation.signing_keys[ISSUER])
    with refused(Reason.DISPUTE_INVALID):
        open_report(report, federation.registry, now)


@pytest.mark.parametrize(
    "change",
    [
        {"ground": "BECAUSE"},
        {"ground": "张三的户口不对"},
        {"ground": 1},
        {"grant": "AAAA"},
        {"statement": "AAAA"},
        {"request_id": "AAAA"},
        {"request_id": "%"},
        {"jti": ""},
        {"iat": -1},
        {"text": "please"},
    ],
)
def test_report_of_another_shape_is_refused(federation, dispute, change, now, refused):
    value = {
        "iss": ISSUER,
        "jti": JTI,
        "iat": int(now),
        "grant": b64url(dispute.grant_digest),
        "requester": REQUESTER,
        "request_id": b64url(dispute.request_id),
        "gateway": GATEWAY,
        "department": POLICE,
        "statement": b64url(dispute.statement_digest),
        "ground": "RECORD_WRONG",
    }
    key = federation.signing_keys[ISSUER]
    assert open_report(sign_jws(json.dumps(value).encode(), TYP, key), federation.registry, now)
    with refused(Reason.MESSAGE_MALFORMED):
        open_report(sign_jws(json.dumps({**value, **change}).encode(), TYP, key), federation.registry, now)


def test_proof_of_nobody_is_refused(federation, now, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        open_proof(dispute_pb2.DisputeProof(), federation.registry, now)
    with refused(Reason.MESSAGE_MALFORMED):
        open_proof(dispute_pb2.DisputeProof(report="a.b.c"), federation.registry, now)


def test_passkey_signs_all_that_the_guardian_says_and_nothing_that_the_issuer_does(dispute):
    said = challenge_of(dispute)
    for change in (
        {"requester": OTHER_ISSUER},
        {"request_id": bytes(17)},
        {"gateway": POLICE},
        {"department": LAND},
        {"statement_digest": bytes(32)},
        {"ground": DisputeGround.RECORD_WRONG},
        {"grant_digest": bytes(32)},
    ):
        assert challenge_of(replace(dispute, **change)) != said
    assert challenge_of(replace(dispute, opener="", issue_time=0.0)) == said
