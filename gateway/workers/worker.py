"""One worker: a whole gateway process on a port, a store and a log that are others' too."""

from __future__ import annotations

import asyncio
import socket
import time

import structlog
from prometheus_client import generate_latest

from gateway.config import GatewayConfig
from gateway.party.process import cancel_all, place_of
from gateway.protocol.errors import ForgedError, HeyanError
from gateway.protocol.reasons import Reason
from gateway.serve import GatewayProcess
from gateway.workers.lead import LeadLock
from gateway.workers.membership import Membership
from gateway.workers.wire import Ask, Begin, Halted, Line, Message, Serving, Told, Withdrawn

_log = structlog.get_logger(__name__)


async def work(config: GatewayConfig, workers: int, end: socket.socket, stop: asyncio.Event) -> None:
    """Serve as one of `workers`, on the line that ends here, until `stop` is set or the supervisor has gone.

    Raises a domain error if it cannot start, OSError if the line or the store's folder cannot be used.
    """
    line = await Line.over(end)
    try:
        begin = await line.receive()
        if isinstance(begin, Begin):  # else the supervisor has gone
            await _serve(config, workers, line, begin, stop)
    finally:
        line.close()


async def _serve(config: GatewayConfig, workers: int, line: Line, begin: Begin, stop: asyncio.Event) -> None:
    lock = LeadLock(config.store)
    member = Membership(workers, lock.lead, lambda digest: line.send(Withdrawn(digest)))
    process = GatewayProcess(config, time.time, member)
    _share_halts(process, line, begin)
    hearing = asyncio.create_task(_hear(process, line, stop))
    try:
        await process.start()
        line.send(Serving())
        await stop.wait()
    finally:
        await process.drain()
        await cancel_all([hearing])
        lock.close()


def _share_halts(process: GatewayProcess, line: Line, begin: Begin) -> None:
    """Tell of a halt of the log that is found here, on whatever thread; and take over one that was found before."""
    loop = asyncio.get_running_loop()

    def tell(error: HeyanError) -> None:
        loop.call_soon_threadsafe(line.send, Halted(error.reason.value, error.detail))

    process.parts.log.on_halt = tell
    if begin.halted is not None:
        process.parts.log.halt(_error_of(begin.halted))


async def _hear(process: GatewayProcess, line: Line, stop: asyncio.Event) -> None:
    """Do as the supervisor says until it has gone; who can hear no more must not go on, a halt would not reach it."""
    try:
        while (message := await line.receive()) is not None:
            _do(message, process, line)
        _log.warning("supervisor_gone")
    except Exception as error:  # noqa: BLE001 - whatever it was, nobody listens any more
        _log.error("supervisor_not_heard", kind=type(error).__name__, place=place_of(error))
    stop.set()


def _do(message: Message, process: GatewayProcess, line: Line) -> None:
    parts = process.parts
    if isinstance(message, Ask):
        text = generate_latest(parts.metrics).decode() if message.metrics else ""
        line.send(Told(message.number, list(parts.complaints()), process.duties.leads, text))
    elif isinstance(message, Halted) and not parts.log.is_halted:
        parts.log.halt(_error_of(message))
    elif isinstance(message, Withdrawn):
        parts.deferral.withdrawn(message.grant_digest)


def _error_of(halted: Halted) -> HeyanError:
    """Also for a reason of another version of this program, which a worker that was replaced may be of."""
    reason = Reason[halted.reason] if halted.reason in Reason.__members__ else Reason.LOG_FORKED
    return ForgedError(reason, halted.detail)
