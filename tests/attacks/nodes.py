"""Real department nodes in memory behind a gateway's real pipeline: what goes between them can be bent on the way."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway.departments.port import Acknowledgement, Ask, OnBatch, Reply
from gateway.protocol.attestation import open_batch, read_proof, read_signed_batch
from gateway.protocol.errors import UnreachableError
from gateway.protocol.keys import SigningKey
from gateway.protocol.presentation import write_presentation, write_presented_part, write_signed_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.sealing import OpeningKey
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.acknowledgements import Settlement, read_acknowledgement
from sandbox_departments.answerer import Answerer, Sources, Terms
from sandbox_departments.answering import Budget
from sandbox_departments.journal import Journal
from sandbox_departments.journal_entries import Entry, PartEntry, Refused
from sandbox_departments.replies import Incoming
from tests import federation as fed
from tests.fakes import Clock, FakeStandings
from tests.fakes_register import FakeRegister

SECRET = bytes(range(32))
PLENTY = Budget(100, float(fed.DAY))


@dataclass
class FederationKeys:
    """A node's own keys."""

    opened: Mapping[str, OpeningKey]
    key: SigningKey

    def opening(self) -> Mapping[str, OpeningKey]:
        return self.opened

    def signing(self, registry: Registry, now: float) -> SigningKey:
        return self.key


@dataclass
class RealNode:
    """A node's answerer over a real journal. It finds everybody with the fact there, and sees every grant standing."""

    federation: fed.Federation
    uri: str
    path: Path
    clock: Clock
    budget: Budget = PLENTY
    registry: Callable[[], Registry] | None = None
    register: FakeRegister = field(default_factory=FakeRegister)
    standings: FakeStandings = field(default_factory=FakeStandings)

    def __post_init__(self) -> None:
        self.journal = Journal(self.path)
        self._thread = ThreadPoolExecutor(max_workers=1)
        keys = FederationKeys(
            {"seal-1": self.federation.opening_keys[self.uri]}, self.federation.signing_keys[self.uri]
        )
        self.answerer = Answerer(
            Terms(self.uri, SECRET, self.budget, status_wait=0.2),
            sources=Sources(
                registry=lambda: self.registry() if self.registry else self.federation.registry,
                keys=keys,
                register=self.register,
                standings=self.standings,
            ),
            journal=self.journal,
            thread=self._thread,
            clock=self.clock,
            randomness=secrets.token_bytes,
        )

    def close(self) -> None:
        self._thread.shutdown()
        self.journal.close()

    async def answer(self, *asks: pb.Ask, gateway: str = fed.GATEWAY) -> pb.AnswerResponse:
        """What the node says over the connection of `gateway`."""
        (batch,) = await self.answerer.answer([Incoming(1, gateway, ask) for ask in asks])
        return batch.message

    async def acknowledge(self, message: pb.Acknowledgement, gateway: str = fed.GATEWAY) -> Settlement:
        return await self.answerer.acknowledge(gateway, [read_acknowledgement(message)])

    # -- what an auditor finds in its journal -----------------------------------------------------------------

    def entries(self) -> list[Entry]:
        return list(self.journal.entries())

    def parts(self) -> Iterator[PartEntry]:
        return (part for entry in self.entries() for part in getattr(entry, "parts", ()))

    def refused(self) -> list[tuple[str, Reason]]:
        """Every refusal that is journalled: in whose name the query was, and why."""
        return [(part.requester, part.reason) for part in self.parts() if isinstance(part, Refused)]


@dataclass
class NodePort:
    """A gateway's link to a real node, which may lie both ways.

    `bend` changes an ask before it is sent; `hides` throws the node's reply away and calls it unreachable;
    `silent` keeps acknowledgements back; `gateway` is whose connection it is. `replies` are all that came.
    """

    node: RealNode
    registry: Callable[[], Registry]
    clock: Clock
    on_batch: OnBatch
    bend: Callable[[pb.Ask], pb.Ask] = lambda ask: ask
    hides: bool = False
    silent: bool = False
    gateway: str = fed.GATEWAY
    asks: list[pb.Ask] = field(default_factory=list)
    replies: list[pb.AnswerResponse] = field(default_factory=list)
    acknowledgements: list[Acknowledgement] = field(default_factory=list)

    async def ask(self, ask: Ask, timeout: float) -> tuple[Reply, ...]:  # noqa: ASYNC109
        message = pb.Ask(
            ask_id=1,
            query=write_signed_query(ask.signed),
            part=write_presented_part(ask.part),
            grants=[write_presentation(grant) for grant in ask.grants],
        )
        self.asks.append(message)
        response = await self.node.answer(
            self.bend(pb.Ask.FromString(message.SerializeToString())), gateway=self.gateway
        )
        self.replies.append(response)
        (reply,) = response.replies
        if reply.fault:
            raise UnreachableError(Reason(reply.fault), "fault at the node")
        if self.hides:
            raise UnreachableError(Reason.DEPARTMENT_TIMED_OUT, "or so the gateway says")
        signed, proofs = read_signed_batch(response.batch), tuple(map(read_proof, reply.statements))
        batch = open_batch(signed, self.registry(), self.clock())
        self.on_batch(self.node.uri, signed, proofs)
        return (Reply(signed, batch, proofs),)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        self.acknowledgements.append(acknowledgement)

    async def send_again(self, take_orphans: Callable[[Any], Awaitable[None]]) -> None:
        """What the node does when its stream opens anew: every batch that is owed is sent again."""
        for digest in await self.node.answerer.unacknowledged(self.gateway):
            batch = await self.node.answerer.owed_batch(digest)
            assert batch is not None
            response = pb.AnswerResponse.FromString(batch.message)
            proofs = tuple(read_proof(proof) for reply in response.replies for proof in reply.statements)
            self.on_batch(self.node.uri, read_signed_batch(response.batch), proofs)
            await take_orphans(SimpleNamespace(department=self.node.uri, proofs=proofs))

    async def pass_on(self) -> None:
        """Send what the gateway acknowledged, unless it keeps silent."""
        held, self.acknowledgements = self.acknowledgements, []
        for item in () if self.silent else held:
            message = pb.Acknowledgement(
                batch_digest=item.batch_digest, leaf_indexes=item.leaf_indexes, checkpoint=item.checkpoint
            )
            await self.node.acknowledge(message, self.gateway)
