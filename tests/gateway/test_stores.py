"""The contract of a store, run against every adapter."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError, NotFoundError
from gateway.protocol.merkle import inclusion_proof, leaf_hash, root_of, verify_inclusion
from gateway.protocol.reasons import Reason
from gateway.stores.records import (
    Deferral,
    Entry,
    Evidence,
    RequestKey,
    StoredRequest,
    StoredTicket,
    TicketKey,
    TicketWrite,
    Use,
    Waiting,
    Withdrawal,
)
from gateway.stores.sqlite import SqliteStore
from tests.fakes import sign
from tests.gateway.conftest import OpenStore

GRANT = bytes([1]) * 32
KEY = RequestKey("spiffe://heyan/requester/edu", bytes(16))
OTHER_KEY = RequestKey("spiffe://heyan/requester/edu", bytes([7]) * 16)
USE = Use(GRANT, 0, 2, 1e9)


def request(key: RequestKey = KEY, state: bytes = b"state") -> StoredRequest:
    return StoredRequest(key, b"q" * 32, 2e9, GRANT, state)


def test_new_store_has_no_head(open_store: OpenStore) -> None:
    assert open_store().head() is None


def test_leaves_are_where_the_commit_says_and_the_root_is_theirs(open_store: OpenStore) -> None:
    store = open_store()
    data = [b"leaf %d" % number for number in range(9)]
    for group in (data[:1], data[1:4], data[4:]):
        committed = store.commit([Entry(leaf) for leaf in group], sign)
        assert [store.leaf(item.leaf_index) for item in committed] == group
    head = store.head()
    assert head is not None
    assert (head.size, head.root) == (9, root_of([leaf_hash(leaf) for leaf in data]))
    assert head.checkpoint == sign(9, head.root)
    for index, leaf in enumerate(data):
        path = inclusion_proof(index, 9, store.node)
        verify_inclusion(leaf_hash(leaf), index, 9, path, head.root)


def test_commit_says_which_leaf_stands_where_and_proves_it(open_store: OpenStore) -> None:
    store, replica = open_store(), open_store()
    used_up = {Reason.GRANT_USED_UP: b"withheld"}
    last = replace(USE, max_uses=1)
    for number in range(5):
        entries = [
            Entry(b"plain %d" % number),
            Entry(b"asked %d" % number, withheld=used_up, request=request(OTHER_KEY), uses=(last,)),
            Entry(b"late %d" % number, withheld=used_up, request=request(KEY), uses=(last,)),
        ]
        for item in (store, replica)[number % 2].commit(entries, sign):
            assert store.leaf(item.leaf_index) == item.leaf
            verify_inclusion(leaf_hash(item.leaf), item.leaf_index, item.head.size, item.path, item.head.root)
    assert store.leaf(2) == b"withheld"


def test_largest_group_is_committed_as_its_entries_would_be_one_by_one(open_store: OpenStore) -> None:
    store = open_store()
    keys = [RequestKey(f"spiffe://heyan/requester/{number % 3}", number.to_bytes(16, "big")) for number in range(300)]
    grants = [number.to_bytes(32, "big") for number in range(300)]
    entries = [
        Entry(
            b"leaf of " + grant,
            statement_digests=(b"\x01" + grant[1:],),
            request=StoredRequest(key, b"q" * 32, 2e9, grant, b"state of " + grant),
            earlier_leaves=0,
            evidence=(Evidence(grant, b"key of " + grant, b"text", 86_400.0),),
            uses=(Use(grant, 0, 1, 1e9),),
        )
        for key, grant in zip(keys, grants, strict=True)
    ]
    again = [replace(entries[7], leaf=b"again", earlier_leaves=1, statement_digests=())]
    committed = store.commit([*entries, *again, entries[9]], sign)
    assert [item.leaf_index for item in committed] == [*range(301), -1]
    assert committed[-1].overtaken
    for at, (key, grant) in enumerate(zip(keys, grants, strict=True)):
        found = store.request(key)
        assert found is not None
        assert (found.grant_digest, found.state) == (grant, b"state of " + grant)
        assert found.leaf_indexes == ((7, 300) if at == 7 else (at,))
        assert store.evidence(grant) == entries[at].evidence[0]
        assert store.uses(grant, 0) == 1
        assert store.leaf_indexes([b"\x01" + grant[1:]]) == {b"\x01" + grant[1:]: at}


def test_store_goes_on_after_it_is_opened_again(open_store: OpenStore) -> None:
    open_store().commit([Entry(b"one"), Entry(b"two")], sign)
    again = open_store()
    again.commit([Entry(b"three")], sign)
    head = again.head()
    assert head is not None
    assert head.root == root_of([leaf_hash(leaf) for leaf in (b"one", b"two", b"three")])


def test_two_writers_share_one_tree(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    leaves = []
    for number in range(6):
        leaves.append(b"%d" % number)
        (first, second)[number % 2].commit([Entry(leaves[-1])], sign)
    head = first.head()
    assert head is not None
    assert head.root == root_of([leaf_hash(leaf) for leaf in leaves])


def test_failing_signer_commits_nothing(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"one")], sign)

    def refuse(_size: int, _root: bytes, _origin: str | None) -> str:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "no key")

    with pytest.raises(LogUnavailableError):
        store.commit([Entry(b"two", request=request(), uses=(USE,))], refuse)
    assert store.request(KEY) is None
    assert store.uses(GRANT, 0) == 0
    store.commit([Entry(b"three")], sign)
    assert store.leaves(0, 10) == [b"one", b"three"]


def test_use_is_counted_once_for_each_request(open_store: OpenStore) -> None:
    store = open_store()
    for _ in range(3):
        store.commit([Entry(b"leaf", request=request(), uses=(USE,))], sign)
    assert store.uses(GRANT, 0) == 1


def test_use_beyond_the_last_is_withheld_and_keeps_no_request(open_store: OpenStore) -> None:
    store = open_store()
    last = replace(USE, max_uses=1)
    entries = [
        Entry(b"released", withheld={Reason.GRANT_USED_UP: b"withheld"}, request=request(), uses=(last,)),
        Entry(
            b"released too", withheld={Reason.GRANT_USED_UP: b"withheld too"}, request=request(OTHER_KEY), uses=(last,)
        ),
    ]
    committed = store.commit(entries, sign)
    assert [item.withheld for item in committed] == [None, Reason.GRANT_USED_UP]
    assert store.leaves(0, 10) == [b"released", b"withheld too"]
    assert store.request(KEY) is not None
    assert store.request(OTHER_KEY) is None
    assert store.uses(GRANT, 0) == 1


def test_no_use_is_counted_if_one_of_several_is_short(open_store: OpenStore) -> None:
    store = open_store()
    spent = replace(USE, authorization=1, max_uses=1)
    store.commit([Entry(b"1", request=request(), uses=(spent,))], sign)
    store.commit(
        [Entry(b"2", withheld={Reason.GRANT_USED_UP: b"w"}, request=request(OTHER_KEY), uses=(USE, spent))], sign
    )
    assert store.uses(GRANT, 0) == 0


def test_one_request_id_does_not_buy_a_second_question_through_another_replica(open_store: OpenStore) -> None:
    store, replica = open_store(), open_store()
    withheld = {Reason.REQUEST_ID_CONFLICT: b"withheld"}
    store.commit([Entry(b"first", withheld=withheld, request=request(), uses=(USE,))], sign)
    other = replace(request(state=b"other"), query_digest=b"o" * 32)
    (committed,) = replica.commit([Entry(b"second", withheld=withheld, request=other, uses=(USE,))], sign)
    assert committed.withheld is Reason.REQUEST_ID_CONFLICT
    assert store.leaves(0, 10) == [b"first", b"withheld"]
    held = store.request(KEY)
    assert held is not None
    assert (held.query_digest, held.state) == (b"q" * 32, b"state")


def test_withdrawal_that_was_logged_first_keeps_an_answer_back(open_store: OpenStore) -> None:
    store = open_store()
    withdrawal = Withdrawal("spiffe://heyan/issuer/a", GRANT)
    answer = Entry(
        b"released",
        withheld={Reason.GRANT_REVOKED: b"withheld"},
        request=request(),
        uses=(USE,),
        standing=(withdrawal,),
    )
    committed = store.commit([Entry(b"withdrawal", withdrawal=withdrawal), answer], sign)
    assert committed[1].withheld is Reason.GRANT_REVOKED
    assert store.leaves(0, 10) == [b"withdrawal", b"withheld"]
    assert store.request(KEY) is None
    assert store.uses(GRANT, 0) == 0


def test_request_keeps_its_newest_state_and_all_its_leaves(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"1", request=request())], sign)
    store.commit([Entry(b"2")], sign)
    store.commit([Entry(b"3", request=request(state=b"newer"))], sign)
    found = store.request(KEY)
    assert found is not None
    assert (found.state, found.leaf_indexes) == (b"newer", (0, 2))


def test_evidence_is_kept_under_the_first_key_and_the_second_entry_is_not_committed(open_store: OpenStore) -> None:
    store = open_store()
    first, second = Evidence(GRANT, b"key 1", b"text 1"), Evidence(GRANT, b"key 2", b"text 2")
    committed = store.commit([Entry(b"1", evidence=(first,)), Entry(b"2", evidence=(second,))], sign)
    assert committed[1].foreign_keys == (first,)
    assert store.evidence(GRANT) == first
    assert store.leaves(0, 10) == [b"1"]
    (alone,) = store.commit([Entry(b"3", evidence=(second,))], sign)
    assert alone.foreign_keys == (first,)
    assert store.leaves(0, 10) == [b"1"]


def test_withdrawal_counts_for_its_own_issuer_only(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"1", withdrawal=Withdrawal("spiffe://heyan/issuer/a", GRANT))], sign)
    assert store.withdrawn_at(Withdrawal("spiffe://heyan/issuer/a", GRANT)) == 0
    assert store.withdrawn_at(Withdrawal("spiffe://heyan/issuer/b", GRANT)) is None


def test_statements_are_found_at_their_leaves(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"1", statement_digests=(b"a" * 32,)), Entry(b"2", statement_digests=(b"b" * 32,))], sign)
    assert store.leaf_indexes([b"a" * 32, b"b" * 32, b"c" * 32]) == {b"a" * 32: 0, b"b" * 32: 1}


def test_registry_versions_are_remembered(open_store: OpenStore) -> None:
    store = open_store()
    assert store.registry_version() == 0
    store.commit([Entry(b"1", registry_version=3)], sign)
    assert store.registry_version() == 3


def test_what_is_not_there_is_not_found(open_store: OpenStore) -> None:
    store = open_store()
    assert store.evidence(GRANT) is None
    with pytest.raises(NotFoundError):
        store.leaf(0)


def test_node_that_the_store_lost_is_its_own_fault_and_nobodys_refusal(open_store: OpenStore) -> None:
    with pytest.raises(LogUnavailableError):
        open_store().node(0, 0)


# -- SQLite's own ---------------------------------------------------------------------------------------------


def test_rolled_back_database_is_refused_for_good(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.commit([Entry(b"1")], sign)
    store.commit([Entry(b"2")], sign)
    thief = sqlite3.connect(tmp_path / "store.db")
    thief.executescript(
        "UPDATE shards SET size = 1, root = (SELECT hash FROM nodes WHERE level = 0 AND node_index = 0);"
        "DELETE FROM leaves WHERE leaf_index = 1;"
    )
    thief.close()
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            store.commit([Entry(b"3")], sign)
    store.close()


def test_root_that_does_not_fit_the_nodes_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.commit([Entry(b"1")], sign)
    store.close()
    thief = sqlite3.connect(tmp_path / "store.db")
    with thief:
        thief.execute("UPDATE shards SET root = zeroblob(32)")
    thief.close()
    again = SqliteStore(tmp_path / "store.db")
    with pytest.raises(LogUnavailableError):
        again.commit([Entry(b"2")], sign)
    again.close()


def test_locked_database_is_unavailable_and_not_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.sqlite_connection.BUSY_TIMEOUT_MS", 1)
    store = SqliteStore(tmp_path / "store.db")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailableError):
        store.commit([Entry(b"1")], sign)
    other.execute("ROLLBACK")
    other.close()
    store.commit([Entry(b"1")], sign)
    store.close()


def test_store_file_is_private(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.commit([Entry(b"1")], sign)
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}
    store.close()


def test_entry_made_without_knowing_the_newest_leaf_of_its_request_is_not_committed(open_store: OpenStore) -> None:
    """Two gateways carried one request on at once: the later one would take back what the other had logged."""
    store = open_store()
    first = Entry(b"first", request=request(), earlier_leaves=0, uses=(USE,))
    (committed,) = store.commit([first], sign)
    assert not committed.overtaken
    stale = Entry(b"stale", statement_digests=(bytes(32),), request=request(state=b"stale"), earlier_leaves=0)
    right = replace(stale, leaf=b"right", request=request(state=b"right"), earlier_leaves=1)
    results = store.commit([stale, Entry(b"beside"), right, replace(right, leaf=b"at once")], sign)
    assert [item.overtaken for item in results] == [True, False, False, True]
    assert store.leaves(0, 10) == [b"first", b"beside", b"right"]
    held = store.request(KEY)
    assert held is not None
    assert (held.state, held.leaf_indexes) == (b"right", (0, 2))
    (alone,) = store.commit([stale], sign)
    assert (alone.overtaken, alone.head) == (True, store.head())
    assert not alone.foreign_keys


# -- what waits for departments -----------------------------------------------------------------------------


def waiting(key: RequestKey = KEY, *departments: str) -> Waiting:
    return Waiting(key, departments or ("spiffe://heyan/department/land",), (GRANT, bytes([2]) * 32), 2e9, 7)


def deferring(key: RequestKey = KEY, *departments: str, message: bytes = b"message") -> Entry:
    return Entry(b"leaf", request=request(key), deferral=Deferral(waiting(key, *departments), message))


def test_deferral_is_kept_with_its_leaf_and_found_by_the_next_process(open_store: OpenStore) -> None:
    open_store().commit([deferring()], sign)
    store = open_store()
    assert store.waiting(None, 10) == [waiting()]
    assert store.deferred_message(KEY) == b"message"
    assert store.deferred_message(OTHER_KEY) is None


def test_newer_leaf_of_the_request_replaces_or_deletes_the_deferral(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([deferring(KEY, "a", "b"), deferring(OTHER_KEY)], sign)
    store.commit([deferring(KEY, "b", message=b"another")], sign)
    assert store.waiting(None, 10) == [waiting(KEY, "b"), waiting(OTHER_KEY)]
    assert store.deferred_message(KEY) == b"another"
    store.commit([Entry(b"leaf", request=request())], sign)
    assert store.waiting(None, 10) == [waiting(OTHER_KEY)]
    assert store.deferred_message(KEY) is None


def test_leaf_of_no_request_deletes_no_deferral(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([deferring()], sign)
    store.commit([Entry(b"leaf", statement_digests=(bytes(32),))], sign)
    assert store.waiting(None, 10) == [waiting()]


def test_withheld_entry_keeps_no_deferral_and_leaves_an_earlier_one(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([deferring()], sign)
    withdrawn = Withdrawal("spiffe://heyan/issuer/app", GRANT)
    store.commit([Entry(b"withdrawn", withdrawal=withdrawn)], sign)
    for entry in (deferring(KEY, "a"), deferring(OTHER_KEY)):
        kept_back = replace(entry, standing=(withdrawn,), withheld={Reason.GRANT_REVOKED: b"kept back"})
        (committed,) = store.commit([kept_back], sign)
        assert committed.withheld is Reason.GRANT_REVOKED
    assert store.waiting(None, 10) == [waiting()]


def test_what_waits_is_read_in_pages(open_store: OpenStore) -> None:
    store = open_store()
    keys = [RequestKey(who, bytes([number]) * 16) for who in ("a", "b") for number in range(5)]
    store.commit([deferring(key) for key in reversed(keys)], sign)
    seen: list[RequestKey] = []
    while page := store.waiting(seen[-1] if seen else None, 3):
        assert len(page) <= 3
        seen += [item.key for item in page]
    assert seen == keys


# -- offline tickets ------------------------------------------------------------------------------------------


def ticket(number: int = 1, requester: str = KEY.requester, state: bytes = b"open") -> StoredTicket:
    return StoredTicket(TicketKey(requester, bytes([number]) * 32), KEY.request_id, b"q" * 32, GRANT, state)


def opening(number: int = 1, judged_by: int = 0, **changes: object) -> Entry:
    return Entry(b"opened %d" % number, ticket=TicketWrite(ticket(number, **changes), judged_by))  # type: ignore[arg-type]


def resolving(number: int = 1) -> Entry:
    return Entry(b"resolved %d" % number, ticket=TicketWrite(ticket(number, state=b"resolved"), None))


def test_ticket_is_opened_once_and_resolved_once_and_knows_its_leaves(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"answer", request=request())], sign)
    told = store.commit([opening(), opening(), resolving(), resolving()], sign)
    assert [item.overtaken for item in told] == [False, True, False, True]
    assert store.leaves(0, 10) == [b"answer", b"opened 1", b"resolved 1"]
    found = store.ticket(ticket().key)
    assert found == replace(ticket(), state=b"resolved", opened_leaf=1, resolved_leaf=2)
    assert store.tickets_of(b"q" * 32) == [found]


def test_ticket_that_is_not_open_is_not_resolved(open_store: OpenStore) -> None:
    store = open_store()
    (told,) = store.commit([Entry(b"x"), resolving()], sign)[1:]
    assert told.overtaken
    assert store.ticket(ticket().key) is None


def test_ticket_judged_by_an_older_leaf_than_the_requests_newest_is_not_opened(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"unavailable", request=request())], sign)
    told = store.commit([Entry(b"answered", request=request(state=b"newer")), opening(judged_by=0)], sign)
    assert told[1].overtaken
    assert store.leaves(0, 10) == [b"unavailable", b"answered"]


def test_ticket_of_a_request_that_is_not_stored_is_not_opened(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"x")], sign)
    assert store.commit([opening()], sign)[0].overtaken
    assert store.ticket(ticket().key) is None


def test_open_tickets_are_listed_by_their_leaves_page_by_page_each_requesters_own(open_store: OpenStore) -> None:
    store = open_store()
    other = RequestKey("spiffe://heyan/requester/other", KEY.request_id)
    store.commit([Entry(b"a", request=request()), Entry(b"b", request=request(other))], sign)
    store.commit([opening(3), opening(1), opening(4, judged_by=1, requester=other.requester), opening(2)], sign)
    store.commit([resolving(1)], sign)
    first = store.open_tickets(KEY.requester, -1, 1)
    assert [item.key.ticket_id[0] for item in first] == [3]
    rest = store.open_tickets(KEY.requester, first[-1].opened_leaf, 10)
    assert [item.key.ticket_id[0] for item in rest] == [2]
    assert [item.key.ticket_id[0] for item in store.open_tickets(other.requester, -1, 10)] == [4]


def test_damaged_store_is_told_as_one_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(LogUnavailableError, match="heyan gateway restore"):
        SqliteStore(path)


@pytest.mark.parametrize(
    "entry", [Entry(b"x", withdrawal=Withdrawal("spiffe://heyan/issuer/app", GRANT)), Entry(b"x", registry_version=7)]
)
def test_what_two_processes_report_at_once_is_recorded_once(open_store: OpenStore, entry: Entry) -> None:
    one, other = open_store(), open_store()
    assert [store.commit([entry], sign)[0].overtaken for store in (one, other, one)] == [False, True, True]
    assert other.leaves(0, 10) == [b"x"]


def test_version_tells_that_another_process_has_committed(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    one.commit([Entry(b"x")], sign)
    version = one.version()
    assert one.version() == version
    other.commit([Entry(b"y")], sign)
    assert one.version() != version


def test_processes_append_to_one_tree_by_turns(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(3)]
    for number in range(12):
        (told,) = stores[number % 3].commit([Entry(b"%d" % number)], sign)
        assert told.leaf_index == number
    head = stores[0].head()
    assert head is not None
    assert head.root == root_of([leaf_hash(b"%d" % number) for number in range(12)])
