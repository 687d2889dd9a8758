"""Settings of the gateway process."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gateway.party.config import PartyConfig


class GatewayConfig(PartyConfig):
    """Settings of `heyan gateway serve`; bounds are counts, times seconds."""

    store: Path = Field(description="SQLite file of log, requests and evidence")
    log_keys: Path = Field(description="folder of the Ed25519 log keys (PKCS#8 PEM, mode 0600)")
    kek: Path = Field(description="file with the 32-byte key-encryption key of the evidence, mode 0600")
    max_requests: int = Field(512, ge=1, description="requests under way")
    max_requests_per_requester: int = Field(256, ge=1, description="of which one requester may have")
    drain_seconds: float = Field(15.0, gt=0, description="how long a stop waits for what is under way")
    reflection: bool = Field(False, description="serve gRPC reflection (needs the extra `reflection`)")
