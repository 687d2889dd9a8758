"""A log that ends while the gateway under test runs: the registry that says so, and the freeze by another process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.freezing import Frozen, freeze_log
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.log_signers import LogSigners
from gateway.protocol.identities import parse_identity
from gateway.protocol.registry_terms import Document, GatewayTerms
from gateway.stores.sqlite import SqliteStore
from tests import federation as fed
from tests.gateway.conftest import Gateway

NEXT = "heyan.test/log/2"


def listing(log_origin: str, *ended: str, gateway: str = fed.GATEWAY) -> Callable[[Document], Document]:
    """A gateway's terms with these logs."""

    def edit(document: Document) -> Document:
        terms = next(party.gateway for party in document.parties if party.id == gateway)
        changed = msgspec.structs.replace(terms, log_origin=log_origin, ended_origins=ended)
        return fed.edit_party(document, gateway, gateway=changed)

    return edit


def announce(gateway: Gateway, *origins: str) -> None:
    """The registry lists these logs, by default that the log goes on as NEXT; gateway and everybody read it."""
    *ended, newest = origins or (fed.LOG_ORIGIN, NEXT)
    gateway.federation = gateway.federation.changed(listing(newest, *ended))
    gateway.log.use_signers(signers_of(gateway))


def signers_of(gateway: Gateway) -> LogSigners:
    """The gateway's, by the registry that it holds."""
    return LogSigners(
        gateway=fed.GATEWAY,
        keys=lambda: (gateway.federation.signing_keys[fed.GATEWAY],),
        registry=lambda: gateway.federation.registry,
        clock=gateway.clock,
    )


def terms_of(gateway: Gateway) -> GatewayTerms:
    terms = gateway.federation.registry.party(fed.GATEWAY).gateway
    assert terms is not None
    return terms


def freeze(gateway: Gateway, folder: Path, next_origin: str = NEXT) -> Frozen:
    """End the log as another process does, on the same store file."""
    terms = terms_of(gateway)
    store = SqliteStore(folder / "store.db")
    try:
        log = Log(store, terms.log_origin)
        log.use_signers(signers_of(gateway))
        stamp = LeafStamp(parse_identity(fed.GATEWAY), lambda: gateway.federation.registry, gateway.clock)
        return freeze_log(store, log, stamp, terms, next_origin)
    finally:
        store.close()


def goes_on(gateway: Gateway, folder: Path) -> Frozen:
    """Announced, and frozen."""
    announce(gateway)
    return freeze(gateway, folder)
