"""Private files of a party: written whole or not at all, read only if nobody else can read them, watched for renewal.

A party's folder of signature keys holds one PKCS#8 PEM file `<kid>.pem` for each key; its folder of sealing keys
one file `<kid>.key` for each, with the HPKE suite and the seed on one line. Files carry no dates: the registry
says when a key counts, so a key may lie in the folder before the registry names it and is not used until then.

What it does not do: make keys (gateway.operator and the sandbox do), or encrypt them at rest (use an encrypted
volume: an unattended process would have to hold the passphrase beside the file).
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import structlog

from gateway.protocol.codec import b64url, unb64url
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError
from gateway.protocol.keys import SigningKey, load_private, private_pem
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse, Suite
from gateway.protocol.sealing import OpeningKey, private_from_seed

T = TypeVar("T")

PRIVATE_MODE = 0o600
FOLDER_MODE = 0o700
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SIGNING_SUFFIX = ".pem"
_SEALING_SUFFIX = ".key"

_log = structlog.get_logger(__name__)

Stamp = tuple[tuple[str, int, int, int], ...]
"""What is compared to notice a change: name, mtime in ns, size, inode of each file."""


def write_private(path: Path, data: bytes) -> None:
    """Write `data` to `path` with mode 0600, atomically and durably. Raises OSError; the old file then stands."""
    write_atomic(path, data, PRIVATE_MODE)


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` to `path`; see `writing`. Raises OSError; the old file then stands."""
    with writing(path, mode) as file:
        file.write(data)


@contextmanager
def writing(path: Path, mode: int = PRIVATE_MODE) -> Iterator[BinaryIO]:
    """A file to write to bit by bit: a reader of `path` sees the old bytes or the new ones, also after a power cut.

    The temporary file is new (O_EXCL), beside `path`, and has its mode before it has content. Its folder is made
    (mode 0700) if there is none. Raises OSError. Whatever is raised inside leaves the old file, and no temporary one.
    """
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask took away
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside `folder` durable. Raises OSError."""
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make what others wrote to a file durable, such as a database that is closed. Raises OSError."""
    _sync(path, 0)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """The bytes of a private file; MalformedError (CONFIGURATION_INVALID) if others may read it or nobody can."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OPEN_TO_OTHERS:
                raise unusable(path, f"is private but has mode {mode:04o}: run chmod 600 on it, and replace the key")
            return file.read()
    except OSError as error:
        raise unusable(path, f"cannot be read: {error.strerror}") from error


def read_public(path: Path) -> bytes:
    """The bytes of a file that is no secret; MalformedError (CONFIGURATION_INVALID)."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unusable(path, f"cannot be read: {error.strerror}") from error


def unusable(path: Path, description: str) -> MalformedError:
    """The error of a file that cannot serve."""
    return MalformedError.at(str(path), description, Reason.CONFIGURATION_INVALID)


def save_signing_key(folder: Path, key: SigningKey) -> Path:
    """Write a signature key into a folder of keys; its kid becomes the file's name. Returns the file."""
    path = folder / f"{key.key_id}{_SIGNING_SUFFIX}"
    write_private(path, private_pem(key.private))
    return path


def load_signing_key(path: Path) -> SigningKey:
    """The signature key of one PEM file, its kid the file's stem; MalformedError."""
    try:
        return SigningKey(path.stem, load_private(read_private(path)))
    except MalformedError as error:
        raise error if error.reason is Reason.CONFIGURATION_INVALID else unusable(path, error.detail) from error


def load_signing_keys(folder: Path) -> tuple[SigningKey, ...]:
    """All signature keys of a folder (or the one of a file), by kid; MalformedError if any cannot be used."""
    if folder.is_file():
        return (load_signing_key(folder),)
    return tuple(load_signing_key(path) for path in _key_files(folder, _SIGNING_SUFFIX))


def usable(
    keys: Iterable[SigningKey], registry: Registry, party: str, use: KeyUse, now: float
) -> tuple[SigningKey, ...]:
    """The keys that sign at `now`: those that the registry lists for `party` and `use` and that count, the one that
    began last at the end. A key whose public half is not the registered one is none.
    """
    terms = {key.kid: key for key in registry.party(party).keys if key.use is use and key.counts_at(now)}
    found = (
        key for key in keys if key.key_id in terms and registry.key(party, use, key.key_id, now) == key.public_key()
    )
    return tuple(sorted(found, key=lambda key: (terms[key.key_id].not_before, key.key_id)))


def newest_usable(keys: Iterable[SigningKey], registry: Registry, party: str, use: KeyUse, now: float) -> SigningKey:
    """Of the keys that sign at `now` (see `usable`) the one that began last; ForgedError (KEY_UNKNOWN) if none does."""
    found = usable(keys, registry, party, use, now)
    if not found:
        raise no_key(party, use)
    return found[-1]


def no_key(party: str, use: KeyUse) -> ForgedError:
    """The error of a party that has nothing to sign with."""
    return ForgedError(Reason.KEY_UNKNOWN, f"no {use.value} key of {party} here counts now; see `heyan doctor`")


def save_sealing_key(folder: Path, kid: str, suite: Suite, seed: bytes) -> Path:
    """Write a sealing key's seed into a folder of sealing keys. Returns the file."""
    path = folder / f"{kid}{_SEALING_SUFFIX}"
    write_private(path, f"{suite.value} {b64url(seed)}\n".encode())
    return path


def load_sealing_key(path: Path) -> OpeningKey:
    """The sealing key of one `<kid>.key` file; MalformedError."""
    text = read_private(path).decode("ascii", errors="replace")
    suite, _, seed = text.removesuffix("\n").partition(" ")
    try:
        known = Suite(suite)
        return OpeningKey(path.stem, known, private_from_seed(known, unb64url(seed, "seed")))
    except (ValueError, MalformedError):
        raise unusable(path, "must hold one line: an HPKE suite of the registry, a space, its seed") from None


def load_sealing_keys(folder: Path) -> dict[str, OpeningKey]:
    """All sealing keys of a folder, by kid: a node opens with every one it still holds. MalformedError."""
    keys = (load_sealing_key(path) for path in _key_files(folder, _SEALING_SUFFIX))
    return {key.key_id: key for key in keys}


def destroy(path: Path) -> None:
    """Remove a private file for good, as far as its file system allows: overwrite, then unlink. Raises OSError.

    Journals, snapshots and the spare blocks of flash may keep copies: an encrypted volume is the remedy.
    """
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    sync_folder(path.parent)


class Watched(Generic[T]):
    """A value made from files, made again when they change.

    `refresh` looks (a few microseconds a file; at most once a second is enough) and is safe from any thread. If the
    new files are bad, the old value stays in force, one line is logged for that state of the files, and the next
    change is tried again: so certificate and key may be replaced one after the other. A folder among `paths`
    stands for the files in it. The first load raises what `load` raises.
    """

    def __init__(self, paths: Sequence[Path], load: Callable[[], T]) -> None:
        self._paths = tuple(paths)
        self._load = load
        self._lock = threading.Lock()
        self._stamp = stamp(self._paths)
        self._value = load()
        self._generation = 0

    @property
    def value(self) -> T:
        """The value in force, without looking at the files."""
        return self._value

    @property
    def generation(self) -> int:
        """How often the value was replaced: holders compare it to notice a renewal."""
        return self._generation

    def refresh(self) -> bool:
        """Look at the files; whether the value was replaced."""
        with self._lock:
            # Stamped before loading: a file that changes while it is read is read again at the next look.
            seen = stamp(self._paths)
            if seen == self._stamp:
                return False
            self._stamp = seen
            try:
                value = self._load()
            except (HeyanError, OSError) as error:
                _log.warning("files_refused", paths=[str(path) for path in self._paths], error=str(error))
                return False
            self._value = value
            self._generation += 1
            return True


def stamp(paths: Sequence[Path]) -> Stamp:
    """The state of files (and of the files in folders): differs whenever one was replaced, changed or removed."""
    entries: list[tuple[str, int, int, int]] = []
    for path in paths:
        entries.append(_stamp_of(path))
        if path.is_dir():
            entries.extend(_stamp_of(file) for file in sorted(path.iterdir()) if not file.name.startswith("."))
    return tuple(entries)


def _stamp_of(path: Path) -> tuple[str, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (str(path), 0, -1, 0)
    return (str(path), status.st_mtime_ns, status.st_size, status.st_ino)


def _key_files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix and not path.name.startswith("."))
    except OSError as error:
        raise unusable(folder, f"cannot be listed: {error.strerror}") from error
