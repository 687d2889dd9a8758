"""The folder of a sandbox while it is made: marked and locked, so that a making cut short is begun anew.

A folder is marked only while it is empty, so what lies in a marked one is left of a making that Ctrl-C, a full disk
or a power cut ended. It holds the keys of nobody: no federation has ever run from it.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.sandbox import MAKING_FILE, Sandbox, held, is_empty
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason


@contextmanager
def being_made(sandbox: Sandbox) -> Iterator[None]:
    """Hold the sandbox's folder while it is made, first cleared of what a making cut short left.

    Raises MalformedError if another process makes it or has made it, or if something lies there that no making leaves.
    """
    folder = sandbox.folder
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MAKING_FILE
    with mark.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refused(folder, "is being made by another heyan up: wait for it") from None
        if held(folder) is not None:
            raise _refused(folder, "has just been made by another heyan up: run this again")
        for part in sandbox.parts:
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)
        if not is_empty(folder):
            raise _refused(folder, "was half made and now holds something else too: empty it, or name another folder")
        yield
        mark.unlink()


def _refused(folder: Path, what: str) -> MalformedError:
    return MalformedError.at(str(folder), what, Reason.CONFIGURATION_INVALID)
