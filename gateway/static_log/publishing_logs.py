"""Publishing every log of a store, each into a folder of its number: those that ended once, then never again.

A number that is published and that the store does not have was begun by a store that has gone: going on from this one
would begin it a second time. That is a rolled-back store (LOG_ROLLED_BACK), as is one that is behind what was published
of a log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.protocol.errors import ForgedError, LogUnavailableError
from gateway.protocol.merkle import EMPTY_ROOT
from gateway.protocol.reasons import Reason
from gateway.static_log.folder import Disk, PublishedFolder, published_numbers
from gateway.static_log.publishing import HeadReader, Publisher
from gateway.stores.port import Store
from gateway.stores.records import Head

HeadChooser = Callable[[str], Head | None]
"""The head to publish of the log of an origin; None for its newest. LogUnavailableError while there is nothing."""


class LogsPublisher:
    """Publishes the logs of `store` below `published`. Call `resume` once, then `publish`, from one thread.

    `origin` is that of the first log, where the store has none yet; `head` says what of each log is to be shown, by its
    origin, as that of `Publisher` does; None where it does not choose.
    """

    def __init__(
        self,
        *,
        store: Store,
        published: Path,
        origin: str,
        head: HeadChooser | None,
        clock: Callable[[], float],
        disk: Disk | None = None,
    ) -> None:
        self._store = store
        self._published = published
        self._origin = origin
        self._head = head
        self._clock = clock
        self.disk = disk
        self._publishers: list[Publisher] = []

    @property
    def size(self) -> int:
        """Leaves that are published of the log that grows, as of the last call."""
        return self._publishers[-1].size if self._publishers else 0

    def resume(self) -> None:
        """Take up what was published, and hold the store against it; raises what `Publisher.resume` raises."""
        logs = self._logs()
        stray = set(published_numbers(self._published)) - {log.number for log in logs}
        if stray:
            detail = f"the log {self._published / str(max(stray))} was published, and the store has not begun it"
            raise ForgedError(Reason.LOG_ROLLED_BACK, detail)
        self._follow(logs)

    def publish(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Publish what is new of every log, older ones first; whether there was any. Raises as `Publisher.publish`."""
        logs = self._logs()
        self._follow(logs)
        is_news = False
        for log, publisher in zip(logs, self._publishers, strict=True):
            if log.ended and publisher.size == log.size and self._head is None:
                continue  # it never changes again; where somebody chooses, it may yet be cosigned
            is_news |= publisher.publish(interrupted)
            if log.ended and publisher.size != log.size:
                break  # nobody is shown a log before the end of the one that it goes on from
        return is_news

    def _logs(self) -> Sequence[Head]:
        return self._store.shards() or [Head(0, EMPTY_ROOT, "", self._origin)]

    def _follow(self, logs: Sequence[Head]) -> None:
        """Take up logs that have begun since."""
        for log in logs[len(self._publishers) :]:
            alone = LogOfStore(self._store, log)
            publisher = Publisher(
                store=alone,
                folder=PublishedFolder(self._published / str(log.number), self.disk),
                origin=log.origin,
                head=self._shown_of(alone, log.origin),
                clock=self._clock,
            )
            publisher.resume()
            self._publishers.append(publisher)

    def _shown_of(self, alone: LogOfStore, origin: str) -> HeadReader:
        def shown() -> Head | None:
            try:
                chosen = self._head(origin) if self._head is not None else None
            except LogUnavailableError:
                return None  # there is nothing to show yet
            return chosen if chosen is not None else alone.head()

        return shown


class LogOfStore:
    """What publishing needs of one log of a store, by its own indexes; see `publishing.TreeReader`."""

    def __init__(self, store: Store, log: Head) -> None:
        self._store = store
        self._log = log

    def head(self) -> Head | None:
        """Its newest durable tree, or None if it has not begun."""
        return next((log for log in self._store.shards() if log.number == self._log.number), None)

    def node(self, level: int, index: int) -> bytes:
        """See the port."""
        return self._store.node(level, index, self._log.number)

    def nodes(self, level: int, start: int, count: int) -> Sequence[bytes]:
        """See the port."""
        return self._store.nodes(level, start, count, self._log.number)

    def leaves(self, start: int, count: int) -> Sequence[bytes]:
        """Up to `count` of its leaves; a publisher asks for none past a head of this log's."""
        return self._store.leaves(self._log.first + start, count)
