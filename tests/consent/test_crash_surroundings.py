"""An issuer whose file cannot be written, or whose clock is set: it confirms nothing that is not kept, and heals."""

from __future__ import annotations

import pytest

from consent.status_list import open_status_list
from gateway.protocol.errors import HeyanError, LogUnavailableError
from gateway.protocol.reasons import Reason
from tests.consent.issuers import Killed
from tests.fakes_sqlite import TROUBLES, locked, read_only, use_free_pages
from tests.federation import DAY, ISSUER


@pytest.fixture
def issuer(federation, tmp_path, now):
    made = Killed(federation, tmp_path / "consent.db", now)
    use_free_pages(made.connection)
    yield made
    made.connection.abandon()


def drafts_until_refused(issuer) -> None:
    for _ in range(100):  # there may be room for a few
        issuer.service.draft(issuer.body())


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_draft_is_handed_out_that_is_not_kept_and_the_next_one_is_approved(issuer, trouble):
    with trouble(issuer.connection):
        with pytest.raises(LogUnavailableError) as refused:
            drafts_until_refused(issuer)
        assert refused.value.retry_after
        assert issuer.store.complaint
    issuer.store.probe()
    assert issuer.store.complaint is None
    issuer.now += 301
    issuer.service.purge()
    issuer.issue()


@pytest.mark.parametrize("trouble", [locked, read_only])
def test_withdrawal_is_not_confirmed_while_it_cannot_be_kept_and_lists_are_served_all_the_while(issuer, trouble):
    earlier, consent = issuer.issue(), issuer.issue()
    issuer.service.revoke(earlier.claims.jti, issuer.withdrawal(earlier))
    with trouble(issuer.connection):
        with pytest.raises(LogUnavailableError):
            issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
        assert issuer.is_withdrawn(earlier)
        assert not issuer.is_withdrawn(consent)
    issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
    assert issuer.is_withdrawn(consent)


@pytest.mark.parametrize("step", [-120, 120, -DAY // 2, 3 * DAY])
def test_clock_that_jumps_forgets_no_withdrawal_and_no_grant(issuer, step):
    withdrawn, standing = issuer.issue(), issuer.issue()
    issuer.service.revoke(withdrawn.claims.jti, issuer.withdrawal(withdrawn))
    issuer.now += step
    issuer.service.purge()
    assert statuses_at(issuer, withdrawn, issuer.now)
    issuer.now -= step
    issuer.service.purge()
    issuer.now += 1
    assert issuer.is_withdrawn(withdrawn)
    assert not issuer.is_withdrawn(standing)
    issuer.service.revoke(standing.claims.jti, issuer.withdrawal(standing))
    assert issuer.is_withdrawn(standing)


@pytest.mark.parametrize("step", [120, 3 * DAY, -120, -DAY // 2])
def test_list_that_was_signed_under_a_wrong_clock_is_believed_by_nobody_whose_clock_is_right(issuer, step):
    consent = issuer.issue()
    right = issuer.now
    issuer.now += step
    with pytest.raises(HeyanError) as refused:
        statuses_at(issuer, consent, right)
    assert refused.value.reason is Reason.STATUS_UNAVAILABLE


def statuses_at(issuer, consent, now) -> bool:
    """What the list that the issuer serves says to a reader whose clock says `now`."""
    reference = consent.claims.status.status_list
    token = issuer.service.status_list(int(reference.uri.rpartition("/")[2]))
    opened = open_status_list(token, uri=reference.uri, issuer=ISSUER, registry=issuer.federation.registry, now=now)
    return opened.statuses.is_set(reference.idx)
