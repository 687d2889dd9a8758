"""Cosignatures (C2SP tlog-cosignature v1.0.0 for Ed25519, v1.1.0-rc.1 for ML-DSA-44): a cosigner's word, with its time,
that it saw one checkpoint of a log and found it consistent with all it saw before.

Witnesses sign so, with either type; a log signs so with ML-DSA-44 beside its Ed25519 signature. What a signature
covers is in `gateway.protocol.note_schemes`. Making one asks for nothing but the text of a checkpoint: whether it is
consistent with those before, and whether a time is acceptable, is the caller's to know before it signs or counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gateway.protocol.errors import MalformedError
from gateway.protocol.note import Signature, VerifierKey
from gateway.protocol.note_schemes import (
    COSIGNATURE,
    ED25519,
    ED25519_SIGNATURE_BYTES,
    MAX_TIMESTAMP,
    ML_DSA_44,
    ML_DSA_44_SIGNATURE_BYTES,
    SCHEMES,
    TIMESTAMP_BYTES,
)

SEED_BYTES = 32
"""Bytes of a seed, of RFC 8032 §5.1.5 as of FIPS 204 (there called ξ)."""
_LENGTHS = (TIMESTAMP_BYTES + ED25519_SIGNATURE_BYTES, TIMESTAMP_BYTES + ML_DSA_44_SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """A private key that cosigns, of type 0x04 or 0x06, under a name; `repr` shows only the public half."""

    verifier: VerifierKey
    private_key: Ed25519PrivateKey | MLDSA44PrivateKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, name: str, private_key: Ed25519PrivateKey | MLDSA44PrivateKey) -> CosignerKey:
        """`private_key` under `name`; the kind of key says the type. Raises MalformedError."""
        algorithm = COSIGNATURE if isinstance(private_key, Ed25519PrivateKey) else ML_DSA_44
        return cls(VerifierKey.of(name, algorithm, private_key.public_key().public_bytes_raw()), private_key)

    @classmethod
    def from_seed(cls, name: str, seed: bytes, algorithm: int = COSIGNATURE) -> CosignerKey:
        """The key of a 32-byte seed, drawn at random by the caller; raises MalformedError."""
        if len(seed) != SEED_BYTES:
            raise MalformedError.at("seed", f"must be {SEED_BYTES} bytes")
        if algorithm == COSIGNATURE:
            return cls.of(name, Ed25519PrivateKey.from_private_bytes(seed))
        if algorithm == ML_DSA_44:
            return cls.of(name, MLDSA44PrivateKey.from_seed_bytes(seed))
        raise MalformedError.at("algorithm", "must be a cosigner's: 0x04 or 0x06")

    def at(self, timestamp: int) -> Cosigner:
        """The signer of one time, in whole seconds since the epoch; raises MalformedError beyond 0 to 2^63 - 1.

        ML-DSA-44 at time 0 states only that the tree is consistent, not that it was the largest seen by then.
        """
        if not 0 <= timestamp <= MAX_TIMESTAMP:
            raise MalformedError.at("timestamp", f"must be 0 to {MAX_TIMESTAMP} seconds")
        return Cosigner(self, timestamp)


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A cosigner at one time: what `sign_note` takes. ML-DSA-44 is hedged, so that no two signatures are alike."""

    key: CosignerKey
    timestamp: int

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return self.key.verifier

    def sign(self, text: str) -> bytes:
        """u64 time ‖ signature (64 or 2,420 bytes) over the text of a checkpoint; MalformedError over any other."""
        verifier = self.verifier
        message = SCHEMES[verifier.algorithm].message(verifier.name, text, self.timestamp)
        return self.timestamp.to_bytes(TIMESTAMP_BYTES, "big") + self.key.private_key.sign(message)


def cosigned_at(signature: Signature) -> int:
    """When a cosignature was made, in seconds since the epoch; to be believed only of one that `open_note` verified.

    Raises MalformedError if it is no cosignature, by its length, or of a time beyond 2^63 - 1.
    """
    timestamp = int.from_bytes(signature.value[:TIMESTAMP_BYTES], "big")
    if len(signature.value) not in _LENGTHS or timestamp > MAX_TIMESTAMP:
        raise MalformedError.at("signature", "must be a cosignature, of a time up to 2^63 - 1")
    return timestamp


def as_cosigner(vkey: str) -> VerifierKey:
    """A witness's published vkey, as the key of its cosignatures; raises MalformedError.

    Many witnesses publish their Ed25519 key with type 0x01, under which they sign nothing: the same key and name with
    type 0x04, and the key id that follows, is what their cosignatures bear. Keys of type 0x04 and 0x06 are as they are.
    """
    key = VerifierKey.parse(vkey)
    return VerifierKey.of(key.name, COSIGNATURE, key.public_key) if key.algorithm == ED25519 else key
