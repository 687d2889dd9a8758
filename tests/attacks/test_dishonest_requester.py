"""A requester that probes: refused or budgeted, and each attempt is in the gateway's log or a department's journal.

Where the gateway itself refuses, the same question is also sent past it, as if it were the requester's friend: the
departments refuse it alike. Registers are asked nothing, and no use is spent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
from msgspec.structs import replace as edited

from consent.consent_file import ConsentFile
from consent.disclosures import Detail
from gateway.asking import Question
from gateway.protocol.claims import Role
from gateway.protocol.identifiers import resident_id
from gateway.protocol.leaf import CheckStatus, read_leaf
from gateway.protocol.presentation import Submission
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Document
from gateway.protocol.subjects import IdType, Subject
from sandbox_departments.answering import Budget
from sandbox_departments.register import Finding, Standing
from tests import federation as fed
from tests.attacks.front_door import FrontDoor, RefusedError
from tests.attacks.nodes import RealNode
from tests.attacks.submissions import with_checks
from tests.dishonest_gateway import HRSS, LAND, POLICE, DishonestGateway, dishonest
from tests.gateway.conftest import QUESTIONS, Gateway

BUDGET = 3
OWNS_HOME = (Question("c1", "property.owns_home@1", fed.REGION, {}),)


@dataclass
class Scene:
    """A gateway with real nodes behind it, and its front door."""

    parties: DishonestGateway
    door: FrontDoor

    @property
    def gateway(self) -> Gateway:
        return self.parties.gateway

    @property
    def nodes(self) -> dict[str, RealNode]:
        return self.parties.nodes

    async def refusal_of(self, submission: Submission, peer: str = fed.REQUESTER) -> str:
        """The reason that the gateway gives, of which its log has a leaf of the peer."""
        before = len(self.gateway.leaves())
        with pytest.raises(RefusedError) as caught:
            await self.door.verify(submission, peer)
        (leaf,) = self.gateway.leaves()[before:]
        assert (leaf.refusal.peer, leaf.refusal.reason) == (peer, caught.value.reason)
        return caught.value.reason

    async def rows(self, submission: Submission, peer: str = fed.REQUESTER) -> set[tuple[str, str]]:
        """What the log's leaf says of a submission that reached departments: status and reason, row by row."""
        receipt = await self.door.verify(submission, peer)
        event = read_leaf(receipt.leaves[0].leaf).verification
        assert event.requester == peer
        return {(CheckStatus(int(row.status)).name, row.reason) for row in event.checks}

    async def told_past_the_gateway(self, submission: Submission, gateway: str = fed.GATEWAY) -> set[str]:
        """What departments say if the gateway passes the question on, whatever it is."""
        asks = self.parties.asks_for(submission)
        return {said for uri, ask in asks.items() for said in await self.parties.told(uri, ask, gateway)}

    def lookups(self) -> int:
        return sum(len(node.register.asked) for node in self.nodes.values())


@pytest.fixture
def scene(gateway: Gateway, tmp_path: Path) -> Iterator[Scene]:
    budget = Budget(BUDGET, float(fed.DAY))
    with dishonest(gateway, tmp_path, departments=(POLICE, LAND, HRSS), budget=budget) as parties:
        yield Scene(parties, FrontDoor(gateway))


# -- enumeration --------------------------------------------------------------------------------------------


def guessing(consent: ConsentFile, number: int) -> ConsentFile:
    """The requester's own consent, with somebody else's ID number and name in the place of the guardian's."""
    (grant,) = consent.grants
    person = Subject(IdType.RESIDENT_ID, resident_id("439900", date(1980, 1, 1), number), "李明")
    return ConsentFile((replace(grant, subjects={**grant.subjects, Role.GUARDIAN: person}),))


async def test_guessed_id_numbers_under_an_own_consent_are_refused_and_each_is_a_row_of_the_log(scene: Scene) -> None:
    """A commitment opens for its own subject only: nobody is looked up, and all guesses are answered alike."""
    consent = scene.gateway.federation.issue(max_uses=1)
    known = guessing(consent, 1).grants[0].subjects[Role.GUARDIAN]
    scene.nodes[LAND].register.findings[known.id_number] = Finding(Standing.UNKNOWN, False)
    for number in range(1, 6):
        submission = scene.gateway.submission(guessing(consent, number), OWNS_HOME)
        assert await scene.rows(submission) == {("REFUSED", "COMMITMENT_MISMATCH")}
    assert scene.lookups() == 0
    assert scene.nodes[LAND].refused() == [(fed.REQUESTER, Reason.COMMITMENT_MISMATCH)] * 5
    assert await scene.rows(scene.gateway.submission(consent, OWNS_HOME)) == {("ANSWERED", "")}


async def test_guesses_that_are_answered_alike_have_one_size(scene: Scene) -> None:
    consent = scene.gateway.federation.issue()
    sizes = set()
    for number in range(1, 4):
        submission = scene.gateway.submission(guessing(consent, number), OWNS_HOME)
        ask = scene.parties.asks_for(submission)[LAND]
        sizes.add(len((await scene.nodes[LAND].answer(ask)).SerializeToString()))
    assert len(sizes) == 1


# -- thresholds and regions ---------------------------------------------------------------------------------


def months(value: str, check_id: str = "c1") -> Question:
    return Question(check_id, "insurance.paid_months@1", fed.REGION, {"months": value})


def county(code: str, check_id: str = "c1") -> Question:
    return Question(check_id, "hukou.child_registered@1", code, {})


ALL_MONTHS = [months(value, f"c{value}") for value in ("6", "12", "24", "36")]
SOME_COUNTIES = [county(code, f"c{code}") for code in ("430102", "430103", "430104", "430105")]


@pytest.mark.parametrize("questions", [ALL_MONTHS, SOME_COUNTIES], ids=["months", "counties"])
async def test_value_bisected_in_one_query_is_refused_by_gateway_and_department(
    scene: Scene, questions: list[Question]
) -> None:
    submission = scene.gateway.submission(scene.gateway.federation.issue(regions=("43",)), questions)
    assert await scene.refusal_of(submission) == "ASKED_TWICE"
    assert await scene.told_past_the_gateway(submission) == {"ASKED_TWICE"}
    assert scene.lookups() == 0


@pytest.mark.parametrize(
    ("questions", "department"), [(ALL_MONTHS, HRSS), (SOME_COUNTIES, POLICE)], ids=["months", "counties"]
)
async def test_value_bisected_over_many_consents_runs_out_of_budget_in_everybodys_sight(
    scene: Scene, questions: list[Question], department: str
) -> None:
    for question in questions[:BUDGET]:
        submission = scene.gateway.submission(scene.gateway.federation.issue(regions=("43",)), [question])
        assert await scene.rows(submission) == {("ANSWERED", "")}
    last = scene.gateway.submission(scene.gateway.federation.issue(regions=("43",)), [questions[BUDGET]])
    assert await scene.rows(last) == {("REFUSED", "BUDGET_EXHAUSTED")}
    assert scene.nodes[department].refused() == [(fed.REQUESTER, Reason.BUDGET_EXHAUSTED)]
    assert scene.lookups() == BUDGET


async def test_free_threshold_is_refused_by_gateway_and_department(scene: Scene) -> None:
    right = scene.gateway.submission(scene.gateway.federation.issue(), [months("12")])
    bent = with_checks(scene.gateway.federation, right, lambda check: replace(check, parameters=(("months", "13"),)))
    assert await scene.refusal_of(bent) == "CLAIM_UNKNOWN"
    assert await scene.told_past_the_gateway(bent) == {"CLAIM_UNKNOWN"}
    assert scene.nodes[HRSS].refused() == [(fed.REQUESTER, Reason.CLAIM_UNKNOWN)]


# -- a consent used for something else ----------------------------------------------------------------------


def with_audit(document: Document) -> Document:
    """A registry that lets both requesters ask for audits too."""
    for requester in fed.REQUESTERS:
        terms = next(party.requester for party in document.parties if party.id == requester)
        assert terms is not None
        document = fed.edit_party(document, requester, requester=edited(terms, purposes=("enrolment", "audit")))
    return document


LAND_ONLY = (Detail(("property.owns_home@1",), (fed.REGION,), 1),)


@dataclass(frozen=True)
class Misuse:
    """What is asked under a consent to ask the land office once, for enrolment, in one county."""

    reason: str
    questions: tuple[Question, ...] = OWNS_HOME
    requester: str = fed.REQUESTER
    purpose: str = "enrolment"


MISUSES = {
    "another purpose": Misuse("PURPOSE_NOT_GRANTED", purpose="audit"),
    "another requester": Misuse("GRANT_OTHER_REQUESTER", requester=fed.OTHER_REQUESTER),
    "another claim": Misuse("CLAIM_NOT_GRANTED", (Question("c1", "property.owns_no_home@1", fed.REGION, {}),)),
    "another county": Misuse("REGION_NOT_GRANTED", (Question("c1", "property.owns_home@1", "430103", {}),)),
}


@pytest.mark.parametrize("name", MISUSES)
async def test_consent_used_for_something_else_is_refused_by_gateway_and_department(scene: Scene, name: str) -> None:
    misuse = MISUSES[name]
    scene.gateway.federation = scene.gateway.federation.changed(with_audit)
    for node in scene.nodes.values():
        node.federation = scene.gateway.federation
    submission = misused(scene, scene.gateway.federation.issue(details=LAND_ONLY), misuse)
    assert await scene.refusal_of(submission, misuse.requester) == misuse.reason
    assert await scene.told_past_the_gateway(submission) == {misuse.reason}
    assert scene.nodes[LAND].refused() == [(misuse.requester, Reason(misuse.reason))]
    assert scene.lookups() == 0


def misused(scene: Scene, consent: ConsentFile, misuse: Misuse) -> Submission:
    """A submission that the SDK would not make: it finds no footing, so a right one is changed and signed anew."""
    (question,) = misuse.questions
    right = scene.gateway.submission(consent, OWNS_HOME)
    return with_checks(
        scene.gateway.federation,
        right,
        lambda check: replace(check, claim=question.claim, region=question.region),
        requester=misuse.requester,
        purpose=misuse.purpose,
    )


async def test_used_up_consent_is_refused_by_gateway_and_department(scene: Scene) -> None:
    consent = scene.gateway.federation.issue(details=LAND_ONLY)
    assert await scene.rows(scene.gateway.submission(consent, OWNS_HOME)) == {("ANSWERED", "")}
    again = scene.gateway.submission(consent, OWNS_HOME)
    assert await scene.refusal_of(again) == "GRANT_USED_UP"
    assert await scene.told_past_the_gateway(again) == {"GRANT_USED_UP"}
    assert scene.lookups() == 1


async def test_other_requesters_budget_and_consent_are_its_own(scene: Scene) -> None:
    """One requester's probing takes nothing from another's honest application about the same family."""
    for _ in range(BUDGET):
        await scene.rows(scene.gateway.submission(scene.gateway.federation.issue(), QUESTIONS))
    exhausted = scene.gateway.submission(scene.gateway.federation.issue(), QUESTIONS)
    assert await scene.rows(exhausted) == {("REFUSED", "BUDGET_EXHAUSTED")}
    other = scene.gateway.federation.issue(requester=fed.OTHER_REQUESTER)
    honest = scene.gateway.submission(other, QUESTIONS, requester=fed.OTHER_REQUESTER)
    assert await scene.rows(honest, fed.OTHER_REQUESTER) == {("ANSWERED", "")}


async def test_probing_that_was_refused_leaves_books_that_agree(scene: Scene) -> None:
    """Refusals are statements: logged, acknowledged and reconciled like answers."""
    consent = scene.gateway.federation.issue(max_uses=1)
    for number in range(1, 4):
        await scene.rows(scene.gateway.submission(guessing(consent, number), OWNS_HOME))
    await scene.parties.settle()
    assert scene.parties.audit().findings == ()
