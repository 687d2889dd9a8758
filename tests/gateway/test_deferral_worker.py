"""The worker alone: what it counts and logs, and that no single request stops it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import structlog
from prometheus_client import CollectorRegistry

from gateway.deferral import PAGE, DeferralTraffic, DeferralWorker
from gateway.protocol.errors import LogUnavailableError, NotGrantedError, UnreachableError
from gateway.protocol.identities import Identity
from gateway.protocol.reasons import Reason
from gateway.stores.records import RequestKey, Waiting
from gateway.waiting_room import LONGEST_REST, Limits, WaitingRoom
from tests.fakes import Clock

LAND = "spiffe://heyan/department/land"
EDU = "spiffe://heyan/requester/edu"
GRANT = bytes([1]) * 32


def waiting(number: int) -> Waiting:
    return Waiting(RequestKey(EDU, number.to_bytes(16, "big")), (LAND,), (GRANT,), 1_000.0, 10)


class Kept:
    """Requests as the store has them, and a pipeline that ends each try as it is told."""

    def __init__(self, count: int) -> None:
        self.rows = [waiting(number) for number in range(count)]
        self.pages: list[int] = []
        self.tried: list[bytes] = []
        self.ends: BaseException | None = None
        self.failure: UnreachableError | None = None

    def waiting(self, after: RequestKey | None, count: int) -> list[Waiting]:
        self.pages.append(count)
        left = [row for row in self.rows if after is None or row.key.request_id > after.request_id]
        return left[:count]

    def deferred_message(self, row: Waiting) -> bytes | None:
        if self.failure is not None:
            raise self.failure
        return row.key.request_id

    async def resume(self, message: bytes, peer: Identity) -> None:
        assert peer.uri == EDU
        self.tried.append(message)
        await asyncio.sleep(0)
        if self.ends is not None:
            raise self.ends


class Run:
    """A worker over `Kept`."""

    def __init__(self, count: int) -> None:
        self.kept, self.steady, self.metrics = Kept(count), Clock(0.0), CollectorRegistry()
        traffic = DeferralTraffic(self.metrics)
        limits = Limits(10_000, 1 << 30, 10_000, 1 << 30)
        self.room = WaitingRoom(limits, self.steady, lambda: 1.0, traffic.gone)
        traffic.waiting.set_function(lambda: len(self.room))
        self.worker = DeferralWorker(
            room=self.room,
            requests=self.kept,  # type: ignore[arg-type]
            pipeline=self.kept,
            ready=lambda _: True,
            busy=lambda: False,
            clock=Clock(0.0),
            traffic=traffic,
            at_once=4,
        )

    async def turn(self) -> None:
        """Let everything rest, then try what is due until nothing is."""
        self.steady.now += LONGEST_REST
        self.worker.start_due()
        while self.worker._tasks:
            await asyncio.gather(*self.worker._tasks)
            self.worker.start_due()

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.get_sample_value(f"heyan_deferrals_{name}", labels)


async def test_whatever_is_kept_is_learned_in_pages() -> None:
    run = Run(2 * PAGE + 1)
    await run.worker.load()
    assert (len(run.room), set(run.kept.pages), len(run.kept.pages)) == (2 * PAGE + 1, {PAGE}, 4)
    await run.worker.load()  # again: nothing comes twice
    assert len(run.room) == 2 * PAGE + 1


async def test_what_is_counted() -> None:
    run = Run(3)
    await run.worker.load()
    assert run.count("waiting") == 3
    await run.turn()
    assert run.metrics.get_sample_value("heyan_deferral_retries_total") == 3
    run.room.committed(waiting(0).key, None)
    run.room.committed(waiting(1).key, None, Reason.GRANT_REVOKED)
    assert (run.count("waiting"), run.count("answered_total")) == (1, 1)
    assert run.count("ended_total", reason="GRANT_REVOKED") == 1


@pytest.mark.parametrize(
    "error",
    [
        LogUnavailableError(Reason.LOG_UNAVAILABLE),
        UnreachableError(Reason.STATUS_UNAVAILABLE),
        NotGrantedError(Reason.GRANT_REVOKED),
        RuntimeError("text that quotes a message"),
    ],
)
async def test_however_a_try_ends_the_others_are_tried_and_it_comes_again_after_a_rest(error: Exception) -> None:
    run = Run(3)
    await run.worker.load()
    run.kept.ends = error
    with structlog.testing.capture_logs() as lines:
        await run.turn()
    assert sorted(run.kept.tried) == [row.key.request_id for row in run.kept.rows]
    assert all(EDU not in str(line) and "quotes" not in str(line) for line in lines)
    run.kept.tried.clear()
    run.worker.start_due()
    assert run.worker._tasks == set()
    run.kept.ends = None
    await run.turn()
    assert len(run.kept.tried) == 3


async def test_message_that_cannot_be_read_now_is_tried_later() -> None:
    run = Run(1)
    await run.worker.load()
    run.kept.failure = LogUnavailableError(Reason.LOG_UNAVAILABLE)
    await run.turn()
    assert (run.kept.tried, len(run.room)) == ([], 1)
    run.kept.failure = None
    await run.turn()
    assert len(run.kept.tried) == 1


async def test_stopped_worker_begins_nothing_and_waits_for_nobody() -> None:
    run = Run(3)
    await run.worker.load()
    run.steady.now += LONGEST_REST
    run.worker.start_due()
    assert run.worker._tasks
    await run.worker.stop()
    run.steady.now += LONGEST_REST
    run.worker.start_due()
    assert run.worker._tasks == set()
    assert len(run.room) == 3  # nothing is lost: the store has it


async def test_running_worker_sees_a_withdrawal_at_once() -> None:
    run = Run(1)
    run.kept.rows = [replace(waiting(0), departments=())]
    await run.worker.load()
    running = asyncio.create_task(run.worker.run())
    await asyncio.sleep(0)
    run.worker.withdrawn(GRANT)
    async with asyncio.timeout(5):
        while not run.kept.tried:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await run.worker.stop()


async def test_withdrawal_counts_for_what_another_process_deferred_just_before() -> None:
    run = Run(1)
    run.worker.withdrawn(GRANT)  # told by that process, before the store was read
    await run.worker.load()
    assert run.room.next_due(0.0) == waiting(0)
    run.room.done(waiting(0).key)
    await run.worker.load()
    assert run.room.next_due(0.0) is None  # it rests, and is not tried again at each reading
