"""Requests as the gateway remembers them: found again, resumed, and committed with their evidence.

Hides the store's and the vault's details from the pipeline: what is kept of a request is encrypted under the
evidence key of its first grant, and the same key's leaf key tags its leaves. Two requests may meet a grant for
the first time at once; the store keeps one key, and the other request is built again under that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from gateway.evidence.kept import KeptEvidence, erased
from gateway.evidence.vault import Vault
from gateway.log import Log
from gateway.packing import Kind
from gateway.protocol.errors import LogUnavailableError, MalformedError, NotFoundError, OvertakenError
from gateway.protocol.leaf import Tags, derive_leaf_key, log_time, read_leaf
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.request_values import KeptBack, Record, Resumed
from gateway.state_text import MAX_STATE, read_state, write_padded
from gateway.stores.port import Store
from gateway.stores.records import (
    Committed,
    Deferral,
    Entry,
    Evidence,
    RequestKey,
    StoredRequest,
    Use,
    Waiting,
    Withdrawal,
)
from gateway.ticket_records import TicketRecords
from heyan.v1 import receipt_pb2

_ATTEMPTS = 3


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
        self.kept = KeptEvidence(store, vault)
        self.tickets = TicketRecords(store, log, self.kept)

    def find(self, key: RequestKey) -> Resumed | None:
        """What is stored under a request_id; LogUnavailableError if the store cannot say.

        NotFoundError (EVIDENCE_ERASED) for a request of which nothing is left but that it was.
        """
        stored = self._store.request(key)
        if stored is None:
            return None
        if not stored.state:
            self.kept.require_kept([stored.grant_digest])
            raise erased()  # by way of another grant that it rests on
        evidence_key = self.kept.key(stored.grant_digest)
        state = self._vault.decrypt(evidence_key, stored.state, _bound_to(key), MAX_STATE, Kind.STATE)
        receipt = self._read_state(state, stored)
        return Resumed(stored.query_digest, receipt, stored.leaf_indexes, derive_leaf_key(evidence_key))

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
        kept = self._store.deferred_message(waiting.key)
        if kept is None:
            return None
        try:
            return self.kept.decrypt(waiting.grants[0], kept, _deferral_bound(waiting.key))
        except NotFoundError:  # erased between the two looks: it waits for nothing any more
            return None

    def logged_statements(self, digests: Sequence[bytes]) -> Mapping[bytes, int]:
        """Which statements are logged, and at which leaf."""
        return self._store.leaf_indexes(digests)

    def registry_version(self) -> int:
        """The newest registry version whose adoption is logged."""
        return self._store.registry_version()

    async def commit(self, record: Record) -> tuple[Committed, Resumed]:
        """Log one settlement: leaf, uses, evidence and request in one transaction.

        NotFoundError (EVIDENCE_ERASED), and nothing of it is logged, if what it rests on was erased meanwhile;
        OvertakenError likewise if another process carried the request on.
        """
        receipt = record.receipt
        for _ in range(_ATTEMPTS):
            # One look for both: a newer registry is adopted beside the event loop, at any moment, and nobody would
            # believe a receipt that has the digest of another version than its leaf names.
            registry = self._registry()
            receipt.registry_digest = registry.digest
            evidence = await self._evidence_of(record)
            first = evidence[0]
            evidence_key = self.kept.key_of(first)
            leaf_key = derive_leaf_key(evidence_key)
            tags = Tags(leaf_key)
            known = _known(record.key, record.query_digest, first.grant_digest)
            text, least = write_padded(receipt, known)
            state = self._vault.encrypt(evidence_key, text, _bound_to(record.key), Kind.STATE, least)
            leaf = record.leaf(tags, registry, record.withheld)
            tallies = record.tallies if record.withheld is None else record.tallies.kept_back(record.withheld)
            entry = Entry(leaf, record.statement_digests, evidence=evidence, tallies=tallies)
            if record.withheld is None:
                until = record.query.answer_until_time
                entry = replace(
                    entry,
                    withheld=KeptBack(partial(record.leaf, tags, registry)),
                    request=StoredRequest(record.key, record.query_digest, until, first.grant_digest, state),
                    uses=record.uses,
                    standing=record.standing,
                    deferral=self._encrypted(record, evidence_key),
                    earlier_leaves=len(record.earlier.leaf_indexes) if record.earlier else 0,
                    reverifies=record.reverifies,
                )
            committed = await self._log.append(entry)
            if committed.erased:
                raise erased()
            if committed.overtaken:
                raise OvertakenError(Reason.LOG_UNAVAILABLE, "a request carried on elsewhere", retry_after=0.1)
            if not committed.foreign_keys:
                self._tell(record, committed)
                earlier = record.earlier.leaf_indexes if record.earlier else ()
                only = committed if not earlier else None
                indexes = (*earlier, committed.leaf_index)
                return committed, Resumed(record.query_digest, receipt, indexes, leaf_key, only)
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
        """The whole receipt, its leaves proven under one head that covers them; the requester adds the registry."""
        receipt = receipt_pb2.Receipt()
        receipt.CopyFrom(resumed.receipt)
        receipt.leaf_key = resumed.leaf_key
        if resumed.committed is not None:  # under the head of its commit, which is new enough, and without tickets
            receipt.leaves.add(leaf=resumed.committed.leaf, proof=self._log.prove_committed(resumed.committed))
            return receipt
        tickets = self.tickets.of_query(resumed.query_digest)
        head = self._log.head()  # after what it must cover was read
        for index in resumed.leaf_indexes:
            receipt.leaves.add(leaf=self._store.leaf(index), proof=self._log.prove(index, head))
        receipt.tickets.extend(self.tickets.proven(record, head) for record in tickets)
        return receipt

    @staticmethod
    def _read_state(state: bytes, stored: StoredRequest) -> receipt_pb2.Receipt:
        try:
            return read_state(state, _known(stored.key, stored.query_digest, stored.grant_digest))
        except MalformedError as error:  # it was encrypted so: no fault of whoever asks
            raise LogUnavailableError(Reason.LOG_UNAVAILABLE, error.detail) from None

    async def _evidence_of(self, record: Record) -> tuple[Evidence, ...]:
        def make() -> tuple[Evidence, ...]:
            return tuple(self.kept.of(grant, record.kept_from) for grant in record.grants)

        return await asyncio.to_thread(make) if self.kept.waits else make()


def _known(key: RequestKey, query_digest: bytes, grant_digest: bytes) -> tuple[bytes, ...]:
    """What the row of a request says, which its state need not."""
    return query_digest, grant_digest, key.request_id


def _deferral_bound(key: RequestKey) -> bytes:
    return b"deferral\x00" + key.requester.encode() + b"\x00" + key.request_id


def _bound_to(key: RequestKey) -> bytes:
    return b"request\x00" + key.requester.encode() + b"\x00" + key.request_id
