"""Many applications at once through the real client, which retries as documented and believes nothing unchecked.

As documented: a call that ends without an answer (`UnreachableError`) or with a check UNAVAILABLE is sent again, the
same submission, after `retry_after`; what is refused (`BadDataError`) is not. Every answer is held against the truth,
and against what the same check said in an earlier receipt. Each call of the client has its own deadline; one that has
not ended MARGIN seconds later hangs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from consent.consent_file import ConsentFile
from gateway.cli.guardians import Guardians
from gateway.client import DEADLINE, Client, Verification
from gateway.protocol.errors import BadDataError, UnreachableError
from gateway.protocol.outcomes import ATTESTABLE, Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from sandbox_departments.truth import Truth

MARGIN = 3.0
"""Seconds past its deadline within which a call must have ended, on a machine that does other work besides."""
CONSENT_DEADLINE = 60.0
"""Seconds for one consent: up to four requests of ten seconds, and the passkey's work."""
RETRY = 1.0
"""Seconds before a retry where nothing says how long to wait."""
PATIENCE = 55.0
"""Seconds for which a submission is tried, a little less than its query lives."""

T = TypeVar("T")


class Ending(Enum):
    """How an application ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    UNAVAILABLE = "still unavailable at the end"
    HUNG = "hung"


class Hung(Exception):  # noqa: N818 - the field's word, and no error of the system's
    """A call that did not end by itself."""


@dataclass
class Call:
    """One application from its first attempt to its end."""

    kind: str
    grants: tuple[bytes, ...]
    submission: Submission
    ending: Ending = Ending.UNAVAILABLE
    reason: Reason | None = None
    result: Verification | None = None
    faults: Counter[Reason] = field(default_factory=Counter)
    """Why attempts had to be repeated."""
    wrong: list[str] = field(default_factory=list)
    """Claims whose answer is not the truth, or not what it was before."""
    forged: str | None = None
    """What did not hold of a receipt."""

    @property
    def request_id(self) -> bytes:
        return read_query(self.submission.signed.query).request_id


class Load:
    """Applies through one client, and remembers how each call ended."""

    def __init__(self, client: Client, guardians: Guardians, requester: str) -> None:
        self.client = client
        self.guardians = guardians
        self.requester = requester
        self.calls: list[Call] = []
        self.hung: list[str] = []
        """Calls besides applications that did not end: plans, consents, withdrawals."""
        self.retries: Counter[str] = Counter()
        """Why those had to be repeated, by their name and the reason."""
        self.consents = 0
        self.under_way = 0
        """Submissions that are with the gateway at the moment."""
        self.answers = 0

    # -- what guardians do --------------------------------------------------------------------------------------

    async def consent(self, truth: Truth, max_uses: int, patience: float = PATIENCE) -> ConsentFile:
        """The family's consent to the checks of its application; a draft that was lost is made anew."""
        application = truth.application
        details = self.guardians.details(application, max_uses)
        made = await self._retry(
            "consent",
            lambda: self.guardians.consent_to(application, self.requester, details),
            patience,
            CONSENT_DEADLINE,
            lost_is_retried=True,
        )
        self.consents += 1
        return made

    async def withdraw(self, truth: Truth, consent: ConsentFile) -> None:
        """Withdraw a consent until the issuer has confirmed it."""
        family = truth.application.family
        await self._retry("withdrawal", lambda: self.guardians.withdraw(family, consent), PATIENCE, CONSENT_DEADLINE)

    # -- what a requester does ----------------------------------------------------------------------------------

    async def apply(self, truth: Truth, consent: ConsentFile, kind: str = "steady") -> Call:
        """One application, carried to its end."""
        return await self.send(truth, await self.prepare(truth, consent, kind))

    async def prepare(self, truth: Truth, consent: ConsentFile, kind: str = "steady") -> Call:
        """Plan, seal and sign; nothing is asked yet."""
        application = truth.application
        plan = await self._retry(
            "plan",
            lambda: self.client.plan(application.region, application.school, application.group),
            PATIENCE,
            DEADLINE + MARGIN,
        )
        submission = self.client.prepare(plan.questions(consent.roles), consent, plan)
        return Call(kind, tuple(grant.digest for grant in consent.grants), submission)

    async def send(self, truth: Truth, call: Call) -> Call:
        """Send a submission, and again while it helps; the same call, with its end."""
        self.calls.append(call)
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while True:
            pause = RETRY
            self.under_way += 1
            try:
                result = await self._bounded(self.client.send(call.submission), DEADLINE + MARGIN)
            except Hung:
                call.ending = Ending.HUNG
                return call
            except UnreachableError as error:
                call.faults[error.reason] += 1
                pause = error.retry_after or RETRY
            except BadDataError as error:
                call.ending, call.reason = Ending.REFUSED, error.reason
                if error.reason is Reason.RECEIPT_INVALID:
                    call.forged = str(error)
                return call
            else:
                self.answers += 1
                if self._take(call, truth, result):
                    return call
            finally:
                self.under_way -= 1
            if loop.time() + pause > until:
                return call
            await asyncio.sleep(pause)

    def _take(self, call: Call, truth: Truth, result: Verification) -> bool:
        """Keep a result; whether it is the last one."""
        said = result.verified.answers
        right = {asked_of(answer.claim, answer.region, answer.parameters): answer.outcome for answer in truth.plan}
        before = {} if call.result is None else attested(call.result)
        for answer in said:
            if answer.outcome in ATTESTABLE:
                check = answer.check
                held = before.get(check.check_id, answer.outcome)
                if {right.get(asked_of(check.claim, check.region, dict(check.parameters))), held} != {answer.outcome}:
                    call.wrong.append(check.claim)
        if not before.keys() <= attested(result).keys():
            call.wrong.append("an answer was taken back")
        if len(said) != len(right):
            call.wrong.append("not every check is answered")
        call.result = result
        refused = [answer.reason for answer in said if answer.outcome is Outcome.REFUSED]
        gaps = [answer.reason for answer in said if answer.outcome is Outcome.UNAVAILABLE]
        if refused:
            call.ending, call.reason = Ending.REFUSED, refused[0]
        elif not gaps:
            call.ending = Ending.ANSWERED
        call.faults.update(reason for reason in gaps if reason is not None)
        return not gaps

    # -- what both rest on --------------------------------------------------------------------------------------

    async def _retry(
        self,
        name: str,
        step: Callable[[], Awaitable[T]],
        patience: float,
        deadline: float,
        *,
        lost_is_retried: bool = False,
    ) -> T:
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            try:
                return await self._bounded(step(), deadline)
            except Hung:
                self.hung.append(name)
                raise
            except UnreachableError as error:
                self.retries[f"{name}: {error.reason.value}"] += 1
                pause = error.retry_after or RETRY
                if loop.time() + pause > until:
                    raise
            except BadDataError as error:
                if not lost_is_retried or error.reason is not Reason.EVIDENCE_INVALID or loop.time() > until:
                    raise
                pause = RETRY
            await asyncio.sleep(pause)

    async def _bounded(self, call: Awaitable[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError:
            raise Hung from None

    def endings(self, kind: str | None = None) -> Counter[str]:
        """How the calls ended, refusals by their reason."""
        return Counter(
            call.reason.value if call.ending is Ending.REFUSED and call.reason else call.ending.value
            for call in self.calls
            if kind in (None, call.kind)
        )

    def faults(self) -> Counter[str]:
        """Why attempts had to be repeated."""
        return Counter(reason.value for call in self.calls for reason in call.faults.elements())


def attested(result: Verification) -> dict[str, Outcome]:
    """The departments' answers of a result, by check id."""
    return {answer.check.check_id: answer.outcome for answer in result.verified.answers if answer.outcome in ATTESTABLE}


def asked_of(claim: str, region: str, parameters: Mapping[str, str]) -> tuple[str, str, frozenset[tuple[str, str]]]:
    """What a check asks, apart from whom it is about."""
    return claim, region, frozenset(parameters.items())
