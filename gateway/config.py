"""Settings of the gateway process."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.admission import LEAST_PLACES
from gateway.party.addresses import require_free, split_address
from gateway.party.config import Address, PartyConfig
from gateway.waiting_room import Limits


class TokenKeys(BaseModel):
    """The key-encryption key in a PKCS#11 token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: Path = Field(description="the PKCS#11 module, a shared library")
    label: str = Field(description="the token's label")
    pin: Path = Field(description="file with the user PIN, mode 0600")
    key: str = Field(description="label of the AES-256 key that wraps")
    retired_keys: tuple[str, ...] = Field((), description="labels of keys that only unwrap, until rewrapped")


class GatewayConfig(PartyConfig):
    """Settings of `heyan gateway serve`; bounds are counts, times seconds."""

    store: Path = Field(description="SQLite file of log, requests and evidence")
    log_keys: Path = Field(description="folder of the log keys, Ed25519 and perhaps ML-DSA-44 (PKCS#8 PEM, mode 0600)")
    kek: Path | None = Field(
        None,
        description="file with the 32-byte key-encryption key of the evidence, mode 0600; with `token` it only unwraps",
    )
    retired_keks: tuple[Path, ...] = Field(
        (), description="files of key-encryption keys that only unwrap, until `heyan gateway rewrap` is through"
    )
    token: TokenKeys | None = Field(
        None, description="PKCS#11 token whose key wraps instead (needs the extra `pkcs11`)"
    )
    retention_days: int = Field(
        1095, ge=1, description="days for which evidence is kept after its last leaf and its grants' end"
    )
    rules: Path | None = Field(
        None,
        description="rule packs (a folder of REGION.toml), watched; those that ship with Heyan if unset",
    )
    published: Path | None = Field(
        None, description="folder in which the log is published as files (C2SP tlog-tiles); not published if unset"
    )
    log_listen: Address = Field("127.0.0.1:0", description="host:port of the published log, HTTPS")
    max_requests: int = Field(
        512, ge=LEAST_PLACES, description="places for requests under way, of 64 KiB each, shared fairly"
    )
    unanswered_burst: int = Field(600, ge=1, description="queries of a requester that no department answers, at once")
    unanswered_per_second: float = Field(10.0, gt=0, description="and in the long run")
    deferred_requests: int = Field(20_000, ge=0, description="requests kept because a department could not be had")
    deferred_requests_each: int = Field(10_000, ge=0, description="and of one requester")
    deferred_bytes: int = Field(1 << 30, ge=0, description="bytes of them, encrypted in the store")
    deferred_bytes_each: int = Field(1 << 29, ge=0, description="and of one requester")
    deferred_at_once: int = Field(16, ge=1, description="of them tried together, once departments are back")
    max_watchers: int = Field(1_024, ge=2, description="calls of GetVerification that wait for news, shared fairly")
    offline_after_seconds: float = Field(
        3600.0, ge=0, description="seconds without an online answer after which paper may be asked for"
    )
    witness_policy: Path | None = Field(
        None, description="policy file (C2SP tlog-policy) of the log's witnesses, watched; nobody is asked if unset"
    )
    witness_interval: float = Field(1.0, ge=0.1, description="seconds between checkpoints that witnesses are asked for")
    witness_patience: float = Field(
        60.0,
        ge=0,
        description="seconds for which a witnessed checkpoint is published before a newer unwitnessed one is",
    )
    witness_max_age: float = Field(300.0, gt=0, description="age in seconds of the newest witnessed one that is told")
    drain_seconds: float = Field(15.0, gt=0, description="how long a stop waits for what is under way")
    reflection: bool = Field(False, description="serve gRPC reflection (needs the extra `reflection`)")

    @model_validator(mode="after")
    def _require_log_apart(self) -> Self:
        if self.log_listen in (self.listen, self.probes) and split_address(self.log_listen)[1] != 0:
            raise PydanticCustomError("address", "log_listen must differ from listen and probes")
        return self

    @property
    def deferral_limits(self) -> Limits:
        """What may wait for departments."""
        return Limits(
            requests=self.deferred_requests,
            size=self.deferred_bytes,
            requests_each=self.deferred_requests_each,
            size_each=self.deferred_bytes_each,
        )

    def require_free(self) -> None:
        """See the base; and `log_listen`."""
        super().require_free()
        if self.published is not None:
            require_free(self.log_listen, "log_listen")
