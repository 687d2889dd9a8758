"""What the tests of deferred checks share."""

from __future__ import annotations

from gateway.protocol.errors import (
    UnreachableError,
)
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt
from tests.gateway.conftest import PEER, Gateway

LAND, POLICE = "property.owns_home@1", "identity.valid@1"
HOUR = 3_600.0
DOWN = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
Steps = list[tuple[Outcome, NextStep]]
ANSWERED = (Outcome.YES, NextStep.NONE)
DEFERRED = (Outcome.UNAVAILABLE, NextStep.DEFERRED)
RETRY = (Outcome.UNAVAILABLE, NextStep.RETRY)


def deferrable(gateway: Gateway, **changes: object) -> Submission:
    return gateway.submission(**{"answer_until": gateway.clock.now + HOUR, **changes})


def steps(verified: VerifiedReceipt) -> Steps:
    return [(answer.outcome, answer.next_step) for answer in verified.answers]


def fetched(gateway: Gateway, verified: VerifiedReceipt) -> VerifiedReceipt:
    """What its requester fetches later."""
    return gateway.check(gateway.pipeline.get(verified.query.request_id, PEER))


def reasons(verified: VerifiedReceipt) -> set[Reason]:
    return {answer.reason for answer in verified.answers if answer.reason is not None}
