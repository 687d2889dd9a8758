"""Publishing: what is shown holds, at whatever step a process ends or fails, and a store that went back is found."""

import errno
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, LogUnavailableError, MalformedError
from gateway.protocol.note import SignerKey
from gateway.protocol.reasons import Reason
from gateway.static_log.folder import PublishedFolder
from gateway.static_log.publishing import Publisher
from gateway.stores.records import Head
from gateway.stores.sqlite import SqliteStore
from tests.static_log.publications import BadDisk, Killed, QuickDisk, World, append, published_leaves, sign_as
from tests.static_logs import ORIGIN, SIGNER, leaves, note_of, write_log

DATA = leaves(70_000 // 50)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


def grow(world, size):
    head = world.store.head()
    append(world.store, DATA[head.size if head else 0 : size])


def test_nothing_is_published_of_an_empty_store(world):
    assert world.start().publish() is False
    assert not world.folder.exists()


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 1_300])
def test_what_is_published_is_the_log_by_definition(world, tmp_path, size):
    grow(world, size)
    assert world.start().publish() is True
    reference = write_log(tmp_path / "reference", DATA[:size])
    expected = {str(path.relative_to(reference)): path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    expected[f"checkpoints/{size}"] = note_of(DATA[:size])
    assert world.files() == expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6, unique=True))
async def test_every_way_of_growing_is_readable_at_every_size_that_was_shown(tmp_path_factory, sizes):
    world = World(tmp_path_factory.mktemp("world"))
    publisher = world.start()
    for size in sorted(sizes):
        grow(world, size)
        assert publisher.publish() is True
        assert await published_leaves(world.folder) == DATA[:size]
    world.store.close()


def test_news_is_published_once(world):
    grow(world, 5)
    publisher = world.start()
    assert [publisher.publish(), publisher.publish()] == [True, False]
    assert world.start().publish() is False


def test_partial_tiles_go_when_the_full_one_is_there_and_those_of_the_place_that_grows_stay(world):
    publisher = world.start()
    for size in (3, 200, 260, 300):
        grow(world, size)
        publisher.publish()
    names = set(world.files())
    assert {"tile/0/000", "tile/entries/000", "tile/1/000.p/1"} <= names
    assert {"tile/0/001.p/4", "tile/0/001.p/44", "tile/entries/001.p/4", "tile/entries/001.p/44"} <= names
    assert not any("000.p" in name and "tile/1" not in name for name in names)
    assert "tile/0/000.p" not in world.folders()
    assert "outgrown" not in names


async def test_a_start_takes_up_what_was_published_and_writes_only_what_is_new(world):
    grow(world, 1_280)
    world.start().publish()
    grow(world, 1_281)
    disk = BadDisk()
    assert world.start(disk).publish() is True
    assert await published_leaves(world.folder) == DATA[:1_281]
    assert disk.steps < 40  # a leaf more, of however many


def test_a_start_reads_no_more_of_a_larger_log(world):
    class Counted:
        def __init__(self, store):
            self.store, self.read = store, 0

        def head(self):
            return self.store.head()

        def node(self, level, index):
            self.read += 1
            return self.store.node(level, index)

        def nodes(self, level, start, count):
            self.read += count
            return self.store.nodes(level, start, count)

        def leaves(self, start, count):
            self.read += count
            return self.store.leaves(start, count)

    grow(world, 1_300)
    world.start().publish()
    counted = Counted(world.store)
    publisher = world.start(store=counted)
    assert publisher.size == 1_300
    assert counted.read == (1_300).bit_count()


def test_catching_up_holds_one_tile_at_a_time(world):
    class Narrow:
        def __init__(self, store):
            self.head, self.node = store.head, store.node
            self.store = store

        def nodes(self, level, start, count):
            assert count <= 256
            return self.store.nodes(level, start, count)

        def leaves(self, start, count):
            assert count <= 256
            return self.store.leaves(start, count)

    grow(world, 1_300)
    assert world.start(store=Narrow(world.store)).publish()


async def test_an_interrupted_catching_up_shows_the_old_checkpoint_and_is_taken_up(world):
    grow(world, 10)
    publisher = world.start()
    publisher.publish()
    grow(world, 1_300)
    looks = iter([False, False, False, True])
    assert publisher.publish(lambda: next(looks)) is False
    assert await published_leaves(world.folder) == DATA[:10]
    assert publisher.publish() is True
    assert await published_leaves(world.folder) == DATA[:1_300]


# -- ended and failing ------------------------------------------------------------------------------------------


def heads_of(world, sizes):
    """The head at each of these sizes, of one store, so that many folders can be published from it."""
    heads = []
    for size in sizes:
        grow(world, size)
        heads.append(world.store.head())
    return heads


def publish_all(world, folder, heads, disk=None):
    """Publish each head by a process of its own, the last one on a disk."""
    world.folder = folder
    for head in heads[:-1]:
        world.start(QuickDisk(), head=lambda head=head: head).publish()
    return world.start(disk or QuickDisk(), head=lambda: heads[-1])


@pytest.mark.parametrize("sizes", [(1,), (250, 600), (256, 257), (255, 256)])
@pytest.mark.parametrize("after", [False, True])
async def test_a_process_killed_at_any_step_leaves_a_log_that_holds_and_the_next_mends_it(
    world, tmp_path, sizes, after
):
    heads = heads_of(world, sizes)
    disk = BadDisk()
    assert publish_all(world, tmp_path / "undisturbed", heads, disk).publish()
    expected = world.files()
    assert disk.steps > 10
    for step in range(disk.steps):
        publisher = publish_all(world, tmp_path / f"killed-{step}", heads, BadDisk(step, after=after))
        with pytest.raises(Killed):
            publisher.publish()
        if (world.folder / "checkpoint").exists():
            assert await published_leaves(world.folder) in [DATA[:size] for size in sizes]
        else:
            assert len(sizes) == 1
        world.start(QuickDisk(), head=lambda: heads[-1]).publish()
        assert {**world.files(), **kept(expected)} == expected, step


def kept(files):
    """The checkpoint of the hour may be missing after a kill between it and what it is a copy of."""
    return {name: data for name, data in files.items() if name.startswith("checkpoints/")}


@pytest.mark.parametrize("after", [False, True])
async def test_each_step_fails_once_and_the_same_process_goes_on(world, tmp_path, after):
    heads = heads_of(world, (250, 600, 601))
    disk = BadDisk()
    assert publish_all(world, tmp_path / "undisturbed", heads[:2], disk).publish()
    for step in range(disk.steps):
        failing = BadDisk(step, after=after, failure=OSError(errno.EIO, "failed"))
        publisher = publish_all(world, tmp_path / f"failed-{step}", heads[:2], failing)
        with pytest.raises(OSError, match="failed"):
            publisher.publish()
        assert len(await published_leaves(world.folder)) in (250, 600)
        publisher.publish()
        assert await published_leaves(world.folder) == DATA[:600]
        publisher._head = lambda: heads[2]
        assert publisher.publish()
        assert await published_leaves(world.folder) == DATA[:601]


def test_a_power_cut_finds_all_durable_that_the_shown_checkpoint_stands_for(world):
    class Careful(QuickDisk):
        def __init__(self):
            super().__init__()
            self.unsynced, self.shown = set(), []

        def make(self, folder):
            super().make(folder)
            self.unsynced.add(folder.parent)

        def rename(self, source, target):
            if target.name == "checkpoint":
                self.shown.append(set(self.unsynced))
            super().rename(source, target)
            self.unsynced.add(target.parent)

        def sync(self, folder):
            self.unsynced.discard(folder)

    disk = Careful()
    publisher = world.start(disk)
    for size in (5, 255, 256, 300, 1_300):
        grow(world, size)
        publisher.publish()
    assert disk.shown == [set()] * 5


async def test_a_full_disk_leaves_what_was_published_unharmed(world):
    class Full(BadDisk):
        full = True

        def write(self, path, data):
            if self.full:
                path.write_bytes(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(path, data)

    grow(world, 250)
    world.start().publish()
    grow(world, 700)
    disk = Full()
    publisher = world.start(disk)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            publisher.publish()
    assert await published_leaves(world.folder) == DATA[:250]
    disk.full = False
    assert publisher.publish() is True
    assert await published_leaves(world.folder) == DATA[:700]


async def test_a_file_left_by_a_history_that_nobody_was_shown_is_written_over(world):
    grow(world, 10)
    world.start().publish()
    grow(world, 600)
    stale = world.folder / "tile/0/001"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_bytes(b"\x00" * 8192)
    (world.folder / "tile/entries/000").write_bytes(b"half")
    world.start().publish()
    assert await published_leaves(world.folder) == DATA[:600]


# -- rolled back and forked -------------------------------------------------------------------------------------


def other_store(tmp_path, data):
    store = SqliteStore(tmp_path / "other.db")
    append(store, data)
    return store


@pytest.mark.parametrize("size", [0, 1, 299])
def test_a_store_smaller_than_what_was_published_is_called_rolled_back(world, tmp_path, size):
    grow(world, 300)
    world.start().publish()
    before = world.files()
    store = other_store(tmp_path, DATA[:size])
    with pytest.raises(ForgedError) as caught:
        world.start(store=store, head=store.head)
    assert caught.value.reason is Reason.LOG_ROLLED_BACK
    assert world.files() == before
    store.close()


@pytest.mark.parametrize("size", [300, 301, 900])
def test_a_store_of_another_history_is_called_forked(world, tmp_path, size):
    grow(world, 300)
    world.start().publish()
    before = world.files()
    store = other_store(tmp_path, [b"another first leaf", *DATA[1:size]])
    with pytest.raises(ForgedError) as caught:
        world.start(store=store, head=store.head)
    assert caught.value.reason is Reason.LOG_FORKED
    assert world.files() == before
    store.close()


def test_a_store_that_is_rolled_back_while_it_is_published_is_found(world, tmp_path):
    grow(world, 300)
    publisher = world.start()
    publisher.publish()
    publisher._store = store = other_store(tmp_path, DATA[:299])
    publisher._head = store.head
    with pytest.raises(ForgedError) as caught:
        publisher.publish()
    assert caught.value.reason is Reason.LOG_ROLLED_BACK
    store.close()


def test_a_folder_of_another_log_is_refused(world, tmp_path):
    other = SignerKey.from_seed("another.test/log", bytes(32))
    write_log(tmp_path / "elsewhere", DATA[:5])
    (tmp_path / "elsewhere/checkpoint").write_bytes(note_of(DATA[:5], other))
    world.folder.parent.mkdir(parents=True)
    shutil.copytree(tmp_path / "elsewhere", world.folder)
    grow(world, 10)
    with pytest.raises(MalformedError, match=r"another\.test/log") as caught:
        world.start()
    assert caught.value.reason is Reason.CONFIGURATION_INVALID


@pytest.mark.parametrize("note", [b"", b"nonsense", b"\x00" * 200_000, f"{ORIGIN}\n5\n".encode()])
def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_none(world, note):
    world.folder.mkdir(parents=True)
    (world.folder / "checkpoint").write_bytes(note)
    grow(world, 10)
    with pytest.raises(MalformedError, match="is no checkpoint"):
        world.start()


def test_a_folder_at_an_earlier_size_is_gone_on_with(world):
    grow(world, 100)
    world.start().publish()
    grow(world, 1_000)
    publisher = world.start()
    assert publisher.size == 100
    assert publisher.publish()
    assert publisher.size == 1_000


def test_a_store_with_a_changed_leaf_is_not_published(world):
    grow(world, 300)
    world.store._writer.execute("UPDATE leaves SET data = x'00' WHERE leaf_index = 77")
    with pytest.raises(ForgedError, match="leaf 77") as caught:
        world.start().publish()
    assert caught.value.reason is Reason.TILE_INVALID
    assert not (world.folder / "checkpoint").exists()


@pytest.mark.parametrize("table", ["leaves WHERE leaf_index = 9", "nodes WHERE level = 0 AND node_index = 9"])
def test_a_store_that_lost_a_row_is_not_published(world, table):
    grow(world, 300)
    world.store._writer.execute(f"DELETE FROM {table}")  # noqa: S608 - as written above
    with pytest.raises((LogUnavailableError, ForgedError)):
        world.start().publish()
    assert not (world.folder / "checkpoint").exists()


def test_nodes_that_do_not_give_the_signed_root_are_not_published(world):
    grow(world, 3)
    world.store._writer.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 1")
    with pytest.raises(ForgedError) as caught:
        world.start().publish()
    assert caught.value.reason is Reason.LOG_FORKED


# -- replicas, and hands in the folder ---------------------------------------------------------------------------


def test_replicas_of_a_gateway_take_turns(world):
    first, second = world.start(), world.start()
    grow(world, 300)
    with PublishedFolder(world.folder).alone() as is_alone:
        assert is_alone
        assert first.publish() is False
    assert first.publish() is True
    assert second.publish() is False  # it is there already
    grow(world, 700)
    assert second.publish() is True
    grow(world, 900)
    assert first.publish() is True
    assert first.size == 900
    assert second.publish() is False
    assert second.size == 900


async def test_a_replica_that_published_more_is_not_taken_for_a_fork(world):
    """What another replica publishes between this one's looks at the store and at the folder."""
    first, second = world.start(), world.start()
    grow(world, 10)

    def late() -> Head | None:
        grow(world, 20)
        return world.store.head()

    second._head = late
    assert second.publish() is True
    assert first.publish() is False
    assert await published_leaves(world.folder) == DATA[:20]


async def test_a_folder_that_was_deleted_under_a_running_gateway_is_written_whole(world):
    publisher = world.start()
    grow(world, 600)
    publisher.publish()
    shutil.rmtree(world.folder)
    grow(world, 601)
    assert publisher.publish() is True
    assert await published_leaves(world.folder) == DATA[:601]


@pytest.mark.parametrize("forged", [299, 300])
def test_a_checkpoint_put_into_the_folder_of_a_running_gateway_is_found(world, forged):
    publisher = world.start()
    grow(world, 300)
    publisher.publish()
    (world.folder / "checkpoint").write_bytes(note_of([b"another", *DATA[1:forged]]))
    with pytest.raises(ForgedError) as caught:
        publisher.publish()
    assert caught.value.reason is Reason.LOG_FORKED


# -- which head -------------------------------------------------------------------------------------------------


async def test_the_note_that_is_handed_over_is_published_verbatim(world):
    grow(world, 5)
    head = world.store.head()
    cosigned = Head(head.size, head.root, head.checkpoint + "— witness.test/1 " + "AAAAAA" + "A" * 94 + "\n")
    offered = [None, cosigned, cosigned, head]
    publisher = world.start(head=lambda: offered.pop(0))
    assert [publisher.publish() for _ in range(3)] == [False, True, False]
    assert (world.folder / "checkpoint").read_text() == cosigned.checkpoint
    assert publisher.publish() is True
    assert (world.folder / "checkpoint").read_text() == head.checkpoint


def test_an_older_head_than_was_published_is_passed_over(world):
    grow(world, 5)
    old = world.store.head()
    grow(world, 9)
    world.start().publish()
    publisher = world.start(head=lambda: old)
    assert publisher.publish() is False
    assert publisher.size == 9


def test_a_head_behind_the_store_is_published_as_it_is(world):
    grow(world, 300)
    old = world.store.head()
    grow(world, 700)
    publisher = world.start(head=lambda: old)
    assert publisher.publish()
    assert publisher.size == 300
    assert "tile/0/001.p/44" in world.files()


@pytest.mark.parametrize("signer", [SIGNER, SignerKey.from_seed("another.test/log", bytes(32))])
def test_a_head_of_another_tree_is_not_published(world, signer):
    grow(world, 5)
    root = b"\x01" * 32 if signer is SIGNER else world.store.head().root
    forged = Head(5, root, sign_as(signer)(5, root))
    with pytest.raises(ForgedError) as caught:
        world.start(head=lambda: forged).publish()
    assert caught.value.reason is Reason.LOG_FORKED
    assert Checkpoint(ORIGIN, 5, root)


# -- kept checkpoints -------------------------------------------------------------------------------------------


def test_the_first_checkpoint_of_each_hour_is_kept(world):
    publisher: Publisher = world.start()
    began = world.now - world.now % 3600
    for size, at in ((1, 0), (2, 10), (3, 3_599), (4, 3_600), (5, 3_700), (6, 9_000)):
        world.now = began + at
        grow(world, size)
        publisher.publish()
    assert sorted(path.name for path in (world.folder / "checkpoints").iterdir()) == ["1", "4", "6"]
    grow(world, 7)
    world.start().publish()  # another process of the same hour
    assert sorted(path.name for path in (world.folder / "checkpoints").iterdir()) == ["1", "4", "6"]
    assert (world.folder / "checkpoints/4").read_bytes() == note_of(DATA[:4])
