"""Holding every tile of a log against its entries, and both against the root that was signed: the rules, without I/O.

Entries and level-0 tiles come row by row (a bundle and its tile), from the left. Two trees are grown: one by the hashes
of the entries and, from the first row on in which the two differ, one by the hashes in the tiles. At the end, which of
them leads to the signed root says what was changed:

    entries lead there     the tile was changed
    tiles lead there       the entry was changed
    neither                each row in doubt is looked at from the root down (`Doubts`); what stays open is told as such
    both are one tree, that leads elsewhere     the checkpoint is of another history

A tile above must be what one of the two trees makes of what is below it. The tile is named, and the first byte that
differs. Memory is constant: a row, the open row of each level, and the first MAX_TOLD bad places.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.audit.bad_places import MAX_TOLD, BadPlace, BadPlaces, Wrong
from gateway.audit.rebuilding import BuiltTile, TileBuilder
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.merkle import HASH_BYTES, root_of
from gateway.protocol.tiles import TILE_WIDTH, Bundle, Tile, hashes_of, width_at

_LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True)
class Upper:
    """A tile above level 0 that is to be held against the stored one: as entries make it, and as tiles do."""

    by_entries: BuiltTile
    by_tiles: BuiltTile | None

    @property
    def tile(self) -> Tile:
        """Which tile it is."""
        return self.by_entries.tile


@dataclass(frozen=True, slots=True)
class Doubts:
    """What no root decides: tiles that may lead to the signed root or not, and rows by the root of their entries."""

    tiles: tuple[Tile, ...] = ()
    rows: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """Of the doubts: the tiles that lead to the signed root, and the rows whose entries do."""

    tiles: frozenset[Tile] = frozenset()
    rows: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class _UpperDifference:
    """A stored tile above level 0 that is not what lies below it, and its first byte that differs."""

    tile: Tile
    offset: int

    @property
    def below(self) -> Tile:
        """The full tile whose root the differing hash should be."""
        return Tile(self.tile.level - 1, self.tile.index * TILE_WIDTH + self.offset // HASH_BYTES)


@dataclass(frozen=True, slots=True)
class _Difference:
    """An entry that is not the one whose hash stands in the tile: where in the bundle's file, and in the tile's."""

    entry: int
    bundle: Bundle
    bundle_offset: int
    tile: Tile
    tile_offset: int
    detail: str


class Examination:
    """One reading of the log under `checkpoint`, whose signature the caller judges."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._entries = TileBuilder()
        self._read_entries = False
        self._tiles: TileBuilder | None = None
        self._differences: list[_Difference] = []
        self._differing = 0
        self._rows: dict[int, bytes] = {}
        self._upper: list[_UpperDifference] = []

    @property
    def size(self) -> int:
        """Leaves read so far."""
        return self._entries.size

    def row(
        self, entries: Sequence[bytes] | None, stored: bytes | None, sizes: Sequence[int] = ()
    ) -> tuple[list[Upper], list[tuple[bytes, ...]]]:
        """Take the next row: a bundle's entries and the level-0 tile's bytes; None for what could not be had of them.

        Returns the upper tiles that it completes, and for each of `sizes` (ascending, within the row) the roots that
        the tree may have there: one, or two after a difference. At least one of the two must be given.
        """
        self._read_entries |= entries is not None
        own = (
            list(hashes_of(stored or b"")) if entries is None else [sha256(b"\x00" + data).digest() for data in entries]
        )
        if entries is not None and stored is not None and b"".join(own) != stored:
            self._differ(entries, own, stored)
        roots = self._entries.roots_within(own, sizes)
        if self._tiles is None:
            return [Upper(built, None) for built in self._entries.add(own)], [(root,) for root in roots]
        others = own if stored is None else hashes_of(stored)
        possible = list(zip(roots, self._tiles.roots_within(others, sizes), strict=True))
        pairs = zip(self._entries.add(own), self._tiles.add(others), strict=True)
        return [Upper(*pair) for pair in pairs], [*possible]

    def open_tiles(self) -> list[Upper]:
        """The partial tiles above level 0, once all rows are taken."""
        if self._tiles is None:
            return [Upper(built, None) for built in self._entries.open_tiles()]
        return [Upper(*pair) for pair in zip(self._entries.open_tiles(), self._tiles.open_tiles(), strict=True)]

    def upper(self, upper: Upper, stored: bytes) -> None:
        """Hold a stored upper tile against what lies below it."""
        ours = [built.data for built in (upper.by_entries, upper.by_tiles) if built is not None]
        if stored in ours:
            return
        if len(self._upper) < MAX_TOLD:
            # Of the two trees the one that agrees for longer tells where this tile is wrong.
            self._upper.append(_UpperDifference(upper.tile, max(_first_difference(each, stored) for each in ours)))

    def doubts(self) -> Doubts:
        """What somebody must look at from the root down before `finish`; once all rows are taken."""
        if self._leads(self._entries) or (self._tiles is not None and self._leads(self._tiles)):
            return Doubts()
        of_rows = (Tile(0, index, width_at(0, index, self.size)) for index in self._rows)
        of_upper = (tile for upper in self._upper for tile in (upper.tile, upper.below))
        return Doubts(tuple(dict.fromkeys((*of_rows, *of_upper))), dict(self._rows))

    def finish(self, decided: Decided) -> BadPlaces:
        """Say which side of each difference is wrong, and whether anything leads to the signed root.

        Only if every row was taken: what ended early proves nothing about the root.
        """
        by_entries = self._leads(self._entries)
        by_tiles = self._tiles is not None and self._leads(self._tiles)
        judged = BadPlaces()
        for difference in self._differences:
            index = difference.tile.index
            if by_entries or index in decided.rows:
                judged.add(BadPlace(Wrong.TILE_CHANGED, difference.tile.path, difference.entry, difference.tile_offset))
            else:
                wrong = Wrong.ENTRY_CHANGED if by_tiles or difference.tile in decided.tiles else Wrong.ENTRY_OR_TILE
                path, offset = difference.bundle.path, difference.bundle_offset
                judged.add(BadPlace(wrong, path, difference.entry, offset, difference.detail))
        judged.count = self._differing
        for upper in self._upper:
            self._judge_upper(upper, decided.tiles, judged)
        if not judged.count and not by_entries:
            what = "entries" if self._read_entries else "hashes of entries"
            detail = f"the {self._checkpoint.size} {what} have another root"
            judged.add(BadPlace(Wrong.OTHER_TREE, "checkpoint", detail=detail))
        return judged

    def _leads(self, tree: TileBuilder) -> bool:
        return tree.root() == self._checkpoint.root

    def _judge_upper(self, upper: _UpperDifference, authentic: Container[Tile], judged: BadPlaces) -> None:
        if upper.tile not in authentic:
            detail = f"hash {upper.offset // HASH_BYTES} is not the root of what lies below it"
            judged.add(BadPlace(Wrong.TILE_CHANGED, upper.tile.path, offset=upper.offset, detail=detail))
        elif upper.below not in authentic and (upper.below.level or upper.below.index not in self._rows):
            judged.add(BadPlace(Wrong.TILE_CHANGED, upper.below.path, detail="its root is not the one that was signed"))

    def _differ(self, entries: Sequence[bytes], own: Sequence[bytes], stored: bytes) -> None:
        if self._tiles is None:
            self._tiles = self._entries.fork()
        index = self.size // TILE_WIDTH
        theirs = hashes_of(stored)
        if len(self._rows) < MAX_TOLD:
            self._rows[index] = root_of(own)
        offset = 0
        for position, (ours, kept) in enumerate(zip(own, theirs, strict=True)):
            if ours != kept:
                self._differing += 1
                if len(self._differences) < MAX_TOLD:
                    entry = self.size + position
                    tile_offset = position * HASH_BYTES + _first_difference(ours, kept)
                    detail = _moved(ours, theirs, self.size)
                    bundle, tile = Bundle(index, len(own)), Tile(0, index, len(own))
                    self._differences.append(_Difference(entry, bundle, offset, tile, tile_offset, detail))
            offset += _LENGTH_BYTES + len(entries[position])


def _moved(found: bytes, tile: Sequence[bytes], start: int) -> str:
    """Where what was found belongs, if anywhere near: entries that were swapped, dropped or repeated tell by it."""
    return f"what stands there is entry {start + tile.index(found)}" if found in tile else ""


def _first_difference(one: bytes, other: bytes) -> int:
    return next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), len(one))
