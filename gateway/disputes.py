"""Disputes at the gateway: recorded once, handed to the relay, and their resolutions recorded.

- A dispute is taken from whoever was answered, or from the issuer of a grant that the answer rests on, of an answer
  that stands in the store; anything else is refused alike. Its leaf, and what the department is brought, are one
  transaction: a dispute that was accepted is not lost.
- The department is brought the opener's own signed proof, and need not trust the gateway (`dispute_relay`).
- A resolution is a statement of the department that comes unasked. The first one stands; whatever else a department
  signs is logged as recovered.
- A corrected dispute lets its question be asked once more (`require_reverifiable` before, the commit for good).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from consent.dispute import open_proof, proof_digest
from gateway.allowance import Allowance
from gateway.departments.port import Orphans
from gateway.dispute_relay import DisputeRelay, bound_to
from gateway.events import Events
from gateway.evidence.kept import erased
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.protocol.attestation import SignedBatch, StatementProof, write_proof, write_signed_batch
from gateway.protocol.codec import encode, parse, to_timestamp
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import (
    Dispute,
    Disputed,
    not_disputable,
    question_of,
    require_disputable,
    require_reverifiable,
)
from gateway.protocol.errors import NotGrantedError
from gateway.protocol.identities import Identity
from gateway.protocol.leaf import Tags, log_time, read_leaf
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.presentation import read_signed_query
from gateway.protocol.query import Check, read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.protocol.resolutions import ResolutionOutcome, is_resolution, read_resolution
from gateway.request_values import Resumed
from gateway.requests import Requests
from gateway.stores.port import Store
from gateway.stores.records import Entry, RequestKey, StoredDispute, StoredResolution
from heyan.v1 import attestation_pb2, dispute_pb2, log_pb2, receipt_pb2

DISPUTE_BURST = 200
"""Disputes that one requester or issuer may open at once: a wrong import of one register, say."""
DISPUTES_PER_SECOND = 0.1
"""And in the long run: 8,640 a day, each of an answer that a use of a consent was spent for."""


def dispute_allowance(processes: int = 1) -> Allowance:
    """What one peer may dispute: each is a leaf, and work for a department's staff. Divided by the processes."""
    return Allowance(DISPUTE_BURST / processes, DISPUTES_PER_SECOND / processes, Reason.TOO_MANY_DISPUTES)


class Disputes:
    """One gateway's disputes: called by handlers and streams, on one event loop."""

    def __init__(
        self,
        *,
        log: Log,
        store: Store,
        requests: Requests,
        events: Events,
        stamp: LeafStamp,
        relay: DisputeRelay,
        allowance: Allowance,
    ) -> None:
        self._log = log
        self._store = store
        self._requests = requests
        self._events = events
        self._stamp = stamp
        self._relay = relay
        self._allowance = allowance
        self._opening: dict[bytes, asyncio.Task[float]] = {}

    # -- opening --------------------------------------------------------------------------------------------

    async def open(self, message: bytes, peer: Identity) -> dispute_pb2.DisputeAnswerResponse:
        """Record the dispute of a `DisputeAnswerRequest`, once for each answer; durable when this returns.

        Raises what `open_proof` raises, NotGrantedError (PEER_IDENTITY_MISMATCH, QUERY_OTHER_GATEWAY,
        ANSWER_NOT_DISPUTABLE) or OverloadedError (TOO_MANY_DISPUTES).
        """
        proof = parse(dispute_pb2.DisputeAnswerRequest, message, MAX_MESSAGE).proof
        registry, now = self._stamp.registry(), self._stamp.clock()
        registry.require_current(now)
        dispute = open_proof(proof, registry, now)
        if dispute.opener != peer.uri:
            raise NotGrantedError(Reason.PEER_IDENTITY_MISMATCH, "a dispute by somebody else")
        if dispute.gateway != self._stamp.gateway.uri:
            raise NotGrantedError(Reason.QUERY_OTHER_GATEWAY)
        resumed, statement = self._answer(dispute)
        name = dispute.statement_digest
        running = self._opening.get(name)
        if running is None:
            running = self._opening[name] = asyncio.create_task(self._open(dispute, proof, resumed, statement))
            running.add_done_callback(lambda _: self._opening.pop(name))
        time = await asyncio.shield(running)
        return dispute_pb2.DisputeAnswerResponse(dispute_id=name, log_time=to_timestamp(time))

    def _answer(self, dispute: Dispute) -> tuple[Resumed, bytes]:
        """The stored request and the statement that the opener may dispute; ANSWER_NOT_DISPUTABLE."""
        resumed = self._requests.find(RequestKey(dispute.requester, dispute.request_id))
        if resumed is None:
            raise not_disputable("no such request")
        if (
            dispute.grant_digest is not None
            and self._requests.kept.leaf_tags(dispute.opener, dispute.grant_digest) is None
        ):
            raise not_disputable("no grant of this issuer")
        for item in resumed.receipt.statements:
            if digest(Kind.STATEMENT, item.proof.statement) == dispute.statement_digest:
                require_disputable(dispute, item.proof.statement)
                return resumed, item.proof.statement
        raise not_disputable("no such answer to that request")

    async def _open(
        self, dispute: Dispute, proof: dispute_pb2.DisputeProof, resumed: Resumed, statement: bytes
    ) -> float:
        name = dispute.statement_digest
        known = self._store.dispute(name)
        if known is not None:
            return log_time(read_leaf(self._store.leaf(known.leaf_index)))
        now = self._stamp.clock()
        self._allowance.require(dispute.opener, now)
        self._allowance.spend(dispute.opener, now)  # before anything is awaited: many may come at once
        answer = require_disputable(dispute, statement)
        (grant_digest, *_) = read_query(read_signed_query(resumed.receipt.query).query).grant_digests
        event = log_pb2.DisputeEvent(
            opener=dispute.opener,
            department=dispute.department,
            statement_digest=name,
            ground=dispute.ground.value,  # type: ignore[arg-type]
            grant_tag=Tags(resumed.leaf_key).grant(grant_digest),
            proof_digest=proof_digest(proof),
        )
        relay = encode(dispute_pb2.OpenDisputeRequest(proof=proof, statement=statement))
        # A clock set back must not put the dispute before its answer: the receipt would hold no more.
        leaf = self._stamp(log_pb2.LogLeaf(dispute=event), max(now, self._requests.recorded_until(resumed)))
        stored = StoredDispute(
            dispute_id=name,
            key=RequestKey(dispute.requester, dispute.request_id),
            grant_digest=grant_digest,
            disputed=Disputed(dispute.department, dispute.requester, question_of(answer.asked.check), None, None),
            relay=self._requests.kept.encrypt(grant_digest, relay, bound_to(name)),
        )
        try:
            committed = await self._log.append(Entry(leaf, dispute=stored, kept_from=log_time(read_leaf(leaf))))
        finally:
            self._relay.add(name, dispute.department)  # a commit that failed may be durable; the relay looks
        if committed.erased:
            raise erased()
        if committed.overtaken:  # by another process on the same store
            return await self._open(dispute, proof, resumed, statement)
        return log_time(read_leaf(leaf))

    # -- what became of them --------------------------------------------------------------------------------

    async def take_orphans(self, orphans: Orphans) -> None:
        """Record resolutions among statements that nobody waits for; the rest is logged as recovered.

        Raises UnreachableError if the log cannot take one now: it is not acknowledged, and comes again.
        """
        others = [
            proof for proof in orphans.proofs if not await self._resolve(proof, orphans.signed, orphans.department)
        ]
        if others:
            await self._events.take_orphans(replace(orphans, proofs=tuple(others)))

    async def _resolve(self, proof: StatementProof, signed: SignedBatch, department: str) -> bool:
        """Record a resolution; False if it is none, or resolves nothing that is open."""
        if not is_resolution(proof.statement):
            return False
        resolution = read_resolution(proof.statement)
        name = resolution.statement_digest
        stored = self._store.dispute(name)
        parties = {department, resolution.department}
        if stored is None or {stored.disputed.department} != parties or stored.disputed.corrected is not None:
            return False
        event = log_pb2.ResolutionEvent(department=department, dispute_id=name, statement_digest=proof.digest)
        attested = attestation_pb2.AttestedStatement(proof=write_proof(proof), batch=write_signed_batch(signed))
        leaf = self._stamp(log_pb2.LogLeaf(resolution=event))
        entry = Entry(
            leaf,
            kept_from=log_time(read_leaf(leaf)),
            statement_digests=(proof.digest,),
            resolution=StoredResolution(name, resolution.outcome is ResolutionOutcome.CORRECTED, encode(attested)),
        )
        committed = await self._log.append(entry)
        if committed.overtaken:  # the same came over another channel, or another one
            return False
        self._relay.end(name)
        self._events.acknowledge(entry.statement_digests, committed)
        return True

    def require_reverifiable(self, check: Check, department: str, key: RequestKey) -> None:
        """Hold a check that names a dispute against it, as far as is known before the commit decides.

        Raises NotGrantedError, see `gateway.protocol.disputes.require_reverifiable`; nothing for any other check.
        """
        if check.dispute_id:
            stored = self._store.dispute(check.dispute_id)
            require_reverifiable(
                check,
                stored.disputed if stored is not None else None,
                department=department,
                requester=key.requester,
                request_id=key.request_id,
            )

    def attach(self, receipt: receipt_pb2.Receipt) -> None:
        """Add to a receipt the disputes of its answers; all of its leaves are then proven under the newest head."""
        digests = (digest(Kind.STATEMENT, item.proof.statement) for item in receipt.statements)
        found = [stored for each in digests if (stored := self._store.dispute(each)) is not None]
        if not found:
            return
        head = self._log.head()  # after what it must cover was read
        for item in leaf_proofs(receipt):
            item.proof = self._log.prove_again(item.proof, head)

        def proven(index: int) -> receipt_pb2.LeafProof:
            return receipt_pb2.LeafProof(leaf=self._store.leaf(index), proof=self._log.prove(index, head))

        for stored in found:
            record = receipt.disputes.add(dispute_id=stored.dispute_id, leaf=proven(stored.leaf_index))
            if stored.resolution is not None:
                record.resolution.ParseFromString(stored.resolution)
                record.resolution_leaf.CopyFrom(proven(stored.resolution_index))
