"""The client SDK for education systems: plan → seal → sign → verify → check the receipt.

    async with Client(settings, keeper.current, time.time, keeper.refresh) as client:
        plan = await client.plan("430102", School.PUBLIC_PRIMARY, Group.HOME_AND_HUKOU)
        result = await client.verify(plan.questions(consent.roles), consent, plan)

Every key comes from the client's own verified registry. A result is returned only if its receipt verifies: what
the gateway says is believed because departments signed it and the log has it, not because the gateway says so.
A call that ends without an answer may be repeated: `send` the same submission again, and no use is spent twice.
Where a department may be away for longer, `prepare` with `answer_until`, and `watch` the request.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc

from consent.consent_file import ConsentFile
from gateway.asking import Envelope, Question, Randomness, make_submission
from gateway.party.keyfiles import Watched
from gateway.party.process import Clock
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import RenewingChannel, TlsMaterial, check_server
from gateway.protocol.application import Application, write_application
from gateway.protocol.attestation import sealed_digest
from gateway.protocol.claims import Role
from gateway.protocol.codec import parse
from gateway.protocol.errors import ForgedError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.keys import PublicKey, SigningKey
from gateway.protocol.leaf import read_leaf
from gateway.protocol.limits import APPLICATION_SALT_SIZE
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import NextStep
from gateway.protocol.presentation import Submission, write_submission
from gateway.protocol.query import open_part
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT, VerifiedReceipt, verify_receipt
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.protocol.receipt_rows import Answer
from gateway.protocol.registry import Registry
from gateway.rules.bundle import read_bundle
from gateway.verdicts import Verdict, application_of, verdict_of
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import receipt_pb2

_SERVICE = "/heyan.v1.GatewayService/"
DEADLINE = 10.0
"""Seconds of a call."""
WATCH = 30.0
"""Seconds for which one call waits for news."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Who the client is and whom it asks. `target` is the gateway's host:port; ids are SPIFFE IDs.

    `signing_key` gives the query key to sign with now, so that a rotated one is used without a restart.
    """

    requester: str
    gateway: str
    target: str
    tls: Watched[TlsMaterial]
    signing_key: Callable[[], SigningKey]
    operator: PublicKey


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask for an application, as the gateway proposes it; nodes and keys come from the registry.

    `group` is None where the family leaves it open, and is judged for every group of the school.
    """

    region: str
    school: School
    group: Group | None
    message: pb.GetPlanResponse

    @property
    def purpose(self) -> str:
        """The purpose that grants and query must state."""
        return self.message.purpose

    @property
    def claims(self) -> tuple[str, ...]:
        """Every claim of the plan, once: what a consent must cover."""
        fields = (field.check for field in self.message.fields)
        return tuple(dict.fromkeys(check.claim for check in (*self.message.checks, *fields)))

    def questions(self, roles: Iterable[Role], *, fields: bool = False) -> tuple[Question, ...]:
        """The checks whose roles are all among `roles`: a family without a co-resident leaves some out.

        With `fields`, also whether each field of the student record is on file, so that only the rest are collected.
        """
        held = {role.value for role in roles}
        checks = [*self.message.checks, *(field.check for field in self.message.fields if fields)]
        return tuple(
            Question(
                check.check_id,
                check.claim,
                check.region,
                {parameter.name: parameter.value for parameter in check.parameters},
            )
            for check in checks
            if held.issuperset(check.roles)
        )

    def application(self, salt: bytes) -> bytes:
        """The application that a query by this plan serves, as it travels."""
        return write_application(Application(salt, self.region, self.school, self.group, self.message.rules_digest))


@dataclass(frozen=True, slots=True)
class Verification:
    """A verified result: what the receipt proves, and the receipt itself with registry and rules filled in.

    `verdict` is computed here from the receipt; None if the query serves no application, or nobody has its rules.
    """

    verified: VerifiedReceipt
    receipt: receipt_pb2.Receipt
    verdict: Verdict | None = None

    @property
    def deferred(self) -> tuple[Answer, ...]:
        """What the gateway goes on asking by itself: see `Client.watch`."""
        return tuple(answer for answer in self.verified.answers if answer.next_step is NextStep.DEFERRED)


class Client:
    """Asks one gateway as one requester. Use as an asynchronous context manager; safe for concurrent calls."""

    def __init__(
        self,
        settings: ClientSettings,
        registry: Callable[[], Registry],
        clock: Clock,
        refresh_registry: Callable[[], bool],
        randomness: Randomness = os.urandom,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._refresh_registry = refresh_registry
        self._clock = clock
        self._randomness = randomness
        self._connection: RenewingChannel | None = None
        self._bundles: dict[bytes, bytes] = {}

    async def __aenter__(self) -> Self:
        """Check who answers at the target, and open the channel."""
        expected = parse_identity(self._settings.gateway)
        await check_server(self._settings.target, expected, self._settings.tls)
        self._connection = RenewingChannel(self._settings.target, expected, self._settings.tls, CLIENT_OPTIONS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channel."""
        if self._connection is not None:
            await self._connection.close()

    async def plan(self, region: str, school: School, group: Group | None, roles: Iterable[Role] = ()) -> Plan:
        """The plan for an application in `region` (county code): for one group, or (None) for all of the school.

        `roles` leaves out what a family without the others cannot be asked; none means all. Raises BadDataError if the
        rules that come with it are not those that it names.
        """
        request = pb.GetPlanRequest(
            region=region,
            school=school.value,
            group=group.value if group is not None else "",
            roles=[role.value for role in roles],
        )
        data = await self.call("GetPlan", request.SerializeToString())
        message = parse(pb.GetPlanResponse, data, MAX_RECEIPT)
        if message.rules_digest not in self._bundles:
            read_bundle(message.rules, message.rules_digest)
            self._bundles[message.rules_digest] = message.rules
        return Plan(region, school, group, message)

    def prepare(
        self, questions: Sequence[Question], consent: ConsentFile, plan: Plan, answer_until: float | None = None
    ) -> Submission:
        """A signed and sealed submission, to `send` now, and again if no answer comes.

        With `answer_until` (seconds since the epoch) the gateway goes on asking departments that cannot be had. Not
        later than the registry allows the requester, and the grants and the departments' sealing keys last;
        MalformedError where a key ends before.
        """
        registry, now = self._registry(), self._clock()
        registry.require_current(now)
        envelope = Envelope(
            self._settings.requester,
            self._settings.gateway,
            plan.purpose,
            now,
            answer_until,
            plan.application(self._randomness(APPLICATION_SALT_SIZE)),
        )
        return make_submission(questions, consent, envelope, registry, self._settings.signing_key(), self._randomness)

    async def verify(self, questions: Sequence[Question], consent: ConsentFile, plan: Plan) -> Verification:
        """Ask `questions` of `plan` on the strength of `consent`; the verified result.

        Raises the domain error that the gateway's status stands for, or ForgedError if the receipt does not hold.
        """
        return await self.send(self.prepare(questions, consent, plan))

    async def send(self, submission: Submission) -> Verification:
        """Send a submission, for the first time or again, and check the receipt that comes back."""
        return self.check(submission, await self.exchange(submission))

    async def exchange(self, submission: Submission) -> receipt_pb2.Receipt:
        """Send a submission; the receipt as it came, unchecked: to be believed only once `check` took it."""
        data = await self.call("Verify", write_submission(submission).SerializeToString())
        return parse(pb.VerifyResponse, data, MAX_RECEIPT).receipt

    def check(self, submission: Submission, receipt: receipt_pb2.Receipt) -> Verification:
        """Check the receipt of a submission; ForgedError (RECEIPT_INVALID) if it proves anything else."""
        result = self.checked(receipt)
        if result.verified.query_digest != submission.signed.digest:
            raise ForgedError(Reason.RECEIPT_INVALID, "a receipt of another query")
        _require_received(submission, result.verified)
        return result

    async def get(self, request_id: bytes) -> Verification:
        """What became of an earlier query of ours."""
        return await self._get(pb.GetVerificationRequest(request_id=request_id), DEADLINE)

    async def watch(self, request_id: bytes, within: float) -> AsyncIterator[Verification]:
        """What becomes of an earlier query of ours: what is known now, and then each time that more is.

        Ends when nothing of it is deferred any more, or after `within` seconds. A gateway that cannot be reached
        meanwhile is asked again; the last UnreachableError is raised if time is up before it answers. ForgedError for
        a receipt that does not hold, or that takes back what an earlier one recorded.
        """
        time = asyncio.get_running_loop().time
        until, seen = time() + within, list[bytes]()
        while True:
            wait = max(0.0, min(until - time(), WATCH))
            request = pb.GetVerificationRequest(request_id=request_id, known_leaves=len(seen))
            request.wait.FromTimedelta(timedelta(seconds=wait))
            try:
                result = await self._get(request, wait + DEADLINE)
            except UnreachableError as fault:
                pause = fault.retry_after or 1.0
                if time() + pause > until:
                    raise
                await asyncio.sleep(spread(pause))
                continue
            leaves = [item.leaf for item in result.receipt.leaves]
            if leaves[: len(seen)] != seen:
                raise ForgedError(Reason.RECEIPT_INVALID, "not the leaves that an earlier receipt had")
            if leaves != seen:
                seen = leaves
                yield result
            if not result.deferred or time() >= until:
                return

    async def _get(self, request: pb.GetVerificationRequest, deadline: float) -> Verification:
        request_id = request.request_id
        data = await self.call("GetVerification", request.SerializeToString(), deadline=deadline)
        receipt = parse(pb.GetVerificationResponse, data, MAX_RECEIPT).receipt
        await self.learn_rules(receipt)
        result = self.checked(receipt)
        if result.verified.query.request_id != request_id:
            raise ForgedError(Reason.RECEIPT_INVALID, "a receipt of another request")
        return result

    async def learn_rules(self, receipt: receipt_pb2.Receipt) -> None:
        """Ask for the rules of an earlier plan, unless they are known; the gateway has only those in force now."""
        application = application_of(receipt)
        if application is not None and application.rules_digest not in self._bundles:
            await self.plan(application.region, application.school, application.group)

    def checked(self, receipt: receipt_pb2.Receipt) -> Verification:
        """What a receipt of ours proves, by the registry that its leaves need; ForgedError if it does not hold."""
        recorded = (item.leaf for item in leaf_proofs(receipt))
        needed = max((read_leaf(leaf).registry_version for leaf in recorded), default=0)
        if self._registry().version < needed:
            self._refresh_registry()
        registry = self._registry()
        receipt.registry = registry.token
        verified = verify_receipt(receipt, self._settings.operator, registry)
        if verified.query.requester != self._settings.requester:
            raise ForgedError(Reason.RECEIPT_INVALID, "a receipt of another requester")
        application = verified.application
        bundle = self._bundles.get(application.rules_digest) if application is not None else None
        if bundle is None:
            return Verification(verified, receipt)
        receipt.rules = bundle
        return Verification(verified, receipt, verdict_of(verified, bundle))

    def open_stream(self, method: str) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """A bidirectional stream of raw messages, without a deadline; for `gateway.bulk`."""
        call = self._open_connection().channel.stream_stream(_SERVICE + method)  # type: ignore[call-arg]
        return call()  # type: ignore[call-arg] # the stubs know only streams with an iterator

    async def call(self, method: str, message: bytes, service: str = _SERVICE, deadline: float | None = None) -> bytes:
        """Call a method of the gateway; the domain error that its status stands for. For modules of this SDK."""
        call = self._open_connection().channel.unary_unary(service + method)  # type: ignore[call-arg]
        try:
            data = await call(message, timeout=DEADLINE if deadline is None else deadline)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        return bytes(data)

    def _open_connection(self) -> RenewingChannel:
        if self._connection is None:
            raise UnreachableError(Reason.INTERNAL, "the client is not open")
        self._connection.renew()
        return self._connection


def spread(pause: float) -> float:
    """A pause (seconds) that is never shorter, and up to a quarter longer.

    So that callers who were sent away at the same moment, as by a gateway that drains, come back at different ones.
    """
    return pause * random.uniform(1.0, 1.25)  # noqa: S311 - no secret


def _require_received(submission: Submission, verified: VerifiedReceipt) -> None:
    """Hold what departments say they received against what was sealed: a gateway may have put garbage in its place."""
    sealed = {open_part(part.part).part.department: sealed_digest(part.sealed.ciphertext) for part in submission.parts}
    for answer in verified.answers:
        if answer.sealed_digest is not None and answer.sealed_digest != sealed[answer.department]:
            raise ForgedError(Reason.RECEIPT_INVALID, "a department received another sealed subject than was sent")
