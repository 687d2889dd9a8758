"""What an event loop hands to one other thread: many items, and one wake-up for all that come while that is busy."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items in their order. `put` from any thread, the rest from the one that takes them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[T, bool]] = deque()
        self._urgent = 0
        self._wanted = 0
        self._enough = threading.Condition(threading.Lock())

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, *, urgent: bool = False) -> bool:
        """Add an item, and wake who waits if it is enough, or urgent; False, and nothing added, over the limit.

        What is urgent ends any waiting for more, and counts against no limit.
        """
        with self._enough:
            if len(self._items) >= self._limit and not urgent:
                return False
            self._items.append((item, urgent))
            self._urgent += urgent
            if self._wanted and (urgent or len(self._items) >= self._wanted):
                self._wanted = 0
                self._enough.notify()
            return True

    def wait(self, items: int, seconds: float | None = None) -> None:
        """Wait until there are so many, or an urgent one, or time is over."""
        with self._enough:
            if len(self._items) < items and not self._urgent:
                self._wanted = items
                self._enough.wait_for(lambda: not self._wanted, seconds)
                self._wanted = 0

    def take(self) -> T:
        """The next item, which must be there."""
        with self._enough:
            item, urgent = self._items.popleft()
            self._urgent -= urgent
            return item
