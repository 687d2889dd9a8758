"""One look at a log: what is new is believed step by step, read, and stored with the alarms that it gives rise to.

    checkpoint → signature → no rollback, no fork (consistency by tiles)         then `seen` moves
               → what other places saw is of the same tree, and not ahead for long
               → new leaves, each held against the signed root, chunk by chunk   then `processed` moves, with the alarms
               → the key that signed counts for the newest leaf
               → not still for too long

Each line is one commit or several (`MonitorStore`); a kill anywhere leaves a state from which the next look goes on,
raising the same alarms under the same ids.

What other places saw comes before the leaves: a log that keeps its entries back, or hands them out so slowly that a
look never ends, must not keep a split view from being told.

What goes on being wrong (a condition) is told once, and ends when a look finds it gone. What does not hold never moves
the state: after a fork the monitor stays at what it saw before, and goes on looking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.audit.bad_places import BadPlace, Wrong
from gateway.audit.leaf_order import LeafOrder
from gateway.monitor.alarms import Alarm, Kind
from gateway.monitor.comparing import SightingSource, compare, pair, sizes
from gateway.monitor.findings import Findings
from gateway.monitor.rules import NO_RULES, Rules, WindowsOf
from gateway.monitor.state import MonitorState
from gateway.monitor.stillness import Clock, Limits, Passing, judge_absence, judge_stillness
from gateway.monitor.store import MonitorStore
from gateway.monitor.watching import Watcher
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import BadDataError, ForgedError, HeyanError, UnreachableError
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import CHECKPOINT_PATH
from gateway.static_log.checked_log import LogToCheck, open_newest, open_sighted
from gateway.static_log.kept_checkpoints import Sighted
from gateway.static_log.tile_proofs import VerifiedTiles, prove_consistency, read_leaves

CHUNK = 4_096
"""Leaves of one commit."""
MAX_SHOWN_NOTE = 16_384
"""Characters that are kept of what is shown for a checkpoint and is none."""


@dataclass(frozen=True, slots=True)
class Look:
    """What came of one look. `fault` says why the log could not be read, `warnings` which other places could not be."""

    raised: tuple[Alarm, ...]
    state: MonitorState
    fault: UnreachableError | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_alarming(self) -> bool:
        """Whether anything was raised that is no notice, or goes on being wrong."""
        return bool(self.state.conditions) or any(not alarm.is_notice for alarm in self.raised)


class _Stopped(Exception):  # noqa: N818 - no error: the look ends here, and what follows stays as it was
    """Nothing further can be learnt by this look."""


class Monitor:
    """Follows one log. `look` is called again and again, by one task."""

    def __init__(
        self,
        *,
        log: LogToCheck,
        store: MonitorStore,
        clock: Clock,
        rules: Rules = NO_RULES,
        windows_of: WindowsOf | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        sightings: Mapping[str, SightingSource] | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._clock = clock
        self._rules = rules
        self._windows_of = windows_of
        self._limits = limits
        self._sightings = dict(sightings or {})
        self._passing = Passing(clock)
        self._watcher: Watcher | None = None
        self._found = Findings(log.origin, 0.0, {})
        self._raised: list[Alarm] = []

    async def look(self) -> Look:
        """Look once. What is wrong with the log is an alarm; UnreachableError only if the state cannot be stored."""
        self._found = Findings(self._log.origin, self._clock.now(), self._store.state.conditions)
        self._raised = []
        fault: UnreachableError | None = None
        try:
            fault = await self._look()
            self._commit(conditions=dict(self._found.conditions))
        except BaseException:
            self._watcher = None  # it may be ahead of what is stored
            raise
        return Look(tuple(self._raised), self._store.state, fault, tuple(self._found.warnings))

    async def _look(self) -> UnreachableError | None:
        state = self._store.state
        passed = self._passing.since(state.looked)
        try:
            note, newest, tiles = await self._follow(passed)
            remembered = await compare(self._log, self._sightings, self._store.state, self._limits, passed, self._found)
            self._commit(sightings=remembered)
            await self._read(tiles, newest)
            self._judge_keys(note)
        except _Stopped:
            self._found.keep_conditions()
        except UnreachableError as error:
            if error.reason is Reason.INTERNAL:  # our own file, not the log
                raise
            judge_absence(state, self._limits, self._passing.since(state.looked), self._found)
            self._found.keep_conditions()
            return error
        else:
            if self._watching().order.ended is None:  # a log that has ended is still for good
                judge_stillness(self._store.state, self._limits, self._log.keys(0.0), self._found)
        return None

    async def _follow(self, passed: float) -> tuple[bytes, Checkpoint, VerifiedTiles]:
        """The checkpoint that is shown, once it is believed, and its tiles."""
        note, newest = await open_newest(self._log)
        if isinstance(newest, BadPlace):
            if newest.wrong is Wrong.NO_CHECKPOINT and not note and self._store.state.checkpoint is None:
                # A log that begins has nothing to show for a moment; one that goes on so is told as unreadable.
                raise UnreachableError(Reason.PEER_UNREACHABLE, "the log shows no checkpoint yet")
            self._found.wrong(newest, {"shown": note.decode(errors="replace")[:MAX_SHOWN_NOTE]} if note else {})
            raise _Stopped
        tiles = VerifiedTiles(self._log.source, newest)
        state = self._store.state
        earlier = state.checkpoint
        if earlier is not None:
            await self._hold_together(tiles, earlier, newest, note.decode())
        has_grown = earlier is None or newest.size > earlier.size
        idle = 0.0 if has_grown else state.idle + passed
        self._commit(seen=note.decode(), looked=self._clock.now(), idle=idle)
        self._passing.reach()
        return note, newest, tiles

    def _judge_keys(self, note: bytes) -> None:
        opened = open_sighted(Sighted(CHECKPOINT_PATH, note), self._log, self._watching().order.latest)
        if isinstance(opened, BadPlace):  # by a key that was retired before the newest leaf
            self._found.wrong(opened, {"shown": note.decode()})

    async def _hold_together(self, tiles: VerifiedTiles, earlier: Checkpoint, newest: Checkpoint, note: str) -> None:
        try:
            await prove_consistency(tiles, earlier, newest)
        except ForgedError as error:
            if error.reason is Reason.TILE_INVALID:
                self._found.unreadable(newest.size, error)
                raise _Stopped from None
            kind = Kind.ROLLED_BACK if error.reason is Reason.LOG_ROLLED_BACK else Kind.FORKED
            evidence = {"remembered": self._store.state.seen, "shown": note}
            self._found.condition(kind, pair(earlier, newest), sizes(earlier, newest), evidence)
            raise _Stopped from None
        except BadDataError as error:
            self._found.unreadable(newest.size, error)
            raise _Stopped from None

    async def _read(self, tiles: VerifiedTiles, newest: Checkpoint) -> None:
        """Read what is new, chunk by chunk; each is committed with its alarms."""
        watcher = self._watching()
        hashes: list[bytes] = []
        try:
            async for index, data in read_leaves(tiles, self._store.state.processed, newest.size, newest):
                hashes.append(leaf_hash(data))
                self._found.alarms += watcher.read(index, data, self._clock.now())
                if len(hashes) == CHUNK:
                    self._advance(hashes)
                    hashes = []
        except HeyanError as error:
            self._advance(hashes)  # what was read before it was held against the root on its own
            if not isinstance(error, BadDataError):
                raise
            self._found.unreadable(newest.size, error)
            raise _Stopped from None
        self._advance(hashes)
        if self._store.state.frontier.root() != newest.root:
            detail = "the leaves read so far have another root"
            self._found.condition(Kind.TILES_INVALID, f"{newest.size} {detail}", {"detail": detail})
            raise _Stopped

    def _advance(self, hashes: Sequence[bytes]) -> None:
        if hashes:
            frontier, _ = self._store.state.frontier.append(hashes)
            self._commit(frontier=frontier, watcher=self._watching().document())

    def _watching(self) -> Watcher:
        """The watcher, as it stood after the last leaf that was stored as processed."""
        if self._watcher is None:
            watcher = Watcher(self._log.origin, self._rules, self._windows_of, LeafOrder(self._log.gateways))
            document = self._store.state.watcher
            if document is not None:
                watcher.restore(document, self._store.deferred())
            self._watcher = watcher
        return self._watcher

    def _commit(self, **changes: Any) -> None:
        deferred = self._watcher.take_deferred() if self._watcher is not None else {}
        self._raised += self._store.commit(self._store.state.but(**changes), self._found.take_alarms(), deferred)
