"""A store that was rolled back is found by marks kept elsewhere, before anything is appended to it."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.log_marks import SEEN_FILE, Mark, SeenHead, own_marks, require_reached
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, Freeze, Head
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_files import StoreLock, held
from tests.static_logs import ORIGIN, note_of, signing

NEXT = "log.test/next"


def grow(store: SqliteStore, *leaves: bytes) -> Head:
    return store.commit([Entry(leaf) for leaf in leaves], signing)[-1].head


def seen_by(head: Head) -> Mark:
    return Mark(Checkpoint(head.origin, head.size, head.root), head.checkpoint, "somebody")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "store.db")
    yield opened
    opened.close()


def copied(store: SqliteStore, to: Path) -> SqliteStore:
    """Another store with what this one has now."""
    store._writer.execute("VACUUM INTO ?", (str(to),))
    return SqliteStore(to)


def test_store_that_grew_past_every_mark_is_taken(store: SqliteStore) -> None:
    marks = [seen_by(grow(store, b"%d" % number)) for number in range(9)]
    require_reached(store, marks)
    require_reached(store, [])


def test_store_rolled_back_behind_a_mark_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    grow(store, b"one")
    older = copied(store, tmp_path / "older.db")
    mark = seen_by(grow(store, b"two"))
    with pytest.raises(ForgedError) as refused:
        require_reached(older, [mark])
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert "had 2 leaves by somebody, the store has 1" in refused.value.detail
    older.close()


def test_store_rolled_back_and_grown_anew_is_a_fork(store: SqliteStore, tmp_path: Path) -> None:
    grow(store, b"one")
    older = copied(store, tmp_path / "older.db")
    mark = seen_by(grow(store, b"two"))
    grow(older, b"two, told anew", b"three")
    with pytest.raises(ForgedError) as refused:
        require_reached(older, [mark])
    assert refused.value.reason is Reason.LOG_FORKED
    older.close()


def test_empty_store_in_the_place_of_a_lost_one_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    mark = seen_by(grow(store, b"one"))
    empty = SqliteStore(tmp_path / "empty.db")
    with pytest.raises(ForgedError) as refused:
        require_reached(empty, [mark])
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    empty.close()


def test_store_rolled_back_behind_the_beginning_of_its_next_log_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    grow(store, b"one")
    older = copied(store, tmp_path / "older.db")
    final, begun = store.freeze(Freeze(ORIGIN, b"end", NEXT, lambda _: b"begin"), signing)
    require_reached(store, [seen_by(final), seen_by(begun)])
    with pytest.raises(ForgedError) as refused:
        require_reached(older, [seen_by(begun)])
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    older.close()


def test_own_mark_rises_with_the_store_and_refuses_an_older_one(store: SqliteStore, tmp_path: Path) -> None:
    own, folder = SeenHead(store, tmp_path / "own"), tmp_path / "own"
    own.require_reached()
    own.keep()
    assert not (folder / SEEN_FILE).exists()
    grow(store, b"one")
    older = copied(store, tmp_path / "older.db")
    newest = grow(store, b"two")
    own.keep()
    assert (folder / SEEN_FILE).read_text() == newest.checkpoint
    assert stat.S_IMODE((folder / SEEN_FILE).stat().st_mode) == 0o600
    SeenHead(store, folder).require_reached()
    with pytest.raises(ForgedError):
        SeenHead(older, folder).require_reached()
    older.close()


def test_refused_store_does_not_lower_the_mark_that_refuses_it(store: SqliteStore, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    own = SeenHead(store, folder)
    own.require_reached()
    grow(store, b"one")
    older = copied(store, tmp_path / "older.db")
    newest = grow(store, b"two")
    own.keep()
    refused = SeenHead(older, folder)
    with pytest.raises(ForgedError):
        refused.require_reached()
    refused.keep()  # as the end of the process does
    assert (folder / SEEN_FILE).read_text() == newest.checkpoint
    older.close()


@pytest.mark.parametrize("damaged", [b"", b"nothing", note_of([b"one"])[:40]])
def test_mark_that_cannot_be_read_is_named_and_not_passed_over(
    store: SqliteStore, tmp_path: Path, damaged: bytes
) -> None:
    (tmp_path / SEEN_FILE).write_bytes(damaged)
    with pytest.raises(MalformedError) as refused:
        SeenHead(store, tmp_path).require_reached()
    assert refused.value.reason is Reason.CONFIGURATION_INVALID
    assert SEEN_FILE in refused.value.detail


def test_marks_of_a_gateway_are_its_own_and_those_of_every_log_that_it_published(
    store: SqliteStore, tmp_path: Path
) -> None:
    assert own_marks(tmp_path, None) == own_marks(tmp_path, tmp_path / "published") == []
    first = grow(store, b"one")
    older = copied(store, tmp_path / "older.db")
    final, begun = store.freeze(Freeze(ORIGIN, b"end", NEXT, lambda _: b"begin"), signing)
    for number, head in enumerate((final, begun)):
        (tmp_path / "published" / str(number)).mkdir(parents=True)
        (tmp_path / "published" / str(number) / "checkpoint").write_text(head.checkpoint)
    (tmp_path / SEEN_FILE).write_text(first.checkpoint)
    marks = own_marks(tmp_path, tmp_path / "published")
    assert [(mark.checkpoint.origin, mark.checkpoint.size) for mark in marks] == [(ORIGIN, 1), (ORIGIN, 2), (NEXT, 1)]
    require_reached(store, marks)
    with pytest.raises(ForgedError):
        require_reached(older, marks)
    older.close()


@pytest.mark.parametrize("replaced", ["store.db", "store.db-wal"])
def test_store_whose_file_is_replaced_under_it_records_nothing_more(
    store: SqliteStore, tmp_path: Path, replaced: str
) -> None:
    """SQLite would go on writing to the file that was there."""
    grow(store, b"one")
    shutil.copy(tmp_path / replaced, tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / replaced)
    for _ in range(2):
        with pytest.raises(LogUnavailableError) as refused:
            grow(store, b"two")
        assert refused.value.reason is Reason.LOG_ROLLED_BACK
    with pytest.raises(LogUnavailableError):
        store.probe()


def test_store_whose_file_is_deleted_under_it_records_nothing_more(store: SqliteStore, tmp_path: Path) -> None:
    grow(store, b"one")
    (tmp_path / "store.db").unlink()
    with pytest.raises(LogUnavailableError):
        grow(store, b"two")


def test_store_in_use_is_not_restored_and_one_being_restored_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first, replica = SqliteStore(path), SqliteStore(path)
    with pytest.raises(LogUnavailableError) as refused:
        StoreLock(path, alone=True)
    assert "stop the gateway" in refused.value.detail
    first.close()
    replica.close()
    with held(path, alone=True):
        with pytest.raises(LogUnavailableError) as refused:
            SqliteStore(path)
        assert "being restored" in refused.value.detail
        with pytest.raises(LogUnavailableError):
            StoreLock(path, alone=True)
    SqliteStore(path).close()
