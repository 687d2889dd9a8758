"""What is wrong with a party, found from outside its process: files, certificate, keys, registry, port, peers, clock.

Each check gives findings, in plain words and with what to do; none changes anything, and none shows a secret.
A finding is about machines only: no check sends a question about a person.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import cast

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from pydantic_settings import SettingsConfigDict

from gateway.party.config import PartyConfig
from gateway.party.keyfiles import Watched, load_signing_key, read_public
from gateway.party.registry_keeper import operator_key
from gateway.party.tls import PROBE_TIMEOUT, TlsMaterial, check_server, load_material, open_channel
from gateway.protocol.codec import from_timestamp
from gateway.protocol.errors import HeyanError, UnknownPeerError
from gateway.protocol.identities import Identity, PartyRole, parse_identity
from gateway.protocol.keys import Algorithm
from gateway.protocol.limits import MAX_CLOCK_SKEW
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry, open_registry
from gateway.protocol.registry_terms import KeyTerms
from heyan.v1 import department_service_pb2

SOON = 7 * 86_400
"""Seconds before an end at which a warning begins."""
_DESCRIBE = "/heyan.v1.DepartmentService/Describe"
_PRIVATE_MARK = b"PRIVATE KEY-----"
_LOOKED_INTO = 64
"""Bytes at the head of a file that show whether it is a private key."""


@unique
class Level(StrEnum):
    """How a finding stands. A warning is well today and will not stay so."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found about `topic`, and `remedy`: what to do (empty if all is well)."""

    level: Level
    topic: str
    text: str
    remedy: str = ""


class AnyPartyConfig(PartyConfig):
    """The settings that every party has, of a file that holds more."""

    model_config = SettingsConfigDict(extra="ignore")


def check_modes(folder: Path) -> Iterator[Finding]:
    """Private files under `folder` that others may read."""
    count = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or not _is_private(path):
            continue
        count += 1
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            remedy = f"chmod 600 {path}; if others had access to this machine, rotate the key"
            yield Finding(Level.PROBLEM, "files", f"{path} is private but has mode {mode:04o}", remedy)
    yield Finding(Level.OK, "files", f"{count} private file(s) found under {folder}")


def _is_private(path: Path) -> bool:
    if path.suffix == ".key":
        return True
    try:
        with path.open("rb") as file:
            return _PRIVATE_MARK in file.read(_LOOKED_INTO)
    except OSError:
        return False


def check_certificate(config: PartyConfig, now: float) -> Iterator[Finding]:
    """The party's own certificate: readable, of its key, its identity and its CA, and in its time."""
    try:
        material = load_material(config.tls)
    except HeyanError as error:
        yield Finding(Level.PROBLEM, "certificate", error.detail, "mend the file, or have a certificate issued anew")
        return
    renew = f"heyan registry rotate certificate {config.spiffe_id} --folder FOLDER --desk DESK"
    leaf = x509.load_pem_x509_certificates(material.certificate)[0]
    if material.identity.uri != config.spiffe_id:
        text = f"{config.tls.certificate} is of {material.identity.uri}, the configuration of {config.spiffe_id}"
        yield Finding(Level.PROBLEM, "certificate", text, "use the party's own certificate, or correct spiffe_id")
    if not any(_issued(leaf, ca) for ca in x509.load_pem_x509_certificates(material.ca)):
        text = f"{config.tls.certificate} was not issued by {config.tls.ca}: peers refuse it"
        yield Finding(Level.PROBLEM, "certificate", text, f"use the CA of the federation; or: {renew}")
    starts = leaf.not_valid_before_utc.timestamp()
    if starts > now:
        text = f"the certificate begins at {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%SZ}"
        yield Finding(Level.PROBLEM, "certificate", text, "set this machine's clock right (chronyc tracking)")
    yield _ending("certificate", f"the certificate of {config.spiffe_id}", material.not_after.timestamp(), now, renew)


def _issued(leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_registry(config: PartyConfig, now: float) -> tuple[Registry | None, list[Finding]]:
    """The published registry against the pinned key and the newest seen; it, and what was found."""
    found: list[Finding] = []
    files = config.registry
    published = _open(files.source, files.operator_vkey, found, "have the operator publish it: heyan registry sign")
    seen = None
    if files.seen.exists():
        remedy = "restore it from a backup; without one, compare versions with other parties before removing it"
        seen = _open(files.seen, files.operator_vkey, found, remedy)
    if published is not None and seen is not None:
        if published.version < seen.version:
            text = f"{files.source} is rolled back: version {published.version}, but {seen.version} was seen"
            found.append(
                Finding(Level.PROBLEM, "registry", text, "publish the newest version again; ask who put it back")
            )
        elif published.version == seen.version and published.token != seen.token:
            text = f"two registries bear version {seen.version}: {files.source} and {files.seen}"
            found.append(Finding(Level.PROBLEM, "registry", text, "call the operator at once: the key may be misused"))
    held = max((one for one in (published, seen) if one is not None), key=lambda one: one.version, default=None)
    if held is not None:
        what = f"registry version {held.version}"
        found.append(_ending("registry", what, held.document.expires, now, "heyan registry sign --desk DESK"))
        if config.spiffe_id not in {party.id for party in held.document.parties}:
            text = f"{config.spiffe_id} is not in the registry: every peer refuses it"
            found.append(Finding(Level.PROBLEM, "registry", text, "heyan registry add, then sign"))
    return held, found


def _open(path: Path, vkey: str, found: list[Finding], remedy: str) -> Registry | None:
    try:
        return open_registry(read_public(path).decode("ascii", errors="replace").strip(), operator_key(vkey))
    except HeyanError as error:
        found.append(Finding(Level.PROBLEM, "registry", f"{path} is refused: {error}", remedy))
        return None


def check_signing_keys(config: PartyConfig, folder: Path, registry: Registry, now: float) -> Iterator[Finding]:
    """The signature keys under the party's folder against those that the registry lists for it."""
    terms = {key.kid: key for key in registry.party(config.spiffe_id).keys}
    if not terms:
        return
    renew = (
        f"heyan registry rotate {next(iter(terms.values())).use.value} {config.spiffe_id} --folder FOLDER --desk DESK"
    )
    held: list[KeyTerms] = []
    for path in sorted(folder.rglob("*.pem")):
        listed = terms.get(path.stem)
        if listed is None or not _is_private(path):
            continue
        try:
            public = load_signing_key(path).public_key()
            if registry.key(config.spiffe_id, listed.use, listed.kid, listed.not_before) != public:
                yield Finding(Level.PROBLEM, "keys", f"{path} is not the key that the registry lists", renew)
            elif listed.counts_at(now):
                held.append(listed)
        except HeyanError as error:
            yield Finding(Level.PROBLEM, "keys", f"{path}: {error.detail or error}", renew)
    usual = [key for key in held if key.alg is not Algorithm.ML_DSA_44]
    if not usual:
        yield Finding(Level.PROBLEM, "keys", f"no signature key under {folder} counts now", renew)
        return
    second = [key for key in held if key.alg is Algorithm.ML_DSA_44]  # of a log
    for keys, how in ((usual, renew), (second, f"{renew} --algorithm {Algorithm.ML_DSA_44.value}")):
        if keys:
            last = max(keys, key=lambda key: key.not_after)
            yield _ending("keys", f"signature key {last.kid}", last.not_after, now, how)


async def check_peer(
    target: str, expected: Identity, tls: Watched[TlsMaterial], now: float, registry: Registry | None = None
) -> list[Finding]:
    """Reach a server and hold its certificate against `expected`; of a department, its clock and registry too."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        certificate = await check_server(target, expected, tls)
    except HeyanError as error:
        return [Finding(Level.PROBLEM, expected.uri, error.detail, _remedy(error))]
    found = [Finding(Level.OK, expected.uri, f"{target} is reachable and is {expected.uri}")]
    end = certificate.not_valid_after_utc.timestamp()
    found.append(
        _ending(expected.uri, "its certificate", end, now, "its operator renews it: heyan registry rotate certificate")
    )
    if expected.role is PartyRole.DEPARTMENT and tls.value.identity.role is PartyRole.GATEWAY:
        found += await _describe(target, expected, tls, now + loop.time() - started, registry)
    return found


def _remedy(error: HeyanError) -> str:
    if not isinstance(error, UnknownPeerError):
        return "is it running, at the address that the registry lists? is a firewall between? (heyan registry show)"
    if error.reason is Reason.PEER_UNAUTHENTICATED:
        return "it refuses us or speaks no mutual TLS: check our certificate's end and CA, and who listens there"
    return "another party or CA answers there, or its certificate is over: check address, ca file and its certificate"


async def _describe(
    target: str, expected: Identity, tls: Watched[TlsMaterial], now: float, registry: Registry | None
) -> list[Finding]:
    loop = asyncio.get_running_loop()
    channel = open_channel(target, expected, tls)
    try:
        call = channel.unary_unary(
            _DESCRIBE,
            request_serializer=department_service_pb2.DescribeRequest.SerializeToString,
            response_deserializer=department_service_pb2.DescribeResponse.FromString,
        )
        asked = loop.time()
        answer = cast(
            "department_service_pb2.DescribeResponse",
            await call(department_service_pb2.DescribeRequest(), timeout=PROBE_TIMEOUT),
        )
        took = loop.time() - asked
        skew = from_timestamp(answer, "clock_time") - (now + took / 2)
    except (grpc.aio.AioRpcError, HeyanError) as error:
        text = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        return [Finding(Level.PROBLEM, expected.uri, f"does not describe itself: {text}", "see the node's own log")]
    finally:
        await channel.close(None)
    found = []
    if abs(skew) - took / 2 > MAX_CLOCK_SKEW:
        text = f"its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} ours"
        found.append(
            Finding(Level.PROBLEM, expected.uri, text, "run chronyc tracking on both machines; mend the worse")
        )
    else:
        found.append(Finding(Level.OK, expected.uri, f"its clock differs by {skew:+.3f} s"))
    if registry is not None and answer.registry_version != registry.version:
        text = f"it holds registry version {answer.registry_version}, we {registry.version}"
        found.append(Finding(Level.WARNING, expected.uri, text, "see that the published file reaches both"))
    return found


def peers_of(registry: Registry, us: Identity) -> list[tuple[str, Identity]]:
    """The servers that a party of this role calls: (host:port, identity), the registry's word."""
    if us.role is PartyRole.GATEWAY:
        nodes = [(party.id, party.department.channels) for party in registry.document.parties if party.department]
    elif us.role in {PartyRole.REQUESTER, PartyRole.AUDITOR}:
        nodes = [(party.id, party.gateway.channels) for party in registry.document.parties if party.gateway]
    else:
        nodes = []
    return [(target, parse_identity(uri)) for uri, channels in nodes for target in channels]


def _ending(topic: str, what: str, end: float, now: float, remedy: str) -> Finding:
    days = abs(end - now) / 86_400
    if end < now:
        return Finding(Level.PROBLEM, topic, f"{what} expired {days:.1f} days ago", remedy)
    if end - now < SOON:
        return Finding(Level.WARNING, topic, f"{what} expires in {days:.1f} days", remedy)
    return Finding(Level.OK, topic, f"{what} is good for {days:.0f} days")
