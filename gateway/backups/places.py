"""Where else a log is known: places that show a checkpoint of it, and perhaps have its leaves.

Only what the gateway's own log keys signed counts, by the registry: whoever keeps a copy, a witness or a department
can keep something back, but cannot make up a log.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.log_marks import Mark
from gateway.protocol.checkpoint import open_checkpoint, origin_of
from gateway.protocol.errors import BadDataError, ForgedError, NotFoundError
from gateway.protocol.log_keys import UNKNOWN_TIME, proof_verifiers
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.tiles import TILE_HEIGHT, TILE_WIDTH
from gateway.static_log.folder import published_numbers
from gateway.static_log.tile_source import FolderSource, TileSource
from gateway.stores import sqlite_shards
from gateway.stores.records import Head
from gateway.stores.sqlite_connection import as_unavailable
from gateway.stores.sqlite_copy import open_reading
from gateway.stores.sqlite_leaves import from_row


@dataclass(frozen=True, slots=True)
class Place:
    """A place that has leaves of one log up to its mark, unverified."""

    mark: Mark
    source: TileSource


@dataclass(frozen=True, slots=True)
class StoredPlace(Place):
    """A log of a store."""

    source: StoredLog


@dataclass(frozen=True, slots=True)
class LogWitness:
    """Knows which checkpoints are a gateway's own."""

    registry: Registry
    gateway: str

    @property
    def origins(self) -> tuple[str, ...]:
        """The gateway's logs, oldest first."""
        terms = self.registry.party(self.gateway).gateway
        return terms.origins if terms is not None else ()

    def mark(self, note: bytes, place: str) -> Mark:
        """The verified mark of a note; ForgedError that names the place: what it shows is not this gateway's log."""
        try:
            text = note.decode()
            origin = origin_of(text)
            if origin not in self.origins:
                raise ForgedError(Reason.PROOF_INVALID, "it is of a log that the registry does not name")
            verifiers = proof_verifiers(self.registry, self.gateway, origin, 0.0)
            return Mark(open_checkpoint(note, verifiers, origin), text, place)
        except (BadDataError, UnicodeDecodeError) as error:
            detail = error.detail if isinstance(error, BadDataError) else "it is no text"
            reason = error.reason if isinstance(error, ForgedError) else Reason.BACKUP_INVALID
            raise ForgedError(reason, f"the checkpoint of {place}: {detail}") from None

    def is_sound(self, mark: Mark) -> bool:
        """Whether a key signed a mark that was never compromised: whoever took one can make up leaves under it."""
        origin = mark.checkpoint.origin
        try:
            open_checkpoint(
                mark.note.encode(), proof_verifiers(self.registry, self.gateway, origin, UNKNOWN_TIME), origin
            )
        except BadDataError:
            return False
        return True

    async def place(self, source: TileSource, name: str) -> Place | None:
        """A source as a place; None if it has no checkpoint. Raises what `mark` and the source raise."""
        try:
            note = await source.checkpoint()
        except NotFoundError:
            return None
        return Place(self.mark(note, name), source)

    async def published(self, folder: Path) -> list[Place]:
        """The logs in the folder of the gateway's published logs, as many as there are."""
        places = []
        for number in published_numbers(folder):
            source = FolderSource(folder / str(number))
            place = await self.place(source, str(folder / str(number)))
            if place is not None:
                places.append(place)
        return places

    def stored(self, path: Path) -> list[StoredPlace]:
        """The logs of a store; LogUnavailableError if it cannot be read. Raises what `mark` raises."""
        with as_unavailable(), closing(open_reading(path)) as connection:
            heads = sqlite_shards.every(connection)
        return [StoredPlace(self.mark(head.checkpoint.encode(), str(path)), StoredLog(path, head)) for head in heads]


class StoredLog:
    """One log of a store as a source of tiles: made from its nodes and leaves, unverified like any other."""

    def __init__(self, path: Path, head: Head) -> None:
        self._path = path
        self._head = head

    def newest_leaf(self) -> bytes:
        """Its last leaf; NotFoundError if the store has lost it, LogUnavailableError if it cannot be read."""
        return self._leaves(self._head.size - 1, 1)[0]

    async def checkpoint(self) -> bytes:
        """See the port."""
        return self._head.checkpoint.encode()

    async def tile(self, level: int, index: int, width: int) -> bytes:
        """See the port."""
        with as_unavailable(), closing(open_reading(self._path)) as connection:
            nodes = sqlite_shards.read_nodes(
                connection, self._head.number, TILE_HEIGHT * level, TILE_WIDTH * index, width
            )
        if len(nodes) != width:
            raise NotFoundError(Reason.NOT_FOUND, f"{self._path} has lost nodes of its tree")
        return b"".join(nodes)

    async def entries(self, index: int, width: int) -> list[bytes]:
        """See the port."""
        return self._leaves(TILE_WIDTH * index, width)

    def _leaves(self, index: int, count: int) -> list[bytes]:
        start = self._head.first + index
        query = "SELECT data FROM leaves WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index"
        with as_unavailable(), closing(open_reading(self._path)) as connection:
            rows = connection.execute(query, (start, start + count)).fetchall()
        if len(rows) != count:
            raise NotFoundError(Reason.NOT_FOUND, f"{self._path} has lost leaves of its log")
        return [from_row(data) for (data,) in rows]
