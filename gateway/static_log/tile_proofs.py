"""Proofs made from tiles, each tile held against the checkpoint on its way: nothing is returned that does not hold.

A tree's partial tiles (at most eight) give its root; a full tile's root is a hash of the tile above it, which is
judged the same way, up to the root. So each tile is judged as it is read, and a wrong one is named, before anything
is made of it. A checkpoint is the caller's to verify: here it is its size and root that count.

Raises ForgedError: TILE_INVALID for a tile or an entry that does not fit the checkpoint, LOG_FORKED and
LOG_ROLLED_BACK for two checkpoints that are not of one log; and what the source raises.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.merkle import (
    EMPTY_ROOT,
    Coordinate,
    consistency_nodes,
    consistency_proof,
    inclusion_nodes,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import TILE_WIDTH, Tile, edge_tiles, hashes_of, place_of, tile_at
from gateway.static_log.tile_source import TileSource

KEPT_TILES = 256
"""Judged tiles that are kept (2 MB): a proof needs at most eight, a reading of the whole log one path of eight."""
AHEAD = 4
"""Bundles that are under way while one is looked at."""

Hashes = tuple[bytes, ...]


class VerifiedTiles:
    """The tiles of one checkpoint, each verified against its root when it is read. Calls may be under way at once."""

    def __init__(self, source: TileSource, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._source = source
        self._size = checkpoint.size
        self._kept: OrderedDict[tuple[int, int], Hashes] = OrderedDict()
        self._edge: dict[tuple[int, int], Hashes] | None = None
        self._opening = asyncio.Lock()

    async def tile(self, level: int, index: int) -> Hashes:
        """The hashes of a tile, as many as the checkpoint's tree has; MalformedError if it has none."""
        tile = tile_at(level, index, self._size)
        if not tile.is_full:
            return (await self._open_edge())[level, index]
        kept = self._kept.get((level, index))
        if kept is None:
            kept = hashes_of(await self._source.tile(level, index, TILE_WIDTH))
            above = await self.tile(level + 1, index // TILE_WIDTH)
            if root_of(kept) != above[index % TILE_WIDTH]:
                raise _invalid(tile, "does not fit the tile above it")
            self._keep(level, index, kept)
        return kept

    async def node(self, level: int, index: int) -> bytes:
        """The hash of the complete node (level, index)."""
        place = place_of(level, index)
        hashes = (await self.tile(place.level, place.index))[place.start : place.start + place.count]
        if len(hashes) != place.count:
            raise MalformedError.at("index", "must be of a complete node of the tree")
        return root_of(hashes)

    async def nodes(self, coordinates: tuple[Coordinate, ...]) -> dict[Coordinate, bytes]:
        """The hashes of complete nodes."""
        return {(level, index): await self.node(level, index) for level, index in coordinates}

    async def entries(self, index: int, width: int | None = None) -> list[bytes]:
        """The entries of a bundle, each held against its hash in the tree; `width` takes the first ones only."""
        hashes = await self.tile(0, index)
        width = len(hashes) if width is None else width
        entries = await self._source.entries(index, width)
        for position, (entry, expected) in enumerate(zip(entries, hashes, strict=False)):
            if leaf_hash(entry) != expected:
                detail = f"entry {index * TILE_WIDTH + position} is not the one of the tree"
                raise ForgedError(Reason.TILE_INVALID, detail)
        return entries

    async def _open_edge(self) -> dict[tuple[int, int], Hashes]:
        """The partial tiles, once their hashes are found to give the root."""
        async with self._opening:
            if self._edge is None:
                edge = {
                    (tile.level, tile.index): hashes_of(await self._source.tile(tile.level, tile.index, tile.width))
                    for tile in edge_tiles(self._size)
                }
                if _root_over(list(edge.values())) != self.checkpoint.root:
                    names = ", ".join(tile.path for tile in edge_tiles(self._size))
                    detail = f"{names}: do not give the root of the checkpoint of size {self._size}"
                    raise ForgedError(Reason.TILE_INVALID, detail)
                self._edge = edge
            return self._edge

    def _keep(self, level: int, index: int, hashes: Hashes) -> None:
        self._kept[level, index] = hashes
        if len(self._kept) > KEPT_TILES:
            self._kept.popitem(last=False)


async def prove_inclusion(source: TileSource | VerifiedTiles, index: int, checkpoint: Checkpoint) -> Hashes:
    """The inclusion path of leaf `index` under a checkpoint, verified from its leaf's hash to the root."""
    tiles = _verified(source, checkpoint)
    nodes = await tiles.nodes(inclusion_nodes(index, checkpoint.size))
    path = inclusion_proof(index, checkpoint.size, lambda level, at: nodes[level, at])
    verify_inclusion(await tiles.node(0, index), index, checkpoint.size, path, checkpoint.root)
    return path


async def prove_consistency(source: TileSource | VerifiedTiles, old: Checkpoint, new: Checkpoint) -> Hashes:
    """The consistency path from `old` to `new`, verified; empty for equal sizes and from size 0, which needs none.

    Reads the tiles of `new` only. Raises ForgedError: LOG_ROLLED_BACK if `new` is smaller, LOG_FORKED if its tree does
    not begin with that of `old`, or the two are of other logs.
    """
    if old.origin != new.origin:
        raise ForgedError(Reason.LOG_FORKED, "the checkpoints are of two logs")
    if new.size < old.size:
        raise ForgedError(Reason.LOG_ROLLED_BACK, f"the log had {old.size} leaves and shows {new.size}")
    if old.size == new.size:
        if old.root != new.root:
            raise ForgedError(Reason.LOG_FORKED, f"two roots of size {old.size}")
        return ()
    if old.size == 0:
        return ()
    tiles = _verified(source, new)
    nodes = await tiles.nodes(consistency_nodes(old.size, new.size))
    path = consistency_proof(old.size, new.size, lambda level, at: nodes[level, at])
    try:
        verify_consistency(old.size, old.root, new.size, new.root, path)
    except ForgedError:
        # The nodes were judged against the new root: what does not fit is the old one.
        detail = f"the tree of {new.size} leaves does not begin with the one of {old.size} that was shown"
        raise ForgedError(Reason.LOG_FORKED, detail) from None
    return path


async def read_leaves(
    source: TileSource | VerifiedTiles, start: int, end: int, checkpoint: Checkpoint
) -> AsyncIterator[tuple[int, bytes]]:
    """Leaves `start` to `end` (not among them) with their indexes, each held against the checkpoint, in order.

    Raises MalformedError unless 0 <= start <= end <= the checkpoint's size. A few bundles are read ahead.
    """
    if not 0 <= start <= end <= checkpoint.size:
        raise MalformedError.at("end", "must be at least the start and at most the checkpoint's size")
    tiles = _verified(source, checkpoint)
    indexes = iter(range(start // TILE_WIDTH, -(-end // TILE_WIDTH)) if start < end else ())
    under_way: dict[int, asyncio.Task[list[bytes]]] = {}
    try:
        while True:
            while len(under_way) <= AHEAD and (following := next(indexes, None)) is not None:
                under_way[following] = asyncio.create_task(tiles.entries(following))
            if not under_way:
                return
            index = next(iter(under_way))
            entries = await under_way.pop(index)
            for at, entry in enumerate(entries, start=index * TILE_WIDTH):
                if start <= at < end:
                    yield at, entry
    finally:
        for task in under_way.values():
            task.cancel()
        await asyncio.gather(*under_way.values(), return_exceptions=True)


def _verified(source: TileSource | VerifiedTiles, checkpoint: Checkpoint) -> VerifiedTiles:
    if not isinstance(source, VerifiedTiles):
        return VerifiedTiles(source, checkpoint)
    if source.checkpoint != checkpoint:
        raise MalformedError.at("checkpoint", "must be the one that the tiles are verified against")
    return source


def _root_over(edge: list[Hashes]) -> bytes:
    """The root over the hashes of partial tiles, lowest level first: each is all that is left of it, at its right."""
    root: bytes | None = None
    for hashes in edge:
        root = root_of(hashes if root is None else (*hashes, root))
    return EMPTY_ROOT if root is None else root


def _invalid(tile: Tile, detail: str) -> ForgedError:
    return ForgedError(Reason.TILE_INVALID, f"{tile.path} {detail}")
