"""Deferred checks in the assessment: one check however often it is asked, and an end is no asking."""

from __future__ import annotations

from gateway.audit.assessment import Assessment
from gateway.protocol.errors import UnreachableError
from gateway.protocol.reasons import Reason
from tests.fakes import FakeDepartment
from tests.gateway.conftest import Gateway, department_of
from tests.gateway.deferrals import HOUR, POLICE, deferrable
from tests.gateway.test_auditing import assessed, shares


def deferred(assessment: Assessment) -> dict[str, tuple[int | None, int | None]]:
    assert not assessment.differences
    names = ("verified_online", "unanswered", "deferred", "deferred_answered", "availability")
    return {name: share for name, share in shares(assessment).items() if name in names}


async def test_deferred_check_that_is_answered_later_is_one_check_and_two_askings(
    gateway: Gateway, land: FakeDepartment
) -> None:
    await gateway.verify(deferrable(gateway))
    assert deferred(await assessed(gateway))["deferred_answered"] == (0, 1)
    land.failure = None
    await gateway.tick()
    assert deferred(await assessed(gateway)) == {
        "verified_online": (3, 3),
        "unanswered": (0, 3),
        "deferred": (1, 3),
        "deferred_answered": (1, 1),
        "availability": (3, 4),
    }


async def test_deferral_that_ends_without_an_answer_asked_nobody_at_its_end(
    gateway: Gateway, land: FakeDepartment
) -> None:
    await gateway.verify(deferrable(gateway))
    gateway.away.add(land.department)
    gateway.clock.now += HOUR + 60
    await gateway.tick()
    assessment = await assessed(gateway)
    assert deferred(assessment) == {
        "verified_online": (2, 3),
        "unanswered": (1, 3),
        "deferred": (1, 3),
        "deferred_answered": (0, 1),
        "availability": (2, 3),
    }
    assert assessment.total.reasons["UNAVAILABLE", "QUERY_EXPIRED"] == 1
    assert assessment.total.latencies[1].count == 1  # waiting for the end is no latency of an application


async def test_department_that_refuses_what_was_deferred_has_answered(gateway: Gateway, land: FakeDepartment) -> None:
    await gateway.verify(deferrable(gateway))
    land.failure, land.refusal = None, Reason.BUDGET_EXHAUSTED
    await gateway.tick()
    found = deferred(await assessed(gateway))
    assert (found["deferred_answered"], found["unanswered"]) == ((1, 1), (0, 3))


async def test_check_that_is_deferred_twice_is_deferred_once(gateway: Gateway, land: FakeDepartment) -> None:
    police = department_of(gateway, POLICE)
    police.failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT)
    await gateway.verify(deferrable(gateway))
    police.failure = None
    await gateway.tick()
    assert land.failure is not None
    found = deferred(await assessed(gateway))
    assert (found["deferred"], found["deferred_answered"], found["availability"]) == ((3, 3), (2, 3), (2, 6))
