"""One application of a rehearsal: made, sent as often as an applicant has patience for, and held against the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.cli.stress_answers import Asked, Reading, asked_of, read_answers
from gateway.cli.stress_families import Applicant
from gateway.client import Client
from gateway.protocol.errors import BadDataError, OverloadedError, UnreachableError
from gateway.protocol.presentation import Submission
from gateway.protocol.query import read_query
from gateway.protocol.reasons import Reason
from gateway.season.profile import Profile
from gateway.season.rehearsal import PATIENCE_RAN_OUT, End, Tally
from heyan.v1 import receipt_pb2

Verify = Literal["sample", "all", "none"]
"""Which receipts are verified whole, with every signature and proof."""
VERIFY_EVERY: Mapping[Verify, int] = {"sample": 20, "all": 1, "none": 0}
"""Of so many receipts, one is verified."""

OTHER_VERDICT = "not the right verdict"
_LONGEST_PAUSE = 10.0
"""Seconds for which an applicant waits at most, whatever the gateway names."""


@dataclass(frozen=True, slots=True)
class Made:
    """An application that is ready to be sent, and when it was made, by the event loop's clock."""

    applicant: Applicant
    submission: Submission
    asked: Asked
    time: float


class Attempts:
    """Makes and carries applications; `connections` are the clients of each education system."""

    def __init__(
        self, profile: Profile, connections: Mapping[str, Sequence[Client]], tally: Tally, verify: Verify
    ) -> None:
        self._profile = profile
        self._connections = connections
        self._tally = tally
        self._every = VERIFY_EVERY[verify]
        self._receipts = 0

    def make(self, applicant: Applicant, now: float) -> Made:
        """A signed and sealed application."""
        client = self._connections[applicant.requester][0]
        submission = client.prepare(applicant.questions, applicant.consent, applicant.plan)
        return Made(applicant, submission, asked_of(submission), now)

    async def carry(self, made: Made, client: Client) -> tuple[End, str | None]:
        """Send an application until all of it is answered, or the attempts are spent; how it ended, and why."""
        end: End = End.UNANSWERED
        reason: str | None = PATIENCE_RAN_OUT
        for left in reversed(range(self._profile.attempts)):
            pause = self._profile.pause
            try:
                async with asyncio.timeout(self._profile.patience):
                    receipt = await client.exchange(made.submission)
            except TimeoutError:
                end, reason, pause = End.UNANSWERED, PATIENCE_RAN_OUT, 0.0
            except UnreachableError as error:
                end = End.REFUSED if isinstance(error, OverloadedError) else End.UNANSWERED
                reason, pause = error.reason.value, max(pause, error.retry_after or 0.0)
            except BadDataError as error:
                return End.REFUSED, error.reason.value
            else:
                taken = self._take(made, receipt, is_last=not left)
                if taken[0] is not End.UNAVAILABLE or not left:
                    return taken
                end, reason = taken
            if left:
                self._tally.retries[str(reason)] += 1
                await asyncio.sleep(min(pause, _LONGEST_PAUSE))
        return end, reason

    def _take(self, made: Made, receipt: receipt_pb2.Receipt, *, is_last: bool) -> tuple[End, str | None]:
        """How an application ends by what came, counted by department; UNAVAILABLE may be tried again."""
        try:
            reading = read_answers(receipt, made.asked, made.applicant.right)
            self._verify(made, receipt, reading)
        except BadDataError as error:
            reading = Reading(wrong=[error.reason.value])
        for (department, reason), count in reading.unavailable.items():
            self._tally.departments[department].unavailable[reason] += count
        if reading.wrong:
            request = read_query(made.submission.signed.query).request_id.hex()
            self._tally.tell_wrong(f"{', '.join(sorted(set(reading.wrong)))} (request_id {request})")
            return End.WRONG, Reason.RECEIPT_INVALID.value
        if reading.unavailable and not (is_last or reading.refused):
            return End.UNAVAILABLE, next(iter(reading.unavailable))[1]
        self._count(reading)
        if reading.refused:
            return End.REFUSED, next(iter(reading.refused))[1]
        if reading.unavailable:
            return End.UNAVAILABLE, next(iter(reading.unavailable))[1]
        return End.ANSWERED, None

    def _verify(self, made: Made, receipt: receipt_pb2.Receipt, reading: Reading) -> None:
        """Verify one receipt of so many, and the verdict of what is answered whole; BadDataError, or told wrong."""
        self._receipts += 1
        if not self._every or self._receipts % self._every:
            return
        planner = self._connections[made.applicant.requester][0]  # it knows the rules of the plan
        result = planner.check(made.submission, receipt)
        self._tally.receipts_verified += 1
        if not (reading.unavailable or reading.refused or made.applicant.is_right(result)):
            reading.wrong.append(OTHER_VERDICT)

    def _count(self, reading: Reading) -> None:
        departments = self._tally.departments
        self._tally.settled += 1
        for department, count in reading.answered.items():
            departments[department].answered += count
        for (department, reason), count in reading.refused.items():
            departments[department].refused[reason] += count
        for (department, _), count in reading.unavailable.items():
            departments[department].left_open += count
