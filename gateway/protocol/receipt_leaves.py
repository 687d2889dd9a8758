"""Leaves that a receipt shows, of answers, tickets and disputes: those of one log all in the tree of one checkpoint.

Were they proven in different trees, nobody could say which came first. A gateway's log may have ended and gone on as
another while a query was open: the registry lists their origins in order, and every leaf of the one comes before every
leaf of the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gateway.protocol.checkpoint import Checkpoint, origin_of
from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.proof import parse_proof
from gateway.protocol.query import Query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import log_pb2, receipt_pb2


class Place(NamedTuple):
    """Where a leaf stands, comparable: which of the gateway's logs, counted in their order, and its index there."""

    log: int
    leaf: int


@dataclass(frozen=True, slots=True)
class LoggedLeaf:
    """A leaf and where it stands."""

    place: Place
    leaf: log_pb2.LogLeaf

    @property
    def time(self) -> float:
        """When the gateway recorded it, in seconds since the epoch."""
        return log_time(self.leaf)


def leaf_proofs(receipt: receipt_pb2.Receipt) -> Iterator[receipt_pb2.LeafProof]:
    """Every leaf that a receipt shows, with its proof: of answers, tickets and disputes."""
    yield from receipt.leaves
    beside = (
        *((ticket, name) for ticket in receipt.tickets for name in ("opened", "resolved")),
        *((dispute, name) for dispute in receipt.disputes for name in ("leaf", "resolution_leaf")),
    )
    for owner, name in beside:
        if owner.HasField(name):
            yield getattr(owner, name)


class ReceiptLog:
    """Opens the leaves of one receipt, in whatever order, and remembers the one tree of each log that they are in."""

    def __init__(self, query: Query, registry: Registry) -> None:
        terms = registry.party(query.gateway).gateway
        if terms is None:
            raise ForgedError(Reason.RECEIPT_INVALID, "the query's gateway is no gateway")
        self._gateway = query.gateway
        self._registry = registry
        self._rank = {origin: rank for rank, origin in enumerate(terms.origins)}
        self._notes: dict[str, str] = {}
        self._checkpoints: dict[str, Checkpoint] = {}

    def open(self, item: receipt_pb2.LeafProof) -> LoggedLeaf:
        """A leaf that is in a log of the gateway's, recorded by it under no newer registry; ForgedError otherwise."""
        proof, leaf = parse_proof(item.proof.encode()), read_leaf(item.leaf)
        origin = origin_of(proof.checkpoint)
        if origin not in self._rank:
            raise ForgedError(Reason.KEY_UNKNOWN, "a log that the registry does not list for the gateway")
        if self._notes.setdefault(origin, proof.checkpoint) != proof.checkpoint:
            raise ForgedError(Reason.RECEIPT_INVALID, "leaves of different trees")
        if leaf.gateway != self._gateway or leaf.registry_version > self._registry.version:
            raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of another gateway, or of a newer registry")
        verifiers = proof_verifiers(self._registry, self._gateway, origin, log_time(leaf))
        self._checkpoints[origin] = proof.verify(item.leaf, verifiers, origin)
        return LoggedLeaf(Place(self._rank[origin], proof.index), leaf)

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The verified tree of each log of which a leaf was opened, in the order in which the logs grew."""
        return tuple(self._checkpoints[origin] for origin in sorted(self._checkpoints, key=self._rank.__getitem__))

    @property
    def notes(self) -> tuple[str, ...]:
        """Those checkpoints as they came, with all their signatures."""
        return tuple(self._notes[checkpoint.origin] for checkpoint in self.checkpoints)
