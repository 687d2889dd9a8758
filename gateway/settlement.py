"""What a fan-out settles: from replies to rows, and from rows to leaf and receipt. Values and rules only.

Every check of every asked part ends in one row: answered or refused by its department's statement, or
unavailable by the gateway's own. A statement that does not verify, or that answers something else, counts for
nothing here; if its department did sign it, it is a stray, and strays are logged too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from gateway.departments import Reply
from gateway.protocol.attestation import (
    Asked,
    Attestation,
    Refusal,
    SignedBatch,
    Statement,
    StatementProof,
    open_statement,
    require_answer_to,
    require_in_batch,
    write_proof,
    write_signed_batch,
)
from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.leaf import CheckStatus, Tags, write_leaf
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.presentation import write_signed_query
from gateway.protocol.query import Check, OpenedPart, Query, SignedQuery
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VERSION
from heyan.v1 import attestation_pb2, check_pb2, log_pb2, receipt_pb2


@dataclass(frozen=True, slots=True)
class PartResult:
    """What became of asking one part: the reply, or why there is none. Times in seconds since the epoch."""

    part: OpenedPart
    sealed_digest: bytes
    ask_time: float
    end_time: float
    outcome: Reply | Reason


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A verified statement in the form that it stands alone in."""

    proof: StatementProof
    batch: SignedBatch


@dataclass(frozen=True, slots=True)
class Row:
    """How one check ended."""

    result: PartResult
    check: Check
    status: CheckStatus
    statement: SignedStatement | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """All rows of one fan-out, and the digests of the strays among the replies, by department."""

    rows: tuple[Row, ...]
    strays: Mapping[str, tuple[bytes, ...]]

    @property
    def statement_digests(self) -> tuple[bytes, ...]:
        """Digests of the statements that the rows rest on, each once."""
        return tuple(dict.fromkeys(row.statement.proof.digest for row in self.rows if row.statement))

    @property
    def answered(self) -> tuple[Row, ...]:
        """The rows that an attestation answers: these spend uses."""
        return tuple(row for row in self.rows if row.status is CheckStatus.ANSWERED)

    @property
    def settled(self) -> bool:
        """Whether any row rests on a department's statement."""
        return any(row.statement is not None for row in self.rows)


def settle(results: Sequence[PartResult], signed: SignedQuery, query: Query, answered: Set[str]) -> Settlement:
    """Hold every reply against what was asked, and give each check its row, but for those `answered` before."""
    rows: list[Row] = []
    strays: dict[str, tuple[bytes, ...]] = {}
    for result in results:
        statements, unfit = _verified_statements(result, signed, query)
        if unfit:
            strays[result.part.part.department] = tuple(proof.digest for proof in unfit)
        rows.extend(
            _row(result, check, statements) for check in result.part.part.checks if check.check_id not in answered
        )
    return Settlement(tuple(rows), strays)


def _verified_statements(
    result: PartResult, signed: SignedQuery, query: Query
) -> tuple[dict[str, tuple[Statement, SignedStatement]], list[StatementProof]]:
    """The statement of each check by check_id, and the statements that are the department's but unfit."""
    fit: dict[str, tuple[Statement, SignedStatement]] = {}
    unfit: list[StatementProof] = []
    if isinstance(result.outcome, Reason):
        return fit, unfit
    part, reply = result.part, result.outcome
    checks = {check.check_id: check for check in part.part.checks}
    for proof in reply.proofs:
        try:
            require_in_batch(proof, reply.batch)
        except BadDataError:
            continue  # nobody signed it
        try:
            if reply.batch.sign_time < query.issue_time - EARLY_TOLERANCE:
                raise ForgedError(Reason.ATTESTATION_INVALID, "signed before the query was made")
            statement = open_statement(proof, reply.batch)
            named = [statement.asked.check.check_id] if isinstance(statement, Attestation) else list(checks)
            for check_id in named:
                if check_id not in checks or check_id in fit:
                    raise ForgedError(Reason.ATTESTATION_INVALID, "answers another check, or one twice")
                asked = Asked(
                    signed.digest,
                    part.digest,
                    result.sealed_digest,
                    checks[check_id],
                    query.requester,
                    part.part.department,
                    query.purpose,
                )
                require_answer_to(statement, asked)
        except BadDataError:
            unfit.append(proof)
            continue
        for check_id in named:
            fit[check_id] = (statement, SignedStatement(proof, reply.signed))
    return fit, unfit


def _row(result: PartResult, check: Check, statements: dict[str, tuple[Statement, SignedStatement]]) -> Row:
    found = statements.get(check.check_id)
    if found is None:
        reason = result.outcome if isinstance(result.outcome, Reason) else Reason.ATTESTATION_INVALID
        return Row(result, check, CheckStatus.UNAVAILABLE, reason=reason)
    statement, signed_statement = found
    if isinstance(statement, Refusal):
        return Row(result, check, CheckStatus.REFUSED, signed_statement, statement.reason)
    return Row(result, check, CheckStatus.ANSWERED, signed_statement)


# -- leaf and receipt ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeafFrame:
    """What a verification leaf says besides its rows."""

    gateway: str
    registry_version: int
    log_time: float
    tags: Tags
    query: Query
    query_digest: bytes


def verification_leaf(frame: LeafFrame, settlement: Settlement, withheld: Reason | None = None) -> bytes:
    """The leaf of a settlement; with `withheld`, one that records every statement as not released."""
    query = frame.query
    event = log_pb2.VerificationEvent(
        requester=query.requester,
        query_tag=frame.tags.query(frame.query_digest),
        grant_tags=[frame.tags.grant(value) for value in query.grant_digests],
        purpose=query.purpose,
        checks=[_logged(frame, row, withheld) for row in settlement.rows],
    )
    return write_leaf(
        log_pb2.LogLeaf(
            log_time=to_timestamp(frame.log_time),
            gateway=frame.gateway,
            registry_version=frame.registry_version,
            verification=event,
        )
    )


def _logged(frame: LeafFrame, row: Row, withheld: Reason | None) -> log_pb2.LoggedCheck:
    status, reason = row.status, row.reason
    if withheld is not None and row.statement is not None:
        status, reason = CheckStatus.WITHHELD, withheld
    return log_pb2.LoggedCheck(
        department=row.result.part.part.department,
        claim=row.check.claim,
        region=row.check.region,
        status=status.value,  # type: ignore[arg-type]
        statement_digest=row.statement.proof.digest if row.statement else b"",
        reason=reason.value if reason else "",
        check_tag=frame.tags.check(row.result.part.digest, row.check.check_id),
    )


def merge(
    earlier: receipt_pb2.Receipt | None, settlement: Settlement, signed: SignedQuery, parts: Iterable[bytes]
) -> receipt_pb2.Receipt:
    """The receipt of all that is known now, without leaves: earlier statements stay, earlier gaps are replaced."""
    receipt = receipt_pb2.Receipt(version=VERSION, query=write_signed_query(signed), parts=list(parts))
    if earlier is not None:
        receipt.statements.extend(earlier.statements)
        asked_again = {row.check.check_id for row in settlement.rows}
        receipt.unavailable.extend(gap for gap in earlier.unavailable if gap.check_id not in asked_again)
    seen: set[bytes] = set()
    for row in settlement.rows:
        if row.statement is None:
            receipt.unavailable.append(_gap(row))
        elif row.statement.proof.digest not in seen:
            seen.add(row.statement.proof.digest)
            receipt.statements.append(
                attestation_pb2.AttestedStatement(
                    proof=write_proof(row.statement.proof), batch=write_signed_batch(row.statement.batch)
                )
            )
    return receipt


def _gap(row: Row) -> log_pb2.UnavailableCheck:
    return log_pb2.UnavailableCheck(
        check_id=row.check.check_id,
        department=row.result.part.part.department,
        reason=row.reason.value if row.reason else "",
        next_step=check_pb2.NEXT_STEP_RETRY,
        ask_time=to_timestamp(row.result.ask_time),
        end_time=to_timestamp(row.result.end_time),
    )
