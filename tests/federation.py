"""A whole federation in memory: every party's keys, a signed registry, and consents issued without HTTP.

    federation = Federation.create(now)
    federation.registry                          verified, version 1
    federation.signing_keys[GATEWAY]             SigningKey by SPIFFE ID (gateway and operator: Ed25519)
    federation.staff_keys[REQUESTER]             SigningKey of a member of a requester's staff
    federation.opening_keys[DEPARTMENTS[kind]]   OpeningKey of a department's current sealing key
    federation.issue(FAMILY)                     a ConsentFile, as an issuer would make it
    federation.changed(edit)                     the same keys under the next version of the registry

Everything is derived from `seed`, so that two runs see the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from random import Random
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ed25519

from consent.authenticator import SoftwareAuthenticator, derive_authenticator, derive_key
from consent.consent_file import ConsentFile, GrantConsent
from consent.disclosures import Detail, group_details, share_of
from consent.drafting import Companion, Request, draft_grant, seal_grant
from consent.grant import Notice, Relation, StatusReference
from gateway.party.registry_keeper import operator_kid
from gateway.protocol.claims import CLAIMS, DepartmentKind, Role
from gateway.protocol.codec import b64url, unb64url
from gateway.protocol.identifiers import resident_id
from gateway.protocol.jws import sign_jws
from gateway.protocol.keys import SigningKey
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.note import ED25519, VerifierKey
from gateway.protocol.registry import TYP, Registry, open_registry
from gateway.protocol.registry_terms import (
    FORMAT,
    Assurance,
    ClaimTerms,
    Coverage,
    DepartmentTerms,
    Document,
    GatewayTerms,
    IssuerTerms,
    KeyTerms,
    KeyUse,
    LocalName,
    Party,
    RequesterTerms,
    SealingKeyTerms,
    Suite,
)
from gateway.protocol.sealing import OpeningKey, fresh_seed, private_from_seed, public_bytes
from gateway.protocol.subjects import IdType, Subject

ISSUER = "spiffe://heyan/issuer/citizen-app"
OTHER_ISSUER = "spiffe://heyan/issuer/other-app"
REQUESTER = "spiffe://heyan/requester/changsha-edu"
OTHER_REQUESTER = "spiffe://heyan/requester/zhuzhou-edu"
GATEWAY = "spiffe://heyan/gateway/hunan"
OTHER_GATEWAY = "spiffe://heyan/gateway/other"
AUDITOR = "spiffe://heyan/auditor/province"
DEPARTMENTS = {kind: f"spiffe://heyan/department/{kind.value}" for kind in DepartmentKind}
ISSUERS, REQUESTERS, GATEWAYS = (ISSUER, OTHER_ISSUER), (REQUESTER, OTHER_REQUESTER), (GATEWAY, OTHER_GATEWAY)

REGION = "430102"
LOG_ORIGIN = "heyan.test/log"
BASE_URI = "https://issuer.test"
RP_ID = "localhost"
ORIGIN = "https://localhost"
DAY = 86_400

CHILD = Subject(IdType.RESIDENT_ID, resident_id("439900", date(2018, 9, 1), 1), "张小明")
GUARDIAN = Subject(IdType.RESIDENT_ID, resident_id("439900", date(1988, 1, 1), 1), "张大明")
CO_RESIDENT = Subject(IdType.RESIDENT_ID, resident_id("439900", date(1958, 1, 1), 1), "张老明")
FAMILY: Mapping[Role, Subject] = {Role.CHILD: CHILD, Role.GUARDIAN: GUARDIAN}
BIG_FAMILY: Mapping[Role, Subject] = {**FAMILY, Role.CO_RESIDENT: CO_RESIDENT}

NOTICE = Notice("heyan-consent", "1", "zh-CN", b64url(sha256("测试".encode()).digest()))


@dataclass(frozen=True)
class Federation:
    """One federation at one registry version."""

    now: float
    seed: bytes
    registry: Registry
    operator: SigningKey
    operator_vkey: str
    signing_keys: Mapping[str, SigningKey]
    staff_keys: Mapping[str, SigningKey]
    opening_keys: Mapping[str, OpeningKey]
    random: Random

    @classmethod
    def create(
        cls,
        now: float,
        *,
        seed: str = "federation",
        base_uri: str = BASE_URI,
        origins: tuple[str, ...] = (ORIGIN,),
        suite: Suite = Suite.HYBRID,
        channels: Mapping[str, tuple[str, ...]] | None = None,
        edit: Callable[[Document], Document] = lambda document: document,
    ) -> Federation:
        """A federation whose keys count from a day before `now` to 400 days after.

        `channels` gives host:port of gateways and departments by SPIFFE ID; `edit` may change the document.
        """
        root = sha256(seed.encode()).digest()
        operator, vkey = _operator(root)
        keys = {party: _signing_key(root, party) for party in _signers()}
        staff = {uri: SigningKey("staff-0042", derive_key(root, f"{uri} staff")) for uri in REQUESTERS}
        seeds = {node: fresh_seed(suite, _stretch(root, node)) for node in DEPARTMENTS.values()}
        opening = {node: OpeningKey("seal-1", suite, private_from_seed(suite, value)) for node, value in seeds.items()}
        sealing = {
            node: SealingKeyTerms(
                "seal-1", suite, b64url(public_bytes(suite, value)), int(now) - DAY, int(now) + 13 * DAY
            )
            for node, value in seeds.items()
        }
        issuer = IssuerTerms(base_uri, RP_ID, origins)
        document = edit(_document(now, keys, staff, sealing, issuer, channels or {}))
        registry = _sign(document, operator, now)
        return cls(now, root, registry, operator, vkey, keys, staff, opening, Random(seed))

    def changed(self, edit: Callable[[Document], Document]) -> Federation:
        """The same federation after `edit`, under the next version of the registry."""
        document = edit(self.registry.document)
        document = msgspec.structs.replace(document, version=self.registry.version + 1)
        return replace(self, registry=_sign(document, self.operator, self.now))

    def authenticator(self, subject: Subject) -> SoftwareAuthenticator:
        """The passkey of a person."""
        return derive_authenticator(self.seed, subject.id_number)

    def issue(
        self,
        subjects: Mapping[Role, Subject] = FAMILY,
        details: Iterable[Detail] | None = None,
        *,
        regions: tuple[str, ...] = (REGION,),
        max_uses: int = 3,
        **overrides: Any,
    ) -> ConsentFile:
        """The consent of the guardian, and of the co-resident if there is one among `subjects`.

        By default to all claims in `regions`. `overrides` are those of `issue_one`.
        """
        wanted = tuple(details) if details is not None else group_details(CLAIMS, regions, max_uses)
        guardians = self.issue_one(subjects, share_of(wanted, Role.GUARDIAN), **overrides)
        if Role.CO_RESIDENT not in subjects:
            return ConsentFile((guardians,))
        companion = companion_of(guardians)
        share = share_of(wanted, Role.CO_RESIDENT)
        own = self.issue_one(subjects, share, actor=Role.CO_RESIDENT, companion=companion, **overrides)
        return ConsentFile((guardians, own))

    def issue_one(
        self,
        subjects: Mapping[Role, Subject],
        details: tuple[Detail, ...],
        *,
        actor: Role = Role.GUARDIAN,
        companion: Companion | None = None,
        key: SigningKey | None = None,
        passkey: SoftwareAuthenticator | None = None,
        user_verified: bool = True,
        **overrides: Any,
    ) -> GrantConsent:
        """One grant. `overrides` replace fields of `consent.drafting.Request` (requester, expires, acr, status …)."""
        person = subjects[actor]
        passkey = passkey or self.authenticator(person)
        values: dict[str, Any] = {
            "issuer": ISSUER,
            "requester": REQUESTER,
            "gateway": GATEWAY,
            "purpose": PURPOSE_ENROLMENT,
            "details": details,
            "child": subjects[Role.CHILD],
            "actor": person,
            "actor_role": actor,
            "relation": Relation("parent" if actor is Role.GUARDIAN else "co_resident", ISSUER),
            "acr": Assurance.HIGH,
            "notice": NOTICE,
            "status": StatusReference(self.random.randrange(1 << 17), f"{BASE_URI}/status-lists/0"),
            "issued_at": int(self.now),
            "expires": int(self.now) + 90 * DAY,
            "companion": companion,
        }
        request = Request(**{**values, **overrides})
        drafted = draft_grant(
            request, public_key=passkey.public_key, secret=self.seed, random_bytes=self.random.randbytes
        )
        assertion = passkey.approve(drafted.challenge, rp_id=RP_ID, origin=ORIGIN, user_verified=user_verified)
        signer = key or self.signing_keys[request.issuer]
        token, evidence = seal_grant(drafted.payload, drafted.key_salt, passkey.public_key, assertion, signer)
        people = {role: subjects[role] for role in drafted.salts}
        return GrantConsent(token, drafted.disclosures, drafted.salts, evidence, people)


def companion_of(guardians: GrantConsent) -> Companion:
    """What a co-resident's grant repeats of a guardian's."""
    claims = guardians.claims
    return Companion(claims.commitments[Role.CHILD], unb64url(claims.sub, "sub"), claims.txn)


def edit_party(document: Document, party: str, **changes: Any) -> Document:
    """`document` with fields of one party replaced."""
    parties = tuple(
        msgspec.structs.replace(entry, **changes) if entry.id == party else entry for entry in document.parties
    )
    return msgspec.structs.replace(document, parties=parties)


def key_terms(key: SigningKey, use: KeyUse, now: float, *, compromised: int | None = None) -> KeyTerms:
    """A registry entry for a key that counts from a day ago to 400 days from `now`."""
    public = key.public_key()
    return KeyTerms(
        public.key_id, use, public.algorithm, b64url(public.public), int(now) - DAY, int(now) + 400 * DAY, compromised
    )


def ed25519_key(root: bytes, name: str, kid: str) -> SigningKey:
    """An Ed25519 key derived from a name."""
    return SigningKey(kid, ed25519.Ed25519PrivateKey.from_private_bytes(sha256(root + name.encode()).digest()))


def _signers() -> tuple[str, ...]:
    return (*ISSUERS, *REQUESTERS, *GATEWAYS, *DEPARTMENTS.values())


def _signing_key(root: bytes, party: str) -> SigningKey:
    if party in GATEWAYS:
        return ed25519_key(root, party, "log-1")
    return SigningKey("key-1", derive_key(root, party))


def _operator(root: bytes) -> tuple[SigningKey, str]:
    bare = ed25519_key(root, "operator", "")
    verifier = VerifierKey.of("heyan.test/operator", ED25519, bare.public_key().public)
    return SigningKey(operator_kid(verifier), bare.private), verifier.format()


def _sign(document: Document, operator: SigningKey, now: float) -> Registry:
    token = sign_jws(msgspec.json.encode(document), TYP, operator)
    return open_registry(token, operator.public_key(), now)


def _stretch(root: bytes, name: str) -> bytes:
    return b"".join(sha256(root + name.encode() + bytes([index])).digest() for index in range(3))


def _document(
    now: float,
    keys: Mapping[str, SigningKey],
    staff: Mapping[str, SigningKey],
    sealing: Mapping[str, SealingKeyTerms],
    issuer: IssuerTerms,
    channels: Mapping[str, tuple[str, ...]],
) -> Document:
    def party(uri: str, use: KeyUse | None, **terms: Any) -> Party:
        name = uri.rpartition("/")[2]
        own = (key_terms(keys[uri], use, now),) if use is not None else ()
        if uri in staff:
            own = (*own, key_terms(staff[uri], KeyUse.STAFF, now))
        return Party(uri, LocalName(f"测试{name}", f"test {name}"), own, **terms)

    claims = tuple(CLAIMS)
    requester = RequesterTerms(claims, ("43",), (PURPOSE_ENROLMENT,), deferral_seconds=DAY)
    parties = [
        *(party(uri, KeyUse.GRANT, issuer=issuer) for uri in ISSUERS),
        *(party(uri, KeyUse.QUERY, requester=requester) for uri in REQUESTERS),
        *(
            party(uri, KeyUse.LOG, gateway=GatewayTerms(channels.get(uri, ("127.0.0.1:1",)), LOG_ORIGIN))
            for uri in GATEWAYS
        ),
        party(AUDITOR, None),
    ]
    for kind, uri in DEPARTMENTS.items():
        answers = tuple(claim.name for claim in CLAIMS.values() if claim.department is kind)
        terms = DepartmentTerms(
            kind, (Coverage(answers, ("43",)),), channels.get(uri, ("127.0.0.1:1",)), (sealing[uri],)
        )
        parties.append(party(uri, KeyUse.ANSWER, department=terms))
    offered = tuple(ClaimTerms(name, Assurance.SUBSTANTIAL) for name in claims)
    return Document(FORMAT, "heyan.test", 1, int(now) - 60, int(now) + 30 * DAY, tuple(parties), offered)
