"""The plain HTTP port of a process: `/healthz`, `/readyz` and `/metrics`, on loopback unless configured.

`/healthz` says that the process lives, `/readyz` whether it wants work now (503 with the reasons if not),
`/metrics` is the Prometheus text format. Nothing here tells of a person: labels are parties, methods, reasons.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gateway.party.addresses import split_address

Complaints = Callable[[], Sequence[str]]
"""Why the process does not want work now; empty if it does."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether work is wanted now, and what there is to say about it, a line each."""

    is_ready: bool
    lines: Sequence[str]


class ProbePages:
    """Serves the probes of whatever tells its readiness and its metrics (a Prometheus text) when it is asked."""

    def __init__(
        self,
        listen: str,
        readiness: Callable[[], Awaitable[Readiness]],
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        self._listen = listen
        self._readiness = readiness
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; the bound port."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, port = split_address(self._listen)
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        found = await self._readiness()
        return web.Response(status=200 if found.is_ready else 503, text="\n".join(found.lines) + "\n")

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        return web.Response(body=await self._metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class Probes(ProbePages):
    """Serves the probes of this process alone."""

    def __init__(self, listen: str, complaints: Complaints, metrics: CollectorRegistry) -> None:
        async def readiness() -> Readiness:
            found = complaints()
            return Readiness(not found, found or ["ready"])

        async def text() -> bytes:
            return generate_latest(metrics)

        super().__init__(listen, readiness, text)
