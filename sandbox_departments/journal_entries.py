"""What a node's journal says, entry by entry: JSON objects told apart by `type`, bytes in base64.

Personal data stay out: a subject stands here by its pseudonym (HMAC under the node's own secret), an answer by the
digest of its statement. `standings` is the finer reason behind an UNDETERMINED, which no requester ever learns.

The chain covers an entry's bytes, and those go to auditors. So pseudonyms, finer reasons and what staff decided are
held back from them: an entry has the digest (JournalWithheld) of a record that stands beside the chain, with a salt
of 16 random bytes, so that nobody can guess it, and with blanks at its end, so that neither its size nor the time to
write it depends on how anybody stands. A record may be shown alone, and may be destroyed: the chain still holds.
Entries of before this have all of it inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from gateway.protocol.codec import decode_json
from gateway.protocol.digests import Kind, digest
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.errors import ForgedError
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import ResolutionReason
from sandbox_departments.register import Standing


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all that stands in the journal: immutable, and strict about unknown fields."""


class Answered(_Entry, frozen=True, tag="answered"):
    """A part that was answered, check by check in its order; `withheld` is the digest of what is held back of it."""

    query: bytes
    part: bytes
    requester: str
    statements: tuple[bytes, ...]
    subjects: tuple[bytes, ...] = ()
    standings: tuple[Standing, ...] = ()
    withheld: bytes = b""


class Repeated(_Entry, frozen=True, tag="repeated"):
    """A part that was answered before: the same statements were released again."""

    query: bytes
    part: bytes
    requester: str
    statements: tuple[bytes, ...]


class Refused(_Entry, frozen=True, tag="refused"):
    """A part that was refused; `requester` is empty if the query could not be read."""

    query: bytes
    part: bytes
    requester: str
    statement: bytes
    reason: Reason


class Resolved(_Entry, frozen=True, tag="resolved"):
    """A resolution of a dispute; `dispute` is the digest of the disputed statement, made to `requester`."""

    dispute: bytes
    requester: str
    statement: bytes


class BatchSigned(_Entry, frozen=True, tag="batch_signed"):
    """A reply batch for one gateway, with every part that it speaks of. `batch` is the signed batch's digest."""

    time: float
    gateway: str
    batch: bytes
    parts: tuple[Answered | Repeated | Refused | Resolved, ...]


class BatchAcknowledged(_Entry, frozen=True, tag="batch_acknowledged"):
    """The gateway showed where its log holds a batch: a leaf for each statement, under a signed checkpoint."""

    time: float
    gateway: str
    batch: bytes
    leaf_indexes: tuple[int, ...]
    checkpoint: str


class AcknowledgementRefused(_Entry, frozen=True, tag="acknowledgement_refused"):
    """What a gateway presented as an acknowledgement, and why it was none."""

    time: float
    gateway: str
    batch: bytes
    checkpoint: str
    reason: Reason


class DisputeReceived(_Entry, frozen=True, tag="dispute_received"):
    """An answer was disputed; `dispute` is its digest, `proof` that of the opener's signed word."""

    time: float
    gateway: str
    dispute: bytes
    opener: str
    ground: DisputeGround
    proof: bytes


class DisputeDecided(_Entry, frozen=True, tag="dispute_decided"):
    """What staff decided of a dispute; `withheld` is the digest of that."""

    time: float
    dispute: bytes
    reason: ResolutionReason | None = None
    withheld: bytes = b""


Entry = BatchSigned | BatchAcknowledged | AcknowledgementRefused | DisputeReceived | DisputeDecided
PartEntry = Answered | Repeated | Refused

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


class Withheld(_Entry, frozen=True):
    """What an entry has only the digest of: of an answered part, or of a decision."""

    salt: bytes
    subjects: tuple[bytes, ...] = ()
    standings: tuple[Standing, ...] = ()
    reason: ResolutionReason | None = None


_withheld_decoder: msgspec.json.Decoder[Withheld] = msgspec.json.Decoder(Withheld)
_LONGEST_STANDING = max(map(len, Standing))
SALT_BYTES = 16

Randomness = Callable[[int], bytes]


def hold_back(entry: Entry, randomness: Randomness) -> tuple[Entry, tuple[bytes, ...]]:
    """The entry as it is chained, and the records that are kept beside it, in order; none of most entries."""
    records: list[bytes] = []
    if isinstance(entry, BatchSigned):
        parts = []
        for part in entry.parts:
            if isinstance(part, Answered):
                record = _record(Withheld(randomness(SALT_BYTES), part.subjects, part.standings))
                records.append(record)
                chained = msgspec.structs.replace(part, subjects=(), standings=(), withheld=_digest(record))
                parts.append(chained)
            else:
                parts.append(part)  # type: ignore[arg-type]
        return msgspec.structs.replace(entry, parts=tuple(parts)), tuple(records)
    if isinstance(entry, DisputeDecided):
        record = _record(Withheld(randomness(SALT_BYTES), reason=entry.reason))
        return msgspec.structs.replace(entry, reason=None, withheld=_digest(record)), (record,)
    return entry, ()


def give_back(entry: Entry, records: Sequence[bytes]) -> Entry:
    """The entry with what was held back of it; records that were destroyed are not there.

    Raises ForgedError (PROOF_INVALID) for a record that is not of this entry, MalformedError.
    """
    if not records:
        return entry
    by_digest = {_digest(record): decode_json(_withheld_decoder, record, "withheld") for record in records}
    if not by_digest.keys() <= set(withheld_digests(entry)):
        raise ForgedError(Reason.PROOF_INVALID, "journal: what was held back is of another entry")
    if isinstance(entry, BatchSigned):
        parts = tuple(
            msgspec.structs.replace(part, subjects=found.subjects, standings=found.standings)
            if isinstance(part, Answered) and (found := by_digest.get(part.withheld)) is not None
            else part
            for part in entry.parts
        )
        return msgspec.structs.replace(entry, parts=parts)
    if isinstance(entry, DisputeDecided):
        return msgspec.structs.replace(entry, reason=by_digest[entry.withheld].reason)
    return entry


def withheld_digests(entry: Entry) -> Iterator[bytes]:
    """The digests of what is held back of an entry."""
    if isinstance(entry, BatchSigned):
        yield from (part.withheld for part in entry.parts if isinstance(part, Answered) and part.withheld)
    elif isinstance(entry, DisputeDecided) and entry.withheld:
        yield entry.withheld


def is_open(entry: Entry) -> bool:
    """Whether an entry says in its chained bytes what is held back since."""
    if isinstance(entry, BatchSigned):
        return any(isinstance(part, Answered) and (part.subjects or part.standings) for part in entry.parts)
    return isinstance(entry, DisputeDecided) and entry.reason is not None


def write_entry(entry: Entry) -> bytes:
    """The bytes of an entry, which the chain covers."""
    return _encoder.encode(entry)


def read_entry(data: bytes) -> Entry:
    """The entry of its bytes; MalformedError."""
    return decode_json(_decoder, data, "entry")


def _record(withheld: Withheld) -> bytes:
    """Its bytes: of one size, however the subjects stand."""
    missing = sum(_LONGEST_STANDING - len(standing) for standing in withheld.standings)
    return _encoder.encode(withheld) + b" " * missing


def _digest(record: bytes) -> bytes:
    return digest(Kind.JOURNAL_WITHHELD, record)
