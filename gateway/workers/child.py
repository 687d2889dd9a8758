"""One worker as its supervisor knows it: a process, and the line to it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from itertools import count

import msgspec
import structlog

from gateway.workers.wire import Ask, Begin, Line, Message, Serving, Told

_log = structlog.get_logger(__name__)


OnMessage = Callable[["Child", Message], None]
"""Gets what a worker says and does not answer to an ask."""


class Child:
    """A worker that was started."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, line: Line, on_message: OnMessage) -> None:
        self.number = number
        self.serving = asyncio.Event()
        """Set once it listens."""
        self.heard = asyncio.get_running_loop().time()
        """When it last said something, by the event loop's clock."""
        self._process = process
        self._line = line
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Told]] = {}
        self._on_message = on_message
        self.ended = asyncio.create_task(self._listen())
        """Its exit code, once it has ended."""

    @classmethod
    async def spawn(
        cls,
        number: int,
        words: Callable[[int], Sequence[str]],
        environment: Mapping[str, str],
        begin: Callable[[], Begin],
        on_message: OnMessage,
    ) -> Child:
        """Start a process by its words, which name the descriptor of its end of the line.

        `begin` makes what it is told first. Nothing is awaited after that, so that the caller, who knows it then, tells
        it whatever comes later.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C reaches the supervisor only, which then stops its workers.
            process = await asyncio.create_subprocess_exec(
                *words(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=environment,
            )
        line = await Line.over(ours)
        line.send(begin())
        return cls(number, process, line, on_message)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Tell it something."""
        self._line.send(message)

    async def _listen(self) -> int:
        try:
            while (message := await self._receive()) is not None:
                self.heard = asyncio.get_running_loop().time()
                if isinstance(message, Told):
                    asked = self._asked.pop(message.number, None)
                    if asked is not None and not asked.done():
                        asked.set_result(message)
                    continue
                if isinstance(message, Serving):
                    self.serving.set()
                self._on_message(self, message)
            return await self._process.wait()
        finally:
            self._line.close()
            for asked in self._asked.values():
                asked.cancel()

    async def ask(self, *, metrics: bool) -> Told:
        """How it is; waits for its answer. CancelledError if it ends instead."""
        number = next(self._numbers)
        asked: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self._line.send(Ask(number, metrics))
        try:
            return await asked
        finally:
            self._asked.pop(number, None)

    def terminate(self) -> None:
        """Have it drain and end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _receive(self) -> Message | None:
        try:
            return await self._line.receive()
        except (msgspec.DecodeError, ValueError) as error:  # a ValueError of a line that is too long
            _log.error("worker_not_understood", worker=self.number, kind=type(error).__name__)
            self.kill()
            return None
