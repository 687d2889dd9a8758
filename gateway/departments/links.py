"""The links to all department nodes of the registry, kept in step with it and with our own certificate."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc

from gateway.departments.link import DepartmentLink
from gateway.departments.port import OnBatch, OnOrphans
from gateway.departments.stream import DepartmentStream
from gateway.departments.traffic import Traffic
from gateway.party.keyfiles import Watched
from gateway.party.process import Clock
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.tls import TlsMaterial, check_server, open_channel
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.registry import Registry


class DepartmentLinks:
    """One link for each department node that the registry lists; `reconcile` once a second."""

    def __init__(self, keeper: RegistryKeeper, tls: Watched[TlsMaterial], clock: Clock, traffic: Traffic) -> None:
        self._keeper = keeper
        self._tls = tls
        self._clock = clock
        self._traffic = traffic
        self._links: dict[str, DepartmentLink] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def link(self, department: str) -> DepartmentLink | None:
        """The link to a node, if the registry lists it."""
        return self._links.get(department)

    def ready(self, department: str) -> bool:
        """Whether it is of use to ask a node now; also of one that the registry does not list: that is soon told."""
        link = self._links.get(department)
        return link is None or link.ready

    def untried(self) -> list[str]:
        """Nodes that nobody has tried to reach yet, as at start."""
        return [department for department, link in self._links.items() if not link.tried]

    def connected(self) -> int:
        """To how many nodes a stream is open."""
        return sum(link.connected for link in self._links.values())

    def reconcile(self, registry: Registry, on_batch: OnBatch, on_orphans: OnOrphans) -> None:
        """Open links to new nodes and channels, end those that are gone, and renew what has an old certificate."""
        self._tls.refresh()
        listed = {
            party.id: party.department.channels if party.department is not None else ()
            for party in registry.parties(PartyRole.DEPARTMENT)
        }
        for department, channels in listed.items():
            link = self._links.get(department)
            if link is None:
                open_stream = partial(self._stream, department, on_batch, on_orphans)
                link = self._links[department] = DepartmentLink(department, open_stream, self._traffic.of(department))
            link.reconcile(channels, self._tls.generation)
        for department in self._links.keys() - listed.keys():
            closing = asyncio.create_task(self._links.pop(department).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all links, after what still waits to be sent."""
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.close() for link in links), *self._closing, return_exceptions=True)

    def _stream(self, department: str, on_batch: OnBatch, on_orphans: OnOrphans, address: str) -> DepartmentStream:
        return DepartmentStream(
            department,
            partial(self._open, department, address),
            registry=self._keeper.current,
            clock=self._clock,
            on_batch=on_batch,
            on_orphans=on_orphans,
            traffic=self._traffic.of(department),
        )

    async def _open(self, department: str, address: str) -> grpc.aio.Channel:
        """A channel to a node, after checking who answers there."""
        self._tls.refresh()
        expected = parse_identity(department)
        await check_server(address, expected, self._tls)
        return open_channel(address, expected, self._tls, CLIENT_OPTIONS)
