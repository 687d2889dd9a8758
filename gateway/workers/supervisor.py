"""Keeping the workers of one gateway: starts them, replaces those that end, and speaks for all of them.

- The first worker starts alone: it makes what is not there yet, leads, and says what is wrong with the settings. If it
  ends before it serves, so does the gateway, with its exit code. The others start then.
- A worker that ends, however it does, is replaced: after FIRST_DELAY, then twice as long each time, at most
  LONGEST_DELAY, until one has served for SOUND_SECONDS. One that says nothing for SILENT_SECONDS is killed first: the
  system would go on giving it connections.
- What one worker must tell all of them (its log is halted, a grant was withdrawn) goes through here. A halt is told to
  every worker that is started later too, before it does anything.
- The gateway is ready if any worker is; what the others complain of is told with it.

It opens neither store nor keys, and has no part in any answer: if it dies, its workers drain and end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.party.probes import Readiness
from gateway.party.process import SUPERVISOR, cancel_all, repeat
from gateway.workers.child import Child
from gateway.workers.gathering import gather
from gateway.workers.wire import Begin, Halted, Message, Told, Withdrawn

FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0
"""Seconds until a worker that ended is replaced, doubling."""
SOUND_SECONDS = 30.0
"""For which a worker must have served to count as one that died by accident."""
ANSWER_SECONDS = 2.0
"""For which a worker may take to say how it is, before it is told as one that does not."""
SILENT_SECONDS = 30.0
"""After which a worker that says nothing is killed; nothing in it takes so long."""

_log = structlog.get_logger(__name__)

Words = Callable[[int, int], Sequence[str]]
"""The command that starts the worker of a number, with the descriptor of its end of the line."""


class StartFailedError(Exception):
    """The first worker ended before it served, with this exit code; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Supervisor:
    """The keeper of `count` workers, on one event loop. `stop_seconds` is how long they may take to end."""

    def __init__(
        self,
        count: int,
        words: Words,
        environment: Mapping[str, str],
        *,
        stop_seconds: float,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._count = count
        self._words = words
        self._environment = {**environment, SUPERVISOR: str(os.getpid())}
        self._stop_seconds = stop_seconds
        self._silent_seconds = silent_seconds
        self._children: dict[int, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._halted: Halted | None = None
        self._metrics = CollectorRegistry()
        self._restarts = Counter(
            "heyan_worker_restarts", "Workers started because one had ended", registry=self._metrics
        )
        self._serving = Gauge("heyan_workers_serving", "Workers that listen", registry=self._metrics)
        self._leads = Gauge("heyan_worker_leads", "1 if the worker leads", ["worker"], registry=self._metrics)

    async def start(self) -> None:
        """Start all; returns when the first one serves. StartFailedError."""
        first = await self._spawn(0)
        serving = asyncio.create_task(first.serving.wait())
        await asyncio.wait({first.ended, serving}, return_when=asyncio.FIRST_COMPLETED)
        if not first.serving.is_set():
            serving.cancel()
            raise StartFailedError(first.ended.result())
        self._keepers = [asyncio.create_task(self._keep(0, first))]
        self._keepers += [asyncio.create_task(self._keep(number)) for number in range(1, self._count)]
        self._watch = asyncio.create_task(repeat(1.0, self._look_after, "look after workers"))

    async def stop(self) -> None:
        """Have all drain, and end those that take too long."""
        await cancel_all([*self._keepers, *([self._watch] if self._watch is not None else [])])
        ending = {child.ended: child for child in self._children.values()}
        for child in ending.values():
            child.terminate()
        late = (await asyncio.wait(ending, timeout=self._stop_seconds))[1] if ending else set()
        for ended in late:
            _log.error("worker_killed", worker=ending[ended].number, detail="it did not end in time")
            ending[ended].kill()
            await ended

    def pids(self) -> Mapping[int, int]:
        """The process ids of the workers that live, by their numbers."""
        return {number: child.pid for number, child in self._children.items()}

    # -- for the probes -------------------------------------------------------------------------------------

    async def readiness(self) -> Readiness:
        """Ready if any worker is, with what is to be said of each that is not."""
        told = await self._ask_all(metrics=False)
        lines = []
        for number in range(self._count):
            child = self._children.get(number)
            if child is None or not child.serving.is_set():
                lines.append(f"worker {number}: starting")
            elif number not in told:
                lines.append(f"worker {number}: does not answer")
            else:
                lines += [f"worker {number}: {complaint}" for complaint in told[number].complaints]
        ready = [number for number, each in told.items() if not each.complaints]
        head = [f"ready: {len(ready)} of {self._count} workers"] if ready else []
        return Readiness(bool(ready), [*head, *lines])

    async def metrics(self) -> bytes:
        """The metrics of all."""
        told = await self._ask_all(metrics=True)
        self._serving.set(sum(child.serving.is_set() for child in self._children.values()))
        self._leads.clear()
        for number, each in told.items():
            self._leads.labels(str(number)).set(each.leads)
        return await asyncio.to_thread(gather, self._metrics, told)

    async def _ask_all(self, *, metrics: bool) -> dict[int, Told]:
        """What every worker that serves tells, by its number; without those that do not answer."""
        asked = {
            number: asyncio.create_task(child.ask(metrics=metrics))
            for number, child in sorted(self._children.items())
            if child.serving.is_set()
        }
        if asked:
            await asyncio.wait(asked.values(), timeout=ANSWER_SECONDS)
        for task in asked.values():
            task.cancel()
        return {number: task.result() for number, task in asked.items() if task.done() and not task.cancelled()}

    # -- keeping --------------------------------------------------------------------------------------------

    async def _keep(self, number: int, child: Child | None = None) -> None:
        delay = FIRST_DELAY
        time = asyncio.get_running_loop().time
        while True:
            began = time()
            child = child or await self._spawn(number)
            await asyncio.wait({child.ended})  # so that a cancellation of this task does not end that one
            lasted, code = time() - began, child.ended.result()
            _log.error("worker_ended", worker=number, pid=child.pid, code=code, seconds=round(lasted, 1))
            del self._children[number]
            child = None
            if lasted > SOUND_SECONDS:
                delay = FIRST_DELAY
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
            self._restarts.inc()

    async def _spawn(self, number: int) -> Child:
        child = await Child.spawn(
            number, partial(self._words, number), self._environment, lambda: Begin(self._halted), self._pass_on
        )
        self._children[number] = child
        _log.info("worker_started", worker=number, pid=child.pid)
        return child

    async def _look_after(self) -> None:
        """Hear from each worker that serves, and kill one that says nothing any more."""
        await self._ask_all(metrics=False)
        now = asyncio.get_running_loop().time()
        for child in list(self._children.values()):
            if child.serving.is_set() and now - child.heard > self._silent_seconds:
                _log.error("worker_killed", worker=child.number, detail="it says nothing any more")
                child.kill()

    def _pass_on(self, sender: Child, message: Message) -> None:
        """Tell the others what they must hear of what one worker says."""
        if isinstance(message, Halted):
            if self._halted is not None:
                return
            self._halted = message
        if isinstance(message, Halted | Withdrawn):
            for child in self._children.values():
                if child is not sender:
                    child.send(message)
