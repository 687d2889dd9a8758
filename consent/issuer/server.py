"""The issuer's process: wiring, start, and an end that waits for what is under way."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from consent.issuer.app import IssuerApp
from consent.issuer.config import IssuerConfig
from consent.issuer.dispute_reports import DisputeReporter
from consent.issuer.disputes import GuardianDisputes
from consent.issuer.reports import RevocationReporter
from consent.issuer.service import ConsentIssuer, IssuerSettings
from consent.issuer.store import IssuerStore
from gateway.party.addresses import split_address
from gateway.party.keyfiles import Watched, load_signing_keys, newest_usable, read_private, unusable
from gateway.party.probes import Probes
from gateway.party.process import Clock, cancel_all, close_all, repeat
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.tls import server_ssl_context, watch_tls
from gateway.protocol.errors import HeyanError
from gateway.protocol.keys import PublicKey, SigningKey
from gateway.protocol.registry_terms import KeyUse

MIN_SECRET_BYTES = 32
PURGE_SECONDS = 30.0
"""Between looks for expired drafts."""
LOOK_SECONDS = 1.0
"""Between looks at key files."""
STOP_SECONDS = 5.0
"""For which requests under way are waited for."""

_log = structlog.get_logger(__name__)


class IssuerServer:
    """One running issuer. `start` returns the bound port, which is the configured one unless that is 0."""

    def __init__(self, config: IssuerConfig, clock: Clock = time.time) -> None:
        secret = read_private(config.pseudonym_secret)
        if len(secret) < MIN_SECRET_BYTES:
            raise unusable(config.pseudonym_secret, f"must hold at least {MIN_SECRET_BYTES} random bytes")
        self._config = config
        self._clock = clock
        self._tls = watch_tls(config.tls)
        self._keeper = RegistryKeeper(config.registry, clock)
        self._keys: Watched[tuple[SigningKey, ...]] = Watched((config.keys,), lambda: load_signing_keys(config.keys))
        self._store = IssuerStore(config.store)
        self._reporter = RevocationReporter(registry=self._keeper.current, tls=self._tls)
        issuer = ConsentIssuer(
            settings=IssuerSettings(
                config.spiffe_id, secret, config.grant_lifetime_seconds, max_drafts=config.max_drafts
            ),
            store=self._store,
            registry=self._keeper.current,
            signing_key=self._signing_key,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        self._issuer = issuer
        disputes = GuardianDisputes(
            issuer,
            spiffe_id=config.spiffe_id,
            store=self._store,
            signing_key=self._signing_key,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        self._dispute_reporter = DisputeReporter(self._store, registry=self._keeper.current, tls=self._tls, clock=clock)
        self._app = IssuerApp(issuer, disputes, self._public_keys, self._reporter.report)
        self._probes = Probes(config.probes, self._complaints, CollectorRegistry())
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Listen on the configured address; the bound port."""
        self._signing_key()  # refuses to start without a key that counts
        self._runner = web.AppRunner(
            self._app.application(), access_log=None, shutdown_timeout=STOP_SECONDS, handle_signals=False
        )
        await self._runner.setup()
        host, port = split_address(self._config.listen)
        context = server_ssl_context(self._tls, ssl.CERT_NONE)
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        probes = await self._probes.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._keeper.run()),
            loop.create_task(repeat(PURGE_SECONDS, lambda: self._app.run(self._issuer.purge), "purge")),
            loop.create_task(repeat(LOOK_SECONDS, self._look_at_keys, "keys")),
            loop.create_task(repeat(LOOK_SECONDS, self._dispute_reporter.run_once, "report disputes")),
            loop.create_task(repeat(LOOK_SECONDS, lambda: self._app.run(self._store.probe), "probe the store")),
        ]
        bound: int = self._runner.addresses[0][1]
        _log.info("issuer_serves", identity=self._config.spiffe_id, host=host, port=bound, probes=probes)
        return bound

    async def stop(self) -> None:
        """Take no new requests, end those under way, bring reported withdrawals to their end, close the store."""
        await close_all(
            self._stop_listening,
            self._probes.stop,
            lambda: cancel_all(self._tasks),
            self._reporter.close,
            self._app.close,
            self._store.close,
        )

    async def _stop_listening(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _signing_key(self) -> SigningKey:
        now = self._clock()
        return newest_usable(self._keys.value, self._keeper.current(), self._config.spiffe_id, KeyUse.GRANT, now)

    def _public_keys(self) -> tuple[PublicKey, ...]:
        return self._keeper.current().keys(self._config.spiffe_id, KeyUse.GRANT, self._clock())

    def _look_at_keys(self) -> Awaitable[bool]:
        return asyncio.to_thread(self._keys.refresh)

    def _complaints(self) -> list[str]:
        complaints = [self._store.complaint] if self._store.complaint else []
        for check in (self._signing_key, lambda: self._keeper.current().require_current(self._clock())):
            try:
                check()
            except HeyanError as error:
                complaints.append(str(error))
        return complaints


async def serve(config: IssuerConfig, stop: asyncio.Event, on_start: Callable[[int], None] | None = None) -> None:
    """Serve until `stop` is set (`gateway.party.process.run_until_signal` sets it); `on_start` is told the port."""
    server = IssuerServer(config)
    try:
        port = await server.start()
        if on_start is not None:
            on_start(port)
        await stop.wait()
    finally:
        await server.stop()
