"""Attacks on the passkey evidence: absent, of other bytes, of another key, without the person."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webauthn import verify_authentication_response
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import AuthenticationCredential, AuthenticatorAssertionResponse

from consent.authenticator import derive_authenticator
from consent.consent_file import GrantConsent
from consent.grant import sign_grant
from consent.passkey import (
    Assertion,
    PasskeyEvidence,
    assertion_from_json,
    assertion_to_json,
    check_cose_key,
    commit_key,
    read_evidence,
    verify_assertion,
    write_evidence,
)
from consent.verification import require_evidence, verify_evidence
from gateway.protocol.codec import b64url
from gateway.protocol.errors import ForgedError
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import ClaimTerms
from tests.consent.tokens import segments
from tests.federation import BIG_FAMILY, CO_RESIDENT, GUARDIAN, ISSUER, ORIGIN, RP_ID

HUKOU, HOUSEHOLD = "hukou.child_registered@1", "kinship.same_household@1"
CO_RESIDENT_HOME = "property.co_resident_owns_home@1"


@pytest.fixture
def terms(federation):
    return federation.registry.party(ISSUER).issuer


def with_evidence(federation, consent, evidence):
    """The same payload with other evidence, signed anew by a dishonest issuer."""
    _, payload, _ = segments(consent.token)
    token = sign_grant(payload, evidence, federation.signing_keys[ISSUER])
    return GrantConsent(token, consent.disclosures, consent.salts, evidence, consent.subjects)


def test_real_evidence_is_accepted(desk, federation, terms):
    consent = federation.issue().grants[0]
    verify_evidence(desk.open(consent), consent.evidence, terms)


def test_evidence_of_another_grant_is_refused(desk, federation, terms, refused):
    one, other = (federation.issue().grants[0] for _ in range(2))
    with refused(Reason.EVIDENCE_INVALID):
        verify_evidence(desk.open(one), other.evidence, terms)


def test_altered_evidence_is_refused(desk, federation, terms, refused):
    consent = federation.issue().grants[0]
    for evidence in (consent.evidence[:-1], consent.evidence + b"\x00", b""):
        with refused(Reason.EVIDENCE_INVALID):
            verify_evidence(desk.open(consent), evidence, terms)


def test_assertion_over_other_bytes_is_refused(desk, federation, terms, refused):
    """An issuer that alters the payload after the approval, or reuses an approval, is found out."""
    one, other = (federation.issue().grants[0] for _ in range(2))
    reused = read_evidence(other.evidence)
    salted = PasskeyEvidence(read_evidence(one.evidence).key_salt, reused.public_key, reused.assertion)
    forged = with_evidence(federation, one, write_evidence(salted))
    with refused(Reason.EVIDENCE_INVALID):
        verify_evidence(desk.open(forged), forged.evidence, terms)


def test_assertion_of_another_passkey_is_refused(desk, federation, terms, refused):
    """Real, over the right payload, but by a key that the grant does not commit to."""
    consent = federation.issue().grants[0]
    grant = desk.open(consent)
    stranger = derive_authenticator(b"another sandbox secret of 32 byte", "stranger")
    assertion = stranger.approve(grant.payload_digest, rp_id=RP_ID, origin=ORIGIN)
    salt = read_evidence(consent.evidence).key_salt
    forged = with_evidence(federation, consent, write_evidence(PasskeyEvidence(salt, stranger.public_key, assertion)))
    with refused(Reason.EVIDENCE_INVALID):
        verify_evidence(desk.open(forged), forged.evidence, terms)


def test_assertion_without_user_verification_is_refused(desk, federation, terms, refused):
    consent = federation.issue(user_verified=False).grants[0]
    with refused(Reason.EVIDENCE_INVALID):
        verify_evidence(desk.open(consent), consent.evidence, terms)


@pytest.mark.parametrize("field", ["rp_id", "origins"])
def test_assertion_for_another_relying_party_is_refused(desk, federation, terms, field, refused):
    consent = federation.issue().grants[0]
    value = "evil.test" if field == "rp_id" else ("https://evil.test",)
    with refused(Reason.EVIDENCE_INVALID):
        verify_evidence(desk.open(consent), consent.evidence, msgspec.structs.replace(terms, **{field: value}))


# -- the part -----------------------------------------------------------------------------------------------


def test_missing_evidence_is_refused(desk, federation, refused):
    consent = federation.issue(BIG_FAMILY)
    grants = desk.open_all(consent)
    guardians, own = consent.grants
    part = desk.part([desk.check(consent, HUKOU), desk.check(consent, HOUSEHOLD, check_id="b")])
    require_evidence(part, grants, [own.evidence, guardians.evidence], federation.registry)
    for evidence in ([], [guardians.evidence], [own.evidence], [guardians.evidence + b"\x00", own.evidence]):
        with refused(Reason.EVIDENCE_MISSING):
            require_evidence(part, grants, evidence, federation.registry)


def test_evidence_is_needed_only_of_grants_that_the_part_uses(desk, federation):
    consent = federation.issue(BIG_FAMILY)
    part = desk.part([desk.check(consent, CO_RESIDENT_HOME)])
    require_evidence(part, desk.open_all(consent), [consent.grants[1].evidence, b"other"], federation.registry)


def test_evidence_is_needed_only_where_the_registry_asks_for_it(desk, federation, refused):
    consent = federation.issue()
    claims = tuple(
        ClaimTerms(terms.claim, terms.assurance, evidence=terms.claim != HUKOU)
        for terms in federation.registry.document.claims
    )
    relaxed = federation.changed(lambda document: msgspec.structs.replace(document, claims=claims)).registry
    grants = desk.open_all(consent)
    require_evidence(desk.part([desk.check(consent, HUKOU)]), grants, [], relaxed)
    both = desk.part([desk.check(consent, HUKOU), desk.check(consent, "identity.valid@1", check_id="b")])
    with refused(Reason.EVIDENCE_MISSING):
        require_evidence(both, grants, [], relaxed)


def test_evidence_under_an_issuer_that_left_the_registry_is_refused(desk, federation, refused):
    consent = federation.issue()
    grants = desk.open_all(consent)
    without = federation.changed(
        lambda document: msgspec.structs.replace(
            document, parties=tuple(party for party in document.parties if party.id != ISSUER)
        )
    ).registry
    with refused(Reason.GRANT_INVALID):
        require_evidence(desk.part([desk.check(consent, HUKOU)]), grants, [consent.grants[0].evidence], without)


# -- the assertion itself -----------------------------------------------------------------------------------

CHALLENGE = bytes(range(32))


@pytest.fixture
def passkey(federation):
    return federation.authenticator(GUARDIAN)


def judge(passkey, assertion, public_key=None):
    verify_assertion(
        assertion,
        public_key=public_key or passkey.public_key,
        challenge=CHALLENGE,
        rp_id=RP_ID,
        origins=(ORIGIN,),
    )


def signed_anew(passkey, assertion, client_data=None, authenticator_data=None):
    """The assertion with other data, signed by the passkey itself: only the rules can refuse it."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    client = client_data if client_data is not None else assertion.client_data_json
    data = authenticator_data if authenticator_data is not None else assertion.authenticator_data
    signature = passkey.key.sign(data + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
    return Assertion(assertion.credential_id, data, client, signature)


def test_client_data_of_another_kind_is_refused_even_if_signed(passkey, refused):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    judge(passkey, assertion)
    client = json.loads(assertion.client_data_json)
    bad = [
        json.dumps({**client, "type": "webauthn.create"}),
        json.dumps({**client, "origin": "https://localhost.evil.test"}),
        json.dumps({**client, "origin": [ORIGIN]}),
        json.dumps({**client, "crossOrigin": True}),
        json.dumps({**client, "crossOrigin": "true"}),
        json.dumps({**client, "challenge": 5}),
        json.dumps({**client, "challenge": client["challenge"][:-1]}),
        json.dumps(client)[:-1] + ', "type": "webauthn.get"}',
        json.dumps({**client, "padding": "x" * 2_000}),
        "[]",
        "",
        "{",
    ]
    for text in bad:
        with refused(Reason.EVIDENCE_INVALID):
            judge(passkey, signed_anew(passkey, assertion, client_data=text.encode()))
    with refused(Reason.EVIDENCE_INVALID):
        judge(passkey, signed_anew(passkey, assertion, client_data=b"\xff" * 20))


def test_authenticator_data_without_the_person_is_refused_even_if_signed(passkey, refused):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    for flags in (0x00, 0x01, 0x04, 0x10 | 0x05):
        data = assertion.authenticator_data[:32] + bytes([flags]) + bytes(4)
        with refused(Reason.EVIDENCE_INVALID):
            judge(passkey, signed_anew(passkey, assertion, authenticator_data=data))
    for data in (b"", assertion.authenticator_data[:36], bytes(600)):
        with refused(Reason.EVIDENCE_INVALID):
            judge(passkey, signed_anew(passkey, assertion, authenticator_data=data))


def accepted(passkey, assertion):
    try:
        judge(passkey, assertion)
    except ForgedError:
        return False
    return True


def accepted_by_py_webauthn(passkey, assertion):
    try:
        verify_authentication_response(
            credential=AuthenticationCredential(
                id=b64url(assertion.credential_id),
                raw_id=assertion.credential_id,
                response=AuthenticatorAssertionResponse(
                    client_data_json=assertion.client_data_json,
                    authenticator_data=assertion.authenticator_data,
                    signature=assertion.signature,
                ),
            ),
            expected_challenge=CHALLENGE,
            expected_rp_id=RP_ID,
            expected_origin=[ORIGIN],
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except WebAuthnException:
        return False
    return True


def test_authenticator_data_is_judged_as_py_webauthn_does(passkey):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    attested = bytes(16) + b"\x00\x02id" + passkey.public_key
    verdicts = set()
    for flags in range(256):
        for rest in (
            b"",
            b"\x00",
            b"\xa0",
            cbor2.dumps({"credProtect": 2}),
            attested,
            attested + b"\xa0",
            attested[:-1],
        ):
            data = assertion.authenticator_data[:32] + bytes([flags]) + bytes(4) + rest
            bent = signed_anew(passkey, assertion, authenticator_data=data)
            verdict = accepted(passkey, bent)
            assert verdict == accepted_by_py_webauthn(passkey, bent), (flags, rest)
            verdicts.add(verdict)
    assert verdicts == {True, False}


def test_client_data_that_is_accepted_py_webauthn_accepts_too(passkey):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    client = json.loads(assertion.client_data_json)
    texts = [
        assertion.client_data_json,
        *(json.dumps({key: client[key] for key in client if key != left_out}).encode() for left_out in client),
        *(
            json.dumps({**client, "tokenBinding": binding}).encode()
            for binding in (
                "unused",
                {},
                {"status": []},
                *({"status": word} for word in ("present", "supported", "none")),
            )
        ),
        *(json.dumps({**client, "challenge": client["challenge"] + more}).encode() for more in ("=", "A", "\n")),
        json.dumps({**client, "other": [1, 2.5, None]}).encode(),
        b" " + assertion.client_data_json,
    ]
    verdicts = [accepted(passkey, signed_anew(passkey, assertion, client_data=text)) for text in texts]
    assert sum(verdicts) == 7, verdicts  # as it is, spaced, more names, no crossOrigin, three bindings
    for text, verdict in zip(texts, verdicts, strict=True):
        assert not verdict or accepted_by_py_webauthn(passkey, signed_anew(passkey, assertion, client_data=text))


@pytest.mark.parametrize("field", ["authenticator_data", "client_data_json", "signature"])
def test_each_flipped_bit_is_refused(passkey, field):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    data = getattr(assertion, field)
    for bit in range(len(data) * 8):
        bent = bytearray(data)
        bent[bit // 8] ^= 1 << bit % 8
        assert not accepted(passkey, replace(assertion, **{field: bytes(bent)}))


def test_growing_signature_counter_is_accepted(passkey):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    judge(passkey, signed_anew(passkey, assertion, authenticator_data=assertion.authenticator_data[:33] + b"\0\0\0\7"))


def test_signature_of_another_challenge_or_none_is_refused(passkey, refused):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    other = passkey.approve(bytes(32), rp_id=RP_ID, origin=ORIGIN)
    for bad in (other, replace(assertion, signature=other.signature), replace(assertion, signature=b"\x30\x00")):
        with refused(Reason.EVIDENCE_INVALID):
            judge(passkey, bad)


def test_key_of_another_kind_is_refused(passkey, refused):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    cose = cbor2.loads(passkey.public_key)
    point = b"\x04" + cose[-2] + cose[-3]
    others = [
        point,
        b"",
        b"\xff",
        passkey.public_key + b"\x00",
        cbor2.dumps({**cose, 3: -257}),
        cbor2.dumps({1: 1, 3: -8, -1: 6, -2: bytes(32)}),
        cbor2.dumps(dict(reversed(cose.items()))),
    ]
    for public_key in others:
        with refused(Reason.EVIDENCE_INVALID):
            check_cose_key(public_key)
    off_curve = passkey.public_key[:-1] + bytes([passkey.public_key[-1] ^ 1])
    with refused(Reason.EVIDENCE_INVALID):
        judge(passkey, assertion, off_curve)


def test_evidence_with_unknown_fields_or_a_short_salt_is_refused(federation, refused):
    evidence = federation.issue().grants[0].evidence
    with refused(Reason.EVIDENCE_INVALID):
        read_evidence(evidence + b"\x78\x01")
    with refused(Reason.EVIDENCE_INVALID):
        read_evidence(b"")
    with refused(Reason.MESSAGE_MALFORMED):
        commit_key(bytes(31), b"key")


def test_assertion_travels_as_browsers_write_it(passkey, refused):
    assertion = passkey.approve(CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
    value = assertion_to_json(assertion)
    assert assertion_from_json({**value, "authenticatorAttachment": "platform"}) == assertion
    for bad in ({}, [], None, {**value, "type": "password"}, {**value, "id": "="}, {**value, "response": {}}):
        with refused(Reason.MESSAGE_MALFORMED):
            assertion_from_json(bad)
    assert passkey.credential_id not in repr(assertion).encode()


def test_derived_passkeys_differ_by_account_and_secret(federation):
    one, other = federation.authenticator(GUARDIAN), federation.authenticator(CO_RESIDENT)
    assert one.public_key != other.public_key
    assert one.credential_id != other.credential_id
    assert one.public_key == federation.authenticator(GUARDIAN).public_key
    assert derive_authenticator(bytes(32), GUARDIAN.id_number).public_key != one.public_key


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=120))
def test_any_assertion_is_refused_as_a_domain_error(key, data, client, signature):
    with pytest.raises(ForgedError):
        verify_assertion(
            Assertion(b"id", data, client, signature),
            public_key=key,
            challenge=CHALLENGE,
            rp_id=RP_ID,
            origins=(ORIGIN,),
        )
