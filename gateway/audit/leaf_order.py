"""What must hold of leaves one after another, whatever they say.

time      no leaf is earlier than one before it by more than ORDER_TOLERANCE
start     a shard_start is the first leaf
end       nothing follows a shard_end
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.audit.bad_places import Wrong
from gateway.audit.reconciliation import ORDER_TOLERANCE
from gateway.protocol.errors import MalformedError
from gateway.protocol.leaf import log_time, read_leaf
from heyan.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class Unsound:
    """What is wrong with one leaf. `detail` names the broken bound or the times, and no content."""

    wrong: Wrong
    index: int
    detail: str = ""


@dataclass(slots=True)
class LeafOrder:
    """Reads leaves in the order of the log. `gateways` may write to it; anybody may if it is empty.

    `latest` is the latest time that a leaf bore, `ended` the index of the leaf that ended the log.
    """

    gateways: frozenset[str] = frozenset()
    latest: float = 0.0
    ended: int | None = None

    def read(self, index: int, data: bytes) -> tuple[log_pb2.LogLeaf | None, list[Unsound]]:
        """The leaf, None if it cannot be read; and what is wrong with it."""
        wrong: list[Unsound] = []
        if self.ended is not None:
            wrong.append(Unsound(Wrong.AFTER_END, index, f"the log ended with entry {self.ended}"))
        try:
            leaf = read_leaf(data)
        except MalformedError as error:
            wrong.append(Unsound(Wrong.LEAF_UNREADABLE, index, error.detail))
            return None, wrong
        time = log_time(leaf)
        if time < self.latest - ORDER_TOLERANCE:
            detail = f"{self.latest - time:.0f} s before the latest entry so far"
            wrong.append(Unsound(Wrong.LEAF_BACKWARDS, index, detail))
        self.latest = max(self.latest, time)
        if self.gateways and leaf.gateway not in self.gateways:
            wrong.append(Unsound(Wrong.LEAF_OF_OTHER_GATEWAY, index))
        if leaf.HasField("shard_start") and index:
            wrong.append(Unsound(Wrong.START_WITHIN, index))
        if leaf.HasField("shard_end") and self.ended is None:
            self.ended = index
        return leaf, wrong
