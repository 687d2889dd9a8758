"""Who leads: the one of several processes on a store that holds `<store>.lead`.

The lock is the system's, and freed when the process that holds it ends, however it ends: within LOOK seconds another
one leads. Nobody gives it up before its end, so that what has begun because this one leads is never done by two.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

LOOK = 0.25
"""Seconds between looks whether nobody leads."""
SUFFIX = ".lead"


class LeadLock:
    """A process's candidacy. `lead` may be awaited by several tasks; raises OSError if the file cannot be opened."""

    def __init__(self, store: Path) -> None:
        path = store.with_name(store.name + SUFFIX)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    async def lead(self) -> None:
        """Return once this process leads."""
        while not self._take():  # noqa: ASYNC110 - the system tells nobody that a lock is free
            await asyncio.sleep(LOOK)

    def close(self) -> None:
        """Let another one lead."""
        os.close(self._descriptor)

    def _take(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # again, where it is held: nothing changes
        except BlockingIOError:
            return False
        return True
