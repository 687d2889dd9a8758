"""Files that a command writes bit by bit: there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gateway.party.keyfiles import PRIVATE_MODE, sync_folder


@contextmanager
def writing(path: Path, mode: int = PRIVATE_MODE) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when all is written; an old one stands until then.

    Raises OSError. Whatever is raised inside leaves no file behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
