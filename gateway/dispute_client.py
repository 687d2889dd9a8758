"""Disputes in the client SDK: open one, and ask once more after a correction. Beside `gateway.client`, whose rule holds
here too: the receipt is believed, not the gateway.

    async with DisputingClient(settings, keeper.current, time.time, keeper.refresh) as client:
        await client.dispute(request_id, "c3", DisputeGround.RECORD_OUTDATED)
        ...
        (await client.get(request_id)).verified.disputes       what became of it, proven
        result = await client.reverify(request_id, "c3", consent)
"""

from __future__ import annotations

from dataclasses import dataclass

from consent.consent_file import ConsentFile
from gateway.asking import Envelope, Question, make_submission
from gateway.client import Client, Verification
from gateway.protocol.codec import from_timestamp, parse
from gateway.protocol.disputes import Dispute, DisputeGround, sign_dispute
from gateway.protocol.errors import ForgedError, NotGrantedError
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_disputes import disputable
from heyan.v1 import dispute_pb2


@dataclass(frozen=True, slots=True)
class OpenedDispute:
    """A dispute that the gateway recorded at `log_time`, in seconds since the epoch."""

    dispute_id: bytes
    log_time: float


class DisputingClient(Client):
    """A client that also disputes."""

    async def dispute(self, request_id: bytes, check_id: str, ground: DisputeGround) -> OpenedDispute:
        """Dispute an answer to an earlier query of ours; it is recorded when this returns.

        Raises what `get` raises, or NotGrantedError (ANSWER_NOT_DISPUTABLE).
        """
        answer = disputable((await self.get(request_id)).receipt, check_id)
        dispute = Dispute(
            opener=self._settings.requester,
            requester=self._settings.requester,
            request_id=request_id,
            gateway=self._settings.gateway,
            department=answer.asked.department,
            statement_digest=answer.digest,
            ground=ground,
            issue_time=self._clock(),
        )
        request = dispute_pb2.DisputeAnswerRequest(proof=sign_dispute(dispute, self._settings.signing_key()))
        data = await self.call("DisputeAnswer", request.SerializeToString())
        response = parse(dispute_pb2.DisputeAnswerResponse, data, MAX_MESSAGE)
        if response.dispute_id != answer.digest:
            raise ForgedError(Reason.DISPUTE_INVALID, "the gateway recorded another dispute")
        return OpenedDispute(response.dispute_id, from_timestamp(response, "log_time"))

    async def reverify(self, request_id: bytes, check_id: str, consent: ConsentFile) -> Verification:
        """Ask a disputed question once more, on the same consent; no use of it is spent.

        Raises NotGrantedError (DISPUTE_UNKNOWN) if the answer was not disputed, and what `send` raises.
        """
        earlier = await self.get(request_id)
        dispute = next((item for item in earlier.verified.disputes if item.check_id == check_id), None)
        if dispute is None:
            raise NotGrantedError(Reason.DISPUTE_UNKNOWN, "that answer was not disputed")
        check = disputable(earlier.receipt, check_id).asked.check
        question = Question(check_id, check.claim, check.region, dict(check.parameters), dispute.dispute_id)
        registry, now = self._registry(), self._clock()
        registry.require_current(now)
        purpose = earlier.verified.query.purpose
        envelope = Envelope(self._settings.requester, self._settings.gateway, purpose, now)
        key = self._settings.signing_key()
        return await self.send(make_submission([question], consent, envelope, registry, key, self._randomness))
