"""Settings of a witness's process."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.party.addresses import is_loopback, split_address
from gateway.party.config import ProcessConfig


class ServerTls(BaseModel):
    """PEM files of the certificate under which the witness is reached; read again when they change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: Path
    key: Path


class WitnessConfig(ProcessConfig):
    """Settings of `heyan log witness`; bounds are counts."""

    store: Path = Field(description="SQLite file of the newest checkpoint of each log, mode 0600: never an old copy")
    key: Path = Field(description="private key file of heyan log witness-key, mode 0600")
    logs: Path = Field(description="verifier keys of the logs it serves, one a line; looked at every second")
    tls: ServerTls | None = Field(None, description="certificate and key; without them it listens on loopback only")
    max_requests: int = Field(64, ge=1, description="requests under way; beyond it 503")
    advances_burst: int = Field(60, ge=1, description="new checkpoints of one log at once; beyond it 429")
    advances_per_second: float = Field(5.0, gt=0, description="and in the long run")

    @model_validator(mode="after")
    def _require_tls_or_loopback(self) -> Self:
        if self.tls is None and not is_loopback(split_address(self.listen)[0]):
            raise PydanticCustomError(
                "tls", "listen: needs tls.certificate and tls.key, unless on loopback / 非本机地址须配置 TLS 证书"
            )
        return self
