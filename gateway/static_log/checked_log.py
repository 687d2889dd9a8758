"""A log that is to be checked: where it is read, and whose checkpoints count as its own.

What is wrong with a checkpoint or a file is told as a `BadPlace`; a fault of machine or network is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.audit.bad_places import BadPlace, Wrong
from gateway.protocol.checkpoint import Checkpoint, open_checkpoint, unverified_checkpoint
from gateway.protocol.errors import BadDataError, ForgedError, MalformedError, NotFoundError, UnknownPeerError
from gateway.protocol.note import VerifierKey
from gateway.protocol.tiles import CHECKPOINT_PATH
from gateway.static_log.kept_checkpoints import Sighted
from gateway.static_log.tile_source import TileSource

Keys = Callable[[float], tuple[VerifierKey, ...]]
"""The keys by which a checkpoint counts, by the time of the newest leaf under it in seconds.

0.0 gives every key, to begin with; UNKNOWN_TIME those that were not compromised, where nobody can say."""


@dataclass(frozen=True, slots=True)
class LogToCheck:
    """A log to be checked: where it is read, what it is called, whose keys sign it, who writes to it."""

    source: TileSource
    origin: str
    keys: Keys
    gateways: frozenset[str] = frozenset()


async def open_newest(log: LogToCheck) -> tuple[bytes, Checkpoint | BadPlace]:
    """The checkpoint that the log shows now, and what it is, or what is wrong with it."""
    try:
        note = await log.source.checkpoint()
    except BadDataError as error:
        if isinstance(error, NotFoundError):
            return b"", BadPlace(Wrong.NO_CHECKPOINT, CHECKPOINT_PATH, detail="is not there")
        return b"", bad_file(CHECKPOINT_PATH, error)
    return note, open_sighted(Sighted(CHECKPOINT_PATH, note), log, 0.0)


def open_sighted(sighted: Sighted, log: LogToCheck, newest: float) -> Checkpoint | BadPlace:
    """The checkpoint of a note signed by a key of the log that counts for a newest leaf of that time; or why not."""
    try:
        origin = unverified_checkpoint(sighted.note).origin
        if origin != log.origin:
            return BadPlace(Wrong.NO_CHECKPOINT, sighted.place, detail=f"is of the log {origin}, not {log.origin}")
        return open_checkpoint(sighted.note, log.keys(newest), log.origin)
    except MalformedError as error:
        return BadPlace(Wrong.NO_CHECKPOINT, sighted.place, detail=error.detail)
    except ForgedError as error:
        return BadPlace(Wrong.NOT_SIGNED, sighted.place, detail=error.detail)


def bad_file(path: str, error: BadDataError) -> BadPlace:
    """What a source's error says of the file at `path`."""
    if isinstance(error, NotFoundError):
        return BadPlace(Wrong.MISSING, path)
    wrong = Wrong.KEPT_BACK if isinstance(error, UnknownPeerError) else Wrong.UNREADABLE
    return BadPlace(wrong, path, detail=error.detail.removeprefix(path).strip())
