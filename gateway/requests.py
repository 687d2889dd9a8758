"""Requests as the gateway remembers them: found again, resumed, and committed with their evidence.

Hides the store's and the vault's details from the pipeline: what is kept of a request is encrypted under the
evidence key of its first grant, and the same key's leaf key tags its leaves. Two requests may meet a grant for
the first time at once; the store keeps one key, and the other request is built again under that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from consent.grant import peek
from gateway.log import Log
from gateway.protocol.codec import encode, parse
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.leaf import Tags, derive_leaf_key, log_time, read_leaf
from gateway.protocol.presentation import Presentation, write_presentation
from gateway.protocol.query import Query, open_part
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.statistics import Tallies
from gateway.stores.port import (
    KEPT_BACK,
    Committed,
    Deferral,
    Entry,
    Evidence,
    RequestKey,
    Store,
    StoredRequest,
    Use,
    Waiting,
    Withdrawal,
)
from gateway.ticket_records import TicketRecords
from gateway.vault import Vault
from heyan.v1 import query_pb2, receipt_pb2

MAX_STATE = 4 << 20
"""Bytes of a stored request: 32 checks with their proofs take about 60,000."""
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Resumed:
    """A stored request: its receipt without leaves, which checks are settled, and where its leaves stand."""

    query_digest: bytes
    receipt: receipt_pb2.Receipt
    answered: frozenset[str]
    is_complete: bool
    leaf_indexes: tuple[int, ...]
    leaf_key: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """What one settlement commits.

    `leaf` makes the leaf's bytes once tags and registry are known, also those of a settlement that is kept back for
    a reason. With `withheld` set nothing is released, and only leaf and evidence are committed; otherwise the commit
    itself may keep it back: a use is spent, the request_id taken, or a grant of `standing` withdrawn meanwhile.
    """

    key: RequestKey
    query: Query
    query_digest: bytes
    grants: tuple[Presentation, ...]
    receipt: receipt_pb2.Receipt
    earlier: Resumed | None
    uses: tuple[Use, ...]
    statement_digests: tuple[bytes, ...]
    leaf: Callable[[Tags, Registry, Reason | None], bytes]
    withheld: Reason | None
    standing: tuple[Withdrawal, ...]
    tallies: Tallies
    deferral: Deferral | None = None
    """What the request waits for from now on, its message still in the clear."""
    ended: Reason | None = None
    """Why it waits no longer, if that is not because it was answered."""
    reverifies: tuple[bytes, ...] = ()
    """Corrected disputes that the settlement answers after."""


OnCommit = Callable[[RequestKey, Waiting | None, Reason | None], None]
"""Told of every request that was committed anew: what it waits for now, or why that has ended."""


class Requests:
    """The gateway's memory of requests, over a store, a log and a vault; `on_commit` is told what became durable."""

    def __init__(
        self,
        store: Store,
        log: Log,
        vault: Vault,
        registry: Callable[[], Registry],
        on_commit: Sequence[OnCommit] = (),
    ) -> None:
        self._store = store
        self._log = log
        self._vault = vault
        self._registry = registry
        self._on_commit = on_commit
        self.tickets = TicketRecords(store, log, vault)

    def find(self, key: RequestKey) -> Resumed | None:
        """What is stored under a request_id; LogUnavailableError if the store cannot say."""
        stored = self._store.request(key)
        if stored is None:
            return None
        evidence_key = self._held_key(stored.grant_digest)
        if evidence_key is None:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "a request without its evidence key")
        state = self._vault.decrypt(evidence_key, stored.state, _bound_to(key))
        return _resumed(
            stored.query_digest,
            parse(receipt_pb2.Receipt, state, MAX_STATE),
            stored.leaf_indexes,
            derive_leaf_key(evidence_key),
        )

    def asked_again(self, requester: str, statement_digest: bytes) -> RequestKey | None:
        """The request by which a requester asked once more for an answer that was disputed and corrected."""
        stored = self._store.dispute(statement_digest)
        if stored is None or stored.disputed.reverified is None or stored.key.requester != requester:
            return None
        return RequestKey(requester, stored.disputed.reverified)

    def leaves_of(self, key: RequestKey) -> int:
        """How many leaves the receipt of a request has; 0 if there is no such request."""
        stored = self._store.request(key)
        return len(stored.leaf_indexes) if stored is not None else 0

    def recorded_until(self, resumed: Resumed) -> float:
        """The time that the newest leaf of a stored request bears."""
        return log_time(read_leaf(self._store.leaf(resumed.leaf_indexes[-1])))

    def recorded_since(self, resumed: Resumed) -> float:
        """The time that the first leaf of a stored request bears."""
        return log_time(read_leaf(self._store.leaf(resumed.leaf_indexes[0])))

    def has_use_left(self, earlier: Resumed | None, use: Use) -> bool:
        """Whether a use is left, as far as is known before the commit decides; an answered request spent its own."""
        has_spent = earlier is not None and bool(earlier.answered)
        return has_spent or self._store.uses(use.grant_digest, use.authorization) < use.max_uses

    def withdrawal_leaf(self, issuer: str, grant_digest: bytes) -> bytes | None:
        """The leaf that records the withdrawal of a grant by its issuer, if that was reported."""
        index = self._store.withdrawn_at(Withdrawal(issuer, grant_digest))
        return self._store.leaf(index) if index is not None else None

    def is_withdrawn(self, issuer: str, grant_digest: bytes) -> bool:
        """Whether the grant's issuer reported its withdrawal."""
        return self._store.withdrawn_at(Withdrawal(issuer, grant_digest)) is not None

    def waiting(self, after: RequestKey | None, count: int) -> Sequence[Waiting]:
        """See the store's port."""
        return self._store.waiting(after, count)

    def deferred_message(self, waiting: Waiting) -> bytes | None:
        """The message of a request that waits, as its requester sent it; None if it waits for nothing any more."""
        kept, key = self._store.deferred_message(waiting.key), self._held_key(waiting.grants[0])
        if kept is None:
            return None
        if key is None:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "a deferred request without its evidence key")
        return self._vault.decrypt(key, kept, _deferral_bound(waiting.key))

    def logged_statements(self, digests: Sequence[bytes]) -> Mapping[bytes, int]:
        """Which statements are logged, and at which leaf."""
        return self._store.leaf_indexes(digests)

    def registry_version(self) -> int:
        """The newest registry version whose adoption is logged."""
        return self._store.registry_version()

    def leaf_tags(self, issuer: str, grant_digest: bytes) -> Tags | None:
        """The tags of a grant's leaves, if a grant of this issuer's was ever used here under that digest."""
        held, key = self._store.evidence(grant_digest), self._held_key(grant_digest)
        if held is None or key is None:
            return None
        data = self._vault.decrypt(key, held.ciphertext, _grant_bound(grant_digest))
        presented = parse(query_pb2.GrantPresentation, data, MAX_STATE)
        return Tags(derive_leaf_key(key)) if peek(presented.grant).iss == issuer else None

    def encrypt(self, grant_digest: bytes, data: bytes, bound_to: bytes) -> bytes:
        """`data` under the evidence key of a grant that was used here; LogUnavailableError if there is none."""
        return self._vault.encrypt(self._key_of(grant_digest), data, bound_to)

    def decrypt(self, grant_digest: bytes, ciphertext: bytes, bound_to: bytes) -> bytes:
        """What `encrypt` made; LogUnavailableError if it was changed or moved, or its key is gone."""
        return self._vault.decrypt(self._key_of(grant_digest), ciphertext, bound_to)

    async def commit(self, record: Record) -> tuple[Committed, Resumed]:
        """Log one settlement: leaf, uses, evidence and request in one transaction."""
        receipt = record.receipt
        for _ in range(_ATTEMPTS):
            # One look for both: a newer registry is adopted beside the event loop, at any moment, and nobody would
            # believe a receipt that has the digest of another version than its leaf names.
            registry = self._registry()
            receipt.registry_digest = registry.digest
            evidence = tuple(self._evidence_of(grant) for grant in record.grants)
            first = evidence[0]
            evidence_key = self._vault.unwrap(first.wrapped_key, first.grant_digest)
            leaf_key = derive_leaf_key(evidence_key)
            tags = Tags(leaf_key)
            state = self._vault.encrypt(evidence_key, encode(receipt), _bound_to(record.key))
            leaf = record.leaf(tags, registry, record.withheld)
            tallies = record.tallies if record.withheld is None else record.tallies.kept_back(record.withheld)
            entry = Entry(leaf, record.statement_digests, evidence=evidence, tallies=tallies)
            if record.withheld is None:
                until = record.query.answer_until_time
                entry = replace(
                    entry,
                    withheld={reason: record.leaf(tags, registry, reason) for reason in KEPT_BACK},
                    request=StoredRequest(record.key, record.query_digest, until, first.grant_digest, state),
                    uses=record.uses,
                    standing=record.standing,
                    deferral=self._encrypted(record, evidence_key),
                    earlier_leaves=len(record.earlier.leaf_indexes) if record.earlier else 0,
                    reverifies=record.reverifies,
                )
            committed = await self._log.append(entry)
            if committed.overtaken:
                raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "a request carried on elsewhere", retry_after=0.1)
            if not committed.foreign_keys:
                self._tell(record, committed)
                indexes = (*(record.earlier.leaf_indexes if record.earlier else ()), committed.leaf_index)
                return committed, _resumed(record.query_digest, receipt, indexes, leaf_key)
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "evidence keys keep changing", retry_after=1.0)

    def _encrypted(self, record: Record, evidence_key: bytes) -> Deferral | None:
        deferral = record.deferral
        if deferral is None:
            return None
        return replace(
            deferral, message=self._vault.encrypt(evidence_key, deferral.message, _deferral_bound(record.key))
        )

    def _tell(self, record: Record, committed: Committed) -> None:
        if record.withheld is None and committed.withheld is None:
            for told in self._on_commit:
                told(record.key, record.deferral.waiting if record.deferral else None, record.ended)

    def receipt(self, resumed: Resumed) -> receipt_pb2.Receipt:
        """The whole receipt, its leaves proven under the newest head; the requester adds the registry."""
        receipt = receipt_pb2.Receipt()
        receipt.CopyFrom(resumed.receipt)
        tickets = self.tickets.of_query(resumed.query_digest)
        head = self._log.head()  # after what it must cover was read
        for index in resumed.leaf_indexes:
            receipt.leaves.add(leaf=self._store.leaf(index), proof=self._log.prove(index, head))
        receipt.tickets.extend(self.tickets.proven(record, head) for record in tickets)
        receipt.leaf_key = resumed.leaf_key
        return receipt

    def _evidence_of(self, grant: Presentation) -> Evidence:
        held = self._store.evidence(grant.digest)
        if held is not None:
            return held
        key = self._vault.new_key()
        ciphertext = self._vault.encrypt(key, encode(write_presentation(grant)), _grant_bound(grant.digest))
        return Evidence(grant.digest, self._vault.wrap(key, grant.digest), ciphertext)

    def _key_of(self, grant_digest: bytes) -> bytes:
        key = self._held_key(grant_digest)
        if key is None:
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, "no evidence key of that grant")
        return key

    def _held_key(self, grant_digest: bytes) -> bytes | None:
        held = self._store.evidence(grant_digest)
        return self._vault.unwrap(held.wrapped_key, grant_digest) if held is not None else None


def _resumed(
    query_digest: bytes, receipt: receipt_pb2.Receipt, leaf_indexes: tuple[int, ...], leaf_key: bytes
) -> Resumed:
    gaps = {gap.check_id for gap in receipt.unavailable if gap.reason != Reason.ANSWERS_CONTRADICT}
    asked = {check.check_id for part in receipt.parts for check in open_part(part).part.checks}
    return Resumed(query_digest, receipt, frozenset(asked - gaps), not gaps, leaf_indexes, leaf_key)


def _grant_bound(grant_digest: bytes) -> bytes:
    return b"grant\x00" + grant_digest


def _deferral_bound(key: RequestKey) -> bytes:
    return b"deferral\x00" + key.requester.encode() + b"\x00" + key.request_id


def _bound_to(key: RequestKey) -> bytes:
    return b"request\x00" + key.requester.encode() + b"\x00" + key.request_id
