"""Key-encryption keys (KEKs): each evidence key is kept wrapped under one, and says which.

    wrapped = version (1) ‖ id of the key-encryption key (8) ‖ what that key made of it

- One key wraps; the others only unwrap what is not rewrapped yet (`rewrapping`). Where a key is (a file, a
  PKCS#11 token) is hidden behind `Kek`.
- The id is bound to what it names: an id that was changed in a row does not open, nor does a row that was moved.
- What was wrapped before keys had ids has no version: it is of the one key of a file that there was.

Sources: NIST SP 800-38D (AES-GCM, 96-bit random nonces: at most 2^32 under one key, so rotate before that).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason

KEY_BYTES = 32
ID_BYTES = 8
NONCE_BYTES = 12
TAG_BYTES = 16
_VERSION = 1
_UNNAMED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES
"""A key that was wrapped before keys had ids; what is wrapped now is longer."""
_ID_LABEL = b"heyan.v1.KekId\x00"

Randomness = Callable[[int], bytes]


class Kek(Protocol):
    """One key-encryption key. Safe for concurrent calls."""

    @property
    def id(self) -> bytes:
        """Its id, 8 bytes: the same for the same key, wherever it is opened."""
        ...

    def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """An evidence key wrapped, bound to bytes; LogUnavailableError if the key cannot be used now."""
        ...

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """What `wrap` made; LogUnavailableError if it was changed or moved, or the key cannot be used now."""
        ...

    def complaint(self) -> str | None:
        """Why the key cannot be used now, if so."""
        ...


class FileKek:
    """A key-encryption key of 32 bytes, held in memory."""

    def __init__(self, secret: bytes, randomness: Randomness = os.urandom) -> None:
        if len(secret) != KEY_BYTES:
            raise MalformedError.at("kek", f"must be {KEY_BYTES} bytes", Reason.CONFIGURATION_INVALID)
        self._cipher = AESGCM(secret)
        self._randomness = randomness
        self._id = hmac.digest(secret, _ID_LABEL, sha256)[:ID_BYTES]

    @property
    def id(self) -> bytes:
        """See the port; derived one-way from the key."""
        return self._id

    def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """See the port: AES-256-GCM."""
        nonce = self._randomness(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, bound_to)

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """See the port."""
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):
            raise changed() from None

    def complaint(self) -> None:
        """See the port: what is in memory can be used."""


class Keks:
    """The key-encryption keys of a gateway: the first wraps, all unwrap."""

    def __init__(self, keks: Sequence[Kek]) -> None:
        if not keks:
            raise MalformedError.at("kek", "or token must be set", Reason.CONFIGURATION_INVALID)
        self._wrapping = keks[0]
        self._by_id = {kek.id: kek for kek in keks}
        if len(self._by_id) != len(keks):
            raise MalformedError.at("retired_keks", "must not repeat a key", Reason.CONFIGURATION_INVALID)
        self._unnamed = [kek for kek in keks if isinstance(kek, FileKek)]

    @property
    def waits(self) -> bool:
        """Whether a key is in a device, for which an event loop should not wait."""
        return any(not isinstance(kek, FileKek) for kek in self._by_id.values())

    def wrap(self, key: bytes, grant_digest: bytes) -> bytes:
        """An evidence key as the store keeps it, bound to its grant; LogUnavailableError."""
        kek = self._wrapping
        return bytes([_VERSION]) + kek.id + kek.wrap(key, _bound(kek.id, grant_digest))

    def unwrap(self, wrapped: bytes, grant_digest: bytes) -> bytes:
        """The evidence key of a grant; LogUnavailableError if the row was changed or moved, or its KEK is not here."""
        if len(wrapped) == _UNNAMED_BYTES:
            return self._unwrap_unnamed(wrapped, b"key\x00" + grant_digest)
        kek_id = self._named(wrapped)
        kek = self._by_id.get(kek_id)
        if kek is None:
            detail = f"key-encryption key {kek_id.hex()} is not among those configured"
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, detail)
        key = kek.unwrap(wrapped[1 + ID_BYTES :], _bound(kek_id, grant_digest))
        if len(key) != KEY_BYTES:
            raise changed()
        return key

    def is_current(self, wrapped: bytes) -> bool:
        """Whether a key is wrapped under the key-encryption key that wraps now."""
        return len(wrapped) != _UNNAMED_BYTES and self._named(wrapped) == self._wrapping.id

    def complaints(self) -> list[str]:
        """Why which keys cannot be used now."""
        return [said for kek in self._by_id.values() if (said := kek.complaint()) is not None]

    def _unwrap_unnamed(self, wrapped: bytes, bound_to: bytes) -> bytes:
        for kek in self._unnamed:
            try:
                return kek.unwrap(wrapped, bound_to)
            except LogUnavailableError:
                continue
        raise changed()

    @staticmethod
    def _named(wrapped: bytes) -> bytes:
        if len(wrapped) <= 1 + ID_BYTES or wrapped[0] != _VERSION:
            raise changed()
        return wrapped[1 : 1 + ID_BYTES]


def changed() -> LogUnavailableError:
    """What is said of a row that does not open."""
    return LogUnavailableError(Reason.LOG_UNAVAILABLE, "an evidence row was changed or moved")


def _bound(kek_id: bytes, grant_digest: bytes) -> bytes:
    return b"key\x01" + kek_id + grant_digest
