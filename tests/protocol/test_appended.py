"""Paths of a group of appended leaves are those that the whole tree gives, whatever was there before."""

from __future__ import annotations

from gateway.protocol.appended import appended_paths
from gateway.protocol.merkle import Frontier, inclusion_path, leaf_hash


def test_paths_of_every_group_are_those_of_the_grown_tree() -> None:
    hashes = [leaf_hash(bytes([number])) for number in range(70)]
    for old in range(40):
        before, _ = Frontier().append(hashes[:old])
        for new in range(old, min(old + 18, 70)):
            paths = appended_paths(before, hashes[old:new])
            assert paths == [inclusion_path(hashes[:new], index) for index in range(old, new)]


def test_first_leaf_of_all_has_an_empty_path() -> None:
    assert appended_paths(Frontier(), [leaf_hash(b"")]) == [()]
