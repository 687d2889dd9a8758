"""What a fan-out settles: from replies to rows, and from rows to leaf and receipt. Values and rules only.

Every check of every asked part ends in one row: answered or refused by its department's statement, or
unavailable by the gateway's own. A statement that does not verify, or that answers something else, counts for
nothing here; if its department did sign it, it is a stray, and strays are logged too. So are statements that
contradict each other about one check (of two channels, or in one reply): neither is released, because nobody could
say which is true, and the check is left to be told offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from gateway.departments.port import Reply
from gateway.protocol.attestation import (
    Asked,
    Attestation,
    Refusal,
    SignedBatch,
    Statement,
    StatementProof,
    require_answer_to,
    require_in_batch,
    statement_in,
    write_proof,
    write_signed_batch,
)
from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.leaf import CheckStatus, Tags, write_leaf
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission, write_signed_query
from gateway.protocol.query import Check, OpenedPart, Query, SignedQuery
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VERSION
from heyan.v1 import attestation_pb2, check_pb2, log_pb2, receipt_pb2


@dataclass(frozen=True, slots=True)
class PartResult:
    """What became of asking one part: replies, or why there is none. Times in seconds since the epoch."""

    part: OpenedPart
    sealed_digest: bytes
    ask_time: float
    end_time: float
    outcome: tuple[Reply, ...] | Reason


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
    outcome: Outcome | None = None
    """What an attestation says, for the statistics only."""


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
    def statements_by_department(self) -> Mapping[str, tuple[bytes, ...]]:
        """Digests of everything that departments signed here, strays too, by department."""
        found = {department: list(strays) for department, strays in self.strays.items()}
        for row in self.rows:
            if row.statement is not None:
                found.setdefault(row.result.part.part.department, []).append(row.statement.proof.digest)
        return {department: tuple(dict.fromkeys(digests)) for department, digests in found.items()}

    @property
    def answered(self) -> tuple[Row, ...]:
        """The rows that attestations answer, contradictory ones too: these spend uses."""
        return tuple(row for row in self.rows if row.status.spends)

    @property
    def settled(self) -> bool:
        """Whether any row rests on a department's statement, or on contradictory ones."""
        return any(row.status.is_final for row in self.rows)


def settle(results: Sequence[PartResult], signed: SignedQuery, query: Query, answered: Set[str]) -> Settlement:
    """Hold every reply against what was asked, and give each check its row, but for those `answered` before."""
    rows: list[Row] = []
    strays: dict[str, tuple[bytes, ...]] = {}
    for result in results:
        found = _statements_of(result, signed, query)
        checks = result.part.part.checks
        rows.extend(_row(result, check, found) for check in checks if check.check_id not in answered)
        if found.strays:
            strays[result.part.part.department] = tuple(dict.fromkeys(found.strays))
    return Settlement(tuple(rows), strays)


@dataclass(slots=True)
class _Found:
    """What a part's replies say: by check_id the first fitting statement, or that there are contradictory ones."""

    fit: dict[str, tuple[Statement, SignedStatement]] = field(default_factory=dict)
    contradicted: set[str] = field(default_factory=set)
    strays: list[bytes] = field(default_factory=list)
    """Digests of what the department signed, though it is not released for any check."""

    def add(self, check_ids: Sequence[str], statement: Statement, signed: SignedStatement) -> None:
        """A statement that answers these checks."""
        digest = signed.proof.digest
        for check_id in check_ids:
            earlier, first = self.fit.setdefault(check_id, (statement, signed))
            if first.proof.digest == digest:
                continue
            self.strays.append(digest)
            if not _agree(earlier, statement):
                self.contradicted.add(check_id)
                self.strays.append(first.proof.digest)


def _statements_of(result: PartResult, signed: SignedQuery, query: Query) -> _Found:
    found = _Found()
    for reply in result.outcome if not isinstance(result.outcome, Reason) else ():
        for proof in reply.proofs:
            try:
                require_in_batch(proof, reply.batch)
            except BadDataError:
                continue  # nobody signed it
            try:
                statement = _open(proof, reply, result, signed, query)
            except BadDataError:
                found.strays.append(proof.digest)
                continue
            checks = [statement.asked.check] if isinstance(statement, Attestation) else result.part.part.checks
            found.add([check.check_id for check in checks], statement, SignedStatement(proof, reply.signed))
    return found


def _open(proof: StatementProof, reply: Reply, result: PartResult, signed: SignedQuery, query: Query) -> Statement:
    """A statement that answers what was asked; BadDataError."""
    if reply.batch.sign_time < query.issue_time - EARLY_TOLERANCE:
        raise ForgedError(Reason.ATTESTATION_INVALID, "signed before the query was made")
    statement = statement_in(proof, reply.batch)
    part = result.part.part
    named = statement.asked.check.check_id if isinstance(statement, Attestation) else part.checks[0].check_id
    check = next((check for check in part.checks if check.check_id == named), None)
    if check is None:
        raise ForgedError(Reason.ATTESTATION_INVALID, "answers another check")
    asked = Asked(
        signed.digest,
        result.part.digest,
        result.sealed_digest,
        check,
        query.requester,
        part.department,
        query.purpose,
    )
    require_answer_to(statement, asked)
    return statement


def _agree(one: Statement, other: Statement) -> bool:
    """Whether two statements about one check tell the requester the same."""
    if isinstance(one, Attestation) and isinstance(other, Attestation):
        return one.outcome is other.outcome
    return isinstance(one, Refusal) and isinstance(other, Refusal) and one.reason is other.reason


def _row(result: PartResult, check: Check, found: _Found) -> Row:
    if check.check_id in found.contradicted:
        return Row(result, check, CheckStatus.CONTRADICTED, reason=Reason.ANSWERS_CONTRADICT)
    fit = found.fit.get(check.check_id)
    if fit is None:
        reason = result.outcome if isinstance(result.outcome, Reason) else Reason.ATTESTATION_INVALID
        return Row(result, check, CheckStatus.UNAVAILABLE, reason=reason)
    statement, signed_statement = fit
    if isinstance(statement, Refusal):
        return Row(result, check, CheckStatus.REFUSED, signed_statement, statement.reason)
    return Row(result, check, CheckStatus.ANSWERED, signed_statement, outcome=statement.outcome)


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
    rules_digest: bytes = b""


def verification_leaf(frame: LeafFrame, settlement: Settlement, withheld: Reason | None = None) -> bytes:
    """The leaf of a settlement; with `withheld`, one that records every statement as not released."""
    query = frame.query
    event = log_pb2.VerificationEvent(
        requester=query.requester,
        query_tag=frame.tags.query(frame.query_digest),
        grant_tags=[frame.tags.grant(value) for value in query.grant_digests],
        purpose=query.purpose,
        checks=[_logged(frame, row, withheld) for row in settlement.rows],
        rules_digest=frame.rules_digest,
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
    earlier: receipt_pb2.Receipt | None, settlement: Settlement, submission: Submission, parts: Iterable[bytes]
) -> receipt_pb2.Receipt:
    """The receipt of all that is known now, without leaves: earlier statements stay, earlier gaps are replaced."""
    receipt = receipt_pb2.Receipt(
        version=VERSION,
        query=write_signed_query(submission.signed),
        parts=list(parts),
        application=submission.application,
    )
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


_STEPS_OF_A_GAP = {
    CheckStatus.UNAVAILABLE: check_pb2.NEXT_STEP_RETRY,
    CheckStatus.DEFERRED: check_pb2.NEXT_STEP_DEFERRED,
}


def _gap(row: Row) -> log_pb2.UnavailableCheck:
    return log_pb2.UnavailableCheck(
        check_id=row.check.check_id,
        department=row.result.part.part.department,
        reason=row.reason.value if row.reason else "",
        next_step=_STEPS_OF_A_GAP.get(row.status, check_pb2.NEXT_STEP_OFFLINE),
        ask_time=to_timestamp(row.result.ask_time),
        end_time=to_timestamp(row.result.end_time),
    )
