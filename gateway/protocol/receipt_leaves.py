"""Leaves that a receipt shows beside those of its answers, of tickets and disputes: all in the tree of one checkpoint.

Were they proven in different trees, nobody could say which came first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.proof import parse_proof
from gateway.protocol.query import Query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import log_pb2, receipt_pb2


@dataclass(frozen=True, slots=True)
class LoggedLeaf:
    """A leaf and where it stands."""

    index: int
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


def checkpoint_of(receipt: receipt_pb2.Receipt) -> str:
    """The signed note of the tree in which the receipt's first leaf is proven; MalformedError."""
    return parse_proof(receipt.leaves[0].proof.encode()).checkpoint


def open_logged(item: receipt_pb2.LeafProof, note: str, query: Query, registry: Registry) -> LoggedLeaf:
    """A leaf that is in the tree of `note`, by the query's gateway, under no newer registry; ForgedError otherwise."""
    gateway = registry.party(query.gateway).gateway
    proof, leaf = parse_proof(item.proof.encode()), read_leaf(item.leaf)
    if gateway is None or proof.checkpoint != note:
        raise ForgedError(Reason.RECEIPT_INVALID, "leaves of different trees")
    if leaf.gateway != query.gateway or leaf.registry_version > registry.version:
        raise ForgedError(Reason.RECEIPT_INVALID, "a leaf of another gateway, or of a newer registry")
    verifiers = proof_verifiers(registry, query.gateway, gateway.log_origin, log_time(leaf))
    proof.verify(item.leaf, verifiers, gateway.log_origin)
    return LoggedLeaf(proof.index, leaf)
