"""Recording what became of a query: the last step of its way but one.

Leaf, uses, statistics and request are one commit. What departments signed is logged also when it is not released, and
owed when the log cannot take it now.
"""

from __future__ import annotations

from gateway.allowance import Allowance
from gateway.deferring import deferral_of, ended
from gateway.events import Events
from gateway.party.process import Clock
from gateway.protocol.errors import ConflictError, HeyanError, LogUnavailableError, NotGrantedError, UnreachableError
from gateway.protocol.identities import Identity
from gateway.protocol.leaf import Tags
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import LATEST_RECORD
from gateway.protocol.registry import Registry
from gateway.requests import Record, Requests, Resumed
from gateway.settlement import LeafFrame, Settlement, merge, verification_leaf
from gateway.statistics import tally
from gateway.stores.port import Withdrawal
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
        self._identity = identity
        self._clock = clock
        self._requests = requests
        self._events = events
        self._unanswered = unanswered

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

        log_time = self._log_time(work)

        def leaf(tags: Tags, registry: Registry, kept_back: Reason | None) -> bytes:
            return verification_leaf(self._frame(work, log_time, tags, registry), settlement, kept_back)

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
            deferral=deferral_of(work, settlement),
        )
        try:
            committed, resumed = await self._requests.commit(record)
        except UnreachableError:
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
        """Log that what the request waited for will not come, and why; what was kept of it goes with that."""
        if work.resumed is None:
            return
        earlier, signed = work.resumed.receipt, work.submission.signed
        settlement = ended(earlier, reason, self._clock())
        if not settlement.rows:
            return
        log_time = self._log_time(work)
        record = Record(
            key=work.key,
            query=work.query,
            query_digest=signed.digest,
            grants=work.submission.grants,
            receipt=merge(earlier, settlement, work.submission, earlier.parts),
            earlier=work.resumed,
            uses=(),
            statement_digests=(),
            leaf=lambda tags, registry, _: verification_leaf(self._frame(work, log_time, tags, registry), settlement),
            withheld=None,
            standing=(),
            tallies=tally(settlement, log_time),
            ended=reason,
        )
        await self._requests.commit(record)

    def _log_time(self, work: Work) -> float:
        """When this is recorded: taken once, so that leaf and statistics are of the same day."""
        resumed = work.resumed
        # A clock set back meanwhile must not make a receipt run backwards, which nobody would believe.
        earliest = self._requests.recorded_until(resumed) if resumed is not None else 0.0
        return max(self._clock(), earliest)

    def _frame(self, work: Work, log_time: float, tags: Tags, registry: Registry) -> LeafFrame:
        return LeafFrame(
            gateway=self._identity.uri,
            registry_version=registry.version,
            log_time=log_time,
            tags=tags,
            query=work.query,
            query_digest=work.submission.signed.digest,
            rules_digest=work.application.rules_digest if work.application is not None else b"",
        )

    def _require_time(self, granted: Granted, settlement: Settlement) -> None:
        """Refuse to record a query at a time at which its receipt would never hold: the clock was set meanwhile."""
        query, now = granted.work.query, self._clock()
        if not query.issue_time - EARLY_TOLERANCE <= now <= query.answer_until_time + LATEST_RECORD:
            self._events.owe(settlement.statements_by_department)
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the clock left the query's time", retry_after=1.0)
