"""Paper in the assessment, from the leaves that the gateway's own tickets and guard write."""

from __future__ import annotations

from gateway.audit.assessment import Assessment
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from tests.gateway.conftest import Gateway
from tests.gateway.offline_desk import OfflineDesk, OfflineDoor, told
from tests.gateway.test_auditing import assessed


def paper(assessment: Assessment) -> dict[str, tuple[int | None, int | None]]:
    assert not assessment.differences
    (line,) = assessment.lines
    names = ("offline_allowed", "offline_refused", "offline_resolved")
    return {name: (line.figure(name).numerator, line.figure(name).denominator) for name in names}


async def test_paper_that_was_allowed_refused_and_resolved_is_told_of_the_county(gateway: Gateway) -> None:
    desk = OfflineDesk(gateway)
    door = OfflineDoor(desk)
    undetermined, _ = await desk.asked(Outcome.UNDETERMINED)
    await desk.resolve(desk.result(await desk.opened(undetermined)))
    another, _ = await desk.asked(Outcome.UNDETERMINED)
    await desk.opened(another)
    await desk.opened(another)  # the same ticket
    verified, _ = await desk.asked(Outcome.YES)
    for _ in range(2):
        assert await told(door.open(verified)) == Reason.OFFLINE_ANSWERED
    silent, _ = await desk.asked(Outcome.UNAVAILABLE)
    assert await told(door.open(silent)) == Reason.OFFLINE_TOO_EARLY
    assessment = await assessed(gateway)
    assert paper(assessment) == {
        "offline_allowed": (2, 5),
        "offline_refused": (3, 5),
        "offline_resolved": (1, 2),
    }
    assert assessment.lines[0].reasons == {
        ("OFFLINE_ALLOWED", "UNDETERMINED"): 2,
        ("OFFLINE_REFUSED", "OFFLINE_ANSWERED"): 2,
        ("OFFLINE_REFUSED", "OFFLINE_TOO_EARLY"): 1,
        ("UNAVAILABLE", "DEPARTMENT_UNREACHABLE"): 1,
    }


async def test_refused_request_for_paper_in_a_summary_is_still_counted(gateway: Gateway) -> None:
    desk = OfflineDesk(gateway)
    door = OfflineDoor(desk)
    verified, _ = await desk.asked(Outcome.YES)
    for _ in range(70):
        assert await told(door.open(verified)) == Reason.OFFLINE_ANSWERED
    await door._refusals.flush(everything=True)
    assert paper(await assessed(gateway))["offline_refused"] == (70, 70)
