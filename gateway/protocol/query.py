"""The query, its parts and checks: immutable values, and their strict reading and writing.

A query is signed once. It names its parts only by salted digests; each department is shown the query, its own
part, and only the grants that its part rests on. What makes a query acceptable is in `query_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from gateway.protocol.claims import Role
from gateway.protocol.codec import encode, from_timestamp, parse_canonical, remembered, to_timestamp
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.limits import (
    MAX_CHECKS_PER_PART,
    MAX_GRANTS,
    MAX_MESSAGE,
    MAX_PARTS,
    MAX_REQUEST_ID,
    MAX_USES,
    MIN_REQUEST_ID,
    PART_SALT_SIZE,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import COMMITMENT_BYTES
from heyan.v1 import check_pb2, query_pb2

_CHECK_ID = re.compile(r"[a-z0-9_.-]{1,64}")
_REGION = re.compile(r"[0-9]{6}")
_PURPOSE = re.compile(r"[a-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True)
class GrantUse:
    """The authorization that a check spends: the grant's digest and an index in its authorization_details."""

    grant_digest: bytes
    authorization: int


@dataclass(frozen=True, slots=True)
class Check:
    """One question to one department. Parameters and subjects are sorted by name and role."""

    check_id: str
    claim: str
    region: str
    parameters: tuple[tuple[str, str], ...]
    subjects: tuple[tuple[Role, bytes], ...]
    authorizations: tuple[GrantUse, ...]
    dispute_id: bytes = b""
    """The dispute (32 bytes) after whose correction this is asked once more; empty otherwise."""


@dataclass(frozen=True, slots=True)
class Part:
    """One department's checks; the salt keeps its digest from telling other departments anything."""

    salt: bytes
    department: str
    checks: tuple[Check, ...]

    @property
    def roles(self) -> frozenset[Role]:
        """The roles whose subjects the part names."""
        return frozenset(role for check in self.checks for role, _ in check.subjects)

    @property
    def grant_digests(self) -> frozenset[bytes]:
        """Digests of the grants that the part rests on."""
        return frozenset(use.grant_digest for check in self.checks for use in check.authorizations)


@dataclass(frozen=True, slots=True)
class Query:
    """What a requester asks. Times are seconds since the epoch; digests are 32 bytes."""

    request_id: bytes
    requester: str
    gateway: str
    issue_time: float
    expire_time: float
    answer_until_time: float
    purpose: str
    grant_digests: tuple[bytes, ...]
    part_digests: tuple[bytes, ...]
    application_digest: bytes = b""
    """Of the application that the query serves (see `application`); empty if none."""

    @property
    def allows_deferral(self) -> bool:
        """Whether what is not answered at once may be kept and asked again, until answer_until_time."""
        return self.answer_until_time > self.expire_time


@dataclass(frozen=True)
class SignedQuery:
    """A query's exact bytes with its requester's signature."""

    query: bytes
    key_id: str
    signature: bytes

    @cached_property
    def digest(self) -> bytes:
        """Digest of the query, by which everything else refers to it."""
        return digest(Kind.QUERY, self.query)


@dataclass(frozen=True, slots=True)
class OpenedPart:
    """A part as presented, with its digest."""

    part: Part
    data: bytes
    digest: bytes


# -- reading and writing ------------------------------------------------------------------------------------


@remembered
def read_query(data: bytes) -> Query:
    """The query of canonical bytes, every field within its bound; MalformedError."""
    message = parse_canonical(query_pb2.Query, data, MAX_MESSAGE)
    if not MIN_REQUEST_ID <= len(message.request_id) <= MAX_REQUEST_ID:
        raise MalformedError.at("query.request_id", f"must be {MIN_REQUEST_ID} to {MAX_REQUEST_ID} random bytes")
    if parse_identity(message.requester, "query.requester").role is not PartyRole.REQUESTER:
        raise MalformedError.at("query.requester", "must be a requester's SPIFFE ID")
    if parse_identity(message.gateway, "query.gateway").role is not PartyRole.GATEWAY:
        raise MalformedError.at("query.gateway", "must be a gateway's SPIFFE ID")
    if not _PURPOSE.fullmatch(message.purpose):
        raise MalformedError.at("query.purpose", "must be 1 to 64 of a-z, 0-9 and _")
    _require_digests("query.grant_digests", message.grant_digests, MAX_GRANTS)
    _require_digests("query.part_digests", message.part_digests, MAX_PARTS)
    if list(message.part_digests) != sorted(message.part_digests):
        raise MalformedError.at("query.part_digests", "must be in ascending order")
    if len(message.application_digest) not in (0, DIGEST_BYTES):
        raise MalformedError.at("query.application_digest", f"must be {DIGEST_BYTES} bytes, or empty")
    return Query(
        request_id=message.request_id,
        requester=message.requester,
        gateway=message.gateway,
        issue_time=from_timestamp(message, "issue_time"),
        expire_time=from_timestamp(message, "expire_time"),
        answer_until_time=from_timestamp(message, "answer_until_time"),
        purpose=message.purpose,
        grant_digests=tuple(message.grant_digests),
        part_digests=tuple(message.part_digests),
        application_digest=message.application_digest,
    )


def write_query(query: Query) -> bytes:
    """The canonical bytes of a query."""
    return encode(
        query_pb2.Query(
            request_id=query.request_id,
            requester=query.requester,
            gateway=query.gateway,
            issue_time=to_timestamp(query.issue_time),
            expire_time=to_timestamp(query.expire_time),
            answer_until_time=to_timestamp(query.answer_until_time),
            purpose=query.purpose,
            grant_digests=query.grant_digests,
            part_digests=query.part_digests,
            application_digest=query.application_digest,
        )
    )


@remembered
def open_part(data: bytes) -> OpenedPart:
    """The part of canonical bytes, every field within its bound, with its digest; MalformedError."""
    message = parse_canonical(check_pb2.Part, data, MAX_MESSAGE)
    if len(message.salt) != PART_SALT_SIZE:
        raise MalformedError.at("part.salt", f"must be {PART_SALT_SIZE} random bytes")
    if parse_identity(message.department, "part.department").role is not PartyRole.DEPARTMENT:
        raise MalformedError.at("part.department", "must be a department's SPIFFE ID")
    if not message.checks:
        raise MalformedError.at("part.checks", "must not be empty")
    if len(message.checks) > MAX_CHECKS_PER_PART:
        raise MalformedError(Reason.TOO_MANY_CHECKS, f"{len(message.checks)} checks in one part")
    checks = tuple(read_check(check) for check in message.checks)
    if len({check.check_id for check in checks}) != len(checks):
        raise MalformedError.at("part.checks.check_id", "must be unique")
    return OpenedPart(Part(message.salt, message.department, checks), data, digest(Kind.PART, data))


def write_part(part: Part) -> bytes:
    """The canonical bytes of a part."""
    checks = [write_check(check) for check in part.checks]
    return encode(check_pb2.Part(salt=part.salt, department=part.department, checks=checks))


def read_check(message: check_pb2.Check) -> Check:
    """A check within its bounds; MalformedError naming the field."""
    if not _CHECK_ID.fullmatch(message.check_id):
        raise MalformedError.at("check.check_id", "must be 1 to 64 of a-z, 0-9, _, . and -")
    if not _REGION.fullmatch(message.region):
        raise MalformedError.at("check.region", "must be a GB/T 2260 code of six digits")
    parameters = tuple([(parameter.name, parameter.value) for parameter in message.parameters])
    if len(parameters) > 1 and list(parameters) != sorted(dict(parameters).items()):
        raise MalformedError.at("check.parameters", "must be sorted by name, each once")
    roles = [subject.role for subject in message.subjects]
    if not roles or roles != sorted(set(roles)) or not _ROLES.keys() >= set(roles):
        raise MalformedError.at("check.subjects", "must be sorted by role, each once")
    subjects = tuple([(_ROLES[subject.role], subject.commitment) for subject in message.subjects])
    uses = tuple([GrantUse(use.grant_digest, use.authorization) for use in message.authorizations])
    for _, commitment in subjects:
        if len(commitment) != COMMITMENT_BYTES:
            raise MalformedError.at("check.subjects.commitment", f"must be {COMMITMENT_BYTES} bytes")
    _require_digests("check.authorizations", [use.grant_digest for use in uses], MAX_GRANTS)
    for use in uses:
        if use.authorization > MAX_USES:
            raise MalformedError.at("check.authorizations.authorization", "is out of range")
    dispute_id = message.dispute_id
    if dispute_id and len(dispute_id) != DIGEST_BYTES:
        raise MalformedError.at("check.dispute_id", f"must be empty, or {DIGEST_BYTES} bytes")
    return Check(message.check_id, message.claim, message.region, parameters, subjects, uses, dispute_id)


def write_check(check: Check) -> check_pb2.Check:
    """The message of a check."""
    return check_pb2.Check(
        check_id=check.check_id,
        claim=check.claim,
        region=check.region,
        parameters=[check_pb2.Parameter(name=name, value=value) for name, value in check.parameters],
        subjects=[check_pb2.CommittedSubject(role=role.value, commitment=value) for role, value in check.subjects],
        authorizations=[
            check_pb2.GrantUse(grant_digest=use.grant_digest, authorization=use.authorization)
            for use in check.authorizations
        ],
        dispute_id=check.dispute_id,
    )


_ROLES = {role.value: role for role in Role}


def _require_digests(field: str, values: Sequence[bytes], most: int) -> None:
    if not 1 <= len(values) <= most or len(set(values)) != len(values):
        raise MalformedError.at(field, f"must be 1 to {most} digests, each once")
    for value in values:
        if len(value) != DIGEST_BYTES:
            raise MalformedError.at(field, f"must be of {DIGEST_BYTES} bytes each")
