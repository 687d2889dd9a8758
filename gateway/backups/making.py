"""Making a backup while the gateway serves: a copy of its store as of one moment, checked, and signed for.

Everything is written into `.<name>.partial` beside the backup's place and made durable; a rename makes it one. What a
process that was killed left there is no backup, and the next one removes it.

The log key signs the manifest and is not copied, nor is any other key. What a backup holds of evidence is encrypted
under keys that it holds only wrapped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from gateway.backups.manifest import (
    CHECKPOINT_FILE,
    MANIFEST_FILE,
    STORE_FILE,
    FileRow,
    Manifest,
    ShardRow,
    require_signed,
    write_manifest,
)
from gateway.party.keyfiles import FOLDER_MODE, sync_folder, write_private
from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.stores.sqlite_copy import check_copy, copy_store
from gateway.stores.sqlite_files import held

Report = Callable[[str, int, int], None]
"""Told before each step, and on its way: the step's name, what is done and how much there is (0 if unknown)."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Whose backups are made: the gateway (SPIFFE ID) with its store, the registry, and the seed of its log key."""

    store: Path
    gateway: str
    registry: Registry
    seed: bytes
    clock: Callable[[], float]
    version: str

    def make(self, out: Path, report: Report, *, every_leaf: bool) -> Manifest:
        """Make the backup `out`, a new folder; with `every_leaf` each leaf of the copy is hashed.

        MalformedError (CONFIGURATION_INVALID) if something is in its place, LogUnavailableError if the store cannot be
        read, ForgedError (BACKUP_INVALID) if the store does not fit its own trees and checkpoints. Raises OSError.
        """
        if not self.store.is_file():
            raise MalformedError.at(str(self.store), "there is no store", Reason.CONFIGURATION_INVALID)
        if out.exists() or out.is_symlink():
            raise MalformedError.at(str(out), "exists: a backup replaces nothing", Reason.CONFIGURATION_INVALID)
        with held(self.store), _partial(out) as folder:
            began = self.clock()
            copy = folder / STORE_FILE
            copy_store(self.store, copy, lambda done, total: report("copy", done, total))
            report("check", 0, 0)
            heads = check_copy(copy, lambda done, total: report("check", done, total), every_leaf=every_leaf)
            require_signed(heads, self.registry, self.gateway)
            report("checkpoint", 0, 0)
            write_private(folder / CHECKPOINT_FILE, heads[-1].checkpoint.encode())
            report("hash", 0, 0)
            manifest = Manifest(
                heyan=self.version,
                gateway=self.gateway,
                time=began,
                registry_version=self.registry.version,
                shards=tuple(map(ShardRow.of, heads)),
                files=tuple(file_row(folder / name) for name in (STORE_FILE, CHECKPOINT_FILE)),
            )
            report("manifest", 0, 0)
            write_private(folder / MANIFEST_FILE, write_manifest(manifest, self.seed))
            report("rename", 0, 0)
            folder.rename(out)
            report("sync", 0, 0)
            sync_folder(out.absolute().parent)
        return manifest


def file_row(path: Path) -> FileRow:
    """The row of a file as it is on disk. Raises OSError."""
    with path.open("rb") as file:
        return FileRow(path.name, os.fstat(file.fileno()).st_size, file_digest(file, "sha256").hexdigest())


@contextmanager
def _partial(out: Path) -> Iterator[Path]:
    """The folder in which `out` is made, empty and held by this process alone; removed if that fails."""
    parent = out.absolute().parent
    parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    folder = parent / f".{out.name}.partial"
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _hold(descriptor, out)
        for left in folder.iterdir():
            left.unlink()
        folder.chmod(FOLDER_MODE)
        try:
            yield folder
        except (Exception, KeyboardInterrupt):
            shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _hold(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        detail = f"{out} is being made by another process"
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, detail, retry_after=1.0) from None
