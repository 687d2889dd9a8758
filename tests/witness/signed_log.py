"""A log in memory that signs whatever it is told to: honest, forked, rolled back; and requests of it to witnesses."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import NotFoundError
from gateway.protocol.merkle import Frontier, consistency_proof, leaf_hash, root_of
from gateway.protocol.note import SignerKey
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import AddCheckpoint
from gateway.stores.records import Head

ORIGIN = "heyan.test/log"
SIGNER = SignerKey.from_seed(ORIGIN, bytes(32))
NEXT = SignerKey.from_seed(ORIGIN, bytes([1]) * 32)
STRANGER = SignerKey.from_seed(ORIGIN, bytes([2]) * 32)


class SignedLog:
    """A tree of leaves; `fork` goes another way from a size on."""

    def __init__(self, leaves: Sequence[bytes] = (), signers: Sequence[SignerKey] = (SIGNER,)) -> None:
        self.leaves = [leaf_hash(leaf) for leaf in leaves]
        self.signers = tuple(signers)

    @classmethod
    def of(cls, size: int) -> SignedLog:
        return cls([b"%d" % number for number in range(size)])

    def grow(self, count: int = 1) -> None:
        size = len(self.leaves)
        self.leaves += [leaf_hash(b"%d" % number) for number in range(size, size + count)]

    def fork(self, size: int, count: int = 1) -> SignedLog:
        """Another log of the same key, which agrees in the first `size` leaves and has others after them."""
        other = SignedLog(signers=self.signers)
        other.leaves = self.leaves[:size] + [leaf_hash(b"other %d" % number) for number in range(count)]
        return other

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = len(self.leaves) if size is None else size
        return Checkpoint(ORIGIN, size, root_of(self.leaves[:size]))

    def note(self, size: int | None = None) -> str:
        return sign_checkpoint(self.checkpoint(size), self.signers)

    def request(self, old: int, size: int | None = None, proof: Sequence[bytes] | None = None) -> bytes:
        """A request with the right proof, unless another is given."""
        size = len(self.leaves) if size is None else size
        if proof is None:
            proof = self.consistency(old, size) if 0 < old < size else ()
        return AddCheckpoint(old, tuple(proof), self.note(size)).format()

    # -- what the gateway's log gives ------------------------------------------------------------------------

    def head(self) -> Head:
        checkpoint = self.checkpoint()
        return Head(checkpoint.size, checkpoint.root, self.note())

    def root(self, size: int) -> bytes:
        if size > len(self.leaves):
            raise NotFoundError(Reason.NOT_FOUND)
        return root_of(self.leaves[:size])

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        _, added = Frontier().append(self.leaves[:new])
        nodes = {(level, index): node for level, index, node in added}
        return consistency_proof(old, new, lambda level, index: nodes[level, index])
