"""The police's node of a federation in memory: in this process, or as a process of its own over mutual TLS.

Everything of the product is real: rules, keys, journal on disk, register, worker, gRPC on uvloop. Only the status
lists are not fetched: every grant stands. Both sides make the federation from the same moment, so that they hold the
same keys and nothing but that moment and a folder has to be told.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import uvloop

from consent.verified import VerifiedGrant
from gateway.operator.authority import Authority
from gateway.operator.enrolment import PartyFolder, enrol_certificate
from gateway.party.service import SERVER_OPTIONS, Guard
from gateway.party.tls import server_credentials, watch_tls
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.identities import parse_identity
from gateway.protocol.registry import Registry
from sandbox_departments.answerer import Answerer, Sources, Terms
from sandbox_departments.answering import Budget
from sandbox_departments.disputes import DisputeDesk
from sandbox_departments.journal import Journal
from sandbox_departments.node import Description, Node
from sandbox_departments.registers import REGISTER_FILE, SqliteRegister
from sandbox_departments.worker import Worker
from tests import federation as fed
from tests.nodes import NodeKeys

KIND = DepartmentKind.POLICE
POLICE = parse_identity(fed.DEPARTMENTS[KIND])
GATEWAY = parse_identity(fed.GATEWAY)
_UNBOUNDED = 10**9
"""A benchmark asks about few families again and again, and a unary call is acknowledged by nobody."""


class AllStand:
    """Status lists by which every grant stands."""

    def stands(self, _grant: VerifiedGrant) -> bool:
        """It does."""
        return True

    async def require_standing(self, _grant: VerifiedGrant) -> None:
        """It does."""


class PoliceNode:
    """The node's own parts, over the register in `folder`, with a journal there."""

    def __init__(self, federation: fed.Federation, folder: Path) -> None:
        self.registry: Registry = federation.registry
        self.register = SqliteRegister(folder / KIND.value / REGISTER_FILE)
        self.journal = Journal(folder / "journal.db")
        self.thread = ThreadPoolExecutor(max_workers=1)
        keys = NodeKeys(federation.opening_keys[POLICE.uri], federation.signing_keys[POLICE.uri])
        self.answerer = Answerer(
            Terms(POLICE.uri, secrets.token_bytes(32), Budget(_UNBOUNDED, fed.DAY), max_owed=_UNBOUNDED),
            sources=Sources(lambda: self.registry, keys, self.register, AllStand()),
            journal=self.journal,
            thread=self.thread,
            clock=time.time,
            randomness=secrets.token_bytes,
        )
        self.disputes = DisputeDesk(
            POLICE.uri,
            registry=lambda: self.registry,
            keys=keys,
            journal=self.journal,
            thread=self.thread,
            clock=time.time,
            randomness=secrets.token_bytes,
        )

    def close(self) -> None:
        """Close the files."""
        self.thread.shutdown()
        self.journal.close()
        self.register.close()


@contextmanager
def node_process(folder: Path, now: float) -> Iterator[tuple[int, str]]:
    """A node in a process of its own: its pid, and where it listens. `folder` holds the register; it gets all else."""
    authority = Authority.create("benchmark", now)
    for identity in (POLICE, GATEWAY):
        enrol_certificate(authority, identity, PartyFolder(folder / identity.name), now)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(folder, now, theirs))
    process.start()
    theirs.close()
    assert process.pid is not None
    try:
        yield process.pid, ours.recv()
    finally:
        ours.close()  # the node then ends
        process.join(10)
        process.kill()


def _serve(folder: Path, now: float, parent: Connection) -> None:
    node = PoliceNode(fed.Federation.create(now), folder)
    uvloop.run(_run(node, folder, parent))
    node.close()


async def _run(node: PoliceNode, folder: Path, parent: Connection) -> None:
    worker = Worker(node.answerer)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    served = Node(
        Description(POLICE.uri, lambda: node.registry, time.time),
        guard=Guard(lambda: node.registry),
        worker=worker,
        answerer=node.answerer,
        disputes=node.disputes,
    )
    server.add_generic_rpc_handlers(served.handlers)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(watch_tls(PartyFolder(folder / POLICE.name).tls)))
    working = asyncio.create_task(worker.run())
    await server.start()
    parent.send(f"127.0.0.1:{port}")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(parent.fileno(), ended.set)
    await ended.wait()
    await served.stop()
    await server.stop(1.0)
    working.cancel()
