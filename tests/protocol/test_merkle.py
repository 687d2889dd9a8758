"""Merkle trees: published vectors, every small tree against RFC 9162's recursive definitions, and forgeries."""

from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import merkle
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError
from gateway.protocol.reasons import Reason

LARGEST = 40

# The Certificate Transparency reference leaves and the roots of their first 1 to 8.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    bytes.fromhex(text)
    for text in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
CT_PATH_5_OF_8 = tuple(
    bytes.fromhex(text)
    for text in (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    )
)
CT_CONSISTENCY_6_TO_8 = tuple(
    bytes.fromhex(text)
    for text in (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    )
)

LEAVES = [merkle.leaf_hash(index.to_bytes(2, "big")) for index in range(LARGEST)]
OTHER = sha256(b"other").digest()


# -- RFC 9162 §2.1, word for word, as the oracle ------------------------------------------------------------


def split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(leaves):
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m, leaves):
    if len(leaves) == 1:
        return ()
    k = split(len(leaves))
    if m < k:
        return (*path(m, leaves[:k]), mth(leaves[k:]))
    return (*path(m - k, leaves[k:]), mth(leaves[:k]))


def subproof(m, leaves, complete):
    if m == len(leaves):
        return () if complete else (mth(leaves),)
    k = split(len(leaves))
    if m <= k:
        return (*subproof(m, leaves[:k], complete), mth(leaves[k:]))
    return (*subproof(m - k, leaves[k:], False), mth(leaves[:k]))


def stored(leaf_hashes):
    """The nodes that a store holds after one append."""
    frontier, nodes = merkle.Frontier().append(leaf_hashes)
    return frontier, {(level, index): node for level, index, node in nodes}


FRONTIER, NODES = stored(LEAVES)


def read(level, index):
    return NODES[level, index]


# -- vectors ------------------------------------------------------------------------------------------------


def test_empty_root_is_the_hash_of_nothing():
    empty = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert merkle.EMPTY_ROOT == merkle.root_of([]) == merkle.Frontier().root() == empty
    assert merkle.paths_of([]) == (empty, [])


@pytest.mark.parametrize("size", range(1, 9))
def test_ct_reference_roots(size):
    leaves = [merkle.leaf_hash(data) for data in CT_LEAVES[:size]]
    assert merkle.root_of(leaves) == stored(leaves)[0].root() == CT_ROOTS[size - 1]


def test_ct_reference_proofs():
    leaves = [merkle.leaf_hash(data) for data in CT_LEAVES]
    nodes = stored(leaves)[1]
    assert merkle.inclusion_path(leaves, 5) == CT_PATH_5_OF_8
    assert merkle.consistency_proof(6, 8, lambda level, index: nodes[level, index]) == CT_CONSISTENCY_6_TO_8


# -- every tree up to LARGEST -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_every_inclusion_proof_equals_the_definition(size):
    leaves = LEAVES[:size]
    root, paths = merkle.paths_of(leaves)
    assert root == merkle.root_of(leaves) == mth(leaves)
    assert len(paths) == size
    for index in range(size):
        expected = path(index, leaves)
        assert paths[index] == merkle.inclusion_path(leaves, index) == expected
        assert merkle.inclusion_proof(index, size, read) == expected
        merkle.verify_inclusion(leaves[index], index, size, expected, root)


@pytest.mark.parametrize("new", range(1, LARGEST + 1))
def test_every_consistency_proof_equals_the_definition(new):
    for old in range(1, new + 1):
        expected = subproof(old, LEAVES[:new], True)
        assert merkle.consistency_proof(old, new, read) == expected
        merkle.verify_consistency(old, mth(LEAVES[:old]), new, mth(LEAVES[:new]), expected)


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_listed_nodes_are_exactly_those_that_proofs_read(size):
    for number in range(size):
        reads = []

        def recording(level, index, reads=reads):
            reads.append((level, index))
            return NODES[level, index]

        merkle.inclusion_proof(number, size, recording)
        assert merkle.inclusion_nodes(number, size) == tuple(reads)
        reads.clear()
        merkle.consistency_proof(number + 1, size, recording)
        assert merkle.consistency_nodes(number + 1, size) == tuple(reads)


def test_a_proof_of_an_old_size_reads_only_nodes_complete_by_then():
    for size in range(1, LARGEST + 1):
        for number in range(size):
            nodes = (*merkle.inclusion_nodes(number, size), *merkle.consistency_nodes(number + 1, size))
            assert all((index + 1) << level <= size for level, index in nodes)


def test_a_proof_in_the_largest_tree_reads_few_nodes():
    size = merkle.MAX_TREE_SIZE
    for index in (0, 1, size // 3, size - 2, size - 1):
        assert len(merkle.inclusion_nodes(index, size)) <= 2 * 63
        proof = merkle.inclusion_proof(index, size, lambda level, index: OTHER)
        assert len(proof) <= merkle.MAX_PATH_HASHES
        merkle.root_from_inclusion(OTHER, index, size, proof)
    assert len(merkle.consistency_nodes(size // 3, size)) <= 2 * 63


# -- the growing tree ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), max_size=12))
def test_every_batching_gives_one_tree_and_each_node_once(batches):
    frontier, seen, start = merkle.Frontier(), {}, 0
    for count in batches:
        batch = [merkle.leaf_hash(number.to_bytes(2, "big")) for number in range(start, start + count)]
        start += count
        frontier, added = frontier.append(batch)
        for level, index, node in added:
            assert (level, index) not in seen
            seen[level, index] = node
    whole, nodes = stored([merkle.leaf_hash(number.to_bytes(2, "big")) for number in range(start)])
    assert frontier == whole
    assert seen == nodes
    assert len(nodes) == 2 * start - start.bit_count()


def test_frontier_is_readable_from_the_stored_nodes():
    for size in range(LARGEST + 1):
        frontier = merkle.Frontier().append(LEAVES[:size])[0]
        assert frontier == merkle.Frontier(size, tuple(read(*node) for node in merkle.frontier_nodes(size)))
        assert frontier.root() == merkle.root_of(LEAVES[:size])


def test_tile_hashes_are_the_nodes_of_each_eighth_level():
    leaves = [merkle.leaf_hash(index.to_bytes(2, "big")) for index in range(600)]
    nodes = stored(leaves)[1]
    assert [nodes[0, 256 + k] for k in range(256)] == leaves[256:512]
    assert [nodes[8, k] for k in range(2)] == [mth(leaves[:256]), mth(leaves[256:512])]
    assert (8, 2) not in nodes


@pytest.mark.parametrize(
    ("size", "hashes"),
    [(1, ()), (0, (OTHER,)), (2, (OTHER, OTHER)), (-1, (OTHER,)), (1, (OTHER[1:],)), (1 << 63, (OTHER,))],
)
def test_frontier_with_hashes_of_another_size_is_refused(size, hashes):
    with pytest.raises(MalformedError):
        merkle.Frontier(size, hashes)


# -- forged inclusion ---------------------------------------------------------------------------------------


def refuse_inclusion(leaf, index, size, hashes, root):
    with pytest.raises(ForgedError) as refusal:
        merkle.verify_inclusion(leaf, index, size, hashes, root)
    assert refusal.value.reason is Reason.PROOF_INVALID


ALL_LEAVES = [(size, index) for size in (1, 2, 3, 7, 8, 13, 40) for index in range(size)]


@pytest.mark.parametrize(("size", "index"), ALL_LEAVES)
def test_forged_inclusion_is_refused(size, index):
    leaf, root = LEAVES[index], mth(LEAVES[:size])
    good = path(index, LEAVES[:size])
    refuse_inclusion(OTHER, index, size, good, root)  # another leaf
    refuse_inclusion(leaf, index, size, good, OTHER)  # another root
    refuse_inclusion(leaf, index, size, (*good, OTHER), root)  # an extra hash at the root
    refuse_inclusion(leaf, index, size, (OTHER, *good), root)  # an extra hash at the leaf
    refuse_inclusion(leaf, index, size, good * 2 + (OTHER,), root)
    for spot in range(len(good)):
        refuse_inclusion(leaf, index, size, good[:spot] + good[spot + 1 :], root)  # truncated anywhere
        refuse_inclusion(leaf, index, size, (*good[:spot], OTHER, *good[spot + 1 :]), root)  # altered anywhere
        refuse_inclusion(leaf, index, size, (*good[:spot], good[spot][:-1], *good[spot + 1 :]), root)
    if len(good) > 1:
        refuse_inclusion(leaf, index, size, good[::-1], root)  # swapped
    for other in range(-1, size + 1):
        if other != index:
            refuse_inclusion(leaf, other, size, good, root)  # wrong index


def test_inclusion_under_another_size_is_refused():
    # A path may have the same shape in a tree of another size; only its root, which is signed, tells them apart.
    for size in range(1, LARGEST + 1):
        for index in range(size):
            good = path(index, LEAVES[:size])
            for other in {size - 1, size + 1, 2 * size} & set(range(index + 1, LARGEST + 1)):
                refuse_inclusion(LEAVES[index], index, other, good, mth(LEAVES[:other]))


def test_node_presented_as_leaf_is_refused():
    # The interior node over leaves 0 and 1 sits one level up: domain separation keeps its data from being a leaf.
    root = mth(LEAVES[:4])
    refuse_inclusion(merkle.leaf_hash(LEAVES[0] + LEAVES[1]), 0, 2, (mth(LEAVES[2:4]),), root)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5), (0, -1), (0, 1 << 63)])
def test_index_outside_the_tree_is_refused(index, size):
    refuse_inclusion(OTHER, index, size, (), OTHER)
    with pytest.raises(MalformedError):
        merkle.inclusion_proof(index, size, read)
    with pytest.raises(MalformedError):
        merkle.inclusion_nodes(index, size)


def test_path_of_a_leaf_outside_the_batch_is_refused():
    for index in (-1, 3):
        with pytest.raises(MalformedError):
            merkle.inclusion_path(LEAVES[:3], index)


# -- forged consistency -------------------------------------------------------------------------------------


def refuse_consistency(old, old_root, new, new_root, hashes):
    with pytest.raises(ForgedError) as refusal:
        merkle.verify_consistency(old, old_root, new, new_root, hashes)
    assert refusal.value.reason is Reason.PROOF_INVALID


@pytest.mark.parametrize("new", [1, 2, 3, 6, 8, 13, 16, 40])
def test_forged_consistency_is_refused(new):
    new_root = mth(LEAVES[:new])
    for old in range(1, new + 1):
        old_root = mth(LEAVES[:old])
        good = subproof(old, LEAVES[:new], True)
        refuse_consistency(old, OTHER, new, new_root, good)  # a rewritten past
        refuse_consistency(old, old_root, new, OTHER, good)
        refuse_consistency(old, old_root, new, new_root, (*good, OTHER))  # an extra hash
        refuse_consistency(old, old_root, new, new_root, (OTHER, *good))
        for spot in range(len(good)):
            refuse_consistency(old, old_root, new, new_root, good[:spot] + good[spot + 1 :])  # truncated
            refuse_consistency(old, old_root, new, new_root, (*good[:spot], OTHER, *good[spot + 1 :]))
            refuse_consistency(old, old_root, new, new_root, (*good[:spot], b"", *good[spot + 1 :]))
        if old < new:
            refuse_consistency(new, new_root, old, old_root, good)  # a shrunken tree
            refuse_consistency(old, old_root, new, new_root, ())
            for other in range(1, new + 1):
                if other != old:
                    refuse_consistency(other, old_root, new, new_root, good)  # another old size


def test_consistency_with_a_rewritten_leaf_is_refused():
    forged = [OTHER, *LEAVES[1:]]
    for new in range(2, LARGEST + 1):
        for old in range(1, new):
            root = mth(forged[:new])
            refuse_consistency(old, mth(LEAVES[:old]), new, root, subproof(old, forged[:new], True))
            refuse_consistency(old, mth(LEAVES[:old]), new, root, subproof(old, LEAVES[:new], True))


def test_two_roots_of_one_size_are_refused():
    refuse_consistency(5, mth(LEAVES[:5]), 5, OTHER, ())


@pytest.mark.parametrize("hashes", [(), (OTHER,)])
def test_consistency_from_size_zero_is_refused(hashes):
    refuse_consistency(0, merkle.EMPTY_ROOT, 5, mth(LEAVES[:5]), hashes)
    refuse_consistency(0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, hashes)
    with pytest.raises(MalformedError):
        merkle.consistency_proof(0, 5, read)


def test_consistency_proof_to_a_smaller_size_is_refused():
    with pytest.raises(MalformedError):
        merkle.consistency_nodes(6, 5)


@given(
    st.integers(-1, 2**64),
    st.integers(-1, 2**64),
    st.lists(st.one_of(st.binary(min_size=32, max_size=32), st.binary(max_size=40)), max_size=70),
)
def test_verifiers_raise_only_our_errors(first, second, hashes):
    for attempt in (
        lambda: merkle.verify_inclusion(OTHER, first, second, hashes, OTHER),
        lambda: merkle.verify_consistency(first, OTHER, second, OTHER, hashes),
    ):
        with suppress(HeyanError):
            attempt()
