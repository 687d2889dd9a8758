"""The log as an auditor reads it: whose it is, the checkpoints that others hold of it, and the roots that it had.

Whoever holds a checkpoint of the log (a `Sighting`) can be told whether it is of the same tree. What the leaves say is
`log_index`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.protocol.checkpoint import Checkpoint, open_checkpoint
from gateway.protocol.errors import BadDataError
from gateway.protocol.merkle import Frontier
from gateway.protocol.note import VerifierKey

_CHUNK = 4096
"""Leaf hashes that are added to the tree at once."""


@dataclass(frozen=True, slots=True)
class LogView:
    """All leaves of a log from index 0, as read under `checkpoint`, a signed note.

    `gateways` are the SPIFFE IDs that append to it, `verifiers` every key that ever signed for `origin`. Without a
    checkpoint the log is known and was not read.
    """

    origin: str
    gateways: frozenset[str]
    verifiers: tuple[VerifierKey, ...]
    leaves: Iterable[bytes] = ()
    checkpoint: str = ""
    lost: frozenset[VerifierKey] = frozenset()
    """Those of `verifiers` that were compromised: what they sign alone may be a thief's."""

    def open(self, note: str) -> Checkpoint:
        """A checkpoint that somebody holds, if it is this log's own word; BadDataError."""
        return open_checkpoint(note.encode(), self.verifiers, self.origin)

    def convicts(self, *notes: str) -> bool:
        """Whether each of these, which are the log's own word, is so by a key that nobody else had."""
        sound = [key for key in self.verifiers if key not in self.lost]
        try:
            for note in notes if self.lost else ():
                open_checkpoint(note.encode(), sound, self.origin)
        except BadDataError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Sighting:
    """A checkpoint that `holder` was shown: a requester in a receipt, a department, a witness, another auditor."""

    holder: str
    checkpoint: str


def forks(sightings: Iterable[Sighting], view: LogView) -> list[tuple[Sighting, Sighting]]:
    """Pairs of sightings that cannot be of one tree: the log's own signature under two roots of one size.

    Needs no leaf, so that two holders can compare by themselves. Notes that are not the log's word are passed over.
    """
    first: dict[int, tuple[bytes, Sighting]] = {}
    found = []
    for sighting in sightings:
        try:
            checkpoint = view.open(sighting.checkpoint)
        except BadDataError:
            continue
        root, earlier = first.setdefault(checkpoint.size, (checkpoint.root, sighting))
        if root != checkpoint.root:
            found.append((earlier, sighting))
    return found


class GrowingTree:
    """The tree as it grows leaf by leaf, and its roots at the sizes that are wanted."""

    def __init__(self, sizes: set[int]) -> None:
        self._wanted = sorted(sizes, reverse=True)
        self._frontier = Frontier()
        self._row: list[bytes] = []
        self._roots: dict[int, bytes] = {}
        self._note()

    @property
    def size(self) -> int:
        """Leaves added so far."""
        return self._frontier.size + len(self._row)

    def add(self, hash_of_leaf: bytes) -> None:
        """Append a leaf by its hash."""
        self._row.append(hash_of_leaf)
        if len(self._row) >= _CHUNK or (self._wanted and self.size == self._wanted[-1]):
            self._note()

    def finish(self) -> dict[int, bytes]:
        """The roots at those of the wanted sizes that were reached."""
        self._note()
        return self._roots

    def _note(self) -> None:
        self._frontier, _ = self._frontier.append(self._row)
        self._row = []
        while self._wanted and self._wanted[-1] <= self.size:
            self._roots[self._wanted.pop()] = self._frontier.root()
