"""Making a query: from questions and a consent to a signed, sealed submission. Pure: randomness is an argument.

Each department's part holds only its own checks, and its sealed subject only the roles that the part names, with
the evidence of only those grants for which the registry asks it. Sealing keys come from the registry alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from consent.consent_file import ConsentFile, GrantConsent
from gateway.protocol.application import application_digest
from gateway.protocol.beijing import BEIJING
from gateway.protocol.claims import Role, check_parameters, claim_named
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import MalformedError, NotGrantedError
from gateway.protocol.identifiers import check_subject
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import MAX_QUERY_LIFETIME, PART_SALT_SIZE
from gateway.protocol.presentation import PresentedPart, Submission
from gateway.protocol.query import Check, Part, Query, SignedQuery, write_part, write_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.sealing import seal
from heyan.v1 import query_pb2

REQUEST_ID_SIZE = 16

Randomness = Callable[[int], bytes]
"""Random bytes of a length; `os.urandom` in a real client."""


@dataclass(frozen=True, slots=True)
class Question:
    """One check to ask: its id within the query, claim, region (county code) and parameters.

    `dispute_id` is the dispute after whose correction it is asked once more, empty otherwise.
    """

    check_id: str
    claim: str
    region: str
    parameters: Mapping[str, str]
    dispute_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who asks whom, when, and for what: seconds since the epoch; `answer_until` None means no deferral.

    `application` is the exact bytes of what the query serves (`gateway.protocol.application`), empty for nothing.
    """

    requester: str
    gateway: str
    purpose: str
    now: float
    answer_until: float | None = None
    application: bytes = b""
    lifetime: float = MAX_QUERY_LIFETIME


def make_submission(
    questions: Sequence[Question],
    consent: ConsentFile,
    envelope: Envelope,
    registry: Registry,
    key: SigningKey,
    randomness: Randomness,
) -> Submission:
    """The submission of `questions`, resting on `consent`.

    Raises MalformedError for a malformed identifier (before anything is made of it), an unknown claim, or a deferral
    that ends before the query itself or after the sealing key that lasts longest; NotGrantedError if the consent has no
    footing for a question, or nobody answers it.
    """
    subjects = _subjects(consent, envelope.now)
    parts = _parts(questions, consent, envelope, registry, randomness)
    data = {part.department: write_part(part) for part in parts}
    digests = sorted(digest(Kind.PART, part) for part in data.values())
    expires = envelope.now + envelope.lifetime
    if envelope.answer_until is not None and envelope.answer_until < expires:
        raise MalformedError.at("answer_until", f"must be at least {envelope.lifetime:.0f} s from now")
    query = Query(
        request_id=randomness(REQUEST_ID_SIZE),
        requester=envelope.requester,
        gateway=envelope.gateway,
        issue_time=envelope.now,
        expire_time=expires,
        answer_until_time=expires if envelope.answer_until is None else envelope.answer_until,
        purpose=envelope.purpose,
        grant_digests=tuple(grant.digest for grant in consent.grants),
        part_digests=tuple(digests),
        application_digest=application_digest(envelope.application),
    )
    query_bytes = write_query(query)
    signed = SignedQuery(query_bytes, key.key_id, key.sign(Kind.QUERY, query_bytes))
    return Submission(
        signed=signed,
        grants=tuple(grant.presentation for grant in consent.grants),
        parts=tuple(
            _sealed(part, data[part.department], subjects, consent, signed.digest, registry, envelope) for part in parts
        ),
        application=envelope.application,
    )


def _subjects(consent: ConsentFile, now: float) -> dict[Role, tuple[query_pb2.SubjectOpening, GrantConsent]]:
    """The opening of every role, its identifier checked: nobody is born after the day of the query."""
    today = datetime.fromtimestamp(now, BEIJING).date()
    found: dict[Role, tuple[query_pb2.SubjectOpening, GrantConsent]] = {}
    for grant in consent.grants:
        for role, subject in grant.subjects.items():
            checked = check_subject(subject, today=today, prefix=f"subjects.{role.value}.")
            opening = query_pb2.SubjectOpening(
                role=role.value,
                id_type=checked.id_type.value,
                id_number=checked.id_number,
                name=checked.name,
                salt=grant.salts[role],
            )
            found.setdefault(role, (opening, grant))
    return found


def _parts(
    questions: Sequence[Question],
    consent: ConsentFile,
    envelope: Envelope,
    registry: Registry,
    randomness: Randomness,
) -> tuple[Part, ...]:
    checks: dict[str, list[Check]] = {}
    for question in questions:
        claim = claim_named(question.claim)
        check_parameters(claim, question.parameters)
        node = registry.node_for(question.claim, question.region)
        footing = consent.footing(question.claim, question.region, purpose=envelope.purpose, gateway=envelope.gateway)
        check = Check(
            question.check_id,
            question.claim,
            question.region,
            tuple(sorted(question.parameters.items())),
            footing.subjects,
            footing.uses,
            question.dispute_id,
        )
        checks.setdefault(node.id, []).append(check)
    return tuple(Part(randomness(PART_SALT_SIZE), department, tuple(asked)) for department, asked in checks.items())


def _sealed(
    part: Part,
    data: bytes,
    subjects: Mapping[Role, tuple[query_pb2.SubjectOpening, GrantConsent]],
    consent: ConsentFile,
    query_digest: bytes,
    registry: Registry,
    envelope: Envelope,
) -> PresentedPart:
    keys = registry.sealing_keys(part.department, envelope.now)
    if not keys:
        raise NotGrantedError(Reason.REGION_NOT_SERVED, f"{part.department} has no current sealing key")
    if envelope.answer_until is not None and envelope.answer_until > keys[0].not_after:  # the one that lasts longest
        left = int(keys[0].not_after - envelope.now)
        raise MalformedError.at("answer_until", f"must be at most {left} s from now: {part.department}'s key ends then")
    needing = {
        use.grant_digest
        for check in part.checks
        if registry.claim_terms(check.claim).evidence
        for use in check.authorizations
    }
    subject_envelope = query_pb2.SubjectEnvelope(
        subjects=[subjects[role][0] for role in sorted(part.roles)],
        evidence=[grant.evidence for grant in consent.grants if grant.digest in needing],
    )
    return PresentedPart(data, seal(subject_envelope, keys[0], part.department, query_digest))
