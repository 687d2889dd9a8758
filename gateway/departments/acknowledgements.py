"""Acknowledging reply batches: once every statement of a batch is logged, its department is told where.

Batches and requests do not match one to one, so each batch waits here until the leaves of all its statements
are known. What is lost with the process is not owed twice: the node sends an unacknowledged batch again, and
statements that are already logged are found in the store.

One checkpoint acknowledges a whole batch. One that was logged partly in a log that has ended is therefore left to its
node, which sends it again: then all of it is recorded in the log that grows (`gateway.events`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.departments.port import Acknowledgement, DepartmentPort
from gateway.protocol.attestation import SignedBatch, StatementProof
from gateway.stores.records import Head

MAX_OPEN_BATCHES = 4_096
"""Batches whose statements are not all logged yet; the oldest is forgotten first (its node sends it again)."""


@dataclass(slots=True)
class _OpenBatch:
    department: str
    digest: bytes
    statements: tuple[bytes, ...]
    indexes: dict[bytes, int] = field(default_factory=dict)
    head: Head | None = None
    """The newest tree under which a statement was told: it covers the others too, unless their log has ended."""

    def logged(self, statement: bytes, index: int, head: Head) -> None:
        """A statement is durable at a position, under a head; they may be told out of order."""
        self.indexes[statement] = index
        if self.head is None or head.end > self.head.end:
            self.head = head

    def acknowledgement(self, head: Head) -> Acknowledgement | None:
        """What is told once all is logged; None if `head` is not the tree of all of it."""
        positions = [self.indexes[item] for item in self.statements]
        if not all(map(head.holds, positions)):
            return None
        return Acknowledgement(self.digest, tuple(position - head.first for position in positions), head.checkpoint)


class Acknowledgements:
    """Keeps count of open batches, and acknowledges each when it is complete."""

    def __init__(self, department: Callable[[str], DepartmentPort | None]) -> None:
        self._department = department
        self._open: dict[bytes, _OpenBatch] = {}
        self._batches_of: dict[bytes, set[bytes]] = {}

    def expect(self, department: str, signed: SignedBatch, proofs: Sequence[StatementProof]) -> None:
        """A verified batch has arrived: `proofs` are all its statements, in any order."""
        digest = signed.digest
        statements = tuple(proof.digest for proof in sorted(proofs, key=lambda proof: proof.index))
        if len(self._open) >= MAX_OPEN_BATCHES:
            self._forget(next(iter(self._open)))
        self._open[digest] = _OpenBatch(department, digest, statements)
        for statement in statements:  # a statement that is repeated stands in several batches
            self._batches_of.setdefault(statement, set()).add(digest)

    def logged(self, indexes: Mapping[bytes, int], head: Head) -> None:
        """Statements (by digest) are durable at these positions, in the tree of `head`."""
        touched = set()
        for statement, index in indexes.items():
            for digest in self._batches_of.get(statement, ()):
                self._open[digest].logged(statement, index, head)
                touched.add(digest)
        for digest in touched:
            batch = self._open[digest]
            if batch.head is not None and batch.indexes.keys() >= set(batch.statements):
                self._forget(digest)
                port, told = self._department(batch.department), batch.acknowledgement(batch.head)
                if port is not None and told is not None:
                    port.acknowledge(told)

    def _forget(self, digest: bytes) -> None:
        for statement in self._open.pop(digest).statements:
            batches = self._batches_of.get(statement, set())
            batches.discard(digest)
            if not batches:
                self._batches_of.pop(statement, None)
