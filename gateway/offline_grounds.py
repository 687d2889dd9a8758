"""Whether paper may be asked for, by what is known online of a stored request: 应核尽核, as the gateway holds it.

What can be verified online is never asked for on paper. So a ticket needs an online attempt that did not tell: the
department said that it cannot (or contradicted itself), or has said nothing for `patience` seconds since it was first
asked. Each other case is refused for a reason of its own, with the county, so that refusals can be counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.protocol.attestation import Attestation, read_statement
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import NotCurrentError, NotGrantedError
from gateway.protocol.offline import OfflineGround
from gateway.protocol.offline_rules import GROUND_OF_OUTCOME
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.query import Check, OpenedPart, open_part
from gateway.protocol.reasons import Reason
from heyan.v1 import receipt_pb2


@dataclass(frozen=True, slots=True)
class Known:
    """What is known online of one check of a stored request."""

    check: Check
    part: OpenedPart
    outcome: Outcome
    deferred: bool = False
    statement_digest: bytes = b""
    """Of the answer that says so."""


def known_of(receipt: receipt_pb2.Receipt, check_id: str) -> Known:
    """What a stored receipt says of a check; NotGrantedError (OFFLINE_NOT_ATTEMPTED) if it was not asked."""
    parts = [open_part(data) for data in receipt.parts]
    for part in parts:
        for check in part.part.checks:
            if check.check_id == check_id:
                return _known(receipt, part, check)
    raise NotGrantedError(Reason.OFFLINE_NOT_ATTEMPTED, "no such check in the query", region=_region_of(parts))


def asked_again(receipt: receipt_pb2.Receipt, dispute_id: bytes) -> Known | None:
    """What a stored receipt says of the check by which a corrected answer was asked for once more."""
    for part in map(open_part, receipt.parts):
        for check in part.part.checks:
            if check.dispute_id == dispute_id:
                return _known(receipt, part, check)
    return None


def require_ground(known: Known, waited: float, patience: float) -> OfflineGround:
    """The ground on which a ticket for a check may be opened; `waited` is the seconds since it was first asked.

    Raises NotGrantedError or NotCurrentError.
    """
    region = known.check.region
    refused = _REFUSALS.get(known.outcome)
    if refused is not None:
        raise NotGrantedError(refused, region=region)
    ground = GROUND_OF_OUTCOME[known.outcome]
    if ground is OfflineGround.UNAVAILABLE and waited < patience:
        reason = Reason.OFFLINE_DEFERRED if known.deferred else Reason.OFFLINE_TOO_EARLY
        raise NotCurrentError(reason, retry_after=patience - waited, region=region)
    return ground


_REFUSALS = {
    Outcome.YES: Reason.OFFLINE_ANSWERED,
    Outcome.NO: Reason.OFFLINE_ANSWERED,
    Outcome.REFUSED: Reason.OFFLINE_DEPARTMENT_REFUSED,
}


def _known(receipt: receipt_pb2.Receipt, part: OpenedPart, check: Check) -> Known:
    """What a receipt says of a check of `part`, and whether the gateway goes on asking."""
    for item in receipt.statements:
        statement = read_statement(item.proof.statement)
        if not isinstance(statement, Attestation):
            continue
        if (statement.asked.part_digest, statement.asked.check.check_id) == (part.digest, check.check_id):
            name = digest(Kind.STATEMENT, item.proof.statement)
            return Known(check, part, statement.outcome, statement_digest=name)
    for gap in receipt.unavailable:
        if gap.check_id == check.check_id:
            if gap.reason == Reason.ANSWERS_CONTRADICT:
                return Known(check, part, Outcome.UNDETERMINED)
            return Known(check, part, Outcome.UNAVAILABLE, int(gap.next_step) == NextStep.DEFERRED)
    return Known(check, part, Outcome.REFUSED)  # neither answered nor open: settled by a refusal of its whole part


def _region_of(parts: list[OpenedPart]) -> str:
    """The county that a query is about, if it is one."""
    regions = {check.region for part in parts for check in part.part.checks}
    return regions.pop() if len(regions) == 1 else ""
