"""A gateway of several workers, from its start to its end: the process that the operator starts."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

import structlog

from gateway.config import GatewayConfig
from gateway.party.config import PREFIX
from gateway.party.probes import ProbePages
from gateway.party.process import cancel_all
from gateway.workers.shared_port import SharedPort
from gateway.workers.supervisor import Supervisor, Words

STOP_MARGIN = 4.0
"""Seconds beyond `drain_seconds` that a worker may take to end."""

_log = structlog.get_logger(__name__)


async def serve_group(config: GatewayConfig, workers: int, words: Words, stop: asyncio.Event) -> None:
    """Run `workers` processes, each started by its words, until `stop` is set; then have them drain.

    Raises MalformedError (CONFIGURATION_INVALID) for a port that cannot be had, StartFailedError if the first worker
    ends before it serves.
    """
    async with AsyncExitStack() as kept:
        ports = {"listen": SharedPort(config.listen, "listen")}
        kept.callback(ports["listen"].close)
        if config.published is not None:
            ports["log_listen"] = SharedPort(config.log_listen, "log_listen")
            kept.callback(ports["log_listen"].close)
        listens = {PREFIX + setting.upper(): port.address for setting, port in ports.items()}
        supervisor = Supervisor(
            workers, words, {**os.environ, **listens}, stop_seconds=config.drain_seconds + STOP_MARGIN
        )
        probes = ProbePages(config.probes, supervisor.readiness, supervisor.metrics)
        kept.push_async_callback(probes.stop)
        kept.push_async_callback(supervisor.stop)
        await probes.start()
        starting, stopping = asyncio.create_task(supervisor.start()), asyncio.create_task(stop.wait())
        kept.push_async_callback(cancel_all, [starting])
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _log.info("gateway_serves", listen=listens, workers=workers)
        await stop.wait()
    _log.info("gateway_stopped")
