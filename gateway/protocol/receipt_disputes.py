"""What a receipt says of disputes: each leaf proven, each resolution its department's. Used by `receipt`.

For each dispute, in order, resting on the registry, answers and leaf key that `receipt` has verified:

1. it is of an answer of the receipt (an attestation), each answer's once;
2. its leaf is in the query's gateway's log, under no newer registry than the receipt's, names that answer, its
   department, and the query's first grant, and was opened by the query's requester or by a consent issuer; not before
   the answer was recorded;
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
from gateway.protocol.leaf import Tags, log_time, read_leaf
from gateway.protocol.note import ED25519, VerifierKey
from gateway.protocol.proof import parse_proof
from gateway.protocol.query import Query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_rows import Recorded
from gateway.protocol.registry import Registry
from gateway.protocol.resolutions import Resolution, open_resolution
from heyan.v1 import attestation_pb2, log_pb2, receipt_pb2


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
    receipt: receipt_pb2.Receipt, registry: Registry, query: Query, tags: Tags, recorded: Recorded
) -> tuple[VerifiedDispute, ...]:
    """The disputes of a receipt whose answers and leaves are verified; ForgedError or MalformedError."""
    answers = _answers(receipt)
    found: dict[bytes, VerifiedDispute] = {}
    for record in receipt.disputes:
        answer = answers.get(record.dispute_id)
        if answer is None or record.dispute_id in found:
            raise ForgedError(Reason.RECEIPT_INVALID, "a dispute of no answer of the receipt, or twice")
        found[record.dispute_id] = _verified(record, answer, registry, query, tags, recorded)
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
    registry: Registry,
    query: Query,
    tags: Tags,
    recorded: Recorded,
) -> VerifiedDispute:
    leaf, index = _logged(record.leaf, registry, query)
    if leaf.WhichOneof("event") != "dispute":
        raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of no dispute")
    event = leaf.dispute
    is_issuer = parse_identity(event.opener).role is PartyRole.ISSUER
    if (
        (event.department, event.statement_digest) != (answer.department, record.dispute_id)
        or event.grant_tag != tags.grant(query.grant_digests[0])
        or not (is_issuer or event.opener == query.requester)
        or log_time(leaf) < recorded.of(record.dispute_id)
    ):
        raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of another dispute")
    dispute = VerifiedDispute(
        check_id=answer.check.check_id,
        dispute_id=record.dispute_id,
        department=answer.department,
        opener=event.opener,
        ground=ground_of(int(event.ground)),
        opened=log_time(leaf),
    )
    if not record.HasField("resolution"):
        return dispute
    resolution_leaf, resolution_index = _logged(record.resolution_leaf, registry, query)
    resolved = resolution_leaf.resolution
    proof = read_proof(record.resolution.proof)
    at = log_time(resolution_leaf)
    resolution = open_resolution(proof, open_batch(read_signed_batch(record.resolution.batch), registry, at))
    if (
        resolution_leaf.WhichOneof("event") != "resolution"
        or resolution_index <= index
        or (resolution.department, resolution.statement_digest) != (dispute.department, dispute.dispute_id)
        or (resolved.department, resolved.dispute_id) != (dispute.department, dispute.dispute_id)
        or resolved.statement_digest != proof.digest
    ):
        raise ForgedError(Reason.RECEIPT_INVALID, "a resolution of another dispute")
    return replace(dispute, resolution=resolution, resolved=at)


def _logged(item: receipt_pb2.LeafProof, registry: Registry, query: Query) -> tuple[log_pb2.LogLeaf, int]:
    """A leaf proven to be in the log of the query's gateway, and its index."""
    gateway = registry.party(query.gateway).gateway
    if gateway is None:
        raise ForgedError(Reason.RECEIPT_INVALID, "the query's gateway is no gateway")
    leaf = read_leaf(item.leaf)
    proof = parse_proof(item.proof.encode())
    verifiers = [
        VerifierKey.of(gateway.log_origin, ED25519, key.public)
        for key in registry.checkpoint_keys(query.gateway, log_time(leaf))
    ]
    proof.verify(item.leaf, verifiers, gateway.log_origin)
    if leaf.gateway != query.gateway or leaf.registry_version > registry.version:
        raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of another gateway, or of a newer registry")
    return leaf, proof.index
