"""What a node's journal says, entry by entry: JSON objects told apart by `type`, bytes in base64.

Personal data stay out: a subject stands here by its pseudonym (HMAC under the node's own secret), an answer by the
digest of its statement. `standings` is the finer reason behind an UNDETERMINED, which no requester ever learns; an
entry ends in blanks, so that neither its size nor the time to write it depends on them.
"""

from __future__ import annotations

import msgspec

from gateway.protocol.codec import decode_json
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import ResolutionReason
from sandbox_departments.register import Standing


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all that stands in the journal: immutable, and strict about unknown fields."""


class Answered(_Entry, frozen=True, tag="answered"):
    """A part that was answered, check by check in its order."""

    query: bytes
    part: bytes
    requester: str
    subjects: tuple[bytes, ...]
    statements: tuple[bytes, ...]
    standings: tuple[Standing, ...]


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
    """What staff decided of a dispute."""

    time: float
    dispute: bytes
    reason: ResolutionReason


Entry = BatchSigned | BatchAcknowledged | AcknowledgementRefused | DisputeReceived | DisputeDecided
PartEntry = Answered | Repeated | Refused

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


_LONGEST_STANDING = max(map(len, Standing))


def write_entry(entry: Entry) -> bytes:
    """The bytes of an entry, which the chain covers: of one size, however the subjects stand."""
    return _encoder.encode(entry) + b" " * _missing_size(entry)


def _missing_size(entry: Entry) -> int:
    """How many characters the standings are shorter than the longest ones would be."""
    if not isinstance(entry, BatchSigned):
        return 0
    standings = [standing for part in entry.parts if isinstance(part, Answered) for standing in part.standings]
    return sum([_LONGEST_STANDING - len(standing) for standing in standings])


def read_entry(data: bytes) -> Entry:
    """The entry of its bytes; MalformedError."""
    return decode_json(_decoder, data, "entry")
