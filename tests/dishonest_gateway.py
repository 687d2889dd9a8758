"""A gateway that lies wherever a gateway can: built of the real one's modules, with its certificate and log key.

    real pipeline ── NodePort (bends asks, hides replies) ── real nodes with real journals
         │
    real log, and `Forgery`: another log of the gateway's own making, signed with the very same key
         │
    real client, over `channel`: every receipt may be bent on its way

Each lie is a method or a setting here; who notices, and by what evidence, is the tests'.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from consent.consent_file import ConsentFile
from consent.selection import presentations_for
from gateway.asking import Question
from gateway.audit.findings import Disclosure, Reconciliation
from gateway.audit.journals import read_journal
from gateway.audit.log_view import LogView, Sighting
from gateway.audit.reconciliation import reconcile
from gateway.client import Client, Verification
from gateway.protocol.attestation import Refusal, open_batch, open_statement, read_proof, read_signed_batch
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.leaf import read_leaf, write_leaf
from gateway.protocol.merkle import inclusion_path, leaf_hash, root_of
from gateway.protocol.note import ED25519, SignerKey, VerifierKey
from gateway.protocol.presentation import (
    PresentedPart,
    Submission,
    read_submission,
    write_presentation,
    write_presented_part,
    write_signed_query,
)
from gateway.protocol.proof import InclusionProof, parse_proof
from gateway.protocol.query import open_part, read_query
from heyan.v1 import department_service_pb2 as pb
from heyan.v1 import gateway_service_pb2, log_pb2, receipt_pb2
from sandbox_departments.answering import Budget
from sandbox_departments.journal_entries import BatchSigned, PartEntry, Refused
from tests import federation as fed
from tests.attacks.nodes import PLENTY, NodePort, RealNode
from tests.gateway.conftest import PEER, PLAN, QUESTIONS, Gateway, client_over

POLICE = fed.DEPARTMENTS[fed.DepartmentKind.POLICE]
LAND = fed.DEPARTMENTS[fed.DepartmentKind.LAND]
HRSS = fed.DEPARTMENTS[fed.DepartmentKind.HRSS]

BendReceipt = Callable[[receipt_pb2.Receipt], object]
BendLeaf = Callable[[log_pb2.LogLeaf], None]


@dataclass
class Forgery:
    """A log of the gateway's own making, under the real origin and signed with the real key."""

    signer: SignerKey
    leaves: list[bytes] = field(default_factory=list)

    def note(self, size: int | None = None) -> str:
        some = self.leaves[: len(self.leaves) if size is None else size]
        checkpoint = Checkpoint(fed.LOG_ORIGIN, len(some), root_of([leaf_hash(leaf) for leaf in some]))
        return sign_checkpoint(checkpoint, [self.signer])

    def append(self, leaf: bytes) -> int:
        self.leaves.append(leaf)
        return len(self.leaves) - 1

    def prove(self, index: int) -> str:
        path = inclusion_path([leaf_hash(leaf) for leaf in self.leaves], index)
        return InclusionProof(index, path, self.note()).format()

    def record(self, receipt: receipt_pb2.Receipt, bend: BendLeaf = lambda _: None) -> int:
        """Put a receipt's leaf into this log, bent, and let the receipt prove that; the leaf's index."""
        leaf = read_leaf(receipt.leaves[0].leaf)
        bend(leaf)
        index = self.append(write_leaf(leaf))
        receipt.leaves[0].leaf = self.leaves[index]
        receipt.leaves[0].proof = self.prove(index)
        return index


@dataclass
class DishonestGateway:
    """The gateway, the nodes that it asks, and the client that it answers."""

    gateway: Gateway
    nodes: dict[str, RealNode]
    ports: dict[str, NodePort]
    bend_receipt: BendReceipt = lambda _: None
    submission: Submission | None = None
    """What its client sent last."""

    # -- lying to departments ---------------------------------------------------------------------------------

    @property
    def police(self) -> NodePort:
        return self.ports[POLICE]

    @property
    def land(self) -> NodePort:
        return self.ports[LAND]

    def sent_for(self, department: str) -> PresentedPart:
        """The part of the client's last submission that is for a department."""
        assert self.submission is not None
        return next(part for part in self.submission.parts if open_part(part.part).part.department == department)

    def forgery(self, *, of: Iterable[bytes] = ()) -> Forgery:
        """A log of its own, beginning with these leaves."""
        key = self.gateway.federation.signing_keys[fed.GATEWAY].private
        return Forgery(SignerKey.from_seed(fed.LOG_ORIGIN, key.private_bytes_raw()), list(of))  # type: ignore[union-attr]

    async def settle(self) -> None:
        """Pass on what the real pipeline acknowledged."""
        for port in self.ports.values():
            await port.pass_on()

    def asks_for(self, submission: Submission) -> dict[str, pb.Ask]:
        """What an honest gateway would send for a submission, by department."""
        query = read_query(submission.signed.query)
        asks = {}
        for part in submission.parts:
            opened = open_part(part.part).part
            asks[opened.department] = pb.Ask(
                ask_id=1,
                query=write_signed_query(submission.signed),
                part=write_presented_part(part),
                grants=[write_presentation(grant) for grant in presentations_for(opened, query, submission.grants)],
            )
        return asks

    async def told(self, department: str, ask: pb.Ask, gateway: str = fed.GATEWAY) -> list[str]:
        """What a department says to an ask, past the gateway's own store, rules and log: outcomes, or a reason."""
        response = await self.nodes[department].answer(ask, gateway=gateway)
        (reply,) = response.replies
        if reply.fault:
            return [reply.fault]
        batch = open_batch(read_signed_batch(response.batch), self.gateway.federation.registry, self.gateway.clock.now)
        statements = [open_statement(read_proof(proof), batch) for proof in reply.statements]
        return [item.reason.value if isinstance(item, Refusal) else item.outcome.name for item in statements]

    async def acknowledge_by(self, forgery: Forgery, *departments: str) -> None:
        """Acknowledge all that is owed by where another log names it, or by its leaf 0 where that names it not."""
        places = {
            digest: index
            for index, leaf in enumerate(map(read_leaf, forgery.leaves))
            for digest in (
                *(row.statement_digest for row in leaf.verification.checks),
                *leaf.recovery.statement_digests,
            )
        }
        for uri in departments or self.nodes:
            node = self.nodes[uri]
            owed = set(node.journal.unacknowledged(fed.GATEWAY))
            for batch in (entry for entry in node.entries() if isinstance(entry, BatchSigned) and entry.batch in owed):
                indexes = [places.get(digest, 0) for part in batch.parts for digest in digests_of(part)]
                await node.acknowledge(
                    pb.Acknowledgement(batch_digest=batch.batch, leaf_indexes=indexes, checkpoint=forgery.note())
                )

    # -- lying to the client ----------------------------------------------------------------------------------

    def renew(self) -> None:
        """It is the connection of its client."""

    @property
    def channel(self) -> DishonestGateway:
        return self

    def unary_unary(self, _path: str) -> Callable[..., Awaitable[bytes]]:
        async def call(message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
            self.submission = read_submission(gateway_service_pb2.VerifyRequest.FromString(message))
            receipt = await self.gateway.pipeline.verify(message, PEER, None)
            self.bend_receipt(receipt)
            return gateway_service_pb2.VerifyResponse(receipt=receipt).SerializeToString()

        return call

    def client(self) -> Client:
        return client_over(self, self.gateway)

    async def verify(
        self, consent: ConsentFile | None = None, questions: Sequence[Question] = QUESTIONS
    ) -> Verification:
        """What the real client believes of an application."""
        consent = consent or self.gateway.federation.issue()
        return await self.client().verify(questions, consent, PLAN)

    # -- what an auditor sees ---------------------------------------------------------------------------------

    def log_view(self, forgery: Forgery | None = None) -> LogView:
        """The log as the gateway shows it to an auditor: the real one, or one of its own making."""
        keys = self.gateway.federation.signing_keys
        verifiers = tuple(
            VerifierKey.of(fed.LOG_ORIGIN, ED25519, keys[uri].public_key().public) for uri in fed.GATEWAYS
        )
        leaves = self.leaves() if forgery is None else forgery.leaves
        note = self.gateway.log.head().checkpoint if forgery is None else forgery.note()
        return LogView(fed.LOG_ORIGIN, frozenset({fed.GATEWAY, fed.OTHER_GATEWAY}), verifiers, leaves, note)

    def leaves(self) -> list[bytes]:
        return list(self.gateway.store.leaves(0, 10_000))

    def audit(
        self,
        forgery: Forgery | None = None,
        *,
        allowed: float = 0.0,
        sightings: Sequence[Sighting] = (),
        disclosures: Sequence[Disclosure] = (),
    ) -> Reconciliation:
        """Reconcile the log with the nodes' journals, both as they are a minute from now."""
        now = self.gateway.clock.now + 60
        journals = [
            read_journal(node.uri, node.journal.chain(), now, node.journal.verify_chain().hash)
            for node in self.nodes.values()
        ]
        view = self.log_view(forgery)
        return reconcile(view, journals, allowed=allowed, sightings=sightings, disclosures=disclosures)

    def found(self, *args: object, **kwargs: object) -> list[tuple[str, str]]:
        """Kinds and holders of what the auditor finds."""
        return [(finding.kind.value, finding.holder) for finding in self.audit(*args, **kwargs).findings]  # type: ignore[arg-type]


def digests_of(part: PartEntry) -> tuple[bytes, ...]:
    """The statements that a journal's entry tells of one part."""
    return (part.statement,) if isinstance(part, Refused) else part.statements


def disclosure_of(result: Verification) -> Disclosure:
    """What the requester may show an auditor of its receipt: where its rows stand."""
    return Disclosure.of(result.receipt, result.verified)


def sighting_of(result: Verification) -> Sighting:
    """What the requester may show an auditor of its receipt: which log it was shown."""
    return Sighting(fed.REQUESTER, parse_proof(result.receipt.leaves[0].proof.encode()).checkpoint)


@contextmanager
def dishonest(
    gateway: Gateway, folder: Path, *, departments: Sequence[str] = (POLICE, LAND), budget: Budget = PLENTY
) -> Iterator[DishonestGateway]:
    """A gateway with real nodes for these departments; each lie is then set on it."""
    nodes, ports = {}, {}
    with ExitStack() as closing:
        for uri in departments:
            node = RealNode(gateway.federation, uri, folder / f"{uri.rpartition('/')[2]}.db", gateway.clock, budget)
            closing.callback(node.close)
            on_batch = gateway.departments[uri].on_batch
            nodes[uri] = node
            ports[uri] = NodePort(node, lambda: gateway.federation.registry, gateway.clock, on_batch)
            gateway.departments[uri] = ports[uri]  # type: ignore[assignment]
        yield DishonestGateway(gateway, nodes, ports)
