"""Keys of evidence: one for each grant, wrapped under a key-encryption key, so that destroying it erases.

AES-256-GCM with 96-bit random nonces; the associated data binds a ciphertext to what it belongs to, and to its format,
so that a row moved in the database does not open. What is encrypted is packed first (`gateway.packing`); what was
encrypted before that was is still read. Source: NIST SP 800-38D; the leaf key of the log is derived from the grant's
key (`gateway.protocol.leaf`).

Keys that were unwrapped are kept in memory, so that a token is not asked for each request: at most CACHED_KEYS of them,
each for at most CACHED_SECONDS after it was unwrapped. The store is always asked first whether there is a key, so that
what was erased, by this process or by another, is not found here.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.evidence.keks import KEY_BYTES, NONCE_BYTES, Keks, Randomness, changed
from gateway.packing import Kind, pack, unpack
from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason

CACHED_KEYS = 10_000
CACHED_SECONDS = 60.0
"""A retry comes within its minute; whoever reads the memory a minute after an erasure finds nothing."""

_PACKED = b"packed\x01"


class Vault:
    """Makes, wraps and uses evidence keys. Safe for concurrent calls."""

    def __init__(
        self, keks: Keks, randomness: Randomness = os.urandom, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self.keks = keks
        self._randomness = randomness
        self._steady = steady
        self._cached: OrderedDict[bytes, tuple[bytes, bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def new_key(self) -> bytes:
        """A fresh evidence key."""
        return self._randomness(KEY_BYTES)

    def wrap(self, key: bytes, grant_digest: bytes) -> bytes:
        """The key as the store keeps it, bound to its grant; LogUnavailableError if its KEK cannot be used now."""
        wrapped = self.keks.wrap(key, grant_digest)
        self._remember(grant_digest, wrapped, key)
        return wrapped

    def unwrap(self, wrapped: bytes, grant_digest: bytes) -> bytes:
        """The evidence key of a grant; LogUnavailableError if the row was changed or moved, or its KEK is missing."""
        with self._lock:
            known = self._cached.get(grant_digest)
            if known is not None and known[0] == wrapped and self._steady() < known[2]:
                return known[1]
        key = self.keks.unwrap(wrapped, grant_digest)
        self._remember(grant_digest, wrapped, key)
        return key

    def forget(self, grant_digest: bytes) -> None:
        """The grant was erased."""
        with self._lock:
            self._cached.pop(grant_digest, None)

    def sweep(self) -> None:
        """Forget keys whose time is over; once a second."""
        with self._lock:
            now = self._steady()
            while self._cached and next(iter(self._cached.values()))[2] <= now:
                self._cached.popitem(last=False)

    def encrypt(self, key: bytes, data: bytes, bound_to: bytes, kind: Kind = Kind.PLAIN, least: int = 0) -> bytes:
        """`data`, packed to at least so many bytes, under an evidence key."""
        nonce = self._randomness(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, pack(kind, data, least), _PACKED + bound_to)

    def decrypt(self, key: bytes, ciphertext: bytes, bound_to: bytes, limit: int, kind: Kind = Kind.PLAIN) -> bytes:
        """What `encrypt` made of at most `limit` bytes; LogUnavailableError if it was changed or moved."""
        packed = _open(key, ciphertext, _PACKED + bound_to)
        if packed is not None:
            try:
                return unpack(kind, packed, limit)
            except MalformedError as error:
                raise LogUnavailableError(Reason.LOG_UNAVAILABLE, error.detail) from None
        data = _open(key, ciphertext, bound_to)  # from before anything was packed
        if data is None or len(data) > limit:
            raise changed()
        return data

    def _remember(self, grant_digest: bytes, wrapped: bytes, key: bytes) -> None:
        with self._lock:
            self._cached.pop(grant_digest, None)
            self._cached[grant_digest] = (wrapped, key, self._steady() + CACHED_SECONDS)
            if len(self._cached) > CACHED_KEYS:
                self._cached.popitem(last=False)


def _open(key: bytes, ciphertext: bytes, bound_to: bytes) -> bytes | None:
    try:
        return AESGCM(key).decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        return None
