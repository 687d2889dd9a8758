"""What the leaves of a window say: how checks ended, for whom, and what came of those that had no answer at first.

Paper is counted as well: tickets that were opened, those that have a result since, and openings that were refused.

One pass, in the log's order. A leaf is of the window if its `log_time` is and it lies before the size up to which the
statistics count; later leaves are read as well, for what they answer of it. Checks are told apart by their tags, which
name nobody. Only checks without an answer and tickets without a result are remembered, at most MAX_OPEN of each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.protocol.errors import ForgedError
from gateway.protocol.identities import TRUST_DOMAIN, PartyRole
from gateway.protocol.leaf import CheckStatus
from gateway.protocol.offline import OfflineGround
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2

MAX_OPEN = 1_000_000
"""Checks that are remembered until they are answered (about 100 bytes each)."""

MAX_PLACES = 500_000
"""Places, and peers with their reasons: 122 counties, their nodes and requesters stay far below."""

DEFERRED = CheckStatus.DEFERRED.name
"""Name of the status of a check that the gateway goes on asking."""

OFFLINE_ALLOWED, OFFLINE_REFUSED, REFUSED_BY_GATEWAY = "OFFLINE_ALLOWED", "OFFLINE_REFUSED", "REFUSED_BY_GATEWAY"
"""What stands beside the names of statuses where reasons are counted."""

_REQUESTERS = f"spiffe://{TRUST_DOMAIN}/{PartyRole.REQUESTER.value}/"

_NO_PAPER = frozenset(
    {
        Reason.OFFLINE_ANSWERED,
        Reason.OFFLINE_NOT_ATTEMPTED,
        Reason.OFFLINE_DEPARTMENT_REFUSED,
        Reason.OFFLINE_TOO_EARLY,
        Reason.OFFLINE_DEFERRED,
        Reason.OFFLINE_MATERIAL_ONLINE,
    }
)
"""Why a ticket is not opened, whichever leaf says so: summaries name no method."""

_TAG_BYTES = 8
"""Of a tag (an HMAC): enough to tell a million apart, and an eighth of the memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """County of the checks, SPIFFE IDs of department and requester."""

    region: str
    department: str
    requester: str


@dataclass(slots=True)
class Cell:
    """What the leaves of the window say of one place."""

    asked: int = 0
    """Checks, each once, however often it was asked."""
    rows: Counter[str] = field(default_factory=Counter)
    """Rows of leaves by the name of their status: each asking counts."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By status and reason, where there is one: rows of leaves; also OFFLINE_ALLOWED, OFFLINE_REFUSED and
    REFUSED_BY_GATEWAY."""
    silent: int = 0
    """Askings to which the department said nothing that counts."""
    deferred: int = 0
    """Checks that were deferred."""
    deferred_answered: int = 0
    """Those of them that the department has spoken to since, up to the end of the log."""
    tickets: int = 0
    """Offline tickets that were opened."""
    tickets_resolved: int = 0
    """Those of them that have a result since, up to the end of the log."""
    tickets_refused: int = 0
    """Requests for a ticket that were refused; one that is repeated counts again."""


@dataclass(slots=True)
class LoggedChecks:
    """Counts as it reads. `refusals` are by peer, method and reason; `recovered` statements by department."""

    cells: dict[Place, Cell] = field(default_factory=dict)
    refusals: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    recovered: Counter[str] = field(default_factory=Counter)
    forgotten: int = 0
    """Checks without an answer beyond MAX_OPEN: if they were asked again, that counts as another check."""
    _open: dict[int, tuple[Cell, bool]] = field(default_factory=dict)
    """By tag: its cell, and whether it was deferred."""
    _tickets: dict[int, Cell] = field(default_factory=dict)
    """By tag, those without a result."""

    def add(self, leaf: log_pb2.LogLeaf, *, in_window: bool) -> None:
        """Count one leaf."""
        if leaf.HasField("verification"):
            for row in leaf.verification.checks:
                self._add_row(row, leaf.verification.requester, in_window=in_window)
        elif leaf.HasField("offline_result"):
            if (opened := self._tickets.pop(_short(leaf.offline_result.ticket_tag), None)) is not None:
                opened.tickets_resolved += 1
        elif in_window:
            self._add_event(leaf)
        if len(self.cells) + len(self.refusals) + len(self.recovered) > MAX_PLACES:
            raise ForgedError(Reason.STATISTICS_INVALID, "the log names more places and peers than there are")

    def _add_row(self, row: log_pb2.LoggedCheck, requester: str, *, in_window: bool) -> None:
        tag = _short(row.check_tag)
        status = CheckStatus(int(row.status))
        earlier = self._open.get(tag)
        if earlier is not None and status.is_final:
            cell, was_deferred = self._open.pop(tag)
            cell.deferred_answered += was_deferred
        if not in_window:
            return
        cell = self._cell(row.region, row.department, requester)
        cell.rows[status.name] += 1
        if row.reason:
            cell.reasons[status.name, row.reason] += 1
        cell.asked += earlier is None
        if status.is_final:
            return
        was_deferred = earlier is not None and earlier[1]
        # The end of a deferral, as when its grant expires, says unavailable too: then nobody was asked.
        has_ended = was_deferred and status is CheckStatus.UNAVAILABLE and row.reason != Reason.ATTESTATION_INVALID
        cell.silent += not (status.is_spoken or has_ended)
        if status.name == DEFERRED and not was_deferred:
            cell.deferred += 1
            was_deferred = True
        if earlier is None and len(self._open) >= MAX_OPEN:
            self.forgotten += 1
            return
        self._open[tag] = (cell, was_deferred)

    def _add_event(self, leaf: log_pb2.LogLeaf) -> None:
        if leaf.HasField("refusal"):
            refused = leaf.refusal
            self._add_refusals(refused.peer, method_name(refused.method), refused.region, refused.reason, 1)
        elif leaf.HasField("refusal_summary"):
            for item in leaf.refusal_summary.counts:
                self._add_refusals(leaf.refusal_summary.peer, "", item.region, item.reason, item.count)
        elif leaf.HasField("offline_ticket"):
            self._add_ticket(leaf.offline_ticket)
        elif leaf.HasField("recovery"):
            self.recovered[leaf.recovery.department] += len(leaf.recovery.statement_digests)

    def _add_refusals(self, peer: str, method: str, region: str, reason: str, count: int) -> None:
        self.refusals[peer, method, reason] += count
        if not peer.startswith(_REQUESTERS):
            return
        cell = self._cell(region, "", peer)
        if reason in _NO_PAPER:
            cell.tickets_refused += count
            cell.reasons[OFFLINE_REFUSED, reason] += count
        else:
            cell.reasons[REFUSED_BY_GATEWAY, reason] += count

    def _add_ticket(self, event: log_pb2.OfflineTicketEvent) -> None:
        cell = self._cell(event.region, event.department, event.requester)
        cell.tickets += 1
        cell.reasons[OFFLINE_ALLOWED, OfflineGround(int(event.ground)).name] += 1
        if len(self._tickets) < MAX_OPEN:
            self._tickets[_short(event.ticket_tag)] = cell
        else:
            self.forgotten += 1

    def _cell(self, region: str, department: str, requester: str) -> Cell:
        place = Place(region, department, requester)
        return self.cells.get(place) or self.cells.setdefault(place, Cell())


def _short(tag: bytes) -> int:
    return int.from_bytes(tag[:_TAG_BYTES])


def method_name(method: str) -> str:
    """The bare name of a method: of /heyan.v1.GatewayService/Verify, Verify."""
    return method.rpartition("/")[2]
