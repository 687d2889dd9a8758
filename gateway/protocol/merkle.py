"""Merkle trees of RFC 9162 §2.1: attestation batches held in memory, and the growing tree of the log.

    leaf  = SHA-256(0x00 ‖ data)
    node  = SHA-256(0x01 ‖ left ‖ right)
    empty = SHA-256("")

Every hash is 32 bytes. A batch is small and computed whole (`paths_of`). The log's tree is never held whole:
a store keeps its *complete nodes*, keyed (level, index), where node (level, index) covers the leaves
[index · 2^level, (index + 1) · 2^level). Invariants:

- a complete node never changes once its last leaf is appended, so a store only ever adds nodes;
- `Frontier` alone is enough to append and to know the root; it is the same for every way of batching;
- each hash of a proof, of any past size, is folded from complete nodes (`…_nodes` lists which);
- a C2SP tile is a slice of them: hash k of tile (L, N) is node (8·L, 256·N + k).

A proof that does not hold is a ForgedError (PROOF_INVALID); asking for a proof of a leaf or a size that
cannot be is a MalformedError. Nothing here reads a store or judges a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from itertools import chain

from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.reasons import Reason

HASH_BYTES = 32
MAX_TREE_SIZE = 2**63 - 1
"""Leaves: what a signed 64-bit column holds; no log reaches it."""
MAX_PATH_HASHES = 63
"""The longest inclusion path of a tree of MAX_TREE_SIZE leaves."""
EMPTY_ROOT = sha256(b"").digest()

Coordinate = tuple[int, int]
"""(level, index) of a complete node; leaves are level 0."""
StoredNode = tuple[int, int, bytes]
"""(level, index, hash) of a complete node: one row of a store."""
NodeReader = Callable[[int, int], bytes]
"""Reads the hash of the complete node (level, index)."""
_Range = tuple[int, int]


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf holding `data` (RFC 9162 §2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node over two 32-byte hashes (RFC 9162 §2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over `leaf_hashes`, in order; EMPTY_ROOT for none."""
    return _levels(leaf_hashes)[-1][0] if leaf_hashes else EMPTY_ROOT


def paths_of(leaf_hashes: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root, and for each leaf its inclusion path, leaf to root. One pass for a whole batch: n - 1 hashes."""
    if not leaf_hashes:
        return EMPTY_ROOT, []
    levels = _levels(leaf_hashes)
    paths: list[tuple[bytes, ...]] = [()]
    for level in reversed(levels[:-1]):
        last = len(level) - 1
        paths = [paths[i >> 1] if i == last and not i & 1 else (level[i ^ 1], *paths[i >> 1]) for i in range(last + 1)]
    return levels[-1][0], paths


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The inclusion path of leaf `index`, leaf to root (RFC 9162 §2.1.3.1), in a tree held in memory.

    Raises MalformedError if there is no such leaf. For all leaves at once, `paths_of` costs hardly more.
    """
    _check_leaf(index, len(leaf_hashes))
    return paths_of(leaf_hashes)[1][index]


def root_from_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that `path` gives for leaf `index` of a tree of `size` leaves (RFC 9162 §2.1.3.2).

    Raises ForgedError (PROOF_INVALID) if the path has not the shape of that leaf and size. The root returned
    proves nothing until it is held against a signed one.
    """
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise _forged("the index is not below the size")
    _check_hashes((leaf_hash, *path))
    node = leaf_hash
    for sibling, is_left in zip(path, _sides(index, size - 1, len(path)), strict=True):
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
    return node


def verify_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Hold leaf `index` against `root` of a tree of `size` leaves; ForgedError (PROOF_INVALID)."""
    if root_from_inclusion(leaf_hash, index, size, path) != root:
        raise _forged("the inclusion path leads to another root")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Prove that the new tree is the old one with leaves appended (RFC 9162 §2.1.4.2); ForgedError (PROOF_INVALID).

    Refuses `old_size` 0: everything extends the empty tree, so whoever starts there must decide it itself.
    """
    if not 0 < old_size <= new_size <= MAX_TREE_SIZE:
        raise _forged("the sizes are not 0 < old <= new")
    _check_hashes((old_root, new_root, *path))
    if old_size == new_size and old_root == new_root and not path:
        return
    if old_size == new_size or not path:
        raise _forged("equal sizes need equal roots and no path, others need a path")
    position, last = old_size - 1, new_size - 1
    while position & 1:  # climb to the largest complete subtree that ends where the old tree ends
        position, last = position >> 1, last >> 1
    # When that subtree is the whole old tree its hash is the old root, and the path leaves it out.
    old_node, *rest = path if position else (old_root, *path)
    new_node = old_node
    for sibling, is_left in zip(rest, _sides(position, last, len(rest)), strict=True):
        if is_left:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
        else:
            new_node = node_hash(new_node, sibling)
    if old_node != old_root or new_node != new_root:
        raise _forged("the consistency path leads to other roots")


def _sides(position: int, last: int, length: int) -> list[bool]:
    """For each of `length` siblings up from node `position` of a level ending at node `last`: is it the left one?

    Raises ForgedError (PROOF_INVALID) if the root is not exactly that many siblings away.
    """
    sides: list[bool] = []
    for _ in range(length):
        if last == 0:
            raise _forged("the path is too long")
        is_left = bool(position & 1) or position == last
        while is_left and not position & 1:  # unpaired at the right edge: carried up until it has a left sibling
            position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
        sides.append(is_left)
    if last != 0:
        raise _forged("the path is too short")
    return sides


@dataclass(frozen=True, slots=True)
class Frontier:
    """What appending needs to know of a tree: its size, and its largest complete subtrees from left to right.

    There is one hash for each 1 in the size's binary form, the widest subtree first; `frontier_nodes(size)` are
    their coordinates. Raises MalformedError if size and hashes disagree.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        shape = [HASH_BYTES] * self.size.bit_count()
        if not 0 <= self.size <= MAX_TREE_SIZE or [len(item) for item in self.hashes] != shape:
            raise MalformedError.at("frontier", "must hold one hash for each 1 in the binary form of its size")

    def root(self) -> bytes:
        """The root of the whole tree; EMPTY_ROOT at size 0."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT

    def append(self, leaf_hashes: Iterable[bytes]) -> tuple[Frontier, list[StoredNode]]:
        """The frontier after appending `leaf_hashes` in order, and every node that became complete by it.

        The nodes include the leaves, level by level, and are each returned by exactly one append of the log's
        life: a store inserts them in the transaction that moves the size, and never updates one.
        """
        kept = {level: node for (level, _), node in zip(frontier_nodes(self.size), self.hashes, strict=True)}
        row = list(leaf_hashes)
        size = self.size + len(row)
        added: list[StoredNode] = []
        level, start = 0, self.size
        while row:
            added.extend((level, start + offset, node) for offset, node in enumerate(row))
            if start & 1:
                row.insert(0, kept[level])
            kept[level] = row[-1]
            row = _pair(row)
            level, start = level + 1, start >> 1
        return Frontier(size, tuple(kept[level] for level, _ in frontier_nodes(size))), added


def frontier_nodes(size: int) -> tuple[Coordinate, ...]:
    """The complete nodes whose hashes, in this order, are the `Frontier` of a tree of `size` leaves."""
    return tuple(_complete_nodes((0, size)))


def inclusion_nodes(index: int, size: int) -> tuple[Coordinate, ...]:
    """The complete nodes that `inclusion_proof` will read: at most 2·log2(size), for one batched read."""
    return tuple(chain.from_iterable(map(_complete_nodes, _inclusion_ranges(index, size))))


def consistency_nodes(old_size: int, new_size: int) -> tuple[Coordinate, ...]:
    """The complete nodes that `consistency_proof` will read: at most 2·log2(new_size), for one batched read."""
    return tuple(chain.from_iterable(map(_complete_nodes, _consistency_ranges(old_size, new_size))))


def inclusion_proof(index: int, size: int, node_reader: NodeReader) -> tuple[bytes, ...]:
    """The inclusion path of leaf `index` in the tree of the log's first `size` leaves (RFC 9162 §2.1.3.1).

    Raises MalformedError unless 0 <= index < size. `node_reader` must know every complete node up to `size`.
    """
    return _read(_inclusion_ranges(index, size), node_reader)


def consistency_proof(old_size: int, new_size: int, node_reader: NodeReader) -> tuple[bytes, ...]:
    """The consistency path from `old_size` to `new_size` leaves (RFC 9162 §2.1.4.1); empty for equal sizes.

    Raises MalformedError unless 0 < old_size <= new_size.
    """
    return _read(_consistency_ranges(old_size, new_size), node_reader)


def _inclusion_ranges(index: int, size: int) -> list[_Range]:
    """The leaf ranges whose roots are the path of `index`, leaf to root."""
    _check_leaf(index, size)
    return [sibling for sibling, _ in _descend(index + 1, size)][::-1]


def _consistency_ranges(old_size: int, new_size: int) -> list[_Range]:
    """The leaf ranges whose roots are the path from `old_size` to `new_size`, bottom up."""
    if not 0 < old_size <= new_size <= MAX_TREE_SIZE:
        raise MalformedError.at("old_size", "must be at least 1 and at most the new size")
    ranges: list[_Range] = []
    entered, way = (0, new_size), _descend(old_size, new_size)
    while entered[1] != old_size:
        sibling, entered = next(way)
        ranges.append(sibling)
    if entered[0]:  # from leaf 0 it is the old tree itself, whose root the verifier holds
        ranges.append(entered)
    return ranges[::-1]


def _descend(end: int, size: int) -> Iterator[tuple[_Range, _Range]]:
    """The way from the root to the leaf before `end`: at each step the sibling passed by and the subtree entered.

    A range of at least two leaves splits at the largest power of two below its width (RFC 9162 §2.1.1).
    """
    low, high = 0, size
    while high - low > 1:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        left, right = (low, middle), (middle, high)
        sibling, (low, high) = (right, left) if end <= middle else (left, right)
        yield sibling, (low, high)


def _complete_nodes(leaves: _Range) -> Iterator[Coordinate]:
    """The complete nodes that cover a range of the tree's own splitting, widest first."""
    low, high = leaves
    while low < high:
        level = (high - low).bit_length() - 1
        yield level, low >> level
        low += 1 << level


def _read(ranges: Iterable[_Range], node_reader: NodeReader) -> tuple[bytes, ...]:
    return tuple(_fold([node_reader(*node) for node in _complete_nodes(leaves)]) for leaves in ranges)


def _fold(hashes: Sequence[bytes]) -> bytes:
    """The root over adjacent complete subtrees, widest first."""
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


def _levels(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """All levels from the leaves to the root; an unpaired last node is carried up as it is."""
    levels = [list(leaf_hashes)]
    while len(row := levels[-1]) > 1:
        above = _pair(row)
        if len(row) & 1:
            above.append(row[-1])
        levels.append(above)
    return levels


def _pair(row: list[bytes]) -> list[bytes]:
    # Written out rather than through `node_hash`: this is where a batch and an append spend their time.
    return [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]


def _check_leaf(index: int, size: int) -> None:
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise MalformedError.at("index", "must be at least 0 and below the tree size")


def _check_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(item) != HASH_BYTES for item in hashes):
        raise _forged(f"a hash is not of {HASH_BYTES} bytes")


def _forged(detail: str) -> ForgedError:
    return ForgedError(Reason.PROOF_INVALID, detail)
