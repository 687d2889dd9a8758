"""Connections to SQLite files: how the store is opened, what a transaction is, and what failures are to its users."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason

BUSY_TIMEOUT_MS = 5_000
"""For how long one replica waits for another's commit."""
SHORT_TIMEOUT_MS = 100
"""And for how long a read of this process may wait for others'."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that commits durably (WAL, synchronous=FULL), and only where it is told to."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # a destroyed key must stay on no page
    return connection


STATEMENTS = 512
"""Statements that a connection keeps parsed: those of a group's commit come in several lengths each."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is done inside, or nothing; no other writer, of this process or another, comes between."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_DAMAGE = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
_REMEDY = "the store is damaged; stop the gateway and restore a backup, heyan gateway restore"


class _AsUnavailable:
    """Holds nothing, so that one serves all; a generator's context would cost several times as much as a read."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (sqlite3.Error, OSError)):
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, _told(error), retry_after=1.0) from error


_AS_UNAVAILABLE = _AsUnavailable()


def as_unavailable() -> _AsUnavailable:
    """Every failure of SQLite, or of the file itself, is one thing to the caller: the log cannot record now."""
    return _AS_UNAVAILABLE


def _told(error: sqlite3.Error | OSError) -> str:
    """What failed, by its kind alone: no message of SQLite or of the system is passed on."""
    code = getattr(error, "sqlite_errorname", "")
    return f"{code}: {_REMEDY}" if code in _DAMAGE else type(error).__name__


@contextmanager
def short_patience(connection: sqlite3.Connection) -> Iterator[None]:
    """Wait for other processes only as long as an event loop may."""
    connection.execute(f"PRAGMA busy_timeout = {SHORT_TIMEOUT_MS}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
