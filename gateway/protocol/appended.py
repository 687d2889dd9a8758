"""Inclusion paths of leaves just appended to a growing tree, in the tree that they made, for a whole group at once.

Everything that they need is at hand when the group is appended: the frontier of the tree before, and the leaves. Of
several leaves the upper nodes are the same, so that a path costs hardly more than to list it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.protocol.merkle import Frontier, frontier_nodes, node_hash

Path = tuple[bytes, ...]


def appended_paths(before: Frontier, leaf_hashes: Sequence[bytes]) -> list[Path]:
    """The path of each of `leaf_hashes`, leaf to root (RFC 9162 §2.1.3.1), after they were appended to `before`.

    They are those that `inclusion_proof` gives for the grown tree's size.
    """
    if not leaf_hashes:
        return []
    kept = {level: node for (level, _), node in zip(frontier_nodes(before.size), before.hashes, strict=True)}
    rows: list[tuple[list[bytes], int]] = []  # of each level, and how many nodes that were there before it begins with
    row, start = list(leaf_hashes), before.size
    while True:
        led = start & 1
        if led:  # the left sibling of the first one was complete before
            row.insert(0, kept[len(rows)])
        start >>= 1
        if start == 0 and len(row) == 1:
            break
        rows.append((row, led))
        above = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) & 1:  # unpaired at the right edge: carried up as it is
            above.append(row[-1])
        row = above
    paths: list[Path] = [()]
    for row, led in reversed(rows):
        last = len(row) - 1
        found = [paths[i >> 1] if i == last and not i & 1 else (row[i ^ 1], *paths[i >> 1]) for i in range(last + 1)]
        paths = found[led:]
    return paths
