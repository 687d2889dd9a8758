"""The registry: what `adopt` refuses, which key counts when, and which node answers where."""

from hashlib import sha256

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.protocol.claims import CLAIMS
from gateway.protocol.codec import b64url
from gateway.protocol.digests import Kind
from gateway.protocol.errors import (
    ForgedError,
    MalformedError,
    NotCurrentError,
    NotGrantedError,
    UnknownPeerError,
)
from gateway.protocol.identities import PartyRole
from gateway.protocol.jws import sign_jws
from gateway.protocol.keys import Algorithm, SigningKey, raw_public
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import MAX_REGISTRY, TYP, adopt, open_registry, read_document
from gateway.protocol.registry_terms import Assurance, Coverage, Document, KeyUse, Suite
from tests.federation import AUDITOR, GATEWAY, ISSUER, OTHER_GATEWAY, REQUESTER, edit_party, key_terms
from tests.protocol.casework import EDUCATION, FEDERATION, LAND, NOW, OPERATOR, POLICE, refused

REGISTRY = FEDERATION.registry
DOCUMENT = REGISTRY.document
HUKOU, HOME = "hukou.child_registered@1", "property.owns_home@1"


def signed(document, key=FEDERATION.operator):
    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return sign_jws(data, TYP, key)


def version(number, document=DOCUMENT, **changes):
    return msgspec.structs.replace(document, version=number, **changes)


def registry_with(party, **changes):
    return open_registry(signed(edit_party(DOCUMENT, party, **changes)), OPERATOR)


# -- adopting -----------------------------------------------------------------------------------------------


def test_first_registry_is_adopted():
    adopted = adopt(None, REGISTRY.token, OPERATOR, NOW)
    assert adopted.document == DOCUMENT
    assert adopted.digest == sha256(REGISTRY.token.encode()).digest()


def test_same_registry_again_is_the_held_one():
    assert adopt(REGISTRY, REGISTRY.token, OPERATOR, NOW) is REGISTRY


def test_newer_registry_is_adopted():
    assert adopt(REGISTRY, signed(version(7)), OPERATOR, NOW).version == 7


def test_rolled_back_registry_is_refused():
    held = open_registry(signed(version(3)), OPERATOR)
    for older in (REGISTRY.token, signed(version(2))):
        with refused(NotCurrentError, Reason.REGISTRY_ROLLED_BACK):
            adopt(held, older, OPERATOR, NOW)


def test_forked_registry_of_the_same_version_is_refused():
    forked = signed(version(1, federation="other.test"))
    with refused(ForgedError, Reason.REGISTRY_FORKED):
        adopt(REGISTRY, forked, OPERATOR, NOW)


def test_same_content_in_other_bytes_is_a_fork():
    spaced = signed(b" " + msgspec.json.encode(DOCUMENT))
    with refused(ForgedError, Reason.REGISTRY_FORKED):
        adopt(REGISTRY, spaced, OPERATOR, NOW)


def test_expired_registry_stops_new_work_and_judges_old():
    expired = adopt(None, REGISTRY.token, OPERATOR, DOCUMENT.expires + 1000.0)
    expired.require_current(DOCUMENT.expires + 5.0)
    with refused(NotCurrentError, Reason.REGISTRY_EXPIRED):
        expired.require_current(DOCUMENT.expires + 5.1)
    assert expired.key(REQUESTER, KeyUse.QUERY, "key-1", NOW)


def test_unsigned_registry_is_refused():
    unsigned = REGISTRY.token.rpartition(".")[0] + "."
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        adopt(None, unsigned, OPERATOR, NOW)


def test_registry_by_another_key_is_refused():
    thief = FEDERATION.signing_keys[GATEWAY]
    renamed = SigningKey("another name", FEDERATION.operator.private)
    for key in (thief, SigningKey(OPERATOR.key_id, thief.private), renamed):
        with refused(ForgedError, Reason.REGISTRY_INVALID):
            adopt(REGISTRY, signed(version(2), key), OPERATOR, NOW)


def test_registry_by_a_key_of_another_algorithm_is_refused():
    key = SigningKey(OPERATOR.key_id, ec.derive_private_key(7, ec.SECP256R1()))
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        adopt(None, signed(DOCUMENT, key), OPERATOR, NOW)


def test_registry_from_the_future_is_refused():
    token = signed(version(2, issued=int(NOW) + 11))
    with refused(NotCurrentError, Reason.REGISTRY_INVALID):
        adopt(REGISTRY, token, OPERATOR, NOW)
    assert adopt(REGISTRY, token, OPERATOR, NOW + 1).version == 2
    assert open_registry(token, OPERATOR).version == 2


def test_another_kind_of_token_is_refused():
    token = sign_jws(msgspec.json.encode(DOCUMENT), "heyan-grant+jwt", FEDERATION.operator)
    with refused(MalformedError, Reason.REGISTRY_INVALID):
        adopt(None, token, OPERATOR, NOW)


def test_registry_over_its_limit_is_refused():
    with refused(MalformedError, Reason.REGISTRY_INVALID):
        adopt(None, "A" * (MAX_REGISTRY + 1), OPERATOR, NOW)


# -- keys at a time -----------------------------------------------------------------------------------------

FIRST, LAST = int(NOW) - 100, int(NOW) + 100


def with_key(**changes):
    key = FEDERATION.signing_keys[REQUESTER]
    terms = msgspec.structs.replace(key_terms(key, KeyUse.QUERY, NOW), not_before=FIRST, not_after=LAST, **changes)
    return registry_with(REQUESTER, keys=(terms,))


def counts(registry, at, recorded=None):
    try:
        registry.key(REQUESTER, KeyUse.QUERY, "key-1", at, recorded=recorded)
    except ForgedError as error:
        return error.reason
    return True


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (FIRST - 0.1, Reason.KEY_UNKNOWN),
        (FIRST, True),
        (NOW, True),
        (LAST, True),
        (LAST + 0.1, Reason.KEY_UNKNOWN),
    ],
)
def test_key_counts_inside_its_validity(at, expected):
    assert counts(with_key(), at) == expected


@pytest.mark.parametrize(
    ("at", "recorded", "expected"),
    [
        (NOW - 1, None, True),
        (NOW, None, Reason.KEY_UNKNOWN),
        (NOW - 1, NOW - 0.5, True),
        (NOW - 1, NOW, Reason.KEY_UNKNOWN),
        (NOW - 1, NOW + 500, Reason.KEY_UNKNOWN),
        (NOW + 1, NOW - 1, Reason.KEY_UNKNOWN),
    ],
    ids=["before", "from then on", "recorded before", "backdated", "backdated, long after", "dated ahead"],
)
def test_compromised_key_counts_for_what_was_known_before(at, recorded, expected):
    assert counts(with_key(compromised=int(NOW)), at, recorded) == expected


def test_record_after_the_validity_ended_takes_nothing_from_a_sound_key():
    assert counts(with_key(), LAST, LAST + 1000) is True


@pytest.mark.parametrize(
    ("party", "use", "kid"),
    [
        (REQUESTER, KeyUse.QUERY, "key-2"),
        (REQUESTER, KeyUse.ANSWER, "key-1"),
        (POLICE, KeyUse.QUERY, "key-1"),
        ("spiffe://heyan/requester/nobody", KeyUse.QUERY, "key-1"),
    ],
)
def test_key_of_another_name_use_or_party_is_unknown(party, use, kid):
    with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
        REGISTRY.key(party, use, kid, NOW, Reason.QUERY_SIGNATURE_INVALID)


def test_keys_rotate_without_a_gap():
    old, new = (SigningKey(kid, ec.derive_private_key(number, ec.SECP256R1())) for kid, number in (("a", 8), ("b", 9)))
    terms = (
        msgspec.structs.replace(key_terms(old, KeyUse.QUERY, NOW), not_after=int(NOW) + 10),
        msgspec.structs.replace(key_terms(new, KeyUse.QUERY, NOW), not_before=int(NOW)),
    )
    registry = registry_with(REQUESTER, keys=terms)
    at = {NOW - 1: ["a"], NOW: ["a", "b"], NOW + 10: ["a", "b"], NOW + 11: ["b"]}
    assert {time: [key.key_id for key in registry.keys(REQUESTER, KeyUse.QUERY, time)] for time in at} == at
    registry.key(REQUESTER, KeyUse.QUERY, "b", NOW).verify(new.sign(Kind.QUERY, b"x"), Kind.QUERY, b"x")


def test_log_keys_are_the_gateways_own():
    assert [key.public for key in REGISTRY.log_keys(GATEWAY, NOW)] == [
        raw_public(FEDERATION.signing_keys[GATEWAY].private)
    ]
    assert REGISTRY.log_keys(REQUESTER, NOW) == ()


def test_later_log_keys_may_prove_an_earlier_leaf_and_earlier_ones_no_later_leaf():
    old, new = FEDERATION.signing_keys[GATEWAY], FEDERATION.signing_keys[OTHER_GATEWAY]
    terms = (
        msgspec.structs.replace(key_terms(old, KeyUse.LOG, NOW), not_after=int(NOW) + 10),
        msgspec.structs.replace(key_terms(new, KeyUse.LOG, NOW), kid="log-2", not_before=int(NOW) + 5),
    )
    registry = registry_with(GATEWAY, keys=terms)
    at = {NOW: ["log-1", "log-2"], NOW + 11: ["log-2"]}
    assert {time: [key.key_id for key in registry.checkpoint_keys(GATEWAY, time)] for time in at} == at
    assert registry.checkpoint_keys(POLICE, NOW) == ()


def test_compromised_log_key_proves_only_what_was_logged_before():
    terms = key_terms(FEDERATION.signing_keys[GATEWAY], KeyUse.LOG, NOW, compromised=int(NOW))
    registry = registry_with(GATEWAY, keys=(terms,))
    assert len(registry.checkpoint_keys(GATEWAY, NOW - 1)) == 1
    assert registry.checkpoint_keys(GATEWAY, NOW) == ()


def test_sealing_keys_are_those_in_force_the_longest_first():
    terms = terms_of(POLICE, "department")
    (key,) = terms.sealing_keys
    later = msgspec.structs.replace(key, kid="seal-2", not_after=key.not_after + 100)
    gone = msgspec.structs.replace(key, kid="seal-0", not_after=int(NOW) - 1)
    early = msgspec.structs.replace(key, kid="seal-3", not_before=int(NOW) + 1)
    changed = msgspec.structs.replace(terms, sealing_keys=(key, later, gone, early))
    registry = registry_with(POLICE, department=changed)
    assert [item.kid for item in registry.sealing_keys(POLICE, NOW)] == ["seal-2", "seal-1"]
    assert registry.sealing_keys(POLICE, key.not_after + 1000.0) == ()


def test_requester_has_no_sealing_keys():
    with refused(UnknownPeerError, Reason.PEER_ROLE_NOT_ALLOWED):
        REGISTRY.sealing_keys(REQUESTER, NOW)


# -- who is who ---------------------------------------------------------------------------------------------


def test_party_is_found_in_its_role_only():
    assert REGISTRY.party_in_role(GATEWAY, PartyRole.GATEWAY).id == GATEWAY
    with refused(UnknownPeerError, Reason.PEER_ROLE_NOT_ALLOWED):
        REGISTRY.party_in_role(GATEWAY, PartyRole.REQUESTER)
    with refused(UnknownPeerError, Reason.PEER_UNKNOWN):
        REGISTRY.party("spiffe://heyan/gateway/nobody")


def test_parties_of_a_role_come_in_the_documents_order():
    assert [party.id for party in REGISTRY.parties(PartyRole.GATEWAY)] == [GATEWAY, OTHER_GATEWAY]
    assert [party.id for party in REGISTRY.parties(PartyRole.AUDITOR)] == [AUDITOR]


def test_claim_that_the_federation_does_not_offer_is_refused():
    kept = tuple(terms for terms in DOCUMENT.claims if terms.claim != HUKOU)
    registry = open_registry(signed(version(1, claims=kept)), OPERATOR)
    assert registry.claim_terms(HOME).assurance is Assurance.SUBSTANTIAL
    with refused(NotGrantedError, Reason.CLAIM_NOT_ALLOWED):
        registry.claim_terms(HUKOU)


# -- which node answers -------------------------------------------------------------------------------------


def with_police_nodes(*regions):
    """The police of several areas: the first node keeps its name, the others are counted."""
    police = next(party for party in DOCUMENT.parties if party.id == POLICE)
    nodes = [
        msgspec.structs.replace(
            police,
            id=POLICE if index == 0 else f"{POLICE}-{index}",
            department=msgspec.structs.replace(police.department, coverage=(Coverage((HUKOU,), prefixes),)),
        )
        for index, prefixes in enumerate(regions)
    ]
    others = tuple(party for party in DOCUMENT.parties if party.id != POLICE)
    return open_registry(signed(version(1, parties=(*others, *nodes))), OPERATOR)


@pytest.mark.parametrize(
    ("region", "index"),
    [("430102", 2), ("430103", 1), ("430202", 0), ("431302", 0), ("430111", 1)],
    ids=["county", "prefecture", "province", "another prefecture", "the rest of the prefecture"],
)
def test_node_of_the_longest_prefix_answers(region, index):
    registry = with_police_nodes(("43",), ("4301",), ("430102", "43"))
    assert registry.node_for(HUKOU, region).id == (POLICE if index == 0 else f"{POLICE}-{index}")


def test_first_listed_of_equal_prefixes_answers():
    assert with_police_nodes(("4301",), ("4301",)).node_for(HUKOU, "430102").id == POLICE


@pytest.mark.parametrize(("claim", "region"), [(HUKOU, "430202"), (HUKOU, "110101"), (HUKOU, ""), (HOME, "110101")])
def test_region_that_no_node_answers_is_refused(claim, region):
    with refused(NotGrantedError, Reason.REGION_NOT_SERVED):
        with_police_nodes(("4301",)).node_for(claim, region)


def test_claim_that_no_node_answers_is_refused():
    with refused(NotGrantedError, Reason.REGION_NOT_SERVED):
        with_police_nodes(("43",)).node_for("identity.valid@1", "430102")


# -- the document -------------------------------------------------------------------------------------------


def terms_of(party, attribute):
    return next(getattr(entry, attribute) for entry in DOCUMENT.parties if entry.id == party)


def changed(party, attribute, **changes):
    return edit_party(DOCUMENT, party, **{attribute: msgspec.structs.replace(terms_of(party, attribute), **changes)})


def keys_of(party):
    return terms_of(party, "keys")


def with_first_key(party, **changes):
    first, *rest = keys_of(party)
    return edit_party(DOCUMENT, party, keys=(msgspec.structs.replace(first, **changes), *rest))


def with_sealing_key(**changes):
    (key,) = terms_of(POLICE, "department").sealing_keys
    return changed(POLICE, "department", sealing_keys=(msgspec.structs.replace(key, **changes),))


SEALING = terms_of(POLICE, "department").sealing_keys
VIOLATIONS = {
    "unknown format": version(1, format=2),
    "version 0": version(0),
    "expired before issue": version(1, expires=DOCUMENT.issued),
    "a party twice": version(1, parties=(*DOCUMENT.parties, DOCUMENT.parties[0])),
    "a claim twice": version(1, claims=(*DOCUMENT.claims, DOCUMENT.claims[0])),
    "a claim outside the vocabulary": version(
        1, claims=(msgspec.structs.replace(DOCUMENT.claims[0], claim="free.text@1"),)
    ),
    "a party that is no SPIFFE ID": edit_party(DOCUMENT, AUDITOR, id="auditor"),
    "a party of no role": edit_party(DOCUMENT, AUDITOR, id="spiffe://heyan/operator/a"),
    "a requester without terms": edit_party(DOCUMENT, REQUESTER, requester=None),
    "a gateway without terms": edit_party(DOCUMENT, GATEWAY, gateway=None),
    "an issuer without terms": edit_party(DOCUMENT, ISSUER, issuer=None),
    "a department without terms": edit_party(DOCUMENT, POLICE, department=None),
    "a gateway that is also a department": edit_party(DOCUMENT, GATEWAY, department=terms_of(POLICE, "department")),
    "an auditor that is also a requester": edit_party(DOCUMENT, AUDITOR, requester=terms_of(REQUESTER, "requester")),
    "a key id twice": edit_party(DOCUMENT, REQUESTER, keys=keys_of(REQUESTER) * 2),
    "a key that is no point": with_first_key(REQUESTER, public=b64url(bytes(65))),
    "a key that is not base64url": with_first_key(REQUESTER, public="???"),
    "a key of another algorithm": with_first_key(REQUESTER, alg=Algorithm.ED25519),
    "a log key of ES256": edit_party(
        DOCUMENT, GATEWAY, keys=(msgspec.structs.replace(keys_of(REQUESTER)[0], use=KeyUse.LOG),)
    ),
    "a sealing key id twice": changed(POLICE, "department", sealing_keys=SEALING * 2),
    "a sealing key of another suite": with_sealing_key(suite=Suite.X25519),
    "a sealing key that is not base64url": with_sealing_key(public="???"),
    "a sealing key cut short": with_sealing_key(public=SEALING[0].public[:-4]),
    "a department that answers another's claim": changed(LAND, "department", coverage=(Coverage((HUKOU,), ("43",)),)),
    "a department that answers no claim of the vocabulary": changed(
        EDUCATION, "department", coverage=(Coverage(("free.text@1",), ("43",)),)
    ),
    "a requester of a claim outside the vocabulary": changed(REQUESTER, "requester", claims=("free.text@1",)),
}


def test_genuine_document_has_no_violation():
    DOCUMENT.check()
    assert {terms.claim for terms in DOCUMENT.claims} == set(CLAIMS)


@pytest.mark.parametrize("document", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_document_that_contradicts_itself_is_refused_although_signed(document):
    with pytest.raises(MalformedError) as refusal:
        document.check()
    assert refusal.value.reason is Reason.REGISTRY_INVALID
    assert refusal.value.violations[0].field
    with refused(MalformedError, Reason.REGISTRY_INVALID):
        open_registry(signed(document), OPERATOR)


def altered_json(**changes):
    return {**msgspec.json.decode(msgspec.json.encode(DOCUMENT)), **changes}


@pytest.mark.parametrize(
    "value",
    [
        altered_json(rate_limit=5),
        altered_json(version="1"),
        altered_json(version=None),
        altered_json(parties={}),
        altered_json(parties=[{"id": AUDITOR, "name": {"zh": "审", "en": "a"}, "may_read": "all"}]),
        altered_json(parties=[{"id": AUDITOR}]),
        altered_json(claims=[{"claim": HUKOU, "assurance": "none"}]),
        {},
    ],
    ids=["unknown field", "text", "null", "object", "unknown field inside", "missing field", "unknown word", "empty"],
)
def test_document_of_another_shape_is_refused(value):
    with refused(MalformedError, Reason.REGISTRY_INVALID):
        read_document(value)


def test_document_survives_its_json():
    assert read_document(altered_json()) == DOCUMENT
    assert isinstance(read_document(altered_json()), Document)


def test_assurance_is_ranked():
    assert [level.rank for level in (Assurance.LOW, Assurance.SUBSTANTIAL, Assurance.HIGH)] == [0, 1, 2]


@pytest.mark.parametrize("prefix", ["", "4", "430", "43010", "4301020", "湖南", "４３", "43*"])
def test_region_that_is_no_prefix_of_a_code_is_refused(prefix):
    """An empty one would cover the whole country."""
    terms = REGISTRY.party(REQUESTER).requester
    node = REGISTRY.party(POLICE).department
    narrowed = msgspec.structs.replace(node.coverage[0], regions=(prefix,))
    for party, change in (
        (REQUESTER, {"requester": msgspec.structs.replace(terms, regions=(prefix,))}),
        (POLICE, {"department": msgspec.structs.replace(node, coverage=(narrowed,))}),
    ):
        with refused(MalformedError, Reason.REGISTRY_INVALID):
            registry_with(party, **change)
