"""The place that the peers take in a federation: that of a second gateway, which the registry names.

Nodes answer gateways only, so whoever calls them without Heyan's gateway must be one to them: the proxies towards the
nodes, and the client that calls them directly. It has an identity and a certificate of its own, so that nothing of what
it leaves unacknowledged falls to Heyan's gateway. It keeps no log, so it acknowledges nothing; what it owes the nodes
is struck off between the runs (`forgive`), as if it had been logged, lest they count a growing debt at each answer.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from gateway.cli.sandbox import Sandbox
from gateway.operator.desk import Desk
from gateway.operator.enrolment import PartyFolder
from gateway.party.config import TlsFiles
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.registry_terms import GatewayTerms, LocalName, Party

PEER = Identity(PartyRole.GATEWAY, "peer")
LOG_ORIGIN = "log.peer.heyan.internal"
HOST = "127.0.0.1"


def enrol_peer(sandbox: Sandbox, port: int) -> None:
    """Have the operator list the peers' gateway, reached at `port`, before the parties start."""
    desk, now = Desk.open(sandbox.desk_folder), time.time()
    party = Party(
        id=PEER.uri,
        name=LocalName(zh="对照网关", en="Peer"),
        gateway=GatewayTerms(channels=(f"{HOST}:{port}",), log_origin=LOG_ORIGIN),
    )
    folder = peer_folder(sandbox.folder)
    folder.mkdir(mode=0o700, parents=True)
    desk.enrol(party, PartyFolder(folder), now)
    desk.sign(now)


def peer_folder(folder: Path) -> Path:
    """Where the peers' keys and certificate are."""
    return folder / "peer"


def peer_tls(folder: Path) -> TlsFiles:
    """The peers' certificate, as client and as server."""
    return PartyFolder(peer_folder(folder)).tls


def forgive(sandbox: Sandbox) -> None:
    """Strike off what the peers have not acknowledged, in every node's journal."""
    for node in sandbox.nodes.values():
        with closing(sqlite3.connect(sandbox.folder_of(node) / "journal.db", timeout=10)) as journal, journal:
            journal.execute("UPDATE batches SET message = NULL WHERE gateway = ? AND message NOT NULL", (PEER.uri,))
