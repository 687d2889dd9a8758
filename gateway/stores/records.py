"""What the store takes and gives: leaves with all that is committed with them, heads, and what is kept beside the log.

Plain values, of any adapter; what becomes of them is promised by `gateway.stores.port`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gateway.protocol.disputes import Disputed
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import Tallies

SignCheckpoint = Callable[[int, bytes, str | None], str]
"""Signs the checkpoint of (size, root) of the log of that origin as a C2SP note, whose first line is the origin.

None: the store has no log yet; the note's origin names it.
"""


KEPT_BACK = (Reason.GRANT_REVOKED, Reason.REQUEST_ID_CONFLICT, Reason.DISPUTE_SPENT, Reason.GRANT_USED_UP)
"""Why a commit may keep an entry back, in the order in which that is looked at."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest durable tree of one log: size, RFC 9162 root, and the signed checkpoint.

    The store's logs are numbered from 0. The leaf at position p has index p - `first` in its own log. Once `ended` the
    tree never changes.
    """

    size: int
    root: bytes
    checkpoint: str
    origin: str = ""
    first: int = 0
    number: int = 0
    ended: bool = False

    @property
    def end(self) -> int:
        """The position after the last leaf."""
        return self.first + self.size

    def holds(self, position: int) -> bool:
        """Whether the leaf at a position is one of this tree."""
        return self.first <= position < self.end


@dataclass(frozen=True, slots=True)
class Freeze:
    """The end of the log `origin`, which must be the one that grows, and the beginning of the next.

    `first_leaf` makes the first leaf of the log `next_origin`, once the final tree of the one before it is known.
    """

    origin: str
    last_leaf: bytes
    next_origin: str
    first_leaf: Callable[[Head], bytes]


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A request_id is scoped to its requester (SPIFFE ID)."""

    requester: str
    request_id: bytes


@dataclass(frozen=True, slots=True)
class Use:
    """One authorization that a request spends; the count is kept until the grant expires."""

    grant_digest: bytes
    authorization: int
    max_uses: int
    expire_time: float


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What is kept of a request. `state` is encrypted under the evidence key of `grant_digest`."""

    key: RequestKey
    query_digest: bytes
    answer_until: float
    grant_digest: bytes
    state: bytes
    leaf_indexes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stored request that waits for departments (SPIFFE IDs), resting on grants (digests); `size` in bytes."""

    key: RequestKey
    departments: tuple[str, ...]
    grants: tuple[bytes, ...]
    answer_until: float
    size: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A grant kept as evidence, encrypted under its own key, which is kept wrapped; both are empty once erased.

    Retention counts from `kept_from`, seconds since the epoch: the newest leaf that rests on the grant, or the grant's
    own end, whichever is later. The store keeps the day, and the latest that it was told.
    """

    grant_digest: bytes
    wrapped_key: bytes
    ciphertext: bytes
    kept_from: float = 0.0
    replaces: bytes = b""
    """The ciphertext that this one was made from, because more is kept of the grant than before."""

    @property
    def is_erased(self) -> bool:
        """Whether there was evidence, and nothing is left but that."""
        return not self.wrapped_key


@dataclass(frozen=True, slots=True)
class Erasure:
    """Grants whose keys are destroyed, with all that stands under them and of the requests that rest on them.

    By digest: until when (seconds since the epoch) it is remembered that the grant was erased, so that it is never
    usable afresh. Not committed while a request that rests on one waits, but for `unended`, which cannot be.
    """

    grants: Mapping[bytes, float]
    unended: frozenset[RequestKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A reported withdrawal: it counts against grants of its own issuer only."""

    issuer: str
    grant_digest: bytes


@dataclass(frozen=True, slots=True)
class Deferral:
    """A request's message, to be presented again; `message` is encrypted as the request's state is."""

    waiting: Waiting
    message: bytes


@dataclass(frozen=True, slots=True)
class TicketKey:
    """A ticket is scoped to its requester (SPIFFE ID)."""

    requester: str
    ticket_id: bytes


@dataclass(frozen=True, slots=True)
class StoredTicket:
    """What is kept of an offline ticket. `state` is encrypted under the evidence key of `grant_digest`.

    The commit sets the indexes of the leaves that record its opening and, once there is one, its result.
    """

    key: TicketKey
    request_id: bytes
    query_digest: bytes
    grant_digest: bytes
    state: bytes
    opened_leaf: int = -1
    resolved_leaf: int | None = None


@dataclass(frozen=True, slots=True)
class TicketWrite:
    """A ticket that its entry's leaf opens, by what the request's leaf at `judged_by` says; without it, resolves.

    `rests_on` is the digest of the answer that is its ground, if one is: it must not have been asked for once more.
    """

    ticket: StoredTicket
    judged_by: int | None
    rests_on: bytes = b""


@dataclass(frozen=True, slots=True)
class StoredDispute:
    """A dispute, by the digest of the disputed statement. `relay`, which the department is brought, is encrypted.

    `disputed.corrected` and `disputed.reverified` are what the store makes of it later. Each index is of a leaf.
    """

    dispute_id: bytes
    key: RequestKey
    grant_digest: bytes
    disputed: Disputed
    relay: bytes
    leaf_index: int = -1
    resolution: bytes | None = None
    """The department's AttestedStatement, serialized."""
    resolution_index: int = -1


@dataclass(frozen=True, slots=True)
class StoredResolution:
    """What became of a dispute; the first one stands."""

    dispute_id: bytes
    corrected: bool
    statement: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf and all that is committed with it."""

    leaf: bytes
    statement_digests: tuple[bytes, ...] = ()
    withheld: Mapping[Reason, bytes] = field(default_factory=dict)
    """The leaf to commit instead, by the reason for which the commit keeps the entry back (KEPT_BACK)."""
    request: StoredRequest | None = None
    earlier_leaves: int | None = None
    """How many leaves `request` had when its state was made; with another number there it is not committed."""
    deferral: Deferral | None = None
    """What `request` waits for from now on. Without one it waits for nothing: what was kept for it is deleted."""
    kept_from: float = 0.0
    """From when retention counts at least, for all that the request of `ticket`, `dispute` or `resolution` rests on."""
    erasure: Erasure | None = None
    uses: tuple[Use, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    standing: tuple[Withdrawal, ...] = ()
    """Grants that must not have been withdrawn when this is committed."""
    withdrawal: Withdrawal | None = None
    ticket: TicketWrite | None = None
    dispute: StoredDispute | None = None
    resolution: StoredResolution | None = None
    reverifies: tuple[bytes, ...] = ()
    """Corrected disputes that `request` asks after: each allows one request, counted here."""
    registry_version: int | None = None
    """Set on the leaf that records the adoption of a registry."""
    tallies: Tallies | None = None
    """What the leaf adds to the statistics."""

    def kept_back(self, reason: Reason) -> Entry:
        """What is committed instead, if the commit keeps the entry back."""
        tallies = self.tallies.kept_back(reason) if self.tallies is not None else None
        return replace(self, leaf=self.withheld[reason], request=None, tallies=tallies)


@dataclass(frozen=True, slots=True)
class Committed:
    """Where an entry's leaf stands, the head that covers it, and why it was withheld, if it was."""

    leaf_index: int
    """A position: see `Head`."""
    head: Head
    withheld: Reason | None = None
    leaf: bytes = b""
    """What stands there: the entry's leaf, or that for the reason for which it was withheld."""
    path: tuple[bytes, ...] = ()
    """Its inclusion path in the tree of `head`, leaf to root."""
    foreign_keys: tuple[Evidence, ...] = ()
    """Evidence that another commit had stored first, under another key, or with more: the entry was NOT committed."""
    overtaken: bool = False
    """Another commit carried on the request, ticket or dispute, erased, had it waited for, or recorded the same
    withdrawal or registry version: NOT committed."""
    erased: bool = False
    """Something that the entry rests on was erased: NOT committed."""
