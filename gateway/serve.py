"""The gateway process: starts its parts, serves until told to stop, and drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from gateway.config import GatewayConfig
from gateway.duties import Duties
from gateway.parts import Parts
from gateway.party.probes import Probes
from gateway.party.process import Clock
from gateway.party.tls import server_credentials
from gateway.protocol.errors import HeyanError
from gateway.workers.membership import ALONE, Membership

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a started process listens."""

    grpc: int
    probes: int | None
    """None of a worker, whose supervisor serves them."""
    log: int | None
    """Of the static log; None if none is published."""


async def serve(
    config: GatewayConfig,
    stop: asyncio.Event,
    clock: Clock = time.time,
    on_ready: Callable[[Ports], None] = lambda _ports: None,
) -> None:
    """Run the gateway of `config` until `stop` is set; raises a domain error if it cannot start."""
    process = GatewayProcess(config, clock)
    try:
        on_ready(await process.start())
        await stop.wait()
    finally:
        await process.drain()


class GatewayProcess:
    """One process of a gateway, by default the only one."""

    def __init__(self, config: GatewayConfig, clock: Clock, member: Membership = ALONE) -> None:
        self._config = config
        self.parts = Parts(config, clock, member)
        self.duties = Duties(self.parts, member)
        self._tls = self.parts.tls
        probes = Probes(config.probes, self.parts.complaints, self.parts.metrics)
        self._probes = probes if member.is_alone else None

    async def start(self) -> Ports:
        """Serve; the bound ports."""
        parts = self.parts
        await parts.log_keeping.check(parts.witnesses)
        parts.log.start()
        if not parts.log.is_halted:
            await parts.follow_registry()
            await parts.log_keeping.sign_anew()
        await parts.deferral.load()
        port = parts.server.add_secure_port(self._config.listen, server_credentials(parts.tls))
        await parts.server.start()
        probe_port = await self._probes.start() if self._probes is not None else None
        log_port = await parts.publication.serve()
        self.duties.start()
        _logger.info("gateway_serves", listen=self._config.listen, port=port, probes=probe_port, log=log_port)
        return Ports(port, probe_port, log_port)

    async def drain(self) -> None:
        """Let nobody in, finish what is under way, record what is owed, and close; a failing step keeps none back."""
        parts = self.parts
        parts.is_draining = True
        parts.streams.stop()
        parts.admission.close()
        parts.watchers.close()
        async with AsyncExitStack() as steps:  # run in the opposite order
            if self._probes is not None:
                steps.push_async_callback(self._probes.stop)
            steps.callback(parts.store.close)
            steps.push_async_callback(parts.publication.stop)
            steps.push_async_callback(self.duties.finish)
            steps.push_async_callback(parts.log.stop)
            steps.push_async_callback(parts.status.close)
            steps.push_async_callback(parts.links.close)
            steps.push_async_callback(self._flush_refusals)
            steps.push_async_callback(self.duties.stop)
            steps.push_async_callback(parts.witnesses.stop)
            steps.push_async_callback(parts.pipeline.drain)
            steps.push_async_callback(parts.server.stop, self._config.drain_seconds)
            steps.push_async_callback(parts.deferral.stop)
            await parts.health.enter_graceful_shutdown()
        _logger.info("gateway_stopped")

    async def _flush_refusals(self) -> None:
        try:
            await self.parts.refusals.flush(everything=True)
        except HeyanError as error:
            _logger.error("refusals_not_summarised", detail=error.detail)
