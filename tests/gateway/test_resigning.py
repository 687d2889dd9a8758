"""A checkpoint that is signed again: the same tree, durable, whatever fails or dies, and no other writer's lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.reasons import Reason
from gateway.stores.port import Store
from gateway.stores.records import Entry, Head
from gateway.stores.sqlite import SqliteStore
from tests.fakes_sqlite import Dead, How, TrippedConnection, When
from tests.gateway.conftest import OpenStore

LEAVES = (b"one", b"two", b"three")
ROOT = root_of([leaf_hash(leaf) for leaf in LEAVES])


def signed(key: str) -> Callable[..., str]:
    """Signs with a key: what it says is of this log, size and root."""
    return lambda size, root, *_origin: note_of(size, root, key)


def note_of(size: int, root: bytes, key: str) -> str:
    return f"log.test/gateway\n{size}\n{root.hex()} by {key}\n"


def filled(store: Store) -> Store:
    store.commit([Entry(leaf) for leaf in LEAVES], signed("old"))
    return store


def head_of(store: Store) -> Head:
    head = store.head()
    assert head is not None
    return head


def test_same_tree_is_signed_again_and_kept(open_store: OpenStore) -> None:
    store = filled(open_store())
    head = store.resign(signed("new"))
    assert (head.size, head.root, head.checkpoint) == (3, ROOT, note_of(3, ROOT, "new"))
    assert head_of(store) == head_of(open_store()) == head
    assert store.leaves(0, 10) == list(LEAVES)
    store.commit([Entry(b"four")], signed("new"))
    assert head_of(store).root == root_of([leaf_hash(leaf) for leaf in (*LEAVES, b"four")])


def test_empty_log_is_not_signed(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(LogUnavailableError):
        store.resign(signed("new"))
    assert store.head() is None


def test_signer_that_fails_leaves_the_checkpoint_before(open_store: OpenStore) -> None:
    store = filled(open_store())

    def fail(*_tree: object) -> str:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "planted")

    before = head_of(store)
    with pytest.raises(LogUnavailableError):
        store.resign(fail)
    assert head_of(store) == before
    assert store.resign(signed("new")).root == ROOT


def test_tree_of_another_writer_is_signed_and_not_put_back(open_store: OpenStore) -> None:
    first, second = filled(open_store()), open_store()
    second.commit([Entry(b"four")], signed("old"))
    head = first.resign(signed("new"))
    assert head.size == 4
    assert head == head_of(second)
    second.commit([Entry(b"five")], signed("new"))
    assert head_of(first).size == 5


class Restarted:
    """One store file, opened by one process after another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.open()
        filled(self.store)
        self.before = head_of(self.store)

    def open(self) -> None:
        self.store = SqliteStore(self._path)
        self.writer = TrippedConnection(self.store._writer)
        self.store._writer = self.writer  # type: ignore[assignment]

    def die(self) -> None:
        self.close()
        self.open()

    def close(self) -> None:
        self.writer.abandon()
        self.store._reader.close()

    def require_tree(self, key: str) -> None:
        head = head_of(self.store)
        assert (head.size, head.root, head.checkpoint) == (3, ROOT, note_of(3, ROOT, key))
        assert self.store.leaves(0, 10) == list(LEAVES)


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("when", When)
def test_any_step_that_fails_or_dies_leaves_one_tree_under_one_of_the_two_signatures(
    tmp_path: Path, when: When, how: How
) -> None:
    for step, words in enumerate(steps(tmp_path / "dry.db")):
        restarted = Restarted(tmp_path / f"{step}.db")
        restarted.writer.arm(step, when, how)
        with pytest.raises(Dead if how is How.DIES else LogUnavailableError):
            restarted.store.resign(signed("new"))
        if how is How.DIES:
            restarted.die()
        restarted.require_tree("new" if words == "COMMIT" and when is When.AFTER else "old")
        restarted.store.resign(signed("newest"))
        restarted.require_tree("newest")
        restarted.close()


def steps(path: Path) -> list[str]:
    """The statements of it, by their first words."""
    restarted = Restarted(path)
    restarted.writer.arm(None)
    restarted.store.resign(signed("new"))
    found = list(restarted.writer.steps)
    restarted.close()
    assert [step.split()[0] for step in found] == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]  # no nodes to insert
    return found
