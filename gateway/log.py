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
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from gateway.batching import Batching, smooth
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import HeyanError, LogUnavailableError, NotFoundError, OverloadedError
from gateway.protocol.merkle import consistency_proof, inclusion_proof
from gateway.protocol.note import SignerKey
from gateway.protocol.proof import InclusionProof
from gateway.protocol.reasons import Reason
from gateway.stores.port import Committed, Entry, Head, Store

_logger = structlog.get_logger(__name__)

GROUP_LIMIT = 512
"""Entries of one commit: past it a group's latency grows faster than its throughput."""

QUEUE_LIMIT = 4096
"""Entries that wait for the writer; beyond it callers are told to come back."""


BATCHING = Batching(full=GROUP_LIMIT, longest=0.003, share=0.5)
"""Half a commit more of waiting saves a whole one for whoever comes in it."""


@dataclass(slots=True)
class _Waiting:
    """An entry, or None to find out whether the store can be written."""

    entry: Entry | None
    done: asyncio.Future[Committed | None]


class Log:
    """Appends entries and proves what is in the tree. `start` before use, `stop` when nothing is under way."""

    def __init__(self, store: Store, origin: str, signer: SignerKey) -> None:
        self._store = store
        self._origin = origin
        self._signer = signer
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(QUEUE_LIMIT)
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
            await asyncio.to_thread(self._queue.put, None)
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
        committed = await self._enqueue(entry)
        assert committed is not None  # noqa: S101 - an entry ends as a leaf or as an error
        return committed

    async def probe(self) -> None:
        """After a failure: find out whether the store can be written again. LogUnavailableError if it cannot."""
        if self._failing is not None:
            await self._enqueue(None)

    async def _enqueue(self, entry: Entry | None) -> Committed | None:
        waiting = _Waiting(entry, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except queue.Full:
            raise OverloadedError(Reason.OVERLOADED, "log queue", retry_after=1.0) from None
        return await waiting.done

    # -- the writer's thread --------------------------------------------------------------------------------

    def _write(self) -> None:
        stopping = False
        while not stopping:
            waited = not self._queue.empty()  # for the commit that has just ended
            group, stopping = self._take([], block=True)
            patience = BATCHING.patience(
                waiting=len(group), in_flight=int(waited and not stopping), exchange=self._usual_commit
            )
            if patience > 0:
                time.sleep(patience)
                group, stopping = self._take(group, block=False)
            if group:
                self._commit(group)

    def _take(self, group: list[_Waiting], *, block: bool) -> tuple[list[_Waiting], bool]:
        """`group` with what is queued besides, up to GROUP_LIMIT; and whether the writer shall end after it."""
        while len(group) < GROUP_LIMIT:
            try:
                item = self._queue.get(block=block and not group)
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
        return group, False

    def _commit(self, group: Sequence[_Waiting]) -> None:
        assert self._loop is not None  # noqa: S101 - start() sets it before the thread runs
        entries = [waiting.entry for waiting in group if waiting.entry is not None]
        began = time.monotonic()
        outcome: Sequence[Committed] | HeyanError
        try:
            if entries:
                outcome = self._store.commit(entries, self._sign)
            else:
                outcome = ()
                self._store.probe()
            self._failing = None
            self._usual_commit = smooth(self._usual_commit, time.monotonic() - began)
        except HeyanError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - whatever happened, the waiters must be told, not left
            _logger.error("log_writer_failed", kind=type(error).__name__)
            outcome = LogUnavailableError(Reason.LOG_UNAVAILABLE, type(error).__name__)
        if isinstance(outcome, HeyanError):
            self._failing = str(outcome)
            _logger.error("log_cannot_record", detail=outcome.detail, entries=len(group))
        self._loop.call_soon_threadsafe(_release, group, outcome)

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


def _release(group: Sequence[_Waiting], outcome: Sequence[Committed] | HeyanError) -> None:
    committed = iter(outcome if not isinstance(outcome, HeyanError) else ())
    for waiting in group:
        mine = next(committed, None) if waiting.entry is not None else None
        if waiting.done.done():
            continue
        if isinstance(outcome, HeyanError):
            waiting.done.set_exception(outcome)
        else:
            waiting.done.set_result(mine)
