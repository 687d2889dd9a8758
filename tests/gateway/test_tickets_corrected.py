"""Paper for an answer that was corrected since: what its department says now counts, and no paper is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.protocol.offline import OfflineGround, Subject
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.stores.records import Committed, Entry
from tests.gateway.conftest import PEER, QUESTIONS, Gateway, department_of
from tests.gateway.disputing import HUKOU, Answered
from tests.gateway.offline_desk import OfflineDesk, told

SUBJECT = Subject(check_id="c1")


@pytest.fixture
def desk(gateway: Gateway) -> OfflineDesk:
    return OfflineDesk(gateway)


async def corrected(gateway: Gateway) -> tuple[Answered, bytes]:
    """The hukou, undetermined, disputed and corrected."""
    consent = gateway.federation.issue()
    department_of(gateway, HUKOU).outcomes = {HUKOU: Outcome.UNDETERMINED}
    asked = Answered(gateway, consent, await gateway.send(gateway.submission(consent)))
    return asked, await asked.resolved()


async def ask_again(asked: Answered, dispute_id: bytes, outcome: Outcome, check_id: str = "c1") -> Answered:
    department_of(asked.gateway, HUKOU).outcomes = {HUKOU: outcome}
    question = replace(QUESTIONS[0], check_id=check_id, dispute_id=dispute_id)
    receipt = await asked.gateway.send(asked.gateway.submission(asked.consent, [question]))
    return Answered(asked.gateway, asked.consent, receipt)


@pytest.mark.parametrize("outcome", [Outcome.YES, Outcome.NO])
async def test_paper_for_what_was_told_once_it_was_corrected_is_refused(desk: OfflineDesk, outcome: Outcome) -> None:
    asked, dispute_id = await corrected(desk.gateway)
    await ask_again(asked, dispute_id, outcome, check_id="another")
    assert await told(desk.open(asked.request_id, SUBJECT)) == Reason.OFFLINE_ANSWERED
    assert not desk.events("offline_ticket")


async def test_paper_is_asked_for_where_the_corrected_answer_is_not_asked_for_or_tells_nothing(
    desk: OfflineDesk,
) -> None:
    asked, _ = await corrected(desk.gateway)
    assert (await desk.opened(asked.request_id, SUBJECT)).ground is OfflineGround.UNDETERMINED
    asked, dispute_id = await corrected(desk.gateway)
    again = await ask_again(asked, dispute_id, Outcome.UNDETERMINED)
    assert (await desk.opened(asked.request_id, SUBJECT)).ground is OfflineGround.UNDETERMINED
    assert (await desk.opened(again.request_id, SUBJECT)).ground is OfflineGround.UNDETERMINED


async def test_paper_after_a_second_correction_is_judged_by_the_last_answer(desk: OfflineDesk) -> None:
    asked, dispute_id = await corrected(desk.gateway)
    again = await ask_again(asked, dispute_id, Outcome.UNDETERMINED)
    await ask_again(again, await again.resolved(), Outcome.YES)
    for request_id in (asked.request_id, again.request_id):
        assert await told(desk.open(request_id, SUBJECT)) == Reason.OFFLINE_ANSWERED


async def test_corrected_answer_committed_while_the_ticket_is_judged_is_judged_anew(desk: OfflineDesk) -> None:
    asked, dispute_id = await corrected(desk.gateway)
    append = desk.gateway.log.append

    async def slip_in(entry: Entry) -> Committed:
        desk.gateway.log.append = append  # type: ignore[method-assign]
        await ask_again(asked, dispute_id, Outcome.YES)
        return await append(entry)

    desk.gateway.log.append = slip_in  # type: ignore[method-assign]
    assert await told(desk.open(asked.request_id, SUBJECT)) == Reason.OFFLINE_ANSWERED
    assert not desk.events("offline_ticket")


async def test_open_ticket_is_listed_with_what_its_corrected_answer_says(desk: OfflineDesk) -> None:
    asked, dispute_id = await corrected(desk.gateway)
    await desk.open(asked.request_id, SUBJECT)
    await ask_again(asked, dispute_id, Outcome.YES)
    (listed,) = desk.tickets.listed(PEER, -1, 10)
    assert listed.outcome is Outcome.YES
