"""The files of a SQLite store: who may use them at once, and whether they are still the ones that were opened.

`<store>.lock` is held shared by whoever has the store open (replicas of a gateway, commands, a backup), and alone by a
restore, which puts another store in its place. The system frees it when a process ends, however it ends; the file
itself means nothing and stays.

SQLite goes on writing to a file that was renamed or replaced behind its back: what it then commits is lost with the
process. So the file under the store's name, and its write-ahead log, must be those that were opened.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason

WAL_SUFFIX = "-wal"
SUFFIXES = ("", WAL_SUFFIX, "-shm")
"""Of the names of a store's files, the database first."""


class StoreLock:
    """A hold on a store, until it is closed or the process ends. `alone` is a restore's."""

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        """Take the hold; LogUnavailableError if others have the store open, or somebody restores it. Raises OSError."""
        lock = path.with_name(path.name + ".lock")
        self._descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            who = "is in use: stop the gateway, and wait for a backup" if alone else "is being restored"
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, f"{path} {who}", retry_after=1.0) from None

    def close(self) -> None:
        """Let go; safe to repeat."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def held(path: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold a store meanwhile; raises what `StoreLock` raises."""
    lock = StoreLock(path, alone=alone)
    try:
        yield
    finally:
        lock.close()


class OpenedFiles:
    """The files of a store as they were when it was opened."""

    def __init__(self, path: Path) -> None:
        self._paths = (path, path.with_name(path.name + WAL_SUFFIX))
        self._opened = self._look()

    def require_same(self) -> None:
        """LogUnavailableError if another file stands in the place of one: microseconds, before each commit."""
        if self._look() != self._opened:
            detail = "the store's file was replaced while it was open: stop the process, and look who did"
            raise LogUnavailableError(Reason.LOG_ROLLED_BACK, detail)

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_identity(path) for path in self._paths)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
