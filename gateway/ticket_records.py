"""Offline tickets as the gateway remembers them: found again, listed, and put into receipts.

Hides the store and the vault from the rules in `gateway.tickets`. What is kept of a ticket beside its leaves (its
subject, and the signed result) is encrypted under the evidence key of its query's first grant, so that destroying
that key erases it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.evidence.kept import KeptEvidence, erased
from gateway.log import Log
from gateway.protocol.codec import encode, parse
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.offline import SignedResult, Subject, read_signed_result, read_subject, write_signed_result
from gateway.protocol.offline import write_subject as subject_message
from gateway.protocol.offline_rules import OpenTicket
from gateway.stores.port import Store
from gateway.stores.records import Entry, Head, StoredTicket, TicketKey, TicketWrite
from heyan.v1 import log_pb2, receipt_pb2

_MAX_STATE = 4_096
"""Bytes of a ticket's state: a subject and a signed result."""


@dataclass(frozen=True, slots=True)
class TicketRecord:
    """A stored ticket with its state opened, and the leaf that records its opening."""

    stored: StoredTicket
    subject: Subject
    result: SignedResult | None
    opened: log_pb2.LogLeaf

    @property
    def ticket(self) -> OpenTicket:
        """The ticket as the rules know it."""
        return OpenTicket(self.stored.key.requester, self.stored.query_digest, self.subject, log_time(self.opened))


class TicketRecords:
    """The gateway's memory of tickets, over a store, a log and what is kept under the keys of grants."""

    def __init__(self, store: Store, log: Log, kept: KeptEvidence) -> None:
        self._store = store
        self._log = log
        self._kept = kept

    def find(self, key: TicketKey) -> TicketRecord | None:
        """What is stored of a ticket; LogUnavailableError if the store cannot say."""
        stored = self._store.ticket(key)
        return self._record(stored) if stored is not None else None

    def open_page(self, requester: str, after_leaf: int, count: int) -> Sequence[TicketRecord]:
        """Up to `count` open tickets of a requester, of those opened by leaves after `after_leaf`, in that order."""
        return [self._record(stored) for stored in self._store.open_tickets(requester, after_leaf, count)]

    async def open(
        self, stored: StoredTicket, subject: Subject, leaf: bytes, judged_by: int, rests_on: bytes = b""
    ) -> bool:
        """Log that a ticket is opened; False if it was open, or what it was judged by is not the newest any more.

        That is the request's leaf `judged_by`, and the answer with the digest `rests_on`, if there is one. `stored`
        comes without its state.
        """
        state = receipt_pb2.ReceiptTicket(subject=subject_message(subject))
        written = replace(stored, state=self._sealed(stored, state))
        return await self._write(leaf, TicketWrite(written, judged_by, rests_on))

    async def resolve(self, record: TicketRecord, signed: SignedResult, leaf: bytes) -> bool:
        """Log the result of an open ticket; False if it has one meanwhile."""
        state = receipt_pb2.ReceiptTicket(subject=subject_message(record.subject), result=write_signed_result(signed))
        written = replace(record.stored, state=self._sealed(record.stored, state))
        return await self._write(leaf, TicketWrite(written, None))

    def of_query(self, query_digest: bytes) -> Sequence[TicketRecord]:
        """Every ticket of a query, in the order of their opening."""
        return [self._record(stored) for stored in self._store.tickets_of(query_digest)]

    def proven(self, record: TicketRecord, head: Head) -> receipt_pb2.ReceiptTicket:
        """A ticket as its receipt shows it, its leaves proven under `head`, which must be newer than the record."""
        shown = receipt_pb2.ReceiptTicket(
            subject=subject_message(record.subject), opened=self._proof(record.stored.opened_leaf, head)
        )
        if record.result is not None and record.stored.resolved_leaf is not None:
            shown.result.CopyFrom(write_signed_result(record.result))
            shown.resolved.CopyFrom(self._proof(record.stored.resolved_leaf, head))
        return shown

    def _proof(self, index: int, head: Head) -> receipt_pb2.LeafProof:
        return receipt_pb2.LeafProof(leaf=self._store.leaf(index), proof=self._log.prove(index, head))

    def _record(self, stored: StoredTicket) -> TicketRecord:
        data = self._kept.decrypt(stored.grant_digest, stored.state, _bound_to(stored.key), _MAX_STATE)
        state = parse(receipt_pb2.ReceiptTicket, data, _MAX_STATE)
        result = read_signed_result(state.result) if state.HasField("result") else None
        return TicketRecord(
            stored, read_subject(state.subject), result, read_leaf(self._store.leaf(stored.opened_leaf))
        )

    def _sealed(self, stored: StoredTicket, state: receipt_pb2.ReceiptTicket) -> bytes:
        return self._kept.encrypt(stored.grant_digest, encode(state), _bound_to(stored.key))

    async def _write(self, leaf: bytes, write: TicketWrite) -> bool:
        committed = await self._log.append(Entry(leaf, ticket=write, kept_from=log_time(read_leaf(leaf))))
        if committed.erased:
            raise erased()
        return not committed.overtaken


def _bound_to(key: TicketKey) -> bytes:
    return b"ticket\x00" + key.requester.encode() + b"\x00" + key.ticket_id
