"""Files that an operator or a command reads: settings, endpoints, keys, certificates, requests, packs, truth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from consent.issuer.config import IssuerConfig
from gateway.cli.batch_file import read_batch
from gateway.cli.endpoints import read_endpoints
from gateway.cli.settings_files import write_settings
from gateway.config import GatewayConfig
from gateway.monitor.rules_file import EXAMPLE, read_rules
from gateway.monitor.state import MonitorState, Sighting
from gateway.operator.authority import Authority, request_certificate
from gateway.party.config import PartyConfig, TlsFiles
from gateway.party.keyfiles import load_signing_key
from gateway.party.registry_keeper import operator_key
from gateway.party.tls import load_material
from gateway.protocol.identities import parse_identity
from gateway.protocol.keys import Algorithm, load_private, load_public, private_pem
from gateway.rules.pack_file import read_pack
from gateway.rules.shelf import SHIPPED
from sandbox_departments.config import NodeConfig
from sandbox_departments.faults.kinds import Fault, make_fault
from sandbox_departments.faults.switch import FILE, read_fault, set_fault
from sandbox_departments.population import generate_families
from sandbox_departments.truth import read_truth, write_truth
from tests.county_rules import SHIPPED_RULES
from tests.federation import DEPARTMENTS, GATEWAY, ISSUER, REQUESTER
from tests.fuzz.target import DEEP, Target, text
from tests.protocol.casework import FEDERATION, NOW

_FOLDER = tempfile.TemporaryDirectory(prefix="heyan-fuzz-")  # removed when the process ends
_AT = Path(_FOLDER.name)
_REQUESTER = parse_identity(REQUESTER)
_STATE = MonitorState("log.test", conditions={"FORKED": "00"}, sightings={"witness": Sighting("a note", 1.0)})
_BATCH = '\ufefffamily,group,consent\r\nF1,,\r\nF2,open,"a, b.json"\r\n'.encode()


def _from_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of a private file, given its bytes."""
    path = _AT / name
    path.touch(mode=0o600)

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return parse


def _settings(kind: type[PartyConfig], identity: str) -> Target:
    name = f"{kind.__name__}.toml"
    parse = _from_file(name, kind.from_file)
    write_settings(
        _AT / name,
        identity=parse_identity(identity),
        port=8443,
        registry="registry.jws",
        operator_vkey=FEDERATION.operator_vkey,
    )
    deep = b"x = " + b"[" * 3_000
    return Target(kind.__name__, parse, ((_AT / name).read_bytes(), deep, b"x." * 200 + b"y = 1"))


def _endpoints() -> Target:
    files = {"cert": "c", "key": "k", "signing_key": "s"}
    value = {
        "gateway": {"id": "hunan", "grpc": "127.0.0.1:1", "log_url": None, "log_vkey": "v"},
        "ca": "ca.pem",
        "registry": "registry.jws",
        "operator_vkey": FEDERATION.operator_vkey,
        "consent": {"id": "citizen-app", "url": "https://localhost:1"},
        "departments": {"police": {"grpc": "127.0.0.1:2"}},
        "requesters": {"edu": files},
        "auditors": {"province": files},
        "truth": "truth.jsonl",
        "guardians": "guardians",
        "rules": "rules",
        "closed": "430182",
    }
    parse = _from_file("endpoints.json", lambda path: read_endpoints(path.parent))
    return Target("endpoints.json", parse, (msgspec.json.encode(value), *DEEP))


def _is_settable(_data: bytes, value: object) -> bool:
    """What was read can be set again, and is read as the same."""
    assert isinstance(value, Fault)
    set_fault(_AT / FILE, value)
    return read_fault(_AT / FILE) == value


def targets() -> tuple[Target, ...]:
    key = ec.derive_private_key(3, ec.SECP256R1())
    pem = private_pem(key)
    authority = Authority.create("test", NOW)
    request = request_certificate(_REQUESTER, key)
    certificate = authority.issue(_REQUESTER, key.public_key(), NOW)
    (_AT / "key.pem").touch(mode=0o600)
    (_AT / "key.pem").write_bytes(pem)
    (_AT / "ca.pem").write_bytes(authority.pem)
    files = TlsFiles(certificate=_AT / "certificate.pem", key=_AT / "key.pem", ca=_AT / "ca.pem")
    certificates = (certificate, authority.pem)
    families = generate_families(Random(7), 2, today=date(2027, 1, 1), rules=SHIPPED_RULES)
    write_truth(_AT / "truth.jsonl", families, SHIPPED_RULES)
    truth = (_AT / "truth.jsonl").read_bytes()
    node = next(iter(DEPARTMENTS.values()))
    slow = msgspec.json.encode(make_fault("slow"))
    points = (b"\x04" + bytes(64), b"\x02" + bytes(32), bytes(32))
    return (
        _settings(GatewayConfig, GATEWAY),
        _settings(NodeConfig, node),
        _settings(IssuerConfig, ISSUER),
        _endpoints(),
        Target(
            "rule pack", lambda data: read_pack("x.toml", data), tuple(file.read_bytes() for file in SHIPPED.iterdir())
        ),
        Target("monitor's rules", lambda data: read_rules("x.toml", data), (EXAMPLE.encode(),)),
        Target("monitor's state", lambda data: MonitorState.decode(text(data)), (_STATE.encode().encode(), *DEEP)),
        Target("truth", _from_file("truth.jsonl", lambda path: list(read_truth(path))), (truth, b"{}\n", *DEEP)),
        Target("batch", _from_file("batch", lambda path: list(read_batch(path))), (_BATCH, truth, b'family\n"', *DEEP)),
        Target("fault.json", _from_file(FILE, read_fault), (slow, *DEEP), _is_settable),
        Target("private key", load_private, (pem, private_pem(FEDERATION.operator.private))),
        Target("signing key", _from_file("signing.pem", load_signing_key), (pem,)),
        Target("ES256 key", lambda data: load_public(Algorithm.ES256, data), points),
        Target("Ed25519 key", lambda data: load_public(Algorithm.ED25519, data), points),
        Target("operator's key", lambda data: operator_key(text(data)), (FEDERATION.operator_vkey.encode(),)),
        Target("certificate request", lambda data: authority.issue_for_request(_REQUESTER, data, NOW), (request,)),
        Target("certificate", _from_file("certificate.pem", lambda _: load_material(files)), certificates),
        Target("authority", lambda data: Authority.load(data, pem), (authority.pem, certificate)),
    )
