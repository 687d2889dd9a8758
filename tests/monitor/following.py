"""A log that a monitor follows, in memory: it grows, lies, vanishes and comes back as a test tells it to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.monitor.alarms import Alarm
from gateway.monitor.cycle import Look, Monitor
from gateway.monitor.rules import NO_RULES, Rules
from gateway.monitor.stillness import Clock, Limits
from gateway.monitor.store import MonitorStore
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import NotFoundError
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.note import SignerKey, VerifierKey
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import TILE_HEIGHT, TILE_WIDTH
from gateway.static_log.checked_log import LogToCheck
from tests.audit import logs

ORIGIN = logs.fed.LOG_ORIGIN


class Shown:
    """What a log shows: a `TileSource` over leaves in memory. `note` stands in for its checkpoint, `fault` for all."""

    def __init__(self, leaves: list[bytes], signer: SignerKey | None = None) -> None:
        self.leaves = leaves
        self.signer = signer or logs.signer()
        self.note: bytes | None = None
        self.fault: Exception | None = None
        self.refused: dict[str, Exception] = {}
        self.flipped: set[str] = set()
        self.calls: list[str] = []

    async def checkpoint(self) -> bytes:
        self._call("checkpoint")
        return self.note if self.note is not None else note_of(self.leaves, self.signer)

    async def tile(self, level: int, index: int, width: int) -> bytes:
        name = f"{level}/{index}"
        self._call(name)
        span = 1 << TILE_HEIGHT * level
        hashes = [leaf_hash(leaf) for leaf in self.leaves]
        starts = range(index * TILE_WIDTH * span, (index * TILE_WIDTH + width) * span, span)
        if starts[-1] + span > len(hashes):
            raise NotFoundError(Reason.NOT_FOUND, f"the log has no tile {name}")
        data = b"".join(root_of(hashes[at : at + span]) for at in starts)
        return bytes([data[0] ^ 1]) + data[1:] if name in self.flipped else data

    async def entries(self, index: int, width: int) -> list[bytes]:
        name = f"entries/{index}"
        self._call(name)
        found = self.leaves[index * TILE_WIDTH : index * TILE_WIDTH + width]
        if len(found) < width:
            raise NotFoundError(Reason.NOT_FOUND, f"the log has no {name}")
        return [b"x" + found[0], *found[1:]] if name in self.flipped else found

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fault is not None:
            raise self.fault
        if name in self.refused:
            raise self.refused[name]


def note_of(leaves: list[bytes], signer: SignerKey | None = None) -> bytes:
    key = signer or logs.signer()
    checkpoint = Checkpoint(key.verifier.name, len(leaves), root_of([leaf_hash(leaf) for leaf in leaves]))
    return sign_checkpoint(checkpoint, [key]).encode()


@dataclass
class Clocks:
    """Two clocks that move together, unless one is set."""

    day: float = logs.MIDNIGHT + 3_600.0
    steady: float = 100.0

    def pass_(self, seconds: float) -> None:
        self.day += seconds
        self.steady += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.day, lambda: self.steady)


@dataclass
class Following:
    """A monitor and what it follows. `restart` is what a new process finds."""

    folder: Path
    shown: Shown = field(default_factory=lambda: Shown([]))
    clocks: Clocks = field(default_factory=Clocks)
    rules: Rules = NO_RULES
    limits: Limits = field(default_factory=Limits)
    windows_of: object = None
    places: Mapping[str, Shown] = field(default_factory=dict)
    keys: tuple[VerifierKey, ...] = ()
    keys_at: object = None
    gateways: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.store = self.monitor = None
        self.restart()

    @property
    def file(self) -> Path:
        return self.folder / "monitor.db"

    def open_store(self) -> MonitorStore:
        return MonitorStore(self.file, ORIGIN, posts=True)

    def restart(self, store_kind=None) -> None:
        if self.store is not None:
            self.store.close()
        self.store = (store_kind or MonitorStore)(self.file, ORIGIN, posts=True)
        keys = self.keys or (logs.signer().verifier,)
        self.monitor = Monitor(
            log=LogToCheck(self.shown, ORIGIN, self.keys_at or (lambda _time: keys), self.gateways),
            store=self.store,
            clock=self.clocks.clock,
            rules=self.rules,
            windows_of=self.windows_of,
            limits=self.limits,
            sightings=self.places,
        )

    async def look(self, after: float = 10.0) -> Look:
        self.clocks.pass_(after)
        return await self.monitor.look()

    async def kinds(self, after: float = 10.0) -> list[str]:
        return kinds((await self.look(after)).raised)

    def stored(self) -> list[str]:
        """The kinds of all alarms that are to be posted."""
        return [document["kind"] for _, document in self.store.unposted(10_000)]

    def ids(self) -> list[str]:
        return [document["id"] for _, document in self.store.unposted(10_000)]


def kinds(alarms: tuple[Alarm, ...]) -> list[str]:
    return [alarm.kind.value for alarm in alarms]


def verifications(count: int, at: float = logs.MIDNIGHT, **more) -> list[bytes]:
    books = logs.Books()
    for number in range(count):
        books.record(logs.Asked(), at=at + number // 100, **more)
    return books.leaves_
