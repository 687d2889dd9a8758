"""Disputes: whose word they are, what they name, and when a question may be asked once more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.protocol.claims import Role
from gateway.protocol.codec import encode
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import (
    Dispute,
    Disputed,
    DisputeGround,
    open_dispute,
    question_of,
    require_disputable,
    require_reverifiable,
    sign_dispute,
    spending,
)
from gateway.protocol.errors import ForgedError, MalformedError, NotCurrentError, NotGrantedError, UnknownPeerError
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.query import GrantUse
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import dispute_pb2
from tests.federation import GATEWAY, ISSUER, OTHER_REQUESTER, REQUESTER, edit_party, key_terms
from tests.protocol.casework import FEDERATION, GRANT, LAND, NOW, POLICE, SECOND_GRANT, Case, make_check, refused

CASE = Case()
STATEMENT = CASE.attest(POLICE, "hukou")
DISPUTE_ID = digest(Kind.STATEMENT, STATEMENT)


def dispute(**changes: Any) -> Dispute:
    """The requester's dispute of what the police answered."""
    right = Dispute(
        opener=REQUESTER,
        requester=REQUESTER,
        request_id=b"0123456789abcdef",
        gateway=GATEWAY,
        department=POLICE,
        statement_digest=DISPUTE_ID,
        ground=DisputeGround.RECORD_OUTDATED,
        issue_time=NOW,
    )
    return replace(right, **changes)


def signed(made: Dispute | None = None, by: str = REQUESTER) -> dispute_pb2.SignedDispute:
    return sign_dispute(made or dispute(), FEDERATION.signing_keys[by]).signed


def test_a_dispute_is_read_as_it_was_signed() -> None:
    assert open_dispute(signed(), FEDERATION.registry, NOW) == dispute()


def test_dispute_signed_by_another_requester_is_refused() -> None:
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        open_dispute(signed(by=OTHER_REQUESTER), FEDERATION.registry, NOW)


def test_dispute_signed_by_the_gateway_is_refused() -> None:
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        open_dispute(signed(by=GATEWAY), FEDERATION.registry, NOW)


def test_dispute_in_the_name_of_an_issuer_is_refused() -> None:
    with refused(UnknownPeerError, Reason.PEER_ROLE_NOT_ALLOWED):
        open_dispute(signed(dispute(requester=ISSUER), by=ISSUER), FEDERATION.registry, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"statement_digest": bytes(32)},
        {"department": LAND},
        {"ground": DisputeGround.RECORD_WRONG},
        {"request_id": bytes(16)},
        {"gateway": "spiffe://heyan/gateway/other"},
    ],
)
def test_dispute_that_was_changed_on_its_way_is_refused(change: dict[str, Any]) -> None:
    forged = dispute_pb2.SignedDispute(dispute=signed(dispute(**change)).dispute, signature=signed().signature)
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        open_dispute(forged, FEDERATION.registry, NOW)


def test_signature_of_a_query_is_none_of_a_dispute() -> None:
    key, data = FEDERATION.signing_keys[REQUESTER], signed().dispute
    forged = dispute_pb2.SignedDispute(dispute=data)
    forged.signature.key_id, forged.signature.value = key.key_id, key.sign(Kind.QUERY, data)
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        open_dispute(forged, FEDERATION.registry, NOW)


def test_dispute_from_the_future_is_refused() -> None:
    with refused(NotCurrentError, Reason.DISPUTE_INVALID):
        open_dispute(signed(dispute(issue_time=NOW + EARLY_TOLERANCE + 1)), FEDERATION.registry, NOW)


def test_dispute_that_waited_for_days_is_judged_by_the_key_of_its_time() -> None:
    assert open_dispute(signed(), FEDERATION.registry, NOW + 20 * 86_400) == dispute()


def test_dispute_dated_before_a_compromise_and_received_after_it_is_refused() -> None:
    key = key_terms(FEDERATION.signing_keys[REQUESTER], KeyUse.QUERY, NOW, compromised=int(NOW) + 60)
    later = FEDERATION.changed(lambda document: edit_party(document, REQUESTER, keys=(key,)))
    assert open_dispute(signed(), later.registry, NOW + 30)
    with refused(ForgedError, Reason.DISPUTE_INVALID):
        open_dispute(signed(), later.registry, NOW + 61)


@pytest.mark.parametrize("change", [{"request_id": b"short"}, {"request_id": bytes(33)}, {"statement_digest": b"x"}])
def test_dispute_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_dispute(signed(dispute(**change)), FEDERATION.registry, NOW)


@pytest.mark.parametrize("ground", [0, 5])
def test_ground_outside_the_list_is_refused(ground: int) -> None:
    message = dispute_pb2.Dispute.FromString(signed().dispute)
    message.ground = ground  # type: ignore[assignment]
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_dispute(dispute_pb2.SignedDispute(dispute=encode(message)), FEDERATION.registry, NOW)


# -- which answer -------------------------------------------------------------------------------------------


def test_the_answer_that_a_dispute_names_may_be_disputed() -> None:
    assert require_disputable(dispute(), STATEMENT).asked.check.check_id == "hukou"
    assert require_disputable(dispute(opener=ISSUER, grant_digest=GRANT), STATEMENT)


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        ({}, CASE.attest(POLICE, "identity")),
        ({"statement_digest": digest(Kind.STATEMENT, CASE.refuse(POLICE))}, CASE.refuse(POLICE)),
        ({"statement_digest": digest(Kind.STATEMENT, b"rubbish")}, b"rubbish"),
        ({"requester": OTHER_REQUESTER}, STATEMENT),
        ({"department": LAND}, STATEMENT),
        ({"grant_digest": SECOND_GRANT}, STATEMENT),
    ],
    ids=["another answer", "a refusal", "no statement", "another's", "another department's", "on another grant"],
)
def test_whatever_is_not_that_answer_is_refused_alike(change: dict[str, Any], statement: bytes) -> None:
    with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
        require_disputable(dispute(**change), statement)


# -- asking once more ---------------------------------------------------------------------------------------

CHECK = make_check("hukou", "hukou.child_registered@1")
MONTHS = make_check("months", "insurance.paid_months@1")
AGAIN = replace(CHECK, check_id="again", dispute_id=DISPUTE_ID)
CORRECTED = Disputed(POLICE, REQUESTER, question_of(CHECK), corrected=True, reverified=None)
REQUEST_ID = bytes(16)


def require(check: Any = AGAIN, disputed: Disputed | None = CORRECTED, **changes: Any) -> None:
    asked = {"department": POLICE, "requester": REQUESTER, "request_id": REQUEST_ID, **changes}
    require_reverifiable(check, disputed, **asked)


def test_a_corrected_question_may_be_asked_once_more() -> None:
    require()
    require(disputed=replace(CORRECTED, reverified=REQUEST_ID))  # the same request, tried again


@pytest.mark.parametrize(
    ("reason", "disputed"),
    [
        (Reason.DISPUTE_UNKNOWN, None),
        (Reason.DISPUTE_UNKNOWN, replace(CORRECTED, requester=OTHER_REQUESTER)),
        (Reason.DISPUTE_UNKNOWN, replace(CORRECTED, department=LAND)),
        (Reason.DISPUTE_NOT_CORRECTED, replace(CORRECTED, corrected=None)),
        (Reason.DISPUTE_NOT_CORRECTED, replace(CORRECTED, corrected=False)),
        (Reason.DISPUTE_SPENT, replace(CORRECTED, reverified=b"another request.")),
        (Reason.DISPUTE_OTHER_QUESTION, replace(CORRECTED, question=bytes(32))),
    ],
)
def test_anything_short_of_a_correction_is_refused(reason: Reason, disputed: Disputed | None) -> None:
    with refused(NotGrantedError, reason):
        require(disputed=disputed)


@pytest.mark.parametrize(
    "change",
    [
        {"claim": "hukou.guardian_registered@1"},
        {"region": "430103"},
        {"subjects": ((Role.CHILD, bytes(32)),)},
        {"authorizations": (GrantUse(SECOND_GRANT, 0),)},
        {"authorizations": (GrantUse(GRANT, 1),)},
    ],
)
def test_a_correction_of_one_question_buys_no_other(change: dict[str, Any]) -> None:
    with refused(NotGrantedError, Reason.DISPUTE_OTHER_QUESTION):
        require(replace(AGAIN, **change))


def test_a_correction_of_one_threshold_buys_no_other() -> None:
    disputed = replace(CORRECTED, question=question_of(MONTHS))
    again = replace(MONTHS, dispute_id=DISPUTE_ID)
    require(again, disputed)
    with refused(NotGrantedError, Reason.DISPUTE_OTHER_QUESTION):
        require(replace(again, parameters=(("months", "36"),)), disputed)


def test_only_checks_without_a_dispute_spend() -> None:
    assert spending([CHECK, AGAIN, MONTHS]) == [CHECK, MONTHS]
