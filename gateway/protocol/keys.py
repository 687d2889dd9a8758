"""Signature keys: ES256 (P-256, SHA-256) and Ed25519, with fixed 64-byte signatures; ML-DSA-44 for checkpoints only.

The registry pins the algorithm of each key; none is ever read from a message. ES256 signatures are r || s as
in JOSE (RFC 7518 §3.4), so that every signature has one size and one encoding.

An ML-DSA-44 key (FIPS 204) is a second key of a log: it signs as a cosigner (`gateway.protocol.cosignature`), and
`PublicKey.verify` and `SigningKey.sign`, which are for statements and queries, refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from functools import lru_cache

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.protocol.digests import Kind, octets
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.reasons import Reason

SIGNATURE_BYTES = 64
_HALF = SIGNATURE_BYTES // 2
_ECDSA = ec.ECDSA(hashes.SHA256())

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey
LoadedPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey


@unique
class Algorithm(StrEnum):
    """JOSE names of the algorithms (RFC 7518, RFC 9864, draft-ietf-cose-dilithium)."""

    ES256 = "ES256"
    ED25519 = "Ed25519"
    ML_DSA_44 = "ML-DSA-44"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verification key: `public` is 65 bytes (uncompressed point) for ES256, 32 for Ed25519, 1,312 for ML-DSA-44."""

    key_id: str
    algorithm: Algorithm
    public: bytes

    def verify(self, signature: bytes, kind: Kind, data: bytes, reason: Reason = Reason.SIGNATURE_INVALID) -> None:
        """Hold a 64-byte signature over `octets(kind, data)` against this key; ForgedError(reason)."""
        self.verify_octets(signature, octets(kind, data), reason)

    def verify_octets(self, signature: bytes, message: bytes, reason: Reason) -> None:
        """Hold a 64-byte signature over exactly `message` against this key; ForgedError(reason)."""
        if len(signature) != SIGNATURE_BYTES:
            raise ForgedError(reason, "signature of the wrong length")
        try:
            key = load_public(self.algorithm, self.public)
            if isinstance(key, ec.EllipticCurvePublicKey):
                r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
                key.verify(encode_dss_signature(r, s), message, _ECDSA)
            elif isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            else:
                raise ForgedError(reason, "an ML-DSA-44 key signs checkpoints only")
        except InvalidSignature:
            raise ForgedError(reason) from None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with its id in the registry."""

    key_id: str
    private: PrivateKey

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that this key signs with."""
        if isinstance(self.private, mldsa.MLDSA44PrivateKey):
            return Algorithm.ML_DSA_44
        return Algorithm.ED25519 if isinstance(self.private, ed25519.Ed25519PrivateKey) else Algorithm.ES256

    def sign(self, kind: Kind, data: bytes) -> bytes:
        """A 64-byte signature over `octets(kind, data)`; MalformedError with an ML-DSA-44 key."""
        if isinstance(self.private, mldsa.MLDSA44PrivateKey):
            raise MalformedError.at("key", "is ML-DSA-44, which signs checkpoints only", Reason.CONFIGURATION_INVALID)
        message = octets(kind, data)
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        r, s = decode_dss_signature(self.private.sign(message, _ECDSA))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")

    def public_key(self) -> PublicKey:
        """The matching verification key."""
        return PublicKey(self.key_id, self.algorithm, raw_public(self.private))


def raw_public(private: PrivateKey) -> bytes:
    """The raw public key of `private`: uncompressed point, 32 bytes, or 1,312 bytes."""
    if isinstance(private, (ed25519.Ed25519PrivateKey, mldsa.MLDSA44PrivateKey)):
        return private.public_key().public_bytes_raw()
    return private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


@lru_cache(maxsize=4096)
def load_public(algorithm: Algorithm, public: bytes) -> LoadedPublicKey:
    """The key object of raw bytes, parsed once; MalformedError if they are no key."""
    try:
        if algorithm is Algorithm.ED25519:
            return ed25519.Ed25519PublicKey.from_public_bytes(public)
        if algorithm is Algorithm.ML_DSA_44:
            return mldsa.MLDSA44PublicKey.from_public_bytes(public)
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except UnsupportedAlgorithm:
        description = f"is {algorithm.value}, which the cryptography installed here does not have"
        raise MalformedError.at("public", description, Reason.CONFIGURATION_INVALID) from None
    except ValueError:
        raise MalformedError.at("public", f"must be a raw {algorithm.value} public key") from None


def load_private(pem: bytes) -> PrivateKey:
    """The private key of an unencrypted PKCS#8 PEM; MalformedError if it is none of the three algorithms'."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        InternalError,
    ):  # the last for an Ed25519 seed of another length
        raise MalformedError.at("key", "must be an unencrypted PKCS#8 PEM private key") from None
    if isinstance(key, (ed25519.Ed25519PrivateKey, mldsa.MLDSA44PrivateKey)):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise MalformedError.at("key", "must be a P-256, Ed25519 or ML-DSA-44 key")


def private_pem(key: PrivateKey) -> bytes:
    """`key` as unencrypted PKCS#8 PEM, for a file of mode 0600."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
