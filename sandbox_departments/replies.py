"""Reply batches: decisions about asks, turned into statements under one signature and an entry of the journal.

Statements of different origins (connections) are never in one signed batch, because a batch is acknowledged as a
whole. What is not decided by a statement is a fault: a reason, nothing signed, and nothing about a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.protocol.attestation import StatementProof, sign_batch, write_proof, write_signed_batch, write_statement
from gateway.protocol.codec import encode
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import BadDataError, HeyanError
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import NONCE_SIZE
from gateway.protocol.reasons import Reason
from heyan.v1 import department_service_pb2
from sandbox_departments.answering import Randomness, Situation, refuse
from sandbox_departments.asks import received_of
from sandbox_departments.journal_entries import BatchSigned, PartEntry, Refused
from sandbox_departments.ledger import Ledger, OwedBatch

STATEMENTS_PER_BATCH = 256
"""Most statements under one signature: bounds what is sent again in one message (about 300 kB)."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """An ask as it came. Asks of one `origin` come from one `gateway` and may share a signed batch."""

    origin: int
    gateway: str
    message: department_service_pb2.Ask


@dataclass(frozen=True, slots=True)
class ReplyBatch:
    """Replies to asks of one origin; `digest` is the signed batch's, None if there are only faults."""

    origin: int
    digest: bytes | None
    message: department_service_pb2.AnswerResponse


@dataclass(frozen=True, slots=True)
class Stated:
    """What is stated of one ask, as bytes of Statements, and how the journal tells it."""

    statements: tuple[bytes, ...]
    entry: PartEntry


Decision = Stated | HeyanError
"""A BadDataError is a refusal that is still to be stated; any other error is a fault."""


def state(
    message: department_service_pb2.Ask, decision: Decision, situation: Situation, randomness: Randomness
) -> Stated | Reason:
    """What is stated of an ask, a refusal included; or the reason of the fault that keeps the node from it."""
    if isinstance(decision, Stated):
        return decision
    if not isinstance(decision, BadDataError):
        return decision.reason
    received = received_of(message)
    statement = write_statement(refuse(received, decision, situation, randomness(NONCE_SIZE)))
    entry = Refused(received.query, received.part, received.requester, statement_digest(statement), decision.reason)
    return Stated((statement,), entry)


def statement_digest(statement: bytes) -> bytes:
    """By which log and journal name a statement."""
    return digest(Kind.STATEMENT, statement)


def faults(incoming: Sequence[Incoming], reason: Reason) -> list[ReplyBatch]:
    """The same fault for every ask."""
    return [
        ReplyBatch(origin, None, department_service_pb2.AnswerResponse(replies=[_fault(ask, reason) for ask in asks]))
        for origin, asks in _by_origin(incoming)
    ]


def sign_replies(
    decided: Sequence[tuple[Incoming, Stated | Reason]], key: SigningKey, situation: Situation, ledger: Ledger
) -> list[ReplyBatch]:
    """Sign what was decided, and journal it in the open transaction; a Reason is a fault."""
    decision_of = {id(ask): decision for ask, decision in decided}
    batches: list[ReplyBatch] = []
    entries: list[BatchSigned] = []
    for origin, asks in _by_origin([ask for ask, _ in decided]):
        for chunk in _chunks([(ask, decision_of[id(ask)]) for ask in asks]):
            statements = [statement for _, what in chunk if isinstance(what, Stated) for statement in what.statements]
            if not statements:
                replies = [_fault(ask, what) for ask, what in chunk if isinstance(what, Reason)]
                batches.append(ReplyBatch(origin, None, department_service_pb2.AnswerResponse(replies=replies)))
                continue
            signed, proofs = sign_batch(statements, situation.department, key, situation.now)
            message = department_service_pb2.AnswerResponse(batch=write_signed_batch(signed))
            recovered = department_service_pb2.AnswerResponse(batch=message.batch, recovered=True)
            remaining = iter(proofs)
            for ask, what in chunk:
                if isinstance(what, Reason):
                    message.replies.append(_fault(ask, what))
                else:
                    reply = _reply(ask.message.ask_id, remaining, len(what.statements))
                    message.replies.append(reply)
                    recovered.replies.add(statements=reply.statements)
            gateway = chunk[0][0].gateway
            ledger.keep_batch(OwedBatch(signed.digest, gateway, situation.now, len(statements), encode(recovered)))
            parts = tuple(what.entry for _, what in chunk if isinstance(what, Stated))
            entries.append(BatchSigned(situation.now, gateway, signed.digest, parts))
            batches.append(ReplyBatch(origin, signed.digest, message))
    ledger.append(entries)
    return batches


def _by_origin(incoming: Sequence[Incoming]) -> Iterator[tuple[int, list[Incoming]]]:
    origins: dict[int, list[Incoming]] = {}
    for ask in incoming:
        origins.setdefault(ask.origin, []).append(ask)
    yield from origins.items()


def _chunks(
    decided: Sequence[tuple[Incoming, Stated | Reason]],
) -> Iterator[list[tuple[Incoming, Stated | Reason]]]:
    """Runs of decisions with at most STATEMENTS_PER_BATCH statements; those of one ask stay together."""
    chunk: list[tuple[Incoming, Stated | Reason]] = []
    size = 0
    for ask, what in decided:
        count = len(what.statements) if isinstance(what, Stated) else 0
        if size + count > STATEMENTS_PER_BATCH:
            yield chunk
            chunk, size = [], 0
        chunk.append((ask, what))
        size += count
    if chunk:
        yield chunk


def _fault(ask: Incoming, reason: Reason) -> department_service_pb2.Reply:
    return department_service_pb2.Reply(ask_id=ask.message.ask_id, fault=reason.value)


def _reply(ask_id: int, proofs: Iterator[StatementProof], count: int) -> department_service_pb2.Reply:
    statements = [write_proof(next(proofs)) for _ in range(count)]
    return department_service_pb2.Reply(ask_id=ask_id, statements=statements)
