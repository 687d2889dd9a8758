"""Publishing a log: what the store has durably becomes files of C2SP tlog-tiles, the checkpoint last.

    published checkpoint → is the store's tree its continuation? → new tiles and bundles → checkpoint → kept, cleaned

- The published checkpoint is where it goes on from: a start takes the same time for a log of any size. What it stands
  for was durable before it was shown, and is not written or hashed again.
- A store that is smaller than what was published, or has another root of that size, was rolled back or forked. That
  is a ForgedError (LOG_ROLLED_BACK, LOG_FORKED): nothing may be signed by that store any more, because somebody has
  seen the other tree. Signatures do not matter for it: the folder is the gateway's own memory.
- What is published is a head's note, verbatim. Its tiles come from the store's complete nodes and leaves, one tile at
  a time: memory does not grow with what there is to catch up with.
- A failing disk leaves what was published as it was.

A tile may be written and its checkpoint never shown (the process was killed): the next attempt writes the same
again, or other content, should the store meanwhile have been replaced by one that had never shown it either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.errors import ForgedError, LogUnavailableError, MalformedError
from gateway.protocol.merkle import EMPTY_ROOT, Frontier, frontier_nodes, leaf_hash
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Bundle,
    Tile,
    bundles_between,
    encode_entries,
    tiles_between,
)
from gateway.static_log.folder import PublishedFolder
from gateway.stores.records import Head

HeadReader = Callable[[], Head | None]
"""The head to publish: the store's own, or the newest that bears what it has to, such as cosignatures."""


class TreeReader(Protocol):
    """What publishing needs of the store."""

    def head(self) -> Head | None:
        """The newest durable tree, or None in a new store."""
        ...

    def node(self, level: int, index: int) -> bytes:
        """A complete node of the tree; LogUnavailableError if the store has lost it."""
        ...

    def nodes(self, level: int, start: int, count: int) -> Sequence[bytes]:
        """Up to `count` complete nodes of a level, from index `start` on."""
        ...

    def leaves(self, start: int, count: int) -> Sequence[bytes]:
        """Up to `count` leaves from `start` on."""
        ...


class Publisher:
    """Publishes one log into its folder. Call `resume` once, then `publish` as often as wanted, from one thread."""

    def __init__(
        self,
        *,
        store: TreeReader,
        folder: PublishedFolder,
        origin: str,
        head: HeadReader,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._folder = folder
        self._origin = origin
        self._head = head
        self._clock = clock
        self._published = Checkpoint(origin, 0, EMPTY_ROOT)
        self._note = b""

    @property
    def size(self) -> int:
        """Leaves that are published."""
        return self._published.size

    def resume(self) -> None:
        """Take up what was published, and hold the store against it.

        Raises ForgedError (LOG_ROLLED_BACK, LOG_FORKED) if the store does not continue it, MalformedError if the folder
        holds another log (CONFIGURATION_INVALID) or its checkpoint cannot be read (LOG_FORKED), UnreachableError if
        one of them cannot be read now.
        """
        self._take_up()
        self._require_continued(self._store.head())

    def publish(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Publish the head, if there is news; whether it was. What is interrupted is taken up by the next call.

        Nothing is done while another process publishes there. Raises what `resume` raises, ForgedError (TILE_INVALID)
        if the store does not fit its own tree, OSError if the folder cannot be written, LogUnavailableError if the
        store cannot be read.
        """
        if self._store.head() is None and self.size == 0:
            return False
        with self._folder.alone() as is_alone:
            return is_alone and self._publish(interrupted)

    def _publish(self, interrupted: Callable[[], bool]) -> bool:
        self._take_up()  # a replica may have published meanwhile, of the same store
        self._folder.clean(self.size)
        head = self._head()
        stored = self._store.head()  # read last, so that it is the largest
        self._require_continued(stored)
        if head is None or stored is None or head.size < self.size:
            return False
        note = head.checkpoint.encode()
        if note == self._note:
            return False
        shown = self._checked(head, stored)
        if not self._put_all(head.size, interrupted):
            return False
        self._folder.publish(note, head.size, self.size)
        self._published, self._note = shown, note
        self._folder.keep(head.size, note, self._clock())
        self._folder.clean(self.size)
        return True

    def _take_up(self) -> None:
        """Go on from what the folder shows."""
        found = self._folder.read()
        if found is None:
            self._published, self._note = Checkpoint(self._origin, 0, EMPTY_ROOT), b""
            return
        checkpoint, note = found
        if checkpoint.origin != self._origin:
            expected = f"holds the log {checkpoint.origin}, not {self._origin}: name another folder"
            raise MalformedError.at(f"published {self._folder.folder}", expected, Reason.CONFIGURATION_INVALID)
        self._published, self._note = checkpoint, note

    def _checked(self, head: Head, stored: Head) -> Checkpoint:
        """The checkpoint of a head, which must be of this log and of the store's tree."""
        shown = unverified_checkpoint(head.checkpoint)
        if shown != Checkpoint(self._origin, head.size, head.root) or head.size > stored.size:
            raise ForgedError(Reason.LOG_FORKED, "the checkpoint to publish is not of the store's tree")
        if self._root_at(head.size) != head.root:
            raise ForgedError(Reason.LOG_FORKED, f"the store's nodes do not give the root of its size {head.size}")
        return shown

    def _require_continued(self, stored: Head | None) -> None:
        """Refuse a store whose tree does not begin with the published one."""
        size = stored.size if stored is not None else 0
        if size < self.size:
            detail = f"{self.size} leaves were published, the store has {size}"
            raise ForgedError(Reason.LOG_ROLLED_BACK, detail)
        if self._root_at(self.size) != self._published.root:
            detail = f"the store's tree of {self.size} leaves is another than was published"
            raise ForgedError(Reason.LOG_FORKED, detail)

    def _root_at(self, size: int) -> bytes:
        return Frontier(size, tuple(self._store.node(*node) for node in frontier_nodes(size))).root()

    def _put_all(self, size: int, interrupted: Callable[[], bool]) -> bool:
        """Write all that the size has and the published one had not; False if interrupted."""
        for bundle in bundles_between(self.size, size):
            if interrupted():
                return False
            self._put_bundle(bundle)
        for tile in tiles_between(self.size, size):
            if interrupted():
                return False
            if tile.level:
                self._folder.put(tile, b"".join(self._hashes(tile)))
        return True

    def _put_bundle(self, bundle: Bundle) -> None:
        """A bundle and the level-0 tile of its hashes, which each of its entries must have."""
        tile = Tile(0, bundle.index, bundle.width)
        start, hashes = bundle.index * TILE_WIDTH, self._hashes(tile)
        leaves = self._store.leaves(start, bundle.width)
        for at, (leaf, expected) in enumerate(zip(leaves, hashes, strict=False), start=start):
            if leaf_hash(leaf) != expected:
                raise ForgedError(Reason.TILE_INVALID, f"leaf {at} of the store is not the one of its tree")
        if len(leaves) != bundle.width:
            raise _lost()
        self._folder.put(bundle, encode_entries(leaves))
        self._folder.put(tile, b"".join(hashes))

    def _hashes(self, tile: Tile) -> Sequence[bytes]:
        hashes = self._store.nodes(TILE_HEIGHT * tile.level, tile.index * TILE_WIDTH, tile.width)
        if len(hashes) != tile.width:
            raise _lost()
        return hashes


def _lost() -> LogUnavailableError:
    return LogUnavailableError(Reason.LOG_UNAVAILABLE, "the store has lost leaves or nodes of its tree")
