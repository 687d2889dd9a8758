"""A store of several logs is published: each in its folder, an ended one once, and none that the store has lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.log import Log
from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.note import SignerKey, VerifierKey
from gateway.protocol.reasons import Reason
from gateway.static_log.folder import newest_folder
from gateway.static_log.publishing_logs import LogsPublisher
from gateway.static_log.tile_proofs import read_leaves
from gateway.static_log.tile_source import FolderSource
from gateway.stores.records import Entry, Freeze, Head
from gateway.stores.sqlite import SqliteStore

FIRST, SECOND, THIRD = "log.test/1", "log.test/2", "log.test/3"
KEY = bytes(32)


def signer(origin: str) -> SignerKey:
    return SignerKey.from_seed(origin, KEY)


def verifier(origin: str) -> VerifierKey:
    return signer(origin).verifier


class World:
    """A store, its signer, and where its logs are published."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self.published = folder / "published"
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.path)
        self.log = Log(self.store, FIRST)
        self.log.use_signers(lambda origin: (signer(origin),))

    def append(self, *leaves: bytes) -> None:
        self.store.commit([Entry(leaf) for leaf in leaves], self.log._sign)

    def freeze(self, origin: str = FIRST, following: str = SECOND) -> tuple[Head, Head]:
        return self.log.freeze(Freeze(origin, b"end", following, lambda final: b"start after %d" % final.size))

    def start(self) -> LogsPublisher:
        made = LogsPublisher(
            store=self.store, published=self.published, origin=FIRST, head=None, clock=lambda: 1_800_000_000.0
        )
        made.resume()
        return made

    async def leaves(self, number: int, origin: str) -> list[bytes]:
        """All leaves as a reader finds them, verified against the checkpoint that is shown."""
        async with FolderSource(self.published / str(number)) as source:
            checkpoint = open_checkpoint(await source.checkpoint(), [verifier(origin)], origin)
            return [leaf async for _, leaf in read_leaves(source, 0, checkpoint.size, checkpoint)]

    def files(self, number: int) -> dict[Path, tuple[bytes, int]]:
        folder = self.published / str(number)
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.append(b"a", b"b", *(b"%d" % number for number in range(300)))
    return made


async def test_every_log_is_published_in_the_folder_of_its_number(world: World) -> None:
    publisher = world.start()
    publisher.publish()
    world.freeze()
    world.append(b"x", b"y")
    assert publisher.publish()
    assert len(await world.leaves(0, FIRST)) == 303
    assert await world.leaves(1, SECOND) == [b"start after 303", b"x", b"y"]
    assert newest_folder(world.published) == world.published / "1"
    assert publisher.size == 3
    world.store.close()


async def test_ended_log_is_completed_once_and_then_untouched(world: World) -> None:
    world.start().publish()
    world.freeze()
    for _ in range(2):
        world.start().publish()
        before = world.files(0)
        world.append(b"more")
    publisher = world.start()
    publisher.publish()
    assert world.files(0) == before
    assert (await world.leaves(0, FIRST))[-1] == b"end"
    assert not publisher.publish()
    world.store.close()


async def test_next_log_is_not_shown_before_the_end_of_the_one_before_it(world: World) -> None:
    publisher = world.start()
    publisher.publish()
    world.append(*(b"%d" % number for number in range(300)))
    world.freeze()
    publisher.publish(lambda: True)  # the process is told to stop meanwhile
    assert not (world.published / "1" / "checkpoint").exists()
    assert len(await world.leaves(0, FIRST)) == 302
    world.start().publish()
    assert (await world.leaves(0, FIRST))[-1] == b"end"
    assert await world.leaves(1, SECOND) == [b"start after 603"]
    world.store.close()


async def test_log_that_ended_before_anything_was_published_is_published_whole(world: World) -> None:
    world.freeze()
    world.freeze(SECOND, THIRD)
    world.start().publish()
    assert len(await world.leaves(0, FIRST)) == 303
    assert await world.leaves(1, SECOND) == [b"start after 303", b"end"]
    assert await world.leaves(2, THIRD) == [b"start after 2"]
    world.store.close()


def refused(world: World) -> Reason:
    with pytest.raises(ForgedError) as found:
        world.start()
    world.store.close()
    return found.value.reason


def test_store_from_before_the_end_does_not_grow_the_ended_log_again(world: World, tmp_path: Path) -> None:
    """The file of before the freeze is put back: its gateway would append to a log that everybody knows has ended."""
    world.store.close()
    earlier = world.path.read_bytes()
    world.open()
    world.freeze()
    world.start().publish()
    world.store.close()
    world.path.write_bytes(earlier)
    world.open()
    assert refused(world) is Reason.LOG_ROLLED_BACK


def test_store_that_lost_the_next_log_alone_is_rolled_back(world: World) -> None:
    """As large as what was published of the first log, and without the second."""
    world.start().publish()
    (world.published / "1").mkdir()
    (world.published / "1" / "checkpoint").write_bytes((world.published / "0" / "checkpoint").read_bytes())
    assert refused(world) is Reason.LOG_ROLLED_BACK


def test_folder_of_another_log_is_not_written_over(world: World) -> None:
    world.freeze()
    world.start().publish()
    (world.published / "1" / "checkpoint").write_bytes((world.published / "0" / "checkpoint").read_bytes())
    with pytest.raises(MalformedError):
        world.start()
    world.store.close()


def test_second_log_that_went_on_otherwise_is_a_fork(world: World, tmp_path: Path) -> None:
    """Two stores froze one log: what the other one published is not this one's."""
    world.store.close()
    earlier = world.path.read_bytes()
    world.open()
    world.freeze()
    world.append(b"one way")
    world.start().publish()
    world.store.close()
    world.path.write_bytes(earlier)
    world.open()
    world.freeze()
    world.append(b"another")
    assert refused(world) is Reason.LOG_FORKED
