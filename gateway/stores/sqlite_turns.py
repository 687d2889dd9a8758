"""Whose turn it is to write: the processes that share a store commit one after another, and none is passed over.

SQLite alone lets whoever asks at the right moment write: those who wait ask again after pauses that grow to 100 ms, so
that a busy process keeps the others out. Here a writer first stands in the doorway (`<store>.next`), where one waits,
and leaves it when the turn (`<store>.turn`) is its own. Whoever has just written and wants to write again finds the
doorway taken, and comes after the one who waits there.

Both are locks of the system, freed when a process ends, however it ends; the files mean nothing and stay. A holder that
stands still, stopped or waiting for its disk, is waited for as long as SQLite would wait for it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason

PATIENCE = 5.0
"""Seconds for which a writer waits for its turn: as long as for SQLite's own locks."""
STEP = 0.0005
"""Seconds between looks whether a lock is free: a fraction of a commit, whose time is a synchronisation of the disk."""


class Turns:
    """One process's place among those that write to a store. From one thread at a time. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._next = _open(path.with_name(path.name + ".next"))
        self._turn = _open(path.with_name(path.name + ".turn"))

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Hold the turn meanwhile; LogUnavailableError if it does not come within PATIENCE. Not to be nested."""
        until = time.monotonic() + PATIENCE
        _take(self._next, until)
        try:
            _take(self._turn, until)
        finally:
            _leave(self._next)
        try:
            yield
        finally:
            _leave(self._turn)

    def close(self) -> None:
        """Let go of both; safe to repeat."""
        for descriptor in (self._next, self._turn):
            if descriptor >= 0:
                os.close(descriptor)
        self._next = self._turn = -1


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _take(descriptor: int, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                detail = "another process holds the store for too long"
                raise LogUnavailableError(Reason.LOG_UNAVAILABLE, detail, retry_after=1.0) from None
            time.sleep(STEP)
        else:
            return


def _leave(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)
