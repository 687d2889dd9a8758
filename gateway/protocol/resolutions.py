"""What a department says of a dispute, as one more kind of statement in its signed batches.

A resolution answers no query: `attestation.read_statement` refuses it, so that it can never stand for an answer, and
this module reads nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

from gateway.protocol.attestation import OpenedBatch, StatementProof, require_in_batch
from gateway.protocol.codec import encode, from_timestamp, parse_canonical, to_timestamp
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.limits import MAX_MESSAGE, NONCE_SIZE
from gateway.protocol.reasons import Reason
from heyan.v1 import attestation_pb2, dispute_pb2

_INVALID = Reason.ATTESTATION_INVALID


@unique
class ResolutionOutcome(IntEnum):
    """What became of a dispute. Numbers are those of `heyan.v1.ResolutionOutcome`."""

    CORRECTED = 1
    UPHELD = 2


@unique
class ResolutionReason(IntEnum):
    """Why. Numbers are those of `heyan.v1.ResolutionReason`."""

    RECORD_UPDATED = 1
    RECORD_ADDED = 2
    PERSON_SEPARATED = 3
    RECORD_CONFIRMED = 4
    KEPT_ELSEWHERE = 5

    @property
    def outcome(self) -> ResolutionOutcome:
        """The one outcome that the reason explains."""
        upheld = self in (ResolutionReason.RECORD_CONFIRMED, ResolutionReason.KEPT_ELSEWHERE)
        return ResolutionOutcome.UPHELD if upheld else ResolutionOutcome.CORRECTED


_REASONS = frozenset(int(reason) for reason in ResolutionReason)


@dataclass(frozen=True, slots=True)
class Resolution:
    """A department's word on the dispute of a statement; `issue_time` in seconds since the epoch."""

    statement_digest: bytes
    department: str
    reason: ResolutionReason
    issue_time: float
    nonce: bytes

    @property
    def outcome(self) -> ResolutionOutcome:
        """Follows from the reason alone."""
        return self.reason.outcome


def write_resolution(resolution: Resolution) -> bytes:
    """The canonical bytes of the statement."""
    message = dispute_pb2.Resolution(
        statement_digest=resolution.statement_digest,
        department=resolution.department,
        outcome=resolution.outcome.value,  # type: ignore[arg-type]
        reason=resolution.reason.value,  # type: ignore[arg-type]
        issue_time=to_timestamp(resolution.issue_time),
        nonce=resolution.nonce,
    )
    return encode(attestation_pb2.Statement(resolution=message))


def is_resolution(statement: bytes) -> bool:
    """Whether a statement's bytes call themselves a resolution; nothing is verified."""
    try:
        read_resolution(statement)
    except MalformedError:
        return False
    return True


def read_resolution(data: bytes) -> Resolution:
    """The resolution of canonical bytes; MalformedError (ATTESTATION_INVALID or MESSAGE_MALFORMED)."""
    statement = parse_canonical(attestation_pb2.Statement, data, MAX_MESSAGE)
    if statement.WhichOneof("kind") != "resolution":
        raise MalformedError.at("statement.kind", "must be a resolution", _INVALID)
    message = statement.resolution
    if int(message.reason) not in _REASONS:
        raise MalformedError.at("resolution.reason", "must be one of the contract", _INVALID)
    reason = ResolutionReason(int(message.reason))
    if int(message.outcome) != reason.outcome:
        raise MalformedError.at("resolution.outcome", "must be that of the reason", _INVALID)
    if len(message.statement_digest) != DIGEST_BYTES or len(message.nonce) != NONCE_SIZE:
        raise MalformedError.at("resolution", "must name a statement and have a nonce", _INVALID)
    return Resolution(
        message.statement_digest, message.department, reason, from_timestamp(message, "issue_time"), message.nonce
    )


def open_resolution(proof: StatementProof, batch: OpenedBatch) -> Resolution:
    """The resolution of a proof, if its path leads to the batch's root and its department signed the batch.

    Raises ForgedError or MalformedError (ATTESTATION_INVALID, PROOF_INVALID).
    """
    require_in_batch(proof, batch)
    resolution = read_resolution(proof.statement)
    if resolution.department != batch.department:
        raise ForgedError(_INVALID, "resolves for another department than signed")
    return resolution
