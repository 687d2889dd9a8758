"""Running one party as a process: log lines, signals, and an end that waits for what is under way."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine

import structlog
import uvloop

from gateway.protocol.errors import HeyanError

Clock = Callable[[], float]
"""Seconds since the epoch, UTC; `time.time` in a real process."""


def configure_logging(level: str) -> None:
    """JSON lines on stderr, for this package and the libraries alike. No line holds a message's content."""
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(number, logging.INFO), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def run_until_signal(serve: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
    """Run `serve(stop)` on uvloop; SIGTERM and SIGINT set `stop`, and `serve` ends in its own time."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(stop)

    uvloop.run(main())


async def repeat(every: float, action: Callable[[], Awaitable[object]], name: str) -> None:
    """Await `action()` every so many seconds until cancelled; a domain error is logged and tried again."""
    log = structlog.get_logger(__name__)
    while True:
        try:
            await action()
        except HeyanError as error:
            log.warning("a recurring task failed", task=name, reason=error.reason.value, detail=error.detail)
        await asyncio.sleep(every)
