"""Restoring a gateway's store from a backup, so that its log goes on where it was last seen, or not at all.

    hold the store → the backup's manifest, files and trees → how far the log was seen → the leaves beyond, verified
    → erased again → every mark reached → the restore's own leaf, signed → the store before is moved aside → in place

Everything happens in a folder beside the store until the last renames: a restore that is killed has changed nothing, or
leaves a place without a store, and is begun anew. What it had signed by then counts as seen: it is moved aside like a
store that was there, and the next one goes on from it. Invariants:

- the gateway's log key signs one thing, the leaf that says what was restored, and not before the tree has reached every
  mark and continues each;
- leaves beyond the backup have the bytes and positions that they had, under the checkpoint that was signed then;
- whatever could not be had stops the restore: the log does not go on under its origin;
- a store that was there is moved aside, never deleted, and what it shows counts as seen.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from gateway.backups.bringing_back import REMEDY, BringingBack
from gateway.backups.leaves_beyond import Matched
from gateway.backups.making import Report
from gateway.backups.manifest import CHECKPOINT_FILE, STORE_FILE
from gateway.backups.opening import Backup
from gateway.backups.places import LogWitness, Place
from gateway.leaves import LeafStamp
from gateway.log_marks import Mark, require_reached
from gateway.party.keyfiles import FOLDER_MODE, sync_file, sync_folder
from gateway.protocol.errors import BadDataError, ConflictError, LogUnavailableError, MalformedError
from gateway.protocol.leaf import read_leaf
from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, Head, SignCheckpoint
from gateway.stores.sqlite_files import SUFFIXES, WAL_SUFFIX, held
from gateway.stores.sqlite_restored import RestoredStore, Unwrap
from heyan.v1 import log_pb2

_ASIDE = ".replaced-"


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. Sizes are of the log `origin`, which grows; `mark` says how far it was seen.

    `withdrawals` and `erasures` were recorded beyond the backup and are kept and executed again; `unreadable` leaves
    are of a newer format; `aside` is where the store that was there is now.
    """

    origin: str
    backup_size: int
    restored_size: int
    mark: Mark
    withdrawals: int
    erasures: int
    unreadable: int
    aside: Path | None = None


@dataclass(frozen=True, slots=True)
class Restorer:
    """Whose store is restored: `sign` signs with the gateway's log key, `unwrap` opens evidence keys."""

    store: Path
    logs: LogWitness
    stamp: LeafStamp
    sign: SignCheckpoint
    unwrap: Unwrap
    clock: Callable[[], float]

    async def restore(
        self, folder: Path, places: Sequence[Place], marks: Sequence[Mark], report: Report, *, replace: bool
    ) -> Restored:
        """Restore the backup in `folder`; `places` and `marks`, verified, say how far the log was seen.

        Raises what `Backup` raises of a backup that will not do, what `BringingBack` and `require_reached` raise of a
        log that cannot go on, ConflictError (LOG_ENDED) if the registry says that it went on as another,
        MalformedError (CONFIGURATION_INVALID) if a store is there and `replace` is not set or nothing says how far the
        log was seen, LogUnavailableError if the store is in use. Raises OSError.
        """
        with held(self.store, alone=True):
            report("look", 0, 0)
            backup = Backup.open(folder, self.logs.gateway, self.logs.registry)
            staging = self.store.with_name(f".{self.store.name}.restoring")
            self._clear(staging)  # of a restore that was killed
            before = self._before(replace=replace)
            places = [*places, *before]
            marks = [*marks, *(place.mark for place in places)]
            mark = self._furthest(backup, marks)
            staging.mkdir(mode=FOLDER_MODE)
            try:
                restored = await self._restore(backup, staging / STORE_FILE, places, marks, report)
                report("aside", 0, 0)
                aside = self._move_aside(self.store)
                report("place", 0, 0)
                (staging / STORE_FILE).rename(self.store)
                report("sync", 0, 0)
                sync_folder(self.store.absolute().parent)
            except (Exception, KeyboardInterrupt):
                self._clear(staging)
                raise
            shutil.rmtree(staging)
            (origin, backup_size, restored_size), bringing, matched = restored
            return Restored(
                origin=origin,
                backup_size=backup_size,
                restored_size=restored_size,
                mark=mark,
                withdrawals=len(matched.withdrawals),
                erasures=len(matched.erasures),
                unreadable=bringing.beyond.unreadable,
                aside=aside,
            )

    def _before(self, *, replace: bool) -> list[Place]:
        """What the store that is there shows, and those moved aside; refuses one that was not to be replaced."""
        places: list[Place] = []
        for path in sorted(self.store.parent.glob(f"{self.store.name}{_ASIDE}*")):
            if not path.name.endswith(SUFFIXES[1:]):
                places += self._stored(path) or []
        if not self._is_there():
            return places
        found = self._stored(self.store)
        if not replace and (found is None or len(found) > 0):
            description = "exists: --replace moves it aside, and keeps it"
            raise MalformedError.at(str(self.store), description, Reason.CONFIGURATION_INVALID)
        return [*places, *(found or [])]

    def _is_there(self) -> bool:
        wal = self.store.with_name(self.store.name + WAL_SUFFIX)
        return self.store.exists() and (self.store.stat().st_size > 0 or wal.exists())

    def _stored(self, path: Path) -> Sequence[Place] | None:
        """The logs of a store; None if it cannot be read."""
        try:
            return self.logs.stored(path)
        except LogUnavailableError:
            return None

    def _furthest(self, backup: Backup, marks: Sequence[Mark]) -> Mark:
        """The mark that says most of the log; MalformedError if none says as much as the backup itself."""
        origins = self.logs.origins
        growing = backup.manifest.growing
        ranked = [(origins.index(mark.checkpoint.origin), mark.checkpoint.size, mark) for mark in marks]
        rank, size, mark = max(ranked, key=lambda each: each[:2], default=(-1, 0, None))
        if growing.origin not in origins:
            raise ConflictError(Reason.BACKUP_INVALID, f"the registry names no log {growing.origin}")
        if mark is None or (rank, size) < (origins.index(growing.origin), growing.size):
            description = (
                "or --witness, --checkpoint, the setting published: something must say how far the log was seen after"
                f" the backup; only if nothing was signed since, give --checkpoint {backup.folder / CHECKPOINT_FILE}"
            )
            raise MalformedError.at("--log", description, Reason.CONFIGURATION_INVALID)
        return mark

    async def _restore(
        self, backup: Backup, staged: Path, places: Sequence[Place], marks: Sequence[Mark], report: Report
    ) -> tuple[tuple[str, int, int], BringingBack, Matched]:
        """Make the restored store in its staging file."""
        report("copy", 0, 0)
        heads = backup.stage(
            staged, lambda done, total: report("copy", done, total), lambda done, total: report("check", done, total)
        )
        store = RestoredStore(staged)
        try:
            report("leaves", 0, 0)
            bringing = BringingBack(store, places, marks, self.logs.origins, report, self.logs.is_sound)
            await bringing.run()
            report("erase", 0, 0)
            matched = bringing.beyond.match(store, self.unwrap)
            store.keep_withdrawals(matched.withdrawals)
            store.erase(matched.erasures)
            report("marks", 0, 0)
            require_reached(store, marks)
            report("sign", 0, 0)
            sizes = self._sign(store, heads[-1])
        finally:
            store.close()
        if staged.with_name(staged.name + WAL_SUFFIX).exists():  # closing the store should have emptied it
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the restored store is not in one file")
        sync_file(staged)
        return sizes, bringing, matched

    def _sign(self, store: RestoredStore, backup: Head) -> tuple[str, int, int]:
        """Commit the leaf that tells of the restore: the origin, and the log's sizes in the backup and restored."""
        head = store.shards()[-1]
        if head.origin != self.logs.origins[-1]:
            detail = f"the registry says that {head.origin} has ended, and no place has the log that went on; {REMEDY}"
            raise ConflictError(Reason.LOG_ENDED, detail)
        size = backup.size if backup.origin == head.origin else 0
        event = log_pb2.RestoreEvent(backup_size=size, restored_size=head.size)
        store.commit([Entry(self.stamp(log_pb2.LogLeaf(restore=event)))], self.sign)
        return head.origin, size, head.size

    def _move_aside(self, store: Path) -> Path | None:
        """Rename a store's files, its database first: without it, nothing of it is taken for a store."""
        files = [store.with_name(store.name + suffix) for suffix in SUFFIXES]
        if not any(file.exists() for file in files):
            return None
        aside = self._free_name()
        for file, suffix in zip(files, SUFFIXES, strict=True):
            if file.exists():
                file.rename(aside.with_name(aside.name + suffix))
        return aside

    def _free_name(self) -> Path:
        at = datetime.fromtimestamp(self.clock(), UTC)
        name = f"{self.store.name}{_ASIDE}{at:%Y%m%dT%H%M%SZ}"
        names = (self.store.with_name(f"{name}-{number}" if number else name) for number in count())
        return next(path for path in names if not path.exists())

    def _clear(self, staging: Path) -> None:
        """Remove what a restore left there; if it had signed already, its store is moved aside, and counts as seen."""
        staged = staging / STORE_FILE
        if staged.exists() and self._tells_of_restore(staged):
            self._move_aside(staged)
        shutil.rmtree(staging, ignore_errors=True)

    def _tells_of_restore(self, staged: Path) -> bool:
        try:
            places = self.logs.stored(staged)
            return bool(places) and read_leaf(places[-1].source.newest_leaf()).HasField("restore")
        except (LogUnavailableError, BadDataError):
            return False  # it was still being made
