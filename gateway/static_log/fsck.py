"""Checking a log as it lies in a folder or behind a URL: every bundle, every tile, every checkpoint kept.

    checkpoint → bundles and level-0 tiles, from the left, a few read ahead → upper tiles as they fill
               → partial tiles → roots at the sizes of kept checkpoints → the checkpoint once more

- A log may grow while it is read: it is checked at the size at which the reading began, and the newer checkpoint must
  extend that one. It may not shrink.
- A checkpoint is judged by the keys that count for the time of the newest leaf under it.
- What is wrong is collected (`gateway.audit.bad_places`) and never raised; a fault of machine or network is raised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.audit.bad_places import BadPlace, BadPlaces, Wrong
from gateway.audit.fsck import Decided, Examination, Upper
from gateway.audit.leaf_order import LeafOrder
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import BadDataError, ForgedError, MalformedError, UnknownPeerError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.log_keys import UNKNOWN_TIME
from gateway.protocol.merkle import EMPTY_ROOT, MAX_TREE_SIZE, leaf_hash
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import CHECKPOINT_PATH, TILE_HEIGHT, Bundle, Tile, bundles_at, hashes_of
from gateway.static_log.checked_log import LogToCheck, bad_file, open_newest, open_sighted
from gateway.static_log.kept_checkpoints import KeptCheckpoints, Sighted
from gateway.static_log.tile_proofs import VerifiedTiles, prove_consistency

T = TypeVar("T")

AHEAD = 8
"""Rows that are under way while one is looked at: as many as a source has connections. A row is 250 kB at most sizes,
and 17 MB at the very most."""

Progress = Callable[[int, int], None]
"""Told how many entries are checked, of how many."""

_CONTRADICTIONS = {Reason.LOG_ROLLED_BACK: Wrong.ROLLED_BACK, Reason.LOG_FORKED: Wrong.FORKED}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to check beyond tiles. Without `entries` only hashes are read; `leaves` reads what each entry says."""

    entries: bool = True
    leaves: bool = False
    kept: KeptCheckpoints = field(default_factory=KeptCheckpoints)


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it. `checkpoint` is None if the log shows none that counts; then nothing else was read.

    `tiles` and `bundles` count the files that were held against each other, `checkpoints` the signed ones.
    """

    checkpoint: Checkpoint | None
    note: bytes
    found: BadPlaces
    tiles: int = 0
    bundles: int = 0
    checkpoints: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.found.count == 0


async def check_log(log: LogToCheck, wanted: Wanted, progress: Progress = lambda _done, _all: None) -> Checked:
    """Check everything once. UnreachableError if something could not be read now."""
    note, checkpoint = await open_newest(log)
    if isinstance(checkpoint, BadPlace):
        found = BadPlaces()
        found.add(checkpoint)
        return Checked(None, note, found)
    return await _Reading(log, wanted, checkpoint, note, progress).run()


@dataclass(frozen=True, slots=True)
class _Row:
    bundle: Bundle
    entries: list[bytes] | BadPlace | None
    stored: bytes | BadPlace


class _Reading:
    def __init__(
        self, log: LogToCheck, wanted: Wanted, checkpoint: Checkpoint, note: bytes, progress: Progress
    ) -> None:
        self._log = log
        self._source = log.source
        self._wanted = wanted
        self._checkpoint = checkpoint
        self._note = note
        self._progress = progress
        self._examination = Examination(checkpoint)
        self._order = LeafOrder(log.gateways)
        self._other = BadPlaces()
        """What the examination does not see: what is absent, checkpoints, leaves."""
        self._kept_back = False
        self._tiles = self._bundles = self._checkpoints = 0

    async def run(self) -> Checked:
        """Read and judge everything."""
        for sighted, detail in self._wanted.kept.unreadable:
            self._other.add(BadPlace(Wrong.NO_CHECKPOINT, sighted.place, detail=detail))
        sizes = _Ahead(self._wanted.kept.sizes())
        if sizes.up_to(0):
            self._judge_kept(0, (EMPTY_ROOT,), None)
        async for row in self._rows():
            if not await self._take(row, sizes):
                return self._summary(BadPlaces())
            self._progress(self._examination.size, self._checkpoint.size)
        for upper in self._examination.open_tiles():
            await self._hold(upper)
        decided = await self._decide()
        await self._look_again(sizes)
        return self._summary(self._examination.finish(decided))

    def _summary(self, found: BadPlaces) -> Checked:
        found.extend(self._other)
        return Checked(self._checkpoint, self._note, found, self._tiles, self._bundles, self._checkpoints)

    async def _rows(self) -> AsyncIterator[_Row]:
        bundles = bundles_at(self._checkpoint.size)
        under_way: deque[asyncio.Task[_Row]] = deque()
        try:
            while True:
                while len(under_way) < AHEAD and (bundle := next(bundles, None)) is not None:
                    under_way.append(asyncio.create_task(self._read(bundle)))
                if not under_way:
                    return
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _read(self, bundle: Bundle) -> _Row:
        tile = Tile(0, bundle.index, bundle.width)
        stored: bytes | BadPlace
        entries: list[bytes] | BadPlace | None = None
        try:
            stored = await self._source.tile(0, tile.index, tile.width)
        except BadDataError as error:
            stored = bad_file(tile.path, error)
        if self._wanted.entries and not self._kept_back:
            try:
                entries = await self._source.entries(bundle.index, bundle.width)
            except UnknownPeerError as error:
                entries = self._note_kept_back(bundle, error)
            except BadDataError as error:
                entries = bad_file(bundle.path, error)
        return _Row(bundle, entries, stored)

    def _note_kept_back(self, bundle: Bundle, error: UnknownPeerError) -> BadPlace | None:
        # Kept back once is kept back everywhere: said once, and the hashes are checked alone from there on.
        if self._kept_back:
            return None
        self._kept_back = True
        return bad_file(bundle.path, error)

    async def _take(self, row: _Row, sizes: _Ahead) -> bool:
        """Judge a row; whether reading can go on."""
        start = self._examination.size
        end = start + row.bundle.width
        entries = self._kept_of(row.entries)
        stored = self._kept_of(row.stored)
        self._bundles += entries is not None
        self._tiles += stored is not None
        if entries is None and stored is None:
            return False
        within = sizes.up_to(end)
        uppers, roots = self._examination.row(entries, stored, within)
        for upper in uppers:
            await self._hold(upper)
        for size, possible in zip(within, roots, strict=True):
            self._judge_kept(size, possible, entries[size - 1 - start] if entries else None)
        if entries is not None:
            self._judge_leaves(row.bundle, start, entries)
        self._judge_shown(start, hashes_of(stored or b"") if entries is None else tuple(map(leaf_hash, entries)))
        if end == self._checkpoint.size:
            self._judge_keys(Sighted(CHECKPOINT_PATH, self._note), _time_of(entries[-1] if entries else None))
        return True

    def _kept_of(self, part: T | BadPlace) -> T | None:
        """What could be read; the rest is noted."""
        if isinstance(part, BadPlace):
            self._other.add(part)
            return None
        return part

    def _judge_leaves(self, bundle: Bundle, start: int, entries: Sequence[bytes]) -> None:
        if self._wanted.leaves:
            for index, data in enumerate(entries, start):
                for unsound in self._order.read(index, data)[1]:
                    self._other.add(BadPlace(unsound.wrong, bundle.path, index, detail=unsound.detail))

    def _judge_shown(self, start: int, hashes: Sequence[bytes]) -> None:
        """Hold the leaves that receipts show against those of the log: also where only hashes are at hand."""
        for shown in self._wanted.kept.leaves_in(start, start + len(hashes)):
            if hashes[shown.index - start] != shown.hash:
                self._other.add(BadPlace(Wrong.LEAF_NOT_LOGGED, shown.place, shown.index))

    async def _hold(self, upper: Upper) -> None:
        tile = upper.tile
        try:
            stored = await self._source.tile(tile.level, tile.index, tile.width)
        except BadDataError as error:
            self._other.add(bad_file(tile.path, error))
            return
        self._tiles += 1
        self._examination.upper(upper, stored)

    def _judge_kept(self, size: int, roots: tuple[bytes, ...], newest: bytes | None) -> None:
        for sighted in self._wanted.kept.at(size):
            checkpoint = self._judge_keys(sighted, _time_of(newest))
            if checkpoint is not None and checkpoint.size != size:
                detail = f"is of size {checkpoint.size}"
                self._other.add(BadPlace(Wrong.NO_CHECKPOINT, sighted.place, detail=detail))
            elif checkpoint is not None and checkpoint.root not in roots:
                self._other.add(BadPlace(Wrong.FORKED, sighted.place, detail=f"another root at size {size}"))

    def _judge_keys(self, sighted: Sighted, newest: float) -> Checkpoint | None:
        """The checkpoint, if a key that counts for that time signed it; what is wrong with it otherwise is noted."""
        opened = open_sighted(sighted, self._log, newest)
        self._checkpoints += 1
        return self._kept_of(opened)

    async def _decide(self) -> Decided:
        """Look at what is in doubt from the signed root down."""
        doubts = self._examination.doubts()
        tiles = VerifiedTiles(self._source, self._checkpoint)
        authentic: set[Tile] = set()
        rows: set[int] = set()
        for tile in doubts.tiles:
            with suppress(BadDataError):  # it does not lead there, which is what was asked
                await tiles.tile(tile.level, tile.index)
                authentic.add(tile)
        for index, root in doubts.rows.items():
            with suppress(BadDataError):
                if await tiles.node(TILE_HEIGHT, index) == root:
                    rows.add(index)
        return Decided(frozenset(authentic), frozenset(rows))

    async def _look_again(self, sizes: _Ahead) -> None:
        """Hold what is kept of larger sizes against the checkpoint that the log shows by now, and that against ours."""
        newest = self._kept_of((await open_newest(self._log))[1])
        if newest is None:
            return
        await self._hold_together(CHECKPOINT_PATH, self._checkpoint, newest)
        for size in sizes.up_to(MAX_TREE_SIZE):
            for sighted in self._wanted.kept.at(size):
                checkpoint = self._judge_keys(sighted, self._order.latest)
                if checkpoint is not None:
                    await self._hold_together(sighted.place, checkpoint, newest)

    async def _hold_together(self, place: str, old: Checkpoint, new: Checkpoint) -> None:
        try:
            await prove_consistency(self._source, old, new)
        except ForgedError as error:
            wrong = _CONTRADICTIONS.get(error.reason, Wrong.TILE_CHANGED)
            self._other.add(BadPlace(wrong, place, detail=error.detail))
        except BadDataError as error:
            self._other.add(bad_file(place, error))


class _Ahead:
    """Ascending numbers, taken a stretch at a time."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._next = next(numbers, None)

    def up_to(self, end: int) -> list[int]:
        """The following ones up to `end`, which may be among them."""
        taken: list[int] = []
        while self._next is not None and self._next <= end:
            taken.append(self._next)
            self._next = next(self._numbers, None)
        return taken


def _time_of(data: bytes | None) -> float:
    """The time of a leaf; UNKNOWN_TIME if it is not at hand or says none: every key counts that was not compromised."""
    try:
        return log_time(read_leaf(data)) if data is not None else UNKNOWN_TIME
    except MalformedError:
        return UNKNOWN_TIME
