"""The contract of a store as to disputes, run against every adapter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.protocol.disputes import Disputed
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, RequestKey, StoredDispute, StoredRequest, StoredResolution, Use
from tests.fakes import sign
from tests.gateway.conftest import OpenStore

GRANT, DISPUTE, OTHER = bytes([1]) * 32, b"d" * 32, b"o" * 32
KEY, OTHER_KEY = (RequestKey("spiffe://heyan/requester/edu", bytes([number]) * 16) for number in range(2))
POLICE = "spiffe://heyan/department/police"
OPENED = StoredDispute(DISPUTE, KEY, GRANT, Disputed(POLICE, KEY.requester, b"q" * 32, None, None), b"relay")
RESOLVED = StoredResolution(DISPUTE, corrected=True, statement=b"statement")


def asking(key: RequestKey, *disputes: bytes, uses: tuple[Use, ...] = ()) -> Entry:
    """A request that asks after corrections."""
    kept = StoredRequest(key, key.request_id * 2, 2e9, GRANT, b"state")
    withheld = {reason: reason.encode() for reason in (Reason.DISPUTE_SPENT, Reason.GRANT_USED_UP)}
    return Entry(b"asked", request=kept, reverifies=disputes, uses=uses, withheld=withheld)


def test_dispute_is_kept_with_its_leaf_and_outlives_the_process(open_store: OpenStore) -> None:
    open_store().commit([Entry(b"something"), Entry(b"dispute", dispute=OPENED)], sign)
    store = open_store()
    assert store.dispute(DISPUTE) == replace(OPENED, leaf_index=1)
    assert store.open_disputes() == {DISPUTE: POLICE}
    assert store.dispute(OTHER) is None


def test_dispute_and_its_leaf_are_there_together_or_not_at_all(open_store: OpenStore) -> None:
    store = open_store()

    def fail(_size: int, _root: bytes, _origin: str | None) -> str:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE)

    with pytest.raises(LogUnavailableError):
        store.commit([Entry(b"dispute", dispute=OPENED)], fail)
    assert store.dispute(DISPUTE) is None
    assert store.head() is None


def test_first_dispute_and_first_resolution_stand(open_store: OpenStore) -> None:
    store = open_store()
    first, second = store.commit(
        [Entry(b"one", dispute=OPENED), Entry(b"two", dispute=replace(OPENED, relay=b""))], sign
    )
    assert (first.overtaken, second.overtaken) == (False, True)
    rival = replace(RESOLVED, corrected=False, statement=b"other")
    both = store.commit([Entry(b"three", resolution=RESOLVED), Entry(b"four", resolution=rival)], sign)
    assert [committed.overtaken for committed in both] == [False, True]
    found = store.dispute(DISPUTE)
    assert found is not None
    assert (found.leaf_index, found.relay) == (0, b"relay")
    assert (found.disputed.corrected, found.resolution, found.resolution_index) == (True, b"statement", 1)
    assert store.leaves(0, 9) == [b"one", b"three"], "no leaf without its state"
    assert not store.open_disputes()


def test_resolution_of_no_dispute_changes_nothing(open_store: OpenStore) -> None:
    store = open_store()
    _, committed = store.commit([Entry(b"one"), Entry(b"two", resolution=RESOLVED)], sign)
    assert committed.overtaken
    assert store.dispute(DISPUTE) is None


def test_correction_is_asked_after_by_one_request(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"dispute", dispute=OPENED), Entry(b"resolution", resolution=RESOLVED)], sign)
    first, again, other = store.commit([asking(KEY, DISPUTE), asking(KEY, DISPUTE), asking(OTHER_KEY, DISPUTE)], sign)
    assert (first.withheld, again.withheld, other.withheld) == (None, None, Reason.DISPUTE_SPENT)
    assert store.leaf(other.leaf_index) == Reason.DISPUTE_SPENT.encode()
    assert store.request(OTHER_KEY) is None
    found = store.dispute(DISPUTE)
    assert found is not None
    assert found.disputed.reverified == KEY.request_id


@pytest.mark.parametrize("resolution", [None, replace(RESOLVED, corrected=False)], ids=["open", "upheld"])
def test_what_is_not_corrected_is_asked_after_by_none(
    open_store: OpenStore, resolution: StoredResolution | None
) -> None:
    store = open_store()
    store.commit([Entry(b"dispute", dispute=OPENED), Entry(b"maybe", resolution=resolution)], sign)
    (committed,) = store.commit([asking(KEY, DISPUTE)], sign)
    assert committed.withheld is Reason.DISPUTE_SPENT


def test_dispute_is_not_spent_where_a_use_is_short_nor_a_use_where_the_dispute_is_spent(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"dispute", dispute=OPENED), Entry(b"resolution", resolution=RESOLVED)], sign)
    none_left = Use(GRANT, 0, 0, 1e9)
    (short,) = store.commit([asking(KEY, DISPUTE, uses=(none_left,))], sign)
    assert short.withheld is Reason.GRANT_USED_UP
    (unknown,) = store.commit([asking(KEY, DISPUTE, OTHER, uses=(replace(none_left, max_uses=1),))], sign)
    assert unknown.withheld is Reason.DISPUTE_SPENT
    assert store.uses(GRANT, 0) == 0
    found = store.dispute(DISPUTE)
    assert found is not None
    assert found.disputed.reverified is None
