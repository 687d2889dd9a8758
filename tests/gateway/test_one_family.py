"""A verdict is about one family: answers about two people in one role are never put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from consent.consent_file import ConsentFile, Footing
from consent.disclosures import group_details, share_of
from gateway.applications import Applications
from gateway.client import Plan
from gateway.plans import make_plan
from gateway.protocol.application import application_digest, open_application
from gateway.protocol.claims import CLAIMS, Role
from gateway.protocol.errors import MalformedError
from gateway.protocol.identifiers import resident_id
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.query import Check
from gateway.protocol.subjects import IdType, Subject
from gateway.rulebook import Rulebook
from gateway.rules.layering import rules_of
from gateway.rules.shelf import open_shelf
from gateway.rules.verdict import Standing
from gateway.verdicts import Verdict, judge_application
from heyan.v1 import gateway_service_pb2 as pb
from tests import federation as fed
from tests.gateway.conftest import Gateway
from tests.protocol.casework import APPLICATION, REGION, make_check

OWNS, HOUSEHOLD = "property.co_resident_owns_home@1", "kinship.same_household@1"
AGE = "enrolment.of_school_age@1"
ASKED = (AGE, "hukou.child_registered@1", "identity.valid@1", "guardianship.guardian_of@1", OWNS, HOUSEHOLD)


def checks_of_a_family() -> list[Check]:
    """What a family of the first kind of 有户无房 is asked."""
    checks = [make_check(f"c{number}", claim) for number, claim in enumerate(ASKED)]
    return [replace(checks[0], parameters=(("level", "primary"), ("year", "2027"))), *checks[1:]]


def judged(checks: Sequence[Check]) -> Verdict:
    application = open_application(APPLICATION, application_digest(APPLICATION))
    assert application is not None
    rules = rules_of(REGION, open_shelf())
    answers = [(check, Outcome.YES) for check in checks]
    return judge_application(replace(application, group=None), rules, answers)


def supported(checks: Sequence[Check]) -> tuple[Group, ...]:
    return judged(checks).supported


def test_co_resident_who_owns_a_home_and_is_of_the_household_replaces_the_paper() -> None:
    assert supported(checks_of_a_family()) == (Group.HUKOU_SHARED_HOME,)


@pytest.mark.parametrize("claim", [OWNS, HOUSEHOLD, "identity.valid@1", AGE])
def test_receipt_that_puts_two_people_together_has_no_verdict(claim: str) -> None:
    """Also where a gateway let it pass: whoever computes the verdict again finds it."""
    checks = checks_of_a_family()
    place = ASKED.index(claim)
    other = tuple((role, bytes(32)) for role, _ in checks[place].subjects)
    checks[place] = replace(checks[place], subjects=other)
    with pytest.raises(MalformedError, match="in all checks of an application"):
        supported(checks)


def test_paper_is_not_owed_because_nobody_asked() -> None:
    """A school that leaves a question out may not demand the paper for it; a family without co-resident owes it."""
    checks = [check for check in checks_of_a_family() if check.claim not in (HOUSEHOLD, OWNS, "identity.valid@1")]
    by_group = {each.group: {of.material.key: of for of in each.materials} for each in judged(checks).groups}
    shared = by_group[Group.HUKOU_SHARED_HOME]
    assert shared["guardian_identity"].standing is Standing.OPEN
    assert shared["shared_home_proof"].standing is Standing.OPEN  # public housing was not asked either
    assert by_group[Group.HOME_AND_HUKOU]["property_certificate"].standing is Standing.OPEN
    assert shared["hukou_book"].standing is Standing.EXEMPT


# -- at the gateway -----------------------------------------------------------------------------------------

STRANGER = Subject(IdType.RESIDENT_ID, resident_id("439900", date(1960, 1, 1), 1), "李老生")


class TwoCoResidents(ConsentFile):
    """Rests each question on the co-resident for whom the answer is yes; a client of ours rests all on the first."""

    def footing(self, claim: str, region: str, **envelope: Any) -> Footing:
        return super().footing(claim, region, **envelope, co_resident=int(claim == HOUSEHOLD))


def consent_of_two(federation: fed.Federation) -> ConsentFile:
    """The guardian's, a stranger's for the home, and the grandfather's for the household: each grant is genuine."""
    details = group_details(CLAIMS, (fed.REGION,), 3)
    guardians = federation.issue_one(fed.FAMILY, share_of(details, Role.GUARDIAN))
    own = [
        federation.issue_one(
            {**fed.FAMILY, Role.CO_RESIDENT: person},
            share_of(details, Role.CO_RESIDENT),
            actor=Role.CO_RESIDENT,
            companion=fed.companion_of(guardians),
        )
        for person in (STRANGER, fed.CO_RESIDENT)
    ]
    return TwoCoResidents((guardians, *own))


async def test_two_co_residents_do_not_replace_a_paper_that_neither_does(gateway: Gateway) -> None:
    rulebook = Rulebook(None)
    gateway.pipeline._applications = Applications(rulebook)
    school, group = School.PUBLIC_PRIMARY, Group.HUKOU_SHARED_HOME
    request = pb.GetPlanRequest(region=fed.REGION, school=school, group=group)
    plan = Plan(fed.REGION, school, group, make_plan(request, rulebook, gateway.federation.registry, gateway.clock.now))
    consent = consent_of_two(gateway.federation)
    submission = gateway.submission(consent, plan.questions(fed.BIG_FAMILY), application=plan.application(bytes(32)))
    with pytest.raises(MalformedError, match="one co_resident in all checks"):
        await gateway.verify(submission)
    assert not any(department.asks for department in gateway.departments.values())
