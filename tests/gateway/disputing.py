"""Disputes at the gateway under test: made rightly, so that a test need bend only what it attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consent.consent_file import ConsentFile
from consent.dispute import sign_report
from gateway.asking import Question
from gateway.departments.port import Orphans
from gateway.protocol.attestation import sign_batch
from gateway.protocol.disputes import Dispute, DisputeGround, sign_dispute
from gateway.protocol.identities import Identity, parse_identity
from gateway.protocol.outcomes import Outcome
from gateway.protocol.receipt import VerifiedReceipt
from gateway.protocol.receipt_disputes import disputable
from gateway.protocol.resolutions import Resolution, ResolutionReason, write_resolution
from heyan.v1 import dispute_pb2, receipt_pb2
from tests import federation as fed
from tests.gateway.conftest import PEER, QUESTIONS, Gateway, department_of

ISSUER = parse_identity(fed.ISSUER)
HUKOU = "hukou.child_registered@1"
CHECK = "c1"


class Answered:
    """A query of which the hukou was answered NO, and what its answers are disputed with."""

    def __init__(self, gateway: Gateway, consent: ConsentFile, receipt: receipt_pb2.Receipt) -> None:
        self.gateway = gateway
        self.consent = consent
        self.receipt = receipt
        self.verified = gateway.check(receipt)

    @property
    def request_id(self) -> bytes:
        return self.verified.query.request_id

    def dispute(self, check_id: str = CHECK, **changes: Any) -> Dispute:
        """The requester's dispute of an answer."""
        answer = disputable(self.receipt, check_id)
        right = Dispute(
            opener=fed.REQUESTER,
            requester=fed.REQUESTER,
            request_id=self.request_id,
            gateway=fed.GATEWAY,
            department=answer.asked.department,
            statement_digest=answer.digest,
            ground=DisputeGround.RECORD_OUTDATED,
            issue_time=self.gateway.clock.now,
        )
        return replace(right, **changes)

    def signed(self, check_id: str = CHECK, by: str = fed.REQUESTER, **changes: Any) -> bytes:
        """A requester's DisputeAnswerRequest."""
        proof = sign_dispute(self.dispute(check_id, **changes), self.gateway.federation.signing_keys[by])
        return dispute_pb2.DisputeAnswerRequest(proof=proof).SerializeToString()

    def reported(self, check_id: str = CHECK, by: str = fed.ISSUER, **changes: Any) -> bytes:
        """An issuer's DisputeAnswerRequest, for the guardian."""
        of_guardian = {"opener": by, "grant_digest": self.consent.grants[0].digest, **changes}
        report = sign_report(
            self.dispute(check_id, **of_guardian), "jti-of-the-dispute", self.gateway.federation.signing_keys[by]
        )
        proof = dispute_pb2.DisputeProof(report=report)
        return dispute_pb2.DisputeAnswerRequest(proof=proof).SerializeToString()

    async def open(self, message: bytes | None = None, peer: Identity = PEER) -> bytes:
        """Open a dispute; its id."""
        return (await self.gateway.disputes.open(message or self.signed(), peer)).dispute_id

    def resolution(
        self, dispute_id: bytes, reason: ResolutionReason = ResolutionReason.RECORD_UPDATED, **changes: Any
    ) -> Orphans:
        """The police's resolution of a dispute, as it comes over a stream; `department`, `key` bend who signs."""
        police = department_of(self.gateway, HUKOU)
        by, key = changes.pop("department", police.department), changes.pop("key", police.key)
        now = self.gateway.clock.now
        resolution = replace(Resolution(dispute_id, by, reason, now, bytes(16)), **changes)
        signed, proofs = sign_batch([write_resolution(resolution)], by, key, now)
        police.on_batch(by, signed, proofs)
        return Orphans(by, proofs, signed)

    async def resolved(self, reason: ResolutionReason = ResolutionReason.RECORD_UPDATED) -> bytes:
        """Open the dispute and resolve it; its id."""
        dispute_id = await self.open()
        await self.gateway.disputes.take_orphans(self.resolution(dispute_id, reason))
        return dispute_id

    def attached(self) -> VerifiedReceipt:
        """The receipt with its disputes, verified as a client would."""
        receipt = self.gateway.pipeline.get(self.request_id, PEER)
        self.gateway.disputes.attach(receipt)
        return self.gateway.check(receipt)


async def answered(
    gateway: Gateway,
    consent: ConsentFile | None = None,
    questions: Sequence[Question] = QUESTIONS,
    **envelope: Any,
) -> Answered:
    """Ask, and be answered NO about the hukou."""
    consent = consent or gateway.federation.issue()
    department_of(gateway, HUKOU).outcomes = {HUKOU: Outcome.NO}
    return Answered(gateway, consent, await gateway.send(gateway.submission(consent, questions, **envelope)))
