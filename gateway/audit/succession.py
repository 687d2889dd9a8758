"""How one log of a gateway goes on from another: what its leaves must say of that, and what must agree.

    … ─ shard_end(next: B)          log A, listed as ended: its last leaf, and nothing after it
              │
    shard_start(A, size, root) ─ …  log B: its first leaf, and no other

- A log begins with a shard_start if, and only if, the registry lists another before it, and names just that one.
- A log that ends names the one that the registry lists next; nothing stands behind that leaf.
- The size and root that B begins with are those of A's newest checkpoint, whose last leaf names B.

So neither may A grow on behind an auditor's back, nor two logs go on from it, nor B from a tree that A never had.
Pure: whoever reads logs (the report, fsck, a monitor, a reconciliation) feeds it what it read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.protocol.checkpoint_text import Checkpoint
from gateway.protocol.errors import ForgedError, NotCurrentError
from gateway.protocol.leaf import read_leaf
from gateway.protocol.merkle import leaf_hash, verify_inclusion
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class Predecessor:
    """What the first leaf of a log says of the log before it."""

    origin: str
    size: int
    root: bytes


class ShardEnds:
    """Watches the leaves of one log, in order, for its beginning and its end.

    `origins` are the gateway's, in the registry's order, `version` the registry's. A reading that goes on where an
    earlier one stopped is told how many leaves were read, and whether the last of them was the log's end.
    """

    def __init__(
        self, origins: Sequence[str], origin: str, version: int, *, read: int = 0, next_origin: str = ""
    ) -> None:
        rank = origins.index(origin)
        self._previous = origins[rank - 1] if rank else ""
        self._following = origins[rank + 1] if rank + 1 < len(origins) else ""
        self._version = version
        self._read = read
        self.next_origin = next_origin
        """The log that goes on, once the last leaf has named it."""
        self.predecessor: Predecessor | None = None
        """What the first leaf says, if it was read, and the log is not the gateway's first."""

    def add(self, leaf: log_pb2.LogLeaf | None) -> None:
        """The next leaf, or None for one that cannot be read.

        ForgedError (LOG_ENDED) if it stands behind the end, ForgedError (PROOF_INVALID) if it begins or ends the log
        where or as it must not, NotCurrentError (REGISTRY_ROLLED_BACK) if only a newer registry could say.
        """
        index, self._read = self._read, self._read + 1
        if self.next_origin:
            raise ForgedError(Reason.LOG_ENDED, f"leaf {index} stands behind the leaf that ended the log")
        event = leaf.WhichOneof("event") if leaf is not None else None
        if (event == "shard_start") is not (index == 0 and bool(self._previous)):
            raise ForgedError(Reason.PROOF_INVALID, f"leaf {index}: a log begins once, where another ended")
        if leaf is None:
            return
        if event == "shard_start":
            start = leaf.shard_start
            self.predecessor = Predecessor(start.previous_origin, start.previous_size, start.previous_root)
            if start.previous_origin != self._previous:
                raise ForgedError(Reason.PROOF_INVALID, "it goes on from another log than the registry lists before it")
        if event == "shard_end":
            self._end(leaf)

    def _end(self, leaf: log_pb2.LogLeaf) -> None:
        self.next_origin = leaf.shard_end.next_origin
        if self.next_origin == self._following:
            return
        if leaf.registry_version > self._version:
            detail = f"it ended under registry version {leaf.registry_version}; version {self._version} is held"
            raise NotCurrentError(Reason.REGISTRY_ROLLED_BACK, detail)
        raise ForgedError(Reason.PROOF_INVALID, "the log ends for another than the registry lists after it")


def ends_of(registry: Registry, gateway: str, origin: str) -> ShardEnds:
    """For a reading of a gateway's log from its first leaf on; ForgedError (KEY_UNKNOWN) if it is none of its."""
    terms = registry.party(gateway).gateway
    if terms is None or origin not in terms.origins:
        raise ForgedError(Reason.KEY_UNKNOWN, "a log that the registry does not list for the gateway")
    return ShardEnds(terms.origins, origin, registry.version)


def require_succession(
    predecessor: Predecessor, origin: str, final: Checkpoint, last_leaf: bytes, path: Sequence[bytes]
) -> None:
    """Hold what the log `origin` says of the one before it against that log itself; ForgedError.

    `final` is the verified newest checkpoint of the log before, `last_leaf` its last leaf with its inclusion path.
    """
    if (final.origin, final.size) != (predecessor.origin, predecessor.size):
        detail = f"it has {final.size} leaves, and the log after it goes on from {predecessor.size}"
        raise ForgedError(Reason.LOG_ENDED, f"{final.origin} did not end where it ended: {detail}")
    if final.root != predecessor.root:
        raise ForgedError(Reason.LOG_FORKED, f"{final.origin} is not the log from which the one after it goes on")
    verify_inclusion(leaf_hash(last_leaf), final.size - 1, final.size, path, final.root)
    if read_leaf(last_leaf).shard_end.next_origin != origin:
        raise ForgedError(Reason.PROOF_INVALID, f"the last leaf of {final.origin} does not name the log after it")
