"""How the peers have an application answered: a unary `AnswerOne` for each check, all of an application at once.

The same checks about the same people, sealed, signed and consented to alike; a system without Heyan's gateway asks each
check for itself, so that each has a query of its own with one part. (`Together` asks, kinder to the peers, the
checks of one department in one call.) The answers are held against the truth, and a sample of them verified under the
departments' signatures. Nothing else is done: see `LEFT_OUT`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc

from benchmarks.applicants import Applicant
from benchmarks.load import OK, WRONG
from benchmarks.ways import judge
from consent.selection import presentations_for
from gateway.asking import Envelope, Question, make_submission
from gateway.client import DEADLINE
from gateway.departments.replies import open_reply_batch
from gateway.departments.stream import MAX_REPLY
from gateway.party.statuses import from_rpc_error
from gateway.protocol.codec import parse
from gateway.protocol.errors import HeyanError
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import APPLICATION_SALT_SIZE
from gateway.protocol.presentation import write_presentation, write_presented_part, write_signed_query
from gateway.protocol.query import open_part, read_query
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2 as pb

METHOD = "/heyan.v1.DepartmentService/AnswerOne"
HEADER = "x-department"
"""By which the proxies route: the department's name."""

LEFT_OUT = (
    "no consent is checked before a department is asked, and no use of it is counted",
    "no county's rules, no window, no fairness among requesters",
    "no log: nothing is proven, published, witnessed or kept as evidence, and no answer is acknowledged",
    "no receipt: the caller has signed answers, one by one, and nothing that others could check later",
    "no fan-out: the caller makes every call, knows every department, and holds what is left when one fails",
    "no repetition that is safe by request_id across departments, no hedge, no circuit breaker, no deferral",
)
"""What the peers do not do, and Heyan does in the same run."""

Call = Callable[[bytes], Awaitable[bytes]]
"""Begins a unary call to one department when called; its answer when awaited, or AioRpcError."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: to which department, its bytes, and what must come of it."""

    department: str
    message: bytes
    truth: dict[str, str]


@dataclass(frozen=True, slots=True)
class Asker:
    """In whose name is asked: SPIFFE IDs of requester and gateway, the requester's key and registry as they are now."""

    requester: str
    gateway: str
    signing_key: Callable[[], SigningKey]
    registry: Callable[[], Registry]


def each_check(who: Applicant) -> list[tuple[Question, ...]]:
    """A query for each check."""
    return [(question,) for question in who.questions]


def first_check(who: Applicant) -> list[tuple[Question, ...]]:
    """A single query for a single check: one unary call."""
    return [who.questions[:1]]


def together(who: Applicant) -> list[tuple[Question, ...]]:
    """One query for all, with a part for each department: a call for each part."""
    return [who.questions]


class ByCalls:
    """Asks departments through `calls`, by their SPIFFE IDs."""

    def __init__(
        self,
        asker: Asker,
        calls: Mapping[str, Call],
        queries: Callable[[Applicant], Sequence[Sequence[Question]]] = each_check,
    ) -> None:
        self._asker = asker
        self._calls = calls
        self._queries = queries

    def prepare(self, who: Applicant) -> tuple[Asked, ...]:
        """The calls of an application."""
        return tuple(asked for questions in self._queries(who) for asked in self._asked(who, questions))

    def _asked(self, who: Applicant, questions: Sequence[Question]) -> list[Asked]:
        asker, registry = self._asker, self._asker.registry()
        application = who.plan.application(os.urandom(APPLICATION_SALT_SIZE))
        envelope = Envelope(asker.requester, asker.gateway, who.plan.purpose, time.time(), None, application)
        made = make_submission(questions, who.consent, envelope, registry, asker.signing_key(), os.urandom)
        query = read_query(made.signed.query)
        calls = []
        for presented in made.parts:
            part = open_part(presented.part).part
            ask = pb.Ask(
                query=write_signed_query(made.signed),
                part=write_presented_part(presented),
                grants=[write_presentation(grant) for grant in presentations_for(part, query, made.grants)],
            )
            truth = {check.check_id: who.truth[check.check_id] for check in part.checks}
            calls.append(Asked(part.department, pb.AnswerOneRequest(ask=ask).SerializeToString(), truth))
        return calls

    async def ask(self, prepared: Sequence[Asked], *, verify: bool) -> str:
        """All calls at once; the application is answered when all of them are."""
        under_way = [(asked, self._calls[asked.department](asked.message)) for asked in prepared]
        status, failure = OK, None
        for asked, call in under_way:
            try:
                said = self._judge(asked, await call, verify=verify)
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
            except HeyanError as error:
                failure = error
            else:
                status = said if status in (OK, said) else WRONG
        if failure is not None:
            raise failure
        return status

    def _judge(self, asked: Asked, data: bytes, *, verify: bool) -> str:
        answer = parse(pb.AnswerOneResponse, data, MAX_REPLY)
        if verify:
            batch = pb.AnswerResponse(batch=answer.batch, replies=[pb.Reply(statements=answer.statements)])
            open_reply_batch(batch, asked.department, self._asker.registry(), time.time())
        return judge((proof.statement for proof in answer.statements), asked.truth)


def calls_through(
    channels: Sequence[grpc.aio.Channel], departments: Sequence[str], names: Mapping[str, str] | None = None
) -> dict[str, Call]:
    """Calls to `departments` over the channels in turn; with `names`, named in the header that proxies route by."""
    return {item: _call(channels, ((HEADER, names[item]),) if names is not None else None) for item in departments}


def _call(channels: Sequence[grpc.aio.Channel], metadata: tuple[tuple[str, str], ...] | None) -> Call:
    methods = [channel.unary_unary(METHOD) for channel in channels]  # type: ignore[call-arg] # raw bytes both ways
    turn = 0

    def call(message: bytes) -> Awaitable[bytes]:
        nonlocal turn
        turn = (turn + 1) % len(methods)
        return methods[turn](message, timeout=DEADLINE, metadata=metadata)

    return call
