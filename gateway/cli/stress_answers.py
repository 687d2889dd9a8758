"""What a receipt says, read for counting: quickly, and without believing it.

The outcomes are held against the truth as they stand; whether the receipt proves them is `Client.check`'s to say, which
costs more than the rest of the generator's work for it and so is done for as many as the run is told to. A gateway
that lies puts no words of its own into a report: only what was asked, and reasons of the contract, are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.protocol.codec import parse
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import open_part
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT
from heyan.v1 import attestation_pb2, receipt_pb2
from sandbox_departments.truth import Asking, asking

Asked = Mapping[str, frozenset[str]]
"""The ids of the checks that each department (its SPIFFE ID) is asked."""
_REASONS = frozenset(Reason)
NOT_ASKED = "an answer to what was not asked"
NOT_SETTLED = "not every check is settled, once"
UNKNOWN_REASON = "a reason that the contract does not know"


@dataclass(slots=True)
class Reading:
    """What departments (by name) said, in checks, and what of it was wrong."""

    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By department and reason."""
    unavailable: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By department and reason."""
    wrong: list[str] = field(default_factory=list)
    """Claims whose outcome is not the truth, or what else is not as it must be."""


def asked_of(submission: Submission) -> Asked:
    """What a submission asks whom."""
    parts = (open_part(presented.part).part for presented in submission.parts)
    return {part.department: frozenset(check.check_id for check in part.checks) for part in parts}


def read_answers(receipt: receipt_pb2.Receipt, asked: Asked, right: Mapping[Asking, Outcome]) -> Reading:
    """The reading of a receipt for what was `asked`, whose checks must have the outcomes `right`.

    Raises MalformedError for a statement that cannot be read.
    """
    reading = Reading()
    settled: Counter[str] = Counter()
    for attested in receipt.statements:
        statement = parse(attestation_pb2.Statement, attested.proof.statement, MAX_RECEIPT)
        if statement.HasField("attestation"):
            _take_attestation(statement.attestation, asked, right, settled, reading)
        else:
            checks = asked.get(statement.refusal.department, frozenset())
            reading.refused[name_of(statement.refusal.department, asked), _known(statement.refusal.reason)] += len(
                checks
            )
            settled.update(checks)
    for item in receipt.unavailable:
        reading.unavailable[name_of(item.department, asked), _known(item.reason)] += 1
        settled[item.check_id] += 1
    if settled != Counter(check_id for checks in asked.values() for check_id in checks):
        reading.wrong.append(NOT_SETTLED)
    return reading


def name_of(department: str, asked: Asked) -> str:
    """The name in the SPIFFE ID of a department that was asked."""
    return department.rpartition("/")[2] if department in asked else "not asked"


def _take_attestation(
    attestation: attestation_pb2.Attestation,
    asked: Asked,
    right: Mapping[Asking, Outcome],
    settled: Counter[str],
    reading: Reading,
) -> None:
    check = attestation.check
    key = asking(check.claim, check.region, {item.name: item.value for item in check.parameters})
    if key not in right or check.check_id not in asked.get(attestation.department, ()):
        reading.wrong.append(NOT_ASKED)
    elif right[key] != int(attestation.outcome):
        reading.wrong.append(check.claim)
    reading.answered[name_of(attestation.department, asked)] += 1
    settled[check.check_id] += 1


def _known(reason: str) -> str:
    return reason if reason in _REASONS else UNKNOWN_REASON
