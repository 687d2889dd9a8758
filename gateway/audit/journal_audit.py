"""One department's journal held against the log, both ways. Used by `reconciliation`, which says what it proves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.audit.findings import Disagreement, Finding
from gateway.audit.journals import (
    BatchAcknowledged,
    BatchSigned,
    DisputeDecided,
    DisputeReceived,
    JournalView,
    Refused,
    Resolved,
    StatedPart,
)
from gateway.audit.log_index import LeafPlace, LoggedStatement
from gateway.audit.logs import Logs
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.reasons import Reason

STATUS_TOLERANCE = 60.0
"""Seconds by which the channels of one department may differ about a withdrawal: a list's age and grace, and room."""


@dataclass(frozen=True, slots=True)
class _Stated:
    """A statement as the journal first has it."""

    time: float
    part: StatedPart


class JournalAudit:
    """One journal against the logs that were read.

    `owed`, `recovered`, `elsewhere` and `early` count once the findings have been taken.
    """

    def __init__(self, view: JournalView, logs: Logs, allowed: float, as_of: float | None) -> None:
        self._view = view
        self._logs = logs
        self._index = logs.index
        self._allowed = allowed
        self._as_of = as_of
        self.owed = self.recovered = self.elsewhere = self.early = 0
        self._batches: dict[tuple[str, bytes], BatchSigned] = {}
        self._acknowledged: dict[tuple[str, bytes], BatchAcknowledged] = {}
        self._stated: dict[bytes, _Stated] = {}
        self._disputes: set[bytes] = set()
        for entry in view.entries:
            if isinstance(entry, BatchSigned):
                for part in entry.parts:
                    stated = _Stated(entry.time, part)
                    for statement in part.statements:
                        self._stated.setdefault(statement, stated)
            if isinstance(entry, DisputeReceived):
                self._disputes.add(entry.dispute)
            if isinstance(entry, DisputeDecided) or entry.gateway not in logs.gateways:
                continue
            if isinstance(entry, BatchSigned):
                self._batches.setdefault((entry.gateway, entry.batch), entry)
            elif isinstance(entry, BatchAcknowledged):
                self._acknowledged.setdefault((entry.gateway, entry.batch), entry)

    def _finding(self, kind: Disagreement, digest: bytes, place: LeafPlace | None = None, *notes: str) -> Finding:
        if place is None:
            return Finding(kind, self._view.department, digest, None, notes)
        return Finding(kind, self._view.department, digest, place[1], notes, self._logs.told(place))

    def _places(self, statement: bytes) -> Sequence[LoggedStatement]:
        return self._index.places_of(self._view.department, statement)

    @property
    def _logged(self) -> Mapping[bytes, Sequence[LoggedStatement]]:
        return self._index.statements.get(self._view.department, {})

    # -- what the department stated ---------------------------------------------------------------------------

    def of_batches(self) -> Iterator[Finding]:
        """Statements that are not logged, and batches that are not acknowledged by what the log holds."""
        reported: set[bytes] = set()
        for key, batch in self._batches.items():
            acknowledged = self._acknowledged.get(key)
            missing = [statement for statement in dict.fromkeys(batch.statements) if not self._places(statement)]
            if acknowledged is not None:
                shown = self._logs.shown(acknowledged.checkpoint)
                if shown is not None and shown.log is None:
                    self.elsewhere += len(batch.statements)
                    continue
                if self._as_of is not None and shown is not None and shown.checkpoint.size > self._logs.size(shown):
                    self.early += len(batch.statements)
                    continue
                yield from self._of_acknowledgement(batch, acknowledged)
            elif self._view.read_time - batch.time < self._allowed:
                self.owed += len(batch.statements)
                continue
            elif self._as_of is not None and self._as_of - batch.time < self._allowed:
                self.early += len(batch.statements)
                continue
            elif not missing:
                yield self._finding(Disagreement.UNACKNOWLEDGED, batch.batch)
            yield from (
                self._finding(Disagreement.UNLOGGED, statement) for statement in missing if statement not in reported
            )
            reported.update(missing)

    def _of_acknowledgement(self, batch: BatchSigned, entry: BatchAcknowledged) -> Iterator[Finding]:
        shown = self._logs.shown(entry.checkpoint)
        if shown is None or shown.log is None or len(entry.leaf_indexes) != len(batch.statements):
            yield self._finding(Disagreement.UNPROVEN, batch.batch, None, entry.checkpoint)
            return
        for statement, leaf in zip(batch.statements, entry.leaf_indexes, strict=True):
            times = {(place.event.log, place.event.index): place.event.log_time for place in self._places(statement)}
            named = shown.log, leaf
            if named not in times:
                yield self._finding(Disagreement.WRONG_LEAF, statement, named, entry.checkpoint)
            elif times[named] > entry.time + EARLY_TOLERANCE:
                yield self._finding(Disagreement.MISDATED, statement, named, entry.checkpoint)

    # -- what the log ascribes to the department --------------------------------------------------------------

    def of_leaves(self) -> Iterator[Finding]:
        """Statements that the log names: known to the journal, told alike, each for one query."""
        for statement, places in self._logged.items():
            if all(place.status is None and not place.event.is_resolution for place in places):
                self.recovered += 1
            if self._is_reused(places):
                yield self._finding(Disagreement.REUSED, statement, _at(places[-1]))
            stated = self._stated.get(statement)
            for place in places:
                if stated is not None:
                    yield from self._of_place(statement, stated, place)
                elif place.event.log_time <= self._view.read_time - EARLY_TOLERANCE:
                    yield self._finding(Disagreement.UNKNOWN, statement, _at(place))
                    break

    def _is_reused(self, places: Sequence[LoggedStatement]) -> bool:
        """Whether one statement answers two queries: under two tags on the same side of every restore."""
        told = [place.event for place in places if place.status is not None]
        if len({event.query_tag for event in told}) <= 1:
            return False
        tags: dict[tuple[int, ...], set[bytes]] = {}
        for event in told:
            tags.setdefault(self._index.lost_by(event), set()).add(event.query_tag)
        return any(len(some) > 1 for some in tags.values())

    def _of_place(self, statement: bytes, stated: _Stated, place: LoggedStatement) -> Iterator[Finding]:
        part = stated.part
        if place.event.log_time < stated.time - EARLY_TOLERANCE:
            yield self._finding(Disagreement.MISDATED, statement, _at(place))
        wrong_status = (place.status is CheckStatus.REFUSED and not isinstance(part, Refused)) or (
            place.status is CheckStatus.ANSWERED and isinstance(part, Refused)
        )
        wrong_kind = isinstance(part, Resolved) and place.status is not None
        wrong_kind |= place.event.is_resolution and not isinstance(part, Resolved)
        wrong_requester = place.status is not None and part.requester not in ("", place.event.requester)
        if wrong_status or wrong_kind or wrong_requester:
            yield self._finding(Disagreement.MISREPORTED, statement, _at(place))

    def of_disputes(self) -> Iterator[Finding]:
        """Disputes that the log has had for so long that the department should have them too."""
        for (department, dispute), (place, time) in self._index.disputes.items():
            missing = department == self._view.department and dispute not in self._disputes
            if missing and self._view.read_time - time >= self._allowed:
                yield self._finding(Disagreement.NOT_BROUGHT, dispute, place)

    def of_withdrawals(self) -> Iterator[Finding]:
        """Answers on a grant that the department had refused as withdrawn, where a query rests on one grant only."""
        refused: dict[bytes, float] = {}
        answered: list[tuple[bytes, bytes, LoggedStatement, float]] = []
        for statement, places in self._logged.items():
            stated = self._stated.get(statement)
            if stated is None:
                continue
            for place in places:
                if len(place.event.grant_tags) != 1:
                    continue  # of several, nobody could say which was withdrawn
                (tag,) = place.event.grant_tags
                if not isinstance(stated.part, Refused):
                    answered.append((tag, statement, place, stated.time))
                elif stated.part.reason == Reason.GRANT_REVOKED:
                    refused[tag] = min(stated.time, refused.get(tag, stated.time))
        for tag, statement, place, time in answered:
            if tag in refused and time > refused[tag] + STATUS_TOLERANCE:
                yield self._finding(Disagreement.REINSTATED, statement, _at(place))

    def of_gaps(self, tags: Mapping[bytes, bytes]) -> Iterator[Finding]:
        """Disclosed queries that the department had answered, and of which the log says unavailable to the last."""
        answers: dict[bytes, list[tuple[float, StatedPart]]] = {}
        for batch in self._batches.values():
            for part in batch.parts:
                answers.setdefault(part.query, []).append((batch.time, part))
        for tag, query in tags.items():
            for gap in self._index.gaps.get(tag, ()):
                if gap.department != self._view.department or gap.check_tag in self._index.settled:
                    continue
                known = [part for time, part in answers.get(query, ()) if time <= gap.log_time]
                contradicted = len({part.statements for part in known}) > 1
                if known and not (gap.is_contradiction and contradicted):
                    yield self._finding(Disagreement.SUPPRESSED, known[0].statements[0], (gap.log, gap.index))


def _at(place: LoggedStatement) -> LeafPlace:
    return place.event.log, place.event.index
