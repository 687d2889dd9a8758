"""Asking once more after a correction: once, the same, by the same, and without a use; anything else is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from consent.consent_file import ConsentFile
from consent.disclosures import group_details
from gateway.asking import Question
from gateway.protocol.claims import CLAIMS, Role
from gateway.protocol.disputes import spending
from gateway.protocol.errors import HeyanError, MalformedError, NotCurrentError, NotGrantedError, UnreachableError
from gateway.protocol.identities import parse_identity
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import Submission
from gateway.protocol.query import Check
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import ResolutionReason
from tests import federation as fed
from tests.fakes import AnyApplication
from tests.gateway.conftest import QUESTIONS, Gateway, department_of
from tests.gateway.disputing import HUKOU, Answered, answered
from tests.protocol.casework import refused

OTHER_PEER = parse_identity(fed.OTHER_REQUESTER)


class ClosedCounty(AnyApplication):
    """Rules whose windows are closed."""

    def require_open(self, _application: object, checks: Sequence[Check], _now: float) -> None:
        if spending(checks):
            raise NotCurrentError(Reason.WINDOW_CLOSED)


def again(dispute_id: bytes, **changes: object) -> Question:
    """The disputed question, asked once more."""
    return replace(QUESTIONS[0], dispute_id=dispute_id, **changes)  # type: ignore[arg-type]


def asking(asked: Answered, *questions: Question, consent: ConsentFile | None = None) -> Submission:
    return asked.gateway.submission(consent or asked.consent, questions)


async def corrected(gateway: Gateway, consent: ConsentFile | None = None) -> tuple[Answered, bytes]:
    """An answer that was disputed and corrected: the police now say YES."""
    asked = await answered(gateway, consent)
    dispute_id = await asked.resolved()
    department_of(gateway, HUKOU).outcomes = {}
    return asked, dispute_id


async def test_corrected_question_is_asked_once_more_without_a_use(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    used = gateway.used(asked.consent)
    result = await gateway.verify(asking(asked, again(dispute_id)))
    assert [answer.outcome for answer in result.answers] == [Outcome.YES]
    assert gateway.used(asked.consent) == used


async def test_second_reverification_is_refused(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    await gateway.send(asking(asked, again(dispute_id)))
    with refused(NotGrantedError, Reason.DISPUTE_SPENT):
        await gateway.send(asking(asked, again(dispute_id)))


async def test_the_same_reverification_sent_again_is_the_same(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    submission = asking(asked, again(dispute_id))
    first = await gateway.send(submission)
    assert (await gateway.send(submission)).statements == first.statements


async def test_two_reverifications_at_once_release_one_answer(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    police = department_of(gateway, HUKOU)
    police.gate = asyncio.Event()
    sent = [asyncio.create_task(gateway.send(asking(asked, again(dispute_id)))) for _ in range(2)]
    await asyncio.sleep(0.05)  # both are past the look, and wait for the department
    police.gate.set()
    ends = await asyncio.gather(*sent, return_exceptions=True)
    (failure,) = (end for end in ends if isinstance(end, HeyanError))
    assert failure.reason is Reason.DISPUTE_SPENT
    withheld = [row for row in gateway.verification_rows() if row.reason == Reason.DISPUTE_SPENT]
    assert len(withheld) == 1, "what the department answered is logged all the same"


async def test_reverification_before_the_resolution_is_refused(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.open()
    with refused(NotGrantedError, Reason.DISPUTE_NOT_CORRECTED):
        await gateway.send(asking(asked, again(dispute_id)))


async def test_reverification_of_what_was_upheld_is_refused(gateway: Gateway) -> None:
    asked = await answered(gateway)
    dispute_id = await asked.resolved(ResolutionReason.RECORD_CONFIRMED)
    with refused(NotGrantedError, Reason.DISPUTE_NOT_CORRECTED):
        await gateway.send(asking(asked, again(dispute_id)))


@pytest.mark.parametrize("dispute_id", [bytes(32), b"x" * 32])
async def test_reverification_without_a_dispute_is_refused(gateway: Gateway, dispute_id: bytes) -> None:
    asked, _ = await corrected(gateway)
    with refused(NotGrantedError, Reason.DISPUTE_UNKNOWN):
        await gateway.send(asking(asked, again(dispute_id)))
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        await gateway.send(asking(asked, again(dispute_id[:31])))


async def test_correction_buys_no_other_question(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    consent = gateway.federation.issue(details=group_details(CLAIMS, (fed.REGION, "430103"), 3))
    of_both, both = await corrected(gateway, consent)
    for bent in (again(dispute_id, claim="guardianship.guardian_of@1"),):
        with refused(NotGrantedError, Reason.DISPUTE_OTHER_QUESTION):
            await gateway.send(asking(asked, bent))
    with refused(NotGrantedError, Reason.DISPUTE_OTHER_QUESTION):
        await gateway.send(asking(of_both, again(both, region="430103")))


async def test_correction_buys_no_question_about_another_child(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    sibling = replace(fed.CHILD, id_number=fed.GUARDIAN.id_number, name="另一名")
    other = gateway.federation.issue({**fed.FAMILY, Role.CHILD: sibling})
    with refused(NotGrantedError, Reason.DISPUTE_OTHER_QUESTION):
        await gateway.send(asking(asked, again(dispute_id), consent=other))
    renewed = gateway.federation.issue()  # the same child, on another grant
    with refused(NotGrantedError, Reason.DISPUTE_OTHER_QUESTION):
        await gateway.send(asking(asked, again(dispute_id), consent=renewed))


async def test_correction_of_another_requesters_answer_buys_nothing(gateway: Gateway) -> None:
    _, dispute_id = await corrected(gateway)
    theirs = gateway.federation.issue(requester=fed.OTHER_REQUESTER)
    submission = gateway.submission(theirs, [again(dispute_id)], requester=fed.OTHER_REQUESTER)
    with refused(NotGrantedError, Reason.DISPUTE_UNKNOWN):
        await gateway.send(submission, OTHER_PEER)


async def test_reverification_of_a_consent_that_is_used_up_is_allowed(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway, gateway.federation.issue(max_uses=1))
    with refused(NotGrantedError, Reason.GRANT_USED_UP):
        await gateway.send(asking(asked, QUESTIONS[0]))
    result = await gateway.verify(asking(asked, again(dispute_id)))
    assert [answer.outcome for answer in result.answers] == [Outcome.YES]


async def test_reverification_on_a_withdrawn_consent_is_refused(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    gateway.standings.revoked.add(asked.consent.grants[0].digest)
    with refused(NotGrantedError, Reason.GRANT_REVOKED):
        await gateway.send(asking(asked, again(dispute_id)))


async def test_other_checks_of_the_query_spend_their_uses(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    before = sum(gateway.used(asked.consent))
    await gateway.send(asking(asked, again(dispute_id), QUESTIONS[2]))
    assert sum(gateway.used(asked.consent)) == before + 1


async def test_the_disputed_question_cannot_stand_beside_itself(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    twice = again(dispute_id, check_id="twice")
    for other in (twice, replace(twice, dispute_id=b"")):
        with refused(MalformedError, Reason.ASKED_TWICE):
            await gateway.send(asking(asked, again(dispute_id), other))


async def test_reverification_that_no_department_answered_is_not_spent(gateway: Gateway) -> None:
    asked, dispute_id = await corrected(gateway)
    police = department_of(gateway, HUKOU)
    police.failure = UnreachableError(Reason.DEPARTMENT_TIMED_OUT)
    result = await gateway.verify(asking(asked, again(dispute_id)))
    assert [answer.outcome for answer in result.answers] == [Outcome.UNAVAILABLE]
    police.failure = None
    result = await gateway.verify(asking(asked, again(dispute_id)))
    assert [answer.outcome for answer in result.answers] == [Outcome.YES]


async def test_reverification_is_kept_back_with_the_uses_of_its_query(gateway: Gateway) -> None:
    """A commit that finds a use spent counts nothing against the dispute either."""
    consent = gateway.federation.issue(max_uses=2)
    asked, dispute_id = await corrected(gateway, consent)
    land = department_of(gateway, "property.owns_home@1")
    land.gate = asyncio.Event()
    both = asyncio.create_task(gateway.send(asking(asked, again(dispute_id), QUESTIONS[2])))
    await asyncio.sleep(0.05)
    land.gate.set()
    land.gate = None
    rival = asyncio.create_task(gateway.send(asking(asked, QUESTIONS[2])))
    ends = await asyncio.gather(both, rival, return_exceptions=True)
    assert sum(isinstance(end, NotGrantedError) for end in ends) == 1
    if isinstance(ends[0], NotGrantedError):
        assert ends[0].reason is Reason.GRANT_USED_UP
        await gateway.send(asking(asked, again(dispute_id)))


async def test_reverification_needs_no_open_window(gateway: Gateway) -> None:
    """Ten working days later the window has long closed: what was asked in time may be asked again."""
    asked, dispute_id = await corrected(gateway)
    gateway.pipeline._applications = ClosedCounty()
    with refused(NotCurrentError, Reason.WINDOW_CLOSED):
        await gateway.send(asking(asked, QUESTIONS[0]))
    with refused(NotCurrentError, Reason.WINDOW_CLOSED):
        await gateway.send(asking(asked, again(dispute_id), QUESTIONS[2]))
    result = await gateway.verify(asking(asked, again(dispute_id)))
    assert [answer.outcome for answer in result.answers] == [Outcome.YES]
