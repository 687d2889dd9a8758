"""What a receipt says of disputes: each leaf proven, each resolution its department's. Used by `receipt`.

For each dispute, in order, resting on the registry, answers and leaf key that `receipt` has verified:

1. it is of an answer of the receipt (an attestation), each answer's once;
2. its leaf is in the log, under the checkpoint of the receipt's other leaves there and no newer registry; it names
   that answer, its department, and the query's first grant, and was opened by the query's requester or by a consent
   issuer; not before the answer was recorded;
3. a resolution is signed by that department, by a key that counted when the log recorded it, and resolves this very
   dispute; its leaf names it and stands behind the dispute's.

That a dispute is missing cannot be told from a receipt: ask the gateway for a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.protocol.attestation import (
    Asked,
    Attestation,
    open_batch,
    read_proof,
    read_signed_batch,
    read_statement,
)
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import DisputeGround, ground_of, not_disputable
from gateway.protocol.errors import ForgedError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.leaf import Tags
from gateway.protocol.query import Query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_leaves import ReceiptLog
from gateway.protocol.receipt_rows import Recorded
from gateway.protocol.registry import Registry
from gateway.protocol.resolutions import Resolution, open_resolution
from heyan.v1 import attestation_pb2, receipt_pb2


@dataclass(frozen=True, slots=True)
class VerifiedDispute:
    """A dispute that the log has, of the check of that id. Times are the log's, in seconds since the epoch."""

    check_id: str
    dispute_id: bytes
    department: str
    opener: str
    ground: DisputeGround
    opened: float
    resolution: Resolution | None = None
    resolved: float | None = None


@dataclass(frozen=True, slots=True)
class Disputable:
    """An answer of a receipt that can be disputed: what was asked, and the digest of the statement."""

    asked: Asked
    digest: bytes


def disputable(receipt: receipt_pb2.Receipt, check_id: str) -> Disputable:
    """The answer to a check of a receipt that is verified; NotGrantedError (ANSWER_NOT_DISPUTABLE) if it has none."""
    for item in receipt.statements:
        statement = read_statement(item.proof.statement)
        if isinstance(statement, Attestation) and statement.asked.check.check_id == check_id:
            return Disputable(statement.asked, digest(Kind.STATEMENT, item.proof.statement))
    raise not_disputable("no attestation answers that check")


def disputes_of(
    receipt: receipt_pb2.Receipt, registry: Registry, query: Query, tags: Tags, recorded: Recorded, log: ReceiptLog
) -> tuple[VerifiedDispute, ...]:
    """The disputes of a receipt whose answers and leaves are verified; ForgedError or MalformedError."""
    if not receipt.disputes:
        return ()
    answers = _answers(receipt)
    found: dict[bytes, VerifiedDispute] = {}
    for record in receipt.disputes:
        answer = answers.get(record.dispute_id)
        if answer is None or record.dispute_id in found:
            raise ForgedError(Reason.RECEIPT_INVALID, "a dispute of no answer of the receipt, or twice")
        found[record.dispute_id] = _verified(record, answer, log, registry, query, tags, recorded)
    return tuple(found.values())


def _answers(receipt: receipt_pb2.Receipt) -> Mapping[bytes, attestation_pb2.Attestation]:
    """The attestations of the receipt by their statements' digests; they are verified already."""
    found = {}
    for item in receipt.statements:
        statement = attestation_pb2.Statement.FromString(item.proof.statement)
        if statement.HasField("attestation"):
            found[digest(Kind.STATEMENT, item.proof.statement)] = statement.attestation
    return found


def _verified(
    record: receipt_pb2.DisputeRecord,
    answer: attestation_pb2.Attestation,
    log: ReceiptLog,
    registry: Registry,
    query: Query,
    tags: Tags,
    recorded: Recorded,
) -> VerifiedDispute:
    logged = log.open(record.leaf)
    leaf = logged.leaf
    if leaf.WhichOneof("event") != "dispute":
        raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of no dispute")
    event = leaf.dispute
    is_issuer = parse_identity(event.opener).role is PartyRole.ISSUER
    if (
        (event.department, event.statement_digest) != (answer.department, record.dispute_id)
        or event.grant_tag != tags.grant(query.grant_digests[0])
        or not (is_issuer or event.opener == query.requester)
        or logged.time < recorded.of(record.dispute_id)
    ):
        raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of another dispute")
    dispute = VerifiedDispute(
        check_id=answer.check.check_id,
        dispute_id=record.dispute_id,
        department=answer.department,
        opener=event.opener,
        ground=ground_of(int(event.ground)),
        opened=logged.time,
    )
    if not record.HasField("resolution"):
        return dispute
    told = log.open(record.resolution_leaf)
    resolved, at = told.leaf.resolution, told.time
    proof = read_proof(record.resolution.proof)
    resolution = open_resolution(proof, open_batch(read_signed_batch(record.resolution.batch), registry, at))
    if (
        told.leaf.WhichOneof("event") != "resolution"
        or told.place <= logged.place
        or (resolution.department, resolution.statement_digest) != (dispute.department, dispute.dispute_id)
        or (resolved.department, resolved.dispute_id) != (dispute.department, dispute.dispute_id)
        or resolved.statement_digest != proof.digest
    ):
        raise ForgedError(Reason.RECEIPT_INVALID, "a resolution of another dispute")
    return replace(dispute, resolution=resolution, resolved=at)
