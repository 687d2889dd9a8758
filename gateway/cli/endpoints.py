"""`endpoints.json`: where a federation's parties are, and the files with which to be one of its clients.

Written by `heyan up` into its folder; paths in it are relative to that folder, and what does not exist is null.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.cli.options import usage_error
from gateway.client import Client, ClientSettings
from gateway.log_reader import LogReader
from gateway.party.config import RegistryFiles, TlsFiles
from gateway.party.keyfiles import Watched, load_signing_keys, newest_usable
from gateway.party.registry_keeper import RegistryKeeper, operator_key
from gateway.party.tls import watch_tls
from gateway.protocol.codec import decode_json
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse

FILE = "endpoints.json"

C = TypeVar("C", bound=Client)


class GatewayEndpoint(msgspec.Struct, frozen=True):
    """The gateway: its id, where it listens, and its log."""

    id: str
    grpc: str
    log_url: str | None
    log_vkey: str


class ConsentEndpoint(msgspec.Struct, frozen=True):
    """The consent issuer."""

    id: str
    url: str


class DepartmentEndpoint(msgspec.Struct, frozen=True):
    """A department node."""

    grpc: str


class WitnessEndpoint(msgspec.Struct, frozen=True):
    """A witness of the log: its submission and monitoring prefix, and its verifier key."""

    url: str
    vkey: str


class RequesterFiles(msgspec.Struct, frozen=True):
    """What a requester asks with. `signing_key` is its newest query key when this was written, `staff_key` that of a
    member of its staff, if there is one.
    """

    cert: str
    key: str
    signing_key: str
    staff_key: str | None = None


class AuditorFiles(msgspec.Struct, frozen=True):
    """What an auditor reads with."""

    cert: str
    key: str


class Endpoints(msgspec.Struct, frozen=True):
    """The whole file. `rules` is the folder of rule packs, `closed` the county outside whose window it is, `policy` the
    file by which checkpoints count as witnessed, if there are witnesses.
    """

    gateway: GatewayEndpoint
    ca: str
    registry: str
    operator_vkey: str
    consent: ConsentEndpoint
    departments: dict[str, DepartmentEndpoint]
    requesters: dict[str, RequesterFiles]
    auditors: dict[str, AuditorFiles]
    truth: str
    guardians: str
    rules: str
    closed: str
    witnesses: dict[str, WitnessEndpoint] = {}
    policy: str | None = None


_decoder: msgspec.json.Decoder[Endpoints] = msgspec.json.Decoder(Endpoints)


def read_endpoints(folder: Path) -> Endpoints:
    """The endpoints of a federation's folder; MalformedError (CONFIGURATION_INVALID) saying how to get them."""
    try:
        data = (folder / FILE).read_bytes()
    except FileNotFoundError:
        raise MalformedError.at(
            str(folder),
            f"holds no {FILE}: start a federation there with heyan up {folder}",
            Reason.CONFIGURATION_INVALID,
        ) from None
    except OSError as error:
        raise MalformedError.at(str(folder / FILE), f"cannot be read: {error}", Reason.CONFIGURATION_INVALID) from error
    return decode_json(_decoder, data, str(folder / FILE), Reason.CONFIGURATION_INVALID, quoting=True)


@dataclass(frozen=True, slots=True)
class Auditor:
    """What an auditor reads with: enter `reader` to connect; `registry` is the newest that the auditor verified."""

    reader: LogReader
    registry: Callable[[], Registry]
    gateway: Identity


def open_auditor(folder: Path, auditor: str) -> Auditor:
    """What `auditor` reads the log of the federation in `folder` with."""
    endpoints = read_endpoints(folder)
    files = endpoints.auditors.get(auditor)
    if files is None:
        known = ", ".join(endpoints.auditors)
        raise usage_error("--auditor", f"must be one of {known}")
    tls = watch_tls(TlsFiles(certificate=folder / files.cert, key=folder / files.key, ca=folder / endpoints.ca))
    gateway = Identity(PartyRole.GATEWAY, endpoints.gateway.id)
    keeper = _keeper(folder, endpoints, files.cert)

    def registry() -> Registry:
        keeper.refresh()  # keys rotate while a monitor runs
        return keeper.current()

    return Auditor(LogReader(gateway, endpoints.gateway.grpc, tls), registry, gateway)


def _keeper(folder: Path, endpoints: Endpoints, certificate: str) -> RegistryKeeper:
    """The registry of a client, whose folder is that of its certificate."""
    seen = (folder / certificate).parent.parent / "registry.jws"
    files = RegistryFiles(source=folder / endpoints.registry, operator_vkey=endpoints.operator_vkey, seen=seen)
    return RegistryKeeper(files, time.time)


def open_client(folder: Path, requester: str) -> Client:
    """A client that asks as `requester` of the federation in `folder`; enter it to connect."""
    return open_client_as(Client, folder, requester)


def open_client_as(kind: type[C], folder: Path, requester: str) -> C:
    """The same, of a kind of client that does more."""
    endpoints = read_endpoints(folder)
    files = endpoints.requesters.get(requester)
    if files is None:
        known = ", ".join(endpoints.requesters)
        raise usage_error("--requester", f"must be one of {known}")
    tls = watch_tls(TlsFiles(certificate=folder / files.cert, key=folder / files.key, ca=folder / endpoints.ca))
    keeper = _keeper(folder, endpoints, files.cert)
    identity = Identity(PartyRole.REQUESTER, requester)
    key_folder = (folder / files.signing_key).parent  # a key rotated in since lies beside it
    keys = Watched([key_folder], lambda: load_signing_keys(key_folder))

    def signing_key() -> SigningKey:
        keys.refresh()
        return newest_usable(keys.value, keeper.current(), identity.uri, KeyUse.QUERY, time.time())

    settings = ClientSettings(
        requester=identity.uri,
        gateway=Identity(PartyRole.GATEWAY, endpoints.gateway.id).uri,
        target=endpoints.gateway.grpc,
        tls=tls,
        signing_key=signing_key,
        operator=operator_key(endpoints.operator_vkey),
    )
    return kind(settings, keeper.current, time.time, keeper.refresh)
