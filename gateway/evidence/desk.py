"""Evidence for auditors: what is kept of a query, shown only after the log has recorded who asked for it and why.

    role (in the table of methods) → allowance → the case's reference → find → log the access, durably → show

- Whoever is shown anything stands in the log, with the case; so does whoever asked in vain, or for what was erased.
  If the log cannot record it, nothing is shown.
- Shown are the receipt, which anybody verifies offline, and the grants: pseudonyms, commitments, claims and outcomes.
  Never the sealed subjects, nor the salts of commitments: the first are not in evidence (a deferred request has them,
  encrypted, until it ends), the second were never here.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.allowance import Allowance
from gateway.disputes import Disputes
from gateway.evidence.kept import erased
from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.party.service import Context, Method
from gateway.protocol.case_references import check_case_reference
from gateway.protocol.checkpoint import unverified_checkpoint
from gateway.protocol.codec import parse
from gateway.protocol.errors import MalformedError, NotFoundError
from gateway.protocol.identities import Identity, PartyRole, parse_identity
from gateway.protocol.leaf import Tags
from gateway.protocol.limits import MAX_MESSAGE, MAX_REQUEST_ID, MIN_REQUEST_ID
from gateway.protocol.proof import parse_proof
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.request_values import Resumed
from gateway.requests import Requests
from gateway.stores.port import Store
from gateway.stores.records import Entry, Head, RequestKey
from heyan.v1 import log_pb2, log_service_pb2, receipt_pb2

BURST = 100
"""Looks of one auditor at once: a case of some families."""
PER_SECOND = 1 / 60
"""And in the long run: 1,440 a day, each a leaf that says whose it was."""


def evidence_allowance(processes: int = 1) -> Allowance:
    """What one auditor may look at: nobody reads all evidence at once, not even with a right to each piece.

    Divided by the processes of the gateway.
    """
    return Allowance(BURST / processes, PER_SECOND / processes, Reason.OVERLOADED)


class EvidenceDesk:
    """Shows evidence to auditors, on one event loop."""

    def __init__(
        self,
        *,
        store: Store,
        log: Log,
        requests: Requests,
        disputes: Disputes,
        stamp: LeafStamp,
        allowance: Allowance,
    ) -> None:
        self._store = store
        self._log = log
        self._requests = requests
        self._disputes = disputes
        self._stamp = stamp
        self._allowance = allowance

    def methods(self) -> tuple[Method, ...]:
        """The method with the role that may call it."""
        return (Method("GetEvidence", frozenset({PartyRole.AUDITOR}), self.get_evidence),)

    async def get_evidence(self, message: bytes, peer: Identity, _context: Context) -> bytes:
        """See the contract.

        Raises MalformedError, OverloadedError, LogUnavailableError; NotFoundError, after it was logged, for a request
        that there is not (REQUEST_NOT_FOUND) or whose evidence was destroyed (EVIDENCE_ERASED).
        """
        request = parse(log_service_pb2.GetEvidenceRequest, message, MAX_MESSAGE)
        case = check_case_reference(request.case_reference)
        if not MIN_REQUEST_ID <= len(request.request_id) <= MAX_REQUEST_ID:
            raise MalformedError.at("request_id", f"must be {MIN_REQUEST_ID} to {MAX_REQUEST_ID} bytes")
        requester = parse_identity(request.requester)
        if requester.role is not PartyRole.REQUESTER:
            raise MalformedError.at("requester", "must be the SPIFFE ID of a requester")
        now = self._stamp.clock()
        self._allowance.require(peer.uri, now)
        self._allowance.spend(peer.uri, now)  # before anything is awaited: many may come at once
        key = RequestKey(requester.uri, request.request_id)
        try:
            resumed = self._requests.find(key)
        except NotFoundError:
            await self._record(peer, case, None)
            raise
        index = await self._record(peer, case, resumed)
        if resumed is None:
            raise NotFoundError(Reason.REQUEST_NOT_FOUND)
        return self._shown(self._requests.find(key), index).SerializeToString()

    async def _record(self, peer: Identity, case: str, resumed: Resumed | None) -> int:
        """Log the access; the index of its leaf, which is durable."""
        tag = Tags(resumed.leaf_key).query(resumed.query_digest) if resumed is not None else b""
        event = log_pb2.EvidenceAccessEvent(auditor=peer.uri, query_tag=tag, case_reference=case)
        committed = await self._log.append(Entry(self._stamp(log_pb2.LogLeaf(evidence_access=event))))
        return committed.leaf_index

    def _shown(self, resumed: Resumed | None, access: int) -> log_service_pb2.GetEvidenceResponse:
        """What is kept now: found again after the access was recorded, since it may have been erased meanwhile."""
        if resumed is None:
            raise erased()
        receipt = self._requests.receipt(resumed)
        self._disputes.attach(receipt)
        response = log_service_pb2.GetEvidenceResponse(receipt=receipt)
        for digest in read_query(resumed.receipt.query.query).grant_digests:
            held = self._store.evidence(digest)
            if held is None or held.is_erased:
                raise erased()
            response.grants.append(self._requests.kept.presentation(held))
        head = self._head_over(access, receipt)
        response.access.CopyFrom(
            receipt_pb2.LeafProof(leaf=self._store.leaf(access), proof=self._log.prove(access, head))
        )
        return response

    def _head_over(self, access: int, receipt: receipt_pb2.Receipt) -> Head:
        """The tree that proves the access: the receipt's newest, or a newer log's if that one has ended since."""
        note = parse_proof(receipt.leaves[-1].proof.encode()).checkpoint
        checkpoint = unverified_checkpoint(note)
        tree = replace(self._log.head(checkpoint.origin), size=checkpoint.size, root=checkpoint.root, checkpoint=note)
        return tree if tree.holds(access) else self._log.head()
