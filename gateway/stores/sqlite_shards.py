"""The trees of the SQLite store: one for each log, of which the last grows. Functions on its connections.

The rows of an ended log are guarded by triggers (`gateway.stores.sqlite_schema`): no process changes them, whatever it
remembers. `GrowingTree` is what the writer remembers between commits, to append without reading the tree again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from gateway.protocol.errors import ConflictError, LogUnavailableError, NotFoundError
from gateway.protocol.merkle import EMPTY_ROOT, Frontier, frontier_nodes, leaf_hash
from gateway.protocol.reasons import Reason
from gateway.stores.records import Freeze, Head, SignCheckpoint
from gateway.stores.sqlite_leaves import to_row
from gateway.stores.sqlite_rows import insert

_COLUMNS = "size, root, checkpoint, origin, first_position, number, ended"
_LEVELS = 64
"""Levels of one tree, and more than any has: where the nodes of the next begin."""


def growing(connection: sqlite3.Connection) -> Head | None:
    """The head of the log that grows; None in a new store."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM shards WHERE ended = 0").fetchone()  # noqa: S608 - a constant
    return _head(row) if row else None


def every(connection: sqlite3.Connection) -> list[Head]:
    """The heads of all logs, in their order."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM shards ORDER BY number")  # noqa: S608 - a constant
    return [_head(row) for row in rows]


def read_node(connection: sqlite3.Connection, shard: int, level: int, index: int) -> bytes:
    """A complete node of a log's tree; LogUnavailableError if it is lost."""
    row = connection.execute(
        "SELECT hash FROM nodes WHERE level = ? AND node_index = ?", (_LEVELS * shard + level, index)
    ).fetchone()
    if row is None:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the store has lost a node of the tree")
    node: bytes = row[0]
    return node


def read_nodes(connection: sqlite3.Connection, shard: int, level: int, start: int, count: int) -> list[bytes]:
    """Up to `count` complete nodes of a level of a log's tree, from an index on."""
    rows = connection.execute(
        "SELECT hash FROM nodes WHERE level = ? AND node_index BETWEEN ? AND ? ORDER BY node_index",
        (_LEVELS * shard + level, start, start + count - 1),
    )
    return [node for (node,) in rows]


class GrowingTree:
    """The tree that grows, as its writer knows it. Every method is called within the commit's transaction."""

    def __init__(self) -> None:
        self._frontier: Frontier | None = None
        self._number = 0
        self._highest = 0

    def forget(self) -> None:
        """After a failure: read the tree anew."""
        self._frontier = None

    def look(self, connection: sqlite3.Connection) -> tuple[Head, Frontier]:
        """The log that grows, as the database has it now, and its tree; an empty head without a checkpoint if none.

        LogUnavailableError if the store is smaller than it ever was, or does not fit its root.
        """
        head = growing(connection) or Head(0, EMPTY_ROOT, "")
        if self._frontier is None or (self._number, self._frontier.size) != (head.number, head.size):
            hashes = [read_node(connection, head.number, *place) for place in frontier_nodes(head.size)]
            self._frontier, self._number = Frontier(head.size, tuple(hashes)), head.number
        if head.end < self._highest or self._frontier.root() != head.root:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the store went backwards or does not fit its root")
        self._highest = head.end
        return head, self._frontier

    def grow(
        self,
        connection: sqlite3.Connection,
        old: Head,
        frontier: Frontier,
        hashes: Sequence[bytes],
        sign: SignCheckpoint,
        *,
        ended: bool = False,
    ) -> Head:
        """Append leaves, stored already, by their hashes to what `look` gave: nodes, checkpoint, and the log's row."""
        grown, nodes = frontier.append(hashes)
        base = _LEVELS * old.number
        insert(connection, "nodes", [(base + level, index, node) for level, index, node in nodes])
        root = grown.root()
        note = sign(grown.size, root, old.origin or None)
        origin, _, _ = note.partition("\n")
        if old.origin not in ("", origin):
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "signed as another log than the one that grows")
        new = replace(old, size=grown.size, root=root, checkpoint=note, origin=origin, ended=ended)
        _swap(connection, old, new)
        self._frontier, self._number = grown, new.number
        return new

    def resign(self, connection: sqlite3.Connection, old: Head, frontier: Frontier, sign: SignCheckpoint) -> Head:
        """Sign the checkpoint of what `look` gave again; see the port."""
        if old.size == 0:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the log has no leaf yet")
        return self.grow(connection, old, frontier, (), sign)

    def freeze(
        self, connection: sqlite3.Connection, old: Head, frontier: Frontier, freeze: Freeze, sign: SignCheckpoint
    ) -> tuple[Head, Head]:
        """End the log that grows with its last leaf, and begin the next with its first; see the port."""
        if old.size == 0:
            raise NotFoundError(Reason.NOT_FOUND, "the store has no log")
        if old.origin != freeze.origin:
            raise ConflictError(Reason.LOG_ENDED, f"the log that grows is {old.origin}")
        if any(head.origin == freeze.next_origin for head in every(connection)):
            raise ConflictError(Reason.LOG_ENDED, f"{freeze.next_origin} was a log of this store before")
        insert_leaf(connection, old.end, freeze.last_leaf)
        final = self.grow(connection, old, frontier, [leaf_hash(freeze.last_leaf)], sign, ended=True)
        first_leaf = freeze.first_leaf(final)
        insert_leaf(connection, final.end, first_leaf)
        begun = Head(0, EMPTY_ROOT, "", freeze.next_origin, final.end, final.number + 1)
        return final, self.grow(connection, begun, Frontier(), [leaf_hash(first_leaf)], sign)


def insert_leaf(connection: sqlite3.Connection, position: int, leaf: bytes) -> None:
    """Store a leaf at its position."""
    connection.execute("INSERT INTO leaves VALUES (?, ?)", (position, to_row(leaf)))


def _swap(connection: sqlite3.Connection, old: Head, new: Head) -> None:
    """Move the log's row from the old size and root to the new head, or fail; a log that begins gets its row."""
    if old.size == 0:
        changed = connection.execute(
            "INSERT INTO shards SELECT ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM shards WHERE ended = 0)",
            (new.number, new.origin, new.first, new.size, new.root, new.checkpoint, int(new.ended)),
        ).rowcount
    else:
        changed = connection.execute(
            "UPDATE shards SET size = ?, root = ?, checkpoint = ?, ended = ?"
            " WHERE number = ? AND ended = 0 AND size = ? AND root = ?",
            (new.size, new.root, new.checkpoint, int(new.ended), old.number, old.size, old.root),
        ).rowcount
    if changed != 1:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "another writer moved the tree")


def _head(row: tuple[int, bytes, str, str, int, int, int]) -> Head:
    size, root, checkpoint, origin, first, number, ended = row
    return Head(size, root, checkpoint, origin, first, number, bool(ended))
