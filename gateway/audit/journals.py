"""A department's journal as an auditor reads it: what was stated to whom, and what was acknowledged.

The format is the node's: JSON objects told apart by `type`, bytes
in base64, each chained to the one before by digest of JournalEntry over previous hash ‖ entry. Fields that the audit
does not need, subjects' pseudonyms and finer reasons among them, are not read.

A journal is its department's own word. Its chain shows that nothing was changed since its end was noted; that what
it tells is true is shown by signatures: the department's on its statements, the gateway's on the checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from gateway.protocol.codec import decode_json
from gateway.protocol.errors import ForgedError
from gateway.protocol.journal import GENESIS, link
from gateway.protocol.reasons import Reason


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """A part that was answered: digests of query, part and statements, check by check."""

    query: bytes
    part: bytes
    requester: str
    statements: tuple[bytes, ...]


class Repeated(msgspec.Struct, frozen=True, tag="repeated"):
    """A part whose statements were released again."""

    query: bytes
    part: bytes
    requester: str
    statements: tuple[bytes, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A part that was refused; `requester` is empty if the query could not be read."""

    query: bytes
    part: bytes
    requester: str
    statement: bytes
    reason: str

    @property
    def statements(self) -> tuple[bytes, ...]:
        """The refusal is the only statement."""
        return (self.statement,)


class Resolved(msgspec.Struct, frozen=True, tag="resolved"):
    """A resolution of a dispute; `dispute` is the digest of the disputed statement, made to `requester`."""

    dispute: bytes
    requester: str
    statement: bytes

    @property
    def query(self) -> bytes:
        """It answers none."""
        return b""

    @property
    def statements(self) -> tuple[bytes, ...]:
        """The resolution is the only statement."""
        return (self.statement,)


StatedPart = Answered | Repeated | Refused | Resolved


class BatchSigned(msgspec.Struct, frozen=True, tag="batch_signed"):
    """A reply batch signed for one gateway. `batch` is its digest."""

    time: float
    gateway: str
    batch: bytes
    parts: tuple[StatedPart, ...]

    @property
    def statements(self) -> tuple[bytes, ...]:
        """Digests of all its statements, in the order in which they are acknowledged."""
        return tuple(statement for part in self.parts for statement in part.statements)


class BatchAcknowledged(msgspec.Struct, frozen=True, tag="batch_acknowledged"):
    """The gateway showed where its log holds a batch: a leaf for each statement, under a signed checkpoint."""

    time: float
    gateway: str
    batch: bytes
    leaf_indexes: tuple[int, ...]
    checkpoint: str


class AcknowledgementRefused(msgspec.Struct, frozen=True, tag="acknowledgement_refused"):
    """What a gateway presented as an acknowledgement, and the node did not take."""

    time: float
    gateway: str
    batch: bytes
    checkpoint: str
    reason: str


class DisputeReceived(msgspec.Struct, frozen=True, tag="dispute_received"):
    """An answer was disputed; `dispute` is its digest."""

    time: float
    gateway: str
    dispute: bytes
    opener: str


class DisputeDecided(msgspec.Struct, frozen=True, tag="dispute_decided"):
    """The department's staff decided a dispute."""

    time: float
    dispute: bytes


Entry = BatchSigned | BatchAcknowledged | AcknowledgementRefused | DisputeReceived | DisputeDecided

_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


@dataclass(frozen=True, slots=True)
class JournalView:
    """The whole journal of one department, as it was at `read_time`; `head` is the hash of its last entry.

    `entries` may be gone through more than once; those of a file are read anew each time, and not kept.
    """

    department: str
    entries: Iterable[Entry]
    read_time: float
    head: bytes


def read_entry(data: bytes, field: str) -> Entry:
    """One entry of its bytes; MalformedError naming `field`."""
    return decode_json(_decoder, data, field)


class EntryReader:
    """Reads many entries, each gateway, requester and checkpoint kept once: most entries repeat them."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def read(self, data: bytes, field: str) -> Entry:
        """One entry of its bytes; MalformedError naming `field`."""
        entry = read_entry(data, field)
        if isinstance(entry, BatchSigned):
            parts = tuple(msgspec.structs.replace(part, requester=self._once(part.requester)) for part in entry.parts)
            return msgspec.structs.replace(entry, gateway=self._once(entry.gateway), parts=parts)
        if isinstance(entry, BatchAcknowledged):
            gateway, checkpoint = self._once(entry.gateway), self._once(entry.checkpoint)
            return msgspec.structs.replace(entry, gateway=gateway, checkpoint=checkpoint)
        return entry

    def _once(self, text: str) -> str:
        return self._kept.setdefault(text, text)


def read_journal(department: str, entries: Iterable[bytes], read_time: float, head: bytes | None = None) -> JournalView:
    """The journal of its entries' bytes, all of them, in order.

    With `head`, an end that was noted elsewhere, the chain must lead to it: ForgedError (PROOF_INVALID).
    MalformedError if an entry cannot be read.
    """
    read: list[Entry] = []
    last, reader = GENESIS, EntryReader()
    for number, data in enumerate(entries, 1):
        last = link(last, data)
        read.append(reader.read(data, f"entries.{number}"))
    if head is not None and head != last:
        raise ForgedError(Reason.PROOF_INVALID, "the journal does not end where it was noted to end")
    return JournalView(department, tuple(read), read_time, last)
