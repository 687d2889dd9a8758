"""The node's one worker: whatever waits is answered as one batch, so that signature, fsync and register are shared.

Acknowledgements that wait beside asks are settled in their transaction. Nothing lingers: a batch is what came in while
the one before was worked on, at most MAX_ASKS_PER_BATCH. The queue is bounded, and who adds to it waits for room. A
batch that is held up (by an issuer's status list) for longer than PATIENCE goes on beside the next ones, at most
MAX_UNDER_WAY of them, so that one slow issuer does not stop the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.party.service import internal_error
from gateway.protocol.errors import HeyanError
from gateway.protocol.limits import MAX_ASKS_PER_BATCH
from sandbox_departments.acknowledgements import Acknowledged, Acknowledgement, Settlement
from sandbox_departments.answerer import Answerer
from sandbox_departments.replies import Incoming, ReplyBatch

PATIENCE = 0.05
"""Seconds for which the next batch waits for the one before."""

MAX_UNDER_WAY = 8
"""Batches that are worked on beside each other."""

QUEUE_CAPACITY = 2048
"""Jobs that wait; a gateway's flow control does the rest."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _AskJob:
    incoming: Incoming
    deliver: Callable[[ReplyBatch], None]
    wanted: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _AcknowledgementJob:
    acknowledged: Acknowledged
    deliver: Callable[[Settlement], None]


class Worker:
    """Feeds an answerer in batches. `run` is a task of the node's; the callbacks are called on the event loop."""

    def __init__(self, answerer: Answerer, capacity: int = QUEUE_CAPACITY) -> None:
        self._answerer = answerer
        self._queue: asyncio.Queue[_AskJob | _AcknowledgementJob] = asyncio.Queue(capacity)
        self._under_way: set[asyncio.Task[None]] = set()

    async def ask(self, incoming: Incoming, deliver: Callable[[ReplyBatch], None], wanted: Callable[[], bool]) -> None:
        """Queue an ask, waiting for room. `deliver` gets every reply batch of its origin, one call for each.

        An ask that is no longer `wanted` when its turn comes (its connection has gone) is dropped unanswered.
        """
        await self._queue.put(_AskJob(incoming, deliver, wanted))

    async def acknowledge(
        self, gateway: str, acknowledgements: Sequence[Acknowledgement], deliver: Callable[[Settlement], None]
    ) -> None:
        """Queue acknowledgements, waiting for room. `deliver` gets an empty settlement if none can be journalled."""
        await self._queue.put(_AcknowledgementJob(Acknowledged(gateway, tuple(acknowledgements)), deliver))

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            jobs = [await self._queue.get()]
            while len(jobs) < MAX_ASKS_PER_BATCH and not self._queue.empty():
                jobs.append(self._queue.get_nowait())
            task = asyncio.get_running_loop().create_task(self._work(jobs))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.wait({task}, timeout=PATIENCE)
            if len(self._under_way) >= MAX_UNDER_WAY:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def drain(self) -> None:
        """Wait until everything that was queued is answered."""
        await self._queue.join()

    async def _work(self, jobs: Sequence[_AskJob | _AcknowledgementJob]) -> None:
        try:
            acknowledging = [job for job in jobs if isinstance(job, _AcknowledgementJob)]
            acknowledged = [job.acknowledged for job in acknowledging]
            asks = [job for job in jobs if isinstance(job, _AskJob) and job.wanted()]
            settlements: list[Settlement] = []
            batches: list[ReplyBatch] = []
            if asks:
                incoming = [job.incoming for job in asks]
                settlements, batches = await self._answerer.settle_and_answer(acknowledged, incoming)
            if not settlements:
                settlements = [await self._settle(item) for item in acknowledged]
            for job, settlement in zip(acknowledging, settlements, strict=True):
                job.deliver(settlement)
            deliver = {job.incoming.origin: job.deliver for job in asks}
            for batch in batches:
                deliver[batch.origin](batch)
        except Exception as error:  # noqa: BLE001 - the worker outlives whatever is wrong with a batch
            internal_error("worker", error)
        finally:
            for _ in jobs:
                self._queue.task_done()

    async def _settle(self, item: Acknowledged) -> Settlement:
        try:
            return await self._answerer.acknowledge(item.gateway, item.acknowledgements)
        except HeyanError as error:
            # Not journalled, so not settled: what it was for is sent again when the gateway's stream opens anew.
            _log.warning("acknowledgement_not_kept", gateway=item.gateway, reason=error.reason.value)
        return Settlement((), ())
