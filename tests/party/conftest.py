"""A small federation in a temporary folder: one desk, one gateway, one department, one requester, one auditor."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from gateway.operator.desk import Desk
from gateway.operator.enrolment import PartyFolder
from gateway.party.config import RegistryFiles
from gateway.party.tls import server_credentials, watch_tls
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.registry_terms import (
    Coverage,
    DepartmentTerms,
    GatewayTerms,
    LocalName,
    Party,
    RequesterTerms,
)

GATEWAY = Identity(PartyRole.GATEWAY, "hunan")
POLICE = Identity(PartyRole.DEPARTMENT, "police")
ENROL = Identity(PartyRole.REQUESTER, "enrol")
AUDITOR = Identity(PartyRole.AUDITOR, "discipline")
NAME = LocalName("某方", "someone")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def entry_of(identity: Identity, address: str = "127.0.0.1:1") -> Party:
    department = DepartmentTerms(
        DepartmentKind.POLICE, (Coverage(("hukou.child_registered@1",), ("43",)),), (address,), ()
    )
    requester = RequesterTerms(("hukou.child_registered@1",), ("43",), ("enrolment",))
    return Party(
        identity.uri,
        NAME,
        department=department if identity.role is PartyRole.DEPARTMENT else None,
        requester=requester if identity.role is PartyRole.REQUESTER else None,
        gateway=GatewayTerms((address,), "log.hunan") if identity.role is PartyRole.GATEWAY else None,
    )


@dataclass(frozen=True)
class Federation:
    desk: Desk
    root: Path
    clock: Clock

    def folder(self, identity: Identity) -> PartyFolder:
        return PartyFolder(self.root / identity.role.value / identity.name)

    def registry_files(self, identity: Identity) -> RegistryFiles:
        return RegistryFiles(
            source=self.desk.registry_file,
            operator_vkey=self.desk.vkey,
            seen=self.folder(identity).path / "registry.seen",
        )

    def watch(self, identity: Identity):
        return watch_tls(self.folder(identity).tls)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    clock = Clock(time.time())
    desk = Desk.create(tmp_path / "operator", "test", clock.now)
    made = Federation(desk, tmp_path / "parties", clock)
    for identity in (GATEWAY, POLICE, ENROL, AUDITOR):
        desk.enrol(entry_of(identity), made.folder(identity), clock.now)
    desk.sign(clock.now)
    return made


class Echo(grpc.GenericRpcHandler):
    """Calls `handle(context)` for every method and returns its text."""

    def __init__(self, handle) -> None:
        self._handle = handle

    def service(self, handler_call_details):
        async def call(request, context):
            return self._handle(context).encode()

        return grpc.unary_unary_rpc_method_handler(call)


@pytest.fixture
async def serve():
    """Starts gRPC servers with the credentials of a Watched identity; their host:port."""
    servers = []

    async def start(tls, handle=lambda context: "") -> str:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Echo(handle),))
        port = server.add_secure_port("127.0.0.1:0", server_credentials(tls))
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)
