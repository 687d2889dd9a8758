"""The folder of a published log: written so that a reader, or the next start, finds it whole at every moment.

    checkpoint                  replaced by rename, after all that it stands for is durable
    tile/…                      each file under its name only once it is whole
    checkpoints/<size>          the first checkpoint of each hour, for `heyan log fsck`
    .lock                       held by who writes
    outgrown                    a size whose partial tiles are being deleted; there only meanwhile

A file is written beside its place (`.new`), synchronised, and renamed; folders are synchronised before the
checkpoint is. Whatever was left by a process that was killed is written over by the next one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.party.keyfiles import FOLDER_MODE, PRIVATE_MODE, sync_folder
from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError
from gateway.protocol.note import MAX_NOTE_BYTES
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import CHECKPOINT_PATH, Bundle, Resource, edge_tiles, exists_at
from gateway.static_log.tile_source import read_bounded

FIRST_SHARD = "0"
"""The folder of a log's first shard, below `published`."""
KEPT_FOLDER = "checkpoints"
"""Beside `checkpoint` and `tile/`: what was published before, each under its size."""
KEPT_EVERY = 3_600
"""Seconds: of each such span the first checkpoint is kept."""
PUBLIC_FOLDER_MODE, PUBLIC_FILE_MODE = 0o755, 0o644
"""Of a copy that another web server is to serve."""
_OUTGROWN = "outgrown"
_LOCK = ".lock"
_MOST_DIGITS = 20
_NEW = ".new"
"""What is being written in a folder: one at a time, so that one that was left is written over by the next."""


def published_numbers(published: Path) -> list[int]:
    """The numbers of the logs that are published below a folder, ascending: of those with a checkpoint.

    Raises OSError if they cannot be looked at; a folder that is not there has none.
    """
    if not published.is_dir():
        return []
    names = (folder.name for folder in published.iterdir() if (folder / CHECKPOINT_PATH).exists())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def newest_folder(published: Path) -> Path:
    """The folder of the newest log that is published; of the first, if none is."""
    return published / str(max(published_numbers(published), default=int(FIRST_SHARD)))


class Disk:
    """What is done to the file system, step by step, so that tests may end or fail each step. Raises OSError."""

    def __init__(self, folder_mode: int = FOLDER_MODE, file_mode: int = PRIVATE_MODE) -> None:
        self._folder_mode = folder_mode
        self._file_mode = file_mode

    def write(self, path: Path, data: bytes) -> None:
        """Write a file anew, durably."""
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, self._file_mode
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Put a file in the place of another."""
        source.replace(target)

    def sync(self, folder: Path) -> None:
        """Make what was done in a folder durable."""
        sync_folder(folder)

    def make(self, folder: Path) -> None:
        """Make a folder in one that is there."""
        folder.mkdir(mode=self._folder_mode, exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove a file, or an empty folder."""
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


class PublishedFolder:
    """One log's folder. What writes is called `alone`; readers need nothing of this class."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk = disk or Disk()
        self._unsynced: set[Path] = set()
        self._is_first = True
        self._kept_until: float | None = None

    def read(self) -> tuple[Checkpoint, bytes] | None:
        """The published checkpoint, its signatures unverified, and its note; None if nothing was published yet.

        Raises MalformedError (LOG_FORKED) naming the file if it is no checkpoint: what is no longer what was written.
        """
        try:
            note = read_bounded(self.folder, CHECKPOINT_PATH, MAX_NOTE_BYTES)
            return unverified_checkpoint(note), note
        except NotFoundError:
            return None
        except (MalformedError, ForgedError) as error:
            file = self.folder / CHECKPOINT_PATH
            raise MalformedError.at(str(file), f"is no checkpoint: {error.detail}", Reason.LOG_FORKED) from None

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this process alone writes here meanwhile: another replica, or another export, may be at it."""
        self._make(self.folder)
        descriptor = os.open(self.folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def put(self, resource: Resource, data: bytes) -> None:
        """Write a tile or bundle, unless it is there already, as it should be; durable after `publish`."""
        target = self.folder / resource.path
        self._make(target.parent)
        if self._is_first:  # what an earlier process wrote or made may not be durable yet
            self._unsynced.update(each for each in target.parents if each.is_relative_to(self.folder))
        if not _holds(target, data):
            self._replace(target, data)

    def publish(self, note: bytes, size: int, old_size: int) -> None:
        """Make all that was put durable, then show `note` as the checkpoint, durably.

        The partial tiles of `old_size`, shown before, that are full at `size` are then deleted.
        """
        self._make(self.folder)
        if any(exists_at(tile.full, size) for tile in _edges(old_size)):
            self._replace(self.folder / _OUTGROWN, b"%d\n" % old_size)
        self._sync()
        self._replace(self.folder / CHECKPOINT_PATH, note)
        self._sync()
        self._is_first = False

    def keep(self, size: int, note: bytes, now: float) -> None:
        """Keep the published checkpoint beside the newest, if none of this hour is kept; durably."""
        if self._kept_until is None:
            self._kept_until = _end_of_newest(self.folder / KEPT_FOLDER)
        if now < self._kept_until:
            return
        target = self.folder / KEPT_FOLDER / str(size)
        self._make(target.parent)
        self._replace(target, note)
        os.utime(target, (now, now))  # the hour is the writer's, whose clock it is
        self._sync()
        self._kept_until = _end_of_hour(now)

    def clean(self, size: int) -> None:
        """Delete the partial tiles that were outgrown by the shown `size`, should they not be deleted yet.

        Readers of an older checkpoint take the full tiles.
        """
        outgrown = self._outgrown()
        if outgrown is None or outgrown >= size:
            return  # nothing, or marked for a checkpoint that was not shown in the end
        for tile in _edges(outgrown):
            if exists_at(tile.full, size):
                self._remove_partials(tile)
        self._disk.remove(self.folder / _OUTGROWN)

    def _outgrown(self) -> int | None:
        """The size whose partial tiles were about to be deleted."""
        try:
            text = (self.folder / _OUTGROWN).read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS else None

    def _remove_partials(self, resource: Resource) -> None:
        """Delete the partial tiles or bundles of the place of `resource`, if the full one is there."""
        full = self.folder / resource.full.path
        folder = full.with_name(full.name + ".p")
        if not full.is_file() or not folder.is_dir():
            return
        for file in sorted(folder.iterdir()):
            self._disk.remove(file)
        self._disk.remove(folder)
        self._unsynced.discard(folder)

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, and have the one in which each was made synchronised."""
        if not folder.is_dir():
            self._make(folder.parent)
            self._disk.make(folder)
            self._unsynced.add(folder.parent)

    def _replace(self, target: Path, data: bytes) -> None:
        new = target.with_name(_NEW)
        self._disk.write(new, data)
        self._disk.rename(new, target)
        self._unsynced.add(target.parent)

    def _sync(self) -> None:
        for folder in sorted(self._unsynced, key=lambda each: len(each.parts), reverse=True):
            self._disk.sync(folder)
        self._unsynced.clear()


def _edges(size: int) -> list[Resource]:
    """The partial tiles and the partial bundle of a size."""
    edge = edge_tiles(size)
    return [*edge, *(Bundle(tile.index, tile.width) for tile in edge if tile.level == 0)]


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _end_of_newest(folder: Path) -> float:
    """The end of the hour of the largest checkpoint kept; 0 if there is none."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.isascii() and entry.name.isdecimal()]
    except FileNotFoundError:
        return 0.0
    return _end_of_hour((folder / max(names, key=int)).stat().st_mtime) if names else 0.0


def _end_of_hour(at: float) -> float:
    return (at // KEPT_EVERY + 1) * KEPT_EVERY
