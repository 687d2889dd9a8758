"""What a receipt says of each check: every statement verified, each check exactly once. Step 5 of `receipt`.

A statement is judged by the keys of the time at which the log first recorded it. What no statement answers is the
gateway's own word: unavailable, to be asked again; or contradicted by its department, which is left to be told offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.protocol.attestation import (
    Asked,
    Attestation,
    OpenedBatch,
    Refusal,
    SignedBatch,
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
    require_answer_to,
)
from gateway.protocol.codec import from_timestamp
from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import log_time
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.query import Check, OpenedPart, Query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import attestation_pb2, log_pb2, receipt_pb2

_STEPS_OF_A_GAP = frozenset({NextStep.RETRY, NextStep.DEFERRED})
_STEPS_OF_A_CONTRADICTION = frozenset({NextStep.OFFLINE})


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one check. `reason` is set for REFUSED, UNAVAILABLE, and what its department contradicted."""

    check: Check
    department: str
    outcome: Outcome
    next_step: NextStep
    reason: Reason | None = None
    snapshot_date: str | None = None
    expire_time: float | None = None
    sealed_digest: bytes | None = None
    """Digest of the sealed subject that the department says it received: whoever sealed it compares."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the receipt claims of one check: a statement's digest, or none."""

    answer: Answer
    statement_digest: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """When the log first recorded each statement, by digest; `last` for one that no leaf names."""

    times: Mapping[bytes, float]
    last: float

    def of(self, statement_digest: bytes) -> float:
        """The time by which a statement is judged, in seconds since the epoch."""
        return self.times.get(statement_digest, self.last)


def recorded_in(leaves: Sequence[log_pb2.LogLeaf]) -> Recorded:
    """When leaves, in the order of the log, first recorded what they name."""
    times: dict[bytes, float] = {}
    for leaf in leaves:
        for entry in leaf.verification.checks:
            times.setdefault(entry.statement_digest, log_time(leaf))
    return Recorded(times, log_time(leaves[-1]))


def rows_of(
    receipt: receipt_pb2.Receipt,
    registry: Registry,
    query_digest: bytes,
    query: Query,
    parts: Sequence[OpenedPart],
    recorded: Recorded,
) -> dict[str, Row]:
    """What the receipt says of each check, every statement verified; each check exactly once."""
    statements = list(_statements(receipt, registry, query_digest, query, parts, recorded))
    rows: dict[str, Row] = {}
    for row in (*_attested(statements), *_unavailable(receipt, parts)):
        if row.answer.check.check_id in rows:
            raise ForgedError(Reason.RECEIPT_INVALID, "two answers to one check")
        rows[row.answer.check.check_id] = row
    for part, statement, digest in statements:
        if isinstance(statement, Refusal):
            # A part may be refused on a retry after some of its checks were answered: it stands for the others.
            others = [check for check in part.part.checks if check.check_id not in rows]
            if not others:
                raise ForgedError(Reason.RECEIPT_INVALID, "a refusal of what is answered")
            for check in others:
                answer = Answer(
                    check,
                    part.part.department,
                    Outcome.REFUSED,
                    NextStep.NONE,
                    statement.reason,
                    sealed_digest=statement.sealed_digest,
                )
                rows[check.check_id] = Row(answer, digest)
    if rows.keys() != {check.check_id for part in parts for check in part.part.checks}:
        raise ForgedError(Reason.RECEIPT_INVALID, "a check without an answer")
    return rows


def _statements(
    receipt: receipt_pb2.Receipt,
    registry: Registry,
    query_digest: bytes,
    query: Query,
    parts: Sequence[OpenedPart],
    recorded: Recorded,
) -> Iterator[tuple[OpenedPart, Attestation | Refusal, bytes]]:
    """Every statement of the receipt with the part that it answers and its digest, verified."""
    batches: dict[tuple[SignedBatch, float], OpenedBatch] = {}
    by_part = {part.digest: part for part in parts}
    for item in receipt.statements:
        proof = read_proof(item.proof)
        batch = _batch(item, batches, registry, recorded.of(proof.digest))
        if batch.sign_time < query.issue_time - EARLY_TOLERANCE:
            raise ForgedError(Reason.RECEIPT_INVALID, "signed before the query was made")
        statement = open_statement(proof, batch)
        part_digest = statement.asked.part_digest if isinstance(statement, Attestation) else statement.part_digest
        part = by_part.get(part_digest)
        if part is None:
            raise ForgedError(Reason.RECEIPT_INVALID, "a statement about another part")
        require_answer_to(statement, _asked_of(statement, part, query_digest, query))
        yield part, statement, proof.digest


def _attested(statements: Iterable[tuple[OpenedPart, Attestation | Refusal, bytes]]) -> Iterator[Row]:
    for part, statement, digest in statements:
        if isinstance(statement, Attestation):
            answer = Answer(
                statement.asked.check,
                part.part.department,
                statement.outcome,
                statement.next_step,
                snapshot_date=statement.snapshot_date,
                expire_time=statement.expire_time,
                sealed_digest=statement.asked.sealed_digest,
            )
            yield Row(answer, digest)


def _unavailable(receipt: receipt_pb2.Receipt, parts: Sequence[OpenedPart]) -> Iterator[Row]:
    checks = {check.check_id: (check, part.part.department) for part in parts for check in part.part.checks}
    for gap in receipt.unavailable:
        check, department = checks.get(gap.check_id, (None, None))
        if check is None or department != gap.department:
            raise ForgedError(Reason.RECEIPT_INVALID, "unavailability of a check that was not asked")
        from_timestamp(gap, "ask_time")
        from_timestamp(gap, "end_time")
        reason, step = Reason(gap.reason), NextStep(int(gap.next_step))
        contradicted = reason is Reason.ANSWERS_CONTRADICT
        if step not in (_STEPS_OF_A_CONTRADICTION if contradicted else _STEPS_OF_A_GAP):
            raise ForgedError(Reason.RECEIPT_INVALID, "unavailable says nothing about a person: it is asked again")
        outcome = Outcome.UNDETERMINED if contradicted else Outcome.UNAVAILABLE
        yield Row(Answer(check, department, outcome, step, reason), b"")


def _batch(
    item: attestation_pb2.AttestedStatement,
    opened: dict[tuple[SignedBatch, float], OpenedBatch],
    registry: Registry,
    now: float,
) -> OpenedBatch:
    """The verified batch of a statement; statements of one batch verify its signature once."""
    signed = read_signed_batch(item.batch)
    if (signed, now) not in opened:
        opened[signed, now] = open_batch(signed, registry, now)
    return opened[signed, now]


def _asked_of(statement: Attestation | Refusal, part: OpenedPart, query_digest: bytes, query: Query) -> Asked:
    """What this part asked, for the check that the statement names."""
    if isinstance(statement, Attestation):
        named, sealed = statement.asked.check.check_id, statement.asked.sealed_digest
    else:
        named, sealed = part.part.checks[0].check_id, statement.sealed_digest
    check = next((check for check in part.part.checks if check.check_id == named), None)
    if check is None:
        raise ForgedError(Reason.RECEIPT_INVALID, "an answer to a check that was not asked")
    return Asked(query_digest, part.digest, sealed, check, query.requester, part.part.department, query.purpose)
