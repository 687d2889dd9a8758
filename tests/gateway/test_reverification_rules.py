"""Asking once more needs no open window; the county's rules hold all the same, or a correction would buy them off."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.applications import Applications
from gateway.asking import Question
from gateway.protocol.application import Application, write_application
from gateway.protocol.errors import HeyanError, NotCurrentError
from gateway.protocol.matrix import Group
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Assurance
from gateway.rulebook import Rulebook
from gateway.rules.shelf import SHIPPED
from tests import federation as fed
from tests.gateway.conftest import Gateway, department_of
from tests.gateway.disputing import HUKOU, Answered
from tests.gateway.test_applications import SCHOOL, TODAY, County
from tests.protocol.casework import refused

CLOSED = (TODAY - timedelta(days=9), TODAY - timedelta(days=8))


@pytest.fixture
def county(gateway: Gateway, tmp_path: Path) -> County:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "43.toml").write_bytes((SHIPPED / "43.toml").read_bytes())
    made = County(folder, gateway, Rulebook(folder))
    made.write(TODAY - timedelta(days=1), TODAY + timedelta(days=1))
    gateway.pipeline._applications = Applications(made.rulebook)
    return made


async def corrected(county: County, **issued: object) -> tuple[Answered, Question]:
    """The hukou, answered NO in an application, disputed and corrected; and its question, to be asked once more."""
    gateway, plan = county.gateway, county.plan()
    consent = gateway.federation.issue(**issued)
    department_of(gateway, HUKOU).outcomes = {HUKOU: Outcome.NO}
    questions = plan.questions(fed.FAMILY)
    submission = gateway.submission(consent, questions, application=plan.application(bytes(32)))
    asked = Answered(gateway, consent, await gateway.send(submission))
    disputed = next(question for question in questions if question.claim == HUKOU)
    dispute_id = await asked.open(asked.signed(disputed.check_id))
    await gateway.disputes.take_orphans(asked.resolution(dispute_id))
    department_of(gateway, HUKOU).outcomes = {}
    return asked, Question("again", disputed.claim, disputed.region, disputed.parameters, dispute_id)


async def refuse(asked: Answered, question: Question, application: bytes) -> HeyanError:
    police = department_of(asked.gateway, HUKOU)
    asks = len(police.asks)
    with pytest.raises(HeyanError) as caught:
        await asked.gateway.send(asked.gateway.submission(asked.consent, [question], application=application))
    assert len(police.asks) == asks, "nothing was asked"
    return caught.value


async def test_reverification_in_a_closed_county_is_answered_and_judged(county: County) -> None:
    asked, question = await corrected(county)
    county.write(*CLOSED)
    application = county.plan().application(bytes(32))
    receipt = await asked.gateway.send(asked.gateway.submission(asked.consent, [question], application=application))
    assert asked.gateway.check(receipt).answers[0].outcome is Outcome.YES
    assert county.gateway.pipeline._applications.verdict(receipt) is not None


async def test_reverification_alone_may_serve_no_application(county: County) -> None:
    asked, question = await corrected(county)
    county.write(*CLOSED)
    result = await asked.gateway.verify(asked.gateway.submission(asked.consent, [question]))
    assert [answer.outcome for answer in result.answers] == [Outcome.YES]


async def test_correction_does_not_carry_an_answer_into_another_countys_application(county: County) -> None:
    asked, question = await corrected(county)
    rules = county.rulebook.rules_of("430104")
    elsewhere = write_application(Application(bytes(32), "430104", SCHOOL, None, rules.digest()))
    assert (await refuse(asked, question, elsewhere)).reason is Reason.NOT_PLANNED


async def test_correction_does_not_make_up_for_too_little_assurance(county: County) -> None:
    asked, question = await corrected(county, acr=Assurance.SUBSTANTIAL)
    county.write(*CLOSED, rest='assurance = "high"')
    assert (await refuse(asked, question, county.plan().application(bytes(32)))).reason is Reason.ASSURANCE_TOO_LOW


async def test_correction_does_not_bring_back_rules_that_were_replaced(county: County) -> None:
    asked, question = await corrected(county)
    application = county.plan().application(bytes(32))
    county.write(*CLOSED, version="2027.2")
    assert (await refuse(asked, question, application)).reason is Reason.RULES_CHANGED


async def test_correction_does_not_move_an_answer_into_a_group_that_never_asks_it(county: County) -> None:
    asked, question = await corrected(county)
    other = county.plan(Group.HOME_WITHOUT_HUKOU).application(bytes(32))
    assert (await refuse(asked, question, other)).reason is Reason.NOT_PLANNED


async def test_window_holds_for_what_is_asked_beside_a_correction(county: County) -> None:
    asked, question = await corrected(county)
    county.write(*CLOSED)
    beside = Question("beside", "property.owns_home@1", fed.REGION, {})
    application = county.plan().application(bytes(32))
    with refused(NotCurrentError, Reason.WINDOW_CLOSED):
        await asked.gateway.send(asked.gateway.submission(asked.consent, [question, beside], application=application))


async def test_enrolment_beside_a_correction_must_name_its_application(county: County) -> None:
    asked, question = await corrected(county)
    beside = Question("beside", "property.owns_home@1", fed.REGION, {})
    with pytest.raises(HeyanError) as caught:
        await asked.gateway.send(asked.gateway.submission(asked.consent, [question, beside]))
    assert caught.value.reason is Reason.MESSAGE_MALFORMED
