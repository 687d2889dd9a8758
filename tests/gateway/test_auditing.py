"""What the gateway counts and what an auditor counts from its leaves, for every way in which a check can end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.protobuf.message import Message

from gateway.audit.assessment import Assessment, Grouping
from gateway.auditing import LogAudit
from gateway.protocol.errors import HeyanError, NotGrantedError, UnreachableError
from gateway.protocol.limits import MAX_STATISTICS_PER_PAGE
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, StatisticsPage, beijing_day, read_rows, write_statistic
from gateway.services import LogMethods
from heyan.v1 import log_service_pb2 as pb
from tests import federation as fed
from tests.gateway.conftest import NOW, PEER, Gateway, department_of

TODAY = beijing_day(int(NOW))
HUKOU, LAND = "hukou.child_registered@1", "property.owns_home@1"


class Read:
    """The gateway's own handlers, as `gateway.log_reader` calls them over the wire."""

    def __init__(self, gateway: Gateway, origin: str = "") -> None:
        self._gateway, self._origin = gateway, origin
        self._methods = {method.name: method.handler for method in LogMethods(gateway.log, gateway.store).methods()}

    async def _call(self, name: str, request: Message) -> bytes:
        return await self._methods[name](request.SerializeToString(), PEER, None)  # type: ignore[arg-type]

    async def checkpoint(self) -> str:
        data = await self._call("GetCheckpoint", pb.GetCheckpointRequest(origin=self._origin))
        return pb.GetCheckpointResponse.FromString(data).checkpoint

    async def leaves(self, start: int) -> Sequence[bytes]:
        data = await self._call("ListLeaves", pb.ListLeavesRequest(start_index=start, page_size=2, origin=self._origin))
        return pb.ListLeavesResponse.FromString(data).leaves

    async def inclusion(self, index: int, size: int) -> Sequence[bytes]:
        request = pb.GetInclusionProofRequest(leaf_index=index, tree_size=size, origin=self._origin)
        return pb.GetInclusionProofResponse.FromString(await self._call("GetInclusionProof", request)).path

    def of(self, origin: str) -> Read:
        return Read(self._gateway, origin)

    async def statistics(self, day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        request = pb.ListStatisticsRequest(day=day, page_size=MAX_STATISTICS_PER_PAGE, origin=self._origin)
        if after is not None:
            request.after.CopyFrom(write_statistic(after, 0))
        response = pb.ListStatisticsResponse.FromString(await self._call("ListStatistics", request))
        page = StatisticsPage(read_rows(response.rows), response.tree_size, response.changed_size)
        return page, len(page.rows) < MAX_STATISTICS_PER_PAGE


async def assessed(gateway: Gateway, *days: str) -> Assessment:
    audit = LogAudit(Read(gateway), gateway.federation.registry, fed.GATEWAY)
    return (await audit.read(days or (TODAY,))).assess(Grouping.COUNTY)


def shares(assessment: Assessment) -> dict[str, tuple[int | None, int | None]]:
    return {figure.name: (figure.numerator, figure.denominator) for figure in assessment.total.figures}


async def test_report_agrees_with_what_was_answered_refused_withheld_and_asked_again(gateway: Gateway) -> None:
    hukou, land = department_of(gateway, HUKOU), department_of(gateway, LAND)
    await gateway.verify(gateway.submission())  # three verified
    land.outcome = Outcome.UNDETERMINED
    await gateway.verify(gateway.submission())  # two verified, one undetermined
    land.outcome, land.failure = Outcome.NO, UnreachableError(Reason.DEPARTMENT_TIMED_OUT, "planted")
    submission = gateway.submission()
    await gateway.verify(submission)  # two verified, one silent …
    land.failure = None
    await gateway.verify(submission)  # … and verified when asked again
    hukou.refusal = Reason.BUDGET_EXHAUSTED
    await gateway.verify(gateway.submission())  # two refused, one verified
    hukou.refusal = None
    gateway.standings.revoke_after = gateway.standings.asked + 1
    with pytest.raises(NotGrantedError):
        await gateway.send(gateway.submission())  # three withheld
    assessment = await assessed(gateway)
    assert not assessment.differences
    figures = shares(assessment)
    assert figures["verified_online"] == (9, 15)
    assert figures["undetermined"] == (1, 15)
    assert figures["refused"] == (2, 15)
    assert figures["unanswered"] == (3, 15)
    assert figures["availability"] == (15, 16)
    assert figures["logged_with_query"] == (15, 15)
    assert assessment.total.reasons["UNAVAILABLE", "DEPARTMENT_TIMED_OUT"] == 1
    assert assessment.total.reasons["WITHHELD", "GRANT_REVOKED"] == 3
    assert [latency.count for latency in assessment.total.latencies] == [10, 6]  # of two departments, and of leaves


async def test_last_use_that_two_race_for_is_counted_as_withheld_by_the_commit(gateway: Gateway) -> None:
    consent = gateway.federation.issue(max_uses=1)
    await gateway.verify(gateway.submission(consent))
    gateway.requests.has_use_left = lambda *_: True  # type: ignore[method-assign]
    with pytest.raises(NotGrantedError):
        await gateway.send(gateway.submission(consent))
    assessment = await assessed(gateway)
    assert not assessment.differences
    assert assessment.total.reasons == {("WITHHELD", "GRANT_USED_UP"): 3}
    assert shares(assessment)["verified_online"] == (3, 6)


async def test_contradictions_and_strays_are_counted_by_both_alike(gateway: Gateway) -> None:
    land = department_of(gateway, LAND)
    number = 0

    def flip(statement):  # type: ignore[no-untyped-def]
        nonlocal number
        number += 1
        outcome = Outcome.YES if number % 2 else Outcome.NO
        return type(statement)(statement.asked, outcome, *(getattr(statement, name) for name in LATER))

    land.copies, land.bend = 2, flip
    await gateway.verify(gateway.submission())
    assessment = await assessed(gateway)
    assert not assessment.differences
    figures = shares(assessment)
    assert figures["contradicted"] == (1, 3)
    assert figures["logged_with_query"] == (3, 5)


LATER = ("snapshot_date", "issue_time", "expire_time", "nonce")


async def test_both_sides_of_midnight_agree(gateway: Gateway) -> None:
    midnight = (int(NOW) + 28_800) // 86_400 * 86_400 + 57_600
    for at in (midnight - 1.0, midnight - 2e-7, midnight + 0.0, midnight - 5.0):
        gateway.clock.now = at
        await gateway.verify(gateway.submission())
    for day, count in ((beijing_day(midnight - 1), 6), (beijing_day(midnight), 6)):
        assessment = await assessed(gateway, day)
        assert not assessment.differences
        assert shares(assessment)["verified_online"] == (count, count)


async def test_commit_that_failed_is_in_neither_and_one_that_was_durable_though_it_failed_is_in_both(
    gateway: Gateway,
) -> None:
    for fail in ("fail_before", "fail_after"):
        await gateway.verify(gateway.submission())
        setattr(gateway.store, fail, True)
        with pytest.raises(HeyanError):
            await gateway.send(gateway.submission())
        setattr(gateway.store, fail, False)
    assessment = await assessed(gateway)
    assert not assessment.differences
    assert shares(assessment)["verified_online"] == (9, 9)


async def test_refused_requests_count_no_check(gateway: Gateway) -> None:
    await gateway.verify(gateway.submission())
    gateway.clock.now += 3_600
    with pytest.raises(HeyanError):
        await gateway.send(gateway.submission(now=NOW))
    assert shares(await assessed(gateway))["verified_online"] == (3, 3)
