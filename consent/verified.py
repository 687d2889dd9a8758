"""What verification makes of a grant: values, and the memory of signatures that held."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from consent.disclosures import Authorization
from consent.grant import GrantPayload, StatusReference
from gateway.protocol.claims import Role
from gateway.protocol.keys import PublicKey
from gateway.protocol.registry_terms import Assurance


@dataclass(frozen=True, slots=True)
class VerifiedGrant:
    """A grant that `open_grant` accepted. `authorizations` holds the disclosed elements only, by index.

    `actor` is who allowed it: GUARDIAN or CO_RESIDENT. `payload_digest` is the challenge that the passkey signed.
    """

    digest: bytes
    issuer: str
    jti: str
    audience: str
    actor: Role
    subjects: Mapping[Role, bytes]
    authorizations: Mapping[int, Authorization] = field(repr=False)
    acr: Assurance
    txn: str
    status: StatusReference
    evidence_digest: bytes
    key_commitment: bytes
    payload_digest: bytes
    expires: int
    legal_basis: str


class Standings(Protocol):
    """Whether grants still stand: `consent.status_follower.StatusFollower` knows."""

    async def require_standing(self, grant: VerifiedGrant) -> None:
        """Raise NotGrantedError (GRANT_REVOKED), or UnreachableError (STATUS_UNAVAILABLE) if it cannot be told."""
        ...

    def stands(self, grant: VerifiedGrant) -> bool:
        """Whether what is at hand says that it stands: then `require_standing` would return at once. From any thread.

        False says nothing: whoever needs to know why asks `require_standing`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Genuine:
    """What a signature proved once: the key that made it, and what it covers."""

    key: PublicKey
    payload: GrantPayload
    payload_digest: bytes
    evidence_digest: bytes


REMEMBERED_GRANTS = 4_096
"""About 5 KB each. A request that comes again does so within its minute; a grant is rarely used later that day."""


class GenuineGrants:
    """Grants whose signature held, by digest: at most `capacity`, the least lately used given up first."""

    def __init__(self, capacity: int = REMEMBERED_GRANTS) -> None:
        self._capacity = capacity
        self._held: OrderedDict[bytes, Genuine] = OrderedDict()

    def get(self, grant_digest: bytes) -> Genuine | None:
        """What is remembered of a grant."""
        if grant_digest in self._held:
            self._held.move_to_end(grant_digest)
        return self._held.get(grant_digest)

    def put(self, grant_digest: bytes, genuine: Genuine) -> None:
        """Remember that a grant's signature held."""
        self._held[grant_digest] = genuine
        self._held.move_to_end(grant_digest)
        while len(self._held) > self._capacity:
            self._held.popitem(last=False)
