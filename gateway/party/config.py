"""Settings that every party has, read once at start from one TOML file and checked there.

A party's own settings are a subclass. Paths in the file are relative to the file. Environment variables
`HEYAN_<NAME>` override single values (nested ones with `__`), for deployments that inject addresses.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.reasons import Reason


class TlsFiles(BaseModel):
    """PEM files of the party's transport identity. They are read again when they change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: Path
    key: Path
    ca: Path


class RegistryFiles(BaseModel):
    """Where the registry comes from, the pinned operator key, and where the newest version seen is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path = Field(description="file that the operator publishes; looked at every second")
    operator_vkey: str = Field(description="the operator's key as a C2SP verifier key")
    seen: Path = Field(description="the newest version seen, in the party's own folder")


class PartyConfig(BaseSettings):
    """Settings of any party; subclasses add their own."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="HEYAN_", env_nested_delimiter="__", hide_input_in_errors=True
    )

    spiffe_id: str
    listen: str = Field("127.0.0.1:0", description="host:port of the service")
    probes: str = Field("127.0.0.1:0", description="host:port of /healthz, /readyz and /metrics, plain HTTP")
    log_level: str = "info"
    tls: TlsFiles
    registry: RegistryFiles

    @property
    def identity(self) -> Identity:
        """The party's identity."""
        return parse_identity(self.spiffe_id)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file."""
        return env_settings, init_settings

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The settings of a TOML file; MalformedError (CONFIGURATION_INVALID) naming every bad field."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise MalformedError.at(str(path), f"cannot be read: {error}", Reason.CONFIGURATION_INVALID) from error
        try:
            return cls(**_resolve_paths(values, path.parent.resolve(), cls))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()
            )
            raise MalformedError.at(str(path), problems, Reason.CONFIGURATION_INVALID) from None


def _resolve_paths(values: dict[str, Any], folder: Path, model: type[BaseModel]) -> dict[str, Any]:
    """Make the values of Path fields absolute, taking them relative to the file's folder."""
    resolved = dict(values)
    for name, field in model.model_fields.items():
        kind, value = field.annotation, values.get(name)
        if isinstance(value, str) and kind in (Path, Path | None):
            resolved[name] = folder / value
        elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            resolved[name] = _resolve_paths(value, folder, kind)
    return resolved
