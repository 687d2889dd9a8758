"""At the store of a gateway that serves: what its operator does beside it, as a second writer of the same log.

A store that was rolled back is refused, as the gateway refuses it. Both commit under the same compare-and-swap. The
gateway finds what was done when it next asks the store, which it does before it uses a key.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.config import GatewayConfig
from gateway.ending import Endings
from gateway.evidence.erasing import Eraser
from gateway.evidence.key_settings import open_keks
from gateway.evidence.vault import Vault
from gateway.freezing import require_known_log
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.log_marks import marks_beside, own_marks, require_reached
from gateway.log_signers import LogSigners
from gateway.party.process import Clock
from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.requests import Requests
from gateway.stores.keeping import Keeping
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_keeping import SqliteKeeping

_SWEEPS, _SWEEP_PAUSE = 20, 0.1
"""Attempts to empty the write-ahead log, and the seconds between them."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What an operator works with."""

    store: SqliteStore
    keeping: SqliteKeeping
    log: Log
    eraser: Eraser


def open_store(config: GatewayConfig) -> SqliteStore:
    """The store of a gateway that has one; MalformedError (CONFIGURATION_INVALID) instead of making a new one."""
    if not config.store.is_file():
        raise MalformedError.at("store", f"{config.store} is not there", Reason.CONFIGURATION_INVALID)
    return SqliteStore(config.store)


@asynccontextmanager
async def beside(config: GatewayConfig, clock: Clock = time.time) -> AsyncIterator[Beside]:
    """Open the store and the log of a gateway's settings, and close them; a domain error if they cannot be had."""
    registry = RegistryKeeper(config.registry, clock).current
    terms = registry().party(config.spiffe_id).gateway
    if terms is None:
        raise MalformedError.at("spiffe_id", "must be a gateway of the registry", Reason.CONFIGURATION_INVALID)
    signers = LogSigners.loaded(config, registry, clock)
    vault = Vault(open_keks(config))
    store = open_store(config)
    try:
        require_reached(store, [*own_marks(config.registry.seen.parent, config.published), *marks_beside(config.store)])
        require_known_log(store, terms)
        log = Log(store, terms.log_origin)
        log.use_signers(signers)
        requests = Requests(store, log, vault, registry)
        keeping = SqliteKeeping(store)
        eraser = Eraser(
            store=store,
            keeping=keeping,
            log=log,
            requests=requests,
            stamp=LeafStamp(config.identity, registry, clock),
            endings=Endings(config.identity, clock, requests),
            forget=vault.forget,
        )
        log.start()
        try:
            yield Beside(store, keeping, log, eraser)
        finally:
            await log.stop()
    finally:
        store.close()


def sweep_beside(keeping: Keeping) -> bool:
    """Empty the write-ahead log between the commits of a gateway that serves; False if somebody goes on reading it.

    The gateway then does so within the hour.
    """
    for _ in range(_SWEEPS):
        if keeping.sweep():
            return True
        time.sleep(_SWEEP_PAUSE)
    return False
