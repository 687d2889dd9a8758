"""The logs of a reconciliation together: which of them a checkpoint is of, and what they say of each other.

A gateway's logs are in the order in which they grew, each going on where the one before it ended. A log that is only
known by origin and keys takes checkpoints that others hold, and has no leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.audit.findings import Disagreement, Finding
from gateway.audit.log_index import LeafPlace, LogIndex, ReadLog
from gateway.audit.log_view import LogView, Sighting, forks
from gateway.protocol.checkpoint import Checkpoint, origin_of
from gateway.protocol.errors import BadDataError


@dataclass(frozen=True, slots=True)
class Shown:
    """A checkpoint that a log of these signed; `log` is its number among those that are read, None if it is not."""

    checkpoint: Checkpoint
    log: int | None


class Logs:
    """Views of one gateway's logs, oldest first, and the index that is made of those that are read."""

    def __init__(self, views: Sequence[LogView]) -> None:
        self.views = tuple(views)
        self.read = tuple(view for view in self.views if view.checkpoint)
        self.index = LogIndex()
        self.gateways = frozenset[str]().union(*(view.gateways for view in self.views))
        self._by_origin = {view.origin: view for view in self.views}
        self._numbers = {view.origin: number for number, view in enumerate(self.read)}
        self._shown: dict[str, Shown | None] = {}

    @property
    def newest(self) -> str:
        """The origin of the log that is written now."""
        return self.views[-1].origin

    def look_at(self, notes: Iterable[str]) -> None:
        """Open checkpoints that others hold, each once."""
        for note in notes:
            if note not in self._shown:
                self._shown[note] = self._open(note)

    def shown(self, note: str) -> Shown | None:
        """A checkpoint that was looked at; None if it is no log's own word: anybody may write a note."""
        return self._shown[note]

    def sizes(self, origin: str) -> set[int]:
        """The sizes at which somebody holds a checkpoint of a log."""
        return {item.checkpoint.size for item in self._shown.values() if item and item.checkpoint.origin == origin}

    def size(self, shown: Shown) -> int:
        """How many leaves the log of a checkpoint has."""
        return self.index.logs[shown.log].size if shown.log is not None else 0

    def told(self, place: LeafPlace) -> str:
        """How a finding names the log of a leaf."""
        origin = self.index.logs[place[0]].origin
        return "" if origin == self.newest else origin

    def finding(self, kind: Disagreement, place: LeafPlace) -> Finding:
        """A finding about a leaf, whatever departments say."""
        return Finding(kind, self.index.logs[place[0]].origin, index=place[1], origin=self.told(place))

    def of_checkpoints(self, seen: Iterable[Sighting]) -> Iterator[Finding]:
        """Checkpoints that are not of these trees, each holder's once, and those that contradict each other."""
        once = tuple(dict.fromkeys(seen))
        for sighting in once:
            shown = self._shown[sighting.checkpoint]
            if shown is None or shown.log is None:
                continue
            log, contradiction = self.index.logs[shown.log], (sighting.checkpoint, self.read[shown.log].checkpoint)
            origin = self.told((shown.log, 0))
            if shown.checkpoint.size > log.size:
                yield Finding(Disagreement.CUT_OFF, sighting.holder, checkpoints=contradiction, origin=origin)
            elif shown.checkpoint.root != log.roots[shown.checkpoint.size]:
                kind = _contradiction(self.read[shown.log], *contradiction)
                yield Finding(kind, sighting.holder, checkpoints=contradiction, origin=origin)
        for view in self.views:
            for one, other in forks(once, view):
                if any(self._is_past(sighting) for sighting in (one, other)):
                    notes = (one.checkpoint, other.checkpoint)
                    origin = "" if view.origin == self.newest else view.origin
                    kind = _contradiction(view, *notes)
                    yield Finding(kind, other.holder, checkpoints=notes, origin=origin)

    def _is_past(self, sighting: Sighting) -> bool:
        """Whether only another checkpoint, and no leaf, can contradict this one."""
        shown = self._shown[sighting.checkpoint]
        return shown is not None and (shown.log is None or shown.checkpoint.size > self.size(shown))

    def of_shards(self) -> Iterator[Finding]:
        """Leaves after a log's end, and logs that do not go on from where the one before them ended."""
        yield from (self.finding(Disagreement.AFTER_END, place) for place in self.index.after_end())
        origins = [view.origin for view in self.views]
        previous_of = dict(zip(origins[1:], origins, strict=False))
        logs = {log.origin: log for log in self.index.logs}
        for number, log in enumerate(self.index.logs):
            for position, start in log.starts:
                if position != 0 or start.previous_origin != previous_of.get(log.origin):
                    yield self.finding(Disagreement.MISJOINED, (number, position))
            previous = logs.get(previous_of.get(log.origin, ""))
            if previous is not None and log.size:
                yield from self._joint(number, log, previous, logs)

    def _joint(self, number: int, log: ReadLog, previous: ReadLog, logs: Mapping[str, ReadLog]) -> Iterator[Finding]:
        """How a log begins, held against how the one before it ended."""
        starts = [start for position, start in log.starts if position == 0]
        told = [(start.previous_size, start.previous_root) for start in starts]
        if told != [(previous.size, previous.root)]:
            yield self.finding(Disagreement.MISJOINED, (number, 0))
        if [origin for _, origin in previous.ends[:1]] != [log.origin]:
            before = next(place for place, each in enumerate(self.index.logs) if each is logs[previous.origin])
            yield self.finding(Disagreement.MISJOINED, (before, max(previous.size - 1, 0)))

    def _open(self, note: str) -> Shown | None:
        try:
            origin = origin_of(note)
            view = self._by_origin.get(origin)
            return None if view is None else Shown(view.open(note), self._numbers.get(origin))
        except BadDataError:
            return None


def _contradiction(view: LogView, *notes: str) -> Disagreement:
    return Disagreement.FORKED if view.convicts(*notes) else Disagreement.CONTESTED
