"""The evidence of grants: kept under a key for each, found again, and known to be erased.

Hides store and vault from whoever keeps something under a grant's key: requests, tickets, disputes, deferrals. Of an
erased grant nothing can be read, and nothing is kept under it any more; that is said as what it is (EVIDENCE_ERASED),
and never as a fault or as "no such thing".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from consent.grant import peek
from gateway.evidence.vault import Vault
from gateway.packing import Kind
from gateway.protocol.codec import encode, parse
from gateway.protocol.errors import LogUnavailableError, NotFoundError
from gateway.protocol.leaf import Tags, derive_leaf_key
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.presentation import Presentation, write_presentation
from gateway.protocol.reasons import Reason
from gateway.state_text import MAX_STATE
from gateway.stores.port import Store
from gateway.stores.records import Evidence
from heyan.v1 import query_pb2


def erased() -> NotFoundError:
    """What is said of anything that was erased."""
    return NotFoundError(Reason.EVIDENCE_ERASED)


class KeptEvidence:
    """What is kept under the keys of grants. Safe for concurrent calls."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    @property
    def waits(self) -> bool:
        """Whether a key may wait for a device, so that an event loop should not."""
        return self._vault.keks.waits

    def key(self, grant_digest: bytes) -> bytes:
        """The evidence key of a grant; NotFoundError (EVIDENCE_ERASED), or LogUnavailableError if there is none."""
        held = self._held(grant_digest)
        if held is None:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "no evidence key of that grant")
        return self._vault.unwrap(held.wrapped_key, grant_digest)

    def require_kept(self, grant_digests: Iterable[bytes]) -> None:
        """Refuse grants that were erased, also where they are valid; NotFoundError (EVIDENCE_ERASED)."""
        for grant_digest in grant_digests:
            self._held(grant_digest)

    def encrypt(self, grant_digest: bytes, data: bytes, bound_to: bytes) -> bytes:
        """`data` under the evidence key of a grant that was used here; raises what `key` raises."""
        return self._vault.encrypt(self.key(grant_digest), data, bound_to)

    def decrypt(self, grant_digest: bytes, ciphertext: bytes, bound_to: bytes, limit: int = MAX_STATE) -> bytes:
        """What `encrypt` made of at most `limit` bytes; LogUnavailableError if it was changed or moved."""
        return self._vault.decrypt(self.key(grant_digest), ciphertext, bound_to, limit)

    def of(self, grant: Presentation, kept_from: float) -> Evidence:
        """The evidence of a grant: what is kept, counted from `kept_from` on at least, or fresh; see `key`."""
        held = self._held(grant.digest)
        if held is not None:
            return self._with_more(replace(held, kept_from=max(kept_from, held.kept_from)), grant)
        key = self._vault.new_key()
        ciphertext = self._encrypted(key, grant.digest, write_presentation(grant))
        return Evidence(grant.digest, self._vault.wrap(key, grant.digest), ciphertext, kept_from)

    def _with_more(self, held: Evidence, grant: Presentation) -> Evidence:
        """What is held, with what this presentation discloses beyond it: later requests may rest on other elements."""
        kept = self.presentation(held)
        known = set(kept.disclosures)
        more = [text for text in grant.disclosures if text not in known]
        if not more:
            return held
        kept.disclosures.extend(more)
        ciphertext = self._encrypted(self.key_of(held), grant.digest, kept)
        return replace(held, ciphertext=ciphertext, replaces=held.ciphertext)

    def _encrypted(self, key: bytes, grant_digest: bytes, presented: query_pb2.GrantPresentation) -> bytes:
        return self._vault.encrypt(key, encode(presented), _bound_to(grant_digest), Kind.GRANT)

    def key_of(self, evidence: Evidence) -> bytes:
        """The key of evidence that was read, or made just now; LogUnavailableError if it was changed."""
        return self._vault.unwrap(evidence.wrapped_key, evidence.grant_digest)

    def presentation(self, evidence: Evidence) -> query_pb2.GrantPresentation:
        """The grant with all that was disclosed of it by the requests that rest on it."""
        digest = evidence.grant_digest
        data = self._vault.decrypt(
            self.key_of(evidence), evidence.ciphertext, _bound_to(digest), MAX_MESSAGE, Kind.GRANT
        )
        return parse(query_pb2.GrantPresentation, data, MAX_MESSAGE)

    def leaf_tags(self, issuer: str, grant_digest: bytes) -> Tags | None:
        """The tags of a grant's leaves, if evidence of a grant of this issuer's is kept under that digest."""
        held = self._store.evidence(grant_digest)
        if held is None or held.is_erased:
            return None
        presented = self.presentation(held)
        return Tags(derive_leaf_key(self.key_of(held))) if peek(presented.grant).iss == issuer else None

    def _held(self, grant_digest: bytes) -> Evidence | None:
        held = self._store.evidence(grant_digest)
        if held is not None and held.is_erased:
            self._vault.forget(grant_digest)
            raise erased()
        return held


def _bound_to(grant_digest: bytes) -> bytes:
    return b"grant\x00" + grant_digest
