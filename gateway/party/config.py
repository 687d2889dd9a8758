"""Settings that every process has, read once at start from one TOML file and checked there.

A party's own settings are a subclass; so are those of a process that is nobody in a federation, such as a witness.
Paths in the file are relative to the file. Environment variables `HEYAN_<NAME>` override single values (nested ones
with `__`), for deployments that inject addresses.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.party.addresses import EXPECTED, require_free, split_address
from gateway.protocol.errors import FieldViolation, MalformedError
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.reasons import Reason

PREFIX = "HEYAN_"
_OF_OTHERS = ("DESK", "SUPERVISOR_PID")
"""Variables of this prefix that other parts of Heyan read."""


def _address(text: str) -> str:
    try:
        split_address(text)
    except MalformedError:
        raise PydanticCustomError("address", EXPECTED) from None
    return text


Address = Annotated[str, AfterValidator(_address)]
"""host:port that a server listens on."""

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


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


class ProcessConfig(BaseSettings):
    """Settings of any process that serves, a party of a federation or not; subclasses add their own."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", hide_input_in_errors=True
    )

    listen: Address = Field("127.0.0.1:0", description="host:port of the service")
    probes: Address = Field("127.0.0.1:0", description="host:port of /healthz, /readyz and /metrics, plain HTTP")
    log_level: LogLevel = "info"

    @model_validator(mode="after")
    def _require_ports_apart(self) -> Self:
        if self.listen == self.probes and split_address(self.listen)[1] != 0:
            raise PydanticCustomError("address", "listen and probes must differ")
        return self

    def require_free(self) -> None:
        """MalformedError (CONFIGURATION_INVALID) naming the first of `listen` and `probes` that something else has."""
        require_free(self.listen, "listen")
        require_free(self.probes, "probes")

    @classmethod
    def unknown_variables(cls, names: Iterable[str]) -> Mapping[str, str]:
        """Of the names of environment variables those that look like settings and are none, with the nearest that is.

        They are told and not refused: an environment may be shared by several parties, each with settings of its own.
        """
        known = {name.upper() for name in cls.model_fields}
        found = {name: name.upper().removeprefix(PREFIX) for name in sorted(names) if name.upper().startswith(PREFIX)}
        nearest = {
            name: get_close_matches(setting, known, 1)
            for name, setting in found.items()
            if setting.partition("__")[0] not in known and setting not in _OF_OTHERS
        }
        return {name: PREFIX + each[0] if each else "" for name, each in nearest.items()}

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
        except (
            OSError,
            ValueError,
            RecursionError,
        ) as error:  # a ValueError of decoding, of TOML, or of a number in it
            raise MalformedError.at(str(path), f"cannot be read: {error}", Reason.CONFIGURATION_INVALID) from error
        try:
            return cls(**_resolve_paths(values, path.parent.resolve(), cls))
        except ValidationError as error:
            violations = tuple(_violation(path, problem) for problem in error.errors())
            told = "; ".join(f"{each.field} {each.description}" for each in violations)
            raise MalformedError(Reason.CONFIGURATION_INVALID, told, violations=violations) from None


class PartyConfig(ProcessConfig):
    """Settings of any party; subclasses add their own."""

    spiffe_id: str
    tls: TlsFiles
    registry: RegistryFiles

    @property
    def identity(self) -> Identity:
        """The party's identity."""
        return parse_identity(self.spiffe_id)


def _violation(path: Path, problem: ErrorDetails) -> FieldViolation:
    """A problem, located at the environment variable that brought the value, else at the file."""
    names = [str(part) for part in problem["loc"]]
    variable = PREFIX + "__".join(names).upper()
    from_environment = variable in {name.upper() for name in os.environ}
    where = variable if from_environment else f"{path}: {'.'.join(names)}" if names else f"{path}:"
    return FieldViolation(where, problem["msg"])


def _resolve_paths(values: dict[str, Any], folder: Path, model: type[BaseModel]) -> dict[str, Any]:
    """Make the values of Path fields absolute, taking them relative to the file's folder."""
    resolved = dict(values)
    for name, field in model.model_fields.items():
        kind, value = field.annotation, values.get(name)
        if isinstance(value, str) and kind in (Path, Path | None):
            resolved[name] = folder / value
        elif isinstance(value, list) and kind == tuple[Path, ...]:
            resolved[name] = [folder / item if isinstance(item, str) else item for item in value]
        elif isinstance(value, dict) and (nested := _model_in(kind)) is not None:
            resolved[name] = _resolve_paths(value, folder, nested)
    return resolved


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds, if it holds one, or may."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
