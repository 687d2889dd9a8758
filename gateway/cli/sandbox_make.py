"""Making a sandbox: keys, certificates, registry, rules, registers, accounts, and settings for each party."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random

import msgspec

from consent.authenticator import derive_authenticator
from consent.issuer.accounts import CO_RESIDENT, Account, Child
from consent.issuer.store import IssuerStore
from gateway.cli.endpoints import (
    FILE,
    AuditorFiles,
    ConsentEndpoint,
    DepartmentEndpoint,
    Endpoints,
    GatewayEndpoint,
    RequesterFiles,
)
from gateway.cli.rehearsals import RULES_FOLDER, write_rules
from gateway.cli.sandbox import (
    AUDITOR,
    GATEWAY,
    ISSUER,
    LOG_ORIGIN,
    MADE_FILE,
    POLICY_FILE,
    Sandbox,
    account_id,
    address,
)
from gateway.cli.sandbox_rules import SandboxRules
from gateway.cli.sandbox_witnesses import make_witnesses, tell_witnesses, witness_endpoints
from gateway.cli.settings_files import PUBLISHED, write_settings
from gateway.operator.desk import Desk
from gateway.operator.enrolment import PartyFolder
from gateway.party.keyfiles import load_signing_keys, newest_usable, read_private, write_atomic, write_private
from gateway.protocol.claims import CLAIMS, DEPARTMENT_NAMES, DepartmentKind, Role
from gateway.protocol.divisions import PREFECTURES
from gateway.protocol.identities import Identity
from gateway.protocol.keys import Algorithm
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.note import ED25519, VerifierKey
from gateway.protocol.reasons import Text
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import (
    Coverage,
    DepartmentTerms,
    GatewayTerms,
    IssuerTerms,
    KeyUse,
    LocalName,
    Party,
    RequesterTerms,
)
from gateway.static_log.folder import FIRST_SHARD
from sandbox_departments.people import Family
from sandbox_departments.population import generate_families
from sandbox_departments.registers import REGISTER_FILE, build_registers
from sandbox_departments.truth import write_truth

SECRET_BYTES = 32
DEFERRAL_SECONDS = 7 * 86_400
"""How long a requester may leave its questions open: as long as every current sealing key lasts."""
STAFF_MEMBER = "0001"
"""The staff number of the one member of each requester's staff."""


def make(sandbox: Sandbox) -> None:
    """Make everything of a new sandbox; `sandbox.json` comes last, so that an interrupted making is no sandbox."""
    now = time.time()
    sandbox.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(sandbox.folder / ".gitignore", b"*\n")  # keys, registers and consents are never committed
    desk = Desk.create(sandbox.desk_folder, "sandbox", now)
    identities = {identity.uri: identity for identity in sandbox.identities}
    for party in _parties(sandbox):
        folder = sandbox.folder_of(identities[party.id])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        desk.enrol(party, PartyFolder(folder), now)
        if party.requester is not None:
            desk.add_staff_key(party.id, STAFF_MEMBER, PartyFolder(folder), now)
    if sandbox.made.post_quantum:
        place = PartyFolder(sandbox.folder_of(GATEWAY))
        desk.rotate_signing_key(GATEWAY.uri, KeyUse.LOG, place, now, delay=0, algorithm=Algorithm.ML_DSA_44)
    registry = desk.sign(now)
    _make_secrets(sandbox)
    make_witnesses(sandbox)
    tell_witnesses(sandbox, registry)
    write_rules(sandbox.rules_folder, sandbox.made.prefectures, sandbox.made.closed, now)
    for identity in (GATEWAY, ISSUER, *sandbox.nodes.values()):
        folder = sandbox.folder_of(identity)
        write_settings(
            folder / "settings.toml",
            identity=identity,
            port=sandbox.ports[identity.uri],
            registry=os.path.relpath(desk.registry_file, folder),
            operator_vkey=desk.vkey,
            log_port=sandbox.log_port if identity == GATEWAY else None,
            witness_policy=f"../{POLICY_FILE}" if identity == GATEWAY and sandbox.made.witnesses else None,
        )
    _populate(sandbox)
    write_endpoints(sandbox, desk, registry, now)
    write_atomic(sandbox.folder / MADE_FILE, msgspec.json.encode(sandbox.made))


def _make_secrets(sandbox: Sandbox) -> None:
    sandbox.guardians_secret.parent.mkdir(mode=0o700)
    write_private(sandbox.guardians_secret, os.urandom(SECRET_BYTES))
    write_private(sandbox.folder_of(GATEWAY) / "kek", os.urandom(SECRET_BYTES))
    write_private(sandbox.folder_of(ISSUER) / "pseudonym-secret", os.urandom(SECRET_BYTES))


def _parties(sandbox: Sandbox) -> Iterator[Party]:
    ports = sandbox.ports
    yield Party(
        id=GATEWAY.uri,
        name=LocalName(zh="核验网关", en="Verification gateway"),
        gateway=GatewayTerms(channels=(address(ports[GATEWAY.uri]),), log_origin=LOG_ORIGIN),
    )
    yield Party(
        id=ISSUER.uri,
        name=LocalName(zh="市民应用", en="Citizen app"),
        issuer=IssuerTerms(
            base_uri=f"https://localhost:{ports[ISSUER.uri]}",
            rp_id="localhost",
            origins=(f"https://localhost:{ports[ISSUER.uri]}",),
        ),
    )
    for (kind, prefecture), identity in sandbox.nodes.items():
        yield Party(
            id=identity.uri,
            name=_named(DEPARTMENT_NAMES[kind], prefecture),
            department=DepartmentTerms(
                kind=kind,
                coverage=(Coverage(claims=_claims_of(kind), regions=(prefecture,)),),
                channels=tuple(
                    address(own[identity.uri]) for own in (ports, sandbox.standby_ports) if identity.uri in own
                ),
                sealing_keys=(),
            ),
        )
    for identity, prefecture in zip(sandbox.requesters, sandbox.made.prefectures, strict=True):
        yield Party(
            id=identity.uri,
            name=_named(Text("教育入学系统", "School enrolment system"), prefecture),
            requester=RequesterTerms(
                claims=tuple(CLAIMS),
                regions=sandbox.made.prefectures,
                purposes=(PURPOSE_ENROLMENT,),
                deferral_seconds=DEFERRAL_SECONDS,
            ),
        )
    yield Party(id=AUDITOR.uri, name=LocalName(zh="审计", en="Auditor"))


def _populate(sandbox: Sandbox) -> None:
    today = datetime.now(UTC).date()
    rules = SandboxRules(sandbox.rules_folder)
    families = generate_families(
        Random(sandbox.made.seed),  # noqa: S311 - fictional people, the same for the same seed
        sandbox.made.population,
        today=today,
        rules=rules,
        prefectures=sandbox.made.prefectures,
        closed={sandbox.made.closed},
    )
    folders = {key: sandbox.folder_of(identity) for key, identity in sandbox.nodes.items()}
    build_registers(families, folders, snapshot_date=today)
    for folder in folders.values():
        (folder / REGISTER_FILE).chmod(0o600)
    write_truth(sandbox.folder / "truth.jsonl", families, rules)
    store = IssuerStore(sandbox.folder / "consent" / "store.db")
    try:
        store.put_accounts(_accounts(sandbox, families))
    finally:
        store.close()


def _accounts(sandbox: Sandbox, families: tuple[Family, ...]) -> Iterator[Account]:
    secret = read_private(sandbox.guardians_secret)
    for family in families:
        subjects = family.application.subjects
        for role, relation in ((Role.GUARDIAN, "parent"), (Role.CO_RESIDENT, CO_RESIDENT)):
            if role in subjects:
                account = account_id(family.application.family, role)
                authenticator = derive_authenticator(secret, account)
                yield Account(
                    account,
                    subjects[role],
                    authenticator.public_key,
                    authenticator.credential_id,
                    (Child(subjects[Role.CHILD], relation),),
                )


def write_endpoints(sandbox: Sandbox, desk: Desk, registry: Registry, now: float) -> None:
    """Write `endpoints.json` as the registry and the folders now stand."""
    ports = sandbox.ports
    key = [key for key in registry.log_keys(GATEWAY.uri, now) if key.algorithm is Algorithm.ED25519][-1]
    endpoints = Endpoints(
        gateway=GatewayEndpoint(
            id=GATEWAY.name,
            grpc=address(ports[GATEWAY.uri]),
            log_url=_log_url(sandbox),
            log_vkey=VerifierKey.of(LOG_ORIGIN, ED25519, key.public).format(),
        ),
        ca="operator/ca.pem",
        registry="operator/registry.jws",
        operator_vkey=desk.vkey,
        consent=ConsentEndpoint(id=ISSUER.name, url=f"https://localhost:{ports[ISSUER.uri]}"),
        departments={
            identity.name: DepartmentEndpoint(address(ports[identity.uri])) for identity in sandbox.nodes.values()
        },
        requesters={
            identity.name: RequesterFiles(
                cert=f"requesters/{identity.name}/tls/certificate.pem",
                key=f"requesters/{identity.name}/tls/key.pem",
                signing_key=_newest_key(sandbox, identity, KeyUse.QUERY, registry, now),
                staff_key=_newest_key(sandbox, identity, KeyUse.STAFF, registry, now),
            )
            for identity in sandbox.requesters
        },
        auditors={
            AUDITOR.name: AuditorFiles(
                cert=f"auditors/{AUDITOR.name}/tls/certificate.pem", key=f"auditors/{AUDITOR.name}/tls/key.pem"
            )
        },
        truth="truth.jsonl",
        guardians="guardians/secret",
        rules=RULES_FOLDER,
        closed=sandbox.made.closed,
        witnesses=witness_endpoints(sandbox),
        policy=POLICY_FILE if sandbox.made.witnesses else None,
    )
    write_atomic(sandbox.folder / FILE, msgspec.json.format(msgspec.json.encode(endpoints), indent=2) + b"\n")


def _log_url(sandbox: Sandbox) -> str | None:
    """Where the log is published; None of a folder whose gateway was set up before there was such a thing."""
    settings = tomllib.loads((sandbox.folder_of(GATEWAY) / "settings.toml").read_text(encoding="utf-8"))
    return f"https://localhost:{sandbox.log_port}/{FIRST_SHARD}" if PUBLISHED in settings else None


def _newest_key(sandbox: Sandbox, identity: Identity, use: KeyUse, registry: Registry, now: float) -> str:
    places = PartyFolder(sandbox.folder_of(identity))
    folder = places.staff if use is KeyUse.STAFF else places.keys
    key = newest_usable(load_signing_keys(folder), registry, identity.uri, use, now)
    return str((folder / f"{key.key_id}.pem").relative_to(sandbox.folder))


def _claims_of(kind: DepartmentKind) -> tuple[str, ...]:
    return tuple(name for name, claim in CLAIMS.items() if claim.department is kind)


def _named(text: Text, prefecture: str) -> LocalName:
    return LocalName(zh=f"{PREFECTURES[prefecture]}{text.zh}", en=f"{text.en}, {prefecture}")
