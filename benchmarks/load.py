"""The load generator: applications sent at a fixed rate (open loop) or as fast as they are answered (closed loop).

- Latency is counted from when an application was meant to be sent, so that a system that holds up its callers does
  not hide its own delay (coordinated omission).
- Every application is counted under its status: OK, PARTIAL (a check was unavailable), REFUSED, WRONG (not the
  truth), or the reason that was given. What was refused with RetryInfo is sent again, as the contract says, in the
  closed loop only; in the open loop it counts as it is.
- All answers are held against the truth; every VERIFY_EVERYth application is verified whole, with every signature and
  proof. Verifying all would measure the generator.
- Queries are signed, sealed and encoded before a run, never within it: a closed loop ends when its time is over or
  what was prepared is used up. They are valid for a minute.

How an application is sent is a `Way`: `benchmarks.ways` has the gateway's, `benchmarks.peers` those of its peers. A
`Generator` sends in one process; `benchmarks.clients` runs several.
"""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Generic, Protocol, TypeVar

from benchmarks.applicants import Applicant
from gateway.protocol.errors import HeyanError, OverloadedError

VERIFY_EVERY = 64
"""Of so many applications, one is verified whole."""
OK, PARTIAL, REFUSED, WRONG = "OK", "PARTIAL", "REFUSED", "WRONG"
_LEAST_RETRY = 0.05
_STEPS_PER_DOUBLING = 4
"""Of the histogram: buckets are a fifth apart."""

T = TypeVar("T")


class Way(Protocol[T]):
    """A way to have applications answered."""

    def prepare(self, who: Applicant) -> T:
        """An application, fresh, signed, sealed and encoded: all that is not measured."""
        ...

    async def ask(self, prepared: T, *, verify: bool) -> str:
        """Have it answered, hold the answers against the truth, and verify them if asked to; its status.

        Raises the domain error with which it was refused, or that what came is forged.
        """
        ...


@dataclass(frozen=True)
class Sample:
    """One application: of which kind, when it was meant to be sent, how long it took from then, and how it ended."""

    kind: str
    due: float
    latency: float
    status: str


@dataclass
class Tally:
    """What came of a run: `seconds` by the clock, `cpu_seconds` of the generators' own."""

    samples: list[Sample] = field(default_factory=list)
    verified: int = 0
    retries: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def statuses(self, kind: str | None = None) -> Counter[str]:
        """How often each status."""
        return Counter(sample.status for sample in self.samples if kind in (None, sample.kind))

    def latencies(self, kind: str | None = None) -> list[float]:
        """Seconds of the applications that were answered, in order of size."""
        return sorted(item.latency for item in self.samples if kind in (None, item.kind) and item.status == OK)

    def add(self, other: Tally) -> None:
        """Take in what another generator saw in the same run."""
        self.samples += other.samples
        self.verified += other.verified
        self.retries += other.retries
        self.seconds = max(self.seconds, other.seconds)
        self.cpu_seconds += other.cpu_seconds


def pause_of(error: HeyanError) -> float:
    """Seconds after which what was refused is sent again: as its RetryInfo says, and never at once."""
    return max(_LEAST_RETRY, error.retry_after or 0.0)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; NaN of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def histogram(latencies: Sequence[float]) -> dict[str, int]:
    """How many latencies (seconds) lie at or below each bucket's end, in milliseconds, and above the one before."""
    steps = Counter(math.ceil(_STEPS_PER_DOUBLING * math.log2(1000 * item)) for item in latencies if item > 0)
    return {f"{2 ** (step / _STEPS_PER_DOUBLING):.3g}": steps[step] for step in sorted(steps)}


class Generator(Generic[T]):
    """Sends applications one way."""

    def __init__(self, way: Way[T]) -> None:
        self._way = way
        self._sent = 0

    def prepare(self, applicants: Sequence[Applicant], count: int) -> list[T]:
        """`count` applications to send, of all applicants in turn."""
        return [self._way.prepare(who) for who in islice(cycle(applicants), count)]

    async def open_loop(self, kind: str, prepared: Sequence[T], rate: float, tally: Tally) -> None:
        """Send one every 1/`rate` seconds, whatever became of those before; ends when all are answered."""
        with _timed(tally) as began:
            tasks = []
            for number, item in enumerate(prepared):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.append(asyncio.create_task(self._send(kind, due, item, tally, retry=False)))
            await asyncio.gather(*tasks)

    async def closed_loop(self, kind: str, prepared: Sequence[T], concurrency: int, seconds: float) -> Tally:
        """Keep `concurrency` applications under way for `seconds`, or as long as there are any."""
        tally = Tally()
        ready = iter(prepared)
        with _timed(tally) as began:

            async def work() -> None:
                for item in ready:
                    now = time.perf_counter()
                    if now >= began + seconds:
                        return
                    await self._send(kind, now, item, tally, retry=True)

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return tally

    async def _send(self, kind: str, due: float, item: T, tally: Tally, *, retry: bool) -> None:
        self._sent += 1
        verify = self._sent % VERIFY_EVERY == 0
        while True:
            try:
                status = await self._way.ask(item, verify=verify)
                tally.verified += verify
            except OverloadedError as error:
                if retry:
                    tally.retries += 1
                    await asyncio.sleep(pause_of(error))
                    continue
                status = error.reason.value
            except HeyanError as error:  # RECEIPT_INVALID among them
                status = error.reason.value
            tally.samples.append(Sample(kind, due, time.perf_counter() - due, status))
            return


@contextmanager
def _timed(tally: Tally) -> Iterator[float]:
    """Time a run into its tally; yields when it began. The collector looks at nothing that was there before."""
    gc.collect()
    gc.freeze()
    began, cpu = time.perf_counter(), time.process_time()
    try:
        yield began
    finally:
        tally.seconds = max(tally.seconds, time.perf_counter() - began)
        tally.cpu_seconds += time.process_time() - cpu
        gc.unfreeze()
