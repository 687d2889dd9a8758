"""The rules by which a node answers, or refuses to: all of them, in the order in which they are applied.

A node trusts no gateway. For one ask that came over the connection of a gateway:

    admit            1  the query is its requester's, for this gateway, and may be answered now
                     2  the part is one of the query's, for this node, and rests on grants that the query names
                     3  no claim is asked of the same subjects twice; vocabulary and registry allow every check
                     4  the grants shown are those it rests on and the guardian's, each made out to this requester
                        (looked at first), genuine, in force, and to be spent at this gateway
                     5  each check is authorized by them: claim, region, purpose, subjects, assurance
    (outside)        6  none of the grants is revoked, as of now: asked again before each release
    repeat_of        7  a request_id that was answered is answered alike again, or refused if it asks anything else
    open_subjects    8  the sealed subjects open for this node and this query
                     9  they are the subjects of the part's roles, and open every commitment
                    10  the guardians' passkeys approved these very grants, where the registry asks for it
    spend           11  each authorization has a use left, counted in distinct request_ids
                    12  the requester has not asked about these subjects too often (counted found or not found)
                        (both but for checks asked once more after a correction, which must ask just what was disputed)
    (outside)       13  the register is asked
    attest          14  each finding becomes an outcome; every outcome has one size

A query that allows deferral may come for the first time at any moment up to its answer_until_time, which its requester
signed: the gateway keeps it while a node is down. So whoever holds a query can have it answered once until then, and
only then; for its own requester, over its own gateway's connection, while its grants stand and the sealing key is
held. A second showing gets the stored statements (rule 7), which are kept that long, and counts for nothing.

A rule that fails is a BadDataError and becomes one signed refusal of the whole part. A fault of a machine is an
UnreachableError: nothing is stated, and it never becomes a "no". Nothing here reads a clock, a file or a key
folder, and nothing raised here holds an identifier or a name.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from math import floor

from consent.verification import authorize, open_grant, require_evidence
from consent.verified import GenuineGrants, VerifiedGrant
from gateway.protocol.attestation import Asked, Attestation, Refusal, sealed_digest
from gateway.protocol.claims import Claim, Role, claim_named
from gateway.protocol.disputes import require_reverifiable, spending
from gateway.protocol.errors import (
    BadDataError,
    ConflictError,
    ForgedError,
    MalformedError,
    NotCurrentError,
    NotGrantedError,
)
from gateway.protocol.limits import ATTESTATION_LIFETIME, EARLY_TOLERANCE, NONCE_SIZE
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import GrantUse, OpenedPart, Query, open_part
from gateway.protocol.query_rules import (
    check_policy,
    open_query,
    require_answerable,
    require_grants_of_query,
    require_single_questions,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.sealing import OpeningKey, open_sealed
from gateway.protocol.subjects import IdType, Subject, canonical_record, normalise_name, open_commitment
from heyan.v1 import query_pb2
from sandbox_departments.asks import Ask, Received
from sandbox_departments.past import Answers, Past, Spent
from sandbox_departments.register import Finding, Question, Standing

_PSEUDONYM_PREFIX = b"heyan.v1.SubjectPseudonym\x00"

Randomness = Callable[[int], bytes]
"""So many fresh random bytes."""


@dataclass(frozen=True, slots=True)
class Situation:
    """In what the rules are applied: this node (its SPIFFE ID), the registry it holds, and the time."""

    department: str
    registry: Registry
    now: float

    @property
    def issue_time(self) -> float:
        """The time that statements bear: whole seconds, so that their size does not vary with it."""
        return float(floor(self.now))


@dataclass(frozen=True, slots=True)
class Budget:
    """How often one requester may ask about one subject: distinct request_ids within `window` seconds."""

    requests: int
    window: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """An ask that passed rules 1 to 5."""

    ask: Ask
    query: Query
    query_digest: bytes
    part: OpenedPart
    sealed_digest: bytes
    grants: Mapping[bytes, VerifiedGrant]

    @property
    def digests(self) -> tuple[bytes, bytes, bytes]:
        """Digests of query, part and sealed bytes: what exactly was asked."""
        return self.query_digest, self.part.digest, self.sealed_digest


@dataclass(frozen=True, slots=True)
class Opened:
    """An ask that passed rules 8 to 10, with its subjects in the clear: never kept, never logged."""

    admitted: Admitted
    subjects: Mapping[Role, Subject]


def admit(ask: Ask, gateway: str, situation: Situation, genuine: GenuineGrants | None = None) -> Admitted:
    """Rules 1 to 5 for an ask that came over the connection of `gateway`; BadDataError.

    `genuine` remembers grants whose signature held, and nothing else of them.
    """
    registry, now = situation.registry, situation.now
    query = open_query(ask.signed, requester=None, gateway=gateway, registry=registry, now=now)
    require_answerable(query, now)
    opened = open_part(ask.part.part)
    if opened.digest not in query.part_digests:
        raise ForgedError(Reason.QUERY_PARTS_MISMATCH, "the query does not name this part")
    if opened.part.department != situation.department:
        raise NotGrantedError(Reason.PART_OTHER_DEPARTMENT)
    require_grants_of_query(query, opened.part)
    require_single_questions(opened.part.checks)
    check_policy(query, opened.part, registry)
    if {grant.digest for grant in ask.grants} != opened.part.grant_digests | {query.grant_digests[0]}:
        raise ForgedError(Reason.QUERY_PARTS_MISMATCH, "the grants shown are not those that the part rests on")
    grants = {
        grant.digest: open_grant(
            grant, requester=query.requester, gateway=gateway, registry=registry, now=now, opened=genuine
        )
        for grant in ask.grants
    }
    for check in opened.part.checks:
        authorize(check, query=query, grants=grants, registry=registry)
    return Admitted(ask, query, ask.signed.digest, opened, sealed_digest(ask.part.sealed.ciphertext), grants)


def repeat_of(admitted: Admitted, earlier: Answers | None) -> Answers | None:
    """Rule 7: what to answer again; None for a new request_id.

    Raises ConflictError (REQUEST_ID_CONFLICT) if the request_id was answered for another query, for another part
    or for other sealed bytes: otherwise one use would buy any number of questions.
    """
    if earlier is None:
        return None
    if (earlier.query, earlier.part, earlier.sealed) != admitted.digests:
        raise ConflictError(Reason.REQUEST_ID_CONFLICT)
    if not earlier.statements:
        raise NotCurrentError(Reason.QUERY_EXPIRED, "the statements are kept until answer_until_time only")
    return earlier


def open_subjects(admitted: Admitted, keys: Mapping[str, OpeningKey], situation: Situation) -> Opened:
    """Rules 8 to 10, with the sealing keys that the node holds, by key id; BadDataError."""
    part, sealed = admitted.part.part, admitted.ask.part.sealed
    key = keys.get(sealed.key_id)
    if key is None:
        raise ForgedError(Reason.SUBJECT_UNDECIPHERABLE, "sealed to a key that this node does not hold")
    envelope = open_sealed(sealed, key, situation.department, admitted.query_digest)
    openings = {opening.role: opening for opening in envelope.subjects}
    if len(openings) != len(envelope.subjects) or openings.keys() != {role.value for role in part.roles}:
        raise ForgedError(Reason.COMMITMENT_MISMATCH, "the subjects are not those of the part's roles")
    subjects = {role: _subject(openings[role.value]) for role in sorted(part.roles)}
    for role, commitment in {pair for check in part.checks for pair in check.subjects}:
        open_commitment(commitment, subjects[role], openings[role.value].salt)
    require_evidence(part, admitted.grants, tuple(envelope.evidence), situation.registry)
    return Opened(admitted, subjects)


def spend(opened: Opened, past: Past, budget: Budget, secret: bytes, now: float) -> Spent:
    """Rules 11 and 12: count the request_id against uses and budget, or against neither.

    Raises NotGrantedError (GRANT_USED_UP, BUDGET_EXHAUSTED, or what `require_reverifiable` raises). `secret` is the
    node's own, 32 bytes.
    """
    query, grants, part = opened.admitted.query, opened.admitted.grants, opened.admitted.part.part
    corrections = tuple(check.dispute_id for check in part.checks if check.dispute_id)
    for check in part.checks:
        if check.dispute_id:
            require_reverifiable(
                check,
                past.disputed(check.dispute_id, part.department),
                department=part.department,
                requester=query.requester,
                request_id=query.request_id,
            )
    charged = spending(part.checks)
    uses = frozenset(use for check in charged for use in check.authorizations)
    for use in uses:
        if past.uses_of(use.grant_digest, use.authorization) >= _max_uses(grants[use.grant_digest], use):
            raise NotGrantedError(Reason.GRANT_USED_UP)
    subjects = pseudonyms(opened, {role for check in charged for role, _ in check.subjects}, secret)
    for subject in subjects:
        if past.probes_of(subject, query.requester, now - budget.window) >= budget.requests:
            raise NotGrantedError(Reason.BUDGET_EXHAUSTED)
    keep_until = max(query.answer_until_time, *(grant.expires for grant in grants.values())) + EARLY_TOLERANCE
    answer_until = query.answer_until_time + EARLY_TOLERANCE
    spent = Spent(query.requester, query.request_id, uses, subjects, now, answer_until, keep_until, corrections)
    past.spend(spent)
    return spent


def questions_of(opened: Opened) -> tuple[Question, ...]:
    """What the register is asked, check by check: each with the subjects of its own roles only."""
    return tuple(
        Question(
            check.claim,
            check.region,
            dict(check.parameters),
            {role: opened.subjects[role] for role, _ in check.subjects},
        )
        for check in opened.admitted.part.part.checks
    )


def outcome_of(claim: Claim, finding: Finding) -> Outcome:
    """YES or NO about a person that the register knows without a doubt; UNDETERMINED for everybody else."""
    if finding.standing is not Standing.KNOWN:
        return Outcome.UNDETERMINED
    return Outcome.YES if finding.fact != claim.negative else Outcome.NO


def attest(
    opened: Opened, findings: Sequence[Finding], snapshot: date, situation: Situation, randomness: Randomness
) -> tuple[Attestation, ...]:
    """Rule 14: one attestation per check, in the part's order, from as many findings."""
    admitted = opened.admitted
    query_digest, part_digest, sealed = admitted.digests
    issued = situation.issue_time
    return tuple(
        Attestation(
            asked=Asked(
                query_digest=query_digest,
                part_digest=part_digest,
                sealed_digest=sealed,
                check=check,
                requester=admitted.query.requester,
                department=situation.department,
                purpose=admitted.query.purpose,
            ),
            outcome=outcome_of(claim_named(check.claim), finding),
            snapshot_date=snapshot.isoformat(),
            issue_time=issued,
            expire_time=issued + ATTESTATION_LIFETIME,
            nonce=randomness(NONCE_SIZE),
        )
        for check, finding in zip(admitted.part.part.checks, findings, strict=True)
    )


def refuse(received: Received, error: BadDataError, situation: Situation, nonce: bytes) -> Refusal:
    """The refusal of what was received; it says nothing but the reason."""
    return Refusal(
        query_digest=received.query,
        part_digest=received.part,
        sealed_digest=received.sealed,
        requester=received.requester,
        department=situation.department,
        reason=error.reason,
        issue_time=situation.issue_time,
        nonce=nonce,
    )


def pseudonym(subject: Subject, secret: bytes) -> bytes:
    """How the journal names a subject: HMAC-SHA-256 under the node's secret over the canonical record."""
    return hmac.digest(secret, _PSEUDONYM_PREFIX + canonical_record(subject), sha256)


def pseudonyms(opened: Opened, roles: Collection[Role], secret: bytes) -> tuple[bytes, ...]:
    """The pseudonyms of the subjects of `roles`, each once, sorted."""
    return tuple(sorted({pseudonym(opened.subjects[role], secret) for role in roles}))


def _subject(opening: query_pb2.SubjectOpening) -> Subject:
    try:
        id_type = IdType(opening.id_type)
    except ValueError:
        raise MalformedError.at("id_type", "must be a known kind of document", Reason.IDENTIFIER_MALFORMED) from None
    # The spelling of `canonical_record`, so that the register is asked about the very person who was committed to.
    return Subject(id_type, normalise_name(opening.id_number).upper(), normalise_name(opening.name))


def _max_uses(grant: VerifiedGrant, use: GrantUse) -> int:
    return grant.authorizations[use.authorization].max_uses
