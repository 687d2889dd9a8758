"""The rules of offline tickets, held by the gateway when it records and by whoever verifies a receipt.

Paper may be asked for where an online answer says that it cannot be told, or where none came; never where a department
said yes, no, or that it must not be asked (应核尽核). How long none must have come for is the gateway's setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.protocol.digests import Kind
from gateway.protocol.errors import ForgedError, NotCurrentError
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE, OFFLINE_RESULT_LIFETIME
from gateway.protocol.offline import OfflineGround, Result, SignedResult, Subject, read_result, ticket_id_of
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse

GROUND_OF_OUTCOME: Mapping[Outcome, OfflineGround] = MappingProxyType(
    {Outcome.UNDETERMINED: OfflineGround.UNDETERMINED, Outcome.UNAVAILABLE: OfflineGround.UNAVAILABLE}
)
"""The ground that an online answer is; any other answer is none."""


@dataclass(frozen=True, slots=True)
class OpenTicket:
    """A ticket that is logged: whose it is, of which query, for what, and the time of its leaf."""

    requester: str
    query_digest: bytes
    subject: Subject
    open_time: float

    @property
    def ticket_id(self) -> bytes:
        """Its id, 32 bytes."""
        return ticket_id_of(self.requester, self.query_digest, self.subject)


def require_result(signed: SignedResult, ticket: OpenTicket, registry: Registry, log_time: float) -> Result:
    """The result of `ticket`, signed by a staff key that counts at `log_time`, when it is recorded.

    Raises MalformedError, ForgedError (OFFLINE_RESULT_INVALID), or NotCurrentError (OFFLINE_RESULT_NOT_CURRENT).
    """
    result = read_result(signed.result)
    key = registry.key(ticket.requester, KeyUse.STAFF, signed.key_id, log_time, Reason.OFFLINE_RESULT_INVALID)
    key.verify(signed.signature, Kind.OFFLINE_RESULT, signed.result, Reason.OFFLINE_RESULT_INVALID)
    said = (result.ticket_id, result.requester, result.query_digest, result.subject)
    if said != (ticket.ticket_id, ticket.requester, ticket.query_digest, ticket.subject):
        raise ForgedError(Reason.OFFLINE_RESULT_INVALID, "a result of another ticket")
    if result.issue_time < ticket.open_time - EARLY_TOLERANCE or result.issue_time > log_time + EARLY_TOLERANCE:
        raise NotCurrentError(Reason.OFFLINE_RESULT_NOT_CURRENT, "signed before its ticket, or in the future")
    if log_time > result.issue_time + OFFLINE_RESULT_LIFETIME + EXPIRY_TOLERANCE:
        raise NotCurrentError(Reason.OFFLINE_RESULT_NOT_CURRENT, "signed too long ago")
    return result
