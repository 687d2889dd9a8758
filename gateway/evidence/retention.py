"""Retention: evidence that was kept for as long as it is kept is destroyed, and what no rule needs any more is deleted.

Once an hour, in bounded batches, between the commits of requests:

1. Find out what time it is for retention: the clock's, but no more than a day later than the last time, and no more
   than 24 times what has passed since by the steady clock of the machine. A clock that is set years ahead destroys
   nothing at once: what it would cost is told each hour (`behind`), and takes as many hours to do harm as it is days
   ahead, however often the gateway is started, and however many there are. Nothing is done while the clock is known to
   be wrong, or the keys cannot be used.
2. Erase the grants whose retention is over (`gateway.evidence.erasing`), on the record.
3. Purge uses of grants that have expired, and what is remembered of what was erased long ago.
4. Empty the write-ahead log, which would keep destroyed keys, whoever destroyed them.

A grant whose key cannot be unwrapped is left, told, and tried again the next time: its leaf could not name it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from gateway.evidence.erasing import Eraser, Ground
from gateway.log import Log
from gateway.party.process import Clock
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.stores.keeping import Keeping
from gateway.stores.port import Store

DAY = 86_400.0
EVERY = 3_600.0
"""Seconds between runs."""
STEP = DAY
"""Seconds by which retention's time goes on in one run, at most: a gateway that stood still for a month catches up in a
day, a clock that is a year ahead is noticed for two weeks before anything is destroyed early."""
MARGIN = DAY
"""Seconds after a grant's or a query's end before anything is forgotten of it."""
BATCH = 64
"""Grants of one erasure, and rows of one purge: some milliseconds of the writer's time."""
MOST_BATCHES = 200
"""Of one run: what is left comes an hour later."""
PAUSE = 0.05
"""Seconds between batches, which requests have for themselves."""

_TIME, _STEADY, _PURGED = "retention_time", "retention_steady", "uses_purged"

_log = structlog.get_logger(__name__)


class Retention:
    """One gateway's retention; `complaint` says why its clock cannot be believed or its keys cannot be used."""

    def __init__(
        self,
        *,
        store: Store,
        keeping: Keeping,
        log: Log,
        eraser: Eraser,
        clock: Clock,
        days: int,
        complaint: Callable[[], str | None],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._keeping = keeping
        self._log = log
        self._eraser = eraser
        self._clock = clock
        self._kept = days * DAY
        self._complaint = complaint
        self._steady = steady
        self.behind = 0.0
        """Seconds by which the clock is ahead of retention's time."""
        self.unreadable = 0
        """Grants of the last run whose retention is over and whose keys could not be unwrapped."""

    async def run(self) -> int:
        """Do what is due; how many grants were erased."""
        now = await self._time()
        if now is None:
            return 0
        erased = await self._erase(now - self._kept)
        await self._purge(now)
        await self._log.run(self._keeping.sweep)  # also of what other processes erased
        return erased

    async def _time(self) -> float | None:
        """What time it is for retention; None if it cannot be told."""
        wrong, now = self._complaint(), self._clock()
        if wrong is not None:
            _log.warning("retention_waits", detail=wrong)
            return None
        known = self._keeping.mark(_TIME)
        if known is None:
            head = self._store.head()
            if head is None:
                return None
            known = min(now, log_time(read_leaf(self._store.leaf(head.end - 1))))
        steady = self._steady()
        at = min(now, known + self._step(steady))
        self.behind = max(0.0, now - at)
        if self.behind > EVERY:
            _log.error("clock_ran_ahead", seconds=round(self.behind), detail="retention goes on by a day each hour")
        # What has passed is used up first: if this process ends in between, retention's time only goes on later.
        await self._log.run(lambda: self._keeping.set_mark(_STEADY, steady))
        if at > known:
            await self._log.run(lambda: self._keeping.set_mark(_TIME, at))
        return at

    def _step(self, steady: float) -> float:
        """Seconds by which retention's time may go on; none where the machine was started since the last time."""
        last = self._keeping.mark(_STEADY)
        passed = EVERY if last is None else max(0.0, steady - last)
        return min(STEP, passed * STEP / EVERY)

    async def _erase(self, before: float) -> int:
        done, self.unreadable = 0, 0
        for _ in range(MOST_BATCHES):
            due = [item.grant_digest for item in self._keeping.due(before, self.unreadable, BATCH)]
            if not due:
                break
            done += await self._erase_batch(due)
            await asyncio.sleep(PAUSE)
        return done

    async def _erase_batch(self, due: list[bytes]) -> int:
        try:
            return await self._erase_some(due)
        except LogUnavailableError as error:
            if self._log.complaint is not None:
                raise
            _log.error("evidence_unreadable", detail=error.detail)
        done = 0
        for digest in due:  # one of them cannot be unwrapped: not the others' fault
            try:
                done += await self._erase_some([digest])
            except LogUnavailableError:
                if self._log.complaint is not None:
                    raise
                self.unreadable += 1
        return done

    async def _erase_some(self, digests: list[bytes]) -> int:
        return (await self._eraser.erase(digests, Ground.RETENTION_OVER)).grants

    async def _purge(self, now: float) -> None:
        since = self._keeping.mark(_PURGED) or 0.0
        for _ in range(MOST_BATCHES):
            gone = await self._log.run(lambda: self._keeping.purge(since, now - MARGIN, now - MARGIN, BATCH))
            if not gone:
                await self._log.run(lambda: self._keeping.set_mark(_PURGED, now - MARGIN))
                return
            await asyncio.sleep(PAUSE)
