"""A store that is being restored: leaves of its own log are appended to it as they are, under the checkpoint they had.

It is a copy that nobody else has open and nobody has seen. What is derived from a leaf is derived by the code that a
commit uses. It signs nothing: whoever brings the leaves has verified them against the checkpoint that he brings.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from gateway.protocol.errors import ForgedError
from gateway.protocol.merkle import EMPTY_ROOT, Frontier, leaf_hash
from gateway.protocol.reasons import Reason
from gateway.stores import sqlite_keeping, sqlite_shards
from gateway.stores.keeping import HeldKey
from gateway.stores.records import Entry, Erasure, Head, Withdrawal
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_commit import write
from gateway.stores.sqlite_group import Group
from gateway.stores.sqlite_keeping import SqliteKeeping


class RestoredStore(SqliteStore):
    """See the module. Not for serving."""

    def bring_back(self, entries: Sequence[Entry], note: str, *, ended: bool = False) -> Head:
        """Append the next leaves of the log that `note` names in its first line, and keep `note` as its checkpoint.

        `ended` says that the last of them ends that log. If the store's last log has ended, the next one begins.
        """
        with self._writing():
            old, frontier = self._next(self._writer)
            group = Group(self._writer, entries)
            for position, entry in enumerate(entries, start=old.end):
                write(self._writer, group, entry, position)
            group.flush()
            hashes = [leaf_hash(entry.leaf) for entry in entries]
            return self._tree.grow(self._writer, old, frontier, hashes, lambda *_: note, ended=ended)

    def keep_withdrawals(self, withdrawals: Mapping[Withdrawal, int]) -> None:
        """Withdrawals that leaves record, by the position of the leaf."""
        with self._writing():
            self._writer.executemany(
                "INSERT INTO withdrawals VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(item.issuer, item.grant_digest, position) for item, position in withdrawals.items()],
            )

    def held_keys(self, after: int, count: int) -> Sequence[HeldKey]:
        """Up to `count` wrapped evidence keys at positions after `after`, in their order."""
        return SqliteKeeping(self).held_keys(after, count)

    def erase(self, grants: Mapping[bytes, float]) -> None:
        """Destroy the evidence keys of held grants; with each stands until when it is remembered that it was erased."""
        with self._writing():
            sqlite_keeping.erase(self._writer, Erasure(grants))

    def _next(self, connection: sqlite3.Connection) -> tuple[Head, Frontier]:
        """The log to append to: the one that grows, else a new one after the last."""
        if sqlite_shards.growing(connection) is not None:
            return self._tree.look(connection)
        ended = sqlite_shards.every(connection)
        if not ended:
            raise ForgedError(Reason.BACKUP_INVALID, "it has no log")
        return Head(0, EMPTY_ROOT, "", "", ended[-1].end, ended[-1].number + 1), Frontier()


Unwrap = Callable[[bytes, bytes], bytes]
"""The evidence key of a wrapped key and its grant's digest."""
