"""Work under way, one piece for each request: whoever asks for the same meanwhile shares it; it outlives them all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from gateway.protocol.errors import ConflictError
from gateway.protocol.reasons import Reason
from gateway.stores.records import RequestKey

T = TypeVar("T")


class UnderWay(Generic[T]):
    """Tasks by request, each with the digest of the query that it carries."""

    def __init__(self) -> None:
        self._tasks: dict[RequestKey, tuple[bytes, asyncio.Task[T]]] = {}

    def running(self, key: RequestKey, digest: bytes) -> asyncio.Task[T] | None:
        """The work on a request, if there is any; ConflictError if that is on another query."""
        found = self._tasks.get(key)
        if found is not None and found[0] != digest:
            raise ConflictError(Reason.REQUEST_ID_CONFLICT)
        return found[1] if found is not None else None

    def begin(
        self, key: RequestKey, digest: bytes, work: Coroutine[Any, Any, T], on_end: Callable[[], None]
    ) -> asyncio.Task[T]:
        """Begin work on a request on which there is none; `on_end` is called when it has ended, however it did."""
        task = asyncio.create_task(work)
        self._tasks[key] = (digest, task)

        def forget(ended: asyncio.Task[T]) -> None:
            del self._tasks[key]
            on_end()
            if not ended.cancelled():
                ended.exception()  # its callers have it, or have gone

        task.add_done_callback(forget)
        return task

    async def drain(self) -> None:
        """Wait for all of it."""
        while self._tasks:
            await asyncio.gather(*(task for _, task in self._tasks.values()), return_exceptions=True)
