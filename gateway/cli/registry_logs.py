"""`heyan registry next-log`: say as what a gateway's log goes on, before it ends."""

from __future__ import annotations

import sys
import time

from gateway.cli.options import DeskOption
from gateway.operator import document as editing
from gateway.operator.desk import Desk


def next_log(party: str, origin: str, *, desk: DeskOption) -> None:
    """Name the log that a gateway goes on with, and sign the registry anew.

    From now on checkpoints of both logs count. Then end the one before it where the gateway runs: `heyan log freeze`.
    It stays listed for ever, so that receipts and acknowledgements that it gave are believed.

    Example: `heyan registry next-log spiffe://heyan/gateway/hunan log.hunan.example/2028 --desk operator`

    Parameters
    ----------
    party
        SPIFFE ID of the gateway.
    origin
        Origin of the next log: a name that no log had before, without spaces or plus signs, e.g. a domain and a path.
    """
    opened = Desk.open(desk)
    with opened.alone():
        draft = editing.go_on_as(opened.draft(), party, origin)
        opened.save(draft)
        signed = opened.sign(time.time())
    sys.stdout.write(
        f"The log of {party} goes on as {origin}.\n"
        f"Version {signed.version} is published in {opened.registry_file}.\n"
        f"Next, where the gateway runs: heyan log freeze --config SETTINGS.toml --next-origin {origin}\n"
    )
