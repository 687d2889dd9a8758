"""The log: one tree, appended to in groups, each group one durable commit.

A single writer thread commits what is queued, up to GROUP_LIMIT entries, in one transaction. An entry that finds the
writer idle goes at once; one that had to wait for a commit waits a little more for others (`gateway.batching`), so
that under load a group pays one fsync and one signature. Waiters are released only after their group is durable.
When the store fails, every waiter of the group gets LogUnavailableError: nothing is answered that is not recorded.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from gateway.batching import Batching, smooth
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import HeyanError, LogUnavailableError, NotFoundError, OverloadedError
from gateway.protocol.merkle import consistency_proof, inclusion_proof
from gateway.protocol.note import SignerKey
from gateway.protocol.proof import InclusionProof
from gateway.protocol.reasons import Reason
from gateway.stores.port import Committed, Entry, Head, Store

T = TypeVar("T")

_logger = structlog.get_logger(__name__)

GROUP_LIMIT = 512
"""Entries of one commit: past it a group's latency grows faster than its throughput."""

QUEUE_LIMIT = 4096
"""Entries that wait for the writer; beyond it callers are told to come back."""


BATCHING = Batching(full=GROUP_LIMIT, longest=0.003, share=0.5)
"""Half a commit more of waiting saves a whole one for whoever comes in it."""


@dataclass(frozen=True, slots=True)
class _Append:
    entry: Entry
    done: asyncio.Future[Committed]


@dataclass(frozen=True, slots=True)
class _Probe:
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Log:
    """Appends entries and proves what is in the tree. `start` before use, `stop` when nothing is under way."""

    def __init__(self, store: Store, origin: str, signer: SignerKey) -> None:
        self._store = store
        self._origin = origin
        self._signer = signer
        self._queue: queue.Queue[_Append | _Probe | _Stop] = queue.Queue(QUEUE_LIMIT)
        self._thread = threading.Thread(target=self._write, name="heyan-log-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing: str | None = None
        self._usual_commit = 0.0

    def start(self) -> None:
        """Start the writer; the running loop is where waiters live."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End after everything queued is committed."""
        if self._thread.is_alive():
            await asyncio.to_thread(self._queue.put, _Stop())
            await asyncio.to_thread(self._thread.join)

    def use_signer(self, signer: SignerKey) -> None:
        """Sign checkpoints with another key of the same origin from the next group on."""
        self._signer = signer

    @property
    def complaint(self) -> str | None:
        """Why the log cannot record, as of its last attempt."""
        return self._failing

    async def append(self, entry: Entry) -> Committed:
        """Commit one entry; returns once it is durable. OverloadedError or LogUnavailableError otherwise."""
        done: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._enqueue(_Append(entry, done))
        return await done

    async def probe(self) -> None:
        """After a failure: find out whether the store can be written again. LogUnavailableError if it cannot."""
        if self._failing is not None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._enqueue(_Probe(done))
            await done

    def _enqueue(self, item: _Append | _Probe) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            raise OverloadedError(Reason.OVERLOADED, "log queue", retry_after=1.0) from None

    # -- the writer's thread --------------------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            group, other = self._gather(busy=not self._queue.empty())  # busy: something waited for the last commit
            if group:
                self._commit(group)
            if isinstance(other, _Probe):
                self._look(other)
            if isinstance(other, _Stop):
                return

    def _gather(self, *, busy: bool) -> tuple[list[_Append], _Probe | _Stop | None]:
        """The next group, waited for as long as there is none, and what else came behind it, if that ended it."""
        group: list[_Append] = []
        until = None
        while len(group) < BATCHING.full:
            try:
                item = self._next(until)
            except queue.Empty:
                break
            if not isinstance(item, _Append):
                return group, item
            group.append(item)
            if until is None:
                patience = BATCHING.patience(waiting=1, in_flight=int(busy), exchange=self._usual_commit)
                until = time.monotonic() + patience
        return group, None

    def _next(self, until: float | None) -> _Append | _Probe | _Stop:
        """What is queued; waits for it until a time, or for ever. Raises queue.Empty."""
        if until is None:
            return self._queue.get()
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return self._queue.get(timeout=max(0.0, until - time.monotonic()))

    def _commit(self, group: Sequence[_Append]) -> None:
        began = time.monotonic()
        outcome = self._attempt(lambda: self._store.commit([item.entry for item in group], self._sign))
        if not isinstance(outcome, HeyanError):
            self._usual_commit = smooth(self._usual_commit, time.monotonic() - began)
        self._release([item.done for item in group], outcome)

    def _look(self, probe: _Probe) -> None:
        def look() -> Sequence[None]:
            self._store.probe()
            return (None,)

        self._release([probe.done], self._attempt(look))

    def _attempt(self, work: Callable[[], T]) -> T | HeyanError:
        """What the store did, or why it could not."""
        try:
            done = work()
        except HeyanError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever happened, the waiters must be told, not left
            _logger.error("log_writer_failed", kind=type(error).__name__)
            failure = LogUnavailableError(Reason.LOG_UNAVAILABLE, type(error).__name__)
        else:
            self._failing = None
            return done
        self._failing = str(failure)
        _logger.error("log_cannot_record", detail=failure.detail)
        return failure

    def _release(self, waiting: Sequence[asyncio.Future[T]], outcome: Sequence[T] | HeyanError) -> None:
        """Tell the waiters, on their loop."""
        assert self._loop is not None  # noqa: S101 - start() sets it before the thread runs
        self._loop.call_soon_threadsafe(_tell, waiting, outcome)

    def _sign(self, size: int, root: bytes) -> str:
        return sign_checkpoint(Checkpoint(self._origin, size, root), [self._signer])

    # -- proving --------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """The newest durable tree; LogUnavailableError before the first leaf."""
        head = self._store.head()
        if head is None:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the log has no leaf yet", retry_after=1.0)
        return head

    def prove(self, index: int, head: Head) -> str:
        """The C2SP tlog-proof of a leaf under `head`."""
        path = inclusion_proof(index, head.size, self._store.node)
        return InclusionProof(index, path, head.checkpoint).format()

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """The inclusion path of a leaf in the tree of a size; NotFoundError past the newest tree."""
        self._require_size(size)
        return inclusion_proof(index, size, self._store.node)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The consistency proof between two sizes; NotFoundError past the newest tree."""
        self._require_size(new)
        return consistency_proof(old, new, self._store.node)

    def _require_size(self, size: int) -> None:
        if size > self.head().size:
            raise NotFoundError(Reason.NOT_FOUND, "the log is not that large yet")


def _tell(waiting: Sequence[asyncio.Future[T]], outcome: Sequence[T] | HeyanError) -> None:
    for position, done in enumerate(waiting):
        if done.done():
            continue
        if isinstance(outcome, HeyanError):
            done.set_exception(outcome)
        else:
            done.set_result(outcome[position])
