"""Families that apply while a department is at fault, each once: no budget of a department is spent by another test."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count

from consent.consent_file import ConsentFile
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.client import Client, Plan, Verification
from gateway.protocol.claims import claim_named
from gateway.protocol.errors import UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission
from sandbox_departments.truth import Truth
from tests.e2e.conftest import Running

PATIENCE = 30.0
"""Seconds within which a lifted fault is forgotten: a process starts, a stream opens, a breaker closes."""

Said = dict[tuple[str, str], Outcome]
"""Outcomes by department (its name) and claim."""

_next = count(40)


@dataclass(frozen=True)
class Applicant:
    """A family that applies."""

    truth: Truth
    client: Client
    consent: ConsentFile
    plan: Plan

    @property
    def right(self) -> Said:
        """What a faultless federation says."""
        return right_of(self.truth)

    def prepare(self) -> Submission:
        """A new request on the strength of the consent, which can be sent again and again."""
        return self.client.prepare(self.plan.questions(self.consent.roles), self.consent, self.plan)

    async def until_answered(self, submission: Submission) -> Verification:
        """Send a request again until nothing of it is unavailable."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(UnreachableError):
                result = await self.client.send(submission)
                if Outcome.UNAVAILABLE not in said(result).values():
                    return result
            assert time.monotonic() - began < PATIENCE, "not answered in time"
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def applicant(running: Running, node: str) -> AsyncIterator[Applicant]:
    """The next family whose application asks `node` and others, about persons whom the node knows."""
    truth = next(truth for truth in iter(lambda: running.families[next(_next)], None) if _fits(right_of(truth), node))
    application = truth.application
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(application, running.requester)
        plan = await client.plan(application.region, application.school, application.group)
        yield Applicant(truth, client, consent, plan)


def said(result: Verification) -> Said:
    """What a receipt says."""
    return {
        (parse_identity(answer.department).name, answer.check.claim): answer.outcome
        for answer in result.verified.answers
    }


def right_of(truth: Truth) -> Said:
    """The right outcomes of a family's application, by who answers them."""
    prefecture = truth.application.region[:4]
    return {
        (f"{claim_named(answer.claim).department.value}-{prefecture}", answer.claim): answer.outcome
        for answer in truth.plan
    }


def _fits(right: Said, node: str) -> bool:
    outcomes = {outcome for (department, _), outcome in right.items() if department == node}
    return bool(outcomes) and Outcome.UNDETERMINED not in outcomes and len({department for department, _ in right}) > 1
