"""The node's own keys: answer keys and sealing keys in folders that are watched, and the secret behind pseudonyms.

A sealing key is destroyed once it has ended in the registry: what was sealed to it, and recorded by somebody on the
way, then stays sealed. A key that the registry does not list is left alone: it may be listed tomorrow.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import structlog

from gateway.party.keyfiles import (
    Watched,
    destroy,
    load_sealing_keys,
    load_signing_keys,
    newest_usable,
    read_private,
    unusable,
    write_private,
)
from gateway.protocol.codec import b64url, unb64url
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import PartyRole
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse
from gateway.protocol.sealing import OpeningKey

SECRET_BYTES = 32
_FORM = f"must be base64url of {SECRET_BYTES} bytes"

_log = structlog.get_logger(__name__)


class NodeKeys:
    """Implements `answerer.Keys` on two folders. Any thread; MalformedError if a file cannot be used at start."""

    def __init__(self, department: str, *, answer_keys: Path, sealing_keys: Path) -> None:
        self._department = department
        self._folder = sealing_keys
        self._answer = Watched((answer_keys,), lambda: load_signing_keys(answer_keys))
        self._sealing = Watched((sealing_keys,), lambda: load_sealing_keys(sealing_keys))

    def opening(self) -> Mapping[str, OpeningKey]:
        """Every sealing key that is held, by key id."""
        return self._sealing.value

    def signing(self, registry: Registry, now: float) -> SigningKey:
        """The newest answer key that counts; ForgedError (KEY_UNKNOWN) if none does."""
        return newest_usable(self._answer.value, registry, self._department, KeyUse.ANSWER, now)

    def look_after(self, registry: Registry, now: float) -> None:
        """Destroy sealing keys that have ended, and read the folders again if they changed. Raises OSError."""
        terms = registry.party_in_role(self._department, PartyRole.DEPARTMENT).department
        for key in terms.sealing_keys if terms is not None else ():
            path = self._folder / f"{key.kid}.key"
            if now > key.not_after + EARLY_TOLERANCE and path.exists():
                destroy(path)
                _log.info("sealing_key_destroyed", kid=key.kid)
        self._answer.refresh()
        self._sealing.refresh()


def load_secret(path: Path, *, journal: Path) -> bytes:
    """The node's secret, made along with a new journal: base64url of 32 random bytes on one line.

    Raises MalformedError (CONFIGURATION_INVALID) if it is unusable, or missing beside a journal that was kept
    under it: a new one would forget all budgets.
    """
    if not path.exists():
        if journal.exists():
            raise unusable(path, f"is missing, but the journal {journal} was kept under it: restore it")
        write_private(path, b64url(secrets.token_bytes(SECRET_BYTES)).encode() + b"\n")
    try:
        secret = unb64url(read_private(path).decode("ascii", "replace").strip(), "secret")
    except MalformedError as error:
        raise error if error.reason is Reason.CONFIGURATION_INVALID else unusable(path, _FORM) from None
    if len(secret) != SECRET_BYTES:
        raise unusable(path, _FORM)
    return secret
