"""Signature types of signed notes: how long their public keys are, and what each of them signs.

| type | name | signature field | message |
|---|---|---|---|
| 0x01 | Ed25519 (C2SP signed-note v1.0.0) | 64 bytes | the note text |
| 0x04 | cosignature/v1 (C2SP tlog-cosignature v1.0.0) | u64 time, 64 bytes | header, time line, the note text |
| 0x06 | ML-DSA-44 (C2SP tlog-cosignature v1.1.0-rc.1) | u64 time, 2,420 bytes | `cosigned_message`, see below |

Invariants: the two cosignature types hold over the text of a checkpoint and of nothing else, and under no time beyond
2^63 - 1; the message of each type begins as no other's can, so that one private key under two types (which the
specification advises against) lends its signature to neither. A cosignature of type 0x04 covers extension lines; one
of type 0x06 covers name, time, origin, size and root, and so says nothing of extension lines.

Whether a time is too old or in the future is not judged here: a policy does that, with the clock it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from gateway.protocol.checkpoint_text import parse_checkpoint
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

ED25519 = 0x01
"""Signature type identifier byte of plain Ed25519 over the note text (RFC 8032)."""
COSIGNATURE = 0x04
"""Signature type identifier byte of timestamped Ed25519 over a checkpoint."""
ML_DSA_44 = 0x06
"""Signature type identifier byte of timestamped ML-DSA-44 (FIPS 204, pure, empty context) over a checkpoint."""

MAX_TIMESTAMP = 2**63 - 1
"""Seconds since the epoch: the largest that a cosignature may bear."""
TIMESTAMP_BYTES = 8
ED25519_SIGNATURE_BYTES = 64
ML_DSA_44_SIGNATURE_BYTES = 2420
ML_DSA_44_PUBLIC_BYTES = 1312

_MAX_OPAQUE_BYTES = 255
"""Bytes of a cosigner's name and of an origin that a `cosigned_message` can hold."""
_SUBTREE_LABEL = b"subtree/v1\n\0"


@dataclass(frozen=True, slots=True)
class Scheme:
    """A signature type.

    `public_key_bytes` is the length of its keys, `max_name_bytes` that of a name it can bind (None: any),
    `timestamped` whether its signatures begin with the time of signing. `message(name, text, timestamp)` is what is
    signed over a note text, MalformedError if that text cannot be signed so; `verifies(public key, signature,
    message)` whether the signature, without its timestamp, holds.
    """

    title: str
    public_key_bytes: int
    max_name_bytes: int | None
    timestamped: bool
    message: Callable[[str, str, int], bytes]
    verifies: Callable[[bytes, bytes, bytes], bool]

    def holds(self, name: str, public_key: bytes, text: str, signature: bytes) -> bool:
        """Whether the signature field (what follows the key id) of a key holds over a note text."""
        timestamp, value = 0, signature
        if self.timestamped:
            timestamp, value = int.from_bytes(signature[:TIMESTAMP_BYTES], "big"), signature[TIMESTAMP_BYTES:]
        try:
            message = self.message(name, text, timestamp)
        except MalformedError:
            return False
        return self.verifies(public_key, value, message)


def _plain_message(_name: str, text: str, _timestamp: int) -> bytes:
    return text.encode()


def _cosignature_message(_name: str, text: str, timestamp: int) -> bytes:
    """Over the whole text, extension lines too; it does not commit to the cosigner's name."""
    _check_timestamp(timestamp)
    parse_checkpoint(text)
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _ml_dsa_44_message(name: str, text: str, timestamp: int) -> bytes:
    """The `cosigned_message` of a whole tree, in the presentation language of RFC 8446 §3."""
    _check_timestamp(timestamp)
    checkpoint = parse_checkpoint(text)
    start = 0
    return b"".join(
        (
            _SUBTREE_LABEL,
            _opaque(name, "name"),
            _u64(timestamp),
            _opaque(checkpoint.origin, "origin"),
            _u64(start),
            _u64(checkpoint.size),
            checkpoint.root,
        )
    )


def _check_timestamp(timestamp: int) -> None:
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise MalformedError.at("timestamp", f"must be 0 to {MAX_TIMESTAMP} seconds")


def _opaque(text: str, field: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= _MAX_OPAQUE_BYTES:
        raise MalformedError.at(field, f"must be 1 to {_MAX_OPAQUE_BYTES} bytes")
    return bytes((len(data),)) + data


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _ed25519_verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    if len(signature) != ED25519_SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _ml_dsa_44_verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    if len(signature) != ML_DSA_44_SIGNATURE_BYTES:
        return False
    try:
        _ml_dsa_44_public(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=256)
def _ml_dsa_44_public(public_key: bytes) -> MLDSA44PublicKey:
    """The key object of raw bytes, parsed once; MalformedError where OpenSSL has no ML-DSA (3.5 has it)."""
    try:
        return MLDSA44PublicKey.from_public_bytes(public_key)
    except UnsupportedAlgorithm:
        description = "is ML-DSA-44, which the cryptography installed here does not have"
        raise MalformedError.at("public_key", description, Reason.CONFIGURATION_INVALID) from None


SCHEMES = {
    ED25519: Scheme("Ed25519", 32, None, timestamped=False, message=_plain_message, verifies=_ed25519_verifies),
    COSIGNATURE: Scheme(
        "cosignature/v1", 32, None, timestamped=True, message=_cosignature_message, verifies=_ed25519_verifies
    ),
    ML_DSA_44: Scheme(
        "ML-DSA-44",
        ML_DSA_44_PUBLIC_BYTES,
        _MAX_OPAQUE_BYTES,
        timestamped=True,
        message=_ml_dsa_44_message,
        verifies=_ml_dsa_44_verifies,
    ),
}
"""By signature type identifier byte."""
