"""Families that apply in a benchmark: their consents, what is asked about them, and the outcomes that are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from consent.consent_file import ConsentFile
from consent.disclosures import group_details
from gateway.asking import Question
from gateway.cli.endpoints import open_client, read_endpoints
from gateway.cli.guardians import Guardians
from gateway.client import Client, Plan
from gateway.protocol.identities import Identity
from gateway.protocol.matrix import Group
from sandbox_departments.truth import TrueAnswer, Truth, read_truth

USES = 1_000
"""Uses of each consent."""
FIVE_CLAIMS = (
    "enrolment.of_school_age@1",
    "housing.lease_on_file@1",
    "hukou.guardian_registered@1",
    "insurance.paid_months@1",
    "residence.permit_valid@1",
)
"""Five checks at four departments, which systems are compared by: the police answer two of them."""
GROUP_OF_FIVE = Group.NEITHER
"""The families whose plan has all of them."""

Choose = Callable[[Truth], Sequence[TrueAnswer]]
"""What is asked about a family, with the right answers; nothing if it does not apply."""


@dataclass(frozen=True)
class Applicant:
    """A family with its consent: what is asked about it, and the outcome that each check must have."""

    family: str
    plan: Plan
    questions: tuple[Question, ...]
    consent: ConsentFile
    truth: dict[str, str]


async def applicants(
    folder: Path,
    requester: str,
    families: Sequence[Truth],
    choose: Choose = lambda truth: truth.plan,
    gateway: Identity | None = None,
) -> list[Applicant]:
    """The families with their consents, asked what is chosen: all checks that their plan's materials rest on, unless
    said otherwise.

    They consent to being asked through `gateway`, the federation's own if none is named.
    """
    async with Guardians(folder, gateway) as guardians, open_client(folder, requester) as client:
        found = [await _applicant(guardians, client, requester, truth, choose(truth)) for truth in families]
    return [applicant for applicant in found if applicant is not None]


async def _applicant(
    guardians: Guardians, client: Client, requester: str, truth: Truth, asked: Sequence[TrueAnswer]
) -> Applicant | None:
    if not asked:
        return None
    application = truth.application
    plan = await client.plan(application.region, application.school, application.group)
    questions = tuple(
        Question(f"c{number}", answer.claim, answer.region, dict(answer.parameters))
        for number, answer in enumerate(asked)
    )
    details = group_details([answer.claim for answer in asked], (truth.application.region,), USES)
    consent = await guardians.consent_to(truth.application, requester, details)
    right = {f"c{number}": answer.outcome.name for number, answer in enumerate(asked)}
    return Applicant(application.family, plan, questions, consent, right)


def families_of(folder: Path, count: int, wanted: Callable[[Truth], bool] = lambda _: True) -> list[Truth]:
    """The first `count` families of a federation that are `wanted`."""
    return list(islice(filter(wanted, read_truth(folder / read_endpoints(folder).truth)), count))
