"""The contract of what is kept for a time: due, erased for good, rewrapped only as it was read, purged, and swept."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from gateway.protocol.disputes import Disputed
from gateway.stores.keeping import Keeping, Rewrapped
from gateway.stores.port import Store
from gateway.stores.records import (
    Deferral,
    Entry,
    Erasure,
    Evidence,
    RequestKey,
    StoredDispute,
    StoredRequest,
    StoredResolution,
    StoredTicket,
    TicketKey,
    TicketWrite,
    Use,
    Waiting,
)
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_keeping import SqliteKeeping
from gateway.stores.sqlite_schema import migrations
from tests.evidence.erasures import raw_bytes
from tests.fakes import sign
from tests.gateway.conftest import OpenStore

DAY = 86_400.0
GRANT, OTHER, THIRD = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
KEY = RequestKey("spiffe://heyan/requester/edu", bytes(16))
LATER = RequestKey("spiffe://heyan/requester/edu", bytes([7]) * 16)
USE = Use(GRANT, 0, 2, 100 * DAY)
WRAPPED = b"a wrapped key that must not stay anywhere"
QUERY = b"q" * 32


def evidence(grant: bytes = GRANT, wrapped: bytes = WRAPPED, kept_from: float = 10 * DAY) -> Evidence:
    return Evidence(grant, wrapped, b"a grant", kept_from)


def answer(key: RequestKey = KEY, *grants: Evidence) -> Entry:
    held = grants or (evidence(),)
    request = StoredRequest(key, QUERY, 20 * DAY, held[0].grant_digest, b"a state")
    return Entry(b"answer", request=request, evidence=held, uses=(USE,))


def erasing(*grants: bytes, until: float = 100 * DAY) -> Entry:
    return Entry(b"erased", erasure=Erasure(dict.fromkeys(grants or (GRANT,), until)))


def erasing_unended(*keys: RequestKey) -> Entry:
    """Though they wait."""
    return Entry(b"erased", erasure=Erasure({GRANT: 100 * DAY}, frozenset(keys)))


def keeping_of(store: Store) -> Keeping:
    assert isinstance(store, SqliteStore)
    return SqliteKeeping(store)


def test_erasure_and_its_leaf_are_one_and_nothing_is_left_but_that_it_was(open_store: OpenStore) -> None:
    store = open_store()
    waiting = Waiting(KEY, ("land",), (GRANT,), 2e9, 7)
    store.commit([replace(answer(), deferral=Deferral(waiting, b"message"))], sign)
    ticket = StoredTicket(TicketKey(KEY.requester, bytes(32)), KEY.request_id, QUERY, GRANT, b"ticket")
    dispute = StoredDispute(b"d" * 32, KEY, GRANT, Disputed("land", KEY.requester, b"?", None, None), b"relay")
    store.commit([Entry(b"t", ticket=TicketWrite(ticket, 0)), Entry(b"d", dispute=dispute)], sign)
    (committed,) = store.commit([erasing_unended(KEY)], sign)
    assert not committed.overtaken
    assert store.leaves(0, 10) == [b"answer", b"t", b"d", b"erased"]
    held = store.evidence(GRANT)
    assert held is not None
    assert (held.is_erased, held.wrapped_key, held.ciphertext) == (True, b"", b"")
    request = store.request(KEY)
    assert request is not None
    assert (request.state, request.leaf_indexes) == (b"", (0,))
    assert store.deferred_message(KEY) is None
    assert store.ticket(ticket.key) is None
    disputed = store.dispute(b"d" * 32)
    assert disputed is not None
    assert (disputed.relay, disputed.leaf_index) == (b"", 2)
    assert store.uses(GRANT, 0) == 1


def test_resolution_that_comes_after_the_erasure_is_counted_and_not_kept(open_store: OpenStore) -> None:
    store = open_store()
    dispute = StoredDispute(b"d" * 32, KEY, GRANT, Disputed("land", KEY.requester, b"?", None, None), b"relay")
    store.commit([answer(), Entry(b"d", dispute=dispute), erasing()], sign)
    (committed,) = store.commit([Entry(b"r", resolution=StoredResolution(b"d" * 32, True, b"statement"))], sign)
    assert not committed.overtaken
    disputed = store.dispute(b"d" * 32)
    assert disputed is not None
    assert (disputed.disputed.corrected, disputed.resolution, disputed.resolution_index) == (True, None, 3)


def test_nothing_that_rests_on_what_was_erased_is_committed(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([answer(), erasing()], sign)
    ticket = StoredTicket(TicketKey(KEY.requester, bytes(32)), KEY.request_id, QUERY, GRANT, b"ticket")
    dispute = StoredDispute(b"d" * 32, KEY, GRANT, Disputed("land", KEY.requester, b"?", None, None), b"relay")
    told = store.commit(
        [
            answer(),
            answer(LATER),
            replace(answer(LATER), evidence=()),
            Entry(b"t", ticket=TicketWrite(ticket, 0)),
            Entry(b"d", dispute=dispute),
            Entry(b"beside"),
        ],
        sign,
    )
    assert [item.erased for item in told] == [True] * 5 + [False]
    assert store.leaves(0, 10) == [b"answer", b"erased", b"beside"]
    assert store.uses(GRANT, 0) == 1


def test_request_goes_with_any_grant_that_it_rests_on(open_store: OpenStore) -> None:
    """A co-resident's: the state is under the guardian's key, and tells of both."""
    store = open_store()
    store.commit([answer(KEY, evidence(), evidence(OTHER, b"another key"))], sign)
    assert list(keeping_of(store).grants_of(KEY)) == [GRANT, OTHER]
    store.commit([erasing(OTHER)], sign)
    request, held = store.request(KEY), store.evidence(GRANT)
    assert request is not None
    assert held is not None
    assert (request.state, held.is_erased) == (b"", False)
    (again,) = store.commit([replace(answer(), evidence=(evidence(),))], sign)
    assert again.erased


def test_request_that_began_to_wait_meanwhile_is_not_erased_before_it_was_ended(open_store: OpenStore) -> None:
    store = open_store()
    waiting = Deferral(Waiting(KEY, ("land",), (GRANT, OTHER), 20 * DAY, 1), b"m")
    store.commit([replace(answer(KEY, evidence(), evidence(OTHER, b"another key")), deferral=waiting)], sign)
    for grant in (GRANT, OTHER):
        (late,) = store.commit([erasing(grant)], sign)
        assert late.overtaken
        held = store.evidence(grant)
        assert held is not None
        assert not held.is_erased
    store.commit([erasing_unended(KEY)], sign)
    assert store.deferred_message(KEY) is None


def test_what_is_erased_already_is_not_erased_again(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    store.commit([answer()], sign)
    told = [store.commit([erasing()], sign), other.commit([erasing()], sign), other.commit([erasing(OTHER)], sign)]
    assert [item.overtaken for (item,) in told] == [False, True, True]
    assert store.leaves(0, 10) == [b"answer", b"erased"]


def test_retention_counts_from_the_newest_that_rests_on_a_grant(open_store: OpenStore) -> None:
    store = open_store()
    keeping = keeping_of(store)
    store.commit([answer(), answer(LATER, evidence(OTHER, b"another key", 12 * DAY))], sign)
    store.commit([replace(answer(), evidence=(evidence(kept_from=11 * DAY),))], sign)
    store.commit([replace(answer(), evidence=(evidence(kept_from=9 * DAY),))], sign)
    assert [[item.grant_digest for item in keeping.due(day * DAY, 0, 10)] for day in (11, 12, 13)] == [
        [],
        [GRANT],
        [GRANT, OTHER],
    ]
    assert [item.grant_digest for item in keeping.due(13 * DAY, 1, 10)] == [OTHER]
    ticket = StoredTicket(TicketKey(KEY.requester, bytes(32)), KEY.request_id, QUERY, GRANT, b"ticket")
    store.commit([Entry(b"t", ticket=TicketWrite(ticket, 3), kept_from=20 * DAY)], sign)
    assert [item.grant_digest for item in keeping.due(13 * DAY, 0, 10)] == [OTHER]
    store.commit([erasing(OTHER)], sign)
    assert keeping.due(13 * DAY, 0, 10) == []


def test_dispute_and_its_resolution_keep_all_that_the_request_rests_on_as_long(open_store: OpenStore) -> None:
    """A request goes with the first of its grants: a co-resident's must not end it before its dispute's time."""
    store = open_store()
    store.commit([answer(KEY, evidence(), evidence(OTHER, b"another key", 5 * DAY))], sign)
    dispute = StoredDispute(b"d" * 32, KEY, GRANT, Disputed("d", KEY.requester, b"", None, None), b"relay")
    store.commit([Entry(b"d", dispute=dispute, kept_from=400 * DAY)], sign)
    assert keeping_of(store).due(400 * DAY, 0, 10) == []
    resolution = StoredResolution(dispute.dispute_id, True, b"statement")
    store.commit([Entry(b"r", resolution=resolution, kept_from=500 * DAY)], sign)
    assert keeping_of(store).due(500 * DAY, 0, 10) == []
    assert {item.grant_digest for item in keeping_of(store).due(501 * DAY, 0, 10)} == {GRANT, OTHER}


def test_two_requests_that_show_more_of_a_consent_at_once_lose_nothing_of_it(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([answer()], sign)
    more = [replace(evidence(), ciphertext=text, replaces=b"a grant") for text in (b"a grant, more", b"a grant, else")]
    first, second = (answer(LATER, item) for item in more)
    (kept,) = store.commit([first], sign)
    (clash,) = store.commit([second], sign)
    assert not kept.foreign_keys
    assert [item.ciphertext for item in clash.foreign_keys] == [b"a grant, more"]
    (unchanged,) = store.commit([answer(LATER)], sign)  # by a request that shows nothing new
    assert not unchanged.foreign_keys
    held = store.evidence(GRANT)
    assert held is not None
    assert held.ciphertext == b"a grant, more"


def test_key_that_was_erased_or_changed_since_it_was_read_is_not_rewrapped(open_store: OpenStore) -> None:
    store = open_store()
    keeping = keeping_of(store)
    store.commit([answer(KEY, evidence(), evidence(OTHER, b"another key"))], sign)
    first, second = keeping.held_keys(0, 10)
    assert [(item.grant_digest, item.wrapped_key) for item in (first, second)] == [
        (GRANT, WRAPPED),
        (OTHER, b"another key"),
    ]
    assert keeping.held_keys(first.position, 10) == [second]
    store.commit([erasing()], sign)
    changes = [Rewrapped(GRANT, WRAPPED, b"new"), Rewrapped(OTHER, b"not this", b"new")]
    assert keeping.rewrap(changes) == 0
    assert keeping.rewrap([Rewrapped(OTHER, b"another key", b"new")]) == 1
    held = store.evidence(GRANT)
    assert held is not None
    assert held.is_erased
    assert [item.wrapped_key for item in keeping.held_keys(0, 10)] == [b"new"]


def test_gateway_that_knew_the_key_of_before_a_rotation_reads_the_new_one(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([answer()], sign)
    keeping_of(store).rewrap([Rewrapped(GRANT, WRAPPED, b"new")])
    (told,) = store.commit([answer(LATER)], sign)
    assert [item.wrapped_key for item in told.foreign_keys] == [b"new"]


def test_uses_go_when_their_grant_has_expired_and_not_before(open_store: OpenStore) -> None:
    store = open_store()
    keeping = keeping_of(store)
    store.commit([answer(KEY, evidence(kept_from=100 * DAY))], sign)
    assert keeping.purge(0, 100 * DAY, 0, 10) == 0
    assert store.uses(GRANT, 0) == 1
    assert keeping.purge(0, 102 * DAY, 0, 10) == 2
    assert store.uses(GRANT, 0) == 0
    assert keeping.purge(0, 102 * DAY, 0, 10) == 0


def test_erased_grant_is_remembered_until_it_has_expired_and_its_requests_with_it(open_store: OpenStore) -> None:
    store = open_store()
    keeping = keeping_of(store)
    store.commit([answer(KEY, evidence(), evidence(OTHER, b"another key")), erasing(GRANT, OTHER)], sign)
    keeping.purge(0, 99 * DAY, 99 * DAY, 10)
    assert store.commit([answer(LATER)], sign)[0].erased
    while keeping.purge(0, 102 * DAY, 102 * DAY, 10):
        pass
    assert store.request(KEY) is None
    assert store.evidence(GRANT) is None
    assert store.evidence(OTHER) is None
    assert keeping.requests_on(GRANT) == []


def test_marks_are_remembered(open_store: OpenStore) -> None:
    keeping = keeping_of(open_store())
    assert keeping.mark("a") is None
    for value in (1.5, 2.5):
        keeping.set_mark("a", value)
    assert keeping_of(open_store()).mark("a") == 2.5


# -- SQLite's own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rewrapped", [False, True])
def test_destroyed_key_stands_nowhere_in_the_files_of_the_store(tmp_path: Path, *, rewrapped: bool) -> None:
    """Nor does a key that was rewrapped, in pages, free pages, or the write-ahead log; the one in use is there."""
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    keeping = SqliteKeeping(store)
    keys = {bytes([number]) * 32: b"wrapped %03d " % number + bytes([255 - number]) * 56 for number in range(120)}
    for number, (grant, wrapped) in enumerate(keys.items()):
        key = RequestKey(KEY.requester, bytes([number]) * 16)
        store.commit([replace(answer(key, evidence(grant, wrapped)), uses=())], sign)
    destroyed = list(keys.values())[::2]
    if rewrapped:
        keeping.rewrap([Rewrapped(grant, old, old[:12] + b"anew" + bytes(52)) for grant, old in keys.items()])
    else:
        store.commit([erasing(*list(keys)[::2])], sign)
    assert any(key in raw_bytes(path) for key in destroyed)  # the write-ahead log still has them
    assert keeping.sweep()
    kept = raw_bytes(path)
    assert not [key for key in destroyed if key in kept]
    assert rewrapped or all(key in kept for key in list(keys.values())[1::2])
    store.close()


def test_write_ahead_log_that_somebody_reads_is_not_emptied_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.stores.sqlite_connection.BUSY_TIMEOUT_MS", 1)
    store = SqliteStore(tmp_path / "store.db")
    store.commit([answer()], sign)
    reader = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM leaves").fetchone()
    store.commit([erasing()], sign)
    assert not SqliteKeeping(store).sweep()
    reader.execute("COMMIT")
    assert SqliteKeeping(store).sweep()
    reader.close()
    store.close()


def test_store_of_before_is_taken_over_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    old = Database(path)
    migrations.ensure_migrations_table(old)
    for step in migrations._migrations[: [each.name for each in migrations._migrations].index("compact_requests")]:
        step.fn(old)
        migrations._record_applied(old, step.name)
    requester, second = "spiffe://heyan/requester/edu", bytes([3]) * 16
    old.execute("INSERT INTO evidence VALUES (?, ?, ?)", (GRANT, b"wrapped", b"text"))
    for request_id, leaf in ((bytes(16), 0), (second, 1)):
        old.execute("INSERT INTO requests VALUES (?, ?, ?, 2e9, ?, x'01')", (requester, request_id, QUERY, GRANT))
        old.execute("INSERT INTO request_leaves VALUES (?, ?, ?)", (requester, request_id, leaf))
        old.execute("INSERT INTO leaves VALUES (?, ?)", (leaf, b"leaf %d" % leaf))
    old.execute("INSERT INTO uses VALUES (?, 0, 1, 2e9), (?, 1, 1, 2e9)", (GRANT, OTHER))
    for grant, number in ((GRANT, 0), (OTHER, 1)):
        old.execute("INSERT INTO request_uses VALUES (?, ?, ?, ?)", (requester, second, grant, number))
    old.execute("INSERT INTO evidence VALUES (?, ?, ?)", (THIRD, b"wrapped too", b"text"))
    waits = (requester, bytes(16), "land", GRANT + THIRD, 2e9, b"message")
    old.execute("INSERT INTO deferrals VALUES (?, ?, ?, ?, ?, ?)", waits)
    old.conn.commit()
    old.close()
    store = SqliteStore(path)
    keeping = SqliteKeeping(store)
    held = store.evidence(GRANT)
    assert held is not None
    assert (held.wrapped_key, held.ciphertext) == (b"wrapped", b"text")
    assert held.kept_from > 1.7e9
    assert store.evidence(OTHER) is None
    found = store.request(RequestKey(requester, second))
    assert found is not None
    assert (found.query_digest, found.grant_digest, found.state, found.leaf_indexes) == (QUERY, GRANT, b"\x01", (1,))
    assert (store.uses(GRANT, 0), store.uses(OTHER, 1)) == (1, 1)
    assert list(keeping.grants_of(RequestKey(requester, second))) == [GRANT, OTHER]
    waiting = RequestKey(requester, bytes(16))  # it has spent no use yet, and rests on the co-resident's all the same
    assert list(keeping.grants_of(waiting)) == [GRANT, THIRD]
    assert list(keeping.requests_on(THIRD)) == [waiting]
    assert store.read(lambda reader: len(reader.execute("SELECT * FROM request_uses").fetchall())) == 2
    store.close()
