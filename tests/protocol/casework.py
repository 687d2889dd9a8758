"""One case as all parties see it: a signed query of four parts, what the departments state of it, and its receipt.

Nothing here is an attack: tests take the genuine pieces, change one, and put the rest together again. Grants are
mere digests here, because the ground floor never opens one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest

from gateway.protocol import merkle
from gateway.protocol.application import Application, application_digest, write_application
from gateway.protocol.attestation import (
    Asked,
    Attestation,
    Refusal,
    sealed_digest,
    sign_batch,
    write_proof,
    write_signed_batch,
    write_statement,
)
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.claims import DepartmentKind, claim_named
from gateway.protocol.codec import to_timestamp
from gateway.protocol.digests import Kind
from gateway.protocol.errors import HeyanError
from gateway.protocol.keys import SigningKey
from gateway.protocol.leaf import CheckStatus, Tags, write_leaf
from gateway.protocol.matrix import PURPOSE_ENROLMENT, Group, School
from gateway.protocol.note import ED25519, Signer, SignerKey, VerifierKey
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Presentation, PresentedPart, Submission, write_signed_query, write_submission
from gateway.protocol.proof import InclusionProof
from gateway.protocol.query import Check, GrantUse, OpenedPart, Part, Query, SignedQuery, open_part, write_part
from gateway.protocol.query import write_query as query_bytes
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.sealing import Sealed
from gateway.rules.bundle import write_bundle
from gateway.rules.layering import rules_of
from gateway.rules.shelf import open_shelf
from heyan.v1 import attestation_pb2, log_pb2, receipt_pb2
from tests.federation import DEPARTMENTS, GATEWAY, LOG_ORIGIN, REGION, REQUESTER, Federation

NOW = 1_800_000_000.0
SIGNED_AT = NOW + 1
LOGGED_AT = NOW + 2

POLICE, LAND, HRSS, HOUSING, EDUCATION = (DEPARTMENTS[kind] for kind in DepartmentKind)
GRANT = sha256(b"a guardian's grant").digest()
SECOND_GRANT = sha256(b"a co-resident's grant").digest()
LEAF_KEY = sha256(b"a leaf key").digest()
CIPHERTEXT = b"sealed to one department"

FEDERATION = Federation.create(NOW)
OPERATOR = FEDERATION.operator.public_key()

CLAIMS_ASKED: Mapping[str, Mapping[str, str]] = {
    POLICE: {"hukou": "hukou.child_registered@1", "identity": "identity.valid@1"},
    LAND: {"home": "property.owns_home@1"},
    HRSS: {"months": "insurance.paid_months@1"},
    HOUSING: {"lease": "housing.lease_on_file@1", "public": "housing.public_housing@1"},
}
"""What the case asks: by department, check_id → claim."""


@contextmanager
def refused(error: type[HeyanError], reason: Reason) -> Iterator[None]:
    """Expect a refusal of just this class and reason."""
    with pytest.raises(HeyanError) as refusal:
        yield
    assert (type(refusal.value), refusal.value.reason) == (error, reason)


def make_check(check_id: str, claim: str, **changes: Any) -> Check:
    """A check of the family, as the vocabulary wants it."""
    parameters = {name: allowed[1] for name, allowed in claim_named(claim).parameters.items()}
    values: dict[str, Any] = {
        "check_id": check_id,
        "claim": claim,
        "region": REGION,
        "parameters": tuple(sorted(parameters.items())),
        "subjects": tuple((role, sha256(role.encode()).digest()) for role in sorted(claim_named(claim).roles)),
        "authorizations": (GrantUse(GRANT, 0),),
    }
    return Check(**{**values, **changes})


def make_part(department: str, claims: Mapping[str, str] | Sequence[Check], **changes: Any) -> Part:
    """A department's part, with a salt of its own."""
    checks = (
        tuple(make_check(check_id, claim) for check_id, claim in claims.items())
        if isinstance(claims, Mapping)
        else tuple(claims)
    )
    return replace(Part(sha256(department.encode()).digest(), department, checks), **changes)


RULES = write_bundle(REGION, open_shelf())
RULES_DIGEST = rules_of(REGION, open_shelf()).digest()
APPLICATION = write_application(
    Application(sha256(b"application").digest(), REGION, School.PUBLIC_PRIMARY, Group.HUKOU_WITH_LEASE, RULES_DIGEST)
)

PARTS = tuple(write_part(make_part(department, claims)) for department, claims in CLAIMS_ASKED.items())


def make_query(parts: Iterable[bytes] = PARTS, **changes: Any) -> Query:
    """A query for `parts`, made NOW."""
    query = Query(
        request_id=b"0123456789abcdef",
        requester=REQUESTER,
        gateway=GATEWAY,
        issue_time=NOW,
        expire_time=NOW + 60,
        answer_until_time=NOW + 60,
        purpose=PURPOSE_ENROLMENT,
        grant_digests=(GRANT, SECOND_GRANT),
        part_digests=tuple(sorted(open_part(part).digest for part in parts)),
        application_digest=application_digest(APPLICATION),
    )
    return replace(query, **changes)


def sign_query(query: Query | bytes, key: SigningKey | None = None) -> SignedQuery:
    """The query with its requester's signature, or another's."""
    key = key or FEDERATION.signing_keys[REQUESTER]
    data = query if isinstance(query, bytes) else query_bytes(query)
    return SignedQuery(data, key.key_id, key.sign(Kind.QUERY, data))


def log_signer(federation: Federation = FEDERATION, gateway: str = GATEWAY) -> SignerKey:
    """A gateway's log key as it signs checkpoints."""
    key = federation.signing_keys[gateway]
    return signer_of(key)


def signer_of(key: SigningKey, origin: str = LOG_ORIGIN) -> SignerKey:
    """An Ed25519 key under the log's origin."""
    return SignerKey(VerifierKey.of(origin, ED25519, key.public_key().public), key.private)


@dataclass(frozen=True)
class Case:
    """A query with its parts, and the pieces that become its receipt."""

    federation: Federation = FEDERATION
    parts: tuple[bytes, ...] = PARTS
    signed: SignedQuery = field(default_factory=lambda: sign_query(make_query()))
    query: Query = field(default_factory=make_query)
    tags: Tags = field(default_factory=lambda: Tags(LEAF_KEY))

    @property
    def registry(self) -> Registry:
        return self.federation.registry

    @property
    def opened(self) -> Mapping[str, OpenedPart]:
        return {part.part.department: part for part in map(open_part, self.parts)}

    def asked(self, department: str, check_id: str, /, **changes: Any) -> Asked:
        """What a department was asked as one check."""
        part = self.opened[department]
        check = next(check for check in part.part.checks if check.check_id == check_id)
        asked = Asked(
            query_digest=self.signed.digest,
            part_digest=part.digest,
            sealed_digest=sealed_digest(CIPHERTEXT),
            check=check,
            requester=REQUESTER,
            department=department,
            purpose=PURPOSE_ENROLMENT,
        )
        return replace(asked, **changes)

    def attest(self, department: str, check_id: str, outcome: Outcome = Outcome.YES, /, **changes: Any) -> bytes:
        """An attestation's bytes; `changes` bend what it says it was asked."""
        asked = self.asked(department, check_id, **changes)
        nonce = sha256(check_id.encode()).digest()[:16]
        return write_statement(Attestation(asked, outcome, "2027-01-15", SIGNED_AT, SIGNED_AT + 2_592_000, nonce))

    def refuse(self, department: str, reason: Reason = Reason.BUDGET_EXHAUSTED, /, **changes: Any) -> bytes:
        """A refusal's bytes."""
        part = self.opened[department]
        refusal = Refusal(
            query_digest=self.signed.digest,
            part_digest=part.digest,
            sealed_digest=sealed_digest(CIPHERTEXT),
            requester=REQUESTER,
            department=department,
            reason=reason,
            issue_time=SIGNED_AT,
            nonce=bytes(16),
        )
        return write_statement(replace(refusal, **changes))

    def batch(
        self, department: str, *statements: bytes, at: float = SIGNED_AT, key: SigningKey | None = None
    ) -> list[attestation_pb2.AttestedStatement]:
        """Statements as their department signs them, in one batch."""
        signed, proofs = sign_batch(statements, department, key or self.federation.signing_keys[department], at)
        batch = write_signed_batch(signed)
        return [attestation_pb2.AttestedStatement(proof=write_proof(proof), batch=batch) for proof in proofs]

    def row(self, department: str, check_id: str, status: int, **changes: Any) -> log_pb2.LoggedCheck:
        """How a leaf records a check; `statement` gives the digest."""
        part = self.opened[department]
        check = self.asked(department, check_id).check
        statement = changes.pop("statement", None)
        if statement is not None:
            changes["statement_digest"] = statement_digest(statement)
        values: dict[str, Any] = {
            "department": department,
            "claim": check.claim,
            "region": check.region,
            "status": status,
            "check_tag": self.tags.check(part.digest, check_id),
        }
        return log_pb2.LoggedCheck(**{**values, **changes})

    def leaf(self, rows: Iterable[log_pb2.LoggedCheck], at: float = LOGGED_AT, **changes: Any) -> bytes:
        """A leaf that settles the rows; `changes` go to the leaf or, by their names, to its event."""
        event: dict[str, Any] = {
            "requester": REQUESTER,
            "query_tag": self.tags.query(self.signed.digest),
            "grant_tags": [self.tags.grant(value) for value in self.query.grant_digests],
            "purpose": PURPOSE_ENROLMENT,
            "checks": list(rows),
            "rules_digest": RULES_DIGEST,
        }
        leaf: dict[str, Any] = {"gateway": GATEWAY, "registry_version": self.registry.version}
        for name, value in changes.items():
            (event if name in event else leaf)[name] = value
        leaf.setdefault("verification", log_pb2.VerificationEvent(**event))
        return write_leaf(log_pb2.LogLeaf(log_time=to_timestamp(at), **leaf))

    def record(
        self, *leaves: bytes, signer: SignerKey | None = None, beside: Sequence[Signer] = ()
    ) -> list[log_pb2.LogLeaf]:
        """Leaf proofs under one checkpoint, with other leaves before and after; `beside` sign it too."""
        data = [b"before", *leaves, b"after"]
        hashes = [merkle.leaf_hash(item) for item in data]
        frontier, _ = merkle.Frontier().append(hashes)
        signer = signer or log_signer()
        head = sign_checkpoint(Checkpoint(signer.verifier.name, frontier.size, frontier.root()), [signer, *beside])
        return [
            receipt_pb2.LeafProof(
                leaf=item, proof=InclusionProof(index, merkle.inclusion_path(hashes, index), head).format()
            )
            for index, item in enumerate(data[1:-1], 1)
        ]

    def receipt(
        self,
        statements: Iterable[attestation_pb2.AttestedStatement],
        unavailable: Iterable[log_pb2.UnavailableCheck],
        leaves: Iterable[receipt_pb2.LeafProof],
        **changes: Any,
    ) -> receipt_pb2.Receipt:
        """The pieces as a receipt."""
        values: dict[str, Any] = {
            "version": 1,
            "query": write_signed_query(self.signed),
            "parts": self.parts,
            "statements": list(statements),
            "unavailable": list(unavailable),
            "leaves": list(leaves),
            "leaf_key": LEAF_KEY,
            "registry": self.registry.token,
            "registry_digest": self.registry.digest,
            "application": APPLICATION,
            "rules": RULES,
        }
        return receipt_pb2.Receipt(**{**values, **changes})


def statement_digest(statement: bytes) -> bytes:
    """How the log names a statement."""
    return sha256(b"heyan.v1.Statement\x00" + statement).digest()


def gap(check_id: str, department: str, **changes: Any) -> log_pb2.UnavailableCheck:
    """The gateway's statement that a check has no answer."""
    values: dict[str, Any] = {
        "check_id": check_id,
        "department": department,
        "reason": Reason.DEPARTMENT_TIMED_OUT.value,
        "next_step": int(NextStep.RETRY),
        "ask_time": to_timestamp(NOW),
        "end_time": to_timestamp(SIGNED_AT),
    }
    return log_pb2.UnavailableCheck(**{**values, **changes})


@dataclass
class Pieces:
    """A genuine receipt taken apart; a test changes what it likes, and `receipt()` records the rest as it stands."""

    case: Case
    statements: list[attestation_pb2.AttestedStatement]
    unavailable: list[log_pb2.UnavailableCheck]
    rows: list[log_pb2.LoggedCheck]

    def leaf(self, **changes: Any) -> bytes:
        return self.case.leaf(self.rows, **changes)

    def receipt(self, **changes: Any) -> receipt_pb2.Receipt:
        leaves = changes.pop("leaves", None) or self.case.record(self.leaf())
        return self.case.receipt(self.statements, self.unavailable, leaves, **changes)


def genuine(case: Case | None = None) -> Pieces:
    """Police YES and NO, land UNDETERMINED, social security unavailable, housing refused."""
    case = case or Case()
    hukou = case.attest(POLICE, "hukou")
    identity = case.attest(POLICE, "identity", Outcome.NO)
    home = case.attest(LAND, "home", Outcome.UNDETERMINED)
    refusal = case.refuse(HOUSING)
    exhausted, timed_out = Reason.BUDGET_EXHAUSTED.value, Reason.DEPARTMENT_TIMED_OUT.value
    return Pieces(
        case,
        [*case.batch(POLICE, hukou, identity), *case.batch(LAND, home), *case.batch(HOUSING, refusal)],
        [gap("months", HRSS)],
        [
            case.row(POLICE, "hukou", CheckStatus.ANSWERED, statement=hukou),
            case.row(POLICE, "identity", CheckStatus.ANSWERED, statement=identity),
            case.row(LAND, "home", CheckStatus.ANSWERED, statement=home),
            case.row(HRSS, "months", CheckStatus.UNAVAILABLE, reason=timed_out),
            case.row(HOUSING, "lease", CheckStatus.REFUSED, statement=refusal, reason=exhausted),
            case.row(HOUSING, "public", CheckStatus.REFUSED, statement=refusal, reason=exhausted),
        ],
    )


def flip(data: bytes, index: int = 0) -> bytes:
    """`data` with one bit of one byte changed."""
    changed = bytearray(data)
    changed[index] ^= 1
    return bytes(changed)


SUBMISSION = write_submission(
    Submission(
        sign_query(make_query()),
        (Presentation("a.b.c", ("x",)),),
        tuple(PresentedPart(part, Sealed(1, "seal-1", b"ciphertext")) for part in PARTS),
        APPLICATION,
    )
).SerializeToString(deterministic=True)
"""A submission of every part, its grant and its sealed subjects only of the right shape."""
