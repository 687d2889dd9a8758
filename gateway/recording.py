"""Recording what became of a query: the last step of its way but one.

Leaf, uses, statistics and request are one commit. What departments signed is logged also when it is not released, and
owed when the log cannot take it now.
"""

from __future__ import annotations

from gateway.allowance import Allowance
from gateway.deferring import deferral_of
from gateway.ending import Endings
from gateway.events import Events
from gateway.party.process import Clock
from gateway.protocol.errors import (
    ConflictError,
    HeyanError,
    LogUnavailableError,
    NotFoundError,
    NotGrantedError,
    UnreachableError,
)
from gateway.protocol.identities import Identity
from gateway.protocol.leaf import Tags
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import LATEST_RECORD
from gateway.protocol.registry import Registry
from gateway.request_values import Record, Resumed
from gateway.requests import Requests
from gateway.settlement import Settlement, merge, verification_leaf
from gateway.statistics import tally
from gateway.stores.records import Withdrawal
from gateway.work import Granted, Work


class Recording:
    """Commits settlements, and ends of what waits, for one gateway."""

    def __init__(
        self,
        *,
        identity: Identity,
        clock: Clock,
        requests: Requests,
        events: Events,
        unanswered: Allowance,
    ) -> None:
        self._clock = clock
        self._requests = requests
        self._events = events
        self._unanswered = unanswered
        self._endings = Endings(identity, clock, requests)

    async def commit(self, granted: Granted, settlement: Settlement, withheld: HeyanError | None) -> Resumed:
        """Log the settlement and keep the request, in one transaction; raises `withheld` once that is durable."""
        work = granted.work
        if work.resumed is not None and not settlement.settled:
            await self._events.recover_strays(settlement.strays)
            return work.resumed
        self._require_time(granted, settlement)
        if not settlement.answered:
            self._unanswered.spend(work.key.requester, self._clock())  # a leaf, and no use
        receipt = merge(
            work.resumed.receipt if work.resumed else None,
            settlement,
            work.submission,
            [part.data for part in granted.parts],
        )

        log_time = self._endings.log_time(work)

        def leaf(tags: Tags, registry: Registry, kept_back: Reason | None) -> bytes:
            return verification_leaf(self._endings.frame(work, log_time, tags, registry), settlement, kept_back)

        record = Record(
            key=work.key,
            query=work.query,
            query_digest=work.submission.signed.digest,
            grants=work.submission.grants,
            receipt=receipt,
            earlier=work.resumed,
            uses=granted.uses(row.check for row in settlement.answered),
            reverifies=tuple(row.check.dispute_id for row in settlement.answered if row.check.dispute_id),
            statement_digests=settlement.statement_digests,
            leaf=leaf,
            withheld=withheld.reason if withheld else None,
            standing=tuple(Withdrawal(grant.issuer, grant.digest) for grant in granted.grants.values()),
            tallies=tally(settlement, log_time),
            kept_from=max(log_time, *(grant.expires for grant in granted.grants.values())),
            deferral=deferral_of(work, settlement),
        )
        try:
            committed, resumed = await self._requests.commit(record)
        except (UnreachableError, NotFoundError):  # a fault, or an erasure that came between
            self._events.owe(settlement.statements_by_department)
            raise
        self._events.acknowledge(settlement.statement_digests, committed)
        await self._events.recover_strays(settlement.strays)
        if withheld is not None:
            raise withheld
        if committed.withheld is Reason.REQUEST_ID_CONFLICT:
            raise ConflictError(committed.withheld)
        if committed.withheld is not None:
            raise NotGrantedError(committed.withheld)
        return resumed

    async def end(self, work: Work, reason: Reason) -> None:
        """See `gateway.ending.Endings.end`."""
        await self._endings.end(work, reason)

    def _require_time(self, granted: Granted, settlement: Settlement) -> None:
        """Refuse to record a query at a time at which its receipt would never hold: the clock was set meanwhile."""
        query, now = granted.work.query, self._clock()
        if not query.issue_time - EARLY_TOLERANCE <= now <= query.answer_until_time + LATEST_RECORD:
            self._events.owe(settlement.statements_by_department)
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the clock left the query's time", retry_after=1.0)
