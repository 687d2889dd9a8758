"""An auditor's index of a log, in one SQLite file: derived from the leaves, and made anew from them at any time.

    known size → new leaves → rows and pseudonyms → root → held against the signed checkpoint → commit

- A reading is one transaction: it counts only once its leaves have led to the root of a checkpoint that the caller
  verified. What does not hold, or was interrupted, leaves the index as it was.
- The index continues the tree from its own frontier, so a log that was rewritten below the known size leads to
  another root: ForgedError (LOG_FORKED), and the checkpoint that was known stays as the evidence.
- Nothing in it is to be believed by itself: a hit is shown with the leaf and its inclusion proof.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from sqlite_utils import Database

from gateway.audit.leaf_rows import LeafRow, Mark, event_of, marks_of, rows_of
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.merkle import HASH_BYTES, Frontier, leaf_hash
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import MAX_COUNT
from gateway.stores.sqlite_connection import transaction

FORMAT = 1
UNREADABLE = "unreadable"
"""Event of a leaf of a newer contract: indexed by its place alone, and counted."""
_BATCH = 2_000
"""Leaves that are hashed and written together."""

_SCHEMA = """
CREATE TABLE known (format INTEGER NOT NULL, origin TEXT NOT NULL, size INTEGER NOT NULL, frontier BLOB NOT NULL,
    note TEXT NOT NULL) STRICT;
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE leaves (leaf_index INTEGER PRIMARY KEY, time REAL NOT NULL, event INTEGER NOT NULL) STRICT;
CREATE INDEX leaves_by_time ON leaves (time);
CREATE TABLE rows (leaf_index INTEGER NOT NULL, position INTEGER NOT NULL, actor INTEGER NOT NULL,
    department INTEGER NOT NULL, claim INTEGER NOT NULL, region INTEGER NOT NULL, status INTEGER NOT NULL,
    reason INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (leaf_index, position)) STRICT, WITHOUT ROWID;
CREATE TABLE marks (value BLOB NOT NULL, mark TEXT NOT NULL, leaf_index INTEGER NOT NULL,
    PRIMARY KEY (value, mark, leaf_index)) STRICT, WITHOUT ROWID;
"""

_MATCH = """
FROM leaves JOIN rows USING (leaf_index)
WHERE leaves.time >= :start AND leaves.time < :end
    AND (:event IS NULL OR leaves.event = :event)
    AND (:actor IS NULL OR rows.actor = :actor)
    AND (:department IS NULL OR rows.department = :department)
    AND (:status IS NULL OR rows.status = :status)
    AND (:reason IS NULL OR rows.reason = :reason)
    AND (:regions IS NULL OR rows.region IN (SELECT value FROM json_each(:regions)))
    AND (:claims IS NULL OR rows.claim IN (SELECT value FROM json_each(:claims)))
    AND (:leaves IS NULL OR rows.leaf_index IN (SELECT value FROM json_each(:leaves)))
"""
_FIND = "SELECT DISTINCT rows.leaf_index" + _MATCH + "ORDER BY rows.leaf_index LIMIT :limit"
_COUNT = "SELECT count(DISTINCT rows.leaf_index)" + _MATCH
_ROWS = (
    "SELECT leaves.time, leaves.event, actor, department, claim, region, status, reason, count"
    + _MATCH
    + "AND rows.leaf_index = :leaf ORDER BY rows.position"
)
_NEVER = -1
"""Number of a name that no leaf has."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for; an empty field matches everything. Times are seconds since the epoch, `end` not included.

    `region` is a prefix of GB/T 2260 codes, `claim` a name with its version or without; `marks` are pseudonyms of which
    a leaf must bear one.
    """

    start: float | None = None
    end: float | None = None
    event: str = ""
    actor: str = ""
    department: str = ""
    claim: str = ""
    region: str = ""
    status: str = ""
    reason: str = ""
    marks: tuple[tuple[Mark, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A leaf that matches, and those of its rows that do."""

    index: int
    time: float
    event: str
    rows: tuple[LeafRow, ...]


class LogIndex:
    """The index of the log `origin` in the file at `path`, made if there is none. One user at a time."""

    def __init__(self, path: Path, origin: str) -> None:
        self._origin = origin
        try:
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._database = Database(self._connection)
            if "known" not in self._database.table_names():
                self._make()
            kept_format, kept = self._connection.execute("SELECT format, origin FROM known").fetchone()
        except (sqlite3.Error, TypeError):  # no database, or one of something else
            raise _unusable(f"{path} is no index of a log: name another file, or give --rebuild") from None
        if (kept_format, kept) != (FORMAT, origin):
            raise _unusable(f"{path} is of another log or version: name another file, or give --rebuild")
        self._names = {name: number for number, name in self._connection.execute("SELECT id, name FROM names")}

    def _make(self) -> None:
        if self._database.table_names():
            raise TypeError
        with transaction(self._connection):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._connection.execute(statement)
            self._connection.execute("INSERT INTO known VALUES (?, ?, 0, x'', '')", (FORMAT, self._origin))

    @property
    def size(self) -> int:
        """How many leaves are indexed."""
        return int(self._known()[0])

    @property
    def note(self) -> str:
        """The signed checkpoint under which they were read; empty before the first reading."""
        return str(self._known()[2])

    def _known(self) -> tuple[int, bytes, str]:
        row: tuple[int, bytes, str] = self._connection.execute("SELECT size, frontier, note FROM known").fetchone()
        return row

    @contextmanager
    def reading(self, checkpoint: Checkpoint, note: str) -> Iterator[Reading]:
        """A reading up to a checkpoint that the caller has verified: all that is added inside counts, or nothing.

        Raises ForgedError at the end unless exactly the leaves of the checkpoint were added: LOG_FORKED if the log is
        another than it was, LOG_ROLLED_BACK if it is smaller.
        """
        size, frontier, _ = self._known()
        if checkpoint.size < size:
            raise ForgedError(Reason.LOG_ROLLED_BACK, f"the log had {size} leaves and has {checkpoint.size}")
        hashes = tuple(frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES))
        with transaction(self._connection):
            names = dict(self._names)
            added = Reading(self._connection, names, Frontier(size, hashes))
            yield added
            tree = added.finish()
            if tree.size != checkpoint.size or tree.root() != checkpoint.root:
                reason = Reason.LOG_FORKED if size else Reason.PROOF_INVALID
                raise ForgedError(reason, "the leaves are not those of the checkpoint, or not those that were known")
            self._connection.execute(
                "UPDATE known SET size = ?, frontier = ?, note = ?", (tree.size, b"".join(tree.hashes), note)
            )
        self._names = names

    def search(self, wanted: Wanted, limit: int) -> tuple[Hit, ...]:
        """The first hits in the log's order, at most `limit`."""
        values = {**self._values(wanted), "limit": limit}
        found = self._connection.execute(_FIND, values).fetchall()
        return tuple(self._hit(index, values) for (index,) in found)

    def count(self, wanted: Wanted) -> int:
        """How many leaves match."""
        (found,) = self._connection.execute(_COUNT, self._values(wanted)).fetchone()
        return int(found)

    def newest_time(self) -> float:
        """The latest time that a leaf bears, in seconds since the epoch; 0.0 for none."""
        return float(self._connection.execute("SELECT coalesce(max(time), 0.0) FROM leaves").fetchone()[0])

    def unreadable(self) -> int:
        """How many leaves could not be read."""
        return self.count(Wanted(event=UNREADABLE))

    def _hit(self, index: int, values: Mapping[str, object]) -> Hit:
        rows = self._connection.execute(_ROWS, {**values, "leaf": index}).fetchall()
        names = {number: name for name, number in self._names.items()}
        time, event, *_ = rows[0]
        said = tuple(
            LeafRow(names[actor], names[department], names[claim], names[region], names[status], names[reason], count)
            for _, _, actor, department, claim, region, status, reason, count in rows
        )
        return Hit(index, time, names[event], said)

    def _values(self, wanted: Wanted) -> dict[str, object]:
        """The values of the conditions: NULL for a field that matches everything."""
        claim = wanted.claim if "@" in wanted.claim else f"{wanted.claim}@"
        return {
            "start": -inf if wanted.start is None else wanted.start,
            "end": inf if wanted.end is None else wanted.end,
            "event": self._number(wanted.event),
            "actor": self._number(wanted.actor),
            "department": self._number(wanted.department),
            "status": self._number(wanted.status),
            "reason": self._number(wanted.reason),
            "regions": self._beginning(wanted.region) if wanted.region else None,
            "claims": self._beginning(claim) if wanted.claim else None,
            "leaves": self._marked(wanted.marks) if wanted.marks else None,
        }

    def _number(self, name: str) -> int | None:
        return self._names.get(name, _NEVER) if name else None

    def _beginning(self, prefix: str) -> str:
        return json.dumps([number for name, number in self._names.items() if name.startswith(prefix)])

    def _marked(self, marks: Iterable[tuple[Mark, bytes]]) -> str:
        found: set[int] = set()
        for mark, value in marks:
            rows = self._connection.execute(
                "SELECT leaf_index FROM marks WHERE value = ? AND mark = ?", (value, mark.value)
            )
            found.update(index for (index,) in rows)
        return json.dumps(sorted(found))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class Reading:
    """New leaves on their way into the index."""

    def __init__(self, connection: sqlite3.Connection, names: dict[str, int], frontier: Frontier) -> None:
        self._connection = connection
        self._names = names
        self._frontier = frontier
        self._waiting: list[bytes] = []

    @property
    def size(self) -> int:
        """How many leaves the tree has with those added so far."""
        return self._frontier.size + len(self._waiting)

    def add(self, leaf: bytes) -> None:
        """The next leaf."""
        self._waiting.append(leaf)
        if len(self._waiting) >= _BATCH:
            self.finish()

    def finish(self) -> Frontier:
        """Write what waits; the tree with all of it."""
        first = self._frontier.size
        self._frontier, _ = self._frontier.append([leaf_hash(data) for data in self._waiting])
        leaves, rows, marks = [], [], []
        for index, data in enumerate(self._waiting, first):
            try:
                leaf = read_leaf(data)
                said = rows_of(leaf)
            except MalformedError:
                leaves.append((index, 0.0, self._name(UNREADABLE)))
                rows.append(self._row(index, 0, LeafRow()))
                continue
            leaves.append((index, log_time(leaf), self._name(event_of(leaf))))
            rows += [self._row(index, position, row) for position, row in enumerate(said)]
            marks += [(value, mark.value, index) for mark, value in marks_of(leaf)]
        self._waiting = []
        self._connection.executemany("INSERT INTO leaves VALUES (?, ?, ?)", leaves)
        self._connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._connection.executemany("INSERT INTO marks VALUES (?, ?, ?) ON CONFLICT DO NOTHING", marks)
        return self._frontier

    def _row(self, index: int, position: int, row: LeafRow) -> tuple[int, ...]:
        named = (row.actor, row.department, row.claim, row.region, row.status, row.reason)
        return (index, position, *map(self._name, named), min(row.count, MAX_COUNT))

    def _name(self, name: str) -> int:
        """The number of a name: a log has few, again and again."""
        number = self._names.get(name)
        if number is None:
            number = self._names[name] = len(self._names) + 1
            self._connection.execute("INSERT INTO names VALUES (?, ?)", (number, name))
        return number


def _unusable(description: str) -> MalformedError:
    return MalformedError.at("--index", description, Reason.CONFIGURATION_INVALID)
