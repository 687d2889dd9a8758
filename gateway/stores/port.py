"""The store that the gateway needs: a log under a compare-and-swap, and what is committed together with it.

Durability contract, held by every adapter and by one contract suite:

- `commit` is one transaction: all entries or none. When it returns, everything is durable; when it raises,
  the caller does not know, and must ask again (`head`, `request`) before it trusts anything.
- The tree only grows, under a compare-and-swap on its size and root. The checkpoint is signed while the swap
  is held, and nobody sees it before it is durable. A store that went backwards is refused for good.
- A use of an authorization is counted once for each request, and never beyond its `max_uses`; a request_id
  stands for one query; a withdrawn grant releases nothing; one request asks after a correction. An entry that breaks
  one of these is recorded with its `withheld` leaf instead, and stores no request.
- A request's leaves follow one another: an entry that was made without knowing the newest is not committed.
- A withdrawal and a registry version are recorded once, whichever of several processes comes first.
- What a request waits for changes in the transaction of its leaf, and in no other.
- What was erased is not resurrected: an entry that rests on it is not committed. See `gateway.stores.keeping`.
- An offline ticket is opened once, by the request's newest leaf, and resolved once. An entry that comes too late is not
  committed at all.
- Reads see only what is durable.
- Leaves stand at positions that never begin again; a log that ends (`freeze`) is followed by another in the same
  store, whose leaves have the next positions. One log grows at any time; one that has ended never does again, whoever
  writes, from its end on. What is kept beside the leaves (uses, requests, withdrawals …) is kept across logs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from gateway.protocol.statistics import StatisticKey, StatisticsPage
from gateway.stores.records import (
    Committed,
    Entry,
    Evidence,
    Freeze,
    Head,
    RequestKey,
    SignCheckpoint,
    StoredDispute,
    StoredRequest,
    StoredTicket,
    TicketKey,
    Waiting,
    Withdrawal,
)

T = TypeVar("T")


class Run(Protocol):
    """Does some work, wherever its maker wants it done, and returns or raises what it does."""

    def __call__(self, work: Callable[[], T], /) -> T:
        """What `work` returns."""
        ...


def here(work: Callable[[], T]) -> T:
    """A `Run` that does the work at once."""
    return work()


class Store(Protocol):
    """The gateway's store. `commit` and `probe` are called from one thread at a time, reads from any."""

    def head(self) -> Head | None:
        """The newest durable tree of the log that grows, or None in a new store."""
        ...

    def shards(self) -> Sequence[Head]:
        """Every log, in the order in which they grew; all but the last have ended."""
        ...

    def commit(self, entries: Sequence[Entry], sign: SignCheckpoint, run: Run = here) -> Sequence[Committed]:
        """Commit all entries in one durable transaction; LogUnavailableError if that cannot be had.

        What is computed between the transaction's beginning and its end is done by `run`, perhaps on another thread.
        """
        ...

    def resign(self, sign: SignCheckpoint) -> Head:
        """Sign the checkpoint of the newest tree again, durably: the same size and root, under the compare-and-swap.

        For a log whose keys change while nothing is appended. LogUnavailableError if that cannot be had, or there is no
        tree yet; the checkpoint before it then stands, or this one does: either is of the same tree.
        """
        ...

    def freeze(self, freeze: Freeze, sign: SignCheckpoint) -> tuple[Head, Head]:
        """End the log that grows and begin the next, in one durable transaction; their heads.

        ConflictError (LOG_ENDED) if another log grows, or the next origin was used before; otherwise as `commit`.
        """
        ...

    def probe(self) -> None:
        """Write a little, durably, and change nothing; LogUnavailableError if the store cannot be written."""
        ...

    def version(self) -> int:
        """A number that is another one whenever anything was committed since it was asked for, by whatever process."""
        ...

    def request(self, key: RequestKey) -> StoredRequest | None:
        """A stored request."""
        ...

    def uses(self, grant_digest: bytes, authorization: int) -> int:
        """How often an authorization is spent."""
        ...

    def evidence(self, grant_digest: bytes) -> Evidence | None:
        """A grant's evidence."""
        ...

    def ticket(self, key: TicketKey) -> StoredTicket | None:
        """A stored offline ticket."""
        ...

    def tickets_of(self, query_digest: bytes) -> Sequence[StoredTicket]:
        """The offline tickets of a query, in the order of the leaves that record their opening."""
        ...

    def open_tickets(self, requester: str, after_leaf: int, count: int) -> Sequence[StoredTicket]:
        """Up to `count` tickets without a result, of those opened by leaves after `after_leaf`, in that order."""
        ...

    def withdrawn_at(self, withdrawal: Withdrawal) -> int | None:
        """Index of the leaf that records this withdrawal, or None if it was not reported."""
        ...

    def dispute(self, dispute_id: bytes) -> StoredDispute | None:
        """A dispute, with what became of it."""
        ...

    def open_disputes(self) -> Mapping[bytes, str]:
        """The departments (SPIFFE IDs) of all disputes that are not resolved, by id, oldest first."""
        ...

    def registry_version(self) -> int:
        """The newest registry version whose adoption is logged; 0 if none is."""
        ...

    def leaf(self, index: int) -> bytes:
        """The leaf at a position; NotFoundError if there is none yet."""
        ...

    def leaves(self, start: int, count: int) -> Sequence[bytes]:
        """Up to `count` leaves from the position `start` on, of whatever logs."""
        ...

    def node(self, level: int, index: int, shard: int = 0) -> bytes:
        """A complete node of the tree of the log of that number; LogUnavailableError if the store has lost it."""
        ...

    def nodes(self, level: int, start: int, count: int, shard: int = 0) -> Sequence[bytes]:
        """Up to `count` complete nodes of a level of such a tree, from index `start` on, for a tile."""
        ...

    def statistics(self, day: str, after: StatisticKey | None, count: int, shard: int | None = None) -> StatisticsPage:
        """Up to `count` rows of a day (YYYY-MM-DD), from the first on or after a row, all as of one moment.

        They count the leaves of one log, by its number; without one, of the log that grows.
        """
        ...

    def leaf_indexes(self, statement_digests: Sequence[bytes]) -> Mapping[bytes, int]:
        """Which of these statements are logged, and at which position: the one in the newest log that has it."""
        ...

    def waiting(self, after: RequestKey | None, count: int) -> Sequence[Waiting]:
        """Up to `count` requests that wait for departments, in an order of their keys, from the one after `after`."""
        ...

    def deferred_message(self, key: RequestKey) -> bytes | None:
        """The kept message of a request that waits, as it was encrypted; None if it waits for nothing (any more)."""
        ...

    def close(self) -> None:
        """Close; nothing may be under way."""
        ...
