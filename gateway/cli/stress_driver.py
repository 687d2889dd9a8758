"""The driver of a rehearsal: sends every application when it is due, whatever became of those before (an open loop).

- The time of an application counts from when it was due. Where the driver is late, or `in_flight` are under way
  already, the wait is part of it.
- Bounded: at most `in_flight` tasks; every attempt has its patience; what was not sent within the patience of the last
  applicant after the last arrival never is, and counts as unanswered.
- Applications are signed and sealed a little ahead, while there is nothing to send, so that a burst does not measure
  the generator's own cryptography.
- `stop` ends it: nothing more is sent, what is under way has a few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence

from gateway.cli.stress_attempts import Attempts, Made, Verify
from gateway.cli.stress_families import Applicant
from gateway.client import Client
from gateway.party.process import cancel_all
from gateway.season.arrivals import Arrival
from gateway.season.profile import AHEAD, Profile
from gateway.season.rehearsal import End, Tally

NEVER_SENT = "NEVER_SENT"
"""The reason of an application for which there was no place among those under way until the end."""
STOP_GRACE = 3.0
"""Seconds for what is under way when the run is stopped."""
_MOST_AHEAD = 500
"""Applications made ahead: some ten megabytes."""
_STALE = AHEAD + 5.0
"""Seconds after which an application that was made ahead is made anew."""
_SLACK = 0.004
"""Seconds until the next arrival that are worth making an application in."""
_NAP = 0.1
"""Seconds between looks at whether to stop."""
_LAG_EVERY = 0.02


class Driver:
    """Runs once. `connections` are the clients of each education system; times are seconds after the start."""

    def __init__(
        self,
        profile: Profile,
        arrivals: Sequence[Arrival],
        applicants: Sequence[Applicant],
        connections: Mapping[str, Sequence[Client]],
        tally: Tally,
        verify: Verify,
    ) -> None:
        self._profile = profile
        self._arrivals = arrivals
        self._applicants = applicants
        self._connections = connections
        self._tally = tally
        self._attempts = Attempts(profile, connections, tally, verify)
        self._stop = asyncio.Event()
        self._places = asyncio.Semaphore(profile.in_flight)
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._freed = 0.0
        self._stock: deque[Made] = deque()
        self._next = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the start; 0 before it."""
        return 0.0 if self._began is None else self._loop.time() - self._began

    @property
    def stopped(self) -> bool:
        """Whether the run was told to stop before its end."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()

    async def run(self) -> float:
        """Send everything and wait for the ends; the seconds that it took. Raises what went wrong in here."""
        while not self.stopped and self._make_ahead(0.0):  # noqa: ASYNC110 - gives way between two pieces of work, and waits for nothing
            await asyncio.sleep(0)
        health = self._tally.health
        measuring = asyncio.create_task(self._measure_lag())
        used, self._began = time.process_time(), self._loop.time()
        try:
            await self._send_all()
            await self._finish()
        finally:
            elapsed = self.elapsed
            health.cpu_seconds = time.process_time() - used
            health.machine_load = os.getloadavg()[0] / (os.cpu_count() or 1)
            await cancel_all([measuring, *self._tasks])
        if self._fault is not None:
            raise self._fault
        return elapsed

    # -- sending ------------------------------------------------------------------------------------------------

    async def _send_all(self) -> None:
        profile = self._profile
        last = self._arrivals[-1].due + profile.attempts * (profile.patience + profile.pause)
        for number, arrival in enumerate(self._arrivals):
            await self._wait_until(arrival.due)
            if not self.stopped:
                await self._take_place(last)
            if self.stopped:
                return
            now = self.elapsed
            if now > last:
                self._give_up(self._arrivals[number:])
                return
            if arrival.due < self._freed:
                self._tally.health.held_back += 1
            made = self._stock.popleft() if self._stock else self._make(number)
            if self._loop.time() - made.time > _STALE:
                made = self._make(number)
            self._next = max(self._next, number + 1)
            clients = self._connections[made.applicant.requester]
            applying = self._apply(arrival.due, max(arrival.due, self._freed), made, clients[number % len(clients)])
            task = asyncio.create_task(applying)
            self._tasks.add(task)
            task.add_done_callback(self._end_task)

    async def _wait_until(self, due: float) -> None:
        """Wait for an arrival, and use the time to make applications ahead."""
        while (left := due - self.elapsed) > 0 and not self.stopped:
            if left > _SLACK and self._make_ahead(self.elapsed):
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(min(left, _NAP))

    async def _take_place(self, last: float) -> None:
        """A place among those under way, if one becomes free until `last`."""
        if not self._places.locked():
            await self._places.acquire()
            return
        while not self.stopped and self.elapsed <= last:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NAP):
                    await self._places.acquire()
                    break
        self._freed = self.elapsed

    def _give_up(self, arrivals: Sequence[Arrival]) -> None:
        now = self.elapsed
        for arrival in arrivals:
            self._tally.give_up(arrival.due, now, NEVER_SENT)

    def _make_ahead(self, now: float) -> bool:
        """Make the next application that is due soon; whether there was one."""
        if self._next >= len(self._arrivals) or len(self._stock) >= _MOST_AHEAD:
            return False
        if self._arrivals[self._next].due > now + AHEAD:
            return False
        self._stock.append(self._make(self._next))
        self._next += 1
        return True

    def _make(self, number: int) -> Made:
        applicant = self._applicants[self._arrivals[number].applicant % len(self._applicants)]
        return self._attempts.make(applicant, self._loop.time())

    async def _finish(self) -> None:
        """Wait for what is under way; each task ends in its own time, or is cut short."""
        while self._tasks and not self.stopped:
            await asyncio.wait(self._tasks, timeout=_NAP)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_GRACE)
        await cancel_all(self._tasks)

    # -- one application ----------------------------------------------------------------------------------------

    async def _apply(self, due: float, ready: float, made: Made, client: Client) -> None:
        end, reason = End.CUT_SHORT, None
        self._tally.health.late.add(self.elapsed - ready)
        self._tally.start(self.elapsed)
        try:
            end, reason = await self._attempts.carry(made, client)
        finally:
            self._tally.finish(due, self.elapsed, end, reason)
            self._places.release()

    def _end_task(self, task: asyncio.Task[None]) -> None:
        """Let go of an application; a fault of our own ends the run, rather than count as the gateway's."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
            self.stop()

    async def _measure_lag(self) -> None:
        """By how much the event loop wakes late: the time for which an answer that came would not be noticed."""
        while True:
            due = self._loop.time() + _LAG_EVERY
            await asyncio.sleep(_LAG_EVERY)
            self._tally.health.loop_lag.add(self._loop.time() - due)
