"""Attacks on a single presented grant."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.grant import EXTRA_HEADER, TYP, evidence_digest, read_payload, require_one_encoding
from consent.verification import open_grant
from consent.verified import GenuineGrants
from gateway.protocol.claims import Role
from gateway.protocol.codec import b64url
from gateway.protocol.errors import HeyanError
from gateway.protocol.jws import read_jws, sign_jws
from gateway.protocol.keys import Algorithm, SigningKey, raw_public
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE, MAX_GRANT_LIFETIME
from gateway.protocol.presentation import Presentation
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from tests.consent.tokens import compact, segments
from tests.federation import (
    BIG_FAMILY,
    DAY,
    FAMILY,
    GATEWAY,
    ISSUER,
    OTHER_GATEWAY,
    OTHER_ISSUER,
    OTHER_REQUESTER,
    REQUESTER,
    Federation,
    ed25519_key,
    edit_party,
    key_terms,
)

REGISTRY = Federation.create(1_800_000_000.0).registry
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def test_genuine_grant_is_opened(desk, federation):
    consent = federation.issue().grants[0]
    grant = desk.open(consent)
    assert grant.digest == consent.digest == consent.presentation.digest
    assert (grant.issuer, grant.audience, grant.actor) == (ISSUER, REQUESTER, Role.GUARDIAN)
    assert set(grant.subjects) == set(FAMILY)
    assert sorted(grant.authorizations) == list(range(len(consent.disclosures)))


def test_grant_signed_with_ed25519_is_opened(desk, federation, now):
    key = ed25519_key(b"issuer", "ed", "ed-1")
    terms = key_terms(key, KeyUse.GRANT, now)
    old = federation.registry.party(ISSUER).keys
    desk.federation = federation.changed(lambda document: edit_party(document, ISSUER, keys=(*old, terms)))
    consent = desk.federation.issue(key=key).grants[0]
    assert segments(consent.token)[0]["alg"] == "Ed25519"
    assert desk.open(consent).issuer == ISSUER


# -- forged and altered -------------------------------------------------------------------------------------


def test_grant_forged_with_a_foreign_key_is_refused(desk, federation, refused):
    thief = SigningKey("key-1", federation.signing_keys[REQUESTER].private)
    with refused(Reason.GRANT_INVALID):
        desk.open(federation.issue(key=thief).grants[0])


def test_grant_of_a_kid_that_the_registry_does_not_know_is_refused(desk, federation, refused):
    unknown = SigningKey("key-2", federation.signing_keys[ISSUER].private)
    with refused(Reason.GRANT_INVALID):
        desk.open(federation.issue(key=unknown).grants[0])


def test_grant_of_one_issuer_under_the_name_of_another_is_refused(desk, federation, refused):
    with refused(Reason.GRANT_INVALID):
        desk.open(federation.issue(issuer=ISSUER, key=federation.signing_keys[OTHER_ISSUER]).grants[0])


def test_grant_by_a_party_that_is_no_issuer_is_refused(desk, federation, now, refused):
    key = federation.signing_keys[REQUESTER]
    terms = key_terms(SigningKey("grant-1", key.private), KeyUse.GRANT, now)
    old = federation.registry.party(REQUESTER).keys
    desk.federation = federation.changed(lambda document: edit_party(document, REQUESTER, keys=(*old, terms)))
    signer = SigningKey("grant-1", key.private)
    with refused(Reason.GRANT_INVALID):
        desk.open(desk.federation.issue(issuer=REQUESTER, key=signer).grants[0])


@pytest.mark.parametrize("field", ["jti", "exp", "nbf", "sub", "txn", "acr", "subjects", "authorization_details"])
def test_altered_payload_is_refused(desk, federation, field, refused):
    token = federation.issue().grants[0].token
    header, payload, signature = segments(token)
    value = json.loads(payload)
    value[field] = json.loads(
        segments(federation.issue(BIG_FAMILY, expires=int(federation.now) + DAY).grants[1].token)[1]
    )[field]
    if field in {"nbf", "acr"}:
        value[field] = {"nbf": 0, "acr": "low"}[field]
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(compact(header, json.dumps(value).encode(), signature), ()))


def test_swapped_evidence_digest_in_the_header_is_refused(desk, federation, refused):
    header, payload, signature = segments(federation.issue().grants[0].token)
    header["evidence"] = b64url(bytes(32))
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(compact(header, payload, signature), ()))


def test_mirrored_signature_is_refused_so_that_uses_cannot_be_doubled(desk, federation, refused):
    token = federation.issue().grants[0].token
    signature = segments(token)[2]
    s = int.from_bytes(signature[32:], "big")
    assert s <= P256_ORDER // 2
    mirrored = signature[:32] + (P256_ORDER - s).to_bytes(32, "big")
    signed, _, _ = token.rpartition(".")
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(f"{signed}.{b64url(mirrored)}", ()))


def test_every_signed_grant_has_the_lower_half(federation):
    for _ in range(20):
        require_one_encoding(federation.issue().grants[0].token, Algorithm.ES256)


def test_signature_of_another_length_is_refused(desk, federation, refused):
    header, payload, signature = segments(federation.issue().grants[0].token)
    for other in (signature[:-1], signature + b"\x00", b""):
        with refused(Reason.GRANT_INVALID):
            desk.open(Presentation(compact(header, payload, other), ()))
        with refused(Reason.GRANT_INVALID):
            require_one_encoding(compact(header, payload, other), Algorithm.ES256)


def test_other_text_of_the_same_bytes_is_refused(desk, federation, refused):
    token = federation.issue().grants[0].token
    for other in (token + "=", token + "\n", " " + token, token[:-1] + ("R" if token[-1] != "R" else "S"), token + "."):
        with refused(Reason.GRANT_INVALID):
            desk.open(Presentation(other, ()))


# -- algorithm confusion and header parameters --------------------------------------------------------------


def test_alg_none_is_refused(desk, federation, refused):
    header, payload, _ = segments(federation.issue().grants[0].token)
    for alg in ("none", "None", "NONE", ""):
        with refused(Reason.GRANT_INVALID):
            desk.open(Presentation(compact({**header, "alg": alg}, payload, b""), ()))


def test_hs256_under_the_public_key_is_refused(desk, federation, refused):
    header, payload, _ = segments(federation.issue().grants[0].token)
    data = json.dumps({**header, "alg": "HS256"}).encode()
    mac = hmac.digest(
        raw_public(federation.signing_keys[ISSUER].private), f"{b64url(data)}.{b64url(payload)}".encode(), sha256
    )
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(compact(data, payload, mac), ()))


def test_ed25519_header_on_an_es256_key_is_refused(desk, federation, refused):
    header, payload, signature = segments(federation.issue().grants[0].token)
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(compact({**header, "alg": "Ed25519"}, payload, signature), ()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crit", ["exp"]),
        ("jku", "https://evil.test/keys"),
        ("jwk", {"kty": "EC"}),
        ("x5c", ["MII"]),
        ("x5u", "https://evil.test"),
        ("b64", False),
        ("cty", "json"),
    ],
)
def test_header_parameter_that_is_not_listed_is_refused_even_if_signed(desk, federation, name, value, refused):
    consent = federation.issue().grants[0]
    header, payload, _ = segments(consent.token)
    key = federation.signing_keys[ISSUER]
    data = json.dumps({**header, name: value}).encode()
    signature = _raw_sign(key, f"{b64url(data)}.{b64url(payload)}".encode())
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(compact(data, payload, signature), ()))


def test_missing_evidence_parameter_is_refused(desk, federation, refused):
    _, payload, _ = segments(federation.issue().grants[0].token)
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(sign_jws(payload, TYP, federation.signing_keys[ISSUER]), ()))


def test_evidence_parameter_of_another_length_is_refused(desk, federation, refused):
    _, payload, _ = segments(federation.issue().grants[0].token)
    token = sign_jws(payload, TYP, federation.signing_keys[ISSUER], {"evidence": b64url(bytes(31))})
    with refused(Reason.MESSAGE_MALFORMED):
        evidence_digest(read_jws(token, TYP, 10_000, EXTRA_HEADER)[0])
    for _ in range(8):  # also where the signature is in its one form, as about half of these are
        token = sign_jws(payload, TYP, federation.signing_keys[ISSUER], {"evidence": b64url(bytes(31))})
        with refused(Reason.GRANT_INVALID):
            desk.open(Presentation(token, ()))


def test_token_of_another_type_is_refused(desk, federation, refused):
    consent = federation.issue().grants[0]
    _, payload, _ = segments(consent.token)
    extra = {"evidence": segments(consent.token)[0]["evidence"]}
    for typ in ("JWT", "heyan-revocation+jwt", "statuslist+jwt"):
        with refused(Reason.GRANT_INVALID):
            desk.open(Presentation(sign_jws(payload, typ, federation.signing_keys[ISSUER], extra), ()))


def test_json_name_that_stands_twice_is_refused_even_if_signed(desk, federation, refused):
    consent = federation.issue().grants[0]
    header, payload, _ = segments(consent.token)
    key = federation.signing_keys[ISSUER]
    for data in (
        payload.replace(b'"aud":', b'"aud":"' + REQUESTER.encode() + b'","aud":', 1),
        payload.replace(b'"act":{', b'"act":{"sub":"' + b"A" * 43 + b'",', 1),
    ):
        token = sign_jws(data, TYP, key, {"evidence": header["evidence"]})
        with refused(Reason.GRANT_INVALID):
            desk.open(Presentation(token, ()))
    head = json.dumps(header).encode()[:-1] + b', "alg": "ES256"}'
    signature = _raw_sign(key, f"{b64url(head)}.{b64url(payload)}".encode())
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation(compact(head, payload, signature), ()))


# -- audience -----------------------------------------------------------------------------------------------


def test_grant_for_another_requester_is_refused_as_that(desk, federation, refused):
    with refused(Reason.GRANT_OTHER_REQUESTER):
        desk.open(federation.issue(requester=OTHER_REQUESTER).grants[0])


def test_of_a_grant_for_another_requester_nothing_else_is_computed(desk, federation, refused):
    """Forged, expired, of an unknown issuer, with stray disclosures: the reason stays the same."""
    stolen = federation.issue(requester=OTHER_REQUESTER, expires=int(federation.now) - DAY, issued_at=1).grants[0]
    header, payload, signature = segments(stolen.token)
    unknown = json.dumps({**json.loads(payload), "iss": "spiffe://heyan/issuer/nobody"}).encode()

    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(f"the registry was asked for {name}")

    for token in (
        stolen.token,
        compact({"alg": "none"}, payload, b""),
        compact(header, unknown, signature),
        f"{stolen.token}.x",
    ):
        with refused(Reason.GRANT_OTHER_REQUESTER):
            desk.open(Presentation(token, ("stray",)), registry=Untouchable())


@pytest.mark.parametrize("audience", [[REQUESTER], None, REQUESTER + " ", REQUESTER.upper(), {}, 1])
def test_audience_that_is_not_exactly_the_requester_is_refused(desk, federation, audience, refused):
    consent = desk.resign(federation.issue().grants[0], lambda payload: payload.update(aud=audience))
    with refused(Reason.GRANT_OTHER_REQUESTER):
        desk.open(consent)


# -- times --------------------------------------------------------------------------------------------------


def test_expired_grant_is_refused(desk, federation, now, refused):
    consent = federation.issue(expires=int(now) + 10).grants[0]
    desk.now = now + 10 + EXPIRY_TOLERANCE
    desk.open(consent)
    desk.now += 0.001
    with refused(Reason.GRANT_EXPIRED):
        desk.open(consent)


def test_early_grant_is_refused(desk, federation, now, refused):
    begin = int(now) + 100
    for consent in (
        federation.issue(not_before=begin).grants[0],
        federation.issue(issued_at=begin, not_before=int(now)).grants[0],
    ):
        desk.now = begin - EARLY_TOLERANCE
        desk.open(consent)
        desk.now -= 0.001
        with refused(Reason.GRANT_NOT_YET_VALID):
            desk.open(consent)


def test_grant_that_lives_too_long_is_refused(desk, federation, now, refused):
    longest = int(now) + int(MAX_GRANT_LIFETIME)
    desk.open(federation.issue(expires=longest).grants[0])
    with refused(Reason.GRANT_INVALID):
        desk.open(federation.issue(expires=longest + 1).grants[0])
    with refused(Reason.GRANT_INVALID):
        desk.open(federation.issue(expires=longest, issued_at=int(now) - 1).grants[0])


def test_grant_that_ends_before_it_begins_is_refused(desk, federation, now, refused):
    with refused(Reason.GRANT_INVALID):
        desk.open(federation.issue(expires=int(now)).grants[0])


@pytest.mark.parametrize("value", [1e400, -1, 10**30, "1800000000", True, None, 1.5])
def test_time_that_is_no_time_is_refused(desk, federation, value, refused):
    with refused(Reason.GRANT_INVALID):
        desk.open(desk.resign(federation.issue().grants[0], lambda payload: payload.update(exp=value)))


# -- keys over time, and the memory of signatures -----------------------------------------------------------


def test_grant_of_a_compromised_key_is_refused_also_if_its_signature_is_remembered(desk, federation, now, refused):
    consent = federation.issue().grants[0]
    memory = GenuineGrants()
    desk.open(consent, opened=memory)
    key = federation.signing_keys[ISSUER]
    voided = key_terms(key, KeyUse.GRANT, now, compromised=int(now) - 1)
    desk.federation = federation.changed(lambda document: edit_party(document, ISSUER, keys=(voided,)))
    for opened in (None, memory):
        with refused(Reason.GRANT_INVALID):
            desk.open(consent, opened=opened)


def test_key_replaced_under_the_same_kid_voids_the_memory(desk, federation, now, refused):
    consent = federation.issue().grants[0]
    memory = GenuineGrants()
    desk.open(consent, opened=memory)
    other = SigningKey("key-1", federation.signing_keys[OTHER_ISSUER].private)
    terms = key_terms(other, KeyUse.GRANT, now)
    desk.federation = federation.changed(lambda document: edit_party(document, ISSUER, keys=(terms,)))
    with refused(Reason.GRANT_INVALID):
        desk.open(consent, opened=memory)


def test_remembered_signature_spares_no_other_check(desk, federation, now, refused):
    consent = federation.issue(expires=int(now) + 10).grants[0]
    memory = GenuineGrants()
    assert desk.open(consent, opened=memory) == desk.open(consent, opened=memory)
    with refused(Reason.GRANT_OTHER_REQUESTER):
        desk.open(consent, opened=memory, requester=OTHER_REQUESTER)
    with refused(Reason.GRANT_OTHER_GATEWAY):
        desk.open(consent, opened=memory, gateway=OTHER_GATEWAY)
    with refused(Reason.GRANT_INVALID):
        desk.open(replace_disclosures(consent, (*consent.disclosures, consent.disclosures[0])), opened=memory)
    with refused(Reason.GRANT_EXPIRED):
        desk.open(consent, opened=memory, now=now + DAY)


def test_memory_of_signatures_is_bounded(desk, federation):
    memory = GenuineGrants(capacity=2)
    grants = [federation.issue().grants[0] for _ in range(3)]
    desk.open(grants[0], opened=memory)
    desk.open(grants[1], opened=memory)
    desk.open(grants[0], opened=memory)
    desk.open(grants[2], opened=memory)
    assert [memory.get(grant.digest) is not None for grant in grants] == [True, False, True]


# -- disclosures --------------------------------------------------------------------------------------------


def replace_disclosures(consent, disclosures):
    return Presentation(consent.token, tuple(disclosures))


def test_disclosure_that_is_not_of_the_grant_is_refused(desk, federation, refused):
    one, other = (federation.issue().grants[0] for _ in range(2))
    with refused(Reason.GRANT_INVALID):
        desk.open(replace_disclosures(one, other.disclosures[:1]))
    with refused(Reason.GRANT_INVALID):
        desk.open(replace_disclosures(one, (*one.disclosures, "e30")))


def test_disclosure_shown_twice_is_refused(desk, federation, refused):
    consent = federation.issue().grants[0]
    with refused(Reason.GRANT_INVALID):
        desk.open(replace_disclosures(consent, consent.disclosures[:1] * 2))


def test_altered_disclosure_is_refused(desk, federation, refused):
    consent = federation.issue().grants[0]
    text = consent.disclosures[0]
    for other in (text + "=", text[:-1], text + "A", ""):
        with refused(Reason.GRANT_INVALID):
            desk.open(replace_disclosures(consent, (other,)))


def test_grant_that_names_one_digest_twice_is_refused(desk, federation, refused):
    def repeat(payload):
        payload["authorization_details"] = payload["authorization_details"][:1] * 2

    with refused(Reason.GRANT_INVALID):
        desk.open(desk.resign(federation.issue().grants[0], repeat))


def test_too_many_disclosures_are_refused(desk, federation, refused):
    consent = federation.issue().grants[0]
    with refused(Reason.GRANT_INVALID):
        desk.open(replace_disclosures(consent, [consent.disclosures[0]] * 33))


def test_grant_for_another_gateway_is_refused(desk, federation, refused):
    consent = federation.issue(gateway=OTHER_GATEWAY).grants[0]
    with refused(Reason.GRANT_OTHER_GATEWAY):
        desk.open(consent)
    assert desk.open(Presentation(consent.token, ())).authorizations == {}


# -- shape --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        lambda payload: payload.update(extra=1),
        lambda payload: payload.pop("cnf"),
        lambda payload: payload.pop("txn"),
        lambda payload: payload.update(jti="short"),
        lambda payload: payload.update(_sd_alg="sha-512"),
        lambda payload: payload.update(acr="supreme"),
        lambda payload: payload.update(subjects={"child": "A" * 43}),
        lambda payload: payload["subjects"].update(co_resident="A" * 43),
        lambda payload: payload["subjects"].update(teacher="A" * 43),
        lambda payload: payload["subjects"].update(child="A" * 42),
        lambda payload: payload["subjects"].update(child="A" * 42 + "B"),
        lambda payload: payload.update(authorization_details=[]),
        lambda payload: payload["authorization_details"].append({"type": "heyan-check"}),
        lambda payload: payload["status"]["status_list"].update(idx=-1),
        lambda payload: payload["act"].update(act={"sub": "A" * 43}),
        lambda payload: payload.update(iss="spiffe://heyan/issuer/nobody"),
        lambda payload: payload.update(iss="\ud800"),
        lambda payload: payload.update(legal_basis="statutory_duty"),
    ],
)
def test_grant_of_another_shape_is_refused_even_if_signed(desk, federation, edit, refused):
    with refused(Reason.GRANT_INVALID):
        desk.open(desk.resign(federation.issue().grants[0], edit))


def test_legal_basis_other_than_consent_counts_only_where_the_registry_allows_it(desk, federation):
    consent = federation.issue(legal_basis="statutory_duty").grants[0]
    terms = msgspec.structs.replace(
        federation.registry.party(REQUESTER).requester, legal_bases=("consent", "statutory_duty")
    )
    desk.federation = federation.changed(lambda document: edit_party(document, REQUESTER, requester=terms))
    assert desk.open(consent).legal_basis == "statutory_duty"


def test_oversized_grant_is_refused(desk, refused):
    with refused(Reason.GRANT_INVALID):
        desk.open(Presentation("a" * 20_000, ()))


def test_payload_over_a_bound_is_not_written(refused):
    with refused(Reason.MESSAGE_MALFORMED):
        read_payload(b"{}")
    with refused(Reason.MESSAGE_MALFORMED):
        read_payload(b"[]")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_.-]{0,80}"))
def test_any_text_is_refused_as_a_domain_error(text):
    with pytest.raises(HeyanError):
        open_grant(
            Presentation(text, (text,)), requester=REQUESTER, gateway=GATEWAY, registry=REGISTRY, now=1_800_000_000.0
        )


# -- privacy ------------------------------------------------------------------------------------------------


def test_grants_of_one_person_for_two_requesters_share_nothing(federation):
    one = federation.issue().grants[0].claims
    two = federation.issue(requester=OTHER_REQUESTER).grants[0].claims
    assert one.sub != two.sub
    assert one.act.sub != two.act.sub
    assert one.cnf != two.cnf
    assert not set(one.subjects.values()) & set(two.subjects.values())
    assert not set(one.disclosure_digests) & set(two.disclosure_digests)
    again = federation.issue().grants[0].claims
    assert one.sub == again.sub
    assert one.cnf != again.cnf


def test_no_plain_subject_stands_in_a_grant(federation):
    for consent in federation.issue(BIG_FAMILY).grants:
        _, payload, _ = segments(consent.token)
        text = payload.decode() + "".join(consent.disclosures)
        for subject in BIG_FAMILY.values():
            assert subject.id_number not in text
            assert subject.name not in text
        assert all(subject.id_number not in repr(consent) for subject in BIG_FAMILY.values())


def _raw_sign(key, data):
    r, s = decode_dss_signature(key.private.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")
