"""Key-encryption keys in a PKCS#11 token: an AES-256 key that never leaves it wraps each evidence key in it.

- AES-GCM in the token where it has it. Where not, the token wraps a fresh key (CKM_AES_KEY_WRAP, RFC 3394), and that
  one, used once, wraps the evidence key here; what a body is made by is its first byte.
- A session that was lost is opened again, once per call; a token that is gone, a PIN that is refused or a key that is
  missing is a fault that is told (`complaint`), and over as soon as it is back. A refused PIN is not tried again before
  its file changes: a few wrong ones lock a token.
- One call at a time: sessions are not to be shared between threads, and many tokens have few. A token that hangs is
  waited for once, for PATIENCE, and then told as one that does not answer, at once, until it does (`patience`).

The extra `pkcs11` brings the binding. Sources: PKCS #11 v2.40 (CKM_AES_GCM, CKM_AES_KEY_WRAP), NIST SP 800-38D.
"""
# ruff: noqa: ANN401 - the binding ships no types

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.evidence.keks import ID_BYTES, KEY_BYTES, NONCE_BYTES, TAG_BYTES, Randomness, changed
from gateway.evidence.patience import OneByOne
from gateway.party.keyfiles import Stamp, read_private, stamp
from gateway.protocol.errors import HeyanError, LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason

T = TypeVar("T")

PATIENCE = 3.0
"""Seconds for which a token is waited for, perhaps by an event loop."""

_GCM, _KEY_WRAP = b"\x01", b"\x02"
_ID_LABEL = b"heyan.v1.TokenKekId\x00"
_WRAPPED_BYTES = KEY_BYTES + 8
"""RFC 3394 adds one block of 64 bits."""


class Token:
    """A logged-in session with the token of a label, opened when it is needed and again when it was lost."""

    def __init__(self, module: Path, label: str, pin: Path, patience: float = PATIENCE) -> None:
        try:
            import pkcs11  # noqa: PLC0415 - an optional extra
        except ImportError as error:
            raise MalformedError.at(
                "token", "needs the extra: pip install heyan[pkcs11]", Reason.CONFIGURATION_INVALID
            ) from error
        self.binding: Any = pkcs11
        try:
            self._library = pkcs11.lib(str(module))
        except (pkcs11.PKCS11Error, RuntimeError) as error:
            raise MalformedError.at(
                "token.module", f"{module} is no PKCS#11 module: {error}", Reason.CONFIGURATION_INVALID
            ) from error
        self._label = label
        self._pin = pin
        self._session: Any = None
        self._keys: dict[str, Any] = {}
        self._refused: Stamp | None = None
        self._calls = OneByOne(patience)

    def use(self, key: str, work: Callable[[Any, Any], T]) -> T:
        """`work` on the key of a label and its session; LogUnavailableError if the token cannot do it now."""
        try:
            return self._calls.call(lambda: self._use(key, work))
        except TimeoutError:
            said = self._told("does not answer")
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, said, retry_after=5.0) from None

    def close(self) -> None:
        """Log out."""
        with suppress(TimeoutError):  # from a token that does not answer nobody can
            self._calls.call(self._forget)

    def _use(self, key: str, work: Callable[[Any, Any], T]) -> T:
        try:
            return self._attempt(key, work)
        except self.binding.PKCS11Error:
            self._forget()  # a session that was lost is no fault yet
        try:
            return self._attempt(key, work)
        except self.binding.PKCS11Error as error:
            self._forget()
            raise self._fault(key, error) from None

    def _attempt(self, label: str, work: Callable[[Any, Any], T]) -> T:
        session = self._open()
        key = self._keys.get(label)
        if key is None:
            found = self.binding
            key = session.get_key(object_class=found.ObjectClass.SECRET_KEY, key_type=found.KeyType.AES, label=label)
            self._keys[label] = key
        return work(session, key)

    def _open(self) -> Any:
        if self._session is not None:
            return self._session
        now = stamp([self._pin])
        if now == self._refused:
            raise LogUnavailableError(
                Reason.LOG_UNAVAILABLE, self._told("refused the PIN; put the right one in its file")
            )
        try:
            pin = read_private(self._pin).decode().strip()
        except (HeyanError, UnicodeDecodeError) as error:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, self._told(f"has no PIN file: {error}")) from None
        pins = (self.binding.PinIncorrect, self.binding.PinLocked, self.binding.PinLenRange)
        try:
            try:
                self._session = self._log_in(pin)
            except pins:
                raise
            except self.binding.PKCS11Error:
                self._library.reinitialize()  # a token that was put back is seen only then
                self._session = self._log_in(pin)
        except pins:
            self._refused = now
            raise
        self._refused = None
        return self._session

    def _log_in(self, pin: str) -> Any:
        return self._library.get_token(token_label=self._label).open(user_pin=pin)

    def _forget(self) -> None:
        session, self._session, self._keys = self._session, None, {}
        if session is not None:
            try:
                session.close()
            except self.binding.PKCS11Error:
                return  # it is lost, which is why it is closed

    def _fault(self, key: str, error: Exception) -> LogUnavailableError:
        known = (
            (self.binding.NoSuchToken, "is not there"),
            (self.binding.NoSuchKey, f"has no AES key {key!r}"),
            (self.binding.MultipleObjectsReturned, f"has several AES keys {key!r}"),
            (self.binding.PinLocked, "is locked after wrong PINs"),
            (self.binding.PinIncorrect, "refused the PIN; put the right one in its file"),
        )
        said = next((text for kind, text in known if isinstance(error, kind)), f"failed: {type(error).__name__}")
        return LogUnavailableError(Reason.LOG_UNAVAILABLE, self._told(said), retry_after=5.0)

    def _told(self, what: str) -> str:
        return f"the PKCS#11 token {self._label!r} {what}"


class TokenKek:
    """The AES key of a label in a token, as a `keks.Kek`. Its id follows from the label: never reuse one."""

    def __init__(self, token: Token, label: str, randomness: Randomness = os.urandom) -> None:
        self._token = token
        self._label = label
        self._randomness = randomness
        self._id = sha256(_ID_LABEL + label.encode()).digest()[:ID_BYTES]

    @property
    def id(self) -> bytes:
        """See the port."""
        return self._id

    def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """See the port."""
        return self._token.use(self._label, lambda session, kek: self._wrap(session, kek, key, bound_to))

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """See the port. A row that was changed is a failing token to some tokens: the next call tells."""
        form, body = wrapped[:1], wrapped[1:]
        if form == _GCM and len(body) == NONCE_BYTES + KEY_BYTES + TAG_BYTES:
            return self._token.use(self._label, lambda _, kek: self._open_gcm(kek, body, bound_to))
        if form == _KEY_WRAP and len(body) == _WRAPPED_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES:
            once = self._token.use(
                self._label, lambda session, kek: self._unwrap_once(session, kek, body[:_WRAPPED_BYTES])
            )
            nonce, text = body[_WRAPPED_BYTES : _WRAPPED_BYTES + NONCE_BYTES], body[_WRAPPED_BYTES + NONCE_BYTES :]
            try:
                return AESGCM(once).decrypt(nonce, text, bound_to)
            except InvalidTag:
                raise changed() from None
        raise changed()

    def complaint(self) -> str | None:
        """See the port: tries to wrap."""
        try:
            self.wrap(bytes(KEY_BYTES), b"probe")
        except LogUnavailableError as error:
            return error.detail
        return None

    # -- in the token -------------------------------------------------------------------------------------------

    def _wrap(self, session: Any, kek: Any, key: bytes, bound_to: bytes) -> bytes:
        pkcs11 = self._token.binding
        nonce = self._randomness(NONCE_BYTES)
        if pkcs11.Mechanism.AES_GCM in session.token.slot.get_mechanisms():
            parameter = _gcm(pkcs11, nonce, bound_to)
            text: bytes = kek.encrypt(key, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameter)
            return _GCM + nonce + text
        once = self._randomness(KEY_BYTES)
        attributes = pkcs11.Attribute
        made = session.create_object(
            {
                attributes.CLASS: pkcs11.ObjectClass.SECRET_KEY,
                attributes.KEY_TYPE: pkcs11.KeyType.AES,
                attributes.VALUE: once,
                **_passing(attributes),
            }
        )
        try:
            wrapped = kek.wrap_key(made, mechanism=pkcs11.Mechanism.AES_KEY_WRAP)
        finally:
            made.destroy()
        return _KEY_WRAP + bytes(wrapped) + nonce + AESGCM(once).encrypt(nonce, key, bound_to)

    def _open_gcm(self, kek: Any, body: bytes, bound_to: bytes) -> bytes:
        pkcs11 = self._token.binding
        parameter = _gcm(pkcs11, body[:NONCE_BYTES], bound_to)
        opened: bytes = kek.decrypt(body[NONCE_BYTES:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameter)
        return opened

    def _unwrap_once(self, _session: Any, kek: Any, wrapped: bytes) -> bytes:
        pkcs11 = self._token.binding
        made = kek.unwrap_key(
            pkcs11.ObjectClass.SECRET_KEY,
            pkcs11.KeyType.AES,
            wrapped,
            mechanism=pkcs11.Mechanism.AES_KEY_WRAP,
            template=_passing(pkcs11.Attribute),
        )
        try:
            value: bytes = made[pkcs11.Attribute.VALUE]
            return value
        finally:
            made.destroy()


def token_keks(token: Token, labels: Sequence[str]) -> list[TokenKek]:
    """The keys of some labels in one token."""
    return [TokenKek(token, label) for label in labels]


def _gcm(pkcs11: Any, nonce: bytes, bound_to: bytes) -> Any:
    return pkcs11.GCMParams(nonce=nonce, aad=bound_to, tag_bits=8 * TAG_BYTES)


def _passing(attributes: Any) -> dict[Any, bool]:
    """Of a key that is in the token for one call only."""
    return {attributes.TOKEN: False, attributes.EXTRACTABLE: True, attributes.SENSITIVE: False}
