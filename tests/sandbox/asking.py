"""A federation in memory as a department node meets it: a registry, and whatever a gateway may present to the node.

Every value is right unless a test bends it: `World.consent`, `World.part` and `World.ask` take what an attacker would
put in the place of the right thing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from consent.authenticator import SoftwareAuthenticator, derive_authenticator
from consent.disclosures import Detail
from consent.drafting import Companion, Request, draft_grant, seal_grant
from consent.grant import Notice, Relation, StatusReference, peek
from consent.verified import VerifiedGrant
from gateway.protocol.attestation import (
    Attestation,
    Refusal,
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
)
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.claims import DepartmentKind, Role, claim_named
from gateway.protocol.codec import b64url, unb64url
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import HeyanError
from gateway.protocol.identifiers import resident_id
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.keys import SigningKey, raw_public
from gateway.protocol.note import SignerKey
from gateway.protocol.presentation import (
    Presentation,
    PresentedPart,
    write_presentation,
    write_presented_part,
    write_signed_query,
)
from gateway.protocol.query import Check, GrantUse, Part, Query, SignedQuery, write_part, write_query
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import (
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
from gateway.protocol.sealing import OpeningKey, Sealed, fresh_seed, private_from_seed, public_bytes, seal
from gateway.protocol.subjects import IdType, Subject
from heyan.v1 import department_service_pb2 as pb
from heyan.v1 import query_pb2
from sandbox_departments.answerer import Answerer, Sources, Terms
from sandbox_departments.answering import Budget
from sandbox_departments.disputes import DisputeDesk
from sandbox_departments.journal import Journal
from sandbox_departments.replies import Incoming
from tests.fakes_register import FakeRegister

NOW = 1_800_000_000.0
DAY = 86_400
POLICE = Identity(PartyRole.DEPARTMENT, "police-4301")
LAND = Identity(PartyRole.DEPARTMENT, "land-4301")
GATEWAY = Identity(PartyRole.GATEWAY, "hunan")
OTHER_GATEWAY = Identity(PartyRole.GATEWAY, "hubei")
REQUESTER = Identity(PartyRole.REQUESTER, "enrol")
OTHER_REQUESTER = Identity(PartyRole.REQUESTER, "enrol-west")
ISSUER = Identity(PartyRole.ISSUER, "citizen-app")
ORIGIN = "log.hunan.example"
PURPOSE = "enrolment"
REGION = "430102"
REGISTERED, GUARDIAN_OF, HOUSEHOLD = (
    "hukou.child_registered@1",
    "guardianship.guardian_of@1",
    "kinship.same_household@1",
)
CHILD = Subject(IdType.RESIDENT_ID, resident_id("439900", date(2019, 1, 1), 123), "李小明")
GUARDIAN = Subject(IdType.RESIDENT_ID, resident_id("439900", date(1989, 1, 1), 123), "李明")
GRANDMOTHER = Subject(IdType.RESIDENT_ID, resident_id("439900", date(1959, 1, 1), 122), "王芳")
PEOPLE: Mapping[Role, Subject] = {Role.CHILD: CHILD, Role.GUARDIAN: GUARDIAN, Role.CO_RESIDENT: GRANDMOTHER}
SECRET = bytes(range(32))

_NAME = LocalName("某方", "someone")
_RP_ID, _PORTAL = "consent.example", "https://consent.example"


@dataclass(frozen=True)
class Consent:
    """A grant as its holder keeps it: what is presented, what opens it, and what proves the approval."""

    presentation: Presentation
    salts: Mapping[Role, bytes]
    commitments: Mapping[Role, bytes]
    evidence: bytes
    companion: Companion

    @property
    def digest(self) -> bytes:
        return self.presentation.digest


def signing_key(kid: str) -> SigningKey:
    return SigningKey(kid, ec.generate_private_key(ec.SECP256R1()))


def terms_of(key: SigningKey, use: KeyUse) -> KeyTerms:
    public = b64url(raw_public(key.private))
    return KeyTerms(key.key_id, use, key.algorithm, public, int(NOW) - DAY, int(NOW) + 365 * DAY)


class World:
    """The keys of everybody, and the registry that lists them."""

    def __init__(self) -> None:
        self.now = NOW
        self.query_key, self.other_query_key = signing_key("query-1"), signing_key("query-2")
        self.grant_key, self.answer_key, self.land_key = (
            signing_key("grant-1"),
            signing_key("answer-1"),
            signing_key("answer-2"),
        )
        self.log_key = SigningKey("log-1", ed25519.Ed25519PrivateKey.generate())
        self.opening: dict[str, OpeningKey] = {}
        self.sealing: dict[str, SealingKeyTerms] = {}
        for kid in ("seal-police", "seal-land"):
            seed = fresh_seed(Suite.HYBRID, secrets.token_bytes(96))
            self.opening[kid] = OpeningKey(kid, Suite.HYBRID, private_from_seed(Suite.HYBRID, seed))
            public = b64url(public_bytes(Suite.HYBRID, seed))
            self.sealing[kid] = SealingKeyTerms(kid, Suite.HYBRID, public, int(NOW) - DAY, int(NOW) + 13 * DAY)
        self.passkey = derive_authenticator(SECRET, "guardian")
        self.registry = Registry(self.document(), "registry")

    def document(self) -> Document:
        police = (REGISTERED, GUARDIAN_OF, HOUSEHOLD, "hukou.guardian_registered@1")
        asks = RequesterTerms((*police, "property.owns_home@1"), ("43",), (PURPOSE, "audit"))
        parties = (
            Party(
                POLICE.uri,
                _NAME,
                keys=(terms_of(self.answer_key, KeyUse.ANSWER),),
                department=DepartmentTerms(
                    DepartmentKind.POLICE, (Coverage(police, ("4301",)),), (), (self.sealing["seal-police"],)
                ),
            ),
            Party(
                LAND.uri,
                _NAME,
                keys=(terms_of(self.land_key, KeyUse.ANSWER),),
                department=DepartmentTerms(
                    DepartmentKind.LAND,
                    (Coverage(("property.owns_home@1",), ("4301",)),),
                    (),
                    (self.sealing["seal-land"],),
                ),
            ),
            Party(GATEWAY.uri, _NAME, keys=(terms_of(self.log_key, KeyUse.LOG),), gateway=GatewayTerms((), ORIGIN)),
            Party(OTHER_GATEWAY.uri, _NAME, gateway=GatewayTerms((), "log.hubei.example")),
            Party(REQUESTER.uri, _NAME, keys=(terms_of(self.query_key, KeyUse.QUERY),), requester=asks),
            Party(OTHER_REQUESTER.uri, _NAME, keys=(terms_of(self.other_query_key, KeyUse.QUERY),), requester=asks),
            Party(
                ISSUER.uri,
                _NAME,
                keys=(terms_of(self.grant_key, KeyUse.GRANT),),
                issuer=IssuerTerms("https://issuer.example/", _RP_ID, (_PORTAL,)),
            ),
        )
        claims = tuple(ClaimTerms(claim, Assurance.SUBSTANTIAL) for claim in (*police, "property.owns_home@1"))
        document = Document(1, "test", 7, int(NOW) - DAY, int(NOW) + 30 * DAY, parties, claims)
        document.check()
        return document

    def clock(self) -> float:
        return self.now

    # -- what is presented ------------------------------------------------------------------------------------

    def consent(
        self,
        *,
        claims: Sequence[str] = (REGISTERED, GUARDIAN_OF, HOUSEHOLD),
        max_uses: int = 1,
        requester: Identity = REQUESTER,
        gateway: Identity = GATEWAY,
        expires: float = NOW + DAY,
        signer: SigningKey | None = None,
        passkey: SoftwareAuthenticator | None = None,
        beside: Consent | None = None,
    ) -> Consent:
        """The guardian's consent; with `beside`, the co-resident's beside the guardian's."""
        role = Role.GUARDIAN if beside is None else Role.CO_RESIDENT
        holder = passkey or self.passkey
        request = Request(
            issuer=ISSUER.uri,
            requester=requester.uri,
            gateway=gateway.uri,
            purpose=PURPOSE,
            details=(Detail(tuple(claims), ("4301",), max_uses),),
            child=CHILD,
            actor=PEOPLE[role],
            actor_role=role,
            relation=Relation("parent", "police"),
            acr=Assurance.HIGH,
            notice=Notice("enrolment", "1", "zh-CN", b64url(bytes(32))),
            status=StatusReference(7, "https://issuer.example/status/1"),
            issued_at=int(NOW) - 60,
            expires=int(expires),
            companion=beside.companion if beside is not None else None,
        )
        draft = draft_grant(request, public_key=holder.public_key, secret=SECRET, random_bytes=secrets.token_bytes)
        approval = holder.approve(draft.challenge, rp_id=_RP_ID, origin=_PORTAL)
        token, evidence = seal_grant(
            draft.payload, draft.key_salt, holder.public_key, approval, signer or self.grant_key
        )
        presentation = Presentation(token, draft.disclosures)
        payload = peek(presentation.grant)
        companion = Companion(
            child_commitment=payload.commitments[Role.CHILD],
            child_pseudonym=unb64url(payload.sub, "sub"),
            txn=payload.txn,
        )
        return Consent(presentation, draft.salts, payload.commitments, evidence, companion)

    def part(
        self,
        *consents: Consent,
        claims: Sequence[str] = (REGISTERED, GUARDIAN_OF),
        department: Identity = POLICE,
        region: str = REGION,
    ) -> Part:
        """A part with a check for each claim, resting on the guardian's consent and, where needed, the other."""
        checks = []
        for number, name in enumerate(claims):
            roles = sorted(claim_named(name).roles)
            by = {role: consents[-1] if role is Role.CO_RESIDENT else consents[0] for role in roles}
            uses = tuple(GrantUse(grant, 0) for grant in dict.fromkeys(by[role].digest for role in roles))
            subjects = tuple((role, by[role].commitments[role]) for role in roles)
            checks.append(Check(f"check-{number}", name, region, (), subjects, uses))
        return Part(secrets.token_bytes(32), department.uri, tuple(checks))

    def query(self, part: Part, *consents: Consent, **bent: object) -> Query:
        right = Query(
            request_id=secrets.token_bytes(16),
            requester=REQUESTER.uri,
            gateway=GATEWAY.uri,
            issue_time=self.now - 1,
            expire_time=self.now + 30,
            answer_until_time=self.now + 30,
            purpose=PURPOSE,
            grant_digests=tuple(consent.digest for consent in consents),
            part_digests=(digest(Kind.PART, write_part(part)),),
        )
        return replace(right, **bent)  # type: ignore[arg-type]

    def sign(self, query: Query, key: SigningKey | None = None) -> SignedQuery:
        signer, data = key or self.query_key, write_query(query)
        return SignedQuery(data, signer.key_id, signer.sign(Kind.QUERY, data))

    def seal(
        self,
        part: Part,
        signed: SignedQuery,
        *consents: Consent,
        people: Mapping[Role, Subject] = PEOPLE,
        evidence: Sequence[bytes] | None = None,
        roles: Sequence[Role] | None = None,
        id_type: str | None = None,
        kid: str = "seal-police",
        department: Identity = POLICE,
    ) -> Sealed:
        salts = {role: salt for consent in consents for role, salt in consent.salts.items()}
        subjects = [
            query_pb2.SubjectOpening(
                role=role.value,
                id_type=id_type or people[role].id_type.value,
                id_number=people[role].id_number,
                name=people[role].name,
                salt=salts.get(role, bytes(32)),
            )
            for role in (sorted(part.roles) if roles is None else roles)
        ]
        proofs = [consent.evidence for consent in consents] if evidence is None else list(evidence)
        envelope = query_pb2.SubjectEnvelope(subjects=subjects, evidence=proofs)
        return seal(envelope, self.sealing[kid], department.uri, signed.digest)

    def ask(
        self,
        *consents: Consent,
        part: Part | None = None,
        query: Query | None = None,
        signed: SignedQuery | None = None,
        sealed: Sealed | None = None,
        shown: Sequence[Consent] | None = None,
        ask_id: int = 1,
        **bent: object,
    ) -> pb.Ask:
        """An ask that rests on `consents` (the guardian's first), or on a fresh one; `bent` are fields of the query."""
        held = consents or (self.consent(),)
        asked = part or self.part(*held)
        signed = signed or self.sign(query or self.query(asked, *held, **bent))
        presented = PresentedPart(write_part(asked), sealed or self.seal(asked, signed, *held))
        return pb.Ask(
            ask_id=ask_id,
            query=write_signed_query(signed),
            part=write_presented_part(presented),
            grants=[write_presentation(consent.presentation) for consent in (held if shown is None else shown)],
        )

    def acknowledgement(
        self,
        batch: bytes,
        statements: int,
        *,
        tree: int = 100,
        root: bytes = b"r" * 32,
        first: int = 0,
        signer: SigningKey | None = None,
        origin: str = ORIGIN,
    ) -> pb.Acknowledgement:
        key = signer or self.log_key
        note_key = SignerKey.from_seed(origin, key.private.private_bytes_raw())  # type: ignore[union-attr]
        note = sign_checkpoint(Checkpoint(origin, tree, root), (note_key,))
        return pb.Acknowledgement(batch_digest=batch, leaf_indexes=range(first, first + statements), checkpoint=note)


class FakeStandings:
    """Every grant stands, unless `lost` has its digest; that a list is not `at_hand` must be waited for."""

    def __init__(self) -> None:
        self.lost: dict[bytes, HeyanError] = {}
        self.at_hand = True
        self.asked = 0

    async def require_standing(self, grant: VerifiedGrant) -> None:
        self.asked += 1
        if grant.digest in self.lost:
            raise self.lost[grant.digest]

    def stands(self, grant: VerifiedGrant) -> bool:
        return self.at_hand and grant.digest not in self.lost


@dataclass
class FakeKeys:
    opened: dict[str, OpeningKey]
    key: SigningKey

    def opening(self) -> Mapping[str, OpeningKey]:
        return self.opened

    def signing(self, registry: Registry, now: float) -> SigningKey:
        return self.key


@dataclass
class Desk:
    """A node's answerer with everything around it at hand."""

    world: World
    path: Path
    register: FakeRegister = field(default_factory=FakeRegister)
    standings: FakeStandings = field(default_factory=FakeStandings)
    budget: Budget = field(default_factory=lambda: Budget(3, float(DAY)))
    max_owed: int = 10_000
    department: Identity = POLICE

    def __post_init__(self) -> None:
        self.journal = Journal(self.path)
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.answerer = Answerer(
            Terms(self.department.uri, SECRET, self.budget, max_owed=self.max_owed, status_wait=0.2),
            sources=Sources(
                registry=lambda: self.world.registry,
                keys=FakeKeys({"seal-police": self.world.opening["seal-police"]}, self.world.answer_key),
                register=self.register,
                standings=self.standings,
            ),
            journal=self.journal,
            thread=self.thread,
            clock=self.world.clock,
            randomness=secrets.token_bytes,
        )

        self.disputes = DisputeDesk(
            self.department.uri,
            registry=lambda: self.world.registry,
            keys=FakeKeys({}, self.world.answer_key),
            journal=self.journal,
            thread=self.thread,
            clock=self.world.clock,
            randomness=secrets.token_bytes,
        )

    def close(self) -> None:
        self.thread.shutdown()
        self.journal.close()

    async def answer(self, *asks: pb.Ask, gateway: Identity = GATEWAY, origin: int = 1) -> list[pb.AnswerResponse]:
        batches = await self.answerer.answer([Incoming(origin, gateway.uri, ask) for ask in asks])
        return [batch.message for batch in batches]

    async def statements(self, ask: pb.Ask, gateway: Identity = GATEWAY) -> list[Attestation | Refusal]:
        """What is stated of one ask, verified as the gateway would."""
        (message,) = await self.answer(ask, gateway=gateway)
        return opened_statements(message, self.world)

    async def outcomes(self, ask: pb.Ask) -> list[str]:
        """Names of the outcomes, or the reason of the refusal or fault, in lower case for a fault."""
        (message,) = await self.answer(ask)
        return told(message, self.world)[0]


def opened_statements(message: pb.AnswerResponse, world: World) -> list[Attestation | Refusal]:
    batch = open_batch(read_signed_batch(message.batch), world.registry, world.now)
    return [open_statement(read_proof(proof), batch) for reply in message.replies for proof in reply.statements]


def told(message: pb.AnswerResponse, world: World) -> list[list[str]]:
    """What each reply of a message says."""
    batch = open_batch(read_signed_batch(message.batch), world.registry, world.now) if message.batch.batch else None
    result = []
    for reply in message.replies:
        if reply.fault:
            assert not reply.statements
            result.append([reply.fault.lower()])
            continue
        assert batch is not None
        stated = [open_statement(read_proof(proof), batch) for proof in reply.statements]
        result.append([item.reason.value if isinstance(item, Refusal) else item.outcome.name for item in stated])
    return result
