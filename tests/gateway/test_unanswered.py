"""A node that answers nothing is seen in the metrics, by its name and by why, and nobody else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.protocol.attestation import Attestation
from gateway.protocol.errors import UnreachableError
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from tests.gateway.conftest import Gateway, department_of

LAND = "property.owns_home@1"
METRIC = "heyan_checks_unanswered"


def counted(gateway: Gateway) -> dict[tuple[str, str], float]:
    """Checks without an answer, by node and reason."""
    (family,) = [family for family in gateway.metrics.collect() if family.name == METRIC]
    return {
        (sample.labels["department"], sample.labels["reason"]): sample.value
        for sample in family.samples
        if sample.name == f"{METRIC}_total"
    }


@pytest.mark.parametrize("reason", [Reason.DEPARTMENT_TIMED_OUT, Reason.DEPARTMENT_UNREACHABLE])
async def test_single_dead_department_is_counted_by_name_and_reason(gateway: Gateway, reason: Reason) -> None:
    department_of(gateway, LAND).failure = UnreachableError(reason)
    for _ in range(2):
        await gateway.send(gateway.submission())
    assert counted(gateway) == {("land", reason.value): 2}


async def test_lie_is_counted_as_no_answer(gateway: Gateway) -> None:
    department_of(gateway, LAND).bend = lambda statement: (
        replace(statement, asked=replace(statement.asked, requester="spiffe://heyan/requester/other"))
        if isinstance(statement, Attestation)
        else statement
    )
    await gateway.send(gateway.submission())
    assert counted(gateway) == {("land", Reason.ATTESTATION_INVALID.value): 1}


async def test_answers_of_every_kind_and_refusals_are_not_counted(gateway: Gateway) -> None:
    for outcome in (Outcome.YES, Outcome.NO, Outcome.UNDETERMINED):
        department_of(gateway, LAND).outcome = outcome
        await gateway.send(gateway.submission())
    department_of(gateway, LAND).refusal = Reason.BUDGET_EXHAUSTED
    await gateway.send(gateway.submission())
    assert counted(gateway) == {}
