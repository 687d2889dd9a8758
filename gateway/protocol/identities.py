"""Transport identities: SPIFFE IDs `spiffe://heyan/<role>/<id>`, and the DNS name that stands beside each.

grpcio checks a server's host name against DNS and IP SANs only, so a server certificate also carries
`<id>.<role>.heyan.internal`; the URI SAN is checked after the handshake.
Source: SPIFFE-ID specification §2 (the trust domain here is `heyan`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import lru_cache

from gateway.protocol.errors import MalformedError

TRUST_DOMAIN = "heyan"
_ID = re.compile(r"^spiffe://heyan/([a-z]+)/([a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?)\Z")


@unique
class PartyRole(StrEnum):
    """What a party is in the federation."""

    ISSUER = "issuer"
    REQUESTER = "requester"
    GATEWAY = "gateway"
    DEPARTMENT = "department"
    AUDITOR = "auditor"


_ROLES = frozenset(role.value for role in PartyRole)


@dataclass(frozen=True, slots=True)
class Identity:
    """A party's transport identity."""

    role: PartyRole
    name: str

    @property
    def uri(self) -> str:
        """The SPIFFE ID."""
        return f"spiffe://{TRUST_DOMAIN}/{self.role.value}/{self.name}"

    @property
    def dns_name(self) -> str:
        """The DNS SAN that clients override the target name to."""
        return f"{self.name}.{self.role.value}.heyan.internal"


@lru_cache(maxsize=4096)  # valid ones only, which are short
def parse_identity(uri: str, field: str = "spiffe_id") -> Identity:
    """The identity of a SPIFFE ID of this trust domain; MalformedError naming `field`.

    A name is 1 to 48 characters of a-z, 0-9 and inner hyphens, so that it is also one DNS label.
    """
    match = _ID.match(uri)
    if match is None or match[1] not in _ROLES:
        raise MalformedError.at(field, "must be spiffe://heyan/<role>/<id>")
    return Identity(PartyRole(match[1]), match[2])
