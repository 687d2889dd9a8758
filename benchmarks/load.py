"""The load generator: applications sent at a fixed rate (open loop) or as fast as they are answered (closed loop).

- Latency is counted from when an application was meant to be sent, so that a system that holds up its callers does
  not hide its own delay (coordinated omission).
- Every outcome of a call is counted under its status: OK, PARTIAL (a check was unavailable), REFUSED, WRONG (not the
  truth), or the reason that the gateway gave. What was refused with RetryInfo is sent again, as the contract says, in
  the closed loop only; in the open loop it counts as it is.
- The answers of every receipt are held against the truth; every VERIFY_EVERYth receipt is verified whole, with every
  signature and proof. Verifying all would measure the generator.
- Queries are signed and sealed before a run, never within it, as far as their minute of validity lets.

A `Generator` is one requester in one process; `in_processes` runs several, each with families of its own.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

from consent.consent_file import ConsentFile
from consent.disclosures import group_details
from gateway.asking import Question
from gateway.cli.endpoints import open_client, read_endpoints
from gateway.cli.guardians import Guardians
from gateway.client import Client, Plan
from gateway.protocol.claims import FIELD_ON_FILE
from gateway.protocol.errors import HeyanError, OverloadedError
from gateway.protocol.presentation import Submission
from heyan.v1 import attestation_pb2, check_pb2, receipt_pb2
from sandbox_departments.truth import Truth, read_truth

VERIFY_EVERY = 20
"""Of so many receipts, one is verified whole."""
USES = 1_000
"""Uses of each consent."""
PREPARED_SECONDS = 40.0
"""A query is valid for a minute; one that was made longer ago than this is made anew."""
_LEAST_RETRY = 0.05

Wanted = Callable[[str], bool]
"""Whether a claim is asked."""


@dataclass(frozen=True)
class Sample:
    """One application: of which kind, when it was meant to be sent, how long it took from then, and how it ended."""

    kind: str
    due: float
    latency: float
    status: str


@dataclass
class Tally:
    """What came of a run."""

    samples: list[Sample] = field(default_factory=list)
    verified: int = 0
    retries: int = 0
    seconds: float = 0.0

    def statuses(self, kind: str | None = None) -> Counter[str]:
        """How often each status."""
        return Counter(sample.status for sample in self.samples if kind in (None, sample.kind))

    def latencies(self, kind: str | None = None) -> list[float]:
        """Seconds of the applications that were answered, in order of size."""
        return sorted(item.latency for item in self.samples if kind in (None, item.kind) and item.status == "OK")

    def add(self, other: Tally) -> None:
        """Take in what another generator saw in the same run."""
        self.samples += other.samples
        self.verified += other.verified
        self.retries += other.retries
        self.seconds = max(self.seconds, other.seconds)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; NaN of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass(frozen=True)
class Applicant:
    """A family with its consent: what is asked about it, and the outcome that each check must have."""

    plan: Plan
    questions: tuple[Question, ...]
    consent: ConsentFile
    truth: dict[str, str]


class Generator:
    """Sends applications as one requester, through the real client's channel."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sent = 0

    def prepare(self, applicants: Sequence[Applicant], count: int) -> list[tuple[Applicant, Submission]]:
        """`count` signed and sealed submissions, of all applicants in turn."""
        return [(who, self._prepared(who)) for who in islice(cycle(applicants), count)]

    async def open_loop(
        self, kind: str, prepared: Sequence[tuple[Applicant, Submission]], rate: float, tally: Tally
    ) -> None:
        """Send one every 1/`rate` seconds, whatever became of those before; ends when all are answered."""
        began = time.perf_counter()
        tasks = []
        for number, (who, submission) in enumerate(prepared):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self._send(kind, due, who, submission, tally, retry=False)))
        await asyncio.gather(*tasks)
        tally.seconds = max(tally.seconds, time.perf_counter() - began)

    async def closed_loop(
        self, kind: str, prepared: Sequence[tuple[Applicant, Submission]], concurrency: int, seconds: float
    ) -> Tally:
        """Keep `concurrency` applications under way for `seconds`; more than were prepared are made meanwhile."""
        tally = Tally()
        ready = iter(prepared)
        more = cycle(who for who, _ in prepared)
        began = time.perf_counter()

        async def work() -> None:
            while (now := time.perf_counter()) < began + seconds:
                who, submission = next(ready, (None, None))
                if who is None or submission is None or now - began > PREPARED_SECONDS:
                    who = next(more)
                    submission = self._prepared(who)
                await self._send(kind, time.perf_counter(), who, submission, tally, retry=True)

        await asyncio.gather(*(work() for _ in range(concurrency)))
        tally.seconds = time.perf_counter() - began
        return tally

    def _prepared(self, who: Applicant) -> Submission:
        return self._client.prepare(who.questions, who.consent, who.plan)

    async def _send(
        self, kind: str, due: float, who: Applicant, submission: Submission, tally: Tally, *, retry: bool
    ) -> None:
        while True:
            try:
                status = self._status(who, submission, await self._client.exchange(submission), tally)
            except OverloadedError as error:
                if retry:
                    tally.retries += 1
                    await asyncio.sleep(max(_LEAST_RETRY, error.retry_after or 0.0))
                    continue
                status = error.reason.value
            except HeyanError as error:
                status = error.reason.value
            tally.samples.append(Sample(kind, due, time.perf_counter() - due, status))
            return

    def _status(self, who: Applicant, submission: Submission, receipt: receipt_pb2.Receipt, tally: Tally) -> str:
        self._sent += 1
        if self._sent % VERIFY_EVERY == 0:
            self._client.check(submission, receipt)  # raises RECEIPT_INVALID, which is counted as it is
            tally.verified += 1
        if receipt.unavailable:
            return "PARTIAL"
        return _judge(receipt, who.truth)


def _judge(receipt: receipt_pb2.Receipt, truth: dict[str, str]) -> str:
    said = {}
    for attested in receipt.statements:
        statement = attestation_pb2.Statement.FromString(attested.proof.statement)
        if not statement.HasField("attestation"):
            return "REFUSED"
        attestation = statement.attestation
        said[attestation.check.check_id] = check_pb2.Outcome.Name(attestation.outcome).removeprefix("OUTCOME_")
    return "OK" if said == truth else "WRONG"


# -- applicants -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def generator(folder: Path, requester: str) -> AsyncIterator[Generator]:
    """A generator that is connected to the gateway of the federation in `folder`."""
    async with open_client(folder, requester) as client:
        yield Generator(client)


async def applicants(
    folder: Path, requester: str, families: Sequence[Truth], wanted: Wanted = lambda _: True
) -> list[Applicant]:
    """The families with their consents, asked for all checks of their plan's materials that are `wanted`."""
    async with Guardians(folder) as guardians, open_client(folder, requester) as client:
        found = [await _applicant(guardians, client, requester, truth, wanted) for truth in families]
    return [applicant for applicant in found if applicant is not None]


async def _applicant(
    guardians: Guardians, client: Client, requester: str, truth: Truth, wanted: Wanted
) -> Applicant | None:
    asked = [answer for answer in truth.answers if wanted(answer.claim) and answer.claim != FIELD_ON_FILE]
    if not asked:
        return None
    application = truth.application
    plan = await client.plan(application.region, application.school, application.group)
    questions = tuple(
        Question(f"c{number}", answer.claim, answer.region, answer.parameters) for number, answer in enumerate(asked)
    )
    details = group_details([answer.claim for answer in asked], (truth.application.region,), USES)
    consent = await guardians.consent_to(truth.application, requester, details)
    right = {f"c{number}": answer.outcome.name for number, answer in enumerate(asked)}
    return Applicant(plan, questions, consent, right)


def families_of(folder: Path, count: int) -> list[Truth]:
    """The first `count` families of a federation."""
    return list(islice(read_truth(folder / read_endpoints(folder).truth), count))


# -- several processes ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """What one process does of a closed loop: which families (every `of`th from `number` on), how many at once."""

    folder: Path
    requester: str
    families: int
    number: int
    of: int
    concurrency: int
    seconds: float
    prepared: int
    begin: float


async def in_processes(shares: Sequence[Share]) -> Tally:
    """Run the shares, each in a process of its own, beginning at the same time; what all saw."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        for seen in await asyncio.gather(*(loop.run_in_executor(pool, run_share, share) for share in shares)):
            tally.add(seen)
    return tally


def run_share(share: Share) -> Tally:
    """One process's part of a run; it begins at `share.begin` (time.time), or as soon as it is ready."""
    return asyncio.run(_run_share(share))


async def _run_share(share: Share) -> Tally:
    families = families_of(share.folder, share.families)[share.number :: share.of]
    held = await applicants(share.folder, share.requester, families)
    async with generator(share.folder, share.requester) as generating:
        prepared = generating.prepare(held, share.prepared)
        await asyncio.sleep(max(0.0, share.begin - time.time()))
        return await generating.closed_loop("application", prepared, share.concurrency, share.seconds)
