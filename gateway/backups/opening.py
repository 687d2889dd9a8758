"""Opening a backup: whole, this gateway's, and of a registry no newer than the one here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.backups.manifest import (
    CHECKPOINT_FILE,
    MANIFEST_FILE,
    STORE_FILE,
    FileRow,
    Manifest,
    ShardRow,
    read_manifest,
    require_signed,
)
from gateway.party.keyfiles import PRIVATE_MODE
from gateway.protocol.errors import ForgedError, NotCurrentError
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.stores.records import Head
from gateway.stores.sqlite_copy import Progress, check_copy, migrate_copy

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup whose manifest holds; its files are held against it when they are staged."""

    folder: Path
    manifest: Manifest
    registry: Registry

    @classmethod
    def open(cls, folder: Path, gateway: str, registry: Registry) -> Backup:
        """The backup in a folder.

        ForgedError or MalformedError (BACKUP_INVALID); NotCurrentError (REGISTRY_ROLLED_BACK) if the registry here is
        older than the one that was in force: it may not know of a key that was compromised.
        """
        try:
            data = (folder / MANIFEST_FILE).read_bytes()
        except OSError as error:
            raise _invalid(f"{folder} has no manifest: {error.strerror}") from None
        manifest = read_manifest(data, gateway, registry.checkpoint_keys(gateway, 0.0))
        read_manifest(data, gateway, registry.checkpoint_keys(gateway, manifest.time))  # no key that had ended by then
        if manifest.registry_version > registry.version:
            detail = f"the backup knows version {manifest.registry_version}, here is {registry.version}"
            raise NotCurrentError(Reason.REGISTRY_ROLLED_BACK, detail)
        if [row.name for row in manifest.files] != [STORE_FILE, CHECKPOINT_FILE]:
            raise _invalid("its manifest names other files than a backup has")
        return cls(folder, manifest, registry)

    def stage(self, target: Path, copying: Progress, checking: Progress) -> list[Head]:
        """Copy the store to the new file `target`, check all of it, and bring it to the schema of now; its heads.

        What is checked is what was copied. ForgedError (BACKUP_INVALID). Raises OSError.
        """
        store, checkpoint = self.manifest.files
        _copy(self.folder / CHECKPOINT_FILE, checkpoint, Path(os.devnull), copying)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE))
        _copy(self.folder / STORE_FILE, store, target, copying)
        migrate_copy(target)
        heads = check_copy(target, checking, every_leaf=True)
        if tuple(map(ShardRow.of, heads)) != self.manifest.shards:
            raise _invalid("its manifest names other logs than the store has")
        require_signed(heads, self.registry, self.manifest.gateway)
        return heads


def _copy(source: Path, row: FileRow, target: Path, progress: Callable[[int, int], None]) -> None:
    hashed, size = sha256(), 0
    try:
        file = source.open("rb")
    except OSError as error:
        raise _invalid(f"{source} cannot be read: {error.strerror}") from None
    with file, target.open("wb") as copy:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
            size += len(chunk)
            copy.write(chunk)
            progress(size, row.bytes)
    if (size, hashed.hexdigest()) != (row.bytes, row.sha256):
        raise _invalid(f"{source} is not the file that the manifest names")


def _invalid(detail: str) -> ForgedError:
    return ForgedError(Reason.BACKUP_INVALID, detail)
