"""Passkey assertions: what a guardian's authenticator signed, and whether it approves what it is said to approve.

`verify_assertion` is the one place where a WebAuthn assertion is judged: ES256 key, type `webauthn.get`, the
challenge, an origin and relying party of the registry, user present and verified, not embedded in a foreign page.
It is judged for every part of every query, so the steps of §7.2 are taken here, over data that is read once; the
tests hold it against py_webauthn, which must accept whatever is accepted here. py_webauthn still reads authenticator
data that hold extensions. A signature counter is not compared: synchronised passkeys report 0, and each challenge is
approved once.

`PasskeyEvidence` travels from issuer to requester and on to departments, sealed; the grant names its digest, and
its `cnf.passkey` commits to the key, so that neither another assertion nor another key can take its place.
Source: W3C Web Authentication Level 3 §7.2; RFC 9053 §7.1.1 (COSE EC2 keys).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated

import cbor2
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import parse_authenticator_data

from gateway.protocol.codec import b64url, convert, encode, parse_canonical, parse_json_object, unb64url
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.limits import ENVELOPE_SIZE
from gateway.protocol.reasons import Reason
from heyan.v1 import query_pb2

KEY_SALT_BYTES = 32
MAX_CREDENTIAL_ID = 1023
"""Bytes, WebAuthn §4 (credential ID)."""
MAX_AUTHENTICATOR_DATA = 512
"""Bytes: 37, and room for small extensions."""
MAX_CLIENT_DATA = 1024
"""Bytes: browsers write 120 to 300."""
MAX_ASSERTION_SIGNATURE = 80
"""Bytes of a DER ECDSA signature over P-256 (at most 72)."""

_COORDINATE_BYTES = 32
_ECDSA = ec.ECDSA(hashes.SHA256())
_RP_ID_HASH_BYTES = 32
_BARE_AUTHENTICATOR_DATA = 37
"""Bytes of authenticator data without extensions: hash of the relying party's id, flags, counter (§6.1)."""
_PRESENT, _VERIFIED, _ELIGIBLE, _BACKED_UP, _ATTESTED, _EXTENDED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
"""Flags of authenticator data (§6.1)."""
_BOUND = ("present", "supported")
"""What `tokenBinding.status` may be, where a browser still writes it (Level 2 §5.8.1)."""
_KTY, _ALG, _CRV, _X, _Y = 1, 3, -1, -2, -3
_EC2, _ES256, _P256 = 2, -7, 1


@dataclass(frozen=True, slots=True)
class Assertion:
    """A WebAuthn assertion. `repr` shows nothing: it identifies a person's passkey."""

    credential_id: bytes = field(repr=False)
    authenticator_data: bytes = field(repr=False)
    client_data_json: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PasskeyEvidence:
    """An assertion with the key that it verifies under, and the salt of the grant's commitment to that key."""

    key_salt: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    assertion: Assertion


class _ResponseJson(msgspec.Struct, frozen=True):
    client_data_json: str = msgspec.field(name="clientDataJSON")
    authenticator_data: str = msgspec.field(name="authenticatorData")
    signature: str


class _AssertionJson(msgspec.Struct, frozen=True):
    id: str
    response: _ResponseJson
    type: Annotated[str, msgspec.Meta(pattern=r"^public-key\Z")]


def commit_key(key_salt: bytes, public_key: bytes) -> bytes:
    """What `cnf.passkey` of a grant holds for a COSE key, under 32 random bytes fresh for the grant."""
    if len(key_salt) != KEY_SALT_BYTES:
        raise MalformedError.at("key_salt", f"must be {KEY_SALT_BYTES} bytes")
    return hmac.digest(key_salt, public_key, sha256)


def write_cose_key(x: bytes, y: bytes) -> bytes:
    """The COSE_Key of a P-256 point, as authenticators encode it (77 bytes)."""
    return cbor2.dumps({_KTY: _EC2, _ALG: _ES256, _CRV: _P256, _X: x, _Y: y}, canonical=True)


_COSE_KEY = write_cose_key(bytes(_COORDINATE_BYTES), bytes(_COORDINATE_BYTES))
_COSE_X = _COSE_KEY.index(bytes(_COORDINATE_BYTES))
_COSE_Y = len(_COSE_KEY) - _COORDINATE_BYTES


def check_cose_key(public_key: bytes) -> None:
    """Refuse anything but an ES256 key over P-256 in its canonical encoding; ForgedError (EVIDENCE_INVALID).

    That has two coordinates in it, and all else is the same for every key.
    """
    bare = (public_key[:_COSE_X], public_key[_COSE_X + _COORDINATE_BYTES : _COSE_Y])
    if len(public_key) != len(_COSE_KEY) or bare != (
        _COSE_KEY[:_COSE_X],
        _COSE_KEY[_COSE_X + _COORDINATE_BYTES : _COSE_Y],
    ):
        raise _invalid("not a canonical ES256 COSE key")


def verify_assertion(
    assertion: Assertion, *, public_key: bytes, challenge: bytes, rp_id: str, origins: tuple[str, ...]
) -> None:
    """Hold an assertion against key, challenge, relying party and origins; ForgedError (EVIDENCE_INVALID)."""
    check_cose_key(public_key)
    _check_sizes(assertion)
    _check_client_data(assertion.client_data_json, challenge, origins)
    _check_authenticator_data(assertion.authenticator_data, rp_id)
    x, y = public_key[_COSE_X : _COSE_X + _COORDINATE_BYTES], public_key[_COSE_Y:]
    signed = assertion.authenticator_data + sha256(assertion.client_data_json).digest()
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
        key.verify(assertion.signature, signed, _ECDSA)
    except (InvalidSignature, ValueError) as error:
        raise _invalid(type(error).__name__) from None


def _check_client_data(data: bytes, challenge: bytes, origins: tuple[str, ...]) -> None:
    """Steps 9 to 14 of §7.2."""
    try:
        client_data = parse_json_object(data, "clientDataJSON")
    except MalformedError as error:
        raise _invalid(error.detail) from None
    if client_data.get("type") != "webauthn.get":
        raise _invalid("made for another ceremony")
    if client_data.get("challenge") != b64url(challenge):
        raise _invalid("approves something else")
    if client_data.get("origin") not in origins:
        raise _invalid("made on another site")
    if client_data.get("crossOrigin", False) is not False:
        raise _invalid("made inside another site's page")
    binding = client_data.get("tokenBinding")
    if isinstance(binding, dict) and binding.get("status") not in _BOUND:
        raise _invalid("of another token binding")


def _check_authenticator_data(data: bytes, rp_id: str) -> None:
    """Steps 15 to 18 of §7.2."""
    if len(data) < _BARE_AUTHENTICATOR_DATA or data[:_RP_ID_HASH_BYTES] != sha256(rp_id.encode()).digest():
        raise _invalid("made for another relying party")
    flags = data[_RP_ID_HASH_BYTES]
    if not flags & _PRESENT or not flags & _VERIFIED:
        raise _invalid("without the person")
    if flags & _BACKED_UP and not flags & _ELIGIBLE:
        raise _invalid("backed up, and not to be")
    if flags & (_ATTESTED | _EXTENDED):
        try:
            parse_authenticator_data(data)
        except Exception as error:  # noqa: BLE001 - a reader of CBOR that strangers wrote, and it raises many kinds
            raise _invalid(type(error).__name__) from None
    elif len(data) != _BARE_AUTHENTICATOR_DATA:
        raise _invalid("authenticator data with a rest")


def write_evidence(evidence: PasskeyEvidence) -> bytes:
    """The bytes of evidence, whose digest a grant names."""
    return encode(
        query_pb2.PasskeyEvidence(
            key_salt=evidence.key_salt,
            public_key=evidence.public_key,
            credential_id=evidence.assertion.credential_id,
            authenticator_data=evidence.assertion.authenticator_data,
            client_data_json=evidence.assertion.client_data_json,
            signature=evidence.assertion.signature,
        )
    )


def read_evidence(data: bytes) -> PasskeyEvidence:
    """The evidence of its bytes; ForgedError (EVIDENCE_INVALID), since it was presented as just that."""
    try:
        message = parse_canonical(query_pb2.PasskeyEvidence, data, ENVELOPE_SIZE)
    except MalformedError as error:
        raise _invalid(error.detail) from None
    if len(message.key_salt) != KEY_SALT_BYTES:
        raise _invalid("a key salt of the wrong length")
    assertion = Assertion(
        message.credential_id, message.authenticator_data, message.client_data_json, message.signature
    )
    return PasskeyEvidence(message.key_salt, message.public_key, assertion)


def assertion_to_json(assertion: Assertion) -> dict[str, object]:
    """An assertion as browsers write it (AuthenticationResponseJSON, WebAuthn §5.1)."""
    identifier = b64url(assertion.credential_id)
    return {
        "id": identifier,
        "rawId": identifier,
        "type": "public-key",
        "response": {
            "clientDataJSON": b64url(assertion.client_data_json),
            "authenticatorData": b64url(assertion.authenticator_data),
            "signature": b64url(assertion.signature),
        },
        "clientExtensionResults": {},
    }


def assertion_from_json(value: object) -> Assertion:
    """The assertion of a browser's AuthenticationResponseJSON; MalformedError. Further members are ignored."""
    parsed = convert(value, _AssertionJson, "assertion")
    response = parsed.response
    return Assertion(
        unb64url(parsed.id, "assertion.id"),
        unb64url(response.authenticator_data, "assertion.response.authenticatorData"),
        unb64url(response.client_data_json, "assertion.response.clientDataJSON"),
        unb64url(response.signature, "assertion.response.signature"),
    )


def _check_sizes(assertion: Assertion) -> None:
    bounds = (
        (assertion.credential_id, MAX_CREDENTIAL_ID),
        (assertion.authenticator_data, MAX_AUTHENTICATOR_DATA),
        (assertion.client_data_json, MAX_CLIENT_DATA),
        (assertion.signature, MAX_ASSERTION_SIGNATURE),
    )
    if any(not 0 < len(data) <= bound for data, bound in bounds):
        raise _invalid("a field of the assertion over its bound")


def _invalid(detail: str) -> ForgedError:
    return ForgedError(Reason.EVIDENCE_INVALID, detail)
