"""An honest gateway to which things happen: the auditor who finds every lie of a dishonest one finds nothing here."""

from __future__ import annotations

import pytest

from gateway.audit.findings import Reconciliation
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.outcomes import Outcome
from tests import federation as fed
from tests.dishonest_gateway import POLICE, DishonestGateway, disclosure_of, sighting_of
from tests.gateway.conftest import PLAN, QUESTIONS


async def reconnect(parties: DishonestGateway) -> None:
    """The gateway was started anew: what it had not acknowledged it has forgotten, and nodes send it again."""
    for port in parties.ports.values():
        port.acknowledgements.clear()
        await port.send_again(parties.gateway.events.take_orphans)
    await parties.settle()


async def test_nothing_happens(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue()
    results = [await liar.verify(consent) for _ in range(3)]
    await liar.settle()
    disclosures, sightings = [disclosure_of(item) for item in results], [sighting_of(item) for item in results]
    assert liar.audit(disclosures=disclosures, sightings=sightings) == Reconciliation((), owed=0, recovered=0)


@pytest.mark.parametrize("durable", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("retried", [False, True], ids=["not retried", "retried"])
async def test_crash_leaves_nothing_to_find(liar: DishonestGateway, durable: bool, retried: bool) -> None:
    """Departments have answered, and the gateway dies before or after its log has it; the requester may come again."""
    client = liar.client()
    submission = client.prepare(QUESTIONS, liar.gateway.federation.issue(), PLAN)
    liar.gateway.store.fail_before, liar.gateway.store.fail_after = not durable, durable
    with pytest.raises(LogUnavailableError):
        await client.send(submission)
    liar.gateway.store.fail_before = liar.gateway.store.fail_after = False
    await reconnect(liar)
    disclosures = []
    if retried:
        result = await client.send(submission)
        assert {answer.outcome for answer in result.verified.answers} == {Outcome.YES}
        disclosures = [disclosure_of(result)]
        await liar.settle()
    recovered = 0 if durable or retried else 3
    assert liar.audit(disclosures=disclosures) == Reconciliation((), owed=0, recovered=recovered)


async def test_department_that_was_gone_for_a_while_owes_and_is_owed_nothing_in_the_end(liar: DishonestGateway) -> None:
    consent = liar.gateway.federation.issue()
    liar.police.hides = True  # its replies are lost on the way
    lost = await liar.verify(consent)
    assert liar.audit(allowed=fed.DAY) == Reconciliation((), owed=3, recovered=0)
    liar.police.hides = False
    await liar.settle()
    assert liar.audit(allowed=fed.DAY) == Reconciliation((), owed=2, recovered=0)
    await reconnect(liar)
    assert liar.audit() == Reconciliation((), owed=0, recovered=2)
    # With the query disclosed it asks for an explanation: the answer was signed before the gateway gave up.
    assert set(liar.found(disclosures=[disclosure_of(lost)])) == {("SUPPRESSED", POLICE)}
