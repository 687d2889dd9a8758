"""Tiles of a log (C2SP tlog-tiles): which there are at a size, what they are called, and what is in them.

    tile/<L>/<N>[.p/<W>]         W hashes of 32 bytes: hash k is node (8·L, 256·N + k) of `gateway.protocol.merkle`
    tile/entries/<N>[.p/<W>]     W entries, each after its length as two bytes, big-endian

N is written in groups of three digits, all but the last behind an x: 1234067 is x001/x234/067. A full tile has 256
hashes and no suffix; a partial one 1 to 255; an empty one does not exist.

Invariants:

- a path is read only in the one form in which it is written, so that no two paths name one tile, and none leaves the
  folder of tiles;
- the content of a path never changes: a wider tile begins with every narrower one of its place (`Tile.cut` and
  `Bundle.cut`), so that a partial tile may be taken from the full one.

Nothing here says that a hash is right: `gateway.static_log.tile_proofs` holds tiles against a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.merkle import HASH_BYTES, MAX_TREE_SIZE
from gateway.protocol.reasons import Reason

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_LEVEL = 63
"""The highest that a path may name. A tree of MAX_TREE_SIZE has tiles up to level 7."""
MAX_ENTRY_BYTES = 65_535
"""What a length of two bytes can say."""
MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
"""The largest bundle that can be: 16.8 MB. Those of a gateway's log are about 120 kB."""
MAX_PATH_BYTES = 64
"""The longest path that can be read: entries of six groups, and a width."""

CHECKPOINT_PATH = "checkpoint"
CHECKPOINT_TYPE = "text/plain; charset=utf-8"
TILE_TYPE = "application/octet-stream"

_LENGTH_BYTES = 2
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A tile of hashes: level, index in the level, and width. Raises MalformedError if there can be no such tile."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL:
            raise MalformedError.at("level", f"must be 0 to {MAX_LEVEL}")
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Where the tile is, below a log's prefix."""
        return f"tile/{self.level}/{_name(self.index, self.width)}"

    @property
    def full(self) -> Tile:
        """The full tile of this place."""
        return Tile(self.level, self.index)

    @property
    def is_full(self) -> bool:
        """Whether the tile never grows."""
        return self.width == TILE_WIDTH

    @property
    def max_bytes(self) -> int:
        """The size of the file: exactly this."""
        return self.width * HASH_BYTES

    def check(self, data: bytes) -> bytes:
        """The tile's bytes if they are as many as they must be; ForgedError (TILE_INVALID)."""
        if len(data) != self.max_bytes:
            raise _invalid(self.path, f"has {len(data)} bytes, not {self.max_bytes}")
        return data

    def cut(self, data: bytes) -> bytes:
        """This tile out of a wider one of its place; ForgedError (TILE_INVALID) if that is too narrow."""
        return self.check(data[: self.max_bytes])


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """A bundle of entries: those that the level-0 tile of the same index and width has the hashes of."""

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Where the bundle is, below a log's prefix."""
        return f"tile/entries/{_name(self.index, self.width)}"

    @property
    def full(self) -> Bundle:
        """The full bundle of this place."""
        return Bundle(self.index)

    @property
    def is_full(self) -> bool:
        """Whether the bundle never grows."""
        return self.width == TILE_WIDTH

    @property
    def max_bytes(self) -> int:
        """The size of the file: at most this."""
        return self.width * (_LENGTH_BYTES + MAX_ENTRY_BYTES)

    def check(self, data: bytes) -> bytes:
        """The bundle's bytes if they are exactly `width` entries; ForgedError (TILE_INVALID)."""
        decode_entries(self, data)
        return data

    def cut(self, data: bytes) -> bytes:
        """This bundle out of a wider one of its place; ForgedError (TILE_INVALID) if that is too narrow."""
        ends = _Ends(self, data)
        list(ends)  # to the last of them
        return data[: ends.at]


Resource: TypeAlias = Tile | Bundle
"""What a log serves besides its checkpoint."""


def parse_path(path: str) -> Resource:
    """The tile or bundle of a path below a log's prefix, read strictly; MalformedError."""
    found = _PATH.fullmatch(path)
    if found is None or found["index"].startswith("x000/"):
        raise MalformedError.at("path", "must be tile/<level or entries>/<index>[.p/<width>] as C2SP tlog-tiles has it")
    index = int(found["index"].replace("x", "").replace("/", ""))
    width = TILE_WIDTH
    if found["width"] is not None:
        width = int(found["width"])
        if width >= TILE_WIDTH:
            raise MalformedError.at("path", f"a partial tile has 1 to {TILE_WIDTH - 1} hashes")
    if found["level"] == "entries":
        return Bundle(index, width)
    return Tile(int(found["level"]), index, width)


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes tile (level, index) has in a tree of `size` leaves: 0 (there is none) to 256."""
    return max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))


def tile_at(level: int, index: int, size: int) -> Tile:
    """Tile (level, index) as it is at a size; MalformedError if there is none."""
    return Tile(level, index, width_at(level, index, size))


def exists_at(resource: Resource, size: int) -> bool:
    """Whether a tree of `size` leaves reaches so far that this tile or bundle, of its width, is (part of) its own."""
    level = resource.level if isinstance(resource, Tile) else 0
    return resource.width <= width_at(level, resource.index, size)


def tiles_at(size: int) -> Iterator[Tile]:
    """All tiles of hashes of a tree of `size` leaves, level by level: full ones, then the partial one."""
    return tiles_between(0, size)


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """The tiles of a tree of `new` leaves that a tree of `old` leaves had not, or not as wide; level by level."""
    level = 0
    while new >> TILE_HEIGHT * level:
        for index, width in _places(old >> TILE_HEIGHT * level, new >> TILE_HEIGHT * level):
            yield Tile(level, index, width)
        level += 1


def bundles_at(size: int) -> Iterator[Bundle]:
    """All bundles of entries of a tree of `size` leaves: full ones, then the partial one."""
    return bundles_between(0, size)


def bundles_between(old: int, new: int) -> Iterator[Bundle]:
    """The bundles of a tree of `new` leaves that a tree of `old` leaves had not, or not as wide."""
    for index, width in _places(old, new):
        yield Bundle(index, width)


def edge_tiles(size: int) -> tuple[Tile, ...]:
    """The partial tiles of a tree of `size` leaves, lowest level first: their hashes alone give its root."""
    found: list[Tile] = []
    level = 0
    while reach := size >> TILE_HEIGHT * level:
        if width := reach % TILE_WIDTH:
            found.append(Tile(level, reach // TILE_WIDTH, width))
        level += 1
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a complete node is: the root over `count` (a power of two) hashes of tile (level, index), from `start`."""

    level: int
    index: int
    start: int
    count: int


def place_of(level: int, index: int) -> Place:
    """Which tile, and which of its hashes, hold the complete node (level, index) of the tree."""
    tile_level, height = divmod(level, TILE_HEIGHT)
    first = index << height
    return Place(tile_level, first >> TILE_HEIGHT, first % TILE_WIDTH, 1 << height)


def hashes_of(data: bytes) -> tuple[bytes, ...]:
    """The hashes of a tile's bytes."""
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle; MalformedError if there are none or over 256, or one is over MAX_ENTRY_BYTES."""
    if not 0 < len(entries) <= TILE_WIDTH:
        raise MalformedError.at("entries", f"must be 1 to {TILE_WIDTH}")
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise MalformedError.at("entries", f"must each be at most {MAX_ENTRY_BYTES} bytes")
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def decode_entries(bundle: Bundle, data: bytes) -> list[bytes]:
    """The entries of a bundle's bytes, exactly as many as it is wide; ForgedError (TILE_INVALID) that says where."""
    ends = _Ends(bundle, data)
    entries = [data[start:end] for start, end in ends]
    if ends.at != len(data):
        raise _invalid(bundle.path, f"has {len(data) - ends.at} bytes after its {bundle.width} entries")
    return entries


class _Ends:
    """Start and end of each entry of a bundle, in order; ForgedError (TILE_INVALID) where the bytes end before one."""

    def __init__(self, bundle: Bundle, data: bytes) -> None:
        self._bundle = bundle
        self._data = data
        self.at = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for position in range(self._bundle.width):
            start = self.at + _LENGTH_BYTES
            end = start + int.from_bytes(self._data[self.at : start], "big")
            if start > len(self._data) or end > len(self._data):
                leaf = self._bundle.index * TILE_WIDTH + position
                raise _invalid(self._bundle.path, f"ends in or before entry {leaf}, which begins at byte {self.at}")
            self.at = end
            yield start, end


def _places(old: int, new: int) -> Iterator[tuple[int, int]]:
    """Index and width of each tile of a row of `new` hashes that differs from that of `old` hashes."""
    if old >= new:
        return
    for index in range(old // TILE_WIDTH, new // TILE_WIDTH):
        yield index, TILE_WIDTH
    if new % TILE_WIDTH:
        yield new // TILE_WIDTH, new % TILE_WIDTH


def _name(index: int, width: int) -> str:
    groups = f"{index % 1000:03d}"
    while index := index // 1000:
        groups = f"x{index % 1000:03d}/{groups}"
    return groups if width == TILE_WIDTH else f"{groups}.p/{width}"


def _check_place(index: int, width: int) -> None:
    if not 0 < width <= TILE_WIDTH:
        raise MalformedError.at("width", f"must be 1 to {TILE_WIDTH}: an empty tile does not exist")
    if not 0 <= index * TILE_WIDTH <= MAX_TREE_SIZE - width:
        raise MalformedError.at("index", "must be of a tree that can be")


def _invalid(path: str, detail: str) -> ForgedError:
    return ForgedError(Reason.TILE_INVALID, f"{path} {detail}")
