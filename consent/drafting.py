"""Making a grant, in two steps with the person's approval between them.

`draft_grant` fixes every byte that is approved; its payload's digest is the passkey's challenge. `seal_grant` binds
the assertion to it and signs. All randomness is drawn through the function that the caller gives, so that this
module stays pure and a test can repeat it. Salts and assertion exist here only on their way into the private
consent file: an issuer keeps neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consent.disclosures import DISCLOSURE_SALT_BYTES, Detail, write_disclosure
from consent.grant import (
    CONSENT,
    GrantTerms,
    Notice,
    Relation,
    StatusReference,
    challenge_of,
    pseudonym,
    sign_grant,
    write_payload,
)
from consent.passkey import KEY_SALT_BYTES, Assertion, PasskeyEvidence, commit_key, write_evidence
from gateway.protocol.claims import Role
from gateway.protocol.codec import b64url
from gateway.protocol.keys import SigningKey
from gateway.protocol.registry_terms import Assurance
from gateway.protocol.subjects import SALT_BYTES, Subject, commit

NAME_BYTES = 16
"""128 random bits in `jti` and `txn`."""

RandomBytes = Callable[[int], bytes]
"""`secrets.token_bytes` in a real process."""


@dataclass(frozen=True, slots=True)
class Companion:
    """The guardian's grant beside which a co-resident acts: all that it says of the child is repeated, and `txn`."""

    child_commitment: bytes
    child_pseudonym: bytes = field(repr=False)
    txn: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a person is asked to allow, and who is concerned. `actor` is the acting person, guardian or co-resident."""

    issuer: str
    requester: str
    gateway: str
    purpose: str
    details: tuple[Detail, ...]
    child: Subject
    actor: Subject
    actor_role: Role
    relation: Relation
    acr: Assurance
    notice: Notice
    status: StatusReference
    issued_at: int
    expires: int
    legal_basis: str = CONSENT
    companion: Companion | None = None
    not_before: int | None = None


@dataclass(frozen=True, slots=True)
class DraftedGrant:
    """A grant that lacks only approval and signature. `salts` are of the roles that the acting person opens."""

    jti: str
    payload: bytes = field(repr=False)
    disclosures: tuple[str, ...] = field(repr=False)
    salts: Mapping[Role, bytes] = field(repr=False)
    key_salt: bytes = field(repr=False)

    @property
    def challenge(self) -> bytes:
        """What the passkey signs."""
        return challenge_of(self.payload)


def draft_grant(request: Request, *, public_key: bytes, secret: bytes, random_bytes: RandomBytes) -> DraftedGrant:
    """Draft a grant for the holder of the COSE key `public_key`; `secret` is the issuer's, for pseudonyms.

    A co-resident's grant repeats the child's commitment of its companion, and so opens no child. MalformedError.
    """
    salts = {request.actor_role: random_bytes(SALT_BYTES)}
    commitments = {request.actor_role: commit(request.actor, salts[request.actor_role])}
    if request.companion is None:
        salts[Role.CHILD] = random_bytes(SALT_BYTES)
        commitments[Role.CHILD] = commit(request.child, salts[Role.CHILD])
        child_pseudonym = pseudonym(secret, request.requester, request.child)
        txn = b64url(random_bytes(NAME_BYTES))
    else:
        child_pseudonym = request.companion.child_pseudonym
        commitments[Role.CHILD] = request.companion.child_commitment
        txn = request.companion.txn
    disclosures = tuple(
        write_disclosure(
            detail, purpose=request.purpose, gateway=request.gateway, salt=random_bytes(DISCLOSURE_SALT_BYTES)
        )
        for detail in request.details
    )
    key_salt = random_bytes(KEY_SALT_BYTES)
    terms = GrantTerms(
        issuer=request.issuer,
        jti=b64url(random_bytes(NAME_BYTES)),
        issued_at=request.issued_at,
        expires=request.expires,
        audience=request.requester,
        child_pseudonym=child_pseudonym,
        actor_pseudonym=pseudonym(secret, request.requester, request.actor),
        relation=request.relation,
        commitments=commitments,
        disclosures=disclosures,
        acr=request.acr,
        notice=request.notice,
        status=request.status,
        txn=txn,
        key_commitment=commit_key(key_salt, public_key),
        legal_basis=request.legal_basis,
        not_before=request.not_before,
    )
    return DraftedGrant(terms.jti, write_payload(terms), disclosures, salts, key_salt)


def seal_grant(
    payload: bytes, key_salt: bytes, public_key: bytes, assertion: Assertion, key: SigningKey
) -> tuple[str, bytes]:
    """The signed grant of an approved payload, and its passkey evidence. The assertion must have been verified."""
    evidence = write_evidence(PasskeyEvidence(key_salt, public_key, assertion))
    return sign_grant(payload, evidence, key), evidence
