"""Preparing the queries of a batch: what an application asks for, its consent, a plan, sealed and signed.

Nothing is sent or kept here. What is unreachable is tried again for as long as an item of a backlog is; what is refused
is that application's outcome, unless it would befall every one alike.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from consent.consent_file import ConsentFile, consent_from_json, consent_to_json
from gateway.bulk import Pace
from gateway.cli.batch_results import outcome_of
from gateway.cli.batch_state import BatchOutcome, Item, Prepared
from gateway.client import Client, Plan
from gateway.party.process import Clock
from gateway.protocol.claims import Role
from gateway.protocol.codec import parse
from gateway.protocol.errors import BadDataError, UnreachableError
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.matrix import Group, School
from gateway.protocol.presentation import Submission, read_submission, write_submission
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from heyan.v1 import gateway_service_pb2 as pb

_OF_THE_RUN = frozenset({Reason.REGISTRY_EXPIRED, Reason.KEY_UNKNOWN, Reason.CONFIGURATION_INVALID})
"""What would befall every application alike, or is a file's fault: mended, and the run is begun again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an application asks for: `group` None leaves it open."""

    region: str
    school: School
    group: Group | None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where applications and consents come from, and for how many seconds the gateway may go on asking."""

    asked: Callable[[Item], Asked]
    consent: Callable[[Item], Awaitable[ConsentFile]]
    defer: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A query of an application; `prepared` where it is new and not durable yet. `made` counts this run's queries."""

    item: Item
    submission: Submission
    prepared: Prepared | None = None
    made: int = 1

    @property
    def request_id(self) -> bytes:
        """The query's request_id."""
        return read_query(self.submission.signed.query).request_id


async def patiently(step: Callable[[], Awaitable[T]], pace: Pace) -> T:
    """What `step` returns, tried again while it is unreachable or overloaded and patience lasts."""
    loop = asyncio.get_running_loop()
    until = loop.time() + pace.patience
    while True:
        try:
            return await step()
        except UnreachableError as error:
            pause = error.retry_after or pace.retry
            if loop.time() + pause > until:
                raise
        await asyncio.sleep(pause)


class Preparation:
    """Makes queries, or takes up those that an earlier run made. Plans are asked for once."""

    def __init__(self, client: Client, sources: Sources, clock: Clock, pace: Pace) -> None:
        self._client = client
        self._sources = sources
        self._clock = clock
        self._pace = pace
        self._plans: dict[tuple[Asked, frozenset[Role]], Plan] = {}
        self._planning = asyncio.Lock()

    async def work_on(self, item: Item) -> Work | BatchOutcome:
        """The query that an earlier run kept, or a new one; or why there can be none."""
        if item.submission is None:
            return await self.new_query(item)
        request = parse(pb.VerifyRequest, item.submission, MAX_MESSAGE)
        consent = _read_consent(item)
        await self._plan(self._sources.asked(item), consent.roles)  # its rules, by which the receipt is judged
        return Work(item, read_submission(request))

    async def new_query(self, item: Item, made: int = 1) -> Work | BatchOutcome:
        """A query that is not durable yet; or why there can be none."""
        try:
            asked = self._sources.asked(item)
            consent = await self._consent(item)
            plan = await self._plan(asked, consent.roles)
            until = self._clock() + self._sources.defer if self._sources.defer is not None else None
            submission = self._client.prepare(plan.questions(consent.roles, fields=True), consent, plan, until)
        except BadDataError as error:
            if error.reason in _OF_THE_RUN:
                raise
            return outcome_of(item.line, error, self._clock())
        message = write_submission(submission).SerializeToString()
        work = Work(replace(item, consent=_write_consent(consent)), submission, made=made)
        return replace(work, prepared=Prepared(item.line, work.item.consent or b"", message, work.request_id))

    def forget_plans(self) -> None:
        """Ask for plans again: rules have changed."""
        self._plans.clear()

    async def _consent(self, item: Item) -> ConsentFile:
        if item.consent is not None:
            return _read_consent(item)
        return await patiently(lambda: self._sources.consent(item), self._pace)

    async def _plan(self, asked: Asked, roles: frozenset[Role]) -> Plan:
        async with self._planning:
            plan = self._plans.get((asked, roles))
            if plan is None:
                plan = await patiently(
                    lambda: self._client.plan(asked.region, asked.school, asked.group, roles), self._pace
                )
                self._plans[asked, roles] = plan
            return plan


def _write_consent(consent: ConsentFile) -> bytes:
    return json.dumps([consent_to_json(grant) for grant in consent.grants]).encode()


def _read_consent(item: Item) -> ConsentFile:
    grants: Sequence[Mapping[str, object]] = json.loads(item.consent or b"[]")
    return ConsentFile(tuple(consent_from_json(grant) for grant in grants))
