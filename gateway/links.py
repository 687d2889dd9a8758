"""The links to all department nodes of the registry, kept in step with it."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc

from gateway.department_link import DepartmentLink
from gateway.departments import OnBatch, OnOrphans
from gateway.party.keyfiles import Watched
from gateway.party.process import Clock
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.tls import TlsMaterial, check_server, open_channel
from gateway.protocol.errors import UnreachableError
from gateway.protocol.identities import PartyRole, parse_identity
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry


class DepartmentLinks:
    """One link for each department node that the registry lists; `reconcile` after each change of the registry."""

    def __init__(
        self,
        keeper: RegistryKeeper,
        tls: Watched[TlsMaterial],
        clock: Clock,
    ) -> None:
        self._keeper = keeper
        self._tls = tls
        self._clock = clock
        self._links: dict[str, tuple[DepartmentLink, asyncio.Task[None]]] = {}

    def link(self, department: str) -> DepartmentLink | None:
        """The link to a node, if the registry lists it."""
        entry = self._links.get(department)
        return entry[0] if entry else None

    def untried(self) -> list[str]:
        """Nodes whose stream nobody has tried to open yet, as at start."""
        return [department for department, (link, _) in self._links.items() if not link.tried]

    def connected(self) -> int:
        """How many streams are open."""
        return sum(link.connected for link, _ in self._links.values())

    def reconcile(self, registry: Registry, on_batch: OnBatch, on_orphans: OnOrphans) -> None:
        """Open links to new nodes and end those to nodes that are gone."""
        listed = {party.id for party in registry.parties(PartyRole.DEPARTMENT)}
        for department in listed - self._links.keys():
            link = DepartmentLink(
                department, partial(self._open, department), self._keeper.current, self._clock, on_batch, on_orphans
            )
            self._links[department] = (link, asyncio.create_task(link.run()))
        for department in self._links.keys() - listed:
            self._links.pop(department)[1].cancel()

    async def close(self) -> None:
        """End all links."""
        tasks = [task for _, task in self._links.values()]
        self._links.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, department: str) -> grpc.aio.Channel:
        """A channel to a node where the registry now says that it listens, after checking who answers there."""
        terms = self._keeper.current().party(department).department
        if terms is None or not terms.channels:
            raise UnreachableError(Reason.DEPARTMENT_UNREACHABLE, "the registry lists no channel")
        self._tls.refresh()
        expected = parse_identity(department)
        await check_server(terms.channels[0], expected, self._tls)
        return open_channel(terms.channels[0], expected, self._tls, CLIENT_OPTIONS)
