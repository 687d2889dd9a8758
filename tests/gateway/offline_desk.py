"""A school's desk for paper: requests whose answers are as wished, tickets, and results signed by its staff."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import grpc

from gateway.applications import Applications
from gateway.leaves import LeafStamp
from gateway.offline_service import OfflineMethods
from gateway.party.service import Guard, unary_handlers
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.keys import SigningKey
from gateway.protocol.offline import (
    OfflineReason,
    Result,
    SignedResult,
    Subject,
    sign_result,
    write_signed_result,
    write_subject,
)
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt
from gateway.protocol.receipt_tickets import Ticket
from gateway.refusals import Refusals
from gateway.rulebook import Rulebook
from gateway.tickets import Tickets
from heyan.v1 import log_pb2, receipt_pb2
from heyan.v1 import offline_service_pb2 as pb
from tests import federation as fed
from tests.attacks.front_door import Caller, RefusedError
from tests.gateway.conftest import PEER, Gateway, department_of

PATIENCE = 3600.0
HOME = Subject(check_id="c3")
"""What QUESTIONS ask as their third check."""
HOME_CLAIM = "property.owns_home@1"
SERVICE = "heyan.v1.OfflineService"


@dataclass
class OfflineDesk:
    """The gateway's tickets, and who uses them."""

    gateway: Gateway
    patience: float = PATIENCE
    applications: Applications = field(default_factory=lambda: Applications(Rulebook(None)))
    tickets: Tickets = field(init=False)
    methods: OfflineMethods = field(init=False)

    def __post_init__(self) -> None:
        gateway = self.gateway
        self.stamp = LeafStamp(parse_identity(fed.GATEWAY), lambda: gateway.federation.registry, gateway.clock)
        self.tickets = Tickets(
            requests=gateway.requests,
            applications=self.applications,
            registry=lambda: gateway.federation.registry,
            stamp=self.stamp,
            patience=self.patience,
        )
        self.methods = OfflineMethods(self.tickets, gateway.admission)

    @property
    def key(self) -> SigningKey:
        """The staff key of the asking requester."""
        return self.gateway.federation.staff_keys[fed.REQUESTER]

    async def asked(self, outcome: Outcome, **envelope: Any) -> tuple[bytes, Submission]:
        """A request whose third check has this outcome (UNAVAILABLE: its department cannot be reached)."""
        department = department_of(self.gateway, HOME_CLAIM)
        unreachable = UnreachableError(Reason.DEPARTMENT_UNREACHABLE)
        department.failure = unreachable if outcome is Outcome.UNAVAILABLE else None
        department.refusal = Reason.BUDGET_EXHAUSTED if outcome is Outcome.REFUSED else None
        department.outcome = outcome if outcome in (Outcome.NO, Outcome.UNDETERMINED) else Outcome.YES
        submission = self.gateway.submission(**envelope)
        await self.gateway.send(submission)
        return read_query(submission.signed.query).request_id, submission

    async def open(self, request_id: bytes, subject: Subject = HOME, peer: Identity = PEER) -> VerifiedReceipt:
        """The verified receipt with the ticket."""
        return self.gateway.check(await self.tickets.open(request_id, subject, peer))

    async def opened(self, request_id: bytes, subject: Subject = HOME) -> Ticket:
        """The ticket itself."""
        verified = await self.open(request_id, subject)
        return next(ticket for ticket in verified.tickets if ticket.opened.subject == subject)

    def result(self, ticket: Ticket, key: SigningKey | None = None, **changes: Any) -> SignedResult:
        """A signed result of a ticket, by its staff, now; `changes` bend what it says."""
        opened = ticket.opened
        right = Result(
            ticket_id=opened.ticket_id,
            requester=opened.requester,
            query_digest=opened.query_digest,
            subject=opened.subject,
            outcome=OfflineReason.ORIGINAL_SEEN.outcome,
            reason=OfflineReason.ORIGINAL_SEEN,
            issue_time=self.gateway.clock.now,
            nonce=bytes(16),
        )
        return sign_result(replace(right, **changes), key or self.key)

    async def resolve(self, signed: SignedResult, peer: Identity = PEER) -> VerifiedReceipt:
        """The verified receipt with the result."""
        return self.gateway.check(await self.tickets.resolve(signed, peer))

    def events(self, kind: str) -> list[Any]:
        """The events of one kind in the log."""
        return [getattr(leaf, kind) for leaf in self.gateway.leaves() if leaf.WhichOneof("event") == kind]


class OfflineDoor:
    """`OfflineService` as a peer meets it without a network: behind the real guard, which logs every refusal."""

    def __init__(self, desk: OfflineDesk) -> None:
        gateway = desk.gateway

        def registry() -> Any:
            return gateway.federation.registry

        self._refusals = Refusals(gateway.log, desk.stamp, gateway.clock)
        self._handlers = unary_handlers(SERVICE, desk.methods.methods(), Guard(registry, self._refusals.record))

    async def call(self, method: str, message: bytes, peer: str = fed.REQUESTER) -> bytes:
        """The response; RefusedError with the reason that the peer is told."""
        details = type("Details", (), {"method": f"/{SERVICE}/{method}"})()
        handler = self._handlers.service(details)
        assert isinstance(handler, grpc.RpcMethodHandler)
        answer: bytes = await handler.unary_unary(message, Caller(peer))
        return answer

    async def open(self, request_id: bytes, subject: Subject = HOME, peer: str = fed.REQUESTER) -> receipt_pb2.Receipt:
        request = pb.OpenOfflineTicketRequest(request_id=request_id, subject=write_subject(subject))
        data = await self.call("OpenOfflineTicket", request.SerializeToString(), peer)
        return pb.OpenOfflineTicketResponse.FromString(data).receipt

    async def resolve(self, signed: SignedResult, peer: str = fed.REQUESTER) -> receipt_pb2.Receipt:
        request = pb.ResolveOfflineTicketRequest(result=write_signed_result(signed))
        data = await self.call("ResolveOfflineTicket", request.SerializeToString(), peer)
        return pb.ResolveOfflineTicketResponse.FromString(data).receipt


async def told(work: Any) -> str:
    """The reason for which a call is refused."""
    try:
        await work
    except RefusedError as refusal:
        return refusal.reason
    except HeyanError as error:
        return error.reason.value
    raise AssertionError("it was not refused")


def last_refusal(desk: OfflineDesk) -> log_pb2.RefusalEvent:
    """The newest refusal in the log."""
    found: log_pb2.RefusalEvent = desk.events("refusal")[-1]
    return found
