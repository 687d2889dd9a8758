"""What the leaves of a log say, in one pass: where statements of departments stand, and what stands around them.

`LogIndex` is made by a `LogReading` for each log, the oldest first where one goes on from another, leaf by leaf, and
holds for each only once `finish` has held the leaves against the signed checkpoint under which they were read. Memory
grows with the statements that the log names: about 200 bytes each, so 1.4 GB for 1,000,000 leaves of seven checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.audit.log_view import GrowingTree
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError
from gateway.protocol.leaf import CheckStatus, log_time, read_leaf
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.reasons import Reason
from heyan.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A leaf that names statements: its place, in which of the logs, and what all its rows have in common."""

    index: int
    log_time: float
    requester: str = ""
    query_tag: bytes = b""
    grant_tags: tuple[bytes, ...] = ()
    is_resolution: bool = False
    log: int = 0


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """One place that names a statement; `status` is None where it was logged as recovered or resolution."""

    event: LoggedEvent
    status: CheckStatus | None


@dataclass(frozen=True, slots=True)
class LoggedGap:
    """A check of a department that the gateway logged as unavailable."""

    index: int
    log_time: float
    department: str
    check_tag: bytes
    is_contradiction: bool
    """Whether the gateway says that the department contradicted itself."""
    log: int = 0


LeafPlace = tuple[int, int]
"""Which of the logs, and the leaf's index in it."""


@dataclass(slots=True)
class ReadLog:
    """One log as it was read: its size and root, and the leaves that join it to others, as (index, event)."""

    origin: str
    size: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    starts: list[tuple[int, log_pb2.ShardStartEvent]] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)
    """Where it says that it ends, and the origin that goes on."""

    @property
    def root(self) -> bytes:
        """The root of all its leaves."""
        return self.roots[self.size]


@dataclass(slots=True)
class LogIndex:
    """What was read. `statements` is by department and digest, `gaps` by query tag, `withdrawals` has grant tags.

    `paper` lists the leaves of offline tickets and their results by query tag, `tickets` each ticket's query tag.

    `settled` holds the tags of checks for which a statement is logged; `backwards` the leaves that bear a time earlier
    than one before them by more than the tolerance; `after_withdrawal` those that answer on a grant whose withdrawal
    a leaf before them records; `disputes` where disputes of a department are logged, and when, by (department, id);
    `others` counts statements of departments whose journals are not there.
    """

    logs: list[ReadLog] = field(default_factory=list)
    statements: dict[str, dict[bytes, tuple[LoggedStatement, ...]]] = field(default_factory=dict)
    gaps: dict[bytes, list[LoggedGap]] = field(default_factory=dict)
    settled: set[bytes] = field(default_factory=set)
    latest: float = float("-inf")
    backwards: list[LeafPlace] = field(default_factory=list)
    withdrawals: set[bytes] = field(default_factory=set)
    after_withdrawal: list[LeafPlace] = field(default_factory=list)
    paper: dict[bytes, list[LeafPlace]] = field(default_factory=dict)
    tickets: dict[bytes, bytes] = field(default_factory=dict)
    disputes: dict[tuple[str, bytes], tuple[LeafPlace, float]] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    restores: list[tuple[LeafPlace, range]] = field(default_factory=list)
    """Where a restore is recorded, and which leaves before it were brought back without what stood beside them."""

    def lost_by(self, event: LoggedEvent) -> tuple[int, ...]:
        """The restores, by number, that brought a leaf back: its request was lost, and may have been logged anew since.

        The grants of such a request may have met the gateway anew too, and stand under other tags then.
        """
        return tuple(
            number for number, ((log, _), lost) in enumerate(self.restores) if event.log == log and event.index in lost
        )

    def places_of(self, department: str, statement: bytes) -> Sequence[LoggedStatement]:
        """Where the logs name a statement of a department."""
        return self.statements.get(department, {}).get(statement, ())

    def after_end(self) -> Iterator[LeafPlace]:
        """The first leaf of each log that stands after its end."""
        for number, log in enumerate(self.logs):
            if log.ends and log.ends[0][0] + 1 < log.size:
                yield number, log.ends[0][0] + 1


class LogReading:
    """The reading of one log into an index: `add` every leaf in order, then `finish`.

    `departments` are those whose statements are looked for, `sizes` those at which the root is wanted.
    """

    def __init__(
        self,
        index: LogIndex,
        origin: str,
        *,
        departments: Collection[str],
        sizes: Iterable[int],
        query_tags: Collection[bytes],
        tolerance: float,
    ) -> None:
        self._index = index
        self._number = len(index.logs)
        self._log = ReadLog(origin)
        index.logs.append(self._log)
        self._tree = GrowingTree(set(sizes))
        self._departments = departments
        self._query_tags = query_tags
        self._tolerance = tolerance
        self._requesters: dict[str, str] = {}
        self._last: tuple[LoggedStatement] | None = None

    @property
    def size(self) -> int:
        """Leaves added so far."""
        return self._tree.size

    def add(self, data: bytes) -> None:
        """Take the next leaf; MalformedError if it cannot be read."""
        position = self._tree.size
        self._tree.add(leaf_hash(data))
        leaf = read_leaf(data)
        time = log_time(leaf)
        if time < self._index.latest - self._tolerance:
            self._index.backwards.append((self._number, position))
        self._index.latest = max(self._index.latest, time)
        match leaf.WhichOneof("event"):
            case "verification":
                self._read_checks(position, time, leaf.verification)
            case "recovery":
                event = LoggedEvent(position, time, log=self._number)
                self._name(leaf.recovery.department, event, *leaf.recovery.statement_digests)
            case "resolution":
                event = LoggedEvent(position, time, is_resolution=True, log=self._number)
                self._name(leaf.resolution.department, event, leaf.resolution.statement_digest)
            case "dispute":
                key = leaf.dispute.department, leaf.dispute.statement_digest
                if leaf.dispute.department in self._departments:
                    self._index.disputes.setdefault(key, ((self._number, position), time))
            case "revocation":
                self._index.withdrawals.add(leaf.revocation.grant_tag)
            case "offline_ticket" | "offline_result":
                self._read_paper(position, leaf)
            case "shard_start":
                self._log.starts.append((position, leaf.shard_start))
            case "shard_end":
                self._log.ends.append((position, leaf.shard_end.next_origin))
            case "restore":
                # It excuses nothing: what was stated must stand here. But it may stand here twice.
                restored = range(leaf.restore.backup_size, min(leaf.restore.restored_size, position))
                self._index.restores.append(((self._number, position), restored))
            case _:
                pass  # erasures take nothing from the leaves

    def finish(self, checkpoint: Checkpoint) -> None:
        """Hold the leaves against the checkpoint, whose size must be one of `sizes`; ForgedError (PROOF_INVALID)."""
        self._log.roots = self._tree.finish()
        self._log.size = self._tree.size
        if self._log.roots.get(checkpoint.size) != checkpoint.root or self._log.size != checkpoint.size:
            raise ForgedError(Reason.PROOF_INVALID, "the leaves are not those of the checkpoint")

    def _name(self, department: str, event: LoggedEvent, *statements: bytes, status: CheckStatus | None = None) -> None:
        if department not in self._departments:
            self._index.others[department] += len(statements)
            return
        named = self._index.statements.setdefault(department, {})
        place = self._place(event, status)
        for statement in statements:
            named[statement] = named[statement] + place if statement in named else place

    def _place(self, event: LoggedEvent, status: CheckStatus | None) -> tuple[LoggedStatement]:
        """One object for all rows of a leaf that ended alike: most statements have one place only."""
        if self._last is None or self._last[0].event is not event or self._last[0].status is not status:
            self._last = (LoggedStatement(event, status),)
        return self._last

    def _read_checks(self, position: int, time: float, verification: log_pb2.VerificationEvent) -> None:
        requester = self._requesters.setdefault(verification.requester, verification.requester)
        grants = tuple(verification.grant_tags)
        event = LoggedEvent(position, time, requester, verification.query_tag, grants, log=self._number)
        is_disclosed = verification.query_tag in self._query_tags
        is_answered = False
        for row in verification.checks:
            status = CheckStatus(int(row.status))
            is_answered = is_answered or status is CheckStatus.ANSWERED
            if row.statement_digest:
                self._name(row.department, event, row.statement_digest, status=status)
            if is_disclosed and not status.has_statement:
                contradicted = status is CheckStatus.CONTRADICTED
                gap = LoggedGap(position, time, row.department, row.check_tag, contradicted, self._number)
                self._index.gaps.setdefault(event.query_tag, []).append(gap)
            elif is_disclosed:
                self._index.settled.add(row.check_tag)
        if is_answered and not self._index.withdrawals.isdisjoint(grants):
            self._index.after_withdrawal.append((self._number, position))

    def _read_paper(self, position: int, leaf: log_pb2.LogLeaf) -> None:
        opened = leaf.offline_ticket
        if opened.query_tag in self._query_tags:
            self._index.tickets[opened.ticket_tag] = opened.query_tag
        query_tag = opened.query_tag or self._index.tickets.get(leaf.offline_result.ticket_tag, b"")
        if query_tag in self._query_tags:
            self._index.paper.setdefault(query_tag, []).append((self._number, position))
