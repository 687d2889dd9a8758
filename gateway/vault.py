"""Keys of evidence: one for each grant, wrapped under a key-encryption key, so that destroying it erases.

AES-256-GCM with 96-bit random nonces; the associated data binds a ciphertext to what it belongs to, so that a
row moved in the database does not open. Source: NIST SP 800-38D; the leaf key of the log is derived from the
grant's key (`gateway.protocol.leaf`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason

KEY_BYTES = 32
_NONCE_BYTES = 12

Randomness = Callable[[int], bytes]


class Vault:
    """Makes, wraps and uses evidence keys."""

    def __init__(self, kek: bytes, randomness: Randomness = os.urandom) -> None:
        if len(kek) != KEY_BYTES:
            raise MalformedError.at("kek", f"must be {KEY_BYTES} bytes", Reason.CONFIGURATION_INVALID)
        self._kek = AESGCM(kek)
        self._randomness = randomness

    def new_key(self) -> bytes:
        """A fresh evidence key."""
        return self._randomness(KEY_BYTES)

    def wrap(self, key: bytes, grant_digest: bytes) -> bytes:
        """The key as the store keeps it, bound to its grant."""
        nonce = self._randomness(_NONCE_BYTES)
        return nonce + self._kek.encrypt(nonce, key, b"key\x00" + grant_digest)

    def unwrap(self, wrapped: bytes, grant_digest: bytes) -> bytes:
        """The evidence key of a grant; LogUnavailableError if the row was changed or moved."""
        return _open(self._kek, wrapped, b"key\x00" + grant_digest)

    def encrypt(self, key: bytes, data: bytes, bound_to: bytes) -> bytes:
        """`data` under an evidence key."""
        nonce = self._randomness(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, data, bound_to)

    def decrypt(self, key: bytes, ciphertext: bytes, bound_to: bytes) -> bytes:
        """What `encrypt` made; LogUnavailableError if it was changed or moved."""
        return _open(AESGCM(key), ciphertext, bound_to)


def _open(cipher: AESGCM, ciphertext: bytes, bound_to: bytes) -> bytes:
    try:
        return cipher.decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "an evidence row was changed or moved") from None
