"""Offline tickets and their results: what is verified on paper, because nothing could be told online.

A ticket is known by the digest of requester, query and subject: a query and subject have one ticket, and a result
signed for one ticket is of no use for another. A result is signed by a staff key of the requester; it says what
follows and, from a closed list, how that was found. Never a free text: that would invite personal data.

What it does not do: decide whether a ticket may be opened (the gateway does, and `receipt_tickets` checks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, unique
from types import MappingProxyType

from gateway.protocol.codec import encode, from_timestamp, parse_canonical, to_timestamp
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.keys import SIGNATURE_BYTES, SigningKey
from gateway.protocol.limits import NONCE_SIZE
from gateway.protocol.reasons import Text
from heyan.v1 import offline_pb2, signing_pb2

MAX_RESULT = 1_024
"""Bytes of a result; real ones are about 250."""
_MAX_KEY_ID = 64
_CHECK_ID = re.compile(r"[a-z0-9_.-]{1,64}")
_MATERIAL = re.compile(r"[a-z0-9_]{1,64}")


@unique
class OfflineGround(IntEnum):
    """Why paper may be asked for. Numbers are those of `heyan.v1.OfflineGround`."""

    UNDETERMINED = 1
    UNAVAILABLE = 2
    OFFLINE_ONLY = 3


@unique
class OfflineOutcome(IntEnum):
    """What a staff member makes of it. Numbers are those of `heyan.v1.OfflineOutcome`."""

    ACCEPTED = 1
    REJECTED = 2


@unique
class OfflineReason(IntEnum):
    """How a staff member came to it. Numbers are those of `heyan.v1.OfflineReason`."""

    ORIGINAL_SEEN = 1
    CERTIFIED_COPY_SEEN = 2
    CERTIFICATE_CALLED_UP = 3
    ISSUER_CONFIRMED = 4
    VISITED = 5
    NOT_PRESENTED = 6
    DOES_NOT_MATCH = 7
    EXPIRED = 8
    ISSUER_DENIED = 9
    DOES_NOT_PROVE = 10

    @property
    def outcome(self) -> OfflineOutcome:
        """The only outcome that it can be the reason of."""
        return OfflineOutcome.ACCEPTED if self <= OfflineReason.VISITED else OfflineOutcome.REJECTED


OFFLINE_REASON_TEXTS: Mapping[OfflineReason, Text] = MappingProxyType(
    {
        OfflineReason.ORIGINAL_SEEN: Text("已查验原件", "the original was seen"),
        OfflineReason.CERTIFIED_COPY_SEEN: Text("已查验经认证的复印件", "a certified copy was seen"),
        OfflineReason.CERTIFICATE_CALLED_UP: Text("已调取电子证照", "the electronic certificate was called up"),
        OfflineReason.ISSUER_CONFIRMED: Text("已向出具机关核实", "the issuing authority confirmed it"),
        OfflineReason.VISITED: Text("已上门核实", "staff visited and saw"),
        OfflineReason.NOT_PRESENTED: Text("未在期限内提交", "nothing was presented in time"),
        OfflineReason.DOES_NOT_MATCH: Text("材料与申请人或事项不符", "it is about somebody or something else"),
        OfflineReason.EXPIRED: Text("材料已失效", "it is no longer valid"),
        OfflineReason.ISSUER_DENIED: Text("出具机关否认", "the issuing authority denied it"),
        OfflineReason.DOES_NOT_PROVE: Text(
            "材料属实但不足以证明该事项", "it is genuine and does not show what is claimed"
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What of a query is verified on paper: one of its checks, or a material of its application; one of both is set."""

    check_id: str = ""
    material: str = ""

    @property
    def name(self) -> str:
        """The check's id or the material's key."""
        return self.check_id or self.material


@dataclass(frozen=True, slots=True)
class Result:
    """What a staff member found. `issue_time` in seconds since the epoch; digests and id 32 bytes."""

    ticket_id: bytes
    requester: str
    query_digest: bytes
    subject: Subject
    outcome: OfflineOutcome
    reason: OfflineReason
    issue_time: float
    nonce: bytes


@dataclass(frozen=True, slots=True)
class SignedResult:
    """A result's exact bytes with the staff member's signature."""

    result: bytes
    key_id: str
    signature: bytes

    @property
    def digest(self) -> bytes:
        """Digest of the result, by which the log names it."""
        return digest(Kind.OFFLINE_RESULT, self.result)


def ticket_id_of(requester: str, query_digest: bytes, subject: Subject) -> bytes:
    """The id of the one ticket of a query and subject: 32 bytes."""
    ticket = offline_pb2.OfflineTicket(requester=requester, query_digest=query_digest, subject=write_subject(subject))
    return digest(Kind.OFFLINE_TICKET, encode(ticket))


def read_subject(message: offline_pb2.OfflineSubject, field: str = "subject") -> Subject:
    """A subject within its bounds; MalformedError naming `field`."""
    kind = message.WhichOneof("subject")
    pattern = _CHECK_ID if kind == "check_id" else _MATERIAL
    if kind is None or not pattern.fullmatch(getattr(message, kind)):
        raise MalformedError.at(field, "must be a check_id or the key of a material, 1 to 64 characters")
    return Subject(check_id=message.check_id, material=message.material)


def write_subject(subject: Subject) -> offline_pb2.OfflineSubject:
    """The message of a subject."""
    if subject.check_id:
        return offline_pb2.OfflineSubject(check_id=subject.check_id)
    return offline_pb2.OfflineSubject(material=subject.material)


def read_result(data: bytes) -> Result:
    """The result of canonical bytes, every field within its bound; MalformedError."""
    message = parse_canonical(offline_pb2.OfflineResult, data, MAX_RESULT)
    if parse_identity(message.requester, "result.requester").role is not PartyRole.REQUESTER:
        raise MalformedError.at("result.requester", "must be a requester's SPIFFE ID")
    if {len(message.ticket_id), len(message.query_digest)} != {DIGEST_BYTES}:
        raise MalformedError.at("result.ticket_id", f"and query_digest must be {DIGEST_BYTES} bytes each")
    if len(message.nonce) != NONCE_SIZE:
        raise MalformedError.at("result.nonce", f"must be {NONCE_SIZE} random bytes")
    try:
        outcome, reason = OfflineOutcome(int(message.outcome)), OfflineReason(int(message.reason))
    except ValueError:
        raise MalformedError.at("result.outcome", "and reason must be set, to values of the contract") from None
    if reason.outcome is not outcome:
        raise MalformedError.at("result.reason", "must be a reason for the outcome")
    return Result(
        ticket_id=message.ticket_id,
        requester=message.requester,
        query_digest=message.query_digest,
        subject=read_subject(message.subject, "result.subject"),
        outcome=outcome,
        reason=reason,
        issue_time=from_timestamp(message, "issue_time"),
        nonce=message.nonce,
    )


def write_result(result: Result) -> bytes:
    """The canonical bytes of a result."""
    return encode(
        offline_pb2.OfflineResult(
            ticket_id=result.ticket_id,
            requester=result.requester,
            query_digest=result.query_digest,
            subject=write_subject(result.subject),
            outcome=result.outcome.value,  # type: ignore[arg-type]
            reason=result.reason.value,  # type: ignore[arg-type]
            issue_time=to_timestamp(result.issue_time),
            nonce=result.nonce,
        )
    )


def sign_result(result: Result, key: SigningKey) -> SignedResult:
    """The result with the signature of a staff key."""
    data = write_result(result)
    return SignedResult(data, key.key_id, key.sign(Kind.OFFLINE_RESULT, data))


def read_signed_result(message: offline_pb2.SignedOfflineResult) -> SignedResult:
    """A signed result within its bounds; an unsigned one is malformed."""
    signature = message.signature
    if len(signature.value) != SIGNATURE_BYTES or not 0 < len(signature.key_id) <= _MAX_KEY_ID:
        raise MalformedError.at("result.signature", f"must be {SIGNATURE_BYTES} bytes by a named key")
    return SignedResult(message.result, signature.key_id, signature.value)


def write_signed_result(signed: SignedResult) -> offline_pb2.SignedOfflineResult:
    """The message of a signed result."""
    signature = signing_pb2.Signature(key_id=signed.key_id, value=signed.signature)
    return offline_pb2.SignedOfflineResult(result=signed.result, signature=signature)
