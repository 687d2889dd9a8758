"""The log of a gateway process: store and keys, wired to what publishes it, has it witnessed and remembers it.

    hold the store against what was published, witnessed and seen (`check`) → sign → publish, have cosigned, remember

A store that does not reach what somebody has seen of it halts the log: nothing is signed by it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry

from gateway.config import GatewayConfig
from gateway.freezing import require_known_log
from gateway.log import Log
from gateway.log_marks import SeenHead, proofs_kept, require_reached
from gateway.log_signers import LogSigners
from gateway.party.keyfiles import Watched, load_signing_keys
from gateway.party.process import Clock
from gateway.party.tls import TlsMaterial
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.static_log.publication import Publication
from gateway.stores.sqlite import SqliteStore
from gateway.watching import Watchers
from gateway.witnessing.witnesses import Witnesses, witnesses_of

_logger = structlog.get_logger(__name__)


class LogKeeping:
    """What keeps one gateway's log. Raises a domain error if store, keys and registry do not fit together."""

    def __init__(
        self,
        *,
        config: GatewayConfig,
        registry: Callable[[], Registry],
        tls: Watched[TlsMaterial],
        clock: Clock,
        metrics: CollectorRegistry,
        processes: int = 1,
    ) -> None:
        self._config = config
        self._registry = registry
        self._clock = clock
        self._metrics = metrics
        terms = registry().party(config.spiffe_id).gateway
        if terms is None:
            raise MalformedError.at("spiffe_id", "must be a gateway of the registry", Reason.CONFIGURATION_INVALID)
        self._keys = Watched([config.log_keys], lambda: load_signing_keys(config.log_keys))
        self.store = SqliteStore(config.store)
        self._seen = SeenHead(self.store, config.registry.seen.parent)
        self._signers = LogSigners(
            gateway=config.spiffe_id, keys=lambda: self._keys.value, registry=registry, clock=clock
        )
        require_known_log(self.store, terms)
        self.log = Log(self.store, terms.log_origin, *self._signers(terms.log_origin))
        self.log.use_signers(self._signers)
        self.publication = Publication(
            config=config,
            store=self.store,
            log=self.log,
            tls=tls,
            registry=registry,
            clock=clock,
            metrics=metrics,
            processes=processes,
        )

    def witnesses(self, watchers: Watchers) -> Witnesses:
        """The witnesses of the settings' policy, whose newest head is published from now on; call it once."""
        made = witnesses_of(
            self._config,
            log=self.log,
            store=self.store,
            watchers=watchers,
            registry=self._registry,
            clock=self._clock,
            metrics=self._metrics,
            on_contradiction=self.log.halt,
        )
        self.publication.publish_from(made.head)
        return made

    async def check(self, witnesses: Witnesses) -> None:
        """Hold the store against what was published, witnessed and seen, before anything is signed."""
        await self.publication.check()
        witnesses.load()
        try:
            await asyncio.to_thread(self._seen.require_reached)
            # What a witness showed before a restart holds until somebody has looked into it.
            await asyncio.to_thread(require_reached, self.store, proofs_kept(self._config.store))
        except ForgedError as error:
            self.log.halt(error)

    def require_signers(self) -> None:
        """Refuse if no key of ours may sign as the log that goes on; see `LogSigners.require`."""
        self._signers.require()

    def refresh_keys(self) -> None:
        """Sign with the keys as they lie there now."""
        self._keys.refresh()

    async def sign_anew(self) -> None:
        """Have a checkpoint from before be signed by the keys that count now; tried again each second if it fails."""
        try:
            await self.log.refresh()
        except HeyanError as error:
            _logger.error("checkpoint_not_signed_anew", detail=error.detail)

    async def keep_seen(self) -> None:
        """Keep the newest head outside the store too. Raises OSError."""
        if not self.log.is_halted:
            await asyncio.to_thread(self._seen.keep)
