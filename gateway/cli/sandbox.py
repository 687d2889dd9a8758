"""A whole federation in one folder: made once, continued later, renewed while it runs.

operator/            the operator's desk: registry, CA
gateway/             settings, keys, store            each party writes only in its own folder
consent/             settings, keys, store
departments/<id>/    settings, keys, register, journal
requesters/<id>/, auditors/<id>/                      what clients connect with
guardians/           the secret from which the software authenticators derive their passkeys
witnesses/<name>/    settings, key, store, the log's keys      only with --witnesses
policy               whose cosignatures count                  likewise
rules/               the rule packs, with windows open around today in all counties but one
truth.jsonl          every simulated family with every correct answer
sandbox.json         what the folder was made with; a different seed is refused later
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from gateway.cli.endpoints import FILE as ENDPOINTS_FILE
from gateway.cli.options import usage_error
from gateway.cli.rehearsals import RULES_FOLDER, closed_county
from gateway.protocol.claims import DepartmentKind, Role
from gateway.protocol.codec import decode_json
from gateway.protocol.divisions import PREFECTURES
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.reasons import Reason
from sandbox_departments.population import MAX_POPULATION
from sandbox_departments.registers import NodeKey

GATEWAY = Identity(PartyRole.GATEWAY, "main")
ISSUER = Identity(PartyRole.ISSUER, "citizen-app")
AUDITOR = Identity(PartyRole.AUDITOR, "auditor")
LOG_ORIGIN = "log.main.heyan.internal/2027"

DEFAULT_PORT_BASE = 18_400
DEFAULT_SEED = 1
DEFAULT_POPULATION = 2_000
DEFAULT_PREFECTURES = ("4301", "4303")
MADE_FILE = "sandbox.json"
POLICY_FILE = "policy"
"""By which checkpoints of the log count as witnessed, if there are witnesses."""
MAX_WITNESSES = 8
MAKING_FILE = ".making"
"""Marks a folder whose making has begun: see gateway.cli.sandbox_begin."""
_FIRST_PORT = 1_024

STANDBYS, LAST = 1, 2
"""Waves: a standby opens what its primary made; the gateway connects to all."""


class Made(msgspec.Struct, frozen=True):
    """What a folder was made with. Of the counties of its prefectures one is kept closed, and nobody lives there."""

    seed: int
    population: int
    prefectures: tuple[str, ...]
    port_base: int
    closed: str
    standbys: bool = False
    post_quantum: bool = False
    witnesses: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; None where it says nothing."""

    seed: int | None = None
    population: int | None = None
    prefectures: tuple[str, ...] | None = None
    port_base: int | None = None
    standbys: bool | None = None
    post_quantum: bool | None = None
    witnesses: int | None = None
    gateway_workers: int | None = None
    """Of this run alone: a folder is made with none."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process to start: its name, the words after `heyan`, its folder, its ports, and what else it is told.

    Processes of a `wave` start together, once those of the waves before are ready.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    port: int
    probes: int
    wave: int = 0
    log_port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / ("process-standby.log" if self.wave == STANDBYS else "process.log")


class Sandbox:
    """The federation in one folder: who is in it, and where each party's things are."""

    def __init__(self, folder: Path, made: Made, gateway_workers: int = 1) -> None:
        self.folder = folder
        self.made = made
        self._gateway_workers = gateway_workers

    @property
    def desk_folder(self) -> Path:
        """The operator's folder."""
        return self.folder / "operator"

    @property
    def guardians_secret(self) -> Path:
        """From which the software authenticators derive their passkeys."""
        return self.folder / "guardians" / "secret"

    @property
    def rules_folder(self) -> Path:
        """The rule packs, which the gateway serves by."""
        return self.folder / RULES_FOLDER

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Every party."""
        return (GATEWAY, ISSUER, AUDITOR, *self.nodes.values(), *self.requesters)

    @property
    def nodes(self) -> dict[NodeKey, Identity]:
        """The department nodes: five for each prefecture."""
        return {
            (kind, prefecture): Identity(PartyRole.DEPARTMENT, f"{kind.value}-{prefecture}")
            for prefecture in self.made.prefectures
            for kind in DepartmentKind
        }

    @property
    def requesters(self) -> tuple[Identity, ...]:
        """One education system for each prefecture; each may ask everything in every simulated region."""
        return tuple(Identity(PartyRole.REQUESTER, f"edu-{prefecture}") for prefecture in self.made.prefectures)

    def processes(self) -> Iterator[Process]:
        """Every party that runs, in the order to start them."""
        ports = self.ports
        yield self._process(ISSUER, ("consent", "serve"), ports)
        for name, port in self.witness_ports.items():
            words = ("log", "witness", "--config", str(self.witness_settings(name)))
            yield Process(name, words, self.witness_folder(name), port, port + 1)
        for identity in self.nodes.values():
            yield self._process(identity, ("department", "serve"), ports)
        for identity in self.nodes.values() if self.made.standbys else ():
            yield self._standby(self._process(identity, ("department", "serve"), ports), identity)
        workers = ("--workers", str(self._gateway_workers)) if self._gateway_workers > 1 else ()
        gateway = self._process(GATEWAY, ("gateway", "serve", *workers), ports)
        yield replace(gateway, wave=LAST, log_port=self.log_port)

    def _process(self, identity: Identity, words: tuple[str, ...], ports: dict[str, int]) -> Process:
        folder, port = self.folder_of(identity), ports[identity.uri]
        name = "gateway" if identity == GATEWAY else "consent" if identity == ISSUER else identity.name
        return Process(name, (*words, "--config", str(folder / "settings.toml")), folder, port, port + 1)

    def _standby(self, primary: Process, identity: Identity) -> Process:
        """A second process of the same node: the same settings, keys and journal, other ports."""
        port = self.standby_ports[identity.uri]
        listens = {"HEYAN_LISTEN": address(port), "HEYAN_PROBES": address(port + 1)}
        name = f"{primary.name}-standby"
        return replace(primary, name=name, port=port, probes=port + 1, wave=STANDBYS, environment=listens)

    @property
    def ports(self) -> dict[str, int]:
        """Each party's port; its probes listen on the next one."""
        served = (GATEWAY, ISSUER, *self.nodes.values())
        return {identity.uri: self.made.port_base + 2 * place for place, identity in enumerate(served)}

    @property
    def standby_ports(self) -> dict[str, int]:
        """The port of each node's standby, after all others; empty if there are none."""
        if not self.made.standbys:
            return {}
        first = self.made.port_base + 2 * len(self.ports)
        return {identity.uri: first + 2 * place for place, identity in enumerate(self.nodes.values())}

    @property
    def log_port(self) -> int:
        """The port of the gateway's published log, after all others."""
        return self.made.port_base + 2 * (len(self.ports) + len(self.standby_ports))

    @property
    def witness_ports(self) -> dict[str, int]:
        """The port of each witness by its name, after all others."""
        first = self.made.port_base + 2 * (len(self.ports) + len(self.standby_ports) + 1)  # and one for the log
        return {f"witness-{number + 1}": first + 2 * number for number in range(self.made.witnesses)}

    def witness_folder(self, name: str) -> Path:
        """A witness's own folder."""
        return self.folder / "witnesses" / name

    def witness_settings(self, name: str) -> Path:
        """Its settings: not called as a party's are, since it is none."""
        return self.witness_folder(name) / "witness.toml"

    @property
    def parts(self) -> tuple[Path, ...]:
        """What making leaves in the folder, but for `sandbox.json`, which comes last."""
        tops = {self.folder_of(identity).relative_to(self.folder).parts[0] for identity in self.identities}
        shared = ("witnesses", POLICY_FILE, "truth.jsonl", ENDPOINTS_FILE, ".gitignore")
        names = (*sorted(tops), "operator", "guardians", RULES_FOLDER, *shared)
        return tuple(self.folder / name for name in names)

    def folder_of(self, identity: Identity) -> Path:
        """A party's own folder."""
        if identity == GATEWAY:
            return self.folder / "gateway"
        if identity == ISSUER:
            return self.folder / "consent"
        return self.folder / f"{identity.role.value}s" / identity.name


_decoder: msgspec.json.Decoder[Made] = msgspec.json.Decoder(Made)


def held(folder: Path) -> Made | None:
    """What `folder` was made with; None if nothing whole is there yet; MalformedError if it is something else."""
    file = folder / MADE_FILE
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        if folder.exists() and not is_empty(folder) and not (folder / MAKING_FILE).exists():
            raise MalformedError.at(
                str(folder), "is not empty and no sandbox: name another folder", Reason.CONFIGURATION_INVALID
            ) from None
        return None
    except OSError as error:
        raise MalformedError.at(str(file), f"cannot be read: {error}", Reason.CONFIGURATION_INVALID) from error
    return decode_json(_decoder, data, str(file), Reason.CONFIGURATION_INVALID, quoting=True)


def is_empty(folder: Path) -> bool:
    """Whether nothing lies in `folder` but the mark of a making."""
    return all(path.name == MAKING_FILE for path in folder.iterdir())


def settle(folder: Path, asked: Asked) -> Made:
    """What the sandbox in `folder` is or shall be made with; MalformedError if it was made with something else."""
    already = held(folder)
    if already is None:
        prefectures = asked.prefectures or DEFAULT_PREFECTURES
        unknown = [prefecture for prefecture in prefectures if prefecture not in PREFECTURES]
        if unknown or len(set(prefectures)) != len(prefectures):
            raise usage_error("--prefectures", "must be different prefectures of Hunan, such as 4301,4303")
        made = Made(
            seed=DEFAULT_SEED if asked.seed is None else asked.seed,
            population=DEFAULT_POPULATION if asked.population is None else asked.population,
            prefectures=prefectures,
            port_base=DEFAULT_PORT_BASE if asked.port_base is None else asked.port_base,
            closed=closed_county(prefectures),
            standbys=bool(asked.standbys),
            post_quantum=bool(asked.post_quantum),
            witnesses=asked.witnesses or 0,
        )
        if not 0 <= made.witnesses <= MAX_WITNESSES:
            raise usage_error("--witnesses", f"must be 0 to {MAX_WITNESSES}")
        nodes = len(DepartmentKind) * len(made.prefectures) * (2 if made.standbys else 1)
        last = 65_535 - 2 * (2 + nodes + 1 + made.witnesses)
        if not _FIRST_PORT <= made.port_base <= last:
            raise usage_error("--port-base", f"must be {_FIRST_PORT} to {last}")
        if not 1 <= made.population <= MAX_POPULATION:
            raise usage_error("--population", f"must be 1 to {MAX_POPULATION}")
        return made
    for name in ("seed", "population", "prefectures", "port_base", "standbys", "post_quantum", "witnesses"):
        wanted = getattr(asked, name)
        if wanted is not None and wanted != getattr(already, name):
            raise usage_error(
                "--" + name.replace("_", "-"),
                f"is {_spelt(getattr(already, name))} in {folder}: leave it out, or name another folder",
            )
    return already


def _spelt(value: object) -> str:
    """A value as the command line spells it."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def account_id(family: str, role: Role) -> str:
    """The account of a guardian or co-resident at the sandbox issuer."""
    return f"{family}-{role.value}"


def address(port: int) -> str:
    """Where the sandbox's parties listen."""
    return f"127.0.0.1:{port}"
