"""Backups: of one moment, checked, signed for; what is interrupted is none, what is changed is found."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.backups.making import file_row
from gateway.backups.manifest import CHECKPOINT_FILE, MANIFEST_FILE, STORE_FILE, Manifest, read_manifest
from gateway.protocol.errors import HeyanError, LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, Freeze
from gateway.stores.sqlite import SqliteStore
from gateway.stores.sqlite_copy import check_copy, copy_store
from tests import federation as fed
from tests.backups.keepers import Keeper, quiet
from tests.fakes_sqlite import Dead

STEPS = ("copy", "check", "checkpoint", "hash", "manifest", "rename", "sync")


@pytest.fixture
def keeper(tmp_path: Path, federation: fed.Federation) -> Iterator[Keeper]:
    made = Keeper(federation, tmp_path / "gateway")
    yield made
    made.store.close()


def opened(out: Path, keeper: Keeper) -> Manifest:
    keys = keeper.federation.registry.checkpoint_keys(fed.GATEWAY, 0.0)
    return read_manifest((out / MANIFEST_FILE).read_bytes(), fed.GATEWAY, keys)


def test_backup_holds_the_store_and_no_key_and_says_what_it_is(keeper: Keeper, tmp_path: Path) -> None:
    head = keeper.grow(300)
    manifest = keeper.backup(tmp_path / "backup")
    assert opened(tmp_path / "backup", keeper) == manifest
    growing = manifest.growing
    assert (growing.origin, growing.size, bytes.fromhex(growing.root)) == (head.origin, head.size, head.root)
    assert growing.checkpoint == head.checkpoint == (tmp_path / "backup" / CHECKPOINT_FILE).read_text()
    files = {path.name: path for path in (tmp_path / "backup").iterdir()}
    assert set(files) == {STORE_FILE, CHECKPOINT_FILE, MANIFEST_FILE}
    assert manifest.files == (file_row(files[STORE_FILE]), file_row(files[CHECKPOINT_FILE]))
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    copy = SqliteStore(files[STORE_FILE])
    assert copy.head() == head
    assert copy.leaves(0, 1000) == keeper.store.leaves(0, 1000)
    copy.close()
    assert all(keeper.seed not in path.read_bytes() for path in files.values())


def test_backup_of_a_store_that_is_written_to_is_of_one_moment(keeper: Keeper, tmp_path: Path) -> None:
    keeper.grow(2_000)
    over, sizes = threading.Event(), []

    def write() -> None:
        while not over.is_set():
            sizes.append(keeper.grow(1).size)

    def report(step: str, _done: int, _total: int) -> None:
        if step == "copy" and not writer.is_alive() and not over.is_set():
            writer.start()

    writer = threading.Thread(target=write)
    try:
        for number in range(3):
            manifest = keeper.maker.make(tmp_path / f"backup-{number}", report, every_leaf=True)
            head, *_ = check_copy(tmp_path / f"backup-{number}" / STORE_FILE, lambda *_: None, every_leaf=True)
            assert head.size == manifest.growing.size >= 2_000
    finally:
        over.set()
        writer.join()
    assert sizes == list(range(2_001, 2_001 + len(sizes))), "commits went on meanwhile"
    assert len(sizes) > 3


def test_commits_go_on_in_the_middle_of_a_copy_and_are_not_in_it(keeper: Keeper, tmp_path: Path) -> None:
    head = keeper.grow(3_000)
    steps: list[int] = []

    def progress(done: int, total: int) -> None:
        steps.append(total - done)
        keeper.grow(50)

    copy_store(keeper.path, tmp_path / "copy.db", progress)
    assert steps[-1] == 0
    assert check_copy(tmp_path / "copy.db", lambda *_: None, every_leaf=True) == [head]
    assert keeper.size == 3_000 + 50 * len(steps)


def test_backup_has_every_log_of_the_store(keeper: Keeper, tmp_path: Path) -> None:
    keeper.grow(7)
    keeper.federation = keeper.federation.changed(lambda document: document)
    keeper.store.freeze(Freeze(fed.LOG_ORIGIN, b"end", "heyan.test/next", lambda _: b"begin"), keeper.sign)
    keeper.store.commit([Entry(b"more")], keeper.sign)
    manifest = keeper.backup(tmp_path / "backup")
    assert [(row.number, row.origin, row.first, row.size) for row in manifest.shards] == [
        (0, fed.LOG_ORIGIN, 0, 8),
        (1, "heyan.test/next", 8, 2),
    ]


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_backup_writes_over_nothing(keeper: Keeper, tmp_path: Path, there: str) -> None:
    keeper.grow(1)
    out = tmp_path / "backup"
    {"folder": out.mkdir, "file": out.touch, "link": lambda: out.symlink_to("nowhere")}[there]()
    with pytest.raises(MalformedError) as refused:
        keeper.backup(out)
    assert refused.value.reason is Reason.CONFIGURATION_INVALID


def test_backup_of_no_store_makes_none(keeper: Keeper, tmp_path: Path) -> None:
    keeper.store.close()
    keeper.path.unlink()
    with pytest.raises(MalformedError):
        keeper.backup(tmp_path / "backup")
    assert not keeper.path.exists()


@pytest.mark.parametrize("step", STEPS)
def test_backup_that_is_killed_at_any_step_is_none_or_whole_and_the_next_one_is_made(
    keeper: Keeper, tmp_path: Path, step: str
) -> None:
    keeper.grow(30)

    def die(at: str, _done: int, _total: int) -> None:
        if at == step:
            raise Dead

    with pytest.raises(Dead):
        keeper.maker.make(tmp_path / "backup", die, every_leaf=True)
    assert (tmp_path / "backup").exists() == (step == "sync")
    if step == "sync":
        assert opened(tmp_path / "backup", keeper).growing.size == 30
    keeper.grow(5)
    manifest = keeper.backup(tmp_path / ("next" if step == "sync" else "backup"))
    assert manifest.growing.size == 35
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("step", STEPS[:-1])
def test_backup_that_fails_at_any_step_leaves_nothing(keeper: Keeper, tmp_path: Path, step: str) -> None:
    keeper.grow(30)

    def fail(at: str, _done: int, _total: int) -> None:
        if at == step:
            raise OSError(28, "planted")

    with pytest.raises((OSError, HeyanError)):
        keeper.maker.make(tmp_path / "backup", fail, every_leaf=True)
    assert {path.name for path in tmp_path.iterdir()} == {"gateway"}


def test_two_backups_at_once_to_one_place_are_one(keeper: Keeper, tmp_path: Path) -> None:
    keeper.grow(3)
    others: list[HeyanError] = []

    def report(step: str, _done: int, _total: int) -> None:
        if step == "hash":
            with pytest.raises(LogUnavailableError) as refused:
                keeper.backup(tmp_path / "backup")
            others.append(refused.value)

    assert keeper.maker.make(tmp_path / "backup", report, every_leaf=True).growing.size == 3
    assert len(others) == 1


Damage = Callable[[sqlite3.Connection], object]
DAMAGES: dict[str, Damage] = {
    "a leaf changed": lambda db: db.execute("UPDATE leaves SET data = ? WHERE leaf_index = 17", (b"another",)),
    "two leaves swapped": lambda db: db.executescript(
        "UPDATE leaves SET leaf_index = -1 WHERE leaf_index = 3; UPDATE leaves SET leaf_index = 3 WHERE leaf_index = 4;"
        "UPDATE leaves SET leaf_index = 4 WHERE leaf_index = -1"
    ),
    "an inner node changed": lambda db: db.execute(
        "UPDATE nodes SET hash = ? WHERE level = 1 AND node_index = 2", (bytes(32),)
    ),
    "a node lost": lambda db: db.execute("DELETE FROM nodes WHERE level = 0 AND node_index = 1"),
}
SHALLOW_DAMAGES: dict[str, Damage] = {
    "the last leaf dropped": lambda db: db.execute("DELETE FROM leaves WHERE leaf_index = 299"),
    "a leaf dropped": lambda db: db.execute("DELETE FROM leaves WHERE leaf_index = 5"),
    "a leaf more": lambda db: db.execute("INSERT INTO leaves VALUES (300, ?)", (b"more",)),
    "the root changed": lambda db: db.execute("UPDATE shards SET root = ?", (bytes(32),)),
    "the size changed": lambda db: db.execute("UPDATE shards SET size = 256"),
    "the frontier changed": lambda db: db.execute("UPDATE nodes SET hash = ? WHERE level = 8", (bytes(32),)),
    "the frontier lost": lambda db: db.execute("DELETE FROM nodes WHERE level = 8"),
    "the checkpoint of another tree": lambda db: db.execute(
        "UPDATE shards SET checkpoint = replace(checkpoint, ?, ?)", ("\n300\n", "\n299\n")
    ),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *SHALLOW_DAMAGES])
def test_backup_of_a_store_that_does_not_fit_its_log_is_refused(keeper: Keeper, tmp_path: Path, damage: str) -> None:
    keeper.grow(300)
    {**DAMAGES, **SHALLOW_DAMAGES}[damage](keeper.store._writer)
    with pytest.raises(HeyanError) as refused:
        keeper.backup(tmp_path / "backup", every_leaf=damage in DAMAGES)
    assert refused.value.reason is Reason.BACKUP_INVALID
    assert not (tmp_path / "backup").exists()


def test_backup_of_a_log_that_nobody_known_signed_is_refused(keeper: Keeper, tmp_path: Path) -> None:
    keeper.store.commit([Entry(b"x")], lambda size, root, _: f"{fed.LOG_ORIGIN}\n{size}\n{root.hex()}\n")
    with pytest.raises(HeyanError) as refused:
        keeper.backup(tmp_path / "backup")
    assert refused.value.reason is Reason.BACKUP_INVALID


def test_every_flipped_byte_of_a_manifest_is_found(keeper: Keeper, tmp_path: Path) -> None:
    keeper.grow(2)
    keeper.backup(tmp_path / "backup")
    data = (tmp_path / "backup" / MANIFEST_FILE).read_bytes()
    for position in range(0, len(data), 3):
        flipped = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(HeyanError) as refused:
            read_manifest(flipped, fed.GATEWAY, keeper.federation.registry.checkpoint_keys(fed.GATEWAY, 0.0))
        assert refused.value.reason is Reason.BACKUP_INVALID


def test_manifest_of_another_gateway_or_another_key_is_refused(keeper: Keeper, tmp_path: Path) -> None:
    keeper.grow(2)
    keeper.backup(tmp_path / "backup")
    data, registry = (tmp_path / "backup" / MANIFEST_FILE).read_bytes(), keeper.federation.registry
    for gateway, keys in (
        (fed.OTHER_GATEWAY, registry.checkpoint_keys(fed.GATEWAY, 0.0)),
        (fed.GATEWAY, registry.checkpoint_keys(fed.OTHER_GATEWAY, 0.0)),
    ):
        with pytest.raises(HeyanError) as refused:
            read_manifest(data, gateway, keys)
        assert refused.value.reason is Reason.BACKUP_INVALID


def test_checkpoint_is_no_manifest(keeper: Keeper) -> None:
    with pytest.raises(HeyanError) as refused:
        read_manifest(
            keeper.grow(1).checkpoint.encode(),
            fed.GATEWAY,
            keeper.federation.registry.checkpoint_keys(fed.GATEWAY, 0.0),
        )
    assert refused.value.reason is Reason.BACKUP_INVALID


def test_backup_leaves_the_store_as_it_is(keeper: Keeper, tmp_path: Path) -> None:
    before = keeper.grow(4)
    keeper.store.close()
    keeper.maker.make(tmp_path / "backup", quiet, every_leaf=False)
    assert {path.name for path in keeper.folder.iterdir()} == {
        "store.db",
        "store.db.lock",
        "store.db.next",
        "store.db.turn",
    }
    keeper.store = SqliteStore(keeper.path)
    assert keeper.head == before
