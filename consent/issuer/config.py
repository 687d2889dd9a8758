"""Settings of the consent issuer's process."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gateway.party.config import PartyConfig
from gateway.protocol.limits import MAX_GRANT_LIFETIME


class IssuerConfig(PartyConfig):
    """What `heyan consent serve` reads. The issuer's public place and its WebAuthn relying party are the registry's."""

    store: Path = Field(description="SQLite file of accounts, drafts and grants; made if there is none, mode 0600")
    keys: Path = Field(description="folder of grant keys, one <kid>.pem each; new ones are noticed")
    pseudonym_secret: Path = Field(description="file of at least 32 random bytes, mode 0600; never replaced")
    grant_lifetime_seconds: int = Field(180 * 86_400, gt=0, le=int(MAX_GRANT_LIFETIME), description="of a new grant")
    max_drafts: int = Field(50_000, gt=0, description="unapproved drafts kept at once, a bound against floods")
