"""What each client process holds: a way to Heyan's gateway, to the departments themselves, and through each proxy.

All ways are sent by the same code, from the same processes, about the same families, over the same number of
connections (to the departments themselves: one to each).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from benchmarks.applicants import FIVE_CLAIMS, GROUP_OF_FIVE, Applicant, applicants, families_of
from benchmarks.clients import Held
from benchmarks.fresh_consents import FreshConsents
from benchmarks.load import Generator, Way
from benchmarks.peers.calls import Asker, ByCalls, calls_through, each_check, first_check, together
from benchmarks.peers.place import HOST, PEER, peer_tls
from benchmarks.ways import ThroughGateway
from gateway.cli.endpoints import open_client_as, read_endpoints
from gateway.client import Client
from gateway.party.config import TlsFiles
from gateway.party.keyfiles import Watched
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.tls import TlsMaterial, open_channel, watch_tls
from gateway.protocol.identities import Identity, PartyRole
from sandbox_departments.truth import TrueAnswer, Truth

HEYAN, DIRECT, UNARY, TOGETHER = "heyan", "direct", "unary", "in one call a department"


@dataclass(frozen=True)
class Doors:
    """Where the ways lead: `proxies` are ports by name."""

    folder: Path
    requester: str
    families: int
    channels: int
    proxies: Mapping[str, int]


def five_checks(truth: Truth) -> list[TrueAnswer]:
    """What is asked about a family; nothing about families of other groups."""
    if truth.application.group is not GROUP_OF_FIVE:
        return []
    return [answer for answer in truth.plan if answer.claim in FIVE_CLAIMS]


class Freshly:
    """A way on which each application rests on a consent of its own, so that no grant's signature was seen before."""

    def __init__(self, way: Way[Any], consents: FreshConsents) -> None:
        self._way = way
        self._consents = consents
        self.ask = way.ask

    def prepare(self, who: Applicant) -> Any:
        """What the way prepares, of a fresh consent."""
        return self._way.prepare(replace(who, consent=self._consents.again(who.family, who.consent)))


@asynccontextmanager
async def open_doors(doors: Doors, number: int, of: int) -> AsyncIterator[Mapping[str, Held]]:
    """Connect process `number` of `of`; it asks about every `of`th family from there on."""
    folder, requester = doors.folder, doors.requester
    families = families_of(folder, doors.families, lambda truth: bool(five_checks(truth)))[number::of]
    fresh = FreshConsents(folder)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client_as(_Asking, folder, requester)) for _ in range(doors.channels)
        ]
        ours = await applicants(folder, requester, families, five_checks)
        theirs = await applicants(folder, requester, families, five_checks, PEER)
        ways: dict[str, tuple[Way[Any], list[Applicant]]] = {HEYAN: (ThroughGateway(*clients), ours)}
        asker = clients[0].asker()
        endpoints = read_endpoints(folder)
        departments = {_department(name).uri: name for name in endpoints.departments}
        tls = watch_tls(peer_tls(folder))
        own = {
            uri: calls_through([await _channel(stack, endpoints.departments[name].grpc, _department(name), tls)], [uri])
            for uri, name in departments.items()
        }
        direct = {uri: call for calls in own.values() for uri, call in calls.items()}
        ways[DIRECT] = (ByCalls(asker, direct, each_check), theirs)
        ways[UNARY] = (ByCalls(asker, direct, first_check), theirs)
        files = endpoints.requesters[requester]
        as_requester = watch_tls(
            TlsFiles(certificate=folder / files.cert, key=folder / files.key, ca=folder / endpoints.ca)
        )
        for name, port in doors.proxies.items():
            channels = [await _channel(stack, f"{HOST}:{port}", PEER, as_requester) for _ in range(doors.channels)]
            calls = calls_through(channels, tuple(departments), departments)
            ways[name] = (ByCalls(asker, calls, each_check), theirs)
            ways[f"{name}, {TOGETHER}"] = (ByCalls(asker, calls, together), theirs)
        yield {name: Held(Generator(Freshly(way, fresh)), held) for name, (way, held) in ways.items()}


class _Asking(Client):
    """A client that lends its name and key to the peers' calls."""

    def asker(self) -> Asker:
        """In its name, through the peers' gateway."""
        return Asker(self._settings.requester, PEER.uri, self._settings.signing_key, self._registry)


async def _channel(
    stack: AsyncExitStack, target: str, expected: Identity, tls: Watched[TlsMaterial]
) -> grpc.aio.Channel:
    return await stack.enter_async_context(open_channel(target, expected, tls, CLIENT_OPTIONS))


def _department(name: str) -> Identity:
    return Identity(PartyRole.DEPARTMENT, name)
