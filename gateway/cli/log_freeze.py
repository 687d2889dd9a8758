"""`heyan log freeze`: end a gateway's log with a final leaf, and begin the next."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption
from gateway.config import GatewayConfig
from gateway.freezing import ADOPTION_TIME, freeze_log
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.log_marks import marks_beside, own_marks, require_reached
from gateway.log_signers import LogSigners
from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.identities import PartyRole
from gateway.protocol.note import encode_base64
from gateway.stores.sqlite import SqliteStore


def freeze(
    *,
    config: Path,
    next_origin: Annotated[str, Parameter(name="--next-origin")],
    as_json: JsonOption = False,
) -> None:
    """End the log of a gateway's store for good, and let it go on under another origin.

    Sign the registry that names the next log first: `heyan registry next-log GATEWAY ORIGIN`. A gateway that runs goes
    on with the next log by itself, one that is stopped when it starts. Nothing can be appended to the ended log any
    more; it is served for ever. What failed may be repeated.

    Example: `heyan log freeze --config run/gateway/settings.toml --next-origin log.hunan.example/2028`

    Parameters
    ----------
    config
        The gateway's settings, the same file as it runs with.
    next_origin
        Origin of the log that goes on, as the registry names it.
    """
    settings = GatewayConfig.from_file(config)
    keeper = RegistryKeeper(settings.registry, time.time)
    registry = keeper.current()
    terms = registry.party_in_role(settings.spiffe_id, PartyRole.GATEWAY).gateway
    assert terms is not None  # noqa: S101 - the registry's check() ties terms to roles
    signers = LogSigners.loaded(settings, keeper.current, time.time)
    _wait_for(registry.document.issued + ADOPTION_TIME)
    store = SqliteStore(settings.store)
    try:
        marks = own_marks(settings.registry.seen.parent, settings.published)
        require_reached(store, [*marks, *marks_beside(settings.store)])
        log = Log(store, terms.log_origin)
        log.use_signers(signers)
        frozen = freeze_log(store, log, LeafStamp(settings.identity, keeper.current, time.time), terms, next_origin)
    finally:
        store.close()
    ended, begun = frozen.ended, frozen.begun
    if as_json:
        said = {
            "ended": {"origin": ended.origin, "size": ended.size, "root": encode_base64(ended.root)},
            "begun": {"origin": begun.origin},
            "was_before": frozen.was_before,
        }
        print_json(said)
        return
    was = "had ended already" if frozen.was_before else "has ended"
    sys.stdout.write(
        f"{ended.origin} {was}: {ended.size} leaves, root {encode_base64(ended.root)}\n"
        f"The log goes on as {begun.origin}.\n"
    )


def _wait_for(instant: float) -> None:
    """Wait until every party can have read the registry, and say so; seconds since the epoch."""
    left = instant - time.time()
    if left > 0:
        sys.stderr.write(f"waiting {left:.0f} s, until every party has read the registry\n")
        time.sleep(left)
