"""What makes a query acceptable, each attack by its name. The same rules hold at the gateway and at every node."""

from dataclasses import replace

import msgspec
import pytest

from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import (
    ForgedError,
    MalformedError,
    NotCurrentError,
    NotGrantedError,
    UnknownPeerError,
)
from gateway.protocol.keys import SigningKey
from gateway.protocol.presentation import read_signed_query, write_signed_query
from gateway.protocol.query import GrantUse, SignedQuery, open_part, write_part, write_query
from gateway.protocol.query_rules import (
    check_policy,
    match_parts,
    open_query,
    require_answerable,
    require_grants_of_query,
    require_unexpired,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Coverage, KeyUse
from tests.federation import (
    DAY,
    GATEWAY,
    OTHER_GATEWAY,
    OTHER_REQUESTER,
    REQUESTER,
    edit_party,
    key_terms,
)
from tests.protocol.casework import (
    FEDERATION,
    GRANT,
    HOUSING,
    HRSS,
    LAND,
    NOW,
    PARTS,
    POLICE,
    SECOND_GRANT,
    flip,
    make_check,
    make_part,
    make_query,
    refused,
    sign_query,
)

REGISTRY = FEDERATION.registry
KEY = FEDERATION.signing_keys[REQUESTER]
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def accept(signed, requester=REQUESTER, gateway=GATEWAY, registry=REGISTRY, now=NOW):
    return open_query(signed, requester=requester, gateway=gateway, registry=registry, now=now)


# -- signature ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requester", [REQUESTER, None])
def test_genuine_query_is_accepted(requester):
    query = make_query()
    assert accept(sign_query(query), requester) == query


def test_unsigned_query_is_refused():
    signed = sign_query(make_query())
    message = write_signed_query(signed)
    message.ClearField("signature")
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_signed_query(message)
    with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
        accept(replace(signed, signature=b""))


def test_forged_signature_is_refused():
    signed = sign_query(make_query())
    forgeries = [bytes(64), flip(signed.signature), flip(signed.signature, -1), signed.signature[32:] * 2]
    for forged in forgeries:
        with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
            accept(replace(signed, signature=forged))


def test_altered_query_is_refused():
    signed = sign_query(make_query())
    for change in (
        {"purpose": "marketing"},
        {"request_id": bytes(16)},
        {"issue_time": NOW + 1},
        {"grant_digests": (GRANT,)},
        {"part_digests": make_query(PARTS[:1]).part_digests},
    ):
        with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
            accept(replace(signed, query=write_query(make_query(**change))))


@pytest.mark.parametrize(
    "key",
    [
        FEDERATION.signing_keys[OTHER_REQUESTER],
        SigningKey("key-1", FEDERATION.signing_keys[OTHER_REQUESTER].private),
        SigningKey("key-1", FEDERATION.signing_keys[POLICE].private),
        SigningKey("key-9", KEY.private),
        SigningKey("", KEY.private),
        FEDERATION.signing_keys[GATEWAY],
    ],
    ids=["another requester's", "another's under the name", "a department's", "unknown id", "no id", "the gateway's"],
)
def test_query_signed_by_another_key_is_refused(key):
    with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
        accept(sign_query(make_query(), key))


def test_signature_made_for_another_kind_of_message_is_refused():
    data = write_query(make_query())
    for kind in (Kind.PART, Kind.STATEMENT_BATCH):
        with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
            accept(SignedQuery(data, KEY.key_id, KEY.sign(kind, data)))


def test_key_of_another_use_signs_no_query():
    terms = key_terms(KEY, KeyUse.ANSWER, NOW)
    registry = FEDERATION.changed(lambda document: edit_party(document, REQUESTER, keys=(terms,))).registry
    with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
        accept(sign_query(make_query()), registry=registry)


def test_compromised_key_signs_no_query():
    terms = key_terms(KEY, KeyUse.QUERY, NOW, compromised=int(NOW))
    registry = FEDERATION.changed(lambda document: edit_party(document, REQUESTER, keys=(terms,))).registry
    with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
        accept(sign_query(make_query()), registry=registry)


def test_mirrored_signature_is_no_other_query():
    """(r, n - s) verifies wherever (r, s) does in ECDSA: so nothing may be counted by a signature's bytes."""
    signed = sign_query(make_query())
    s = int.from_bytes(signed.signature[32:], "big")
    mirrored = replace(signed, signature=signed.signature[:32] + (P256_ORDER - s).to_bytes(32, "big"))
    assert mirrored.digest == signed.digest


# -- whose ---------------------------------------------------------------------------------------------------


def test_query_of_another_requester_than_the_connections_is_refused():
    with refused(NotGrantedError, Reason.QUERY_OTHER_REQUESTER):
        accept(sign_query(make_query()), requester=OTHER_REQUESTER)


def test_own_query_in_anothers_name_is_refused():
    forged = sign_query(make_query(requester=OTHER_REQUESTER))
    with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
        accept(forged, requester=None)


def test_query_for_another_gateway_is_refused():
    with refused(NotGrantedError, Reason.QUERY_OTHER_GATEWAY):
        accept(sign_query(make_query(gateway=OTHER_GATEWAY)))
    with refused(NotGrantedError, Reason.QUERY_OTHER_GATEWAY):
        accept(sign_query(make_query()), gateway=OTHER_GATEWAY)


def test_query_of_a_requester_whom_the_registry_does_not_know_is_refused():
    with refused(UnknownPeerError, Reason.PEER_UNKNOWN):
        accept(sign_query(make_query(requester="spiffe://heyan/requester/nobody")), requester=None)


# -- when ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "early"), [(10.0, False), (10.1, True), (3600.0, True)])
def test_query_that_is_not_yet_valid_is_refused(ahead, early):
    query = make_query(issue_time=NOW + ahead, expire_time=NOW + ahead + 60, answer_until_time=NOW + ahead + 60)
    if not early:
        assert accept(sign_query(query)) == query
        return
    with refused(NotCurrentError, Reason.QUERY_NOT_YET_VALID):
        accept(sign_query(query))


@pytest.mark.parametrize("lifetime", [60.000001, 61, 3600, 0, -1])
def test_lifetime_over_sixty_seconds_or_none_is_refused(lifetime):
    query = make_query(expire_time=NOW + lifetime, answer_until_time=NOW + max(lifetime, 60))
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        accept(sign_query(query))


@pytest.mark.parametrize("until", [60.0, 61.0, float(DAY)])
def test_answer_until_within_the_deferral_is_accepted(until):
    assert accept(sign_query(make_query(answer_until_time=NOW + until))).answer_until_time == NOW + until


@pytest.mark.parametrize("until", [59.0, -1.0, DAY + 1.0, DAY * 400.0])
def test_answer_until_before_expiry_or_past_the_deferral_is_refused(until):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        accept(sign_query(make_query(answer_until_time=NOW + until)))


def test_requester_without_deferral_may_not_ask_for_it():
    registry = changed_terms(deferral_seconds=0)
    assert accept(sign_query(make_query()), registry=registry)
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        accept(sign_query(make_query(answer_until_time=NOW + 61)), registry=registry)


def test_expired_query_is_refused_on_first_acceptance():
    query = make_query(answer_until_time=NOW + 1000)
    require_unexpired(query, NOW + 65)
    with refused(NotCurrentError, Reason.QUERY_EXPIRED):
        require_unexpired(query, NOW + 65.1)


def test_deferred_query_is_answered_until_its_end_only():
    query = make_query(answer_until_time=NOW + 1000)
    require_answerable(query, NOW + 1005)
    with refused(NotCurrentError, Reason.QUERY_EXPIRED):
        require_answerable(query, NOW + 1005.1)


# -- parts --------------------------------------------------------------------------------------------------


def match(parts, query=None, named=None):
    return match_parts(query or make_query(parts if named is None else named), parts)


def test_parts_match_in_any_order():
    query = make_query()
    assert [part.data for part in match_parts(query, PARTS)] == list(PARTS)
    assert [part.data for part in match_parts(query, PARTS[::-1])] == list(PARTS[::-1])


def resalted(part):
    return write_part(replace(open_part(part).part, salt=bytes(32)))


ATTACKS_ON_PARTS = {
    "part added": (*PARTS, write_part(make_part("spiffe://heyan/department/other", {"x": "identity.valid@1"}))),
    "part dropped": PARTS[1:],
    "all parts dropped": (),
    "part altered": (resalted(PARTS[0]), *PARTS[1:]),
    "part duplicated": (*PARTS, PARTS[0]),
    "part replaced by a duplicate": (PARTS[1], *PARTS[1:]),
}


@pytest.mark.parametrize("parts", ATTACKS_ON_PARTS.values(), ids=ATTACKS_ON_PARTS.keys())
def test_parts_other_than_the_querys_are_refused(parts):
    with refused(ForgedError, Reason.QUERY_PARTS_MISMATCH):
        match(parts, named=PARTS)


def test_check_moved_to_another_claim_is_refused():
    part = open_part(PARTS[0]).part
    changed = replace(part, checks=(replace(part.checks[0], claim="residence.permit_valid@1"), *part.checks[1:]))
    with refused(ForgedError, Reason.QUERY_PARTS_MISMATCH):
        match((write_part(changed), *PARTS[1:]), named=PARTS)


def test_two_parts_for_one_department_are_refused():
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        match((PARTS[0], write_part(make_part(POLICE, {"other": "identity.valid@1"}, salt=bytes(32)))))


@pytest.mark.parametrize("departments", [(POLICE, LAND), (POLICE,)], ids=["across parts", "within a part"])
def test_duplicate_check_ids_are_refused(departments):
    if len(departments) == 1:
        parts = (write_part(make_part(POLICE, (make_check("a", "identity.valid@1"),) * 2)),)
    else:
        parts = tuple(write_part(make_part(department, {"a": "identity.valid@1"})) for department in departments)
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        match(parts)


def many(department, count):
    return write_part(
        make_part(department, {f"{department[-3:]}{number}": "identity.valid@1" for number in range(count)})
    )


def test_too_many_checks_are_refused():
    assert len(match((many(POLICE, 16), many(LAND, 16)))) == 2
    with refused(MalformedError, Reason.TOO_MANY_CHECKS):
        match((many(POLICE, 16), many(LAND, 16), many(HRSS, 1)))


def test_non_canonical_part_is_refused_although_the_query_names_it():
    data = PARTS[0] + b"\xf2\x01\x01x"
    query = make_query(PARTS[:1], part_digests=(digest(Kind.PART, data),))
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        match_parts(query, (data,))


def test_non_canonical_query_with_unknown_fields_is_refused_although_signed():
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        accept(sign_query(write_query(make_query()) + b"\xf2\x01\x01x"))


def test_part_that_rests_on_a_grant_the_query_does_not_name_is_refused():
    other = make_check("a", "identity.valid@1", authorizations=(GrantUse(bytes(32), 0),))
    part = make_part(POLICE, (other,))
    with refused(ForgedError, Reason.QUERY_PARTS_MISMATCH):
        match((write_part(part),))
    with refused(ForgedError, Reason.QUERY_PARTS_MISMATCH):
        require_grants_of_query(make_query(grant_digests=(SECOND_GRANT,)), part)


# -- policy -------------------------------------------------------------------------------------------------


def changed_terms(party=REQUESTER, attribute="requester", **changes):
    def edit(document):
        terms = next(getattr(entry, attribute) for entry in document.parties if entry.id == party)
        return edit_party(document, party, **{attribute: msgspec.structs.replace(terms, **changes)})

    return FEDERATION.changed(edit).registry


def judge(department=POLICE, claim="hukou.child_registered@1", registry=REGISTRY, purpose=None, **changes):
    query = make_query(**({"purpose": purpose} if purpose else {}))
    check_policy(query, make_part(department, (make_check("a", claim, **changes),)), registry)


@pytest.mark.parametrize("part", PARTS, ids=["police", "land", "hrss", "housing"])
def test_whole_case_is_allowed(part):
    check_policy(make_query(), open_part(part).part, REGISTRY)


def test_claim_that_the_registry_does_not_allow_the_requester_is_refused():
    with refused(NotGrantedError, Reason.CLAIM_NOT_ALLOWED):
        judge(registry=changed_terms(claims=("identity.valid@1",)))


def test_claim_that_the_federation_does_not_offer_is_refused():
    def edit(document):
        kept = tuple(terms for terms in document.claims if terms.claim != "hukou.child_registered@1")
        return msgspec.structs.replace(document, claims=kept)

    with refused(NotGrantedError, Reason.CLAIM_NOT_ALLOWED):
        judge(registry=FEDERATION.changed(edit).registry)


@pytest.mark.parametrize("regions", [("4302",), ("430103",), ()])
def test_region_that_the_registry_does_not_allow_the_requester_is_refused(regions):
    with refused(NotGrantedError, Reason.CLAIM_NOT_ALLOWED):
        judge(registry=changed_terms(regions=regions))


@pytest.mark.parametrize("purpose", ["marketing", "enrolment2"])
def test_purpose_that_the_registry_does_not_allow_is_refused(purpose):
    with refused(NotGrantedError, Reason.PURPOSE_NOT_ALLOWED):
        judge(purpose=purpose)


def test_region_that_the_node_does_not_answer_is_refused():
    coverage = (Coverage(("hukou.child_registered@1",), ("4302",)),)
    with refused(NotGrantedError, Reason.REGION_NOT_SERVED):
        judge(registry=changed_terms(POLICE, "department", coverage=coverage))


def test_claim_of_another_department_is_refused():
    with refused(NotGrantedError, Reason.REGION_NOT_SERVED):
        judge(LAND)


def test_claim_outside_the_vocabulary_is_refused():
    part = make_part(POLICE, (replace(make_check("a", "identity.valid@1"), claim="income.amount@1"),))
    with refused(MalformedError, Reason.CLAIM_UNKNOWN):
        check_policy(make_query(), part, REGISTRY)


@pytest.mark.parametrize("claim", ["hukou.child_registered@1", "guardianship.guardian_of@1"])
@pytest.mark.parametrize("roles", [("guardian",), ("child", "co_resident"), ("child", "co_resident", "guardian")])
def test_wrong_roles_are_refused(claim, roles):
    subjects = tuple((role, bytes(32)) for role in roles)
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        judge(claim=claim, subjects=subjects)


@pytest.mark.parametrize("value", ["13", "1", "1000", "", "12 ", ">=12"])
def test_free_parameter_value_is_refused(value):
    with refused(MalformedError, Reason.CLAIM_UNKNOWN):
        judge(HRSS, "insurance.paid_months@1", parameters=(("months", value),))


@pytest.mark.parametrize("parameters", [(), (("months", "12"), ("since", "2020")), (("amount", "12"),)])
def test_missing_or_added_parameter_is_refused(parameters):
    with refused(MalformedError, Reason.CLAIM_UNKNOWN):
        judge(HRSS, "insurance.paid_months@1", parameters=parameters)


@pytest.mark.parametrize(
    "department", ["spiffe://heyan/department/nobody", GATEWAY], ids=["unknown node", "no department"]
)
def test_part_for_a_party_that_is_no_known_department_is_refused(department):
    reason = Reason.PEER_ROLE_NOT_ALLOWED if department == GATEWAY else Reason.PEER_UNKNOWN
    with refused(UnknownPeerError, reason):
        judge(department)


def test_query_in_the_name_of_a_party_that_is_no_requester_is_refused():
    with refused(UnknownPeerError, Reason.PEER_ROLE_NOT_ALLOWED):
        check_policy(make_query(requester=GATEWAY), make_part(POLICE, {"a": "identity.valid@1"}), REGISTRY)


def test_every_check_of_a_part_is_judged():
    checks = (make_check("a", "housing.public_housing@1"), make_check("b", "housing.lease_on_file@1", region="110101"))
    with refused(NotGrantedError, Reason.CLAIM_NOT_ALLOWED):
        check_policy(make_query(), make_part(HOUSING, checks), REGISTRY)
