"""Stamping leaves: what every leaf says besides its event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.party.process import Clock
from gateway.protocol.codec import to_timestamp
from gateway.protocol.identities import Identity
from gateway.protocol.leaf import write_leaf
from gateway.protocol.registry import Registry
from heyan.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class LeafStamp:
    """Knows which gateway this is, the registry in force, and the time."""

    gateway: Identity
    registry: Callable[[], Registry]
    clock: Clock

    def __call__(self, leaf: log_pb2.LogLeaf, at: float | None = None) -> bytes:
        """The canonical bytes of `leaf`, which holds its event, recorded by this gateway now, or as of `at`."""
        leaf.log_time.CopyFrom(to_timestamp(self.clock() if at is None else at))
        leaf.gateway = self.gateway.uri
        leaf.registry_version = self.registry().version
        return write_leaf(leaf)
