"""A node's disputes: taken on a proof that it verifies for itself, decided by its staff, resolved under its signature.

- A dispute is taken if its opener's proof holds, and the disputed statement stands in the node's own ledger: made to
  that requester, under that request_id. A gateway can invent neither.
- What was taken is durable and journalled before it is confirmed; taking it again changes nothing.
- Staff decide in a process of their own (`heyan department dispute`), which holds no key: the decision is journalled,
  and the node signs the resolution in its next look, in a batch that is owed to the gateway like any other.
- A decision stands: it cannot be changed, as what was signed cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from math import floor
from typing import Protocol

from consent.dispute import open_proof, proof_digest
from gateway.protocol.attestation import sign_batch, write_proof, write_signed_batch
from gateway.protocol.codec import encode, parse, to_timestamp
from gateway.protocol.disputes import Dispute, not_disputable, question_of, require_disputable
from gateway.protocol.errors import ConflictError, ForgedError, NotFoundError, NotGrantedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import MAX_MESSAGE, NONCE_SIZE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.resolutions import Resolution, ResolutionReason, write_resolution
from heyan.v1 import department_service_pb2, dispute_pb2
from sandbox_departments.dispute_ledger import ListedDispute
from sandbox_departments.journal import Journal
from sandbox_departments.journal_entries import BatchSigned, DisputeDecided, DisputeReceived, Entry, Resolved
from sandbox_departments.ledger import Ledger, OwedBatch
from sandbox_departments.replies import STATEMENTS_PER_BATCH, statement_digest
from sandbox_departments.working_days import Calendar, due_time

Randomness = Callable[[int], bytes]


class AnswerKeys(Protocol):
    """The node's answer keys as they are now."""

    def signing(self, registry: Registry, now: float) -> SigningKey:
        """The answer key to sign with; ForgedError (KEY_UNKNOWN) if none counts."""
        ...


class DisputeDesk:
    """The disputes of one node. `thread` is the single worker on which its journal is used."""

    def __init__(
        self,
        department: str,
        *,
        registry: Callable[[], Registry],
        keys: AnswerKeys,
        journal: Journal,
        thread: Executor,
        clock: Callable[[], float],
        randomness: Randomness,
    ) -> None:
        self._department = department
        self._registry = registry
        self._keys = keys
        self._journal = journal
        self._thread = thread
        self._clock = clock
        self._randomness = randomness

    async def receive(self, message: bytes, gateway: str) -> dispute_pb2.OpenDisputeResponse:
        """Take an OpenDisputeRequest that came over the connection of `gateway`; durable when this returns.

        Raises what `open_proof` raises, ForgedError (DISPUTE_INVALID), NotGrantedError (ANSWER_NOT_DISPUTABLE) or
        LogUnavailableError.
        """
        request = parse(dispute_pb2.OpenDisputeRequest, message, MAX_MESSAGE)
        registry, now = self._registry(), self._clock()
        dispute = open_proof(request.proof, registry, now)
        if (dispute.department, dispute.gateway) != (self._department, gateway):
            raise ForgedError(Reason.DISPUTE_INVALID, "for another department, or through another gateway")

        def take() -> float:
            with self._journal.transaction() as ledger:
                return _take(ledger, dispute, request, now)

        received = await asyncio.get_running_loop().run_in_executor(self._thread, take)
        return dispute_pb2.OpenDisputeResponse(receive_time=to_timestamp(received))

    async def sign_decided(self) -> int:
        """Sign the resolutions of all disputes that are decided; how many. The batches are then owed to gateways."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sign_decided)

    async def count(self, calendar: Calendar) -> tuple[int, int]:
        """How many disputes are undecided, and how many of them overdue."""

        def look() -> Sequence[float]:
            with self._journal.transaction() as ledger:
                return ledger.disputes.undecided()

        received = await asyncio.get_running_loop().run_in_executor(self._thread, look)
        now = self._clock()
        return len(received), sum(now >= due_time(time, calendar) for time in received)

    def _sign_decided(self) -> int:
        with self._journal.transaction() as ledger:
            decided = ledger.disputes.unsigned(STATEMENTS_PER_BATCH)
            if not decided:
                return 0
            now = self._clock()
            key = self._keys.signing(self._registry(), now)
            for gateway in sorted({dispute.gateway for dispute in decided}):
                self._sign([dispute for dispute in decided if dispute.gateway == gateway], gateway, key, ledger, now)
            return len(decided)

    def _sign(
        self, disputes: Sequence[ListedDispute], gateway: str, key: SigningKey, ledger: Ledger, now: float
    ) -> None:
        statements = [write_resolution(self._resolution(dispute)) for dispute in disputes]
        signed, proofs = sign_batch(statements, self._department, key, now)
        message = department_service_pb2.AnswerResponse(batch=write_signed_batch(signed), recovered=True)
        for proof in proofs:
            message.replies.add(statements=[write_proof(proof)])
        ledger.keep_batch(OwedBatch(signed.digest, gateway, now, len(statements), encode(message)))
        ledger.disputes.sign([dispute.dispute_id for dispute in disputes], signed.digest)
        parts = tuple(
            Resolved(dispute.dispute_id, dispute.requester, statement_digest(statement))
            for dispute, statement in zip(disputes, statements, strict=True)
        )
        ledger.append([BatchSigned(now, gateway, signed.digest, parts)])

    def _resolution(self, dispute: ListedDispute) -> Resolution:
        assert dispute.reason is not None and dispute.decided is not None  # noqa: S101, PT018 - it is decided
        decided = float(floor(dispute.decided))
        return Resolution(dispute.dispute_id, self._department, dispute.reason, decided, self._randomness(NONCE_SIZE))


def decide(journal: Journal, dispute_id: bytes, reason: ResolutionReason, now: float) -> None:
    """Record what staff decided, for the node to sign; durable when this returns. Deciding alike again is the same.

    Raises NotFoundError (DISPUTE_UNKNOWN) or ConflictError (DISPUTE_RESOLVED).
    """
    with journal.transaction() as ledger:
        dispute = ledger.disputes.find(dispute_id)
        if dispute is None:
            raise NotFoundError(Reason.DISPUTE_UNKNOWN)
        if dispute.reason is None:
            ledger.disputes.decide(dispute_id, reason, now)
            ledger.append([DisputeDecided(now, dispute_id, reason)])
        elif dispute.reason is not reason:
            raise ConflictError(Reason.DISPUTE_RESOLVED)


def listed(journal: Journal) -> Sequence[ListedDispute]:
    """Every dispute of a node, the oldest first."""
    with journal.transaction() as ledger:
        return ledger.disputes.all()


def _take(ledger: Ledger, dispute: Dispute, request: dispute_pb2.OpenDisputeRequest, now: float) -> float:
    """Put a verified dispute on the list, unless it is there; when it was received."""
    answer = require_disputable(dispute, request.statement)
    file = ledger.case_file(dispute.requester, dispute.request_id)
    case = file.cases.get(dispute.statement_digest) if file is not None else None
    if file is None or case is None:
        raise not_disputable("no such answer in this node's ledger")
    if dispute.grant_digest is not None and file.issuers.get(dispute.grant_digest) != dispute.opener:
        raise NotGrantedError(Reason.ANSWER_NOT_DISPUTABLE, "a grant of another issuer")
    known = ledger.disputes.find(dispute.statement_digest)
    if known is not None:
        return known.received
    check = answer.asked.check
    taken = ListedDispute(
        dispute_id=dispute.statement_digest,
        gateway=dispute.gateway,
        requester=dispute.requester,
        opener=dispute.opener,
        ground=dispute.ground,
        claim=check.claim,
        region=check.region,
        outcome=answer.outcome,
        question=question_of(check),
        case=case,
        received=now,
    )
    ledger.disputes.add(taken)
    entries: list[Entry] = [
        DisputeReceived(
            now, dispute.gateway, taken.dispute_id, dispute.opener, dispute.ground, proof_digest(request.proof)
        )
    ]
    ledger.append(entries)
    return now
