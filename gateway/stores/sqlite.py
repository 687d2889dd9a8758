"""The store on SQLite: WAL, synchronous=FULL, one writing connection and one for reads.

Each group of entries is one transaction: entries and nodes of the tree, statements, uses, evidence, requests,
then the row of the log that grows, under a compare-and-swap, with the freshly signed checkpoint. The commit steps, and
what a crash at each leaves behind:

1. BEGIN IMMEDIATE, read the log's row             nothing
2. uses: find what would overspend                 nothing
3. leaves, nodes, statements, requests, deferrals,
   evidence, statistics                            nothing (rolled back)
4. sign the checkpoint, swap the log's row         nothing; a signed checkpoint that nobody has seen
5. COMMIT                                          all, or nothing: the next `commit` reads the row again

Ending a log and beginning the next is one such transaction, with steps 3 and 4 for each of the two.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from gateway.protocol.errors import NotFoundError
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, StatisticsPage
from gateway.stores import (
    sqlite_deferrals,
    sqlite_disputes,
    sqlite_evidence,
    sqlite_leaves,
    sqlite_requests,
    sqlite_shards,
    sqlite_tickets,
)
from gateway.stores.port import Run, here
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
from gateway.stores.sqlite_commit import append
from gateway.stores.sqlite_connection import as_unavailable, connect, short_patience, transaction
from gateway.stores.sqlite_files import OpenedFiles, StoreLock
from gateway.stores.sqlite_schema import migrations
from gateway.stores.sqlite_shards import GrowingTree
from gateway.stores.sqlite_statistics import read_page
from gateway.stores.sqlite_turns import Turns

T = TypeVar("T")


class SqliteStore:
    """A `gateway.stores.port.Store` in one SQLite file, mode 0600."""

    def __init__(self, path: Path) -> None:
        with as_unavailable():
            self._lock = StoreLock(path)
            try:
                path.touch(mode=0o600, exist_ok=True)
                self._turns = Turns(path)
                with self._turns.mine():  # several processes may find a new store, or one of an earlier version
                    self._writer = connect(path)
                    migrations.apply(Database(self._writer))
                self._reader = connect(path)
                self._reader.execute("PRAGMA query_only = ON")
                self._files = OpenedFiles(path)
            except BaseException:
                self._lock.close()
                raise
        self._reading = threading.Lock()
        self._tree = GrowingTree()

    # -- writing --------------------------------------------------------------------------------------------

    def commit(self, entries: Sequence[Entry], sign: SignCheckpoint, run: Run = here) -> Sequence[Committed]:
        """See the port. Any failure forgets what was known of the tree, so that the next commit reads it anew."""
        with self._writing():
            return run(lambda: append(self._writer, self._tree, entries, sign))

    def freeze(self, freeze: Freeze, sign: SignCheckpoint) -> tuple[Head, Head]:
        """See the port."""
        with self._writing():
            return self._tree.freeze(self._writer, *self._tree.look(self._writer), freeze, sign)

    def resign(self, sign: SignCheckpoint) -> Head:
        """See the port. The tree is read and held against its nodes as for a commit, and swapped for itself."""
        with self._writing():
            return self._tree.resign(self._writer, *self._tree.look(self._writer), sign)

    def probe(self) -> None:
        """See the port: looks at the tree as a commit would, and writes the file's header again."""
        with self._writing():
            self._tree.look(self._writer)
            self._writer.execute("PRAGMA user_version = 0")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, once it is this process's turn.

        A failure forgets what was known of the tree, so that the next commit reads it anew.
        """
        try:
            with as_unavailable(), self._turns.mine():
                self._files.require_same()
                with transaction(self._writer):
                    yield
        except BaseException:
            self._tree.forget()
            raise

    # -- reading --------------------------------------------------------------------------------------------

    def version(self) -> int:
        """See the port."""
        row = self._one("PRAGMA data_version")
        return int(row[0]) if row else 0

    def head(self) -> Head | None:
        """See the port."""
        return self.read(sqlite_shards.growing)

    def shards(self) -> Sequence[Head]:
        """See the port."""
        return self.read(sqlite_shards.every)

    def request(self, key: RequestKey) -> StoredRequest | None:
        """See the port."""
        return self.read(lambda reader: sqlite_requests.find(reader, key))

    def uses(self, grant_digest: bytes, authorization: int) -> int:
        """See the port."""
        return self.read(lambda reader: sqlite_requests.spent(reader, grant_digest, authorization))

    def evidence(self, grant_digest: bytes) -> Evidence | None:
        """See the port."""
        return self.read(lambda reader: sqlite_evidence.find(reader, grant_digest))

    def ticket(self, key: TicketKey) -> StoredTicket | None:
        """See the port."""
        return self.read(lambda reader: sqlite_tickets.find(reader, key))

    def tickets_of(self, query_digest: bytes) -> Sequence[StoredTicket]:
        """See the port."""
        return self.read(lambda reader: sqlite_tickets.of_query(reader, query_digest))

    def open_tickets(self, requester: str, after_leaf: int, count: int) -> Sequence[StoredTicket]:
        """See the port."""
        return self.read(lambda reader: sqlite_tickets.open_ones(reader, requester, after_leaf, count))

    def withdrawn_at(self, withdrawal: Withdrawal) -> int | None:
        """See the port."""
        return self.read(lambda reader: self._withdrawn_at(reader, withdrawal))

    def dispute(self, dispute_id: bytes) -> StoredDispute | None:
        """See the port."""
        return self.read(lambda reader: sqlite_disputes.find_dispute(reader, dispute_id))

    def open_disputes(self) -> Mapping[bytes, str]:
        """See the port."""
        return self.read(sqlite_disputes.find_open)

    def registry_version(self) -> int:
        """See the port."""
        row = self._one("SELECT max(version) FROM registries")
        return int(row[0] or 0) if row else 0

    def leaf(self, index: int) -> bytes:
        """See the port."""
        row = self._one("SELECT data FROM leaves WHERE leaf_index = ?", (index,))
        if row is None:
            raise NotFoundError(Reason.NOT_FOUND, "no such leaf")
        return sqlite_leaves.from_row(row[0])

    def leaves(self, start: int, count: int) -> Sequence[bytes]:
        """See the port."""
        query = "SELECT data FROM leaves WHERE leaf_index >= ? ORDER BY leaf_index LIMIT ?"
        return [sqlite_leaves.from_row(data) for (data,) in self._all(query, (start, count))]

    def statistics(self, day: str, after: StatisticKey | None, count: int, shard: int | None = None) -> StatisticsPage:
        """See the port."""
        return self.read(lambda reader: read_page(reader, day, after, count, shard))

    def node(self, level: int, index: int, shard: int = 0) -> bytes:
        """See the port."""
        return self.read(lambda reader: sqlite_shards.read_node(reader, shard, level, index))

    def nodes(self, level: int, start: int, count: int, shard: int = 0) -> Sequence[bytes]:
        """See the port."""
        return self.read(lambda reader: sqlite_shards.read_nodes(reader, shard, level, start, count))

    def leaf_indexes(self, statement_digests: Sequence[bytes]) -> Mapping[bytes, int]:
        """See the port."""
        found = {}
        for digest in statement_digests:
            row = self._one("SELECT leaf_index FROM statements WHERE digest = ?", (digest,))
            if row is not None:
                found[digest] = row[0]
        return found

    def waiting(self, after: RequestKey | None, count: int) -> Sequence[Waiting]:
        """See the port."""
        return self.read(lambda reader: sqlite_deferrals.waiting_after(reader, after, count))

    def deferred_message(self, key: RequestKey) -> bytes | None:
        """See the port."""
        return self.read(lambda reader: sqlite_deferrals.message_of(reader, key))

    def close(self) -> None:
        """See the port."""
        self._reader.close()
        self._writer.close()
        self._turns.close()
        self._lock.close()

    # -- for the modules beside this one ------------------------------------------------------------------------

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work on the connection for reads."""
        with self._reading, as_unavailable():
            return work(self._reader)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work in one durable transaction; called from the thread that commits, or where none does."""
        with self._writing():
            return work(self._writer)

    def checkpoint(self) -> bool:
        """Empty the write-ahead log; False if somebody reads from it just now. From the thread that commits.

        Reads wait meanwhile, and so may an event loop: it does not wait for others as long as a commit does.
        """
        with as_unavailable(), self._reading, short_patience(self._writer):
            (is_busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not is_busy

    def _one(self, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.read(lambda reader: reader.execute(query, values).fetchone())
        return row

    def _all(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        return self.read(lambda reader: reader.execute(query, values).fetchall())

    @staticmethod
    def _withdrawn_at(connection: sqlite3.Connection, withdrawal: Withdrawal) -> int | None:
        row = connection.execute(
            "SELECT leaf_index FROM withdrawals WHERE issuer = ? AND grant_digest = ?",
            (withdrawal.issuer, withdrawal.grant_digest),
        ).fetchone()
        return int(row[0]) if row else None
