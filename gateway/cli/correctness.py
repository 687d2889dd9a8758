"""A federation's answers held against the truth of the sandbox that it serves."""

from __future__ import annotations

from gateway.client import Verification
from gateway.protocol.outcomes import Outcome
from gateway.protocol.receipt import VerifiedReceipt
from sandbox_departments.truth import Asking, Truth, asking


def outcomes_of(verified: VerifiedReceipt) -> dict[Asking, Outcome]:
    """The outcome of every check of a receipt, by what it asks; compare with `Truth.outcomes`."""
    return {
        asking(answer.check.claim, answer.check.region, dict(answer.check.parameters)): answer.outcome
        for answer in verified.answers
    }


def is_right(result: Verification, truth: Truth) -> bool:
    """Whether every answer is the right one, and the verdict is the one that all right answers come to.

    The materials of the family's group stand as they should, so that no check was left out; where the group was left
    open, just the right groups are supported.
    """
    verdict = result.verdict
    if verdict is None or not outcomes_of(result.verified).items() <= truth.outcomes.items():
        return False
    own = next((each for each in verdict.groups if each.group is truth.application.group), None)
    if own is None or {each.material.key: each.standing.name for each in own.materials} != truth.materials:
        return False
    return verdict.application.group is not None or verdict.supported == truth.supported
