"""A node whose journal cannot be written, or whose clock is set: it states nothing, loses nothing, and heals."""

from __future__ import annotations

import pytest

from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason
from sandbox_departments.acknowledgements import read_acknowledgement
from sandbox_departments.answering import Budget
from tests.fakes_sqlite import TROUBLES, full_disk, locked, read_only, use_free_pages
from tests.sandbox.asking import DAY, GATEWAY, Desk, told

ANSWERED = ["YES", "YES"]

each_trouble = pytest.mark.parametrize("trouble", TROUBLES)


@pytest.fixture
def desk(world, tmp_path):
    made = Desk(world, tmp_path / "journal.db", budget=Budget(1_000, float(DAY)))
    use_free_pages(made.journal._connection)
    yield made
    made.close()


def fresh(desk):
    consent = desk.world.consent()
    return consent, desk.world.ask(consent)


async def first_unanswered(desk):
    """Consent and ask of the first query that the journal has no room for, and what was said of it."""
    consent, ask = fresh(desk)
    while (outcomes := await desk.outcomes(ask)) == ANSWERED:
        consent, ask = fresh(desk)
    return consent, ask, outcomes


@each_trouble
async def test_nothing_is_stated_while_the_journal_cannot_be_written_and_everything_after_it(desk, trouble):
    with trouble(desk.journal._connection):
        consent, ask, outcomes = await first_unanswered(desk)
        assert outcomes == ["log_unavailable"]
        head = desk.journal.verify_chain()
        (message,) = await desk.answer(ask, fresh(desk)[1])
        assert told(message, desk.world) == [["log_unavailable"]] * 2
        assert not message.batch.batch
        assert desk.journal.verify_chain() == head
    assert await desk.outcomes(ask) == ANSWERED
    with desk.journal.transaction() as ledger:
        assert ledger.uses_of(consent.digest, 0) == 1


@each_trouble
async def test_node_wants_work_again_when_the_trouble_ends_before_anybody_asks(desk, trouble):
    with trouble(desk.journal._connection):
        await first_unanswered(desk)
        if trouble is not full_disk:  # a probe takes no page of its own
            assert await desk.answerer.complaints() == (Reason.LOG_UNAVAILABLE.value,)
    assert await desk.answerer.complaints() == ()


@pytest.mark.parametrize("trouble", [locked, read_only])
async def test_owed_batches_outlast_the_trouble_and_are_settled_after_it(desk, trouble):
    (message,) = await desk.answer(desk.world.ask())
    batch = read_signed_batch(message.batch).digest
    item = read_acknowledgement(desk.world.acknowledgement(batch, 2))
    with trouble(desk.journal._connection):
        with pytest.raises(LogUnavailableError):
            await desk.answerer.acknowledge(GATEWAY.uri, [item])
        assert desk.journal.unacknowledged(GATEWAY.uri) == (batch,)
    assert (await desk.answerer.acknowledge(GATEWAY.uri, [item])).settled == (batch,)


@pytest.mark.parametrize("step", [-120, 120, -0.9 * DAY, 3 * DAY])
async def test_clock_that_jumps_states_nothing_of_a_person_and_the_same_ask_is_answered_once_it_is_right(desk, step):
    consent, ask = fresh(desk)
    desk.world.now += step
    (outcome,) = await desk.outcomes(ask)
    assert Reason[outcome] in {Reason.QUERY_NOT_YET_VALID, Reason.QUERY_EXPIRED}
    desk.world.now -= step
    assert await desk.outcomes(ask) == ANSWERED
    with desk.journal.transaction() as ledger:
        assert ledger.uses_of(consent.digest, 0) == 1


async def test_uses_are_not_forgotten_by_a_clock_that_was_days_ahead_for_a_while(desk):
    """What was purged under the wrong clock would be spent again under the right one."""
    consent, ask = fresh(desk)
    assert await desk.outcomes(ask) == ANSWERED
    desk.world.now += 3 * DAY
    await desk.answerer.purge()
    desk.world.now -= 3 * DAY
    assert await desk.outcomes(desk.world.ask(consent)) == [Reason.GRANT_USED_UP.value]


async def test_budget_is_not_forgotten_by_a_clock_that_was_days_ahead_for_a_while(world, tmp_path):
    desk = Desk(world, tmp_path / "other.db", budget=Budget(1, float(DAY)))
    assert await desk.outcomes(fresh(desk)[1]) == ANSWERED
    world.now += 3 * DAY
    await desk.answerer.purge()
    world.now -= 3 * DAY
    (outcome,) = await desk.outcomes(fresh(desk)[1])
    assert outcome != "YES"
    desk.close()
