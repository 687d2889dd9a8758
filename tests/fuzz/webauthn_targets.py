"""WebAuthn and CBOR: passkey evidence, assertions, authenticator data, client data, COSE keys."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from consent.passkey import (
    Assertion,
    PasskeyEvidence,
    assertion_from_json,
    assertion_to_json,
    check_cose_key,
    read_evidence,
    verify_assertion,
    write_evidence,
)
from consent.verification import open_grant, verify_evidence
from gateway.protocol.codec import parse_json_object
from tests.federation import FAMILY, GATEWAY, GUARDIAN, ISSUER, ORIGIN, REQUESTER, RP_ID
from tests.fuzz.target import DEEP, Target
from tests.protocol.casework import FEDERATION, NOW

_REGISTRY = FEDERATION.registry
(_GRANT,) = FEDERATION.issue(FAMILY).grants
_VERIFIED = open_grant(_GRANT.presentation, requester=REQUESTER, gateway=GATEWAY, registry=_REGISTRY, now=NOW)
_EVIDENCE = read_evidence(_GRANT.evidence)
_ASSERTION = _EVIDENCE.assertion
_WITH_EXTENSIONS = _ASSERTION.authenticator_data[:32] + b"\x85" + bytes(4) + b"\xa1\x61a\xf5"


def _evidence(data: bytes) -> object:
    terms = _REGISTRY.party(ISSUER).issuer
    assert terms is not None
    verify_evidence(_VERIFIED, data, terms)
    return data


def _verify(assertion: Assertion, public_key: bytes = _EVIDENCE.public_key) -> object:
    challenge = _VERIFIED.payload_digest
    return verify_assertion(assertion, public_key=public_key, challenge=challenge, rp_id=RP_ID, origins=(ORIGIN,))


def _json(data: bytes) -> object:
    return assertion_from_json(parse_json_object(data, "assertion"))


def _is_written_again(data: bytes, value: object) -> bool:
    assert isinstance(value, PasskeyEvidence)
    return write_evidence(value) == data


def _json_is_written_again(_data: bytes, value: object) -> bool:
    assert isinstance(value, Assertion)
    return assertion_from_json(assertion_to_json(value)) == value


def _signed_as_given(data: bytes) -> object:
    """Authenticator data that the passkey did sign: what lies behind the signature is read too."""
    authenticator = FEDERATION.authenticator(GUARDIAN)
    client_data = _ASSERTION.client_data_json
    signed = data + sha256(client_data).digest()
    signature = authenticator.key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return _verify(replace(_ASSERTION, authenticator_data=data, signature=signature))


def _client_data_as_given(data: bytes) -> object:
    authenticator = FEDERATION.authenticator(GUARDIAN)
    signed = _ASSERTION.authenticator_data + sha256(data).digest()
    signature = authenticator.key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return _verify(replace(_ASSERTION, client_data_json=data, signature=signature))


def targets() -> tuple[Target, ...]:
    return (
        Target("evidence", read_evidence, (_GRANT.evidence,), _is_written_again),
        Target("verified evidence", _evidence, (_GRANT.evidence,), lambda data, _: data == _GRANT.evidence),
        Target("COSE key", check_cose_key, (_EVIDENCE.public_key,)),
        Target("key of an assertion", lambda data: _verify(_ASSERTION, data), (_EVIDENCE.public_key,)),
        Target(
            "authenticator data",
            lambda data: _verify(replace(_ASSERTION, authenticator_data=data)),
            (_ASSERTION.authenticator_data, _WITH_EXTENSIONS),
        ),
        Target("signed authenticator data", _signed_as_given, (_ASSERTION.authenticator_data, _WITH_EXTENSIONS)),
        Target(
            "client data",
            lambda data: _verify(replace(_ASSERTION, client_data_json=data)),
            (_ASSERTION.client_data_json,),
        ),
        Target("signed client data", _client_data_as_given, (_ASSERTION.client_data_json,)),
        Target(
            "assertion signature", lambda data: _verify(replace(_ASSERTION, signature=data)), (_ASSERTION.signature,)
        ),
        Target(
            "assertion as JSON",
            _json,
            (msgspec.json.encode(assertion_to_json(_ASSERTION)), *DEEP),
            _json_is_written_again,
        ),
    )
