"""The log: one tree, appended to in groups, each group one durable commit.

A single writer commits what is queued, up to GROUP_LIMIT entries, in one transaction: a thread waits for its turn and
for the disk, and what is to be computed is done on the event loop. An entry that finds the writer idle goes at once;
one that had to wait for a commit waits a little more for others (`gateway.batching`), so that under load a group pays
one fsync and one signature. Waiters are released only after their group is durable. When the store fails, every waiter
of the group gets LogUnavailableError: nothing is answered that is not recorded.

Who signs is asked anew for each checkpoint (`use_signers`), so that a key that has ended signs nothing more: without a
signer nothing is recorded. A checkpoint that stands while keys change is signed again (`refresh`): the same size and
root, in the store, by the writer, so that what is shown of an idle log is always signed by the keys that count.

The store says which log grows (`gateway.stores.port`). One that another process has ended is never appended to: the
next group goes to the log after it, if somebody signs for that origin here; until then nothing is recorded.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from gateway.batching import Batching, smooth
from gateway.inbox import Inbox
from gateway.proofs import Proofs
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import ForgedError, HeyanError, LogUnavailableError, OverloadedError
from gateway.protocol.note import Signer, parse_note
from gateway.protocol.reasons import Reason
from gateway.stores.port import Store
from gateway.stores.records import Committed, Entry, Freeze, Head

T = TypeVar("T")

_logger = structlog.get_logger(__name__)

SignersOf = Callable[[str], Sequence[Signer]]
"""The signers that count now, of the log of an origin; ForgedError (KEY_UNKNOWN) if none does. Called by the writer."""

GROUP_LIMIT = 512
"""Entries of one commit, some 0.08 ms on the event loop each: past it a group's latency grows faster than its
throughput."""

QUEUE_LIMIT = 4096
"""Entries that wait for the writer; beyond it callers are told to come back."""


BATCHING = Batching(full=GROUP_LIMIT, longest=0.003, share=0.5)
"""Half a commit more of waiting saves a whole one for whoever comes in it."""


@dataclass(frozen=True, slots=True)
class _Append:
    entry: Entry
    done: asyncio.Future[Committed]


@dataclass(frozen=True, slots=True)
class _Work:
    run: Callable[[], Any]
    done: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Log(Proofs):
    """Appends entries, and proves what is in the logs. `start` before use, `stop` when nothing is under way."""

    def __init__(self, store: Store, origin: str, *signers: Signer) -> None:
        """A log in `store` that `signers` sign, until `use_signers` says who does."""
        super().__init__(store)
        self._origin = origin
        self._signers_of: SignersOf = lambda _origin: signers
        self._inbox: Inbox[_Append | _Work | _Stop] = Inbox(QUEUE_LIMIT)
        self._thread = threading.Thread(target=self._write, name="heyan-log-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing: str | None = None
        self._halted: HeyanError | None = None
        self.on_halt: Callable[[HeyanError], None] = lambda _error: None
        """Told why the log is halted, on whatever thread that was found; other processes must hear of it."""
        self._usual_commit = 0.0

    def start(self) -> None:
        """Start the writer; the running loop is where waiters live."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End after everything queued is committed."""
        if self._thread.is_alive():
            self._inbox.put(_Stop(), urgent=True)
            await asyncio.to_thread(self._thread.join)

    def use_signers(self, signers_of: SignersOf) -> None:
        """Ask `signers_of` for the signers of each checkpoint, from the next group on."""
        self._signers_of = signers_of

    async def refresh(self) -> Head | None:
        """Have the newest checkpoint signed again if other keys sign now than it bears; the head if that was done.

        Returns once it is durable. LogUnavailableError if it cannot be had: the checkpoint before it still stands.
        """
        head = self._store.head()
        if head is None or self._bears(head, self._current_signers(head.origin)):
            return None
        return await self.run(self._sign_again)

    def halt(self, error: HeyanError) -> None:
        """Record, sign and show nothing from now on, not even what is queued: somebody was shown another tree."""
        self._halted = error
        _logger.critical("log_halted", reason=error.reason.value, detail=error.detail)
        self.on_halt(error)

    @property
    def origin(self) -> str:
        """The name of the log."""
        return self._origin

    @property
    def is_halted(self) -> bool:
        """Whether the log records nothing any more."""
        return self._halted is not None

    @property
    def complaint(self) -> str | None:
        """Why the log cannot record, as of its last attempt, or will not any more."""
        return str(self._halted) if self._halted is not None else self._failing

    async def append(self, entry: Entry) -> Committed:
        """Commit one entry; returns once it is durable. OverloadedError or LogUnavailableError otherwise."""
        done: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._enqueue(_Append(entry, done), urgent=False)
        return await done

    async def probe(self) -> None:
        """After a failure: find out whether the store can be written again. LogUnavailableError if it cannot."""
        if self._halted is None and self._failing is not None:
            await self.run(self._store.probe)

    async def run(self, work: Callable[[], T]) -> T:
        """Have the store do something between two commits, in the thread that commits. LogUnavailableError."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(_Work(work, done), urgent=True)
        return await done

    def _enqueue(self, item: _Append | _Work, *, urgent: bool) -> None:
        self._require_running()
        if not self._inbox.put(item, urgent=urgent):
            raise OverloadedError(Reason.OVERLOADED, "log queue", retry_after=1.0)

    def _require_running(self) -> None:
        if self._halted is not None:
            raise LogUnavailableError(self._halted.reason, self._halted.detail)

    # -- the writer's thread --------------------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            group, other = self._gather(busy=len(self._inbox) > 0)  # busy: something waited for the last commit
            if group:
                self._commit(group)
            if isinstance(other, _Work):
                self._do(other)
            if isinstance(other, _Stop):
                return

    def _gather(self, *, busy: bool) -> tuple[list[_Append], _Work | _Stop | None]:
        """The next group, waited for as long as there is none, and what else came behind it, if that ended it."""
        self._inbox.wait(1)
        patience = BATCHING.patience(waiting=len(self._inbox), in_flight=int(busy), exchange=self._usual_commit)
        if patience > 0.0:
            self._inbox.wait(BATCHING.full, patience)
        group: list[_Append] = []
        while len(group) < BATCHING.full and len(self._inbox) > 0:
            item = self._inbox.take()
            if not isinstance(item, _Append):
                return group, item
            group.append(item)
        return group, None

    def _commit(self, group: Sequence[_Append]) -> None:
        began = time.monotonic()
        entries = [item.entry for item in group]
        outcome = self._attempt(lambda: self._store.commit(entries, self._sign, self._on_loop))
        if not isinstance(outcome, HeyanError):
            self._usual_commit = smooth(self._usual_commit, time.monotonic() - began)
        self._release([item.done for item in group], outcome)

    def _on_loop(self, work: Callable[[], T]) -> T:
        """Do the interpreter's part of a commit on the event loop; the disk's part is the writer's.

        Both threads would want the interpreter at each of its statements, and pay for every hand-over: a tenth of a
        loaded gateway's time.
        """
        assert self._loop is not None  # noqa: S101 - start() sets it before the thread runs
        done: Future[T] = Future()
        self._loop.call_soon_threadsafe(_fulfil, done, work)
        return done.result()

    def _do(self, item: _Work) -> None:
        self._release([item.done], self._attempt(lambda: (item.run(),)))

    def _sign_again(self) -> Head | None:
        head = self._store.head()  # perhaps signed by a group since it was asked for
        if head is None or self._bears(head, self._current_signers(head.origin)):
            return None
        return self._store.resign(self._sign)

    def _attempt(self, work: Callable[[], T]) -> T | HeyanError:
        """What the store did, or why it could not."""
        try:
            self._require_running()
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

    def _sign(self, size: int, root: bytes, origin: str | None) -> str:
        self._require_running()  # also if halted during this commit, which then rolls back
        name = self._origin if origin is None else origin
        return sign_checkpoint(Checkpoint(name, size, root), self._current_signers(name))

    def _current_signers(self, origin: str) -> Sequence[Signer]:
        try:
            signers = self._signers_of(origin)
        except ForgedError as error:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, error.detail) from error
        if not signers:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "nobody signs for the log")
        return signers

    def _bears(self, head: Head, signers: Sequence[Signer]) -> bool:
        """Whether a checkpoint bears signatures of all these keys, by their ids: the store is the log's own.

        One more, of a key that has ended since, does no harm, and replicas that hold different keys for a moment do
        not sign against each other.
        """
        borne = {item.key_id for item in parse_note(head.checkpoint.encode()).unverified if item.name == head.origin}
        return borne >= {signer.verifier.key_id for signer in signers}

    def freeze(self, freeze: Freeze) -> tuple[Head, Head]:
        """End the store's log and begin the next, signed as the store's port says; for a log that is not started."""
        return self._store.freeze(freeze, self._sign)

    def head(self, origin: str = "") -> Head:
        """See the base; LogUnavailableError also of a log that is halted: nobody is shown its tree."""
        self._require_running()
        return super().head(origin)

    def prove_committed(self, committed: Committed) -> str:
        """See the base; LogUnavailableError of a log that was halted since, as for `head`."""
        self._require_running()
        return super().prove_committed(committed)


def _fulfil(done: Future[T], work: Callable[[], T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
        done.set_exception(error)


def _tell(waiting: Sequence[asyncio.Future[T]], outcome: Sequence[T] | HeyanError) -> None:
    for position, done in enumerate(waiting):
        if done.done():
            continue
        if isinstance(outcome, HeyanError):
            done.set_exception(outcome)
        else:
            done.set_result(outcome[position])
