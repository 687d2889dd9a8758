"""A software authenticator: real WebAuthn assertions without a device, for the sandbox and for tests.

Its keys are derived, not stored: one secret of the sandbox and an account name give the same passkey each time, so
a simulated population of any size needs no file of keys. Signing is deterministic (RFC 6979), so nothing is drawn
at random here. Never for real persons: whoever holds the secret can approve in everybody's name.
Source: W3C Web Authentication Level 3 §6.1 (authenticator data), §5.8.1 (client data); RFC 5869 (HKDF).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consent.passkey import Assertion, write_cose_key
from gateway.protocol.codec import b64url
from gateway.protocol.keys import raw_public

CREDENTIAL_ID_BYTES = 32
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR_BYTES = 48
"""128 bits more than the order, so that the remainder is uniform (FIPS 186-5 A.2.1)."""
_USER_PRESENT, _USER_VERIFIED = 0x01, 0x04
_COORDINATE_BYTES = 32


@dataclass(frozen=True, slots=True)
class SoftwareAuthenticator:
    """One passkey."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    credential_id: bytes

    @property
    def public_key(self) -> bytes:
        """The passkey's COSE_Key, as an issuer enrols it."""
        point = raw_public(self.key)
        return write_cose_key(point[1 : 1 + _COORDINATE_BYTES], point[1 + _COORDINATE_BYTES :])

    def approve(self, challenge: bytes, *, rp_id: str, origin: str, user_verified: bool = True) -> Assertion:
        """The assertion that answers `challenge` on a page of `origin`; without `user_verified`, a mere touch."""
        flags = _USER_PRESENT | (_USER_VERIFIED if user_verified else 0)
        authenticator_data = sha256(rp_id.encode()).digest() + bytes([flags]) + bytes(4)
        client_data = {
            "type": "webauthn.get",
            "challenge": b64url(challenge),
            "origin": origin,
            "crossOrigin": False,
        }
        client_data_json = json.dumps(client_data, separators=(",", ":")).encode()
        signed = authenticator_data + sha256(client_data_json).digest()
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return Assertion(self.credential_id, authenticator_data, client_data_json, signature)


def derive_key(secret: bytes, account: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of an account under a sandbox secret of at least 32 random bytes."""
    scalar = int.from_bytes(_derive(secret, "key", account, _SCALAR_BYTES), "big") % (_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def derive_authenticator(secret: bytes, account: str) -> SoftwareAuthenticator:
    """The passkey of an account: key and credential id, both from the sandbox secret."""
    return SoftwareAuthenticator(
        derive_key(secret, account), _derive(secret, "credential-id", account, CREDENTIAL_ID_BYTES)
    )


def _derive(secret: bytes, purpose: str, account: str, length: int) -> bytes:
    info = b"heyan.v1.SandboxPasskey\x00" + purpose.encode() + b"\x00" + account.encode()
    return HKDF(hashes.SHA256(), length, salt=None, info=info).derive(secret)
