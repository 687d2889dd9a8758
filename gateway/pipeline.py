"""The way of a query through the gateway: one method, its steps in order, each consuming the last one's value.

    decode and bound → look up request_id → verify query → verify grants → check rules and window → fan out
    → hold replies against what was asked → re-check revocation → commit → respond

(The peer is authenticated before, in `gateway.party.service`.) Invariants:

- An answer is released only after the log has it; when the log cannot record, nothing is answered.
- What a department answered is logged even if it is not released: the work of a request goes on when its
  caller has gone, and what a revocation or a spent grant keeps back is recorded as withheld.
- A retry resumes: answered checks come from the store, only unanswered parts are asked again, and a use is
  spent once for each request_id with at least one signed answer. So does a request that another process carried on
  meanwhile: what it had got here is logged all the same.
- Grant signatures may come from a cache; revocation, times and use counts never do.
- The gateway cannot read subjects: it handles sealed bytes and commitments only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import structlog

from consent.verification import authorize, open_grant
from consent.verified import GenuineGrants, Standings, VerifiedGrant
from gateway.admission import Admission, Place
from gateway.allowance import Allowance
from gateway.applications import Applications
from gateway.deadlines import deadline_of
from gateway.deferring import deferred, is_for_good
from gateway.disputes import Disputes
from gateway.fan_out import FanOut
from gateway.party.process import Clock
from gateway.protocol.application import open_application
from gateway.protocol.codec import parse
from gateway.protocol.errors import (
    BadDataError,
    ConflictError,
    ForgedError,
    HeyanError,
    NotFoundError,
    NotGrantedError,
    OvertakenError,
    UnreachableError,
    about,
)
from gateway.protocol.identities import Identity
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.presentation import Submission, read_submission
from gateway.protocol.query import Query, read_query
from gateway.protocol.query_rules import (
    check_policy,
    match_parts,
    open_query,
    require_answerable,
    require_sealed_until_answered,
    require_single_questions,
    require_unexpired,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.recording import Recording
from gateway.request_values import Resumed
from gateway.requests import Requests
from gateway.settlement import PartResult, Settlement
from gateway.stores.records import RequestKey
from gateway.under_way import UnderWay
from gateway.waiting_room import WaitingRoom
from gateway.work import Granted, Work
from heyan.v1 import gateway_service_pb2, receipt_pb2

_log = structlog.get_logger(__name__)

MOST_OVERTAKINGS = 3
"""Times that a request goes on from what other processes have recorded of it; its caller retries after one more."""

Carry = Callable[[Work, float], Coroutine[Any, Any, receipt_pb2.Receipt]]
"""Carries a decoded request through, until a time of the event loop's clock."""


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
        recording: Recording,
        admission: Admission,
        unanswered: Allowance,
        waiting: WaitingRoom,
        disputes: Disputes,
    ) -> None:
        self._identity = identity
        self._registry = registry
        self._clock = clock
        self._requests = requests
        self._applications = applications
        self._status = status
        self._grant_cache = grant_cache
        self._departments = departments
        self._recording = recording
        self._admission = admission
        self._unanswered = unanswered
        self._waiting = waiting
        self._under_way: UnderWay[receipt_pb2.Receipt] = UnderWay()
        self._disputes = disputes

    async def verify(
        self, message: bytes, peer: Identity, time_left: float | None, place: Place | None = None
    ) -> receipt_pb2.Receipt:
        """Carry one `VerifyRequest` through; the receipt of all that is known of its query.

        Two calls with the same request_id and bytes share one piece of work, which outlives its callers. A `place`
        that was taken for the message before is given back with it.
        """
        place = place or self._admission.admit(peer, len(message))  # before anything is done for the peer
        began = False
        try:
            time_left = await self._admission.turn(place, time_left)
            task, began = self._join(message, peer, time_left, place, self._carry)
            return await asyncio.shield(task)
        finally:
            if not began:  # the work that was begun keeps its place until it ends
                place.release()

    async def resume(self, message: bytes, peer: Identity) -> receipt_pb2.Receipt:
        """Present a kept request again, as its requester would, without taking a caller's place.

        A refusal that is for good ends what the request waits for, on the record, before it is raised.
        """
        task, _ = self._join(message, peer, None, self._admission.aside(peer), self._carry_or_end)
        return await asyncio.shield(task)

    def _join(
        self, message: bytes, peer: Identity, time_left: float | None, place: Place, carry: Carry
    ) -> tuple[asyncio.Task[receipt_pb2.Receipt], bool]:
        """The work on this request, and whether it begins here and takes the place with it."""
        submission, query = self._decode(message)
        key = RequestKey(peer.uri, query.request_id)
        running = self._under_way.running(key, submission.signed.digest)
        if running is not None:
            return running, False
        until = deadline_of(time_left, asyncio.get_running_loop().time())

        def ended() -> None:
            self._waiting.release(key)
            place.release()

        work = carry(Work(message, submission, query, key), until)
        return self._under_way.begin(key, submission.signed.digest, work, ended), True

    async def _carry(self, decoded: Work, until: float) -> receipt_pb2.Receipt:
        for _ in range(MOST_OVERTAKINGS):
            try:
                return await self._carry_on(decoded, until)
            except OvertakenError:
                continue  # the same request came to another process: go on from what it has recorded
        return await self._carry_on(decoded, until)

    async def _carry_on(self, decoded: Work, until: float) -> receipt_pb2.Receipt:
        work = self._look_up(decoded)
        self._verify_query(work)
        if work.resumed is not None and work.resumed.is_complete:
            return self._respond(work.resumed)
        self._unanswered.require(work.key.requester, self._clock())
        with about(work.region):  # a refusal is counted by county
            granted = await self._verify_grants(work)
            self._check_rules(granted)
        results = await self._fan_out(granted, until)
        settlement = self._hold_against_asked(granted, results)
        withheld = await self._recheck_revocation(granted, settlement)
        resumed = await self._commit(granted, settlement, withheld)
        return self._respond(resumed)

    async def _carry_or_end(self, decoded: Work, until: float) -> receipt_pb2.Receipt:
        try:
            return await self._carry(decoded, until)
        except BadDataError as refusal:
            if is_for_good(refusal):
                await self._recording.end(self._look_up(decoded), refusal.reason)
            raise

    # -- the steps, in order --------------------------------------------------------------------------------

    def _decode(self, message: bytes) -> tuple[Submission, Query]:
        submission = read_submission(parse(gateway_service_pb2.VerifyRequest, message, MAX_MESSAGE))
        return submission, read_query(submission.signed.query)

    def _look_up(self, decoded: Work) -> Work:
        resumed = self._requests.find(decoded.key)
        if resumed is not None and resumed.query_digest != decoded.submission.signed.digest:
            raise ConflictError(Reason.REQUEST_ID_CONFLICT)
        application = open_application(decoded.submission.application, decoded.query.application_digest)
        return replace(decoded, application=application, resumed=resumed)

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
        for grant in grants.values():  # last, so that nothing reported while a list was awaited is missed
            if self._requests.is_withdrawn(grant.issuer, grant.digest):
                raise NotGrantedError(Reason.GRANT_REVOKED)
        parts = match_parts(query, [part.part for part in work.submission.parts])
        return Granted(work, parts, grants)

    def _check_rules(self, granted: Granted) -> None:
        registry, query = self._registry(), granted.work.query
        application = granted.work.application
        self._requests.kept.require_kept(granted.grants)
        if granted.work.resumed is None:  # what was accepted in time is carried on
            self._applications.require_allowed(application, query, granted.checks, granted.grants)
            self._applications.require_open(application, granted.checks, self._clock())
        require_single_questions(granted.checks)
        sealed = zip(granted.parts, granted.work.submission.parts, strict=True)
        sealed_to = {opened.part.department: presented.sealed.key_id for opened, presented in sealed}
        require_sealed_until_answered(query, sealed_to, registry)
        for part in granted.parts:
            check_policy(query, part.part, registry)
            for check in part.part.checks:
                authorize(check, query=query, grants=granted.grants, registry=registry)
                self._disputes.require_reverifiable(check, part.part.department, granted.work.key)
        for use in granted.uses(granted.checks):
            if not self._requests.has_use_left(granted.work.resumed, use):
                raise NotGrantedError(Reason.GRANT_USED_UP)

    async def _fan_out(self, granted: Granted, until: float) -> list[PartResult]:
        answered = granted.work.answered
        unanswered = [part for part in granted.parts if not {check.check_id for check in part.part.checks} <= answered]
        return await self._departments.ask_all(granted.work.submission, granted.work.query, unanswered, until)

    def _hold_against_asked(self, granted: Granted, results: list[PartResult]) -> Settlement:
        work = granted.work
        settlement = self._departments.settle(results, work.submission.signed, work.query, work.answered)
        later = deferred(settlement) if work.query.allows_deferral else settlement
        return later if later == settlement or self._waiting.reserve(work.key, len(work.message)) else settlement

    async def _recheck_revocation(self, granted: Granted, settlement: Settlement) -> HeyanError | None:
        """Why the statements may not be released after all, if so. What issuers reported here the commit looks up."""
        if not settlement.settled:
            return None
        try:
            await self._require_standing(granted.grants)
        except (NotGrantedError, UnreachableError) as error:
            return error
        return None

    async def _commit(self, granted: Granted, settlement: Settlement, withheld: HeyanError | None) -> Resumed:
        return await self._recording.commit(granted, settlement, withheld)

    def _respond(self, resumed: Resumed) -> receipt_pb2.Receipt:
        return self._requests.receipt(resumed)

    # -- what the steps use ---------------------------------------------------------------------------------

    async def _require_standing(self, grants: Mapping[bytes, VerifiedGrant]) -> None:
        """Refuse a grant that its issuer's status list has as withdrawn."""
        for grant in grants.values():
            await self._status.require_standing(grant)

    # -- beside the way -------------------------------------------------------------------------------------

    def get(self, request_id: bytes, peer: Identity) -> receipt_pb2.Receipt:
        """The stored result of the peer's own request; NotFoundError alike for another's and for none."""
        resumed = self._requests.find(RequestKey(peer.uri, request_id))
        if resumed is None:
            raise NotFoundError(Reason.REQUEST_NOT_FOUND)
        return self._requests.receipt(resumed)

    async def drain(self) -> None:
        """Wait for all work that is under way, also where its caller has gone."""
        await self._under_way.drain()
