"""The log as an auditor reads it, in one pass: where statements of departments stand, and the roots it had.

`read_log` holds the leaves against the signed checkpoint under which they were read; whoever holds another
checkpoint of the log (a `Sighting`) can then be told whether it is of the same tree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from gateway.protocol.checkpoint import Checkpoint, open_checkpoint
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.leaf import CheckStatus, log_time, read_leaf
from gateway.protocol.merkle import Frontier, leaf_hash
from gateway.protocol.note import VerifierKey
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2

_CHUNK = 4096
"""Leaf hashes that are added to the tree at once."""


@dataclass(frozen=True, slots=True)
class LogView:
    """All leaves of a log from index 0, as read under `checkpoint`, a signed note.

    `gateways` are the SPIFFE IDs that append to it, `verifiers` every key that ever signed for `origin`.
    """

    origin: str
    gateways: frozenset[str]
    verifiers: tuple[VerifierKey, ...]
    leaves: Iterable[bytes]
    checkpoint: str

    def open(self, note: str) -> Checkpoint:
        """A checkpoint that somebody holds, if it is this log's own word; BadDataError."""
        return open_checkpoint(note.encode(), self.verifiers, self.origin)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A checkpoint that `holder` was shown: a requester in a receipt, a department, a witness, another auditor."""

    holder: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """One place in the log that names a statement; `status` is None where it was logged as recovered or resolution."""

    index: int
    log_time: float
    status: CheckStatus | None
    requester: str = ""
    query_tag: bytes = b""
    grant_tags: tuple[bytes, ...] = ()
    is_resolution: bool = False


@dataclass(frozen=True, slots=True)
class LoggedGap:
    """A check of a department that the gateway logged as unavailable."""

    index: int
    log_time: float
    department: str
    check_tag: bytes
    is_contradiction: bool
    """Whether the gateway says that the department contradicted itself."""


@dataclass(slots=True)
class LogIndex:
    """What was read. `statements` is keyed (department, digest), `gaps` by query tag, `withdrawals` by grant tag.

    `paper` lists the leaves of offline tickets and their results by query tag, `tickets` each ticket's query tag.

    `settled` holds the tags of checks for which a statement is logged; `backwards` the leaves that bear a time earlier
    than one before them by more than the tolerance; `after_withdrawal` those that answer on a grant whose withdrawal
    a leaf before them records; `disputes` where disputes of a department are logged, and when, by (department, id).
    """

    size: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    statements: dict[tuple[str, bytes], list[LoggedStatement]] = field(default_factory=dict)
    gaps: dict[bytes, list[LoggedGap]] = field(default_factory=dict)
    settled: set[bytes] = field(default_factory=set)
    backwards: list[int] = field(default_factory=list)
    withdrawals: set[bytes] = field(default_factory=set)
    after_withdrawal: list[int] = field(default_factory=list)
    paper: dict[bytes, list[int]] = field(default_factory=dict)
    tickets: dict[bytes, bytes] = field(default_factory=dict)
    disputes: dict[tuple[str, bytes], tuple[int, float]] = field(default_factory=dict)

    def places_of(self, department: str, statement: bytes) -> Sequence[LoggedStatement]:
        """Where the log names a statement of a department."""
        return self.statements.get((department, statement), ())


def read_log(
    view: LogView,
    *,
    departments: Collection[str],
    sizes: Iterable[int],
    query_tags: Collection[bytes],
    tolerance: float,
) -> LogIndex:
    """Read the leaves once: statements of `departments`, roots at `sizes`, gaps of the queries of `query_tags`.

    Raises ForgedError (PROOF_INVALID) if the leaves are not those of the view's checkpoint, MalformedError if one
    cannot be read.
    """
    newest = view.open(view.checkpoint)
    tree = GrowingTree({*sizes, newest.size})
    index = LogIndex()
    latest = float("-inf")
    for position, data in enumerate(view.leaves):
        tree.add(leaf_hash(data))
        leaf = read_leaf(data)
        time = log_time(leaf)
        if time < latest - tolerance:
            index.backwards.append(position)
        latest = max(latest, time)
        _read_statements(index, position, time, leaf, departments)
        _read_disputes(index, position, time, leaf, departments)
        _read_gaps(index, position, time, leaf, query_tags)
        _read_withdrawals(index, position, leaf)
        _read_paper(index, position, leaf, query_tags)
    index.roots = tree.finish()
    index.size = tree.size
    if index.roots.get(newest.size) != newest.root or index.size != newest.size:
        raise ForgedError(Reason.PROOF_INVALID, "the leaves are not those of the checkpoint")
    return index


def forks(sightings: Iterable[Sighting], view: LogView) -> list[tuple[Sighting, Sighting]]:
    """Pairs of sightings that cannot be of one tree: the log's own signature under two roots of one size.

    Needs no leaf, so that two holders can compare by themselves. Notes that are not the log's word are passed over.
    """
    first: dict[int, tuple[bytes, Sighting]] = {}
    found = []
    for sighting in sightings:
        try:
            checkpoint = view.open(sighting.checkpoint)
        except BadDataError:
            continue
        root, earlier = first.setdefault(checkpoint.size, (checkpoint.root, sighting))
        if root != checkpoint.root:
            found.append((earlier, sighting))
    return found


class GrowingTree:
    """The tree as it grows leaf by leaf, and its roots at the sizes that are wanted."""

    def __init__(self, sizes: set[int]) -> None:
        self._wanted = sorted(sizes, reverse=True)
        self._frontier = Frontier()
        self._row: list[bytes] = []
        self._roots: dict[int, bytes] = {}
        self._note()

    @property
    def size(self) -> int:
        """Leaves added so far."""
        return self._frontier.size + len(self._row)

    def add(self, hash_of_leaf: bytes) -> None:
        """Append a leaf by its hash."""
        self._row.append(hash_of_leaf)
        if len(self._row) >= _CHUNK or (self._wanted and self.size == self._wanted[-1]):
            self._note()

    def finish(self) -> dict[int, bytes]:
        """The roots at those of the wanted sizes that were reached."""
        self._note()
        return self._roots

    def _note(self) -> None:
        self._frontier, _ = self._frontier.append(self._row)
        self._row = []
        while self._wanted and self._wanted[-1] <= self.size:
            self._roots[self._wanted.pop()] = self._frontier.root()


def _read_statements(
    index: LogIndex, position: int, time: float, leaf: log_pb2.LogLeaf, departments: Collection[str]
) -> None:
    event = leaf.verification
    for row in event.checks:
        if row.statement_digest and row.department in departments:
            place = LoggedStatement(
                position,
                time,
                CheckStatus(int(row.status)),
                event.requester,
                event.query_tag,
                tuple(event.grant_tags),
            )
            index.statements.setdefault((row.department, row.statement_digest), []).append(place)
    recovery = leaf.recovery
    if recovery.department in departments:
        for statement in recovery.statement_digests:
            place = LoggedStatement(position, time, None)
            index.statements.setdefault((recovery.department, statement), []).append(place)


def _read_disputes(
    index: LogIndex, position: int, time: float, leaf: log_pb2.LogLeaf, departments: Collection[str]
) -> None:
    dispute = leaf.dispute
    if dispute.department in departments:
        index.disputes.setdefault((dispute.department, dispute.statement_digest), (position, time))
    resolution = leaf.resolution
    if resolution.department in departments:
        place = LoggedStatement(position, time, None, is_resolution=True)
        index.statements.setdefault((resolution.department, resolution.statement_digest), []).append(place)


def _read_gaps(
    index: LogIndex, position: int, time: float, leaf: log_pb2.LogLeaf, query_tags: Collection[bytes]
) -> None:
    event = leaf.verification
    if event.query_tag not in query_tags:
        return
    for row in event.checks:
        status = CheckStatus(int(row.status))
        if not status.has_statement:
            contradicted = status is CheckStatus.CONTRADICTED
            gap = LoggedGap(position, time, row.department, row.check_tag, contradicted)
            index.gaps.setdefault(event.query_tag, []).append(gap)
        else:
            index.settled.add(row.check_tag)


def _read_paper(index: LogIndex, position: int, leaf: log_pb2.LogLeaf, query_tags: Collection[bytes]) -> None:
    opened = leaf.offline_ticket
    if opened.query_tag in query_tags:
        index.tickets[opened.ticket_tag] = opened.query_tag
    query_tag = opened.query_tag or index.tickets.get(leaf.offline_result.ticket_tag, b"")
    if query_tag in query_tags:
        index.paper.setdefault(query_tag, []).append(position)


def _read_withdrawals(index: LogIndex, position: int, leaf: log_pb2.LogLeaf) -> None:
    if leaf.HasField("revocation"):
        index.withdrawals.add(leaf.revocation.grant_tag)
    event = leaf.verification
    if not index.withdrawals.isdisjoint(event.grant_tags) and any(
        int(row.status) == CheckStatus.ANSWERED for row in event.checks
    ):
        index.after_withdrawal.append(position)
