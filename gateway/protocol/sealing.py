"""Sealing subjects to one department: HPKE in base mode, everything bound through `info`.

Neither gateway nor another department can read a sealed subject, and it opens only for the query it was made
for: `info` holds version, suite, key id, department and query digest. The plaintext has one size for all, so
that the ciphertext does not tell how many subjects or how long a name.

Source: RFC 9180; the hybrid KEM MLKEM768-X25519 of draft-ietf-hpke-pq as `cryptography` implements it, pinned
by a test vector, because an ID number must stay secret for a lifetime.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from gateway.protocol.codec import encode, parse, unb64url
from gateway.protocol.digests import Kind, octets
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.limits import ENVELOPE_SIZE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import SealingKeyTerms, Suite
from heyan.v1 import query_pb2

VERSION = 1

_KEMS = {Suite.HYBRID: hpke.KEM.MLKEM768_X25519, Suite.X25519: hpke.KEM.X25519}
_TAG_BYTES = 16
_X25519_BYTES = 32
_MLKEM_PUBLIC_BYTES = 1184
_MLKEM_SEED_BYTES = 64
_PADDING_OVERHEAD = 3
"""Bytes that the padding field costs: one of tag and two of length, which lengths of 128 to 16,383 take."""
_LEAST_PADDING = 128

SealingPrivateKey = x25519.X25519PrivateKey | hpke.MLKEM768X25519PrivateKey
_SealingPublicKey = x25519.X25519PublicKey | hpke.MLKEM768X25519PublicKey


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed subject as it travels."""

    version: int
    key_id: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class OpeningKey:
    """A department's private sealing key."""

    key_id: str
    suite: Suite
    private: SealingPrivateKey


def pad_envelope(envelope: query_pb2.SubjectEnvelope) -> bytes:
    """The envelope's bytes, padded to ENVELOPE_SIZE; MalformedError if it is too large to pad."""
    bare = query_pb2.SubjectEnvelope()
    bare.CopyFrom(envelope)
    bare.ClearField("padding")
    room = ENVELOPE_SIZE - len(encode(bare)) - _PADDING_OVERHEAD
    if room < _LEAST_PADDING:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, "the subjects and their evidence do not fit the envelope")
    bare.padding = bytes(room)
    return encode(bare)


def seal(envelope: query_pb2.SubjectEnvelope, key: SealingKeyTerms, department: str, query_digest: bytes) -> Sealed:
    """Seal `envelope` to a sealing key of `department` (its SPIFFE ID), for one query only."""
    public = _load_public(key.suite, unb64url(key.public, "sealing_keys.public"))
    info = _info(key.suite, key.kid, department, query_digest)
    ciphertext = _hpke(key.suite).encrypt(pad_envelope(envelope), public, info=info)
    return Sealed(VERSION, key.kid, ciphertext)


def open_sealed(sealed: Sealed, key: OpeningKey, department: str, query_digest: bytes) -> query_pb2.SubjectEnvelope:
    """Open what was sealed to `key` for this department and query.

    Raises ForgedError (SUBJECT_UNDECIPHERABLE) whatever is wrong: key, query, department, version or size.
    """
    if sealed.version != VERSION or sealed.key_id != key.key_id:
        raise ForgedError(Reason.SUBJECT_UNDECIPHERABLE, "sealed under another version or key")
    if len(sealed.ciphertext) != ciphertext_size(key.suite):
        raise ForgedError(Reason.SUBJECT_UNDECIPHERABLE, "of the wrong size")
    info = _info(key.suite, key.key_id, department, query_digest)
    try:
        plaintext = _hpke(key.suite).decrypt(sealed.ciphertext, key.private, info=info)
    except (InvalidTag, ValueError):
        raise ForgedError(Reason.SUBJECT_UNDECIPHERABLE) from None
    try:
        return parse(query_pb2.SubjectEnvelope, plaintext, ENVELOPE_SIZE)
    except MalformedError:
        raise ForgedError(Reason.SUBJECT_UNDECIPHERABLE, "not an envelope inside") from None


def ciphertext_size(suite: Suite) -> int:
    """Bytes of a sealed subject's ciphertext, the same for every subject."""
    return _KEMS[suite].enc_length() + ENVELOPE_SIZE + _TAG_BYTES


def private_from_seed(suite: Suite, seed: bytes) -> SealingPrivateKey:
    """The private key kept as a seed: 32 bytes (X25519), or 64 of ML-KEM then 32 of X25519."""
    try:
        if suite is Suite.X25519:
            return x25519.X25519PrivateKey.from_private_bytes(seed)
        return hpke.MLKEM768X25519PrivateKey(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED_BYTES]),
            x25519.X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED_BYTES:]),
        )
    except ValueError:
        raise MalformedError.at("sealing_key", f"must be a seed of {suite.value}") from None


def fresh_seed(suite: Suite, randomness: bytes) -> bytes:
    """A seed of the right length cut from at least 96 random bytes."""
    size = _X25519_BYTES if suite is Suite.X25519 else _MLKEM_SEED_BYTES + _X25519_BYTES
    if len(randomness) < size:
        raise MalformedError.at("randomness", f"must be at least {size} bytes")
    return randomness[:size]


def public_bytes(suite: Suite, seed: bytes) -> bytes:
    """The public key of a seed, as the registry lists it: ML-KEM-768 (1,184 bytes) then X25519 (32)."""
    if suite is Suite.X25519:
        return x25519.X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED_BYTES])
    curve = x25519.X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED_BYTES:])
    return kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


@lru_cache(maxsize=1024)
def _load_public(suite: Suite, raw: bytes) -> _SealingPublicKey:
    try:
        if suite is Suite.X25519:
            return x25519.X25519PublicKey.from_public_bytes(raw)
        return hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
        )
    except ValueError:
        raise MalformedError.at("sealing_keys.public", f"must be a raw public key of {suite.value}") from None


@lru_cache(maxsize=2)
def _hpke(suite: Suite) -> hpke.Suite:
    return hpke.Suite(_KEMS[suite], hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM)


def _info(suite: Suite, key_id: str, department: str, query_digest: bytes) -> bytes:
    fields = (str(VERSION).encode(), suite.value.encode(), key_id.encode(), department.encode(), query_digest)
    return octets(Kind.SEALED_SUBJECT, b"".join(len(part).to_bytes(2, "big") + part for part in fields))
