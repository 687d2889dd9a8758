"""Reading what a node sends: a reply batch is taken whole, under one signature, or not at all. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.departments.port import Reply
from gateway.protocol.attestation import (
    SignedBatch,
    StatementProof,
    open_batch,
    read_proof,
    read_signed_batch,
    require_whole_batch,
)
from gateway.protocol.errors import ForgedError, UnreachableError
from gateway.protocol.limits import MAX_CHECKS_PER_PART
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class ReplyBatch:
    """A verified batch: every statement of it, and the replies by ask_id (several, if one ask_id stands twice)."""

    signed: SignedBatch
    proofs: tuple[StatementProof, ...]
    replies: tuple[tuple[int, Reply], ...]


def open_reply_batch(message: pb.AnswerResponse, department: str, registry: Registry, now: float) -> ReplyBatch:
    """The batch of a message from `department`; BadDataError if it is not wholly this node's, as it signed it."""
    if any(len(reply.statements) > MAX_CHECKS_PER_PART for reply in message.replies):
        raise ForgedError(Reason.ATTESTATION_INVALID, "more statements than a part can have checks")
    signed = read_signed_batch(message.batch)
    batch = open_batch(signed, registry, now)
    found = [(reply.ask_id, tuple(map(read_proof, reply.statements))) for reply in message.replies]
    proofs = tuple(proof for _, statements in found for proof in statements)
    if batch.department != department or batch.size != len(proofs):
        raise ForgedError(Reason.ATTESTATION_INVALID, "not the whole batch of this node")
    if sorted(proof.index for proof in proofs) != list(range(len(proofs))):
        raise ForgedError(Reason.ATTESTATION_INVALID, "a statement twice, another not at all")
    require_whole_batch(proofs, batch)
    replies = ((ask_id, Reply(signed, batch, statements)) for ask_id, statements in found if statements)
    return ReplyBatch(signed, proofs, tuple(replies))


def fault_of(reply: pb.Reply) -> UnreachableError:
    """The technical fault that a node reports in place of statements."""
    reason = Reason[reply.fault] if reply.fault in Reason.__members__ else Reason.DEPARTMENT_UNREACHABLE
    return UnreachableError(reason, "fault at the node", retry_after=1.0)
