"""The way of a query through the gateway: one method, its steps in order, each consuming the last one's value.

    decode and bound → look up request_id → verify query → verify grants → check rules and window → fan out
    → hold replies against what was asked → re-check revocation → commit → respond

(The peer is authenticated before, in `gateway.party.service`.) Invariants:

- An answer is released only after the log has it; when the log cannot record, nothing is answered.
- What a department answered is logged even if it is not released: the work of a request goes on when its
  caller has gone, and what a revocation or a spent grant keeps back is recorded as withheld.
- A retry resumes: answered checks come from the store, only unanswered parts are asked again, and a use is
  spent once for each request_id with at least one signed answer.
- Grant signatures may come from a cache; revocation, times and use counts never do.
- The gateway cannot read subjects: it handles sealed bytes and commitments only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from consent.verification import authorize, open_grant
from consent.verified import GenuineGrants, Standings, VerifiedGrant
from gateway.admission import Admission, Place
from gateway.allowance import Allowance
from gateway.applications import Applications
from gateway.events import Events
from gateway.fan_out import FanOut
from gateway.party.process import Clock
from gateway.protocol.application import Application, open_application
from gateway.protocol.codec import parse
from gateway.protocol.errors import (
    ConflictError,
    ForgedError,
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotFoundError,
    NotGrantedError,
    UnreachableError,
)
from gateway.protocol.identities import Identity
from gateway.protocol.leaf import Tags
from gateway.protocol.limits import EARLY_TOLERANCE, MAX_MESSAGE
from gateway.protocol.presentation import Submission, read_submission
from gateway.protocol.query import Check, OpenedPart, Query, read_query
from gateway.protocol.query_rules import (
    check_policy,
    match_parts,
    open_query,
    require_answerable,
    require_single_questions,
    require_unexpired,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import LATEST_RECORD
from gateway.protocol.registry import Registry
from gateway.requests import Record, Requests, Resumed
from gateway.settlement import LeafFrame, PartResult, Settlement, merge, verification_leaf
from gateway.stores.port import RequestKey, Use, Withdrawal
from heyan.v1 import gateway_service_pb2, receipt_pb2

_log = structlog.get_logger(__name__)

DEADLINE_MARGIN = 0.25
"""Seconds of the caller's deadline kept back for commit and response."""

LEAST_DEADLINE = 0.5
"""Seconds below which no department could answer: asking would only fill the log."""

DEFAULT_DEADLINE = 10.0
"""Seconds for a caller that sets no deadline, and the most that any is given."""


@dataclass(frozen=True, slots=True)
class Work:
    """A decoded request and what is known of its request_id."""

    submission: Submission
    query: Query
    application: Application | None
    key: RequestKey
    resumed: Resumed | None

    @property
    def answered(self) -> frozenset[str]:
        """Ids of the checks that a department's statement answers already."""
        return self.resumed.answered if self.resumed is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Granted:
    """A query whose consent holds: its parts, and its grants by digest in the query's order."""

    work: Work
    parts: tuple[OpenedPart, ...]
    grants: Mapping[bytes, VerifiedGrant]


class Pipeline:
    """Carries queries through the gateway. One instance for each process; safe for concurrent calls."""

    def __init__(  # noqa: PLR0913 - the ports of the whole way, by keyword
        self,
        *,
        identity: Identity,
        registry: Callable[[], Registry],
        clock: Clock,
        requests: Requests,
        applications: Applications,
        status: Standings,
        grant_cache: GenuineGrants,
        departments: FanOut,
        events: Events,
        admission: Admission,
        unanswered: Allowance,
    ) -> None:
        self._identity = identity
        self._registry = registry
        self._clock = clock
        self._requests = requests
        self._applications = applications
        self._status = status
        self._grant_cache = grant_cache
        self._departments = departments
        self._events = events
        self._admission = admission
        self._unanswered = unanswered
        self._under_way: dict[RequestKey, tuple[bytes, asyncio.Task[receipt_pb2.Receipt]]] = {}

    async def verify(self, message: bytes, peer: Identity, time_left: float | None) -> receipt_pb2.Receipt:
        """Carry one `VerifyRequest` through; the receipt of all that is known of its query.

        Two calls with the same request_id and bytes share one piece of work, which outlives its callers.
        """
        place = self._admission.take(peer, len(message))  # before anything is done for the peer
        began = False
        try:
            task, began = self._join(message, peer, time_left, place)
            return await asyncio.shield(task)
        finally:
            if not began:  # the work that was begun keeps its place until it ends
                place.release()

    def _join(
        self, message: bytes, peer: Identity, time_left: float | None, place: Place
    ) -> tuple[asyncio.Task[receipt_pb2.Receipt], bool]:
        """The work on this request, and whether it begins here and takes the place with it."""
        submission, query = self._decode(message)
        key = RequestKey(peer.uri, query.request_id)
        digest = submission.signed.digest
        running = self._under_way.get(key)
        if running is not None:
            if running[0] != digest:
                raise ConflictError(Reason.REQUEST_ID_CONFLICT)
            return running[1], False
        until = self._deadline(time_left)
        task = asyncio.create_task(self._carry(submission, query, key, until))
        self._under_way[key] = (digest, task)
        task.add_done_callback(lambda done: self._forget(key, place, done))  # not when its caller goes
        return task, True

    async def _carry(self, submission: Submission, query: Query, key: RequestKey, until: float) -> receipt_pb2.Receipt:
        work = self._look_up(submission, query, key)
        self._verify_query(work)
        if work.resumed is not None and work.resumed.is_complete:
            return self._respond(work.resumed)
        self._unanswered.require(key.requester, self._clock())
        granted = await self._verify_grants(work)
        self._check_rules(granted)
        results = await self._fan_out(granted, until)
        settlement = self._hold_against_asked(granted, results)
        withheld = await self._recheck_revocation(granted, settlement)
        resumed = await self._commit(granted, settlement, withheld)
        return self._respond(resumed)

    # -- the steps, in order --------------------------------------------------------------------------------

    def _decode(self, message: bytes) -> tuple[Submission, Query]:
        submission = read_submission(parse(gateway_service_pb2.VerifyRequest, message, MAX_MESSAGE))
        return submission, read_query(submission.signed.query)

    def _look_up(self, submission: Submission, query: Query, key: RequestKey) -> Work:
        resumed = self._requests.find(key)
        if resumed is not None and resumed.query_digest != submission.signed.digest:
            raise ConflictError(Reason.REQUEST_ID_CONFLICT)
        application = open_application(submission.application, query.application_digest)
        return Work(submission, query, application, key, resumed)

    def _verify_query(self, work: Work) -> None:
        registry, now = self._registry(), self._clock()
        registry.require_current(now)
        open_query(
            work.submission.signed,
            requester=work.key.requester,
            gateway=self._identity.uri,
            registry=registry,
            now=now,
        )
        if work.resumed is None:
            require_unexpired(work.query, now)
        elif not work.resumed.is_complete:
            require_answerable(work.query, now)

    async def _verify_grants(self, work: Work) -> Granted:
        registry, now, query = self._registry(), self._clock(), work.query
        grants = {
            presentation.digest: open_grant(
                presentation,
                requester=query.requester,
                gateway=self._identity.uri,
                registry=registry,
                now=now,
                opened=self._grant_cache,
            )
            for presentation in work.submission.grants
        }
        if tuple(grants) != query.grant_digests:
            raise ForgedError(Reason.GRANT_INVALID, "not the grants that the query names")
        await self._require_standing(grants)
        parts = match_parts(query, [part.part for part in work.submission.parts])
        return Granted(work, parts, grants)

    def _check_rules(self, granted: Granted) -> None:
        registry, query = self._registry(), granted.work.query
        application, checks = granted.work.application, [check for part in granted.parts for check in part.part.checks]
        if granted.work.resumed is None:  # what was accepted in time is carried on
            self._applications.require_allowed(application, query, checks, granted.grants)
            self._applications.require_open(application, self._clock())
        require_single_questions(checks)
        for part in granted.parts:
            check_policy(query, part.part, registry)
            for check in part.part.checks:
                authorize(check, query=query, grants=granted.grants, registry=registry)
        for use in _uses(granted, checks):
            if not self._requests.has_use_left(granted.work.resumed, use):
                raise NotGrantedError(Reason.GRANT_USED_UP)

    async def _fan_out(self, granted: Granted, until: float) -> list[PartResult]:
        answered = granted.work.answered
        unanswered = [part for part in granted.parts if not {check.check_id for check in part.part.checks} <= answered]
        return await self._departments.ask_all(granted.work.submission, granted.work.query, unanswered, until)

    def _hold_against_asked(self, granted: Granted, results: list[PartResult]) -> Settlement:
        work = granted.work
        return self._departments.settle(results, work.submission.signed, work.query, work.answered)

    async def _recheck_revocation(self, granted: Granted, settlement: Settlement) -> HeyanError | None:
        """Why the statements may not be released after all, if so."""
        if not settlement.settled:
            return None
        try:
            await self._require_standing(granted.grants)
        except (NotGrantedError, UnreachableError) as error:
            return error
        return None

    async def _commit(self, granted: Granted, settlement: Settlement, withheld: HeyanError | None) -> Resumed:
        """Log the settlement and keep the request, in one transaction; raises `withheld` once that is durable."""
        work = granted.work
        if work.resumed is not None and not settlement.settled:
            await self._log_strays(settlement)
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

        def leaf(tags: Tags, kept_back: Reason | None) -> bytes:
            return verification_leaf(self._frame(granted, tags), settlement, kept_back)

        record = Record(
            key=work.key,
            query=work.query,
            query_digest=work.submission.signed.digest,
            grants=work.submission.grants,
            receipt=receipt,
            earlier=work.resumed,
            uses=_uses(granted, [row.check for row in settlement.answered]),
            statement_digests=settlement.statement_digests,
            leaf=leaf,
            withheld=withheld.reason if withheld else None,
            standing=tuple(Withdrawal(grant.issuer, grant.digest) for grant in granted.grants.values()),
        )
        try:
            committed, resumed = await self._requests.commit(record)
        except UnreachableError:
            self._events.owe(settlement.statements_by_department)
            raise
        self._events.acknowledge(settlement.statement_digests, committed)
        await self._log_strays(settlement)
        if withheld is not None:
            raise withheld
        if committed.withheld is Reason.REQUEST_ID_CONFLICT:
            raise ConflictError(committed.withheld)
        if committed.withheld is not None:
            raise NotGrantedError(committed.withheld)
        return resumed

    def _respond(self, resumed: Resumed) -> receipt_pb2.Receipt:
        return self._requests.receipt(resumed)

    # -- what the steps use ---------------------------------------------------------------------------------

    async def _require_standing(self, grants: Mapping[bytes, VerifiedGrant]) -> None:
        """Refuse a withdrawn grant, by what issuers reported here and by their status lists."""
        for grant in grants.values():
            await self._status.require_standing(grant)
        for grant in grants.values():  # last, so that nothing reported while a list was awaited is missed
            if self._requests.is_withdrawn(grant.issuer, grant.digest):
                raise NotGrantedError(Reason.GRANT_REVOKED)

    async def _log_strays(self, settlement: Settlement) -> None:
        """Log what departments signed though it answers nothing that was asked."""
        for department, strays in settlement.strays.items():
            try:
                await self._events.recover(department, strays)
            except HeyanError as error:
                # Not acknowledged, so the node sends them again; never a fault of whoever asked.
                _log.error("strays_not_logged", department=department, detail=error.detail)

    def _frame(self, granted: Granted, tags: Tags) -> LeafFrame:
        resumed = granted.work.resumed
        # A clock set back meanwhile must not make a receipt run backwards, which nobody would believe.
        earliest = self._requests.recorded_until(resumed) if resumed is not None else 0.0
        return LeafFrame(
            gateway=self._identity.uri,
            registry_version=self._registry().version,
            log_time=max(self._clock(), earliest),
            tags=tags,
            query=granted.work.query,
            query_digest=granted.work.submission.signed.digest,
            rules_digest=granted.work.application.rules_digest if granted.work.application is not None else b"",
        )

    def _require_time(self, granted: Granted, settlement: Settlement) -> None:
        """Refuse to record a query at a time at which its receipt would never hold: the clock was set meanwhile."""
        query, now = granted.work.query, self._clock()
        if not query.issue_time - EARLY_TOLERANCE <= now <= query.answer_until_time + LATEST_RECORD:
            self._events.owe(settlement.statements_by_department)
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the clock left the query's time", retry_after=1.0)

    def _deadline(self, time_left: float | None) -> float:
        budget = DEFAULT_DEADLINE if time_left is None else min(time_left, DEFAULT_DEADLINE)
        if budget <= LEAST_DEADLINE:
            raise MalformedError.at("deadline", f"must leave departments more than {LEAST_DEADLINE} s to answer")
        return asyncio.get_running_loop().time() + budget - DEADLINE_MARGIN

    def _forget(self, key: RequestKey, place: Place, task: asyncio.Task[receipt_pb2.Receipt]) -> None:
        self._under_way.pop(key, None)
        place.release()
        if not task.cancelled():
            task.exception()  # its callers have it, or have gone

    # -- beside the way -------------------------------------------------------------------------------------

    def get(self, request_id: bytes, peer: Identity) -> receipt_pb2.Receipt:
        """The stored result of the peer's own request; NotFoundError alike for another's and for none."""
        resumed = self._requests.find(RequestKey(peer.uri, request_id))
        if resumed is None:
            raise NotFoundError(Reason.REQUEST_NOT_FOUND)
        return self._requests.receipt(resumed)

    async def drain(self) -> None:
        """Wait for all work that is under way, also where its caller has gone."""
        while self._under_way:
            await asyncio.gather(*(task for _, task in self._under_way.values()), return_exceptions=True)


def _uses(granted: Granted, checks: list[Check]) -> tuple[Use, ...]:
    """The authorizations that `checks` spend, each once."""
    uses = dict.fromkeys((use.grant_digest, use.authorization) for check in checks for use in check.authorizations)
    return tuple(
        Use(
            digest,
            index,
            granted.grants[digest].authorizations[index].max_uses,
            granted.grants[digest].expires,
        )
        for digest, index in uses
    )
