"""Reading a log as an auditor who trusts nobody: all leaves, the statistics beside them, and what a log once showed.

    first checkpoint → statistics, day by day → newest checkpoint → all leaves → roots → the log before it

- Every page is read; the root over the leaves must be that of the newest checkpoint, which a key of the gateway's, as
  the auditor's own registry has it, must have signed; the first checkpoint, and one remembered from an earlier audit,
  must be of the same tree.
- A day's statistics are as of one size of the log, at least that of the first checkpoint: what the log held before
  the audit began cannot be left out of them. Leaves beyond it are not held against them.
- A log that went on from another says so in its first leaf, and that one ended there (`gateway.audit.succession`).
- Nothing is kept of a leaf but counts (`gateway.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.audit.assessment import Assessment, Grouping, assess
from gateway.audit.log_view import GrowingTree
from gateway.audit.logged_checks import LoggedChecks
from gateway.audit.succession import Predecessor, ends_of, require_succession
from gateway.audit.tally_sheet import MAX_ROWS, TallySheet
from gateway.protocol.checkpoint import Checkpoint, open_checkpoint, origin_of
from gateway.protocol.errors import ForgedError, MalformedError, OverloadedError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import GatewayTerms
from gateway.protocol.statistics import StatisticKey, StatisticsPage, beijing_day, days_between

MAX_DAYS = 400
"""Days of one report: a school year and its follow-up."""

ATTEMPTS = 5
"""How often a day is read again that changes while it is read."""

UNREADABLE_SHOWN = 100
"""Indexes of unreadable leaves that are kept to be named."""

Progress = Callable[[int, int], None]
"""Told how many leaves are read, of how many."""


class LogPort(Protocol):
    """A gateway's log as it answers an auditor. Every method raises a domain error if it cannot be had."""

    async def checkpoint(self) -> str:
        """The newest checkpoint, a signed note."""
        ...

    async def leaves(self, start: int) -> Sequence[bytes]:
        """A page of leaves from an index on; empty at the end."""
        ...

    async def statistics(self, day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        """A page of a day's statistics, the first or after a row; and whether it is the last."""
        ...

    async def inclusion(self, index: int, size: int) -> Sequence[bytes]:
        """The inclusion path of a leaf in the tree of a size."""
        ...

    def of(self, origin: str) -> LogPort:
        """The log of that origin of the same gateway."""
        ...


async def log_that_grows(log: LogPort, terms: GatewayTerms) -> str:
    """The origin of the log that grows, as the gateway says; ForgedError (KEY_UNKNOWN) if the registry has it not."""
    if not terms.ended_origins:
        return terms.log_origin
    origin = origin_of(await log.checkpoint())
    if origin not in terms.origins:
        raise ForgedError(Reason.KEY_UNKNOWN, "a log that the registry does not list for the gateway")
    return origin


@dataclass(frozen=True, slots=True)
class AuditedLog:
    """What was read: `note` is the verified checkpoint that covers it. Of `unreadable` leaves the first are named."""

    checkpoint: Checkpoint
    note: str
    checks: LoggedChecks
    sheet: TallySheet
    unreadable: tuple[int, ...]
    unreadable_count: int

    def assess(self, by: Grouping) -> Assessment:
        """The assessment by group."""
        return assess(self.checks, self.sheet, by)


def window_of(first: str, end: str) -> tuple[str, ...]:
    """The days of a window, `end` not among them; MalformedError if there is none, or more than MAX_DAYS."""
    days = days_between(first, end)
    if not 0 < len(days) <= MAX_DAYS:
        raise MalformedError.at(
            "--to",
            f"must be after --from, by at most {MAX_DAYS} days / 应晚于 --from，最多相差 {MAX_DAYS} 天",
            Reason.CONFIGURATION_INVALID,
        )
    return days


class LogAudit:
    """One reading of the log `origin` of `gateway` (SPIFFE ID), whose keys are those of `registry`.

    Without an origin it is the one that the registry names; `log` reads just that one.
    """

    def __init__(
        self,
        log: LogPort,
        registry: Registry,
        gateway: str,
        progress: Progress = lambda _done, _all: None,
        origin: str = "",
    ) -> None:
        terms = registry.party(gateway).gateway
        if terms is None:
            raise MalformedError.at("gateway", "must be a gateway of the registry", Reason.CONFIGURATION_INVALID)
        self._log = log
        self._registry = registry
        self._gateway = gateway
        self._origin = origin or terms.log_origin
        self._remembered: list[Checkpoint] = []
        self._progress = progress
        self.shown = ""
        """The newest checkpoint that the log showed, a note with its signature; evidence if it does not hold."""

    def remember(self, note: str) -> None:
        """Hold the log against a checkpoint of an earlier reading too; BadDataError if this log did not sign it."""
        self._remembered.append(self._open(note))

    async def read(self, days: Sequence[str]) -> AuditedLog:
        """Read everything. BadDataError if the log does not hold, OverloadedError if a day never stands still."""
        first = self._open(await self._log.checkpoint())
        sheet = TallySheet()
        for day in days:
            rows, size = await self._read_day(day, first.size)
            sheet.add_day(day, rows, size)
        note = await self._log.checkpoint()
        newest = self._open(note)
        self.shown = note
        known = [first, *self._remembered]
        for earlier in known:
            if earlier.size > newest.size:
                raise ForgedError(Reason.PROOF_INVALID, f"the log had {earlier.size} leaves and has {newest.size}")
        if sheet.largest > newest.size:
            raise ForgedError(Reason.STATISTICS_INVALID, "statistics of a larger log than there is")
        return await self._read_leaves(newest, note, known, sheet)

    async def _read_day(self, day: str, least: int) -> tuple[list[tuple[StatisticKey, int]], int]:
        for _ in range(ATTEMPTS):
            rows: list[tuple[StatisticKey, int]] = []
            changed: set[int] = set()
            is_last = False
            while not is_last:
                page, is_last = await self._log.statistics(day, rows[-1][0] if rows else None)
                if page.tree_size < least or page.changed_size > page.tree_size:
                    raise ForgedError(Reason.STATISTICS_INVALID, f"{day}: of a smaller log than was shown before")
                rows.extend(page.rows)
                changed.add(page.changed_size)
                if len(rows) > MAX_ROWS or (not page.rows and not is_last):
                    raise ForgedError(Reason.STATISTICS_INVALID, f"{day}: pages without end")
                if is_last and len(changed) == 1:
                    return rows, page.tree_size
        raise OverloadedError(Reason.OVERLOADED, f"{day} changes while it is read: end the window before it")

    async def _read_leaves(
        self, newest: Checkpoint, note: str, known: Sequence[Checkpoint], sheet: TallySheet
    ) -> AuditedLog:
        tree = GrowingTree({newest.size, *(earlier.size for earlier in known)})
        checks = LoggedChecks()
        unreadable: list[int] = []
        unreadable_count, latest = 0, 0.0
        ends = ends_of(self._registry, self._gateway, self._origin)
        while tree.size < newest.size:
            page = (await self._log.leaves(tree.size))[: newest.size - tree.size]
            if not page:
                raise ForgedError(Reason.PROOF_INVALID, "the leaves end before the checkpoint")
            for data in page:
                index = tree.size
                tree.add(leaf_hash(data))
                try:
                    leaf = read_leaf(data)
                except MalformedError:  # of a newer contract, or none: counted, and never passed over in silence
                    ends.add(None)
                    unreadable_count += 1
                    if len(unreadable) < UNREADABLE_SHOWN:
                        unreadable.append(index)
                    continue
                ends.add(leaf)
                latest = max(latest, log_time(leaf))
                day = beijing_day(leaf.log_time.seconds)
                in_window = sheet.covers(day, index)
                if in_window and leaf.HasField("verification"):
                    sheet.add_leaf(day, leaf.verification)
                checks.add(leaf, in_window=in_window)
            self._progress(tree.size, newest.size)
        roots = tree.finish()
        if roots[newest.size] != newest.root:
            raise ForgedError(Reason.PROOF_INVALID, "the leaves are not those of the checkpoint")
        for earlier in known:
            if roots[earlier.size] != earlier.root:
                detail = f"the log is another than it was when it had {earlier.size} leaves"
                raise ForgedError(Reason.PROOF_INVALID, detail)
        self._open(note, latest)
        if ends.predecessor is not None:
            await self._hold_against(ends.predecessor)
        return AuditedLog(newest, note, checks, sheet, tuple(unreadable), unreadable_count)

    async def _hold_against(self, predecessor: Predecessor) -> None:
        """The log before this one ended where this one goes on from it; ForgedError."""
        log = self._log.of(predecessor.origin)
        final = self._open(await log.checkpoint(), origin=predecessor.origin)
        last = await log.leaves(final.size - 1)
        if len(last) != 1:
            raise ForgedError(Reason.LOG_ENDED, f"{predecessor.origin} shows other leaves than its checkpoint covers")
        path = await log.inclusion(final.size - 1, final.size)
        require_succession(predecessor, self._origin, final, last[0], path)

    def _open(self, note: str, newest_leaf: float = 0.0, origin: str = "") -> Checkpoint:
        """A checkpoint signed by a log key of the gateway that may prove a leaf of that time; BadDataError."""
        name = origin or self._origin
        verifiers = proof_verifiers(self._registry, self._gateway, name, newest_leaf)
        return open_checkpoint(note.encode(), verifiers, name)
