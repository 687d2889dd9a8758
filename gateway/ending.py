"""Ending what a request waits for, on the record: because a try was refused for good, or its evidence is erased."""

from __future__ import annotations

from dataclasses import replace

from consent.grant import peek
from gateway.deferring import ended
from gateway.party.process import Clock
from gateway.protocol.application import open_application
from gateway.protocol.codec import parse
from gateway.protocol.identities import Identity
from gateway.protocol.leaf import Tags
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.presentation import read_submission
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.request_values import Record
from gateway.requests import Requests
from gateway.settlement import LeafFrame, merge, verification_leaf
from gateway.statistics import tally
from gateway.stores.records import RequestKey
from gateway.work import Work
from heyan.v1 import gateway_service_pb2


class Endings:
    """Ends deferrals of one gateway."""

    def __init__(self, identity: Identity, clock: Clock, requests: Requests) -> None:
        self._identity = identity
        self._clock = clock
        self._requests = requests

    async def end_message(self, message: bytes, key: RequestKey, reason: Reason) -> None:
        """End what a kept request waits for; see `end`."""
        submission = read_submission(parse(gateway_service_pb2.VerifyRequest, message, MAX_MESSAGE))
        query = read_query(submission.signed.query)
        work = Work(message, submission, query, key, open_application(submission.application, query.application_digest))
        await self.end(replace(work, resumed=self._requests.find(key)), reason)

    async def end(self, work: Work, reason: Reason) -> None:
        """Log that what the request waited for will not come, and why; what was kept of it goes with that."""
        if work.resumed is None:
            return
        earlier, signed = work.resumed.receipt, work.submission.signed
        settlement = ended(earlier, reason, self._clock())
        if not settlement.rows:
            return
        log_time = self.log_time(work)
        record = Record(
            key=work.key,
            query=work.query,
            query_digest=signed.digest,
            grants=work.submission.grants,
            receipt=merge(earlier, settlement, work.submission, earlier.parts),
            earlier=work.resumed,
            uses=(),
            statement_digests=(),
            leaf=lambda tags, registry, _: verification_leaf(self.frame(work, log_time, tags, registry), settlement),
            withheld=None,
            standing=(),
            tallies=tally(settlement, log_time),
            kept_from=max(log_time, *(peek(grant.grant).exp for grant in work.submission.grants)),
            ended=reason,
        )
        await self._requests.commit(record)

    def log_time(self, work: Work) -> float:
        """When this is recorded: taken once, so that leaf and statistics are of the same day."""
        resumed = work.resumed
        # A clock set back meanwhile must not make a receipt run backwards, which nobody would believe.
        earliest = self._requests.recorded_until(resumed) if resumed is not None else 0.0
        return max(self._clock(), earliest)

    def frame(self, work: Work, log_time: float, tags: Tags, registry: Registry) -> LeafFrame:
        """What a leaf of the request says besides its rows."""
        return LeafFrame(
            gateway=self._identity.uri,
            registry_version=registry.version,
            log_time=log_time,
            tags=tags,
            query=work.query,
            query_digest=work.submission.signed.digest,
            rules_digest=work.application.rules_digest if work.application is not None else b"",
        )
