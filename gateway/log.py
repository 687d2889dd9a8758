"""The log: one tree, appended to in groups, each group one durable commit.

A single writer thread takes whatever is queued, up to GROUP_LIMIT entries, and commits it in one transaction;
what arrives meanwhile makes the next group. Nothing waits on purpose, and under load a group pays one fsync.
Waiters are released only after their group is durable. When the store fails, every waiter of the group gets
LogUnavailableError: nothing is answered that is not recorded.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

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


@dataclass(slots=True)
class _Waiting:
    entry: Entry
    done: asyncio.Future[Committed]


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
        waiting = _Waiting(entry, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except queue.Full:
            raise OverloadedError(Reason.OVERLOADED, "log queue", retry_after=1.0) from None
        return await waiting.done

    def _write(self) -> None:
        stopping = False
        while not stopping:
            group: list[_Waiting] = []
            item = self._queue.get()
            while item is not None:
                group.append(item)
                if len(group) == GROUP_LIMIT:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            stopping = item is None
            if group:
                self._commit(group)

    def _commit(self, group: Sequence[_Waiting]) -> None:
        assert self._loop is not None  # noqa: S101 - start() sets it before the thread runs
        outcome: Sequence[Committed] | HeyanError
        try:
            outcome = self._store.commit([waiting.entry for waiting in group], self._sign)
            self._failing = None
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
    for position, waiting in enumerate(group):
        if waiting.done.done():
            continue
        if isinstance(outcome, HeyanError):
            waiting.done.set_exception(outcome)
        else:
            waiting.done.set_result(outcome[position])
