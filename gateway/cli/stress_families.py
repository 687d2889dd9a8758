"""The families of a rehearsal: chosen from the sandbox's truth, with the consents that they gave before it starts.

Consents are no part of what is measured: on opening morning most guardians have given theirs when they fill the form
in, through the issuer, which is another system. They are given by the sandbox's issuer, some at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

from consent.consent_file import ConsentFile
from consent.disclosures import Detail
from gateway.asking import Question
from gateway.cli.correctness import is_right
from gateway.cli.endpoints import Endpoints, read_endpoints
from gateway.cli.guardians import Guardians
from gateway.cli.options import usage_error
from gateway.client import Client, Plan, Verification
from gateway.party.process import cancel_all
from gateway.protocol.claims import Role
from gateway.protocol.errors import MalformedError, UnreachableError
from gateway.protocol.limits import MAX_USES
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.season.arrivals import Arrival
from sandbox_departments.truth import Asking, Truth, read_truth

AT_ONCE = 8
"""Consents under way at once: enough to keep the issuer busy, few enough that none waits long."""
_ATTEMPTS = 5
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Applicant:
    """A family that is ready to apply: what it asks as whom, the outcome that each check must have, and the verdict."""

    requester: str
    plan: Plan
    questions: tuple[Question, ...]
    consent: ConsentFile
    right: Mapping[Asking, Outcome]
    is_right: Callable[[Verification], bool]
    """Whether a verified result, the verdict included, is what the truth comes to."""


def choose_families(folder: Path, endpoints: Endpoints, count: int, seed: int) -> tuple[Truth, ...]:
    """`count` families drawn by `seed`, all of them if there are no more; MalformedError if there is none."""
    truths = tuple(read_truth(folder / endpoints.truth))
    if not truths:
        raise MalformedError.at(str(folder / endpoints.truth), "holds no family", Reason.CONFIGURATION_INVALID)
    drawn = Random(seed).sample(truths, len(truths))  # noqa: S311 - which synthetic families come is no secret
    return tuple(islice(drawn, count))


def requester_of(truth: Truth, endpoints: Endpoints) -> str:
    """The education system that a family applies to: its prefecture's, else the first."""
    own = f"edu-{truth.application.region[:4]}"
    return own if own in endpoints.requesters else next(iter(endpoints.requesters))


def uses_of(arrivals: Sequence[Arrival], families: int) -> int:
    """The uses that each family's consent needs, if applicant i is family i modulo `families`; MalformedError."""
    counts = [0] * families
    for arrival in arrivals:
        counts[arrival.applicant % families] += 1
    if max(counts) > MAX_USES:
        raise usage_error(
            "--applicants",
            f"need {max(counts)} uses of one consent, of {MAX_USES} at most: make a federation with a larger "
            "--population / 家庭太少，请以更大的 --population 建立联邦",
        )
    return max(counts)


async def make_applicants(
    folder: Path,
    families: Sequence[Truth],
    uses: int,
    clients: Mapping[str, Client],
    ready: Callable[[], None],
) -> tuple[Applicant, ...]:
    """Every family with its plan and its consent, in the order of `families`; `ready` is called for each one.

    Raises UnreachableError if the issuer or the gateway does not answer, several times in a row.
    """
    endpoints = read_endpoints(folder)
    plans: dict[tuple[str, School, Group, frozenset[Role]], asyncio.Task[Plan]] = {}
    made: list[Applicant | None] = [None] * len(families)
    waiting: Iterator[tuple[int, Truth]] = iter(enumerate(families))

    def plan_of(client: Client, truth: Truth) -> asyncio.Task[Plan]:
        application = truth.application
        key = application.region, application.school, application.group, frozenset(application.subjects)
        if key not in plans:
            plans[key] = asyncio.create_task(client.plan(*key))
        return plans[key]

    async def work(guardians: Guardians) -> None:
        for place, truth in waiting:
            requester = requester_of(truth, endpoints)
            plan = await plan_of(clients[requester], truth)
            consent = await _consent(guardians, truth, requester, guardians.details(truth.application, uses))
            questions = plan.questions(consent.roles, fields=True)
            made[place] = Applicant(requester, plan, questions, consent, truth.outcomes, partial(is_right, truth=truth))
            ready()

    async with Guardians(folder) as guardians:
        tasks = [asyncio.create_task(work(guardians)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*tasks)  # the first error as it is, not a group of them
        finally:
            await cancel_all(tasks)
    return tuple(applicant for applicant in made if applicant is not None)


async def _consent(guardians: Guardians, truth: Truth, requester: str, details: Sequence[Detail]) -> ConsentFile:
    for _ in range(_ATTEMPTS - 1):
        try:
            return await guardians.consent_to(truth.application, requester, details)
        except UnreachableError as error:
            await asyncio.sleep(error.retry_after or _PAUSE)
    return await guardians.consent_to(truth.application, requester, details)
