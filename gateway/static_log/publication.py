"""The gateway's published log: a thread that follows the store, and the server of what is published.

    start: check → serve → publish every second        end: publish once more → end serving

Where a gateway has several processes each of them checks and serves, and one publishes (`gateway.duties`).

`check` comes before anything is signed: a store that does not continue what was published halts the log, and the
gateway is not ready, though what was published is served on. Publishing is off the event loop and behind nobody's
answer; that it fails is a metric and a line of the log, and the gateway goes on answering.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

from gateway.config import GatewayConfig
from gateway.log import Log
from gateway.party.keyfiles import Watched
from gateway.party.process import Clock, place_of
from gateway.party.tls import TlsMaterial
from gateway.protocol.errors import HeyanError
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.static_log.publishing_logs import HeadChooser, LogsPublisher
from gateway.static_log.server import LogServer
from gateway.stores.port import Store
from gateway.stores.records import Head

PUBLISH_SECONDS = 1.0
"""Between looks for news: six synchronisations of the disk, beside those of the commits."""
HAND_OVER_SECONDS = 10.0
"""For which the event loop may take to hand over a head."""
RETRY_SECONDS = 5.0
"""After one that failed."""
LAST_SECONDS = 5.0
"""For publishing what came last, at the end; what is left is published by the next start."""

_HALTING = frozenset({Reason.LOG_ROLLED_BACK, Reason.LOG_FORKED})

_log = structlog.get_logger(__name__)


class PublicationMetrics:
    """How far the log is published."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.size = Gauge("heyan_log_published_size", "Leaves of the published checkpoint", registry=registry)
        self.behind = Gauge(
            "heyan_log_published_behind_seconds", "Since when leaves are not published", registry=registry
        )
        self.failing = Gauge("heyan_log_publication_failing", "1 if the log could not be published", registry=registry)


class Publication:
    """The publication of one gateway's logs; nothing at all if its settings name no folder."""

    def __init__(
        self,
        *,
        config: GatewayConfig,
        store: Store,
        log: Log,
        tls: Watched[TlsMaterial],
        registry: Callable[[], Registry],
        clock: Clock,
        metrics: CollectorRegistry,
        processes: int = 1,
    ) -> None:
        self._store = store
        self._log = log
        self._metrics = PublicationMetrics(metrics)
        self._publisher: LogsPublisher | None = None
        self._server: LogServer | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heyan-log-publisher", daemon=True)
        self._is_checked = False
        self._behind_since: float | None = None
        self._handed: HeadChooser | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._metrics.behind.set_function(self._behind)
        if config.published is not None:
            self._publisher = LogsPublisher(
                store=store, published=config.published, origin=log.origin, head=self._head, clock=clock
            )
            self._server = LogServer(
                published=config.published,
                listen=config.log_listen,
                tls=tls,
                registry=registry,
                clock=clock,
                processes=processes,
            )

    def publish_from(self, head: HeadChooser) -> None:
        """Publish what `head` hands over of the log of an origin, its note verbatim, instead of the store's newest.

        It is called on the event loop of `start`, and may raise LogUnavailableError while there is nothing. A head that
        is smaller than what is published is passed over.
        """
        self._handed = head

    async def check(self) -> bool:
        """Hold the store against what was published, before anything is signed; whether the log may go on.

        If not, the log is halted. Raises what else keeps the folder from being taken up.
        """
        if self._publisher is None:
            return True
        try:
            await asyncio.to_thread(self._publisher.resume)
        except HeyanError as error:
            if error.reason not in _HALTING:
                raise
            self._halt(error)
            return False
        self._is_checked = True
        self._metrics.size.set(self._publisher.size)
        return True

    async def serve(self) -> int | None:
        """Serve what is published; the bound port, None if nothing is."""
        return await self._server.start() if self._server is not None else None

    def start(self) -> None:
        """Publish from now on."""
        if self._publisher is not None:
            self._loop = asyncio.get_running_loop()
            self._thread.start()

    async def finish(self) -> None:
        """Publish what is left, once nothing is appended any more, also if another process did it until now."""
        self._ending.set()
        if self._is_checked and self._thread.ident is None:
            self.start()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    async def stop(self) -> None:
        """End serving."""
        if self._server is not None:
            await self._server.stop()

    def _run(self) -> None:
        assert self._publisher is not None  # noqa: S101 - start() looks
        publisher, wait = self._publisher, PUBLISH_SECONDS
        while not self._ending.wait(wait) and not self._log.is_halted:
            wait = PUBLISH_SECONDS if self._attempt(publisher, self._ending.is_set) else RETRY_SECONDS
        if not self._log.is_halted:
            until = time.monotonic() + LAST_SECONDS
            self._attempt(publisher, lambda: time.monotonic() > until)

    def _attempt(self, publisher: LogsPublisher, interrupted: Callable[[], bool]) -> bool:
        """Publish what there is; whether it could be."""
        is_done = False
        try:
            self._look(publisher)
            publisher.publish(interrupted)
            self._look(publisher)
            is_done = True
        except HeyanError as error:
            if error.reason in _HALTING:
                self._halt(error)
            else:
                _log.error("log_not_published", reason=error.reason.value, detail=error.detail)
        except OSError as error:
            _log.error("log_not_published", kind=type(error).__name__, detail=error.strerror)
        except Exception as error:  # noqa: BLE001 - a fault of today must not end publishing tomorrow
            _log.error("log_not_published", kind=type(error).__name__, place=place_of(error))
        self._metrics.failing.set(not is_done)
        return is_done

    def _head(self, origin: str) -> Head | None:
        """What is handed over to be published of a log; None if nobody chooses."""
        handed, loop = self._handed, self._loop
        if handed is None or loop is None:
            return None

        async def ask() -> Head | None:
            return handed(origin)

        return asyncio.run_coroutine_threadsafe(ask(), loop).result(HAND_OVER_SECONDS)

    def _look(self, publisher: LogsPublisher) -> None:
        """See whether there are leaves that are not published."""
        head = self._store.head()
        self._metrics.size.set(publisher.size)
        if head is None or head.size <= publisher.size:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()

    def _behind(self) -> float:
        since = self._behind_since
        return time.monotonic() - since if since is not None else 0.0

    def _halt(self, error: HeyanError) -> None:
        self._metrics.failing.set(1)
        self._log.halt(error)
