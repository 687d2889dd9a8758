"""A store with leaves, its publication into a folder, and a disk whose steps can be ended or failed."""

from __future__ import annotations

from pathlib import Path

from gateway.protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from gateway.protocol.note import SignerKey
from gateway.static_log.folder import Disk, PublishedFolder
from gateway.static_log.publishing import Publisher
from gateway.static_log.tile_proofs import read_leaves
from gateway.static_log.tile_source import FolderSource
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from tests.static_logs import ORIGIN, SIGNER

NOW = 1_800_000_000.0


class Killed(BaseException):
    """The process ended here."""


class QuickDisk(Disk):
    """A disk that is not waited for: what a process that ends leaves behind, not what a power cut does."""

    def write(self, path, data):
        path.write_bytes(data)

    def sync(self, folder):
        assert folder.is_dir()


class BadDisk(QuickDisk):
    """A disk that raises `failure` before or after its step number `at`, once."""

    def __init__(self, at: int | None = None, *, after: bool = False, failure: BaseException | None = None) -> None:
        super().__init__()
        self.steps = 0
        self.at = at
        self.after = after
        self.failure = failure or Killed()

    def _step(self, act):
        number, self.steps = self.steps, self.steps + 1
        if number == self.at and not self.after:
            raise self.failure
        act()
        if number == self.at:
            raise self.failure

    def write(self, path, data):
        self._step(lambda: super(BadDisk, self).write(path, data))

    def rename(self, source, target):
        self._step(lambda: super(BadDisk, self).rename(source, target))

    def sync(self, folder):
        self._step(lambda: super(BadDisk, self).sync(folder))

    def make(self, folder):
        self._step(lambda: super(BadDisk, self).make(folder))

    def remove(self, path):
        self._step(lambda: super(BadDisk, self).remove(path))


def sign_as(signer: SignerKey):
    return lambda size, root, _origin=None: sign_checkpoint(Checkpoint(signer.verifier.name, size, root), [signer])


def append(store: SqliteStore, data: list[bytes], signer: SignerKey = SIGNER) -> None:
    if data:
        store.commit([Entry(leaf) for leaf in data], sign_as(signer))


class World:
    """What is published of `store` in `folder`; `start` is a new process."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = SqliteStore(tmp_path / "store.db")
        self.folder = tmp_path / "published" / "0"
        self.now = NOW

    def start(self, disk: Disk | None = None, **changes) -> Publisher:
        values = {
            "store": self.store,
            "folder": PublishedFolder(self.folder, disk or QuickDisk()),
            "origin": ORIGIN,
            "head": self.store.head,
            "clock": lambda: self.now,
            **changes,
        }
        publisher = Publisher(**values)
        publisher.resume()
        return publisher

    def files(self) -> dict[str, bytes]:
        """Every file but the lock, and those that were being written when a process ended."""
        paths = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}

    def folders(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_dir()}


async def published_leaves(folder: Path) -> list[bytes]:
    """All leaves as a reader finds them, verified against the checkpoint that is shown."""
    async with FolderSource(folder) as source:
        checkpoint = open_checkpoint(await source.checkpoint(), [SIGNER.verifier], ORIGIN)
        return [leaf async for _, leaf in read_leaves(source, 0, checkpoint.size, checkpoint)]
