"""A rehearsal without a federation: a loop whose time costs nothing, and a client that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random

from gateway.asking import Envelope, Question, make_submission
from gateway.cli.stress_attempts import Verify
from gateway.cli.stress_driver import Driver
from gateway.cli.stress_families import Applicant
from gateway.client import Plan
from gateway.protocol.attestation import sealed_digest
from gateway.protocol.errors import ForgedError
from gateway.protocol.matrix import School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import open_part
from gateway.protocol.reasons import Reason
from gateway.season.arrivals import arrivals_of, by_second
from gateway.season.goal import parse_goal
from gateway.season.profile import Profile
from gateway.season.rehearsal import Rehearsal, Tally
from heyan.v1 import attestation_pb2, check_pb2, log_pb2, receipt_pb2
from heyan.v1 import gateway_service_pb2 as pb
from tests import federation as fed

NOW = 1_800_000_000.0
CLAIMS = ("hukou.child_registered@1", "guardianship.guardian_of@1", "property.owns_home@1")
POLICE, LAND = "police", "land"
REQUESTER = "changsha-edu"

Receipt = receipt_pb2.Receipt
Answer = Callable[[Submission], Awaitable[Receipt]]


class TimelessLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when there is nothing else to do: exact, and at once."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass as if the loop had been busy."""
        self._now += seconds

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()


class FakeClient:
    """A client whose gateway is a function; `check` takes every receipt, or none, and its verdict is right, or not."""

    def __init__(self, answer: Answer, *, forged: bool = False, misjudged: bool = False) -> None:
        self.federation = fed.Federation.create(NOW)
        self.answer = answer
        self.forged = forged
        self.misjudged = misjudged
        self.under_way = self.most_under_way = self.exchanged = 0
        self._made: Submission | None = None

    def prepare(self, questions, consent, plan: Plan) -> Submission:
        if self._made is None:  # one for all: what is in it is not what is tested
            envelope = Envelope(fed.REQUESTER, fed.GATEWAY, plan.purpose, NOW)
            key = self.federation.signing_keys[fed.REQUESTER]
            self._made = make_submission(
                questions, consent, envelope, self.federation.registry, key, Random(1).randbytes
            )
        return self._made

    async def exchange(self, submission: Submission) -> Receipt:
        self.exchanged += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self.answer(submission)
        finally:
            self.under_way -= 1

    def check(self, submission: Submission, receipt: Receipt) -> None:
        if self.forged:
            raise ForgedError(Reason.RECEIPT_INVALID, "no such proof")


def applicant(client: FakeClient) -> Applicant:
    """A family for which everything holds."""
    questions = tuple(Question(f"c{number}", claim, fed.REGION, {}) for number, claim in enumerate(CLAIMS))
    right = {(claim, fed.REGION, ()): Outcome.YES for claim in CLAIMS}
    plan = Plan(fed.REGION, School.PUBLIC_PRIMARY, None, pb.GetPlanResponse(purpose="enrolment"))
    return Applicant(REQUESTER, plan, questions, client.federation.issue(), right, lambda _: not client.misjudged)


def receipt_of(submission: Submission, *, outcome: Outcome = Outcome.YES, down: str = "", refuses: str = "") -> Receipt:
    """What an honest gateway hands back, unsigned: `down` is unavailable, `refuses` refuses."""
    receipt = receipt_pb2.Receipt()
    for presented in submission.parts:
        part = open_part(presented.part).part
        name = part.department.rpartition("/")[2]
        if name == refuses:
            refusal = attestation_pb2.Refusal(department=part.department, reason=Reason.BUDGET_EXHAUSTED.value)
            _add(receipt, attestation_pb2.Statement(refusal=refusal))
            continue
        for check in check_pb2.Part.FromString(presented.part).checks:
            if name == down:
                reason = Reason.DEPARTMENT_UNREACHABLE.value
                receipt.unavailable.append(
                    log_pb2.UnavailableCheck(check_id=check.check_id, department=part.department, reason=reason)
                )
                continue
            attestation = attestation_pb2.Attestation(
                check=check,
                department=part.department,
                outcome=outcome.value,
                sealed_digest=sealed_digest(presented.sealed.ciphertext),
            )
            _add(receipt, attestation_pb2.Statement(attestation=attestation))
    return receipt


def _add(receipt: Receipt, statement: attestation_pb2.Statement) -> None:
    proof = attestation_pb2.StatementProof(statement=statement.SerializeToString())
    receipt.statements.append(attestation_pb2.AttestedStatement(proof=proof))


def rehearse(
    profile: Profile,
    answer: Answer,
    *,
    goal: str = "",
    verify: Verify = "none",
    forged: bool = False,
    misjudged: bool = False,
    beside: Callable[[Driver, FakeClient], Coroutine[None, None, None]] | None = None,
) -> tuple[Rehearsal, FakeClient]:
    """Run a whole profile against `answer`, with `beside` running beside it; what came of it."""

    async def run() -> tuple[Rehearsal, FakeClient]:
        client, tally = FakeClient(answer, forged=forged, misjudged=misjudged), Tally()
        arrivals = arrivals_of(profile, Random(profile.seed).random)
        driver = Driver(profile, arrivals, [applicant(client)], {REQUESTER: [client]}, tally, verify)  # type: ignore[list-item]
        other = asyncio.create_task(beside(driver, client)) if beside is not None else None
        elapsed = await driver.run()
        if other is not None:
            await other
        made = Rehearsal(
            profile=profile,
            goal=parse_goal(goal),
            planned=by_second(arrivals),
            tally=tally,
            elapsed=elapsed,
            verify_receipts=verify,
            connections=1,
            interrupted=driver.stopped,
        )
        return made, client

    with asyncio.Runner(loop_factory=TimelessLoop) as runner:
        return runner.run(run())
