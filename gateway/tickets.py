"""Offline tickets: opening one where nothing could be told online, resolving it, listing those that are open.

    find the request → judge by its receipt → log the ticket → …on paper… → verify the staff member's result → log it

Invariants:

- The answers judged are those of the requester's own stored request, never of the caller's word; another's request
  and none are alike.
- A ticket is judged by the newest leaf of its request: an answer that is committed first is judged anew. An answer that
  was corrected and asked for once more counts as the new one says.
- Each step is released only once its leaf is durable. A ticket is opened once and resolved once; doing either
  again changes nothing, whatever was answered online meanwhile.
- Staff keys are judged at the time that the leaf bears, as everybody who verifies the receipt will judge them.

How many leaves this can cost is bounded by the checks of stored requests, each of which spent a use or an allowance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.applications import Applications
from gateway.leaves import LeafStamp
from gateway.offline_grounds import Known, asked_again, known_of, require_ground
from gateway.protocol.errors import (
    ConflictError,
    ForgedError,
    LogUnavailableError,
    NotFoundError,
    NotGrantedError,
    about,
)
from gateway.protocol.identities import Identity
from gateway.protocol.leaf import Tags
from gateway.protocol.offline import OfflineGround, SignedResult, Subject, read_result, ticket_id_of
from gateway.protocol.offline_rules import require_result
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.request_values import Resumed
from gateway.requests import Requests
from gateway.stores.records import RequestKey, StoredTicket, TicketKey
from gateway.ticket_records import TicketRecord
from gateway.verdicts import application_of
from heyan.v1 import log_pb2, receipt_pb2

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Listed:
    """An open ticket, and what is known online of its check by now; None for a material."""

    record: TicketRecord
    outcome: Outcome | None


class Tickets:
    """Opens and resolves tickets. `patience`: seconds without an answer after which paper may be asked for."""

    def __init__(
        self,
        *,
        requests: Requests,
        applications: Applications,
        registry: Callable[[], Registry],
        stamp: LeafStamp,
        patience: float,
    ) -> None:
        self._requests = requests
        self._records = requests.tickets
        self._applications = applications
        self._registry = registry
        self._stamp = stamp
        self._patience = patience

    async def open(self, request_id: bytes, subject: Subject, peer: Identity) -> receipt_pb2.Receipt:
        """The receipt of the peer's own request with its ticket for `subject`, opened now if it is not yet."""
        self._registry().require_current(self._stamp.clock())
        key = RequestKey(peer.uri, request_id)
        for _ in range(_ATTEMPTS):
            resumed = self._requests.find(key)
            if resumed is None:
                raise NotGrantedError(Reason.OFFLINE_NOT_ATTEMPTED, "no such request")
            ticket_key = TicketKey(peer.uri, ticket_id_of(peer.uri, resumed.query_digest, subject))
            if self._records.find(ticket_key) or await self._open(ticket_key, key, resumed, subject):
                return self._requests.receipt(resumed)
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the request keeps changing", retry_after=1.0)

    async def resolve(self, signed: SignedResult, peer: Identity) -> receipt_pb2.Receipt:
        """Record a staff member's result of the peer's own ticket; the receipt with it."""
        self._registry().require_current(self._stamp.clock())
        result = read_result(signed.result)
        if result.requester != peer.uri:
            raise ForgedError(Reason.OFFLINE_RESULT_INVALID, "a result of another requester")
        for _ in range(_ATTEMPTS):
            record = self._records.find(TicketKey(peer.uri, result.ticket_id))
            if record is None:
                raise NotFoundError(Reason.OFFLINE_TICKET_NOT_FOUND)
            if await self._resolve(record, signed):
                return self._receipt_of(record)
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the ticket keeps changing", retry_after=1.0)

    def listed(self, peer: Identity, after_leaf: int, count: int) -> Sequence[Listed]:
        """Up to `count` of the peer's own open tickets, of those opened by leaves after `after_leaf`, in that order."""
        records = self._records.open_page(peer.uri, after_leaf, count)
        return [Listed(record, self._known_by_now(record)) for record in records]

    # -- opening ----------------------------------------------------------------------------------------------

    async def _open(self, key: TicketKey, request: RequestKey, resumed: Resumed, subject: Subject) -> bool:
        """Log the ticket; False if it was opened, or its request answered, meanwhile."""
        known = self._newest(key.requester, resumed, subject) if subject.check_id else None
        event = self._event(key, resumed, subject, known)
        grant = read_query(resumed.receipt.query.query).grant_digests[0]
        stored = StoredTicket(key, request.request_id, resumed.query_digest, grant, b"")
        leaf = self._stamp(log_pb2.LogLeaf(offline_ticket=event), self._now(resumed))
        rests_on = known.statement_digest if known is not None else b""
        return await self._records.open(stored, subject, leaf, resumed.leaf_indexes[-1], rests_on)

    def _newest(self, requester: str, resumed: Resumed, subject: Subject) -> Known:
        """What is known of a check by now, also where its answer was corrected and asked for once more."""
        known = known_of(resumed.receipt, subject.check_id)
        while known.statement_digest:
            request = self._requests.asked_again(requester, known.statement_digest)
            later = self._found(request) if request is not None else None
            newer = asked_again(later.receipt, known.statement_digest) if later is not None else None
            if newer is None:
                break
            known = replace(newer, check=known.check, part=known.part)
        return known

    def _found(self, request: RequestKey) -> Resumed | None:
        """A request that asked once more; None also of one that was erased: what it said is known no more."""
        try:
            return self._requests.find(request)
        except NotFoundError:
            return None

    def _event(
        self, key: TicketKey, resumed: Resumed, subject: Subject, known: Known | None
    ) -> log_pb2.OfflineTicketEvent:
        """What the leaf says; refuses what may not be opened."""
        tags = Tags(resumed.leaf_key)
        event = log_pb2.OfflineTicketEvent(
            requester=key.requester, query_tag=tags.query(resumed.query_digest), ticket_tag=tags.ticket(key.ticket_id)
        )
        if known is None:
            application = application_of(resumed.receipt)
            self._applications.require_offline_only(application, subject.material)
            assert application is not None  # noqa: S101 - require_offline_only refuses none
            event.material, event.region = subject.material, application.region
            event.ground = OfflineGround.OFFLINE_ONLY.value  # type: ignore[assignment]
            return event
        waited = self._now(resumed) - self._requests.recorded_since(resumed)
        event.ground = require_ground(known, waited, self._patience).value  # type: ignore[assignment]
        event.department, event.claim, event.region = known.part.part.department, known.check.claim, known.check.region
        event.check_tag = tags.check(known.part.digest, subject.check_id)
        return event

    def _now(self, resumed: Resumed) -> float:
        """The time to record: a clock set back must not make a receipt run backwards, which nobody would believe."""
        return max(self._stamp.clock(), self._requests.recorded_until(resumed))

    # -- resolving --------------------------------------------------------------------------------------------

    async def _resolve(self, record: TicketRecord, signed: SignedResult) -> bool:
        """Log the result; False if the ticket got one meanwhile."""
        at = max(self._stamp.clock(), record.ticket.open_time)
        opened = record.opened.offline_ticket
        if record.result is not None and record.result.digest == signed.digest:
            return True
        with about(opened.region):
            require_result(signed, record.ticket, self._registry(), at)
            if record.result is not None:
                raise ConflictError(Reason.OFFLINE_RESULT_CONFLICT)
        event = log_pb2.OfflineResultEvent(
            requester=opened.requester,
            ticket_tag=opened.ticket_tag,
            result_digest=signed.digest,
            region=opened.region,
        )
        return await self._records.resolve(record, signed, self._stamp(log_pb2.LogLeaf(offline_result=event), at))

    def _receipt_of(self, record: TicketRecord) -> receipt_pb2.Receipt:
        return self._requests.receipt(self._request_of(record))

    def _request_of(self, record: TicketRecord) -> Resumed:
        resumed = self._requests.find(RequestKey(record.stored.key.requester, record.stored.request_id))
        if resumed is None:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "a ticket without its request")
        return resumed

    def _known_by_now(self, record: TicketRecord) -> Outcome | None:
        if record.subject.material:
            return None
        return self._newest(record.stored.key.requester, self._request_of(record), record.subject).outcome
