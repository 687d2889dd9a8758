"""The issuer's store fails, or its process dies, before and after each step of an approval and of a withdrawal.

A withdrawal that was confirmed stands in the next status list; an approval that was not answered is made again.
"""

from __future__ import annotations

import pytest

from gateway.protocol.errors import ForgedError, LogUnavailableError
from gateway.protocol.reasons import Reason
from tests.consent.issuers import Killed
from tests.fakes_sqlite import Dead, How, When

either_side = pytest.mark.parametrize("when", When)


@pytest.fixture
def issuer(federation, tmp_path, now):
    made = Killed(federation, tmp_path / "consent.db", now)
    yield made
    made.connection.abandon()


def drafted(issuer):
    draft = issuer.service.draft(issuer.body())
    return draft, issuer.assertion(draft)


@either_side
def test_approval_that_fails_at_any_step_is_no_grant_and_another_draft_is_approved(issuer, when):
    draft, assertion = drafted(issuer)
    steps = issuer.steps_of(lambda: issuer.service.approve(draft.draft, assertion))
    assert "COMMIT" in steps
    for step, statement in enumerate(steps):
        draft, assertion = drafted(issuer)
        before = issuer.count("grants")
        issuer.connection.arm(step, when, How.FAILS)
        with pytest.raises(LogUnavailableError) as failed:
            issuer.service.approve(draft.draft, assertion)
        assert failed.value.retry_after
        is_durable = steps.index("COMMIT") < step or (statement == "COMMIT" and when is When.AFTER)
        assert issuer.count("grants") == before + int(is_durable)
        issuer.issue()
        assert issuer.count("grants") == before + int(is_durable) + 1


@either_side
def test_issuer_that_dies_at_any_step_of_an_approval_gives_no_index_twice(issuer, when):
    draft, assertion = drafted(issuer)
    steps = issuer.steps_of(lambda: issuer.service.approve(draft.draft, assertion))
    for step in range(len(steps)):
        draft, assertion = drafted(issuer)
        issuer.connection.arm(step, when, How.DIES)
        with pytest.raises(Dead):
            issuer.service.approve(draft.draft, assertion)
        issuer = issuer.successor()
        issuer.now += 301  # past every draft's end
        issuer.service.purge()
        assert issuer.count("drafts") == 0
        assert issuer.count("status_indexes") == issuer.count("grants")
        with pytest.raises(ForgedError):
            issuer.service.approve(draft.draft, assertion)
        issuer.issue()
    issuer.connection.abandon()


@either_side
def test_withdrawal_that_fails_at_any_step_is_not_confirmed_and_holds_when_repeated(issuer, when):
    consent = issuer.issue()
    steps = issuer.steps_of(lambda: issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent)))
    assert "COMMIT" in steps
    for step, statement in enumerate(steps):
        consent = issuer.issue()
        issuer.connection.arm(step, when, How.FAILS)
        with pytest.raises(LogUnavailableError) as failed:
            issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
        assert failed.value.retry_after
        is_durable = steps.index("COMMIT") < step or (statement == "COMMIT" and when is When.AFTER)
        assert issuer.is_withdrawn(consent) == is_durable
        first = issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
        assert issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent)) == first
        assert issuer.is_withdrawn(consent)


@either_side
def test_withdrawal_that_was_confirmed_outlives_the_death_of_the_issuer(issuer, when):
    consent = issuer.issue()
    steps = issuer.steps_of(lambda: issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent)))
    for step, statement in enumerate(steps):
        confirmed, consent = issuer.issue(), issuer.issue()
        issuer.service.revoke(confirmed.claims.jti, issuer.withdrawal(confirmed))
        issuer.connection.arm(step, when, How.DIES)
        with pytest.raises(Dead):
            issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
        issuer = issuer.successor()
        assert issuer.is_withdrawn(confirmed)
        is_durable = steps.index("COMMIT") < step or (statement == "COMMIT" and when is When.AFTER)
        assert issuer.is_withdrawn(consent) == is_durable
        issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
        assert issuer.is_withdrawn(consent)
    issuer.connection.abandon()


def test_status_list_that_cannot_be_read_is_unavailable_and_never_says_that_a_grant_stands(issuer):
    consent = issuer.issue()
    issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
    issuer.connection.arm("SELECT status_index FROM", When.BEFORE, How.FAILS)
    with pytest.raises(LogUnavailableError):
        issuer.is_withdrawn(consent)
    assert issuer.is_withdrawn(consent)


def test_store_complains_after_a_fault_until_it_can_be_written_again(issuer):
    issuer.connection.arm("INSERT INTO drafts", When.BEFORE, How.FAILS)
    with pytest.raises(LogUnavailableError):
        issuer.service.draft(issuer.body())
    assert Reason.LOG_UNAVAILABLE.value in issuer.store.complaint
    issuer.connection._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LogUnavailableError):
        issuer.store.probe()
    assert issuer.store.complaint
    issuer.connection._connection.execute("PRAGMA query_only = OFF")
    issuer.store.probe()
    assert issuer.store.complaint is None
