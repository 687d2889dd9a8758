"""Running one party as a process: log lines, signals, and an end that waits for what is under way."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import TextIO

import structlog
import uvloop

from gateway.party.config import ProcessConfig
from gateway.protocol.errors import HeyanError

SUPERVISOR = "HEYAN_SUPERVISOR_PID"
"""Environment variable in which a supervisor names itself to the processes that shall end with it."""

Clock = Callable[[], float]
"""Seconds since the epoch, UTC; `time.time` in a real process."""


class LineLog:
    """Writes log lines to a stream. One that cannot be written (a full disk) is counted, and that is told later.

    A log line is worth less than the work that it tells of: no thread or task ends because nobody could be told.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def msg(self, line: str) -> None:
        """Write one line."""
        told = f'{{"lines_lost": {self._lost}, "level": "error", "message": "log_was_full"}}\n' if self._lost else ""
        try:
            self._stream.write(told + line + "\n")
            self._stream.flush()
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    log = debug = info = warn = warning = error = critical = fatal = exception = msg


def configure_logging(level: str, *, for_good: bool = False) -> None:
    """JSON lines on stderr, for this package and the libraries alike. No line holds a message's content.

    `for_good` is faster, and what a process that serves wants: nothing that it has logged with can be set up anew.
    """
    lines = LineLog(sys.stderr)
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=for_good,
    )
    logging.basicConfig(level=max(number, logging.INFO), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


YOUNG_OBJECTS = 20_000
"""Objects, more made than ended, after which the collector looks for cycles among them."""


def begin(settings: ProcessConfig) -> None:
    """What the process of a party does first: log as it is told, and look whether it can serve at all.

    Raises MalformedError (CONFIGURATION_INVALID) if something else listens where it should. Variables of the
    environment that look like settings and are none are logged, by name.
    """
    configure_logging(settings.log_level, for_good=True)
    for name, nearest in settings.unknown_variables(os.environ).items():
        structlog.get_logger(__name__).warning("unknown_setting_in_environment", variable=name, nearest=nearest)
    settings.require_free()


def run_until_signal(serve: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
    """Run `serve(stop)` on uvloop; SIGTERM and SIGINT set `stop`, and `serve` ends in its own time."""
    # What was imported lives as long as the process, and a request's values end without a collector: walking all of
    # them after every 700 new ones cost a twentieth of a gateway's time.
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        watching = asyncio.create_task(_outlive_nobody(stop)) if SUPERVISOR in os.environ else None
        try:
            await serve(stop)
        finally:
            if watching is not None:
                watching.cancel()

    uvloop.run(main())


async def _outlive_nobody(stop: asyncio.Event) -> None:
    """Stop when the supervisor that started this process has gone, however it ended."""
    supervisor = int(os.environ[SUPERVISOR])
    while os.getppid() == supervisor:  # noqa: ASYNC110 - the system tells nobody of a parent's end
        await asyncio.sleep(1.0)
    stop.set()


def place_of(error: BaseException) -> str:
    """The function and line that raised `error`: what may be logged of an exception whose text may quote a message."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame is not None else "?"


async def repeat(every: float, action: Callable[[], Awaitable[object]], name: str) -> None:
    """Await `action()` every so many seconds until cancelled; whatever it raises is logged, and it is tried again.

    Of an unexpected exception only type and place are logged: see `place_of`.
    """
    log = structlog.get_logger(__name__)
    while True:
        try:
            await action()
        except HeyanError as error:
            log.warning("recurring_task_failed", task=name, reason=error.reason.value, detail=error.detail)
        except Exception as error:  # noqa: BLE001 - a fault of today must not end a task that is needed tomorrow
            log.error("recurring_task_failed", task=name, kind=type(error).__name__, place=place_of(error))
        await asyncio.sleep(every)


async def close_all(*steps: Callable[[], object]) -> None:
    """Take each step in turn, awaiting what is awaitable; one that fails keeps none of the rest from being taken.

    What the last failing step raised is raised in the end.
    """
    async with AsyncExitStack() as stack:
        for step in reversed(steps):
            stack.push_async_callback(_take, step)


async def _take(step: Callable[[], object]) -> None:
    taken = step()
    if inspect.isawaitable(taken):
        await taken


async def cancel_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end, however they end."""
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
