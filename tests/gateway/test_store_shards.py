"""A log of the store ends and goes on as another: the store's contract, and what SQLite itself refuses."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from gateway.protocol.errors import ConflictError, HeyanError, LogUnavailableError, NotFoundError
from gateway.protocol.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of, verify_inclusion
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import StatisticKey, Tallies
from gateway.stores import sqlite_schema
from gateway.stores.port import Store
from gateway.stores.records import Entry, Freeze, Head, RequestKey, StoredRequest, Use, Withdrawal
from gateway.stores.sqlite import SqliteStore
from tests.fakes import STORE_ORIGIN, sign
from tests.gateway.conftest import OpenStore

NEXT = "log.test/2"
THIRD = "log.test/3"
GRANT = bytes([1]) * 32
KEY = RequestKey("spiffe://heyan/requester/edu", bytes(16))
USE = Use(GRANT, 0, 1, 1e9)
COUNTED = StatisticKey("430102", "spiffe://heyan/department/police", "hukou.child_registered@1", 1, True)


def freeze_of(origin: str = STORE_ORIGIN, following: str = NEXT) -> Freeze:
    return Freeze(origin, b"end of " + origin.encode(), following, lambda final: b"after %d " % final.size + final.root)


def frozen(store: Store, *leaves: bytes) -> tuple[Head, Head]:
    store.commit([Entry(leaf) for leaf in leaves or (b"one", b"two")], sign)
    return store.freeze(freeze_of(), sign)


def test_log_ends_with_its_last_leaf_and_the_next_begins_with_its_first(open_store: OpenStore) -> None:
    store = open_store()
    final, begun = frozen(store)
    old = [b"one", b"two", b"end of log.test/1"]
    root = root_of([leaf_hash(leaf) for leaf in old])
    new = [b"after 3 " + root]
    new_root = root_of([leaf_hash(leaf) for leaf in new])
    assert final == Head(3, root, sign(3, root), STORE_ORIGIN, 0, 0, ended=True)
    assert begun == Head(1, new_root, sign(1, new_root, NEXT), NEXT, 3, 1)
    again = open_store()
    assert list(again.shards()) == [final, begun]
    assert again.head() == begun
    assert again.leaves(0, 10) == [*old, *new]


def test_positions_go_on_and_each_log_is_proven_in_its_own_tree(open_store: OpenStore) -> None:
    store = open_store()
    final, _ = frozen(store)
    committed = store.commit([Entry(b"%d" % number) for number in range(5)], sign)
    assert [item.leaf_index for item in committed] == [4, 5, 6, 7, 8]
    head = committed[-1].head
    assert (head.origin, head.first, head.size, head.number) == (NEXT, 3, 6, 1)
    for tree in (final, head):
        for position in range(tree.first, tree.end):
            index = position - tree.first
            path = inclusion_proof(index, tree.size, lambda level, at, tree=tree: store.node(level, at, tree.number))  # type: ignore[misc]
            verify_inclusion(leaf_hash(store.leaf(position)), index, tree.size, path, tree.root)
    assert consistency_proof(1, 6, lambda level, index: store.node(level, index, 1))
    assert store.shards()[0] == final


def test_what_is_kept_beside_the_leaves_goes_on_in_the_next_log(open_store: OpenStore) -> None:
    store = open_store()
    request = StoredRequest(KEY, b"q" * 32, 2e9, GRANT, b"state")
    withdrawal = Withdrawal("spiffe://heyan/issuer/a", bytes([2]) * 32)
    store.commit(
        [
            Entry(b"answer", request=request, uses=(USE,)),
            Entry(b"withdrawal", withdrawal=withdrawal),
            Entry(b"registry", registry_version=4),
        ],
        sign,
    )
    store.freeze(freeze_of(), sign)
    other = replace(request, key=replace(KEY, request_id=bytes([9]) * 16))
    spent, late, retry = store.commit(
        [
            Entry(b"x", request=other, uses=(USE,), withheld={Reason.GRANT_USED_UP: b"kept back"}),
            Entry(b"y", request=other, standing=(withdrawal,), withheld={Reason.GRANT_REVOKED: b"revoked"}),
            Entry(b"more", request=request, uses=(USE,), earlier_leaves=1),
        ],
        sign,
    )
    assert (spent.withheld, late.withheld, retry.withheld) == (Reason.GRANT_USED_UP, Reason.GRANT_REVOKED, None)
    held = store.request(KEY)
    assert held is not None
    assert held.leaf_indexes == (0, 7)
    assert store.registry_version() == 4


def test_statement_recorded_once_more_is_found_in_the_log_that_grows_and_only_then(open_store: OpenStore) -> None:
    store = open_store()
    digest = b"s" * 32
    store.commit([Entry(b"1", statement_digests=(digest,)), Entry(b"2", statement_digests=(digest,))], sign)
    assert store.leaf_indexes([digest]) == {digest: 0}
    store.freeze(freeze_of(), sign)
    assert store.leaf_indexes([digest]) == {digest: 0}
    store.commit([Entry(b"3", statement_digests=(digest,)), Entry(b"4", statement_digests=(digest,))], sign)
    assert store.leaf_indexes([digest]) == {digest: 4}


def test_each_log_has_its_own_statistics_of_one_day(open_store: OpenStore) -> None:
    store = open_store()
    tallies = Tallies("2027-06-01", (COUNTED,))
    store.commit([Entry(b"1", tallies=tallies), Entry(b"2", tallies=tallies)], sign)
    store.freeze(freeze_of(), sign)
    store.commit([Entry(b"3", tallies=tallies)], sign)
    pages = [store.statistics("2027-06-01", None, 10, number) for number in (0, 1, None)]
    assert [(list(page.rows), page.tree_size, page.changed_size) for page in pages] == [
        ([(COUNTED, 2)], 3, 2),
        ([(COUNTED, 1)], 2, 2),
        ([(COUNTED, 1)], 2, 2),
    ]


# -- what must not be ----------------------------------------------------------------------------------------


def refused_to_freeze(store: Store, freeze: Freeze) -> None:
    before = store.shards(), store.leaves(0, 100)
    with pytest.raises(ConflictError) as refused:
        store.freeze(freeze, sign)
    assert refused.value.reason is Reason.LOG_ENDED
    assert (store.shards(), store.leaves(0, 100)) == before


def test_log_is_not_ended_twice_nor_followed_by_two(open_store: OpenStore) -> None:
    store, replica = open_store(), open_store()
    frozen(store)
    refused_to_freeze(store, freeze_of())
    refused_to_freeze(replica, freeze_of(following=THIRD))
    store.commit([Entry(b"more")], sign)
    assert len(store.shards()) == 2


@pytest.mark.parametrize("origin", [STORE_ORIGIN, NEXT])
def test_log_does_not_go_on_under_an_origin_that_was_used(open_store: OpenStore, origin: str) -> None:
    store = open_store()
    frozen(store)
    refused_to_freeze(store, freeze_of(NEXT, origin))


def test_log_is_not_ended_by_whoever_means_another(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"one")], sign)
    refused_to_freeze(store, freeze_of(NEXT, THIRD))


def test_store_without_a_log_has_none_to_end(open_store: OpenStore) -> None:
    with pytest.raises(NotFoundError):
        open_store().freeze(freeze_of(), sign)


def test_replica_that_remembers_the_ended_tree_appends_to_the_next_one(open_store: OpenStore) -> None:
    """Its cached frontier is of the old log, and has the very size that the new one gets to."""
    store, replica = open_store(), open_store()
    store.commit([Entry(b"one")], sign)
    (known,) = replica.commit([Entry(b"two")], sign)
    final, _ = store.freeze(freeze_of(), sign)
    store.commit([Entry(b"x")], sign)  # two leaves, as the replica remembers
    assert known.head.size == 2
    (committed,) = replica.commit([Entry(b"three")], sign)
    assert (committed.head.origin, committed.head.size, committed.leaf_index) == (NEXT, 3, 5)
    leaves = store.leaves(final.end, 10)
    assert committed.head.root == root_of([leaf_hash(leaf) for leaf in leaves])
    assert store.shards()[0] == final


def test_signer_of_the_ended_log_signs_nothing_any_more(open_store: OpenStore) -> None:
    """A process that does not know of the end would put the new log's tree under the old one's name."""
    store = open_store()
    final, begun = frozen(store)

    def stubborn(size: int, root: bytes, _origin: str | None) -> str:
        return sign(size, root, STORE_ORIGIN)

    with pytest.raises(LogUnavailableError):
        store.commit([Entry(b"late")], stubborn)
    assert list(store.shards()) == [final, begun]
    store.commit([Entry(b"right")], sign)


def test_end_that_cannot_be_signed_is_no_end(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([Entry(b"one")], sign)

    def knows_only_the_old(size: int, root: bytes, origin: str | None) -> str:
        if origin == NEXT:
            raise LogUnavailableError(Reason.LOG_ENDED, "no key of that name")
        return sign(size, root, origin)

    with pytest.raises(LogUnavailableError):
        store.freeze(freeze_of(), knows_only_the_old)
    assert [(head.size, head.ended) for head in store.shards()] == [(1, False)]
    store.commit([Entry(b"two")], sign)
    assert store.leaves(0, 10) == [b"one", b"two"]


# -- SQLite's own: whatever process writes to the file --------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE shards SET size = size + 1 WHERE number = 0",
        "UPDATE shards SET root = zeroblob(32) WHERE number = 0",
        "UPDATE shards SET ended = 0 WHERE number = 0",
        "UPDATE shards SET origin = 'log.test/0' WHERE number = 0",
        "DELETE FROM shards WHERE number = 0",
        "DELETE FROM shards WHERE number = 1",
        "INSERT INTO shards VALUES (2, 'log.test/3', 4, 1, zeroblob(32), 'note', 0)",
        "INSERT INTO shards VALUES (2, 'log.test/1', 4, 1, zeroblob(32), 'note', 1)",
        "INSERT INTO shards VALUES (2, 'log.test/3', 2, 1, zeroblob(32), 'note', 1)",
    ],
)
def test_database_itself_keeps_an_ended_log_as_it_is(tmp_path: Path, sql: str) -> None:
    store = SqliteStore(tmp_path / "store.db")
    before = frozen(store)
    stranger = sqlite3.connect(tmp_path / "store.db")
    with pytest.raises(sqlite3.IntegrityError), stranger:
        stranger.execute(sql)
    stranger.close()
    assert tuple(store.shards()) == before
    store.close()


def test_ended_log_may_get_cosignatures_on_its_last_checkpoint(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    final, _ = frozen(store)
    with sqlite3.connect(tmp_path / "store.db") as other:
        other.execute("UPDATE shards SET checkpoint = checkpoint || 'cosigned' WHERE number = 0")
    other.close()
    assert store.shards()[0] == replace(final, checkpoint=final.checkpoint + "cosigned")
    store.close()


def test_store_rolled_back_behind_the_end_of_its_log_is_refused(tmp_path: Path) -> None:
    """Whoever runs the gateway puts the file of before the freeze in place, to go on with the old log."""
    store = SqliteStore(tmp_path / "store.db")
    store.commit([Entry(b"one"), Entry(b"two")], sign)
    with sqlite3.connect(tmp_path / "before.db") as copy:
        store._reader.backup(copy)
    store.freeze(freeze_of(), sign)
    store.commit([Entry(b"more")], sign)
    copy.backup(store._writer)
    copy.close()
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            store.commit([Entry(b"three")], sign)
    store.close()


OLD_BINARY = ("SELECT size, root FROM tree", "UPDATE tree SET size = 3, root = zeroblob(32) WHERE size = 2")


def before_shards(path: Path) -> sqlite3.Connection:
    """A store as the version before made it, with two leaves, and that version's open connection to it."""
    connection = sqlite3.connect(path, isolation_level=None)
    sqlite_schema.migrations.apply(Database(connection), stop_before="create_shards")
    leaves = [b"one", b"two"]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    for index, leaf in enumerate(leaves):
        connection.execute("INSERT INTO leaves VALUES (?, ?)", (index, leaf))
        connection.execute("INSERT INTO nodes VALUES (0, ?, ?)", (index, hashes[index]))
    root = root_of(hashes)
    connection.execute("INSERT INTO nodes VALUES (1, 0, ?)", (root,))
    connection.execute("INSERT INTO tree VALUES (1, 2, ?, ?)", (root, sign(2, root)))
    connection.execute("INSERT INTO statistics VALUES ('2027-06-01', ?, ?, ?, 1, 1, '', 0, 7)", COUNTED[:3])
    connection.execute("INSERT INTO statistics_days VALUES ('2027-06-01', 2)")
    return connection


def test_store_of_the_version_before_becomes_the_first_log_and_grows_on(tmp_path: Path) -> None:
    before_shards(tmp_path / "store.db").close()
    store = SqliteStore(tmp_path / "store.db")
    root = root_of([leaf_hash(b"one"), leaf_hash(b"two")])
    assert list(store.shards()) == [Head(2, root, sign(2, root), STORE_ORIGIN)]
    page = store.statistics("2027-06-01", None, 10)
    assert (page.rows, page.tree_size, page.changed_size) == ([(COUNTED, 7)], 2, 2)
    final, _ = frozen(store, b"three")
    assert final.root == root_of([leaf_hash(leaf) for leaf in (b"one", b"two", b"three", b"end of log.test/1")])
    store.close()


@pytest.mark.parametrize("sql", OLD_BINARY)
def test_running_process_of_the_version_before_finds_no_tree_to_append_to(tmp_path: Path, sql: str) -> None:
    old = before_shards(tmp_path / "store.db")
    assert old.execute(OLD_BINARY[0]).fetchone()[0] == 2  # it has the statement prepared
    store = SqliteStore(tmp_path / "store.db")
    with pytest.raises(sqlite3.OperationalError):
        old.execute(sql)
    old.close()
    store.close()


def test_refusals_of_the_store_are_domain_errors(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(HeyanError):
        store.node(0, 0, 5)
