"""Disputes as a node meets them: an answer that was given, and whatever a gateway may bring about it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from consent.dispute import sign_report
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import Dispute, DisputeGround, sign_dispute
from gateway.protocol.keys import SigningKey
from gateway.protocol.query import read_query
from gateway.protocol.resolutions import ResolutionReason
from heyan.v1 import department_service_pb2 as pb
from heyan.v1 import dispute_pb2
from sandbox_departments.disputes import decide
from tests.sandbox.asking import GATEWAY, ISSUER, POLICE, REQUESTER, Consent, Desk


@dataclass
class Case:
    """One ask that was answered: its two statements, and the consent that it rested on."""

    desk: Desk
    consent: Consent
    ask: pb.Ask
    statements: tuple[bytes, ...]

    @property
    def request_id(self) -> bytes:
        return read_query(self.ask.query.query).request_id

    @property
    def dispute_id(self) -> bytes:
        return digest(Kind.STATEMENT, self.statements[0])

    def dispute(self, **changes: Any) -> Dispute:
        right = Dispute(
            opener=REQUESTER.uri,
            requester=REQUESTER.uri,
            request_id=self.request_id,
            gateway=GATEWAY.uri,
            department=POLICE.uri,
            statement_digest=self.dispute_id,
            ground=DisputeGround.RECORD_WRONG,
            issue_time=self.desk.world.now,
        )
        return replace(right, **changes)

    def signed(self, key: SigningKey | None = None, statement: bytes | None = None, **changes: Any) -> bytes:
        """An OpenDisputeRequest on the requester's word."""
        proof = sign_dispute(self.dispute(**changes), key or self.desk.world.query_key)
        return _request(proof, self.statements[0] if statement is None else statement)

    def reported(self, key: SigningKey | None = None, **changes: Any) -> bytes:
        """An OpenDisputeRequest on the issuer's word."""
        dispute = self.dispute(**{"opener": ISSUER.uri, "grant_digest": self.consent.digest, **changes})
        report = sign_report(dispute, "jti-of-the-dispute", key or self.desk.world.grant_key)
        return _request(dispute_pb2.DisputeProof(report=report), self.statements[0])

    async def receive(self, message: bytes | None = None, gateway: str = GATEWAY.uri) -> float:
        """Bring it; when it was received."""
        response = await self.desk.disputes.receive(message or self.signed(), gateway)
        return response.receive_time.ToMilliseconds() / 1000

    async def resolve(self, reason: ResolutionReason = ResolutionReason.RECORD_UPDATED) -> None:
        """Receive, decide and sign."""
        await self.receive()
        # On the thread on which a serving node has the journal.
        work = partial(decide, self.desk.journal, self.dispute_id, reason, self.desk.world.now)
        await asyncio.get_running_loop().run_in_executor(self.desk.thread, work)
        assert await self.desk.disputes.sign_decided() == 1


def _request(proof: dispute_pb2.DisputeProof, statement: bytes) -> bytes:
    return dispute_pb2.OpenDisputeRequest(proof=proof, statement=statement).SerializeToString()


async def answered(desk: Desk, **consent: Any) -> Case:
    """Ask about two claims, and be answered."""
    held = desk.world.consent(**consent)
    ask = desk.world.ask(held)
    (message,) = await desk.answer(ask)
    statements = tuple(proof.statement for proof in message.replies[0].statements)
    return Case(desk, held, ask, statements)
