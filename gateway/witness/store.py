"""What a witness remembers: of each log the newest checkpoint that it cosigned. SQLite, WAL, synchronous=FULL.

The steps of `advance`, and what a crash, a kill or a failing disk at each leaves behind:

1. BEGIN IMMEDIATE: no other writer, of this process or another, until the end     nothing
2. read the log's row, decide what it becomes, sign                               nothing; a cosignature nobody saw
3. write the row where it still has the size that was read                        nothing (rolled back)
4. COMMIT                                                                          all, or nothing
5. only now is the cosignature handed out                                          the row, and no answer

So what a witness said is never newer than what it remembers: after a lost answer the log is told the size and asks
again, and the same checkpoint is cosigned again. A file that is replaced or put back while the process runs is noticed,
and nothing is cosigned by it. A database put back to an old copy between two starts cannot be told from a new witness:
then only the other witnesses, and the monitors that read this one, know better (docs/adr/0024).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason
from gateway.stores.sqlite_connection import as_unavailable, connect, transaction
from gateway.stores.sqlite_files import OpenedFiles

_SCHEMA = """
CREATE TABLE IF NOT EXISTS heads (
    origin TEXT PRIMARY KEY, digest TEXT UNIQUE NOT NULL,
    size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL, note TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS forks (
    origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (origin, size, root)
) STRICT;
"""
MAX_FORKS = 100
"""Rows of evidence against one log: one convicts it, and nobody shall fill the disk with more."""


@dataclass(frozen=True, slots=True)
class Held:
    """The newest cosigned checkpoint of a log: its tree, when it was cosigned last (whole seconds), and the note.

    The note bears the log's signatures that were verified and the witness's own cosignatures, and no others.
    """

    origin: str
    size: int
    root: bytes
    time: int
    note: str


@dataclass(frozen=True, slots=True)
class Fork:
    """A checkpoint that the log signed too, of a size that the witness holds with another root: evidence."""

    size: int
    root: bytes
    note: str


class WitnessStore:
    """One SQLite file, mode 0600. Safe from any thread; two processes may share the file."""

    def __init__(self, path: Path) -> None:
        with as_unavailable():
            path.touch(mode=0o600, exist_ok=True)
            self._connection = connect(path)
            self._connection.executescript(_SCHEMA)
            self._files = OpenedFiles(path)
        self._highest: dict[str, int] = {}
        self._lock = threading.Lock()

    def advance(self, origin: str, decide: Callable[[Held | None], Held]) -> Held:
        """What `decide` makes of what is held of a log; durable when this returns.

        `decide` may raise: then nothing changes. It is called while no other writer can move the row, and returns what
        it was given if there is nothing to write. LogUnavailableError if the file cannot be written; what was decided
        may then be durable all the same, and has been told to nobody.
        """
        with self._lock, as_unavailable(), transaction(self._connection):
            self._files.require_same()
            held = self._held("origin", origin)
            if (held.size if held is not None else 0) < self._highest.get(origin, 0):
                raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the file went back behind what was cosigned")
            decided = decide(held)
            if decided is not held:
                self._write(held, decided)
        self._highest[origin] = decided.size
        return decided

    def newest(self) -> Sequence[Held]:
        """What is held of every log, by origin."""
        with self._lock, as_unavailable():
            rows = self._connection.execute("SELECT origin, size, root, time, note FROM heads ORDER BY origin")
            return [Held(*row) for row in rows]

    def by_digest(self, digest: str) -> Held | None:
        """What is held of the log whose origin has this SHA-256 (64 lowercase hex digits)."""
        with self._lock, as_unavailable():
            return self._held("digest", digest)

    def keep_fork(self, origin: str, fork: Fork) -> None:
        """Keep evidence against a log, once, and up to MAX_FORKS."""
        with self._lock, as_unavailable(), transaction(self._connection):
            self._connection.execute(
                "INSERT OR IGNORE INTO forks SELECT ?, ?, ?, ? WHERE (SELECT count(*) FROM forks WHERE origin = ?) < ?",
                (origin, fork.size, fork.root, fork.note, origin, MAX_FORKS),
            )

    def forks(self, origin: str) -> Sequence[Fork]:
        """The evidence kept against a log."""
        with self._lock, as_unavailable():
            query = "SELECT size, root, note FROM forks WHERE origin = ? ORDER BY size"
            rows = self._connection.execute(query, (origin,))
            return [Fork(*row) for row in rows]

    def probe(self) -> None:
        """Write a little, durably, and change nothing; LogUnavailableError if the file cannot be written."""
        with self._lock, as_unavailable(), transaction(self._connection):
            self._connection.execute("PRAGMA user_version = 0")

    def close(self) -> None:
        """Close; nothing may be under way."""
        self._connection.close()

    def _held(self, column: str, value: str) -> Held | None:
        query = f"SELECT origin, size, root, time, note FROM heads WHERE {column} = ?"  # noqa: S608 - a name of ours
        row = self._connection.execute(query, (value,)).fetchone()
        return Held(*row) if row is not None else None

    def _write(self, old: Held | None, new: Held) -> None:
        values = (new.size, new.root, new.time, new.note)
        if old is None:
            changed = self._connection.execute(
                "INSERT INTO heads (origin, digest, size, root, time, note) VALUES (?, ?, ?, ?, ?, ?)",
                (new.origin, sha256(new.origin.encode()).hexdigest(), *values),
            ).rowcount
        else:
            # The lock of step 1 keeps others out; this holds even where a file system does not.
            changed = self._connection.execute(
                "UPDATE heads SET size = ?, root = ?, time = ?, note = ? WHERE origin = ? AND size = ? AND root = ?",
                (*values, new.origin, old.size, old.root),
            ).rowcount
        if changed != 1:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "another writer moved the log's row")
