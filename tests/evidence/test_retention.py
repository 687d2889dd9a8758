"""Retention destroys what was kept for long enough, nothing sooner whatever the clock says, and purges what may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.evidence.erasing import Ground
from gateway.evidence.retention import BATCH, DAY, EVERY, STEP, Retention
from gateway.protocol.errors import LogUnavailableError, NotFoundError
from gateway.stores.sqlite_keeping import SqliteKeeping
from gateway.stores.sqlite_key_slots import to_slot
from heyan.v1 import log_pb2
from tests.evidence.erasures import eraser_of, erasures_in, is_erased, raw_bytes, request_id_of
from tests.gateway.conftest import PEER, Gateway

KEPT = 1_095
GRANT_DAYS = 90
"""For how long the grants of the federation under test are valid."""


class Hourly:
    """The job, run as often as days pass."""

    def __init__(self, gateway: Gateway, days: int = KEPT) -> None:
        self.gateway = gateway
        self.wrong: str | None = None
        self.keeping = SqliteKeeping(gateway.store)
        self.retention = Retention(
            store=gateway.store,
            keeping=self.keeping,
            log=gateway.log,
            eraser=eraser_of(gateway),
            clock=gateway.clock,
            days=days,
            complaint=lambda: self.wrong,
            steady=lambda: gateway.steady.now,
        )

    async def run(self) -> int:
        """One run, an hour after the last; how many grants were erased."""
        self.gateway.steady.now += EVERY
        return await self.retention.run()

    async def pass_days(self, days: int) -> int:
        """Each day one run; how many grants were erased."""
        erased = 0
        for _ in range(days):
            self.gateway.clock.now += DAY
            erased += await self.run()
        return erased


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.evidence.retention.PAUSE", 0.0)


async def test_evidence_is_destroyed_when_its_time_after_leaf_and_grant_is_over_and_not_a_day_before(
    gateway: Gateway,
) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    job = Hourly(gateway, days=10)
    assert await job.pass_days(GRANT_DAYS + 10) == 0
    gateway.pipeline.get(request_id_of(submission), PEER)
    assert await job.pass_days(1) == 1
    with pytest.raises(NotFoundError) as told:
        gateway.pipeline.get(request_id_of(submission), PEER)
    assert is_erased(told.value)
    (event,) = erasures_in(gateway)
    assert event.ground == log_pb2.ERASURE_GROUND_RETENTION_OVER


async def test_clock_that_jumps_years_ahead_destroys_nothing_and_is_told(gateway: Gateway) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    job = Hourly(gateway)
    await job.run()
    gateway.clock.now += 10 * 365 * DAY
    for _ in range(24 * 7):  # a week of hourly runs
        assert await job.run() == 0
    assert job.retention.behind > 9 * 365 * DAY
    gateway.clock.now -= 10 * 365 * DAY  # somebody sets it right
    assert await job.run() == 0
    assert job.retention.behind == 0
    assert gateway.pipeline.get(request_id_of(submission), PEER).statements


async def test_clock_that_jumps_ahead_forgets_no_use_of_a_grant_that_is_valid(gateway: Gateway) -> None:
    consent = gateway.federation.issue(max_uses=1)
    await gateway.verify(gateway.submission(consent))
    job = Hourly(gateway)
    await job.run()
    gateway.clock.now += 400 * DAY
    for _ in range(24):
        await job.run()
    gateway.clock.now -= 400 * DAY
    assert max(gateway.used(consent)) == 1


async def test_clock_that_is_known_to_be_wrong_destroys_nothing(gateway: Gateway) -> None:
    await gateway.verify(gateway.submission())
    job = Hourly(gateway, days=1)
    await job.run()
    job.wrong = "the clock is 400 s ahead"
    assert await job.pass_days(GRANT_DAYS + 30) == 0
    job.wrong = None
    assert await job.pass_days(1) == 0  # it goes on from where it stood, a day at a time


async def test_clock_that_was_set_back_destroys_nothing(gateway: Gateway) -> None:
    await gateway.verify(gateway.submission())
    job = Hourly(gateway, days=1)
    await job.pass_days(GRANT_DAYS)
    gateway.clock.now -= 30 * DAY
    assert await job.run() == 0
    assert job.retention.behind == 0


async def test_time_goes_on_where_an_earlier_process_left_it(gateway: Gateway) -> None:
    await gateway.verify(gateway.submission())
    await Hourly(gateway, days=1).pass_days(5)
    again = Hourly(gateway, days=1)
    gateway.clock.now += 50 * DAY
    await again.run()
    assert again.retention.behind == 50 * DAY - STEP


async def test_gateway_that_is_started_again_and_again_under_a_wrong_clock_destroys_nothing(gateway: Gateway) -> None:
    submission = gateway.submission()
    await gateway.verify(submission)
    await Hourly(gateway, days=1).run()
    gateway.clock.now += 10 * 365 * DAY
    for _ in range(500):  # it ends as soon as it has begun, and comes back
        gateway.steady.now += 5
        assert await Hourly(gateway, days=1).retention.run() == 0
    gateway.steady.now = 0  # and so does its machine
    assert await Hourly(gateway, days=1).retention.run() == 0
    gateway.clock.now -= 10 * 365 * DAY
    assert gateway.pipeline.get(request_id_of(submission), PEER).statements


async def test_several_gateways_under_a_wrong_clock_are_no_faster_than_one(gateway: Gateway) -> None:
    await gateway.verify(gateway.submission())
    jobs = [Hourly(gateway) for _ in range(3)]
    for job in jobs:
        await job.retention.run()
    before = gateway.clock.now
    gateway.clock.now += 10 * 365 * DAY
    for _ in range(24):
        gateway.steady.now += EVERY
        for job in jobs:
            await job.retention.run()
    assert SqliteKeeping(gateway.store).mark("retention_time") == before + 24 * STEP


async def test_keys_that_another_process_erased_leave_the_write_ahead_log_within_the_hour(
    gateway: Gateway, tmp_path: Path
) -> None:
    consent = gateway.federation.issue()
    await gateway.verify(gateway.submission(consent))
    job = Hourly(gateway)
    await job.run()
    held = gateway.store.evidence(consent.grants[0].digest)
    assert held is not None
    await eraser_of(gateway).erase([held.grant_digest], Ground.LAWFUL_REQUEST)  # it was ended before it swept
    await job.run()
    assert held.wrapped_key not in raw_bytes(tmp_path / "store.db")


async def test_uses_and_what_is_remembered_of_the_erased_go_in_the_end(gateway: Gateway) -> None:
    consent = gateway.federation.issue()
    submission = gateway.submission(consent)
    await gateway.verify(submission)
    job = Hourly(gateway, days=5)
    await job.pass_days(GRANT_DAYS)
    assert max(gateway.used(consent)) == 1
    await job.pass_days(3)
    assert max(gateway.used(consent)) == 0  # which nobody can make use of: the grant has expired
    await job.pass_days(40)
    held = gateway.store.evidence(consent.grants[0].digest)
    assert held is None
    with pytest.raises(NotFoundError) as told:
        gateway.pipeline.get(request_id_of(submission), PEER)
    assert not is_erased(told.value)
    assert gateway.store.head() is not None
    assert len(gateway.store.leaves(0, 100)) == 2  # the answer and the erasure: the log forgets nothing


async def test_grant_whose_key_does_not_open_is_left_and_told_and_the_others_go(gateway: Gateway) -> None:
    consents = [gateway.federation.issue() for _ in range(4)]
    for consent in consents:
        await gateway.verify(gateway.submission(consent))
        gateway.vault.forget(consent.grants[0].digest)
    broken = consents[1].grants[0].digest
    changed = "UPDATE grant_keys SET wrapped = ? WHERE grant_id = (SELECT id FROM grants WHERE digest = ?)"
    gateway.store._writer.execute(changed, (to_slot(bytes(69)), broken))
    job = Hourly(gateway, days=1)
    assert await job.pass_days(GRANT_DAYS + 3) == 3
    assert job.retention.unreadable == 1
    held = gateway.store.evidence(broken)
    assert held is not None
    assert not held.is_erased


async def test_log_that_cannot_record_erases_nothing(gateway: Gateway) -> None:
    await gateway.verify(gateway.submission())
    job = Hourly(gateway, days=1)
    await job.pass_days(GRANT_DAYS)
    gateway.store.fail_before = True
    gateway.clock.now += 3 * DAY
    await job.run()  # a day further, on which nothing is due
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            await job.run()
    gateway.store.fail_before = False
    await gateway.log.probe()
    assert sum([await job.run() for _ in range(4)]) == 1


async def test_more_than_a_batch_is_done_in_batches(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.evidence.retention.BATCH", 2)
    assert BATCH > 2
    for _ in range(5):
        await gateway.verify(gateway.submission())
    job = Hourly(gateway, days=1)
    assert await job.pass_days(GRANT_DAYS + 3) == 5
    assert [len(event.grant_tags) for event in erasures_in(gateway)] == [2, 2, 1]


async def test_new_gateway_without_a_leaf_has_nothing_to_do(gateway: Gateway) -> None:
    assert await Hourly(gateway).run() == 0
