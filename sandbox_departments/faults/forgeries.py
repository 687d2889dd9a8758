"""What a faulty or lying node sends in the place of a right reply batch: bytes from messages, nothing else.

Where something is signed, it is with the very key that signed the right batch: what a department's own signature
covers is its word, and only its journal tells what it would have said.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.protocol.attestation import (
    Attestation,
    SignedBatch,
    Statement,
    StatementProof,
    read_proof,
    read_statement,
    sign_batch,
    write_proof,
    write_signed_batch,
    write_statement,
)
from gateway.protocol.codec import encode, from_timestamp, parse
from gateway.protocol.digests import Kind
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import MAX_MESSAGE, NONCE_SIZE
from gateway.protocol.outcomes import Outcome
from heyan.v1 import attestation_pb2
from heyan.v1 import department_service_pb2 as pb

SURPLUS = 300
"""Statements too many: more than a node ever signs in one batch."""

OVER_LONG = 17 << 20
"""Bytes of padding: a gateway reads 16 MiB."""

_PADDING_TAG = b"\x7a"
"""Field 15, length-delimited: unknown to AnswerResponse, and so passed over by its readers."""

_SEVEN_BITS = 0x7F

KeyNamed = Callable[[str], SigningKey]
"""The answer key of a kid."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """A right reply batch taken apart: each statement with the position of its reply."""

    message: attestation_pb2.StatementBatch
    key_id: str
    proofs: tuple[tuple[int, StatementProof], ...]


def garbage(response: pb.AnswerResponse) -> bytes:
    """Random bytes that are no protobuf message: wire type 7 does not exist."""
    return b"\xff" + os.urandom(max(response.ByteSize() - 1, 1))


def over_long(response: pb.AnswerResponse) -> bytes:
    """The right reply, made longer than a gateway reads by a field that means nothing."""
    return encode(response) + _PADDING_TAG + _varint(OVER_LONG) + bytes(OVER_LONG)


def reversed_replies(response: pb.AnswerResponse) -> bytes:
    """The right replies, the last first."""
    bent = pb.AnswerResponse(batch=response.batch if response.HasField("batch") else None)
    bent.replies.extend(reversed(response.replies))
    return encode(bent)


def wrong_signature(response: pb.AnswerResponse) -> bytes:
    """The right batch under a signature with one bit turned."""
    bent = _copy(response)
    value = bytearray(bent.batch.signature.value)
    value[-1] ^= 1
    bent.batch.signature.value = bytes(value)
    return encode(bent)


def altered_outcome(response: pb.AnswerResponse) -> bytes:
    """Other outcomes under the signature and the paths of the right ones."""
    bent = _copy(response)
    for reply in bent.replies:
        for proof in reply.statements:
            proof.statement = write_statement(_contrary(read_statement(proof.statement)))
    return encode(bent)


def changed_outcome(response: pb.AnswerResponse, key_named: KeyNamed) -> bytes:
    """Other outcomes, signed as the right ones were."""
    batch = _take_apart(response)
    stated = [(reply, write_statement(_contrary(read_statement(proof.statement)))) for reply, proof in batch.proofs]
    return _sign(response, batch, stated, key_named)


def over_full(response: pb.AnswerResponse, key_named: KeyNamed) -> bytes:
    """The right statements and SURPLUS more of their kind, all signed, in the first reply that has any."""
    batch = _take_apart(response)
    first, proof = batch.proofs[0]
    model = read_statement(proof.statement)
    surplus = [(first, write_statement(replace(model, nonce=os.urandom(NONCE_SIZE)))) for _ in range(SURPLUS)]
    return _sign(response, batch, [(reply, each.statement) for reply, each in batch.proofs] + surplus, key_named)


def over_claiming(response: pb.AnswerResponse, key_named: KeyNamed) -> bytes:
    """The right statements under a signed batch that says it holds SURPLUS more."""
    batch, bent = _take_apart(response), _copy(response)
    batch.message.size += SURPLUS
    data = encode(batch.message)
    key = key_named(batch.key_id)
    bent.batch.CopyFrom(write_signed_batch(SignedBatch(data, key.key_id, key.sign(Kind.STATEMENT_BATCH, data))))
    return encode(bent)


def other_answer(response: pb.AnswerResponse, other: pb.AnswerResponse) -> bytes:
    """The batch of another query as the answer to these asks: the last ask gets what is over."""
    bent = pb.AnswerResponse(batch=other.batch)
    asked = [reply.ask_id for reply in response.replies]
    replies = {ask_id: bent.replies.add(ask_id=ask_id) for ask_id in asked}
    for position, reply in enumerate(other.replies):
        replies[asked[min(position, len(asked) - 1)]].statements.extend(reply.statements)
    return encode(bent)


def statements_of(response: pb.AnswerResponse) -> frozenset[bytes]:
    """The bytes of every statement of a reply batch."""
    return frozenset(proof.statement for reply in response.replies for proof in reply.statements)


def _contrary(statement: Statement) -> Statement:
    if not isinstance(statement, Attestation):
        return statement
    return replace(statement, outcome=Outcome.NO if statement.outcome is Outcome.YES else Outcome.YES)


def _take_apart(response: pb.AnswerResponse) -> _Batch:
    proofs = [
        (position, read_proof(proof)) for position, reply in enumerate(response.replies) for proof in reply.statements
    ]
    return _Batch(
        parse(attestation_pb2.StatementBatch, response.batch.batch, MAX_MESSAGE),
        response.batch.signature.key_id,
        tuple(sorted(proofs, key=lambda item: item[1].index)),
    )


def _sign(
    response: pb.AnswerResponse, batch: _Batch, stated: Sequence[tuple[int, bytes]], key_named: KeyNamed
) -> bytes:
    """The reply with these statements in the places of the right ones, signed at the same time by the same key."""
    signed, proofs = sign_batch(
        [statement for _, statement in stated],
        batch.message.department,
        key_named(batch.key_id),
        from_timestamp(batch.message, "sign_time"),
    )
    bent = _copy(response)
    bent.batch.CopyFrom(write_signed_batch(signed))
    for reply in bent.replies:
        del reply.statements[:]
    for (position, _), proof in zip(stated, proofs, strict=True):
        bent.replies[position].statements.append(write_proof(proof))
    return encode(bent)


def _copy(response: pb.AnswerResponse) -> pb.AnswerResponse:
    copy = pb.AnswerResponse()
    copy.CopyFrom(response)
    return copy


def _varint(number: int) -> bytes:
    """A base-128 varint of protobuf."""
    data = bytearray()
    while number > _SEVEN_BITS:
        data.append(number & _SEVEN_BITS | _SEVEN_BITS + 1)
        number >>= 7
    return bytes((*data, number))
