"""Proving what is in a store's logs: the one that grows, and those before it, each in its own tree.

Positions are the store's (`gateway.stores.port`); indexes, sizes and proofs are of one log, named by its origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.protocol.checkpoint import origin_of
from gateway.protocol.errors import LogUnavailableError, NotFoundError
from gateway.protocol.merkle import Frontier, NodeReader, consistency_proof, frontier_nodes, inclusion_proof
from gateway.protocol.proof import format_proof, parse_proof
from gateway.protocol.reasons import Reason
from gateway.stores.port import Store
from gateway.stores.records import Committed, Head


class Proofs:
    """Proofs of every log in a store. An empty origin means the log that grows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: Sequence[Head] = ()

    def head(self, origin: str = "") -> Head:
        """The newest durable tree of a log, by default of the one that grows.

        LogUnavailableError before the first leaf; NotFoundError if there is no such log.
        """
        head = self._store.head()
        if head is None:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "the log has no leaf yet", retry_after=1.0)
        if origin in ("", head.origin):
            return head
        found = next((shard for shard in self._store.shards() if shard.origin == origin), None)
        if found is None:
            raise NotFoundError(Reason.NOT_FOUND, "no log of that origin")
        return found

    def of(self, origin: str) -> OneLog:
        """The log of that origin, alone."""
        return OneLog(self, origin)

    def prove(self, position: int, head: Head) -> str:
        """The C2SP tlog-proof of the leaf at a position under `head`; in an earlier log, under its final head."""
        head = self._placed(head)
        tree = head if position >= head.first else self._ended_at(position)
        path = inclusion_proof(position - tree.first, tree.size, self._reader(tree))
        return format_proof(position - tree.first, path, tree.checkpoint)

    def prove_committed(self, committed: Committed) -> str:
        """The C2SP tlog-proof of a leaf as it was committed, under the head of its group: nothing is read for it."""
        head = committed.head
        return format_proof(committed.leaf_index - head.first, committed.path, head.checkpoint)

    def prove_again(self, proof: str, head: Head) -> str:
        """The proof of the same leaf under `head`, or the final head of its log."""
        known = parse_proof(proof.encode())
        return self.prove(self.head(origin_of(known.checkpoint)).first + known.index, head)

    def inclusion(self, index: int, size: int, origin: str = "") -> tuple[bytes, ...]:
        """The inclusion path of a leaf in the tree of a size; NotFoundError past the newest tree."""
        return inclusion_proof(index, size, self._reader(self._sized(size, origin)))

    def root(self, size: int, origin: str = "") -> bytes:
        """The root of the log's first `size` leaves; NotFoundError past the newest tree."""
        node = self._reader(self._sized(size, origin))
        return Frontier(size, tuple(node(level, index) for level, index in frontier_nodes(size))).root()

    def consistency(self, old: int, new: int, origin: str = "") -> tuple[bytes, ...]:
        """The consistency proof between two sizes; NotFoundError past the newest tree."""
        return consistency_proof(old, new, self._reader(self._sized(new, origin)))

    def _placed(self, head: Head) -> Head:
        """A head that came from a note alone, with the place of its log."""
        if head.origin:
            return head
        known = self.head(origin_of(head.checkpoint))
        return replace(head, origin=known.origin, first=known.first, number=known.number)

    def _sized(self, size: int, origin: str) -> Head:
        head = self.head(origin)
        if size > head.size:
            raise NotFoundError(Reason.NOT_FOUND, "the log is not that large yet")
        return head

    def _ended_at(self, position: int) -> Head:
        """The final head of the ended log that holds a position; it never changes, so it is read once."""
        found = next((head for head in self._ended if head.holds(position)), None)
        if found is None:
            self._ended = tuple(head for head in self._store.shards() if head.ended)
            found = next((head for head in self._ended if head.holds(position)), None)
        if found is None:
            raise NotFoundError(Reason.NOT_FOUND, "no leaf at that position")
        return found

    def _reader(self, tree: Head) -> NodeReader:
        return lambda level, index: self._store.node(level, index, tree.number)


class OneLog:
    """One log of a store, as though it were alone: what is published, or shown to witnesses, is of one."""

    def __init__(self, proofs: Proofs, origin: str) -> None:
        self._proofs = proofs
        self._origin = origin

    def head(self) -> Head:
        """Its newest durable tree; LogUnavailableError or NotFoundError before its first leaf."""
        return self._proofs.head(self._origin)

    def root(self, size: int) -> bytes:
        """The root of its first `size` leaves; NotFoundError past the newest tree."""
        return self._proofs.root(size, self._origin)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The consistency proof between two of its sizes; NotFoundError past the newest tree."""
        return self._proofs.consistency(old, new, self._origin)
