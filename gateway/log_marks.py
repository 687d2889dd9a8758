"""How far a log has been seen: marks kept outside its store, which the store must reach before anything is appended.

A store that was rolled back (an older file copied over it, a volume put back, a backup) looks whole: it fits its own
checkpoint. What shows it are marks: checkpoints that were durable in it once, and are kept elsewhere. A store that is
smaller than a mark, or has another root of its size, must never be appended to: its next checkpoint would be a second
tree of a log of which somebody holds the first.

The gateway keeps one mark itself (`SeenHead`), beside the registry that it has seen, so not on the store's volume
where that has its own. It is written beside the commits, every few seconds and at the end, and may lag; the published
log, witnesses and departments know of later ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.party.keyfiles import read_public, unusable, write_private
from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.merkle import Frontier, frontier_nodes
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import CHECKPOINT_PATH
from gateway.stores.records import Head

SEEN_FILE = "log.seen"
"""Beside the newest registry seen, in the gateway's own folder."""
WITNESSED_FILES = "witnessed-*.checkpoint"
"""Beside the store: the newest head of each log that a quorum cosigned."""
PROOF_FILES = ("log_forked.checkpoint", "log_rolled_back.checkpoint")
"""Beside the store: what a witness showed that the log had signed and does not hold (`gateway.witnessing.alarms`)."""
SEEN_EVERY = 5.0
"""Seconds between two writings of it: two fsyncs, beside all commits."""
REMEDY = "nothing is appended to it: put the newer store back, or heyan gateway restore"


@dataclass(frozen=True, slots=True)
class Mark:
    """A checkpoint that the log once showed; `place` says where it was found, for whoever reads the error."""

    checkpoint: Checkpoint
    note: str
    place: str


class Trees(Protocol):
    """What is asked of a store: its logs, and their complete nodes."""

    def shards(self) -> Sequence[Head]:
        """The heads of all logs, in their order."""
        ...

    def node(self, level: int, index: int, shard: int = 0) -> bytes:
        """A complete node of a log's tree."""
        ...


class SeenStore(Trees, Protocol):
    """And its newest head."""

    def head(self) -> Head | None:
        """The newest durable tree, or None in a new store."""
        ...


def require_reached(store: Trees, marks: Iterable[Mark]) -> None:
    """Refuse a store that does not continue every mark.

    ForgedError: LOG_ROLLED_BACK if it is smaller or does not have that log, LOG_FORKED if it has another root.
    """
    heads = {head.origin: head for head in store.shards()}
    for mark in marks:
        seen, head = mark.checkpoint, heads.get(mark.checkpoint.origin)
        held = head.size if head is not None else 0
        if head is None or held < seen.size:
            detail = f"{seen.origin} had {seen.size} leaves by {mark.place}, the store has {held}; {REMEDY}"
            raise ForgedError(Reason.LOG_ROLLED_BACK, detail)
        if root_at(store, head, seen.size) != seen.root:
            detail = f"{seen.origin} has another tree of {seen.size} leaves by {mark.place} than the store; {REMEDY}"
            raise ForgedError(Reason.LOG_FORKED, detail)


def root_at(store: Trees, head: Head, size: int) -> bytes:
    """The root of the first `size` leaves of a log, by its nodes; LogUnavailableError if one is lost."""
    hashes = (store.node(level, index, head.number) for level, index in frontier_nodes(size))
    return Frontier(size, tuple(hashes)).root()


def read_mark(path: Path) -> Mark | None:
    """The mark of a file that holds a checkpoint, its signatures unverified; None if there is no such file.

    MalformedError (CONFIGURATION_INVALID) if it cannot be read, or is no checkpoint.
    """
    if not path.exists():
        return None
    data = read_public(path)
    try:
        return Mark(unverified_checkpoint(data), data.decode(), str(path))
    except BadDataError as error:
        raise unusable(path, f"must be a checkpoint: {error.detail}") from None


def own_marks(seen: Path, published: Path | None) -> list[Mark]:
    """What a gateway itself keeps outside its store: its own mark in the folder `seen`, and its published logs.

    Raises what `read_mark` raises.
    """
    files = [seen / SEEN_FILE]
    if published is not None:
        files += sorted(published.glob(f"[0-9]*/{CHECKPOINT_PATH}"))
    return [mark for file in files if (mark := read_mark(file)) is not None]


def marks_beside(store: Path) -> list[Mark]:
    """What lies beside a gateway's store: heads that a quorum cosigned, and proof against its log."""
    files = sorted(store.parent.glob(WITNESSED_FILES))
    return [*(mark for file in files if (mark := read_mark(file)) is not None), *proofs_kept(store)]


def proofs_kept(store: Path) -> list[Mark]:
    """Proof against the log that lies beside its store, as marks; raises what `read_mark` raises."""
    return [mark for name in PROOF_FILES if (mark := read_mark(store.with_name(name))) is not None]


class SeenHead:
    """The gateway's own mark, in a file of its folder: it only rises, and never beyond what the store has durably."""

    def __init__(self, store: SeenStore, folder: Path) -> None:
        self._store = store
        self._path = folder / SEEN_FILE
        self._end: int | None = None

    def require_reached(self) -> None:
        """Hold the store against the mark, if there is one; raises what `require_reached` and `read_mark` raise."""
        found = read_mark(self._path)
        if found is not None:
            require_reached(self._store, (found,))
        self._end = 0

    def keep(self) -> None:
        """Keep the store's head, durably, if it grew. Raises OSError. Nothing, as long as the store is not reached."""
        head = self._store.head()
        if self._end is not None and head is not None and head.end > self._end:
            write_private(self._path, head.checkpoint.encode())
            self._end = head.end
