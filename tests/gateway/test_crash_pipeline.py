"""A query whose commit fails at any step: nothing is answered that is not recorded, and a retry gets it all, once."""

from __future__ import annotations

import pytest

from consent.revocation import Revocation
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from tests import federation as fed
from tests.fakes_sqlite import How, TrippedConnection, When
from tests.gateway.conftest import QUESTIONS, Gateway


@pytest.fixture
def writer(gateway: Gateway) -> TrippedConnection:
    """The store's writing connection, from now on in the test's hand."""
    made = TrippedConnection(gateway.store._writer)
    gateway.store._writer = made  # type: ignore[assignment]
    return made


async def steps_of_a_query(gateway: Gateway, writer: TrippedConnection) -> list[str]:
    """The statements of the commit of any query, by their first words: one length of each, whatever the tree's size."""
    await gateway.verify(gateway.submission())  # the first one names the requester
    writer.arm(None)
    await gateway.verify(gateway.submission())
    return list(dict.fromkeys(writer.steps))


@pytest.mark.parametrize("when", When)
async def test_query_whose_commit_failed_at_any_step_is_answered_when_asked_again_and_spends_one_use(
    gateway: Gateway, writer: TrippedConnection, when: When
) -> None:
    for step in await steps_of_a_query(gateway, writer):
        consent = gateway.federation.issue(max_uses=1)
        submission = gateway.submission(consent)
        writer.arm(step, when, How.FAILS)
        with pytest.raises(LogUnavailableError) as failed:
            await gateway.send(submission)
        assert (failed.value.reason, failed.value.retry_after) == (Reason.LOG_UNAVAILABLE, 1.0)
        is_durable = step == "COMMIT" and when is When.AFTER
        assert max(gateway.used(consent)) == int(is_durable)
        asked = sum(len(department.asks) for department in gateway.departments.values())
        verified = await gateway.verify(submission)
        assert {answer.outcome for answer in verified.answers} == {Outcome.YES}
        assert len(verified.answers) == len(QUESTIONS)
        assert max(gateway.used(consent)) == 1
        asked_again = sum(len(department.asks) for department in gateway.departments.values()) > asked
        assert asked_again != is_durable  # what is durable is resumed


def withdrawn(gateway: Gateway) -> Revocation:
    """What the issuer reports of a fresh grant."""
    grant = gateway.federation.issue().grants[0]
    return Revocation(fed.ISSUER, grant.claims.jti, grant.digest, int(gateway.clock.now), grant.claims.exp)


async def test_withdrawal_whose_commit_failed_is_not_confirmed_and_holds_once_it_is(
    gateway: Gateway, writer: TrippedConnection
) -> None:
    """Also where the commit was durable though it failed: then it holds, and is logged once."""
    revocation = withdrawn(gateway)
    writer.arm("COMMIT", When.AFTER, How.FAILS)
    with pytest.raises(LogUnavailableError):
        await gateway.events.withdraw(revocation)
    assert await gateway.events.withdraw(revocation) == gateway.clock.now
    assert [leaf.WhichOneof("event") for leaf in gateway.leaves()] == ["revocation"]
    writer.arm("INSERT INTO withdrawals", When.BEFORE, How.FAILS)
    other = withdrawn(gateway)
    with pytest.raises(LogUnavailableError):
        await gateway.events.withdraw(other)
    assert not gateway.requests.is_withdrawn(other.issuer, other.grant_digest)
    await gateway.events.withdraw(other)
    assert gateway.requests.is_withdrawn(other.issuer, other.grant_digest)
