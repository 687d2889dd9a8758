"""Calls of a device that may hang: made one after another beside the caller, and waited for no longer than is borne.

A call into a library cannot be ended from outside. Whoever waited is told that it does not answer, and so is everybody
after him at once, until it does: an event loop is held up once, and not for as long as the device is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class OneByOne:
    """Makes calls in one thread of its own, which a call that hangs does not keep the process from ending."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._hangs = False
        threading.Thread(target=self._work, name="device", daemon=True).start()

    def call(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises; TimeoutError if it, or one before it, does not come to an end."""
        if self._hangs:
            raise TimeoutError
        future: Future[T] = Future()
        self._calls.put((future, work))
        wait([future], self._patience)
        if not future.done():
            if future.cancel():  # it was not begun: another one hangs
                raise TimeoutError
            self._hangs = not future.done()
            if self._hangs:
                raise TimeoutError
        return future.result()

    def _work(self) -> None:
        while True:
            future, work = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)
            finally:
                self._hangs = False
            del future, work  # what they hold may be a key
