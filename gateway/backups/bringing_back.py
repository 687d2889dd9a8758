"""Bringing back what a log has beyond a backup, log by log, up to the largest mark of each.

The leaves come from places that nobody need believe: each is held against the mark's checkpoint, whose tree must begin
with the backup's. A place that fails or lies on the way is left for the next one that has enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.backups.leaves_beyond import Beyond, ended_by
from gateway.backups.making import Report
from gateway.backups.places import Place
from gateway.log_marks import Mark
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, HeyanError, NotFoundError, UnreachableError
from gateway.protocol.reasons import Reason
from gateway.static_log.tile_proofs import VerifiedTiles, prove_consistency, read_leaves
from gateway.stores.records import Head
from gateway.stores.sqlite_copy import LEAVES_AT_ONCE
from gateway.stores.sqlite_restored import RestoredStore

REMEDY = (
    "bring a copy of the log that has them (--log), or begin a new log: another log_origin in the registry, and an"
    " empty store"
)


@dataclass(frozen=True, slots=True)
class BringingBack:
    """Into `store`: from `places`, up to `marks`, of the logs `origins` (of the registry, oldest first).

    `is_sound` says whether a mark was signed by a key that was never compromised. Others must be reached too, but
    nothing is brought into the log on their word alone.
    """

    store: RestoredStore
    places: Sequence[Place]
    marks: Sequence[Mark]
    origins: Sequence[str]
    report: Report
    is_sound: Callable[[Mark], bool] = lambda _mark: True
    beyond: Beyond = field(default_factory=Beyond)

    async def run(self) -> None:
        """Bring back all there is.

        ForgedError: LOG_ROLLED_BACK if leaves that were seen cannot be had, LOG_FORKED if what was seen does not
        continue the backup. The store is then good for nothing.
        """
        head = self._newest()
        while True:
            target = self._largest(head.origin)
            if target is not None and target.checkpoint.size > head.size:
                await self._grow(head, target)
                head = self._newest()
            following = self._following(head) if head.ended else None
            if following is None:
                break
            head = following
        if head.ended:
            detail = f"{head.origin} has ended, and no place has the log that went on; {REMEDY}"
            raise ForgedError(Reason.LOG_ROLLED_BACK, detail)

    def _newest(self) -> Head:
        return self.store.shards()[-1]

    def _largest(self, origin: str) -> Mark | None:
        known = (mark for mark in self.marks if mark.checkpoint.origin == origin)
        return max(known, key=lambda mark: (mark.checkpoint.size, self.is_sound(mark)), default=None)

    def _following(self, head: Head) -> Head | None:
        """The log after one that has ended, if it was seen, with nothing of it yet."""
        later = self.origins[self.origins.index(head.origin) + 1 :] if head.origin in self.origins else ()
        if not later or self._largest(later[0]) is None:
            return None
        return Head(0, b"", "", later[0], head.end, head.number + 1)

    async def _grow(self, head: Head, target: Mark) -> None:
        """Append the leaves of one log up to a mark, from the first place that has all of them."""
        if not self.is_sound(target):
            detail = (
                f"{head.origin} was seen with {target.checkpoint.size} leaves by {target.place}, signed only by a key"
                " that was compromised: nobody can say whose leaves those are; leave that place out only if you know"
                f" that the log never had them, or {REMEDY}"
            )
            raise ForgedError(Reason.KEY_UNKNOWN, detail)
        failures = []
        for place in self.places:
            if place.mark.checkpoint.origin != head.origin or place.mark.checkpoint.size < target.checkpoint.size:
                continue
            try:
                await self._grow_from(place, head, target)
            except (UnreachableError, NotFoundError, ForgedError) as error:
                if isinstance(error, ForgedError) and error.reason is not Reason.TILE_INVALID:
                    raise
                failures.append(_told(place, error))
            else:
                return
        size = target.checkpoint.size
        detail = (
            f"{head.origin} was seen with {size} leaves by {target.place}, and those after {head.size} cannot be had"
            f" ({'; '.join(failures) or 'no place has so many'}); {REMEDY}"
        )
        raise ForgedError(Reason.LOG_ROLLED_BACK, detail)

    async def _grow_from(self, place: Place, head: Head, target: Mark) -> None:
        seen = target.checkpoint
        tiles = VerifiedTiles(place.source, seen)
        if head.size:
            await prove_consistency(tiles, Checkpoint(head.origin, head.size, head.root), seen)
        newest = self._newest()
        reached = newest.size if newest.origin == seen.origin else 0  # perhaps where a place before this one failed
        chunk: list[bytes] = []
        async for index, data in read_leaves(tiles, reached, seen.size, seen):
            chunk.append(data)
            is_last = index == seen.size - 1
            if is_last or len(chunk) == LEAVES_AT_ONCE:
                start = head.first + index + 1 - len(chunk)
                entries = [self.beyond.take(leaf, position) for position, leaf in enumerate(chunk, start=start)]
                note = target.note if is_last else f"{seen.origin}\n"  # of a copy that nobody sees before it is whole
                self.store.bring_back(entries, note, ended=is_last and ended_by(data))
                self.report("leaves", index + 1, seen.size)
                chunk = []


def _told(place: Place, error: HeyanError) -> str:
    return f"{place.mark.place}: {error.detail}"
