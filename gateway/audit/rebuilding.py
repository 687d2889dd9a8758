"""A log's hash tiles and roots, rebuilt from leaf hashes as they stream past: what fsck holds the stored ones against.

Hash k of tile (L, N) is the complete node (8·L, 256·N + k) (C2SP tlog-tiles), so whatever completes under an append is
sorted into one open row for each level, and a row of 256 is a tile. Held in memory: those rows and the tree's frontier,
some kilobytes for a log of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.protocol.merkle import Frontier
from gateway.protocol.tiles import TILE_HEIGHT, TILE_WIDTH, Tile


@dataclass(frozen=True, slots=True)
class BuiltTile:
    """A tile as the leaves make it: `data` is 32 bytes for each of its hashes."""

    tile: Tile
    data: bytes


class TileBuilder:
    """Grows a tree by rows of leaf hashes, and tells its tiles above level 0 as they fill."""

    def __init__(self) -> None:
        self._frontier = Frontier()
        self._rows: list[list[bytes]] = []
        """The open row of each tile level, from level 1 on."""

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._frontier.size

    def root(self) -> bytes:
        """The root over the leaves so far."""
        return self._frontier.root()

    def roots_within(self, row: Sequence[bytes], sizes: Sequence[int]) -> list[bytes]:
        """The roots at `sizes`, ascending, that lie within the `row` to be added next; nothing is added by it."""
        frontier, start, roots = self._frontier, self.size, []
        for size in sizes:
            frontier, _ = frontier.append(row[frontier.size - start : size - start])
            roots.append(frontier.root())
        return roots

    def add(self, row: Sequence[bytes]) -> list[BuiltTile]:
        """Append leaf hashes; the full tiles above level 0 that they complete, lowest level first."""
        self._frontier, added = self._frontier.append(row)
        full: list[BuiltTile] = []
        for level, index, node in added:
            if level and not level % TILE_HEIGHT:
                full.extend(self._place(level // TILE_HEIGHT, index, node))
        return full

    def open_tiles(self) -> list[BuiltTile]:
        """The partial tiles above level 0 at the present size, lowest level first."""
        built = []
        for level, row in enumerate(self._rows, start=1):
            if row:
                index = (self.size >> TILE_HEIGHT * level) // TILE_WIDTH
                built.append(BuiltTile(Tile(level, index, len(row)), b"".join(row)))
        return built

    def fork(self) -> TileBuilder:
        """Another builder that stands where this one stands."""
        other = TileBuilder()
        other._frontier, other._rows = self._frontier, [list(row) for row in self._rows]
        return other

    def _place(self, level: int, index: int, node: bytes) -> Iterator[BuiltTile]:
        while len(self._rows) < level:
            self._rows.append([])
        row = self._rows[level - 1]
        row.append(node)
        if len(row) == TILE_WIDTH:
            yield BuiltTile(Tile(level, index // TILE_WIDTH), b"".join(row))
            row.clear()
